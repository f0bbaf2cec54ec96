"""The values of Arrow's arrays as those of a series."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from backtest_mongo.columns.arrays import STORED_TYPES, Mask, Values
from backtest_mongo.columns.python_values import encode_categories
from backtest_mongo.core.columns import Column
from backtest_mongo.market_data.table_files import is_text

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Parsed", "parse_array"]

_BOUNDS: Final = {"int64": (-(2**63), 2**63 - 1), "int8": (-128, 127)}


class Parsed(NamedTuple):
    """The values of a column, and which of them it can't have; what is empty is null."""

    values: Values
    bad: Mask


def parse_array(column: Column, array: pa.Array[Any]) -> Parsed | None:
    """Return the values of a column whose type needs no parsing, otherwise ``None``."""
    import pyarrow as pa

    kind = array.type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    none = np.zeros(len(array), np.bool_)
    nulls = array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None
    valid = None if nulls is None else ~nulls
    if column.type in ("category", "str") and (is_text(array) or pa.types.is_dictionary(kind)):
        texts = array.to_pylist() if column.type == "str" else None
        if texts is not None:
            data = np.array(["" if text is None else text for text in texts], STORED_TYPES["str"])
            return Parsed(Values(data, valid), none)
        encoded: Any = array if pa.types.is_dictionary(kind) else array.cast(pa.large_string()).dictionary_encode()
        names = encoded.dictionary.to_pylist()
        if not all(isinstance(name, str) for name in names):
            return Parsed(encode_categories(array.to_pylist()), none)
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
        return Parsed(Values(codes, None, tuple(names)), none)
    if column.type == "bool" and pa.types.is_boolean(kind):
        filled = array.fill_null(False) if nulls is not None else array
        return Parsed(Values(filled.to_numpy(zero_copy_only=False).astype(np.bool_), valid), none)
    if column.type in ("float64", "int64", "int8") and is_number:
        filled = array if nulls is None else array.fill_null(pa.scalar(0, pa.int8()).cast(kind))
        numbers = filled.to_numpy(zero_copy_only=False)
        return _convert_numbers(column, np.array(numbers), valid)
    return None


def _convert_numbers(column: Column, numbers: np.ndarray[Any, Any], valid: Any) -> Parsed:
    target = STORED_TYPES[column.type]
    if column.type == "float64":
        data = numbers.astype(np.float64)
        bad = np.zeros(len(data), np.bool_)
        if numbers.dtype.kind in "iu" and numbers.dtype.itemsize == 8:
            inside = np.abs(data) < 2.0**63
            back = np.where(inside, data, 0.0).astype(numbers.dtype)
            bad = ~inside | (back != numbers)
        return Parsed(Values(data, valid), bad)
    lowest, highest = _BOUNDS[column.type]
    if numbers.dtype.kind == "f":
        # The greatest integers have no floats of their own.
        fine = np.isfinite(numbers) & (numbers >= lowest) & (numbers < float(highest + 1))
        wholes = np.where(fine, numbers, 0).astype(np.int64)
        fine &= wholes == numbers
        return Parsed(Values(np.where(fine, wholes, 0).astype(target), valid), ~fine)
    limits = np.iinfo(numbers.dtype)
    fine = (numbers >= max(lowest, limits.min)) & (numbers <= min(highest, limits.max))
    return Parsed(Values(np.where(fine, numbers, 0).astype(target), valid), ~fine)
