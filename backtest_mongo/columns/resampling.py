"""Candles of trades, and longer candles of shorter ones: pure arithmetic of arrays.

Each row belongs to the interval that its time lies in. An interval without rows has no candle.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backtest_mongo.core.arrays import CandleArrays
from backtest_mongo.core.interval_grid import FixedGrid, IntervalGrid

__all__ = ["fits_into", "make_candles", "merge_candles"]

_DAY = 86_400_000


def make_candles(
    time: NDArray[np.int64], price: NDArray[np.float64], amount: NDArray[np.float64] | None, grid: IntervalGrid
) -> CandleArrays:
    """Return the candles of trades.

    Args:
        time: of each trade, in milliseconds since the epoch, in order.
        price: of each trade; those that are NaN are left out.
        amount: of each trade; NaN counts as 0. Without amounts all volumes are 0.
        grid: of the candles.
    """
    known = ~np.isnan(price)
    if not known.all():
        time, price, amount = time[known], price[known], None if amount is None else amount[known]
    if not len(time):
        return CandleArrays.empty(0)
    opens, starts = _find_intervals(time, grid)
    ends = np.append(starts[1:], len(time)) - 1
    volume = np.zeros(len(starts)) if amount is None else np.add.reduceat(np.nan_to_num(amount, nan=0.0), starts)
    high, low = np.maximum.reduceat(price, starts), np.minimum.reduceat(price, starts)
    return CandleArrays(opens, price[starts], high, low, price[ends], volume)


def merge_candles(candles: CandleArrays, grid: IntervalGrid) -> CandleArrays:
    """Return longer candles; the shorter ones are in order, and each lies within one interval."""
    if not len(candles):
        return candles
    opens, starts = _find_intervals(candles.timestamp, grid)
    ends = np.append(starts[1:], len(candles)) - 1
    return CandleArrays(
        opens,
        candles.open[starts],
        np.maximum.reduceat(candles.high, starts),
        np.minimum.reduceat(candles.low, starts),
        candles.close[ends],
        np.add.reduceat(candles.volume, starts),
    )


def _find_intervals(time: NDArray[np.int64], grid: IntervalGrid) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Return when the intervals of some times open, and where each of them begins."""
    places, _ = grid.locate_all(time)
    starts = np.flatnonzero(np.append(True, places[1:] != places[:-1]))
    return grid.times_of(places[starts]), starts


def fits_into(short: IntervalGrid, long: IntervalGrid) -> bool:
    """Return whether every interval of one grid is a number of whole intervals of another, shorter one."""
    if not isinstance(short, FixedGrid) or short.shortest >= long.shortest:
        return False
    if isinstance(long, FixedGrid):
        return long.step % short.step == 0 and (long.origin - short.origin) % short.step == 0
    return _DAY % short.step == 0 and short.origin % short.step == 0
