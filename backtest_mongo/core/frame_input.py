"""Frames to be stored: their columns are checked as a whole, and their rows one by one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from backtest_mongo.core.arrays import CandleArrays
from backtest_mongo.core.candle_headers import find_columns, named_unit, plain_symbol
from backtest_mongo.core.candle_rules import find_duplicates, find_impossible_rows
from backtest_mongo.core.frame_columns import (
    find_library,
    find_time_zone,
    list_columns,
    localize_times,
    take_times,
    unmask,
)
from backtest_mongo.core.interval_grid import IntervalGrid
from backtest_mongo.core.time_zones import NO_TIME
from backtest_mongo.errors import InputError, InputTypeError
from backtest_mongo.types import PRICES

__all__ = ["NOT_CLOSED", "read_columns", "select_storable"]

#: Why a candle that is still open is not stored.
NOT_CLOSED: Final = "it has not closed yet"

_NAMES: Final = ("timestamp", *PRICES)
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
    zone = find_time_zone(tz, "candle")
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
    if type(frame).__module__.partition(".")[0] == "pandas" and hasattr(frame, "columns"):
        return _of_pandas(frame, symbol)
    named = list_columns(frame)
    if named is not None:
        return named
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


def _times(column: Any, zone: tzinfo | None) -> NDArray[np.int64]:
    """Return a column of times in milliseconds. It must be aware if its library knows zones; NumPy's are in UTC."""
    found = take_times(column, zone, "candle")
    times, masked = found
    if times.dtype.kind == "u":  # a count that needs the 64th bit must not become a time before the epoch
        times = np.minimum(times.astype(np.uint64), np.uint64(_LATEST))
    millis = times.astype("datetime64[ms]").view(np.int64) if found.is_typed else times.astype(np.int64)
    if masked is not None:
        millis = np.where(masked, NO_TIME, millis)
    return localize_times(millis, zone, "candle") if found.is_typed and zone is not None else millis


def _floats(name: str, column: Any) -> NDArray[np.float64]:
    if find_library(column) == "pandas" and column.dtype.kind in "fiu":
        column = column.to_numpy(np.float64, na_value=np.nan)
    values, masked = unmask(column)
    if values.dtype.kind not in "fiu" and len(values):
        raise InputTypeError(f"the frame's {name} must hold numbers, not {values.dtype}", slot="candle")
    floats = np.ascontiguousarray(values, np.float64)
    return floats if masked is None else np.where(masked, np.nan, floats)


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
