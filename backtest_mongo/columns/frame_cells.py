"""The cells of a frame's column as an array and a mask of the nulls, whichever library it is of.

Text of few values stays codes and the values where the library has it so, and no Python string is made for each row.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from backtest_mongo.columns.arrays import Mask
from backtest_mongo.core.columns import ColumnType
from backtest_mongo.core.frame_columns import find_library, unmask

__all__ = ["Cells", "is_object_column", "take_cells", "take_objects"]


class Cells(NamedTuple):
    """The cells of one column.

    Attributes:
        type: what the frame's library calls their type.
        data: an array of booleans or numbers, codes, or Python objects, ``None`` for what is null; of objects also a
            list.
        nulls: which are null, ``None`` if none is; for objects always.
        categories: what the codes stand for, ``None`` if the data are no codes.
    """

    type: str
    data: Any
    nulls: Mask | None = None
    categories: Sequence[Any] | None = None

    @property
    def is_objects(self) -> bool:
        return isinstance(self.data, list)


def take_cells(column: Any, kind: ColumnType, *, is_nan_null: bool) -> Cells:
    """Return the cells of a column.

    Args:
        column: of polars, pandas, PyArrow or NumPy, or a list.
        kind: of the slot's column.
        is_nan_null: whether a NaN of pandas stands for null.
    """
    match find_library(column):
        case "polars":
            return _of_polars(column, kind)
        case "pandas":
            return _of_pandas(column, kind, is_nan_null=is_nan_null)
        case "pyarrow":
            return _of_arrow(column, kind)
    if isinstance(column, list | tuple):
        return Cells("a list", take_objects(column))
    data, masked = unmask(column)
    if data.dtype.kind in "biuf":
        return Cells(str(data.dtype), data, masked)
    if data.dtype.kind in "UTO":
        return Cells(str(data.dtype), take_objects(column))
    return Cells(str(data.dtype), data)


def is_object_column(column: Any) -> bool:
    """Return whether a column holds Python objects."""
    if isinstance(column, list | tuple):
        return True
    library = find_library(column)
    if library == "pyarrow":
        return False
    return str(getattr(column, "dtype", "")).lower().startswith("object")


def take_objects(column: Any, *, is_nan_null: bool = True) -> list[Any]:
    """Return the objects of a column, ``None`` for what is missing or masked.

    Args:
        column: of any library, or a list.
        is_nan_null: whether a NaN of pandas stands for null.
    """
    if isinstance(column, list | tuple):
        masks: Any = sys.modules.get("numpy.ma")  # if it isn't imported, nothing is masked
        masked = object() if masks is None else masks.masked
        return [None if value is masked else value for value in column]
    if find_library(column) == "pandas":
        values = column.to_numpy(object)
        nulls = np.array(column.isna())
        if not is_nan_null:
            for at in np.flatnonzero(nulls).tolist():
                nulls[at] = not isinstance(values[at], float)
        return _put_none(values, nulls if nulls.any() else None)
    if find_library(column) == "polars":
        return list(column.to_list())
    return _put_none(*unmask(column))


def _put_none(values: NDArray[Any], nulls: Mask | None) -> list[Any]:
    objects: list[Any] = values.tolist()
    if nulls is not None:
        for at in np.flatnonzero(nulls).tolist():
            objects[at] = None
    return objects


def _of_polars(series: Any, kind: ColumnType) -> Cells:
    import polars

    dtype, name = series.dtype, str(series.dtype)
    nulls = series.is_null().to_numpy() if series.null_count() else None
    is_category = isinstance(dtype, polars.Categorical | polars.Enum)
    if is_category or (dtype == polars.String and kind == "category"):
        if not is_category:
            series = series.cast(polars.Enum(series.drop_nulls().unique()))
        known = series.drop_nulls().unique()
        codes = series.to_physical() if nulls is None else series.to_physical().fill_null(0)
        return _shorten(name, codes.to_numpy(), nulls, known.to_physical().to_numpy(), known.cast(polars.String))
    if dtype == polars.Boolean or (dtype.is_numeric() and not dtype.is_decimal() and "128" not in name):
        filled = series if nulls is None else series.fill_null(False if dtype == polars.Boolean else 0)
        return Cells(name, filled.to_numpy(), nulls)
    return Cells(name, series.to_list())


def _shorten(name: str, codes: NDArray[Any], nulls: Mask | None, used: NDArray[Any], names: Any) -> Cells:
    """Return cells whose codes are the places of the values that occur: a library may number those of all frames."""
    table = np.zeros(int(used.max(initial=0)) + 1, np.int32)
    table[used] = np.arange(len(used))
    return Cells(name, table[codes], nulls, names.to_list())


def _of_pandas(column: Any, kind: ColumnType, *, is_nan_null: bool) -> Cells:
    import pandas

    dtype, name = column.dtype, str(column.dtype)
    if isinstance(dtype, pandas.CategoricalDtype):
        codes = np.asarray(pandas.Series(column).cat.codes)
        return Cells(name, codes, _any(codes < 0), dtype.categories.tolist())
    if isinstance(dtype, np.dtype) and dtype.kind in "biuf":
        data = column.to_numpy()
        return Cells(name, data, _any(np.isnan(data)) if dtype.kind == "f" and is_nan_null else None)
    if dtype.kind in "biuf":
        plain = getattr(dtype, "numpy_dtype", None) or np.dtype(f"{dtype.kind}8")
        return Cells(name, column.to_numpy(plain, na_value=plain.type(0)), _any(np.asarray(column.isna())))
    if kind == "category" and (dtype.kind in "OT" or isinstance(dtype, pandas.StringDtype)):
        codes, values = pandas.factorize(column)
        return Cells(name, codes, _any(codes < 0), values.tolist())
    return Cells(name, take_objects(column, is_nan_null=is_nan_null))


def _any(nulls: Mask) -> Mask | None:
    return nulls if nulls.any() else None


def _of_arrow(column: Any, kind: ColumnType) -> Cells:
    import pyarrow

    arrow: Any = pyarrow
    types, name = arrow.types, str(column.type)
    if isinstance(column, arrow.ChunkedArray):
        is_whole = column.num_chunks == 1
        column = column.chunk(0) if is_whole else column.unify_dictionaries().combine_chunks()
    if isinstance(column, arrow.ChunkedArray):  # of more text than one array can have
        column = column.cast(arrow.large_string()).combine_chunks()
    dtype = column.type
    is_text = types.is_string(dtype) or types.is_large_string(dtype) or name == "string_view"
    nulls = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None
    if is_text and kind == "category":
        column = (column.cast(arrow.large_string()) if name == "string_view" else column).dictionary_encode()
        dtype = column.type
    if types.is_dictionary(dtype):
        categories = column.dictionary.to_pylist()
        codes = column.indices
        data = (codes.fill_null(0) if codes.null_count else codes).to_numpy(zero_copy_only=False)
        return Cells(name, data, nulls, categories)
    if types.is_boolean(dtype) or types.is_integer(dtype) or types.is_floating(dtype):
        filled = column if nulls is None else column.fill_null(arrow.scalar(0, arrow.int8()).cast(dtype))
        return Cells(name, filled.to_numpy(zero_copy_only=False), nulls)
    return Cells(name, column.to_pylist())
