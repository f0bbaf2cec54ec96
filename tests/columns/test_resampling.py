"""Candles of trades, and longer candles of shorter ones, compared with what polars makes of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars
import pytest

from backtest_mongo.columns.resampling import fits_into, make_candles, merge_candles
from backtest_mongo.core.arrays import CandleArrays
from backtest_mongo.core.interval_grid import GRIDS

#: 2024-01-30 23:50, a Tuesday.
BEGIN = 1_706_658_600_000


def random_trades(count: int, step: int) -> tuple[Any, Any, Any]:
    random = np.random.default_rng(7)
    time = BEGIN + np.cumsum(random.integers(0, step, count))
    return time, random.random(count).round(3), random.random(count).round(3)


def expect(time: Any, price: Any, amount: Any, every: str) -> polars.DataFrame:
    frame = polars.DataFrame({"timestamp": time, "price": price, "amount": amount})
    frame = frame.with_columns(polars.col("timestamp").cast(polars.Datetime("ms")))
    column = polars.col("price")
    return frame.group_by_dynamic("timestamp", every=every).agg(
        column.first().alias("open"),
        column.max().alias("high"),
        column.min().alias("low"),
        column.last().alias("close"),
        polars.col("amount").sum().alias("volume"),
    )


def assert_equal(candles: CandleArrays, expected: polars.DataFrame) -> None:
    assert candles.timestamp.tolist() == expected["timestamp"].dt.epoch("ms").to_list()
    for name in ("open", "high", "low", "close"):
        assert getattr(candles, name).tolist() == expected[name].to_list()
    assert np.allclose(candles.volume, expected["volume"].to_numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    ("interval", "every", "step"),
    [
        ("1m", "1m", 4_000),
        ("1h", "1h", 90_000),
        ("1d", "1d", 9_000_000),
        ("1w", "1w", 90_000_000),
        ("1M", "1mo", 10**9),
    ],
)
def test_candles_are_those_of_polars(interval: str, every: str, step: int) -> None:
    trades = random_trades(5_000, step)
    assert_equal(make_candles(*trades, GRIDS[interval]), expect(*trades, every))


@pytest.mark.parametrize(("short", "long", "every"), [("1m", "1h", "1h"), ("1h", "1d", "1d"), ("1d", "1M", "1mo")])
def test_longer_candles_are_those_of_the_trades(short: str, long: str, every: str) -> None:
    trades = random_trades(5_000, GRIDS[short].shortest)
    merged = merge_candles(make_candles(*trades, GRIDS[short]), GRIDS[long])
    assert_equal(merged, expect(*trades, every))


def test_rows_without_a_price_are_left_out() -> None:
    time = np.array([0, 1, 2, 60_000], np.int64)
    price = np.array([math.nan, 2.0, 1.0, math.nan])
    candles = make_candles(time, price, np.array([9.0, math.nan, 4.0, 9.0]), GRIDS["1m"])
    assert candles.candles() == [{"timestamp": 0, "open": 2.0, "high": 2.0, "low": 1.0, "close": 1.0, "volume": 4.0}]


def test_nothing_makes_no_candles() -> None:
    empty = np.empty(0, np.int64)
    assert len(make_candles(empty, np.empty(0), None, GRIDS["1m"])) == 0
    assert len(merge_candles(CandleArrays.empty(0), GRIDS["1m"])) == 0


@pytest.mark.parametrize(
    ("short", "long", "fits"),
    [
        ("1m", "1h", True),
        ("1m", "1M", True),
        ("1d", "1w", True),
        ("1w", "1M", False),
        ("1h", "1h", False),
        ("1h", "1m", False),
        ("2h", "3m", False),
        ("1M", "1d", False),
    ],
)
def test_interval_fits_into_its_multiples(short: str, long: str, fits: bool) -> None:
    assert fits_into(GRIDS[short], GRIDS[long]) is fits
