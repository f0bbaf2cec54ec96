"""Frames that are to be stored: their columns checked as a whole, and their rows one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from backtest_mongo.arrays import CandleArrays
from backtest_mongo.errors import InputError, InputTypeError
from backtest_mongo.types import PRICES

__all__ = ["columns", "storable"]

_NAMES: Final = ("timestamp", *PRICES)
#: What stands for a time that is missing, as it does in NumPy.
_NAT: Final = np.iinfo(np.int64).min
_KINDS: Final = "a polars or pandas DataFrame, a PyArrow Table, or a mapping or a structured array of NumPy's"


def columns(frame: object) -> CandleArrays:
    """Return the six columns of a frame as they are: in its order, missing times as NumPy's NaT, other nulls as NaN.

    Raises:
        InputTypeError: it is no frame, or a column holds something else than times or numbers.
        InputError: a column is missing, times are naive, or columns differ in length.
    """
    by_name = _by_name(frame)
    missing = [name for name in _NAMES if name not in by_name]
    if missing:
        found = ", ".join(map(str, by_name)) or "none"
        raise InputError(f"the frame lacks {', '.join(missing)}; its columns are {found}", slot="candle")
    times, prices = _times(by_name["timestamp"]), [_floats(name, by_name[name]) for name in PRICES]
    shapes = {column.shape for column in (times, *prices)}
    if len(shapes) > 1 or times.ndim != 1:
        raise InputError(f"the frame's columns differ in length: {sorted(shapes)}", slot="candle")
    return CandleArrays(times, *prices)


def _by_name(frame: object) -> Mapping[str, Any]:
    library = type(frame).__module__.partition(".")[0]
    if library == "polars" and hasattr(frame, "get_columns"):
        return {column.name: column for column in frame.get_columns()}
    if library == "pandas" and hasattr(frame, "columns"):
        by_name = {name: frame[name] for name in frame.columns}  # type: ignore[index]  # a DataFrame
        index = frame.index  # type: ignore[attr-defined]  # likewise
        return by_name if "timestamp" in by_name or index.dtype.kind != "M" else {"timestamp": index, **by_name}
    if library == "pyarrow" and hasattr(frame, "column_names"):
        return {name: frame.column(name) for name in frame.column_names}  # type: ignore[attr-defined]  # a Table
    if isinstance(frame, Mapping):
        return frame
    if isinstance(frame, np.ndarray) and frame.dtype.names:
        return {name: frame[name] for name in frame.dtype.names}
    raise InputTypeError(f"a frame must be {_KINDS}, not {type(frame).__name__}", slot="candle")


def _times(column: Any) -> NDArray[np.int64]:
    """Return a column of times in milliseconds. What knows zones must be aware; NumPy's times are in UTC."""
    library = _library(column)
    kind = str(column.dtype if hasattr(column, "dtype") else getattr(column, "type", ""))
    if library and kind.lower().startswith(("datetime", "timestamp")) and not _has_zone(column):
        raise InputError(
            "the frame's timestamp is naive, and a guess is no time",
            slot="candle",
            hint='say what it is: dt.replace_time_zone("UTC") in polars, dt.tz_localize("UTC") in pandas',
        )
    if library == "pandas" and _has_zone(column):
        column = (column.dt if hasattr(column, "dt") else column).tz_convert(None).to_numpy()
    elif library == "pandas":
        column = column.to_numpy(np.int64, na_value=_NAT) if column.dtype.kind in "iu" else column.to_numpy()
    elif library and "int" in kind.lower():
        column = column.fill_null(_NAT)
    times = np.asarray(column)
    if times.dtype.kind == "M":
        return times.astype("datetime64[ms]").view(np.int64)
    if times.dtype.kind in "iu" or not len(times):
        return times.astype(np.int64)
    raise InputTypeError(
        f"the frame's timestamp must be milliseconds (integers) or typed times, not {kind or times.dtype}",
        slot="candle",
    )


def _has_zone(column: Any) -> bool:
    kind = column.dtype if hasattr(column, "dtype") else column.type
    return any(getattr(kind, name, None) is not None for name in ("tz", "time_zone")) or "tz=" in str(kind)


def _floats(name: str, column: Any) -> NDArray[np.float64]:
    if _library(column) == "pandas" and column.dtype.kind in "fiu":
        column = column.to_numpy(np.float64, na_value=np.nan)
    values = np.asarray(column)
    if values.dtype.kind not in "fiu" and len(values):
        raise InputTypeError(f"the frame's {name} must hold numbers, not {values.dtype}", slot="candle")
    return np.ascontiguousarray(values, np.float64)


def _library(column: object) -> str | None:
    """Return the library of a column that knows zones and nulls."""
    library = type(column).__module__.partition(".")[0]
    return library if library in ("polars", "pandas", "pyarrow") else None


def storable(candles: CandleArrays, step: int, now: int) -> tuple[CandleArrays, dict[str, list[int]]]:
    """Return the rows that can be stored, by time, and for each reason the numbers of those that can't."""
    rows = len(candles)
    left = np.ones(rows, bool)
    refused: dict[str, list[int]] = {}

    def refuse(reason: str, bad: NDArray[np.bool_]) -> None:
        bad = bad & left
        if bad.any():
            refused[reason] = np.flatnonzero(bad).tolist()
            left[bad] = False

    refuse("it has no time", candles.timestamp == _NAT)
    for name, column in zip(PRICES, candles.prices, strict=True):
        refuse(f"{name} is not a finite number", ~np.isfinite(column))
    refuse("it has not closed yet", candles.timestamp > now - step)
    if rows and not (candles.timestamp[1:] > candles.timestamp[:-1]).all():
        order = np.flatnonzero(left)
        order = order[np.argsort(candles.timestamp[order], kind="stable")]
        times = candles.timestamp[order]
        again = np.zeros(rows, bool)
        again[order[1:][times[1:] == times[:-1]]] = True
        refuse("a row before it has the same time", again)
        return candles.take(order[left[order]]), refused
    return candles if left.all() else candles.take(left), refused
