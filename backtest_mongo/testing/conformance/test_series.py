"""Capability ``series``: rows with columns by time; ``trade`` keeps the first row of a key, and ``equity`` the last."""

from __future__ import annotations

import asyncio
import math
from typing import Any, Final

import pytest

from backtest_mongo.testing.conformance.instances import Instances
from backtest_mongo.testing.conformance.slots import needs

pytestmark: list[Any] = [pytest.mark.capability("series"), pytest.mark.asyncio(loop_scope="function")]

#: Microseconds, as the unit of trades is.
FIRST: Final = 1_704_067_200_000_001
HOUR: Final = 3_600_000


def open_trades(store: Any, symbol: str = "BTCUSDT") -> Any:
    return store.trade(symbol, "x")


def open_equity(store: Any) -> Any:
    return store.equity("my_strategy", "x", "day", "BTCUSDT", True)


def make_trades(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Return trades, three of them at each time."""
    return [
        {
            "timestamp": FIRST + number // 3,
            "trade_id": number,
            "price": 100 + number / 7,
            "amount": 0.1 * number,
            "side": ("buy", "sell", None)[number % 3],
        }
        for number in range(first, first + count)
    ]


async def read_all(series: Any, *ends: Any, **arguments: Any) -> list[dict[str, Any]]:
    """Return rows as ``read_last`` returns them, read as a frame."""
    frame = await series.read_frame(*ends, as_="numpy", **arguments)
    columns = {name: values.tolist() for name, values in frame.items() if name != "timestamp"}
    times = frame["timestamp"].astype("int64").tolist()
    return [
        {"timestamp": time, **{name: values[number] for name, values in columns.items()}}
        for number, time in enumerate(times)
    ]


@needs("trade")
async def test_appended_rows_are_read_in_order(store: Any, instances: Instances) -> None:
    series, rows = open_trades(store), make_trades(30)
    assert await series.append(rows[15:]) == 15
    assert await series.append(rows[:15][::-1]) == 15
    for found in (series, open_trades(await instances.open())):
        assert await found.read_last(100) == rows
        assert await found.read_last(4) == rows[-4:]
        assert [row["trade_id"] for row in await read_all(found)] == list(range(30))


@needs("trade")
async def test_frame_is_the_half_open_range(store: Any) -> None:
    series, rows = open_trades(store), make_trades(30)
    await series.append(rows)
    found = await read_all(series, FIRST + 2, FIRST + 4)
    assert [row["trade_id"] for row in found] == list(range(6, 12))
    assert [row["price"] for row in found] == [row["price"] for row in rows[6:12]]
    assert [row["timestamp"] for row in found] == [row["timestamp"] for row in rows[6:12]]
    assert await read_all(series, FIRST + 10, FIRST + 20) == []
    assert set((await read_all(series, columns=["price"]))[0]) == {"timestamp", "trade_id", "price"}


@needs("trade")
async def test_call_may_be_repeated(store: Any, instances: Instances) -> None:
    series, rows = open_trades(store), make_trades(20)
    assert await series.append(rows[:10]) == 10
    assert await series.append(rows[5:]) == 10
    assert await open_trades(await instances.reopen()).append(rows) == 0
    assert await open_trades(await instances.open()).read_last(100) == rows


@needs("trade")
async def test_first_row_of_a_key_wins_where_rows_are_immutable(store: Any) -> None:
    series, rows = open_trades(store), make_trades(3)
    await series.append(rows)
    assert await series.append([{**row, "price": 1.0} for row in rows]) == 0
    assert await series.read_last(10) == rows


@needs("equity")
async def test_last_row_of_a_key_wins_elsewhere(store: Any) -> None:
    series = open_equity(store)
    rows = [{"timestamp": n * HOUR, "equity": 100.0 + n, "cash": None} for n in range(3)]
    await series.append(rows)
    await series.append([{"timestamp": HOUR, "equity": 7.5, "cash": 1.0}])
    assert [row["equity"] for row in await series.read_last(10)] == [100.0, 7.5, 102.0]
    assert [row["cash"] for row in await series.read_last(10)] == [None, 1.0, None]


@needs("equity")
async def test_numbers_come_back_to_the_last_bit(store: Any, instances: Instances) -> None:
    values = [0.1, -0.0, 1e308, 5e-324, math.inf, -math.inf, 1e15 + 0.5, 0.1 + 0.2]
    await open_equity(store).append([{"timestamp": n * HOUR, "equity": value} for n, value in enumerate(values)])
    found = await open_equity(await instances.reopen()).read_last(100)
    assert [repr(row["equity"]) for row in found] == [repr(value) for value in values]


@needs("trade")
async def test_as_of_is_the_latest_row_at_or_before_a_time(store: Any) -> None:
    series, rows = open_trades(store), make_trades(9)
    await series.append(rows)
    assert await series.read_asof(FIRST - 1) is None
    assert await series.read_asof(FIRST) == rows[2]
    assert await series.read_asof(FIRST + 1) == rows[5]
    assert await series.read_asof(FIRST + 1_000_000) == rows[8]


@needs("trade")
async def test_rows_after_the_reader_s_time_are_not_there(store: Any) -> None:
    series = open_trades(store)
    rows = [{**row, "timestamp": FIRST - 1 + 1_000 * n} for n, row in enumerate(make_trades(5))]  # a millisecond each
    await series.append(rows)
    when = rows[2]["timestamp"] // 1_000
    assert await series.read_last(10, when=when) == rows[:3]
    assert await series.read_asof(FIRST + 1_000_000, when=when) == rows[2]
    assert [row["trade_id"] for row in await read_all(series, when=when)] == [0, 1, 2]


@needs("trade")
async def test_coverage_counts_rows(store: Any) -> None:
    series, rows = open_trades(store), make_trades(10)
    empty = await series.coverage()
    assert (empty.first, empty.last, empty.rows) == (None, None, 0)
    await series.append(rows)
    await series.append(rows)
    found = await series.coverage()
    assert (found.first, found.last, found.rows) == (FIRST, FIRST + 3, 10)


@needs("trade")
async def test_deleted_range_is_gone_and_may_be_written_again(store: Any) -> None:
    series, rows = open_trades(store), make_trades(12)
    await series.append(rows)
    assert await series.delete(FIRST + 1, FIRST + 2) == 3
    assert await series.read_last(100) == rows[:3] + rows[6:]
    again = [{**row, "price": 5.0} for row in rows[3:6]]
    assert await series.append(again) == 3
    assert await series.read_last(100) == rows[:3] + again + rows[6:]


@needs("trade")
async def test_series_do_not_share_rows(store: Any) -> None:
    await open_trades(store).append(make_trades(3))
    assert await open_trades(store, "ETHUSDT").read_last(10) == []
    assert await store.trade("BTCUSDT", "y").read_last(10) == []


@needs("trade")
async def test_thousands_of_rows_are_whole(store: Any, instances: Instances) -> None:
    rows = make_trades(5_000)
    await open_trades(store).append(rows)
    assert await open_trades(await instances.reopen()).read_last(10_000) == rows


@needs("trade")
async def test_concurrent_calls_lose_no_row_and_store_none_twice(store: Any, instances: Instances) -> None:
    rows = make_trades(100)
    series = [open_trades(store), open_trades(await instances.open())]
    counts = await asyncio.gather(*(series[n % 2].append(rows[n * 5 : n * 5 + 10]) for n in range(19)))
    assert sum(counts) == 100
    assert await series[0].read_last(1_000) == rows
