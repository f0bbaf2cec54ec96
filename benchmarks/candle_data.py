"""Candles to measure with: generated from a fixed seed, and the hourly ones that the package ships."""

from __future__ import annotations

from importlib.resources import files
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["COLUMNS", "DAY", "FULL", "MINUTE", "NODE", "START", "Frame", "forex", "market", "shipped"]

Floats: TypeAlias = NDArray[np.float64]
#: Columns by name: ``timestamp`` as int64 in milliseconds (UTC), and five of float64.
Frame: TypeAlias = dict[str, NDArray[Any]]

COLUMNS: Final = ("timestamp", "open", "high", "low", "close", "volume")
MINUTE: Final = 60_000
#: Rows per day.
DAY: Final = 1_440
#: 2005-01-01, and the number of minutes until 2025.
START: Final = 1_104_537_600_000
FULL: Final = 7_305 * DAY
#: Time of the Node package, measured separately, in seconds per candle of a window.
NODE: Final = 0.00068
_WEEK: Final = 7 * DAY


def market(rows: int) -> Frame:
    """Return minutes of a market that never closes: five-digit prices with two decimals, volumes with five."""
    generator = np.random.default_rng(20_050_101)
    times = START + MINUTE * np.arange(rows)
    closes = 30_000 * np.exp(_walk(generator, times, 0.0005))
    frame = _candles(generator, times, closes, 0.0003, 2)
    activity = np.abs(frame["close"] / frame["open"] - 1) / 0.0005
    frame["volume"] = np.round((0.3 + activity) * generator.lognormal(2.0, 1.0, rows), 5)
    return frame


def forex(rows: int) -> Frame:
    """Return minutes of a market that closes from Friday to Sunday, 22:00: five decimals, volumes in whole ticks."""
    generator = np.random.default_rng(20_050_102)
    times = START + MINUTE * np.arange(rows * 7 // 5 + _WEEK)
    # The epoch was a Thursday: Friday, 22:00, is 46 hours after its start.
    in_week = (times // MINUTE - 46 * 60) % _WEEK
    times = times[in_week >= 2 * DAY][:rows]
    closes = 1.1 * np.exp(_walk(generator, times, 0.00008))
    frame = _candles(generator, times, closes, 0.00005, 5)
    frame["volume"] = np.round(_by_day(generator, times) * generator.lognormal(3.5, 0.6, rows)) + 1
    return frame


def shipped() -> Frame:
    """Return the 5,000 hours of EURUSD that the demo replays."""
    text = files("backtest_mongo.cli.demo").joinpath("eurusd-1h.csv").read_text()
    values = np.array([line.split(",") for line in text.split()[1:]], dtype=np.float64)
    frame: Frame = dict(zip(COLUMNS, np.ascontiguousarray(values.T), strict=True))
    frame["timestamp"] = frame["timestamp"].astype(np.int64)
    return frame


def _walk(generator: np.random.Generator, times: NDArray[np.int64], deviation: float) -> Floats:
    """Return the logarithm of a price that ends where it began, with volatility that varies by day and hour."""
    steps = generator.standard_t(5, len(times)) * deviation * _by_day(generator, times)
    walk: Floats = np.cumsum(steps)
    # However long the walk is, the price stays realistic.
    walk -= np.linspace(0.0, walk[-1], len(walk))
    walk /= max(1.0, float(np.abs(walk).max()))
    return walk


def _by_day(generator: np.random.Generator, times: NDArray[np.int64]) -> Floats:
    days = times // (DAY * MINUTE)
    level = generator.lognormal(0.0, 0.4, int(days[-1] - days[0]) + 1)[days - days[0]]
    hours = (times % (DAY * MINUTE)) / (DAY * MINUTE)
    return np.asarray(level * (1 + 0.5 * np.sin(2 * np.pi * (hours - 0.4))))


def _candles(
    generator: np.random.Generator, times: NDArray[np.int64], closes: Floats, spread: float, decimals: int
) -> Frame:
    closes = _rounded(closes, decimals)
    # A candle opens at the previous close, or a tick away from it.
    ticks = generator.integers(-1, 2, len(times)) * 10.0**-decimals
    opens = _rounded(np.concatenate((closes[:1], closes[:-1])) + ticks, decimals)
    above, below = generator.exponential(spread, (2, len(times)))
    highs = _rounded(np.maximum(opens, closes) * (1 + above), decimals)
    lows = _rounded(np.minimum(opens, closes) * (1 - below), decimals)
    return dict(zip(COLUMNS, (times, opens, highs, lows, closes), strict=False))


def _rounded(values: Floats, decimals: int) -> Floats:
    return np.asarray(np.round(values, decimals), np.float64)
