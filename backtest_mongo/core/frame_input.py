"""Frames to be stored: their columns are checked as a whole, and their rows one by one."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from backtest_mongo.core.arrays import CandleArrays
from backtest_mongo.core.candle_headers import find_columns, named_unit, plain_symbol
from backtest_mongo.core.candle_rules import find_duplicates, find_impossible_rows
from backtest_mongo.core.interval_grid import IntervalGrid
from backtest_mongo.core.time_zones import localize
from backtest_mongo.errors import InputError, InputTypeError
from backtest_mongo.types import PRICES

__all__ = ["NOT_CLOSED", "read_columns", "select_storable"]

#: Why a candle that is still open is not stored.
NOT_CLOSED: Final = "it has not closed yet"

_NAMES: Final = ("timestamp", *PRICES)
#: A missing time, as in NumPy.
_NAT: Final = np.iinfo(np.int64).min
_LATEST: Final = np.iinfo(np.int64).max
_KINDS: Final = (
    "a polars or pandas DataFrame, a PyArrow Table, a mapping or a structured array of NumPy's, or ccxt's lists of "
    "[time, open, high, low, close, volume]"
)


def read_columns(frame: object, tz: str | tzinfo | None = None, symbol: str = "") -> CandleArrays:
    """Return the six columns of a frame, in its order; missing times are NumPy's NaT, other nulls NaN.

    Masked values count as missing.

    Args:
        tz: the zone of naive times.
        symbol: whose columns to take from a frame of several symbols.

    Raises:
        InputTypeError: it is no frame, or a column holds neither times nor numbers.
        InputError: a column is missing or given twice, times are naive, or columns differ in length.
    """
    by_name = _pick(_by_name(frame, symbol))
    zone = _zone(tz)
    times, prices = _times(by_name["timestamp"], zone), [_floats(name, by_name[name]) for name in PRICES]
    shapes = {column.shape for column in (times, *prices)}
    if len(shapes) > 1 or times.ndim != 1:
        raise InputError(f"the frame's columns differ in length: {sorted(shapes)}", slot="candle")
    return CandleArrays(times, *prices)


def _pick(named: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return the six columns by the names that they have here, whichever of the usual names the frame has."""
    names = [name for name, _ in named]
    twice = find_duplicates(names)
    if twice:
        raise InputError(f"the frame has {', '.join(twice)} more than once", slot="candle")
    if all(name in names for name in _NAMES):
        return {name: column for name, column in named if name in _NAMES}
    try:
        indexes = find_columns(names, "the frame")
    except InputError as error:
        plain = [name.lower() for name in names]
        missing = [name for name in _NAMES if name not in plain]
        if not missing:
            raise InputError(str(error), slot="candle") from None
        found = ", ".join(names) or "none"
        raise InputError(f"the frame lacks {', '.join(missing)}; its columns are {found}", slot="candle") from None
    if indexes.clock is not None:
        raise InputError("the frame has a date and a time in two columns", slot="candle", hint="combine them")
    name, times = named[indexes.time]
    if named_unit(name) not in (None, "ms") or name.lower().startswith(("unix", "epoch")):
        kind = str(getattr(times, "dtype", getattr(times, "type", ""))).lower()
        if not kind.startswith(("datetime", "timestamp")):
            raise InputError(
                f"the frame's {name} may not be in milliseconds",
                slot="candle",
                hint="use typed times, or a column timestamp in milliseconds",
            )
    return dict(zip(_NAMES, (times, *(named[index][1] for index in indexes.prices)), strict=True))


def _by_name(frame: object, symbol: str) -> list[tuple[str, Any]]:
    library = type(frame).__module__.partition(".")[0]
    if library == "polars" and hasattr(frame, "get_columns"):
        return [(column.name, column) for column in frame.get_columns()]
    if library == "pandas" and hasattr(frame, "columns"):
        return _of_pandas(frame, symbol)
    if library == "pyarrow" and hasattr(frame, "column_names"):
        return [(name, frame.column(index)) for index, name in enumerate(frame.column_names)]  # type: ignore[attr-defined]  # a Table
    if isinstance(frame, Mapping):
        return [(str(name), column) for name, column in frame.items()]
    if isinstance(frame, np.ndarray) and frame.dtype.names:
        return [(name, frame[name]) for name in frame.dtype.names]
    if isinstance(frame, list | tuple) and all(isinstance(row, list | tuple) for row in frame):
        return _of_rows(frame)
    raise InputTypeError(f"a frame must be {_KINDS}, not {type(frame).__name__}", slot="candle")


def _of_pandas(frame: Any, symbol: str) -> list[tuple[str, Any]]:
    if frame.columns.nlevels == 2:
        frame = _of_one_symbol(frame, symbol)
    # By position, as a name may occur twice.
    named = [(str(name), frame.iloc[:, index]) for index, name in enumerate(frame.columns)]
    if frame.index.dtype.kind == "M" and "timestamp" not in frame.columns:
        # The index is the time, whatever it is called; a candle has no other column of times.
        return [
            ("timestamp", frame.index),
            *((name, column) for name, column in named if column.dtype.kind not in "mM"),
        ]
    return named


def _of_one_symbol(frame: Any, symbol: str) -> Any:
    """Return the columns of one symbol in a frame of yfinance, which has two levels of names."""
    level = next(
        (
            at
            for at in (0, 1)
            if {"open", "close"} <= {str(name).lower() for name in frame.columns.get_level_values(at)}
        ),
        None,
    )
    if level is None:
        raise InputError("the frame's columns have two levels, neither of which names open and close", slot="candle")
    symbols = list(dict.fromkeys(frame.columns.get_level_values(1 - level)))
    chosen = [one for one in symbols if not symbol or plain_symbol(str(one)) == plain_symbol(symbol)]
    if len(chosen) != 1:
        found = ", ".join(map(str, symbols))
        raise InputError(f"the frame has columns of {found}, not of {symbol}", slot="candle", hint=_CHOOSE)
    return frame.xs(chosen[0], axis=1, level=1 - level)


_CHOOSE: Final = "take one symbol's columns with frame.xs(SYMBOL, axis=1, level=...)"


def _of_rows(rows: Sequence[Sequence[Any]]) -> list[tuple[str, Any]]:
    widths = {len(row) for row in rows}
    if widths - {len(_NAMES)}:
        raise InputError(
            f"rows of a list must be {', '.join(_NAMES)}: some have {min(widths - {len(_NAMES)})} fields", slot="candle"
        )
    named: list[tuple[str, Any]] = []
    for index, name in enumerate(_NAMES):
        values = [row[index] for row in rows]
        if name != "timestamp" and any(value is None for value in values):
            values = [np.nan if value is None else value for value in values]
        named.append((name, values))
    return named


def _zone(tz: str | tzinfo | None) -> tzinfo | None:
    if not isinstance(tz, str):
        if tz is not None and not isinstance(tz, tzinfo):
            raise InputTypeError(f"tz must be the name of a zone or a tzinfo, not {type(tz).__name__}", slot="candle")
        return tz
    try:
        return ZoneInfo(tz)
    except (ValueError, OSError, KeyError):
        raise InputError(f"tz {tz!r} is not a time zone", slot="candle") from None


def _times(column: Any, zone: tzinfo | None) -> NDArray[np.int64]:
    """Return a column of times in milliseconds. It must be aware if its library knows zones; NumPy's are in UTC."""
    library = _library(column)
    kind = str(column.dtype if hasattr(column, "dtype") else getattr(column, "type", ""))
    typed = kind.lower().startswith(("datetime", "timestamp"))
    aware = bool(library) and typed and _has_zone(column)
    if zone is not None and (aware or not typed):
        raise InputError("tz is for naive times, and the frame's timestamp has a zone", slot="candle")
    if library and typed and not aware and zone is None:
        raise InputError(
            "the frame's timestamp is naive: its time zone is unknown",
            slot="candle",
            hint="name the zone: write_frame(frame, tz=...) takes UTC, America/New_York, ...",
        )
    is_counted = column.dtype.kind in "iu" if library == "pandas" else bool(library) and "int" in kind.lower()
    if library == "pandas" and aware:
        column = (column.dt if hasattr(column, "dt") else column).tz_convert(None).to_numpy()
    elif library == "pandas" and not is_counted:
        column = column.to_numpy()
    times, masked = _integers(column) if is_counted else _unmasked(column)
    if times.dtype.kind not in "Miu" and len(times):
        raise InputTypeError(
            f"the frame's timestamp must be milliseconds (integers) or typed times, not {kind or times.dtype}",
            slot="candle",
        )
    if times.dtype.kind == "u":  # a count that needs the 64th bit must not become a time before the epoch
        times = np.minimum(times.astype(np.uint64), np.uint64(_LATEST))
    is_typed = times.dtype.kind == "M"
    millis = times.astype("datetime64[ms]").view(np.int64) if is_typed else times.astype(np.int64)
    if masked is not None:
        millis = np.where(masked, _NAT, millis)
    return _localized(millis, zone) if is_typed and zone is not None else millis


def _integers(column: Any) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Return the integers of a library's column, and which of them are null if any are."""
    if hasattr(column, "isna"):
        kind = np.uint64 if column.dtype.kind == "u" else np.int64
        values, nulls = column.to_numpy(kind, na_value=0), np.asarray(column.isna())
    else:
        values, nulls = np.asarray(column.fill_null(0)), np.asarray(column.is_null())
    return values, nulls if nulls.any() else None


def _unmasked(column: Any) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Return a column's values, and which of them are masked if any can be."""
    masks: Any = sys.modules.get("numpy.ma")  # if it isn't imported, nothing is masked
    if masks is None:
        return np.asarray(column), None
    if isinstance(column, list | tuple) and any(value is masks.masked for value in column):
        masked = np.array([value is masks.masked for value in column])
        known = [value for value in column if value is not masks.masked]
        values = np.zeros(len(column), np.asarray(known).dtype)
        values[~masked] = known
        return values, masked
    if isinstance(column, masks.MaskedArray):
        return np.asarray(column.data), masks.getmaskarray(column)
    return np.asarray(column), None


def _localized(millis: NDArray[np.int64], zone: tzinfo) -> NDArray[np.int64]:
    found = localize(millis, zone)
    lost = np.flatnonzero((found == _NAT) & (millis != _NAT))
    if len(lost):
        first = np.datetime64(int(millis[lost[0]]), "ms")
        raise InputError(
            f"the frame's time {first} in row {lost[0]} is skipped or repeated in {zone}",
            slot="candle",
            hint="the clocks change then: make the times aware",
        )
    return found


def _has_zone(column: Any) -> bool:
    kind = column.dtype if hasattr(column, "dtype") else column.type
    return any(getattr(kind, name, None) is not None for name in ("tz", "time_zone")) or "tz=" in str(kind)


def _floats(name: str, column: Any) -> NDArray[np.float64]:
    if _library(column) == "pandas" and column.dtype.kind in "fiu":
        column = column.to_numpy(np.float64, na_value=np.nan)
    values, masked = _unmasked(column)
    if values.dtype.kind not in "fiu" and len(values):
        raise InputTypeError(f"the frame's {name} must hold numbers, not {values.dtype}", slot="candle")
    floats = np.ascontiguousarray(values, np.float64)
    return floats if masked is None else np.where(masked, np.nan, floats)


def _library(column: object) -> str | None:
    """Return the library of a column, if it is one that knows zones and nulls."""
    library = type(column).__module__.partition(".")[0]
    return library if library in ("polars", "pandas", "pyarrow") else None


def select_storable(
    candles: CandleArrays, interval: IntervalGrid, now: int
) -> tuple[CandleArrays, dict[str, list[int]]]:
    """Return the rows that can be stored, by time, and the numbers of all others by the reason."""
    rows = len(candles)
    left = np.ones(rows, bool)
    refused: dict[str, list[int]] = {}

    def refuse(reason: str, bad: NDArray[np.bool_]) -> None:
        bad = bad & left
        if bad.any():
            refused[reason] = np.flatnonzero(bad).tolist()
            left[bad] = False

    by_name = dict(zip(_NAMES, (candles.timestamp, *candles.prices), strict=True))
    for reason, impossible in find_impossible_rows(by_name).items():
        refused[reason] = impossible.tolist()
        left[impossible] = False
    refuse(NOT_CLOSED, interval.open_at(candles.timestamp, now))
    if rows and not (candles.timestamp[1:] > candles.timestamp[:-1]).all():
        order = np.flatnonzero(left)
        order = order[np.argsort(candles.timestamp[order], kind="stable")]
        times = candles.timestamp[order]
        again = np.zeros(rows, bool)
        again[order[1:][times[1:] == times[:-1]]] = True
        refuse("a row before it has the same time", again)
        return candles.take(order[left[order]]), refused
    return candles if left.all() else candles.take(left), refused
