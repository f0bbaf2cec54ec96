"""Frames of any library as rows of a series: each column is checked as a whole, without a loop over rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, tzinfo
from functools import partial
from typing import Any, Final, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from backtest_mongo import types
from backtest_mongo.columns.arrays import STORED_TYPES, STRINGS, TIME, ColumnArrays, Mask, Values, make_nulls, sort_rows
from backtest_mongo.columns.frame_cells import Cells, is_object_column, take_cells, take_objects
from backtest_mongo.columns.python_values import UnfitValuesError, check_text, read_times, read_values
from backtest_mongo.columns.sizes import explain_oversized, find_oversized
from backtest_mongo.core.candle_rules import check_spacing
from backtest_mongo.core.columns import MOST_NEGATIVE, UNITS_PER_MS, Column, ColumnType, Unit
from backtest_mongo.core.frame_columns import find_time_zone, list_columns, localize_times, take_times
from backtest_mongo.core.frame_input import NOT_CLOSED
from backtest_mongo.core.series_times import find_grid
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.suggestions import suggest
from backtest_mongo.core.unit_times import NANOSECONDS, UNIT_NAMES, TimeRangeError, find_time_range, is_missing_time
from backtest_mongo.errors import InputError, InputTypeError

__all__ = ["NO_TIME_REASON", "OUTSIDE_REASON", "read_frame"]

#: Why rows without a time, or with one that no row can have, are not stored.
NO_TIME_REASON: Final = "it has no time"
OUTSIDE_REASON: Final[Mapping[Unit, str]] = {
    "ms": "its time is outside of the years 1 to 9999",
    "us": "its time is outside of the years 1 to 9999",
    "ns": "its time is not between -2**63 and 2**63 - 1",
}
_KINDS: Final = (
    "a polars or pandas DataFrame, a PyArrow Table, a mapping or a structured NumPy array, or a list of dicts"
)
_MOST_SHOWN: Final = 5
#: Whole numbers up to here are floats.
_EXACT: Final = 2**53


def read_frame(
    spec: SlotSpec, context: Key, frame: object, tz: str | tzinfo | None = None, most_bytes: int | None = None
) -> tuple[ColumnArrays, int, dict[str, list[int]]]:
    """Return the rows of a frame in the order of their keys, how many were doubles, and which are refused.

    Of several rows with one key the first counts if the slot is immutable, otherwise the last; the others are the
    doubles. A row is refused if it has no time or one outside of the years 1 to 9999 (in nanoseconds, one that is not
    between the ends of 64 bits), is null in its sequence or in a column that is not nullable, or if it is on a grid and
    its interval has not ended yet.

    Nothing is copied where the frame's memory can be used as it is: the frame must not change until the rows are
    stored.

    Args:
        spec: of the slot.
        context: the context's values, in the order of the slot's key.
        frame: a ``DataFrame`` of polars or pandas, a ``Table`` of PyArrow, a mapping or a structured array of NumPy, or
            a list of dicts, with ``timestamp``, the sequence if the slot has one, and the slot's columns in any order;
            nullable ones may be missing. In pandas each of these may also be a level of the index, and a
            ``DatetimeIndex`` of any name is the time; NaN in a nullable column is null there. Times are integers in the
            slot's unit, or typed times, aware if the library knows zones.
        tz: the zone of naive times, such as ``UTC`` or ``America/New_York``.
        most_bytes: how many bytes a row can have; ``None`` for any number.

    Returns:
        The rows; how many rows were doubles of others; and the positions in the frame of those that are refused, from
        0 and ascending, by reason.

    Raises:
        InputTypeError: it is no frame, or a column holds another type.
        InputError: a column is missing, unknown or given twice, or would lose digits of a value, whose row the message
            names; times are naive and no zone is given, or the clocks of the zone skip one of them or show it twice; or
            the median distance of the times is below half the interval of the grid; or a row has too many bytes.
    """
    zone = find_time_zone(tz, spec.name)
    grid = find_grid(spec, context)
    columns = [Column(spec.key[-1], spec.sequence)] if spec.sequence else []
    columns += spec.columns
    named = _pick(spec, columns, frame)
    if TIME not in named:  # a list without a row
        return ColumnArrays.empty(spec), 0, {}
    time, missing, outside = _read_times(spec, named.pop(TIME), zone)
    refusals = _Refusals(len(time))
    refusals.add(NO_TIME_REASON, missing)
    refusals.add(OUTSIDE_REASON[spec.unit], outside)
    if grid is not None:
        check_spacing(time if refusals.left is None else time[refusals.left], grid.name, "the frame", spec.name)
    values = {}
    for column in columns:
        found = _read_column(spec, column, named.get(column.name), len(time))
        if not column.nullable:
            refusals.add(f"{column.name} is null", found.find_nulls(column))
            found = Values(found.data, None, found.categories)
        values[column.name] = found
    if grid is not None:
        refusals.add(NOT_CLOSED, grid.open_at(time, types.now_ms()))
    sequence = values.pop(columns[0].name).data if spec.sequence else None
    rows = ColumnArrays(time, sequence, values)
    if most_bytes is not None:
        for at, size in find_oversized(rows, most_bytes).items():
            raise InputError(f"the frame's row {at} {explain_oversized(size, most_bytes)}", slot=spec.name)
    if refusals.left is not None:
        rows = rows.take(refusals.left)
    ordered = sort_rows(rows, keeps_first=spec.immutable)
    return ordered, len(rows) - len(ordered), refusals.by_reason


class _Refusals:
    """The rows that are refused, each by its first reason."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self.by_reason: dict[str, list[int]] = {}
        #: Which rows are not refused, ``None`` if none is.
        self.left: Mask | None = None

    def add(self, reason: str, bad: Mask | None) -> None:
        if bad is None or not bad.any():
            return
        if self.left is None:
            self.left = np.ones(self._rows, bool)
        bad = bad & self.left
        if bad.any():
            self.by_reason[reason] = np.flatnonzero(bad).tolist()
            self.left[bad] = False


# The columns by name


def _pick(spec: SlotSpec, columns: Sequence[Column], frame: object) -> dict[str, Any]:
    known = [TIME, *(column.name for column in columns)]
    named = _list_columns(spec, known, frame)
    if named is None:
        return {}
    found: dict[str, Any] = {}
    for name, column in named:
        if name in found:
            raise InputError(f"the frame has {name} more than once", slot=spec.name)
        if name not in known:
            problem = f"the frame has the unknown column {name!r}"
            raise InputError(problem, slot=spec.name, hint=suggest(name, known))
        found[name] = column
    missing = [TIME] * (TIME not in found)
    missing += [column.name for column in columns if not column.nullable and column.name not in found]
    if missing:
        columns_found = ", ".join(found) or "none"
        raise InputError(f"the frame lacks {', '.join(missing)}; its columns are {columns_found}", slot=spec.name)
    return found


def _list_columns(spec: SlotSpec, known: Sequence[str], frame: Any) -> list[tuple[str, Any]] | None:
    library = type(frame).__module__.partition(".")[0]
    if library == "polars" and hasattr(frame, "collect"):
        hint = "collect() it first"
        raise InputTypeError("a frame must be a DataFrame of polars, not a LazyFrame", slot=spec.name, hint=hint)
    if library == "pandas" and hasattr(frame, "columns"):
        return _list_pandas_columns(known, frame)
    named = list_columns(frame)
    if named is not None:
        return named
    if isinstance(frame, list | tuple):
        return _list_keys(spec, frame)
    raise InputTypeError(f"a frame must be {_KINDS}, not {type(frame).__name__}", slot=spec.name)


def _list_pandas_columns(known: Sequence[str], frame: Any) -> list[tuple[str, Any]]:
    # By position, as a name may occur twice.
    named = [(str(name), frame.iloc[:, index]) for index, name in enumerate(frame.columns)]
    names = {name for name, _ in named} | {*frame.index.names}
    for place, name in enumerate(frame.index.names):
        level = frame.index.get_level_values(place)
        if name not in known and level.dtype.kind == "M" and TIME not in names:
            name = TIME  # the index is the time, whatever it is called
        if name is not None:
            named.append((str(name), level))
    return named


def _list_keys(spec: SlotSpec, rows: Sequence[Any]) -> list[tuple[str, Any]] | None:
    names: dict[str, None] = {}
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping):
            problem = f"a list of rows must hold dicts, not {type(row).__name__} in row {index}"
            raise InputTypeError(problem, slot=spec.name)
        names.update(dict.fromkeys(row))
    return [(str(name), [row.get(name) for row in rows]) for name in names] if rows else None


# Times


def _read_times(spec: SlotSpec, column: Any, zone: tzinfo | None) -> tuple[NDArray[np.int64], Mask | None, Mask | None]:
    """Return times in the slot's unit, which of them are missing, and which are outside of what a row can have."""
    if is_object_column(column):
        objects = take_objects(column)
        if zone is None:
            return _read_object_times(spec, objects)
        column = _make_naive(spec, objects)
    times = take_times(column, zone, spec.name, UNIT_NAMES[spec.unit])
    _check_shape(spec, TIME, times.data)
    if times.is_typed:
        time, missing, beyond = _count_units(spec, times.data)
        if times.masked is not None:
            missing = missing | times.masked
        return _localize(spec, time, missing, beyond, zone) if zone is not None else (time, missing, beyond)
    first, last = find_time_range(spec.unit)
    data = times.data
    outside: Mask | None = None
    if len(data) and not (first <= data.min() and data.max() <= last):
        outside = (data < first) | (data > last)
        data = np.where(outside, 0, data)
    return data.astype(np.int64, copy=False), times.masked, outside


def _read_object_times(spec: SlotSpec, objects: list[Any]) -> tuple[NDArray[np.int64], Mask | None, Mask | None]:
    missing = np.fromiter(map(is_missing_time, objects), bool, len(objects))
    outside = np.zeros(len(objects), bool)
    try:
        time = read_times([0 if skip else value for value, skip in zip(objects, missing, strict=True)], spec.unit)
    except UnfitValuesError as error:
        if not all(isinstance(problem, TimeRangeError) for problem in error.problems.values()):
            _refuse_values(spec, TIME, error)
        outside[[*error.problems]] = True
        skipped = missing | outside
        time = read_times([0 if skip else value for value, skip in zip(objects, skipped, strict=True)], spec.unit)
    return time, missing, outside


def _make_naive(spec: SlotSpec, objects: list[Any]) -> NDArray[Any]:
    problems: dict[int, ValueError | TypeError] = {
        at: TypeError(f"must be naive datetimes if there is a tz, not {type(value).__name__}")
        for at, value in enumerate(objects)
        if value is not None and not (isinstance(value, datetime) and value.tzinfo is None)
    }
    if problems:
        _refuse_values(spec, TIME, UnfitValuesError(problems))
    return np.array(objects, "M8[us]")


def _count_units(spec: SlotSpec, data: NDArray[Any]) -> tuple[NDArray[np.int64], Mask, Mask]:
    missing = np.isnat(data)
    unit, step = np.datetime_data(data.dtype)
    if unit in ("Y", "M"):  # whose length varies
        far = np.abs(data.astype(f"M8[{unit}]").view(np.int64)) > 12 * 10_000
        data, unit, step = np.where(far, np.array("NaT", data.dtype), data).astype("M8[D]"), "D", 1
    else:
        far = np.zeros(len(data), bool)
    # Times without a unit are all missing.
    ratio = NANOSECONDS.get(unit, NANOSECONDS["ns"]) * step * UNITS_PER_MS[spec.unit] / 1_000_000
    if unit == "generic":
        unit = "ns"
    counts = np.ascontiguousarray(data, f"M8[{step}{unit}]").view(np.int64)
    first, last = find_time_range(spec.unit)
    low, high = -(-first // ratio), last // ratio
    lossy = None
    outside = (counts < max(low, MOST_NEGATIVE + 1)) | (counts > min(high, 2**63 - 1))
    if outside.any():
        counts = np.where(outside, 0, counts)
    if ratio.denominator > 1:
        rests = counts % ratio.denominator if ratio.numerator % ratio.denominator else counts
        lossy = rests != 0
        counts = counts // ratio.denominator
    if ratio.numerator > 1:
        counts = counts * ratio.numerator
    if lossy is not None and lossy.any():
        name = f"has digits that are lost in {UNIT_NAMES[spec.unit]}"
        _refuse_rows(spec, TIME, name, np.flatnonzero(lossy))
    return counts, missing, (outside | far) & ~missing


def _localize(
    spec: SlotSpec, time: NDArray[np.int64], missing: Mask, outside: Mask, zone: tzinfo
) -> tuple[NDArray[np.int64], Mask, Mask]:
    factor = UNITS_PER_MS[spec.unit]
    millis, rests = np.divmod(time, factor)
    first, last = find_time_range(spec.unit)
    # A zone's offset is less than a day.
    outside = outside | (millis < -(-first // factor) + _DAY) | (millis > last // factor - _DAY)
    found = localize_times(np.where(missing | outside, MOST_NEGATIVE, millis), zone, spec.name)
    return np.where(missing | outside, 0, found) * factor + rests, missing, outside & ~missing


_DAY: Final = 86_400_000


# Columns


def _read_column(spec: SlotSpec, column: Column, raw: Any, rows: int) -> Values:
    if raw is None:
        return make_nulls(column, rows)
    cells = take_cells(raw, column.type, is_nan_null=column.nullable or column.type != "float64")
    if len(cells.data) != rows:
        problem = f"the frame's columns differ in length: {rows} times, {len(cells.data)} of {column.name}"
        raise InputError(problem, slot=spec.name)
    if not rows:
        return Values(np.empty(0, STORED_TYPES[column.type]))
    if cells.is_objects:
        try:
            return read_values(column, cells.data)
        except UnfitValuesError as error:
            _refuse_values(spec, column.name, error)
    _check_shape(spec, column.name, cells.data)
    if cells.categories is not None:
        return _read_categories(spec, column, cells)
    convert = _CONVERTERS.get(column.type)
    if convert is None or cells.data.dtype.kind not in _ACCEPTED[column.type]:
        problem = f"the frame's {column.name} must hold {_CONTENTS[column.type]}, not {cells.type}"
        raise InputTypeError(problem, slot=spec.name)
    data = cells.data if cells.nulls is None else np.where(cells.nulls, cells.data.dtype.type(0), cells.data)
    found, bad, problem = convert(data)
    if bad is not None and bad.any():
        _refuse_rows(spec, column.name, problem, np.flatnonzero(bad))
    return Values(np.ascontiguousarray(found), None if cells.nulls is None else ~cells.nulls)


def _read_categories(spec: SlotSpec, column: Column, cells: Cells) -> Values:
    if column.type not in ("category", "str"):
        problem = f"the frame's {column.name} must hold {_CONTENTS[column.type]}, not {cells.type}"
        raise InputTypeError(problem, slot=spec.name)
    names, nulls = [], cells.nulls
    for code, name in enumerate(cells.categories or ()):
        try:
            names.append("" if name is None else check_text(name))
        except (TypeError, ValueError) as error:
            found = cells.data == code
            positions = np.flatnonzero(found if nulls is None else found & ~nulls)
            if len(positions):
                _refuse_values(spec, column.name, UnfitValuesError(dict.fromkeys(positions.tolist(), error)))
            names.append("")
        if name is None:  # PyArrow has nulls among the values, too
            nulls = cells.data == code if nulls is None else nulls | (cells.data == code)
    codes = cells.data.astype(np.int32)
    if column.type == "category":
        return Values(codes if nulls is None else np.where(nulls, np.int32(-1), codes), None, tuple(names))
    texts = np.array([*names, ""], STRINGS)
    if nulls is None:
        return Values(texts[codes])
    return Values(texts[np.where(nulls, len(names), codes)], ~nulls)


#: The values, which of them would change, and what is wrong with these.
_Converted: TypeAlias = tuple[NDArray[Any], Mask | None, str]


def _to_floats(data: NDArray[Any]) -> _Converted:
    problem = "must not lose digits in a float64"
    found = data.astype(np.float64, copy=False)
    if data.dtype.kind == "f":
        return found, (found != data) & ~np.isnan(data) if data.itemsize > 8 else None, problem
    if data.itemsize < 8 or (data.min() >= -_EXACT and data.max() <= _EXACT):
        return found, None, problem
    beyond = found >= 2.0 ** (63 if data.dtype.kind == "i" else 64)
    return found, beyond | (np.where(beyond, 0.0, found).astype(data.dtype) != data), problem


def _to_integers(data: NDArray[Any], kind: np.dtype[Any]) -> _Converted:
    info = np.iinfo(kind)
    outside: Mask | None = None
    if data.dtype.kind == "f":
        # The highest integer of 64 bits is no float: the next one is.
        outside = ~((data >= float(info.min)) & (data < float(info.max + 1)))
        whole = np.where(outside, 0, data)
        return whole.astype(kind), outside | (np.trunc(whole) != whole), f"must hold whole numbers of {kind}"
    if data.dtype.itemsize >= kind.itemsize and data.dtype != kind:
        outside = (data < info.min) | (data > info.max)
    return data.astype(kind, copy=False), outside, f"must be from {info.min} to {info.max}"


def _to_booleans(data: NDArray[Any]) -> _Converted:
    return data, None, ""


_CONVERTERS: Final[Mapping[ColumnType, Callable[[NDArray[Any]], _Converted]]] = {
    "float64": _to_floats,
    "int64": partial(_to_integers, kind=np.dtype(np.int64)),
    "int8": partial(_to_integers, kind=np.dtype(np.int8)),
    "bool": _to_booleans,
}
#: The kinds of NumPy's dtypes that a column takes.
_ACCEPTED: Final[Mapping[ColumnType, str]] = {"float64": "fiu", "int64": "iuf", "int8": "iuf", "bool": "b"}
_CONTENTS: Final[Mapping[ColumnType, str]] = {
    "float64": "numbers",
    "int64": "whole numbers",
    "int8": "whole numbers",
    "bool": "booleans",
    "category": "text",
    "str": "text",
}


# Errors


def _check_shape(spec: SlotSpec, name: str, data: NDArray[Any]) -> None:
    if data.ndim != 1:
        raise InputError(f"the frame's {name} must have one dimension, not {data.ndim}", slot=spec.name)


def _refuse_values(spec: SlotSpec, name: str, error: UnfitValuesError) -> NoReturn:
    problem = next(iter(error.problems.values()))
    kind = InputTypeError if isinstance(problem, TypeError) else InputError
    _refuse_rows(spec, name, str(problem), [*error.problems], kind)


def _refuse_rows(
    spec: SlotSpec, name: str, problem: str, rows: Sequence[int] | NDArray[np.intp], kind: type[InputError] = InputError
) -> NoReturn:
    shown = ", ".join(str(int(row)) for row in rows[:_MOST_SHOWN])
    more = f" and {len(rows) - _MOST_SHOWN:,} more" if len(rows) > _MOST_SHOWN else ""
    raise kind(f"the frame's {name} {problem}: row{'s' * (len(rows) > 1)} {shown}{more}", slot=spec.name) from None
