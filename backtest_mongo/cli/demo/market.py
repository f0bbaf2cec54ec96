"""The market: 5,000 hourly EURUSD candles from April 2017 to February 2018."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from importlib import resources
from typing import Final

from backtest_mongo.types import Candle

__all__ = ["BARS", "EXCHANGE", "INTERVAL", "SYMBOL", "day_of", "load_candles"]

#: How many candles there are.
BARS: Final = 5000
SYMBOL: Final = "EURUSD"
INTERVAL: Final = "1h"
EXCHANGE: Final = "demo-exchange"


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
