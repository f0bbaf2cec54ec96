"""Candles as frames of polars, pandas, PyArrow or NumPy, and frames as candles.

A frame has the columns ``timestamp``, ``open``, ``high``, ``low``, ``close`` and ``volume``. Candles are not copied
where a library can use their memory as it is.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from backtest_mongo.core.arrays import CandleArrays
from backtest_mongo.core.gaps import find_missing
from backtest_mongo.core.interval_grid import IntervalGrid
from backtest_mongo.core.wording import suggest_extra
from backtest_mongo.errors import InputError
from backtest_mongo.types import PRICES

__all__ = ["Fill", "Kind", "check_arguments", "check_kind", "fill_gaps", "to_frame"]

#: The libraries that frames come in.
Kind: TypeAlias = Literal["polars", "pandas", "numpy", "arrow"]
#: What takes the place of a missing candle.
Fill: TypeAlias = Literal["null", "forward"]
Mask: TypeAlias = NDArray[np.bool_] | None

_NEEDED: Final[Mapping[Kind, tuple[str, ...]]] = {
    "polars": ("polars",),
    "pandas": ("pandas",),
    "numpy": (),
    "arrow": ("pyarrow",),
}
_MOST_ROWS: Final = 100_000_000


def fill_gaps(
    candles: CandleArrays,
    interval: IntervalGrid,
    first: int | None,
    end: int | None,
    how: Fill,
    before: int | None = None,
    after: int | None = None,
    *,
    slot: str = "candle",
) -> tuple[CandleArrays, Mask]:
    """Return the candles with a row for each missing one, and which rows are null. Every candle stays.

    Args:
        first: where the rows begin; ``None`` for the first candle.
        end: where they end; ``None`` for the last candle.
        how: ``null`` leaves rows without a candle null; ``forward`` makes them flat candles at the close before,
            without volume, and leaves those before the first candle null.
        before: the time of the candle before the range, if there is one.
        after: the time of the first candle after it.
        slot: for the error.
    """
    times = candles.timestamp
    if len(times):
        lead, leading = 0, range(0)
        if first is not None:
            lead, leading = find_missing(interval, before, int(times[0]), first, end)
        inner = interval.missing_all(times)
        last = int(times[-1])
        trailing = 0 if end is None else len(find_missing(interval, last, after, None, end)[1])
        behind = np.append(inner, trailing)
    elif first is None or end is None:
        return candles, None
    else:
        lead, leading = find_missing(interval, before, after, first, end)
        behind = np.zeros(0, np.int64)
    rows = len(leading) + len(times) + int(behind.sum())
    if rows > _MOST_ROWS:
        raise InputError(f"fill={how!r} would make {rows:,} rows", slot=slot, hint="choose a shorter range")
    at = len(leading) + np.arange(len(times)) + np.cumsum(behind) - behind
    whole = CandleArrays.empty(rows)
    missing = np.ones(rows, bool)
    missing[at] = False
    leads = np.full(len(leading), lead)
    whole.timestamp[: len(leading)] = interval.shift_all(leads, np.arange(leading.start, leading.stop))
    from_each = np.arange(len(leading), rows) - np.repeat(at, behind + 1)
    whole.timestamp[len(leading) :] = interval.shift_all(np.repeat(times, behind + 1), from_each)
    for column, values in zip(whole.prices, candles.prices, strict=True):
        column[:] = np.nan
        column[at] = values
    if how == "forward" and rows:
        missing = _carry_forward(whole, missing)
    return whole, missing if missing.any() else None


def _carry_forward(whole: CandleArrays, missing: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Put flat candles where some are missing, and return the rows that have no candle before them."""
    last = np.maximum.accumulate(np.where(missing, -1, np.arange(len(missing))))
    known = missing & (last >= 0)
    for column in (whole.open, whole.high, whole.low, whole.close):
        column[known] = whole.close[last[known]]
    whole.volume[known] = 0.0
    return missing & (last < 0)


def check_kind(kind: object, slot: str) -> None:
    """Check that a frame of this kind can be made, before anything is read.

    Raises:
        InputError: the kind is unknown, or its library is not installed.
    """
    if not isinstance(kind, str) or kind not in _MAKERS:
        raise InputError(f"as_ must be one of {', '.join(_MAKERS)}, not {kind!r}", slot=slot)
    for library in _NEEDED[cast("Kind", kind)]:
        if importlib.util.find_spec(library) is None:
            raise InputError(
                f"as_={kind!r} needs {library}, which is not installed",
                slot=slot,
                hint=f'{suggest_extra("frames")}; as_="numpy" needs nothing more',
            )


def check_arguments(kind: object, fill: object, slot: str) -> None:
    """Check that a frame can be made, before anything is read.

    Raises:
        InputError: the kind is unknown, its library is not installed, or the way to fill is unknown.
    """
    check_kind(kind, slot)
    if fill not in (None, "null", "forward"):
        raise InputError(f"fill must be None, null or forward, not {fill!r}", slot=slot)


def to_frame(candles: CandleArrays, missing: Mask, kind: Kind) -> Any:
    """Return the candles as a frame; rows that are ``missing`` have a time and nothing else."""
    return _MAKERS[kind](candles, missing)


def _columns(candles: CandleArrays) -> Mapping[str, NDArray[np.float64]]:
    return dict(zip(PRICES, candles.prices, strict=True))


def _numpy(candles: CandleArrays, missing: Mask) -> dict[str, NDArray[Any]]:
    return {"timestamp": candles.timestamp.view("datetime64[ms]"), **_columns(candles)}


def _pandas(candles: CandleArrays, missing: Mask) -> Any:
    import pandas

    times = pandas.DatetimeIndex(candles.timestamp.view("datetime64[ms]"), tz="UTC", copy=False)
    return pandas.DataFrame({"timestamp": times, **_columns(candles)}, copy=False)


def _arrow(candles: CandleArrays, missing: Mask) -> Any:
    import pyarrow

    arrow: Any = pyarrow  # its buffers take any array, which its types do not know

    def column(values: NDArray[Any], kind: Any, empty: Mask) -> Any:
        valid = None if empty is None else arrow.py_buffer(np.packbits(~empty, bitorder="little"))
        return arrow.Array.from_buffers(kind, len(values), [valid, arrow.py_buffer(np.ascontiguousarray(values))])

    prices = {name: column(values, arrow.float64(), missing) for name, values in _columns(candles).items()}
    return arrow.table({"timestamp": column(candles.timestamp, arrow.timestamp("ms", tz="UTC"), None), **prices})


def _polars(candles: CandleArrays, missing: Mask) -> Any:
    import polars

    times = polars.Series("timestamp", candles.timestamp).cast(polars.Datetime("ms", "UTC"))
    frame = polars.DataFrame([times, *(polars.Series(name, values) for name, values in _columns(candles).items())])
    if missing is None:
        return frame
    return frame.with_columns(polars.when(polars.Series(~missing)).then(polars.col(PRICES)))


_MAKERS: Final[Mapping[Kind, Callable[[CandleArrays, Mask], Any]]] = {
    "polars": _polars,
    "pandas": _pandas,
    "numpy": _numpy,
    "arrow": _arrow,
}
