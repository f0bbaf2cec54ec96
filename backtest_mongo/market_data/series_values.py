"""The values of a file's columns as those of a series: each is kept as it is, or bad if it would change."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from backtest_mongo.columns.arrays import STORED_TYPES, ColumnArrays, Mask, Values, make_nulls
from backtest_mongo.columns.python_values import encode_categories
from backtest_mongo.core.columns import Column
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.market_data.csv_fields import LONGEST, Fields, make_column
from backtest_mongo.market_data.csv_fields import Column as FileColumn
from backtest_mongo.market_data.number_formats import NumberFormat, parse_number, read_numbers, scan_numbers
from backtest_mongo.market_data.series_arrow import Parsed, parse_array
from backtest_mongo.market_data.series_headers import Meaning

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "ArrowCells",
    "Cells",
    "Parsed",
    "TextCells",
    "build_rows",
    "describe_value",
    "format_float",
    "list_columns",
    "parse_cells",
]

_NAN: Final = "nan"
_NAN_BITS: Final = 0x7FF8_0000_0000_0000
#: As C writes a NaN whose bits are not the usual ones.
_OTHER_NAN: Final = re.compile(r"nan\(0x([0-9a-f]{16})\)")
_BOOLEANS: Final = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
_BOUNDS: Final = {"int64": (-(2**63), 2**63 - 1), "int8": (-128, 127)}
_EXACT: Final = 2**53
_MAKER: Final = ("buy", "sell")


class Cells(Protocol):
    """One column of some rows of a file."""

    def __len__(self) -> int: ...

    def text(self, row: int) -> str:
        """Return what the file has there, the empty string for nothing."""


class TextCells:
    """A column of a text file."""

    def __init__(self, fields: Fields, place: int) -> None:
        self._fields = fields
        self._place = place
        self.column: FileColumn = fields.column(place)

    def __len__(self) -> int:
        return len(self._fields)

    def text(self, row: int) -> str:
        return self._fields.text(row, self._place)

    def find_empty(self) -> Mask:
        """Return which fields have nothing, not even quotes."""
        empty: Mask = self.column.lengths == 0
        quoted = self._fields.quoted
        return empty if quoted is None else empty & ~quoted[:, self._place]

    def has_rare_texts(self) -> bool:
        """Return whether a field is long or in quotes."""
        quoted = self._fields.quoted
        is_long = int(self.column.lengths.max(initial=0)) > LONGEST
        return is_long or (quoted is not None and bool(quoted[:, self._place].any()))

    def decode(self) -> tuple[list[str], Mask]:
        """Return all fields in full, and which of them are not UTF-8."""
        contents = self._fields.contents(self._place)
        wrong = np.zeros(len(contents), np.bool_)
        try:
            return (b"\n".join(contents).decode().split("\n") if contents else []), wrong
        except UnicodeDecodeError:
            texts = []
            for row, content in enumerate(contents):
                text = content.decode("utf-8", "replace")
                wrong[row] = text.encode() != content
                texts.append(text)
            return texts, wrong


class ArrowCells:
    """A column of a table."""

    def __init__(self, array: pa.Array[Any]) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def text(self, row: int) -> str:
        value = self.array[row].as_py()
        return "" if value is None else str(value)


def list_columns(spec: SlotSpec) -> list[Column]:
    """Return the sequence, if the slot has one, and the slot's columns."""
    return [*([Column(spec.key[-1], spec.sequence)] if spec.sequence else []), *spec.columns]


def build_rows(
    spec: SlotSpec, time: npt.NDArray[np.int64], parsed: Mapping[str, Parsed], kept: Mask | slice
) -> ColumnArrays:
    """Return some of the rows; columns that the file does not have are null."""
    values = {}
    sequence = None
    for column in list_columns(spec):
        found = parsed[column.name].values if column.name in parsed else make_nulls(column, len(time))
        if spec.sequence and column.name == spec.key[-1]:
            sequence = found.data
            continue
        values[column.name] = found if column.nullable else Values(found.data, None, found.categories)
    return ColumnArrays(time, sequence, values).take(kept)


def parse_cells(
    column: Column, cells: TextCells | ArrowCells, numbers: NumberFormat, meaning: Meaning | None
) -> Parsed:
    """Return the values of a column. In one that is not nullable, nothing is bad.

    Args:
        column: of the slot.
        cells: of the file.
        numbers: how the file writes numbers.
        meaning: what the file's values mean, if they are not the slot's.
    """
    if meaning == "maker":
        flags = _parse(Column(column.name, "bool", column.nullable), cells, numbers)
        nulls = np.zeros(len(cells), np.bool_) if flags.values.valid is None else ~flags.values.valid
        codes = np.where(nulls, -1, flags.values.data.astype(np.int32)).astype(np.int32)
        return Parsed(Values(codes, None, _MAKER), flags.bad)
    found = _parse(column, cells, numbers)
    if meaning == "taker" and "unknown" in found.values.categories and column.nullable:
        unknown = found.values.data == found.values.categories.index("unknown")
        codes = np.where(unknown, -1, found.values.data).astype(np.int32)
        return Parsed(Values(codes, None, found.values.categories), found.bad)
    return found


def _parse(column: Column, cells: TextCells | ArrowCells, numbers: NumberFormat) -> Parsed:
    if isinstance(cells, ArrowCells):
        typed = parse_array(column, cells.array)
        found = _parse_texts(column, _to_text_cells(cells), numbers) if typed is None else typed
    else:
        found = _parse_texts(column, cells, numbers)
    if column.nullable:
        return found
    nulls = found.values.find_nulls(column)
    return found if nulls is None else Parsed(found.values, found.bad | nulls)


class _Texts:
    """The texts of a table's column, as those of a text file."""

    def __init__(self, texts: Sequence[str | None]) -> None:
        self._texts = texts
        self.column = make_column(["" if text is None else text for text in texts])

    def __len__(self) -> int:
        return len(self._texts)

    def find_empty(self) -> Mask:
        return np.array([text is None for text in self._texts], np.bool_)

    def decode(self) -> tuple[list[str], Mask]:
        return ["" if text is None else text for text in self._texts], np.zeros(len(self._texts), np.bool_)


def _to_text_cells(cells: ArrowCells) -> _Texts:
    return _Texts([None if value is None else str(value) for value in cells.array.to_pylist()])


def _parse_texts(column: Column, cells: TextCells | _Texts, numbers: NumberFormat) -> Parsed:
    return _PARSERS[column.type](column, cells, numbers)


def _parse_floats(column: Column, cells: TextCells | _Texts, numbers: NumberFormat) -> Parsed:
    data = read_numbers(cells.column, numbers)
    empty = cells.column.lengths == 0
    bad = np.isnan(data) & ~empty
    for row in np.flatnonzero(bad).tolist():
        text = cells.column.at(row).lower()
        if text.lstrip("+-") == _NAN:
            bad[row] = False
        elif other := _OTHER_NAN.fullmatch(text):
            data.view(np.uint64)[row], bad[row] = int(other.group(1), 16), False
    data[empty] = 0.0
    return Parsed(Values(data, ~empty if empty.any() else None), bad)


def _parse_integers(column: Column, cells: TextCells | _Texts, numbers: NumberFormat) -> Parsed:
    scan = scan_numbers(cells.column, numbers.decimal)
    empty = cells.column.lengths == 0
    lowest, highest = _BOUNDS[column.type]
    powers = np.uint64(10) ** np.minimum(scan.decimals, 19).astype(np.uint64)
    whole, rest = np.divmod(scan.digits, powers)
    plain = scan.plain & (rest == 0)
    fits = whole <= np.where(scan.negative, np.uint64(-lowest), np.uint64(highest))
    signed = whole.astype(np.int64)
    data = np.where(plain & fits, np.where(scan.negative, -signed, signed), 0)
    bad = ~(plain & fits) & ~empty
    for row in np.flatnonzero(bad & ~scan.plain).tolist():
        value = _parse_rare_integer(cells.column.at(row), numbers)
        if value is not None and lowest <= value <= highest:
            data[row], bad[row] = value, False
    return Parsed(Values(data.astype(STORED_TYPES[column.type]), ~empty if empty.any() else None), bad)


def _parse_rare_integer(text: str, numbers: NumberFormat) -> int | None:
    """Return a number with an exponent or with separators."""
    try:
        value = parse_number(text, numbers)
    except ValueError:
        return None
    return int(value) if math.isfinite(value) and value == int(value) and abs(value) <= _EXACT else None


def _parse_booleans(column: Column, cells: TextCells | _Texts, numbers: NumberFormat) -> Parsed:
    kinds, places = np.unique(cells.column.bytes(), return_inverse=True)
    known = [_BOOLEANS.get(kind.decode("utf-8", "replace").lower()) for kind in kinds.tolist()]
    data = np.array([bool(value) for value in known], np.bool_)[places]
    empty = cells.column.lengths == 0
    bad = np.array([value is None for value in known], np.bool_)[places] & ~empty
    return Parsed(Values(data, ~empty if empty.any() else None), bad)


def _parse_categories(column: Column, cells: TextCells | _Texts, numbers: NumberFormat) -> Parsed:
    empty = cells.find_empty() if column.nullable else np.zeros(len(cells), np.bool_)
    if isinstance(cells, TextCells) and not cells.has_rare_texts():
        kinds, places = np.unique(cells.column.bytes(), return_inverse=True)
        names = tuple(kind.decode("utf-8", "replace") for kind in kinds.tolist())
        codes = np.where(empty, -1, places.reshape(-1)).astype(np.int32)
        return Parsed(Values(codes, None, names), np.array(["\ufffd" in name for name in names], np.bool_)[places])
    texts, wrong = cells.decode()
    chosen = [None if null else text for text, null in zip(texts, empty.tolist(), strict=True)]
    return Parsed(encode_categories(chosen), wrong)


def _parse_strings(column: Column, cells: TextCells | _Texts, numbers: NumberFormat) -> Parsed:
    texts, wrong = cells.decode()
    data = np.array(texts, STORED_TYPES["str"])
    empty = cells.find_empty() if column.nullable else None
    return Parsed(Values(data, None if empty is None or not empty.any() else ~empty), wrong)


_PARSERS: Final[Mapping[str, Callable[[Column, TextCells | _Texts, NumberFormat], Parsed]]] = {
    "float64": _parse_floats,
    "int64": _parse_integers,
    "int8": _parse_integers,
    "bool": _parse_booleans,
    "category": _parse_categories,
    "str": _parse_strings,
}


def describe_value(column: Column, text: str) -> str:
    """Return why a column can't have a value that a file writes so."""
    if not text:
        return f"{column.name} is empty"
    shown = repr(text[:40])
    match column.type:
        case "float64":
            return f"{column.name} is not a number: {shown}"
        case "int64" | "int8":
            lowest, highest = _BOUNDS[column.type]
            return f"{column.name} is not an integer from {lowest} to {highest}: {shown}"
        case "bool":
            return f"{column.name} is neither true nor false: {shown}"
    return f"{column.name} is not UTF-8: {shown}"


def format_float(value: float) -> str:
    """Return a number with enough digits to be read back exactly, bit for bit."""
    if value == value:
        return repr(value)
    bits = struct.unpack("<Q", struct.pack("<d", value))[0]
    return _NAN if bits == _NAN_BITS else f"nan(0x{bits:016x})"
