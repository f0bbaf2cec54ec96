"""Candle files: rows, texts of them, and what the library reads from a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeAlias

import polars as pl

from backtest_mongo.market_data.candle_chunks import BadLine, Chunk
from backtest_mongo.market_data.candle_files import read_candles
from backtest_mongo.market_data.data_files import find_sources
from backtest_mongo.types import PRICES

Bar: TypeAlias = tuple[int, float, float, float, float, float]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = 60_000
DAY = 86_400_000
START = 1_704_067_200_000  # 2024-01-01 00:00 UTC
BARS: list[Bar] = [
    (START + index * MINUTE, 100.5 + index, 102.25 + index, 99.75 + index, 101.0 + index, 10.0 * index)
    for index in range(5)
]
#: One for each of them: two series, written in two ways.
SYMBOLS = ("BTC/USDT", "eth-usdt", "BTC/USDT", "btcusdt", "ETH/USDT")


def read_chunks(path: Path, **options: Any) -> list[Chunk]:
    return [chunk for source in find_sources([path]).sources for chunk in read_candles(source, **options)]


def list_bars(found: Sequence[Chunk]) -> list[Bar]:
    return [
        row
        for chunk in found
        for row in zip(*(chunk.columns[name].tolist() for name in ("timestamp", *PRICES)), strict=True)
    ]


def list_bad_lines(found: Sequence[Chunk]) -> list[BadLine]:
    return [line for chunk in found for line in chunk.bad]


def write_text(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_text(text, encoding=encoding)
    return path


def format_lines(rows: Sequence[Bar], delimiter: str = ",", time: Callable[[int], object] = str) -> str:
    return "".join(f"{delimiter.join([str(time(row[0])), *map(repr, row[1:])])}\n" for row in rows)


def make_table(rows: Sequence[Bar]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["timestamp", *PRICES], orient="row")


def format_iso(millis: int) -> str:
    return datetime.fromtimestamp(millis / 1000, UTC).isoformat()


def format_by(pattern: str) -> Callable[[int], str]:
    return lambda millis: datetime.fromtimestamp(millis / 1000, UTC).strftime(pattern)


def to_datetime(millis: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=millis)


def read_bars(path: Path, interval: str, **options: Any) -> tuple[list[Bar], list[BadLine]]:
    rows: list[Bar] = []
    bad: list[BadLine] = []
    for source in find_sources([path]).sources:
        for chunk in read_candles(source, interval=interval, **options):
            rows += zip(*(chunk.columns[name].tolist() for name in ("timestamp", *PRICES)), strict=True)
            bad += chunk.bad
    return rows, bad
