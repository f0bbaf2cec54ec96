"""The commands that work with candles, run on a database and on files of a test."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from pymongo import MongoClient

import backtest_mongo
from backtest_mongo import CandleAdapter, setup
from tests.support.commands import Done, invoke

PROJECT = Path(backtest_mongo.__file__).parent.parent
EURUSD = PROJECT / "backtest_mongo" / "cli" / "demo" / "eurusd-1h.csv"
MINUTE = 60_000
HOUR = 60 * MINUTE
START = 1_704_067_200_000  # 2024-01-01 00:00 UTC
SERIES = ("--symbol", "BTCUSDT", "--interval", "1m", "--exchange", "binance")
EUR = ("--symbol", "EURUSD", "--interval", "1h", "--exchange", "demo")


@dataclass
class Database:
    """A database of its own that the environment names, and raw access to it."""

    name: str
    environment: dict[str, str]
    client: MongoClient[dict[str, Any]]

    def rows(self) -> int:
        return self.client[self.name]["candle-items"].count_documents({})

    def frame(self, symbol: str, interval: Any, exchange: str, **options: Any) -> pl.DataFrame:
        async def read() -> pl.DataFrame:
            async with setup():
                frame: pl.DataFrame = await CandleAdapter(symbol, interval, exchange).read_frame(**options)
                return frame

        return asyncio.run(read())


def run_candles(*arguments: object) -> Done:
    """Run a command in this process."""
    return invoke("candles", *arguments)


def start_candles(*arguments: object, **streams: Any) -> subprocess.Popen[str]:
    """Start a command as a process of its own, which inherits the environment."""
    command = [sys.executable, "-m", "backtest_mongo", "candles", *map(str, arguments)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.Popen(command, text=True, env={**os.environ, "PYTHONPATH": str(PROJECT)}, **streams)


def write_csv(
    path: Path, rows: int, *, first: int = START, step: int = MINUTE, skip: Callable[[int], bool] = bool
) -> Path:
    """Write a CSV file of candles, in which price and volume tell the place."""
    skipped = (lambda index: False) if skip is bool else skip
    path.write_text(
        "timestamp,open,high,low,close,volume\n"
        + "".join(
            f"{first + index * step},{index}.25,{index + 1}.0,{index}.0,{index}.75,{index * 2}.5\n"
            for index in range(rows)
            if not skipped(index)
        )
    )
    return path
