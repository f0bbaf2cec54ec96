"""Small writes of many series at once are one batch; each caller has its own answer, error and cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final

import pytest

import backtest_mongo
from backtest_mongo import CandleAdapter, StoreError, stats
from backtest_mongo.connection import id_cache
from backtest_mongo.connection.redis_clients import set_all
from backtest_mongo.series import blocks
from backtest_mongo.series.queries import match_any, match_series
from backtest_mongo.types import Candle, Interval
from tests.conftest import Deployment, operations
from tests.series.conftest import commands
from tests.support.failing_servers import FailingServer
from tests.support.uniform import candles

pytestmark = pytest.mark.either_driver

MINUTE: Final = 60_000
#: What a batch of candles that nobody had stored takes: an insert, and a look for blocks that lack one of them.
BATCH: Final = ["insert candle-items", "find candle-blocks"]


def many(exchange: str, count: int) -> list[CandleAdapter]:
    return [CandleAdapter(f"S{number:03}", "1m", exchange) for number in range(count)]


async def write_each(series: Iterable[CandleAdapter], rows: list[Any]) -> list[Any]:
    """Write the same candles to each series in one turn of the event loop, and return what becomes of each call."""
    return await asyncio.gather(*(one.write_candles_data(rows) for one in series), return_exceptions=True)


async def read_each(series: Iterable[CandleAdapter], count: int, first: int = 0) -> list[list[Candle] | None]:
    return await asyncio.gather(*(one.read_candles_data(count, first) for one in series))


@pytest.fixture
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of four rows; writes of few candles stay small ones."""
    monkeypatch.setattr(blocks, "ROWS", 4)


# What it takes


@pytest.mark.parametrize("count", [1, 3])
async def test_candles_of_many_series_are_one_insert_and_one_query_of_blocks(
    deployment: Deployment, unique: str, profiled: Any, count: int
) -> None:
    series = many(unique, 200)
    await write_each(series, candles(count))
    profiled.command("profile", 2)
    assert await write_each(series, candles(count, first=10 * MINUTE)) == [count] * 200
    asked = commands(profiled)
    # Several candles may be known in part; a rejected one would cost more than the question.
    assert asked == (BATCH if count == 1 else ["find candle-items", *BATCH])
    assert await read_each(series, count, 10 * MINUTE) == [candles(count, first=10 * MINUTE)] * 200


async def test_candles_that_are_stored_in_part_are_asked_for_at_once(
    deployment: Deployment, unique: str, profiled: Any
) -> None:
    series = many(unique, 50)
    await write_each(series, candles(3))
    profiled.command("profile", 2)
    assert await write_each(series, candles(4, price=9.0)) == [1] * 50
    assert commands(profiled) == ["find candle-items", *BATCH]
    assert await write_each(series, candles(4)) == [0] * 50
    whole = candles(3) + candles(4, price=9.0)[3:]
    assert await read_each(series, 4) == [whole] * 50


async def test_series_at_different_times_and_intervals_are_one_batch(
    deployment: Deployment, unique: str, profiled: Any
) -> None:
    steps: dict[Interval, int] = {"1m": MINUTE, "1h": 60 * MINUTE, "1d": 1_440 * MINUTE}
    series = [CandleAdapter(f"S{number}", interval, unique) for number in range(20) for interval in steps]
    rows = [candles(2, first=n * 100 * step, step=step) for n in range(20) for step in steps.values()]
    await series[0].write_candles_data(candles(1, first=10 * MINUTE))
    profiled.command("profile", 2)
    for new in (2, 0):
        writing = (one.write_candles_data(given) for one, given in zip(series, rows, strict=True))
        assert await asyncio.gather(*writing) == [new] * 60
    assert commands(profiled) == ["find candle-items", *BATCH, "find candle-items", *BATCH[1:]]
    found = await asyncio.gather(
        *(one.read_candles_data(2, given[0]["timestamp"]) for one, given in zip(series, rows, strict=True))
    )
    assert found == rows


async def test_ids_of_a_batch_go_to_redis_by_one_command(
    deployment: Deployment, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets: list[int] = []

    async def count(client: Any, mapping: Mapping[Any, Any]) -> None:
        sets.append(len(mapping))
        await set_all(client, mapping)

    monkeypatch.setattr(id_cache, "set_all", count)
    assert await write_each(many(unique, 30), candles(1)) == [1] * 30
    assert sets == [30]
    for row in await deployment.rows(CandleAdapter.spec):
        assert await deployment.cached(f"candle_cache:{unique}:{row['symbol']}:1m:0") == str(row["_id"])


async def test_batch_counts_candles_and_not_calls(deployment: Deployment, unique: str) -> None:
    await write_each(many(unique, 5), candles(3))
    found = stats().slots["candle"]
    assert (found.writes, found.write_batches) == (15, 1)
    await write_each(many(unique, 5), candles(3))
    assert (stats().slots["candle"].writes, stats().slots["candle"].write_batches) == (15, 1)


async def test_writes_of_one_candle_in_one_turn_stay_in_order(deployment: Deployment, unique: str) -> None:
    series = many(unique, 20)
    outcomes = await write_each([one for one in series for _ in range(3)], candles(1))
    assert outcomes == [1, 0, 0] * 20
    calls = [one.write_candles_data(candles(1, MINUTE, price=price)) for one in series for price in (1.0, 9.0)]
    assert await asyncio.gather(*calls) == [1, 0] * 20
    assert await read_each(series, 2) == [candles(2)] * 20


# One caller and the others


async def test_candle_that_another_has_stored_harms_no_other_series(deployment: Deployment, unique: str) -> None:
    series = many(unique, 20)
    await series[7].write_candles_data(candles(1, price=9.0))
    assert await write_each(series, candles(1)) == [int(number != 7) for number in range(20)]
    found = await read_each(series, 1)
    assert found.pop(7) == candles(1, price=9.0)
    assert found == [candles(1)] * 19


async def test_candle_that_is_refused_fails_its_own_caller(deployment: Deployment, unique: str) -> None:
    series = many(unique, 20)
    await write_each(series[:1], candles(1))
    await series[5].write_candles_data(candles(1, price=9.0))
    collection = await deployment.collection(CandleAdapter.spec)
    await collection.database.command("collMod", collection.name, validator={"symbol": {"$ne": "S013"}})
    outcomes = await write_each(series, candles(2))
    refused = outcomes.pop(13)
    assert isinstance(refused, StoreError)
    assert refused.code == 121
    assert outcomes == [1] + [2] * 4 + [1] + [2] * 13
    assert await read_each(series[13:14], 1) == [None]


async def test_each_caller_of_a_failed_batch_has_an_error_of_its_own(on_failing: FailingServer, unique: str) -> None:
    series = many(unique, 5)
    await write_each(series, candles(1))
    for number, (command, collection) in enumerate((("insert", "candle-items"), ("find", "candle-blocks")), start=1):
        on_failing.fail(command, errorCode=13)
        outcomes = await write_each(series, candles(1, number * MINUTE))
        on_failing.end()
        assert [type(outcome) for outcome in outcomes] == [StoreError] * 5
        assert len({id(outcome) for outcome in outcomes}) == 5
        assert {outcome.code for outcome in outcomes} == {13}
        # How the series are stored is asked at the same time, and may be what is refused.
        assert {outcome.collection for outcome in outcomes} <= {collection, "candle-items"}
        assert all(outcome.__cause__ is not None for outcome in outcomes)
        # What was not acknowledged can be written again.
        again = await write_each(series, candles(1, number * MINUTE))
        # The server asks for the session of an insertion, so that may be the query that was refused.
        assert again in ([1] * 5, [0] * 5) if command == "find" else again == [1] * 5


async def test_caller_that_is_cancelled_before_the_batch_is_sent_harms_no_other(
    deployment: Deployment, unique: str
) -> None:
    series = many(unique, 10)
    await write_each(series[:1], candles(1, MINUTE))
    calls = [asyncio.ensure_future(one.write_candles_data(candles(1))) for one in series]
    await asyncio.sleep(0)  # each has taken its place
    calls[3].cancel()
    outcomes: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(outcomes.pop(3), asyncio.CancelledError)
    assert outcomes == [1] * 9
    assert await read_each(series[3:4], 1) == [None]


async def test_caller_that_is_cancelled_while_the_batch_is_sent_harms_no_other(
    on_failing: FailingServer, unique: str
) -> None:
    series = many(unique, 10)
    await write_each(series, candles(1))
    on_failing.hold("insert", milliseconds=500, times=1)
    calls = [asyncio.ensure_future(one.write_candles_data(candles(1, MINUTE))) for one in series]
    await on_failing.until_held()
    calls[3].cancel()
    with pytest.raises(asyncio.CancelledError):
        await calls.pop(3)
    # It has waited for what was sent.
    assert await read_each(series[3:4], 2) == [candles(2)]
    assert await asyncio.gather(*calls) == [1] * 9


# Sealed blocks


@pytest.mark.usefixtures("short_blocks")
async def test_batch_drops_the_blocks_that_lack_its_candles_and_no_others(deployment: Deployment, unique: str) -> None:
    whole, gap, late, other = many(unique, 4)
    await write_each([whole, other], candles(8))
    await write_each([gap, late], candles(2) + candles(5, first=3 * MINUTE))
    for one in (gap, late):
        await one.seal()
    assert [(await one.sealed()).rows for one in (whole, gap, late, other)] == [8, 7, 7, 8]
    # A stored candle again, a late one, a late one beside the grid, and one after the end.
    rows = [candles(1, price=9.0), candles(1, 2 * MINUTE), candles(1, MINUTE // 2), candles(1, 8 * MINUTE)]
    writing = (one.write_candles_data(row) for one, row in zip((whole, gap, late, other), rows, strict=True))
    assert await asyncio.gather(*writing) == [0, 1, 1, 1]
    # Blocks of other processes are not known here: what matters is what the server has.
    await deployment.forget()
    frames = [await one.read_frame(as_="numpy") for one in (whole, gap, late, other)]
    assert [len(frame["close"]) for frame in frames] == [8, 8, 8, 9]
    assert frames[0]["close"].tolist() == [row["close"] for row in candles(8)]
    assert [(await one.verify()).damaged for one in (whole, gap, late, other)] == [{}] * 4
    assert [(await one.sealed()).rows for one in (whole, gap, late, other)] == [8, 4, 4, 8]


@pytest.mark.usefixtures("short_blocks")
async def test_batch_replaces_a_block_whose_rows_were_deleted_by_hand(deployment: Deployment, unique: str) -> None:
    series = many(unique, 3)
    await write_each(series, candles(8))
    await (await deployment.collection(CandleAdapter.spec)).delete_many({"symbol": "S001", "timestamp": 0})
    assert await write_each(series, candles(1, price=9.0)) == [0, 1, 0]
    frames = [await one.read_frame(as_="numpy") for one in series]
    assert [frame["close"][0] for frame in frames] == [1.5, 9.5, 1.5]
    assert [(await one.sealed()).blocks for one in series] == [2, 1, 2]


@pytest.mark.usefixtures("short_blocks")
async def test_damaged_block_is_dropped_by_a_batch_into_its_time(deployment: Deployment, unique: str) -> None:
    series = many(unique, 3)
    await write_each(series, candles(8))
    stored = (await backtest_mongo.get_mongo())[deployment.name]["candle-blocks"]
    await stored.update_one({"symbol": "S001", "start": 0}, {"$set": {"symbol": ["S001", "S009"], "rows": 3}})
    assert await write_each(series, candles(1)) == [0, 0, 0]
    assert sorted([(row["symbol"], row["start"]) for row in await stored.find().to_list(None)]) == [
        (f"S00{number}", start * MINUTE) for number in range(3) for start in (0, 4) if (number, start) != (1, 0)
    ]


@pytest.mark.usefixtures("short_blocks")
async def test_stale_blocks_that_one_reply_can_not_hold_are_dropped(deployment: Deployment, unique: str) -> None:
    series = many(unique, 3)
    await write_each(series, candles(4))
    stored = (await backtest_mongo.get_mongo())[deployment.name]["candle-blocks"]
    await stored.update_many({}, {"$set": {"rows": 3, "present": bytes(7_000_000)}})
    assert await write_each(series, candles(1)) == [0, 0, 0]
    assert await stored.count_documents({}) == 0


@pytest.mark.usefixtures("short_blocks")
async def test_batches_beside_sealers_leave_no_candle_hidden(deployment: Deployment, unique: str) -> None:
    series = many(unique, 5)
    rows = candles(40)
    await write_each(series, rows[::2])

    async def write(one: CandleAdapter, row: Any) -> None:
        assert await one.write_candles_data([row]) == 1
        frame = await one.read_frame(row["timestamp"], row["timestamp"] + 1, as_="numpy")
        assert len(frame["close"]) == 1

    await asyncio.gather(
        *(write(one, row) for row in rows[1::2] for one in series), *(one.seal() for one in series for _ in range(3))
    )
    assert await read_each(series, 40) == [rows] * 5
    for one in series:
        assert (await one.read_frame(as_="numpy"))["close"].tolist() == [row["close"] for row in rows]
        assert (await one.verify()).damaged == {}


@pytest.mark.usefixtures("short_blocks")
async def test_batch_seals_the_blocks_that_its_writes_have_passed(deployment: Deployment, unique: str) -> None:
    series = many(unique, 5)
    for number in range(9):
        assert await write_each(series, candles(1, number * MINUTE)) == [1] * 5
    assert [(await one.sealed()).rows for one in series] == [8] * 5


async def test_lone_candle_takes_one_insert(deployment: Deployment, series: CandleAdapter) -> None:
    await series.write_candles_data(candles(1))
    before = await operations()
    assert await series.write_candles_data(candles(1, MINUTE)) == 1
    # Of blocks, and of how the series is stored; the server's own two may be among them.
    assert await operations() - before in ({"insert": 1, "query": 2}, {"insert": 1, "query": 4})
    assert await series.write_candles_data(candles(1, MINUTE, price=9.0)) == 0
    assert await series.read_candles_data(2, 0) == candles(2)


# Queries


def test_series_that_differ_in_one_field_share_an_alternative() -> None:
    fields = ("exchange", "symbol", "interval")
    wanted = [(("x", symbol, interval), [1, 2]) for interval in ("1m", "1h") for symbol in ("A", "B", "C")]
    assert match_series(fields, "start", wanted) == [
        {"exchange": "x", "symbol": {"$in": ["A", "B", "C"]}, "interval": interval, "start": {"$in": [1, 2]}}
        for interval in ("1m", "1h")
    ]
    assert match_series(fields, "start", [*wanted[:2], (("x", "C", "1m"), [3])]) == [
        {"exchange": "x", "symbol": {"$in": ["A", "B"]}, "interval": "1m", "start": {"$in": [1, 2]}},
        {"exchange": "x", "symbol": "C", "interval": "1m", "start": {"$in": [3]}},
    ]
    assert match_series(fields, "start", []) == []


def test_lone_alternative_is_the_query() -> None:
    assert match_any([{"a": 1}]) == {"a": 1}
    assert match_any([{"a": 1}, {"a": 2}]) == {"$or": [{"a": 1}, {"a": 2}]}
