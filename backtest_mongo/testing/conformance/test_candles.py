"""Capability ``candles``: the first write of a candle wins, and a window is whole or ``None``."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from backtest_mongo.testing.conformance.instances import Instances
from backtest_mongo.testing.conformance.slots import MINUTE, make_candles, needs
from backtest_mongo.types import INTERVAL_MS

pytestmark: list[Any] = [pytest.mark.capability("candles"), pytest.mark.asyncio(loop_scope="function"), needs("candle")]

DAY: Final = 86_400_000


def open_series(store: Any, symbol: str = "BTCUSDT", interval: str = "1m", exchange: str = "x") -> Any:
    return store.candle(symbol, interval, exchange)


async def test_empty_store_reads_none(store: Any) -> None:
    assert await open_series(store).read_candles_data(1, 0) is None


async def test_window_is_in_order_whatever_the_order_of_writing(store: Any) -> None:
    series, rows = open_series(store), make_candles(10)
    assert await series.write_candles_data(rows[::-1]) == 10
    assert await series.read_candles_data(10, 0) == rows
    assert await series.read_candles_data(3, 4 * MINUTE) == rows[4:7]


async def test_window_with_one_row_missing_is_none(store: Any) -> None:
    series, rows = open_series(store), make_candles(10)
    await series.write_candles_data(rows[:5] + rows[6:])
    assert await series.read_candles_data(5, 0) == rows[:5]
    for limit, first in ((6, 0), (1, 5), (2, 4), (11, 0), (5, 6)):
        assert await series.read_candles_data(limit, first * MINUTE) is None
    assert await series.read_candles_data(4, 6 * MINUTE) == rows[6:]
    await series.write_candles_data(rows)
    assert await series.read_candles_data(10, 0) == rows


async def test_window_off_the_grid_is_none(store: Any) -> None:
    series = open_series(store)
    await series.write_candles_data(make_candles(10))
    assert await series.read_candles_data(2, 1) is None


async def test_window_that_reaches_beyond_until_is_none(store: Any) -> None:
    series, rows = open_series(store), make_candles(5)
    await series.write_candles_data(rows)
    for until in (5 * MINUTE, 4 * MINUTE):
        assert await series.read_candles_data(5, 0, until) == rows
    assert await series.read_candles_data(5, 0, 4 * MINUTE - 1) is None


async def test_first_write_wins(store: Any, instances: Instances) -> None:
    series = open_series(store)
    assert await series.write_candles_data(make_candles(3, price=1.0)) == 3
    assert await series.write_candles_data(make_candles(5, price=9.0)) == 2
    expected = make_candles(3, price=1.0) + make_candles(2, 3 * MINUTE, price=9.0)
    assert await series.read_candles_data(5, 0) == expected
    other = open_series(await instances.open())
    assert await other.write_candles_data(make_candles(5, price=5.0)) == 0
    assert await other.read_candles_data(5, 0) == expected == await series.read_candles_data(5, 0)


async def test_duplicate_timestamp_in_one_call_keeps_the_first(store: Any) -> None:
    series = open_series(store)
    assert await series.write_candles_data(make_candles(1, price=1.0) + make_candles(1, price=9.0)) == 1
    assert await series.read_candles_data(1, 0) == make_candles(1, price=1.0)


async def test_candle_that_has_not_closed_is_skipped(store: Any) -> None:
    series = open_series(store, interval="1d")
    tomorrow = (int(time.time() * 1000) // DAY + 1) * DAY
    last = make_candles(3, tomorrow - 5 * DAY, DAY)
    assert await series.write_candles_data(last + make_candles(2, tomorrow, DAY)) == 3
    assert await series.read_candles_data(3, tomorrow - 5 * DAY) == last
    assert await series.read_candles_data(1, tomorrow) is None


async def test_no_candles_write_nothing(store: Any) -> None:
    assert await open_series(store).write_candles_data([]) == 0


async def test_series_do_not_share_rows(store: Any) -> None:
    await open_series(store).write_candles_data(make_candles(1))
    for other in (("ETHUSDT", "1m", "x"), ("BTCUSDT", "3m", "x"), ("BTCUSDT", "1m", "y")):
        assert await open_series(store, *other).read_candles_data(1, 0) is None


async def test_window_of_thousands_is_whole(store: Any) -> None:
    series, rows = open_series(store), make_candles(2_500)
    assert await series.write_candles_data(rows) == 2_500
    assert await series.read_candles_data(2_500, 0) == rows
    assert await series.read_candles_data(2_501, 0) is None


async def test_prices_come_back_to_the_last_bit(store: Any, instances: Instances) -> None:
    rows = [
        {"timestamp": 0, "open": 0.1, "high": 0.1 + 0.2, "low": 1e-12, "close": 0.2, "volume": 0.0},
        {"timestamp": MINUTE, "open": 1e300, "high": 1.7e308, "low": 5e-324, "close": 1e15 + 0.5, "volume": 1e-300},
    ]
    await open_series(store).write_candles_data(rows)
    found = await open_series(await instances.reopen()).read_candles_data(2, 0)
    assert found == rows
    assert {type(value) for row in found for name, value in row.items() if name != "timestamp"} == {float}
    assert {type(row["timestamp"]) for row in found} == {int}


async def test_times_may_be_aware_datetimes(store: Any) -> None:
    series, start = open_series(store), datetime(2024, 1, 1, tzinfo=UTC)
    rows = make_candles(2, int(start.timestamp()) * 1000)
    await series.write_candles_data([{**rows[0], "timestamp": start}, rows[1]])
    assert await series.read_candles_data(2, start) == rows


async def test_times_before_the_epoch_are_times(store: Any) -> None:
    series, rows = open_series(store), make_candles(20, -10 * MINUTE)
    await series.write_candles_data(rows)
    assert await series.read_candles_data(20, -10 * MINUTE) == rows


@pytest.mark.parametrize(("interval", "step"), list(INTERVAL_MS.items()))
async def test_each_interval_has_its_step(store: Any, interval: str, step: int) -> None:
    series, rows = open_series(store, interval=interval), make_candles(3, step=step)
    assert await series.write_candles_data(rows) == 3
    assert await series.read_candles_data(3, 0) == rows
