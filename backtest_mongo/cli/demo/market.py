"""The market: 5,000 hourly EURUSD candles from April 2017 to February 2018, and reading windows of them."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import resources
from typing import Final

from backtest_mongo.contracts import CandleContract
from backtest_mongo.types import INTERVAL_MS, Candle

__all__ = ["BARS", "EXCHANGE", "INTERVAL", "SYMBOL", "day_of", "load_candles", "read_bars", "split_at_breaks"]

#: How many candles there are.
BARS: Final = 5000
SYMBOL: Final = "EURUSD"
INTERVAL: Final = "1h"
EXCHANGE: Final = "demo-exchange"

_STEP: Final = INTERVAL_MS[INTERVAL]


def load_candles(bars: int = BARS) -> list[Candle]:
    """Return the first ``bars`` candles that come with this package."""
    text = resources.files("backtest_mongo.cli.demo").joinpath("eurusd-1h.csv").read_text(encoding="ascii")
    return [
        {
            "timestamp": int(row["timestamp"]),
            "open": float(row["open"]),
            "high": float(row["high"]),
            "low": float(row["low"]),
            "close": float(row["close"]),
            "volume": float(row["volume"]),
        }
        for row in list(csv.DictReader(text.splitlines()))[:bars]
    ]


def day_of(timestamp: int) -> str:
    """Return the UTC day of a time in milliseconds, such as ``2017-04-19``."""
    return datetime.fromtimestamp(timestamp / 1000, UTC).date().isoformat()


def split_at_breaks(times: Sequence[int]) -> list[tuple[int, int]]:
    """Split ascending open times where the market was closed; return the start and the length of each part."""
    found: list[tuple[int, int]] = []
    for time in times:
        start, length = found[-1] if found else (time, 0)
        if time == start + length * _STEP:
            found[-1:] = [(start, length + 1)]
        else:
            found.append((time, 1))
    return found


async def read_bars(candles: CandleContract, times: Sequence[int]) -> list[Candle]:
    """Read the candles that opened at ``times``, which ascend.

    A window of candles has no gaps, and a weekend is a gap, so each stretch of open hours is read as its own window.

    Raises:
        LookupError: one of them is not stored.
    """
    parts = split_at_breaks(times)
    windows = await asyncio.gather(*(candles.read_candles_data(length, start) for start, length in parts))
    bars: list[Candle] = []
    for (start, length), window in zip(parts, windows, strict=True):
        if window is None:
            raise LookupError(f"not all of the {length} candles from {start} on are stored")
        bars += window
    return bars
