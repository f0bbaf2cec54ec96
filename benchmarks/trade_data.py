"""Trades and ticks to measure with, generated from a fixed seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from backtest_mongo.columns.arrays import ColumnArrays, Values
from backtest_mongo.core.slots import SERIES
from backtest_mongo.core.specs import SlotSpec

__all__ = ["HOUR", "TICK", "TICK_STEP", "TRADE", "choose_hours", "make_ticks", "make_trades", "shift_trades"]

TRADE: Final[SlotSpec] = next(spec for spec in SERIES if spec.name == "trade")
TICK: Final[SlotSpec] = next(spec for spec in SERIES if spec.name == "tick")
#: In microseconds, as all times here.
HOUR: Final = 3_600_000_000
#: Between ticks; MongoDB's own dates, which vnpy_mongodb uses, hold milliseconds.
TICK_STEP: Final = 500_000
#: 2024-12-01.
_START: Final = 1_733_011_200_000_000


def make_trades(rows: int) -> ColumnArrays:
    """Return trades of a market: orders that are filled in several trades at one time, at prices of one decimal."""
    generator = np.random.default_rng(20_241_201)
    fills = generator.geometric(0.4, rows)
    orders = np.repeat(np.arange(rows), fills)[:rows]
    pauses = generator.exponential(generator.choice([2_000.0, 60_000.0, 400_000.0], rows)).astype(np.int64)
    sells = np.repeat(generator.random(rows // 8 + 1) < 0.5, 8)[:rows] ^ (generator.random(rows) < 0.2)
    middle = 60_000 + np.cumsum(generator.standard_t(4, rows)) * 0.4
    within = np.arange(rows) - np.searchsorted(orders, orders)
    ticks = np.round(middle[orders] * 10) + np.where(sells[orders], -1, 1) * (within // 2)
    amounts = np.round(generator.lognormal(-4.5, 1.6, rows), 5) + 0.00001
    is_round = generator.random(rows) < 0.2
    amounts[is_round] = generator.choice([0.001, 0.002, 0.005, 0.01, 0.1], int(is_round.sum()))
    values = {
        "price": Values(ticks / 10),
        "amount": Values(np.round(amounts, 5)),
        "side": Values(sells[orders].astype(np.int32), None, ("buy", "sell")),
    }
    return ColumnArrays(_START + np.cumsum(pauses)[orders], 4_200_000_000 + np.arange(rows), values)


def shift_trades(trades: ColumnArrays, times: int) -> Iterator[ColumnArrays]:
    """Yield the same trades so many times, each time after the ones before."""
    span = int(trades.time[-1]) - int(trades.time[0]) + 1
    ids = np.asarray(trades.sequence)
    for number in range(times):
        yield ColumnArrays(trades.time + number * span, ids + number * len(trades), trades.values)


def choose_hours(trades: ColumnArrays, count: int, *, repeats: int = 1) -> list[tuple[int, int]]:
    """Return so many half-open ranges of one hour; ``repeats`` is how often ``shift_trades`` repeated the trades."""
    first, last = int(trades.time[0]), int(trades.time[-1])
    end = first + (last - first + 1) * repeats
    starts = np.random.default_rng(1).integers(first, max(end - HOUR, first + 1), count)
    return [(start, start + HOUR) for start in starts.tolist()]


def make_ticks(rows: int) -> dict[str, NDArray[Any]]:
    """Return snapshots of a market, two a second, as columns of :class:`~backtest_mongo.TickAdapter`."""
    generator = np.random.default_rng(20_241_202)
    last = 3_500 + np.cumsum(generator.integers(-1, 2, rows))
    volumes = np.cumsum(generator.integers(0, 40, rows))
    frame: dict[str, NDArray[Any]] = {
        "timestamp": _START + TICK_STEP * np.arange(rows),
        "volume": volumes,
        "turnover": volumes * 35_000,
        "open_interest": 1_500_000 + np.cumsum(generator.integers(-20, 21, rows)),
        "last_price": last,
        "last_volume": generator.integers(1, 40, rows),
    }
    day = {"limit_up": 3_850, "limit_down": 3_150, "open_price": 3_490, "pre_close": 3_500}
    frame |= {name: np.full(rows, value) for name, value in day.items()}
    frame |= {"high_price": np.maximum.accumulate(last), "low_price": np.minimum.accumulate(last)}
    for level in range(1, 6):
        frame |= {f"bid_price_{level}": last - level, f"ask_price_{level}": last + level}
        frame |= {f"{side}_volume_{level}": generator.integers(1, 500, rows) for side in ("bid", "ask")}
    return {name: values.astype(np.int64 if name == "timestamp" else np.float64) for name, values in frame.items()}
