"""Watches of MongoDB: what only its change streams do, and rows of other programs; see tests/contract/test_watch.py."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime
from typing import Any

import pymongo
import pytest

import backtest_mongo
from backtest_mongo import (
    CandleAdapter,
    InputError,
    SessionAdapter,
    StateAdapter,
    StoreError,
    StoreUnavailableError,
    persist,
)
from backtest_mongo.mongo.change_stream import ChangeStream
from tests.conftest import Deployment
from tests.support.changes import list_changes, take_change, take_changes
from tests.support.failing_servers import FailingServer
from tests.support.uniform import WHEN, candles

pytestmark = pytest.mark.either_driver


async def test_deletion_of_a_forgotten_row_is_reported_without_its_key(
    deployment: Deployment, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backtest_mongo.mongo.change_decoder.REMEMBERED", 1)
    monkeypatch.setattr("backtest_mongo.mongo.change_stream.REMEMBERED", 1)
    for name in ("a", "b"):
        await StateAdapter(unique, name).write_state_data({}, WHEN)
    collection = await deployment.collection(StateAdapter.spec)
    async with StateAdapter.watch_all() as changes:
        await collection.delete_one({"bucketName": "a"})
        await collection.delete_one({"bucketName": "b"})
        contexts = [change.context for change in await take_changes(changes, 2)]
    assert contexts == [None, {"signal_id": unique, "bucket_name": "b"}]


@pytest.mark.parametrize("how", ["drop", "rename", "database"])
async def test_watch_survives_the_loss_of_its_collection(deployment: Deployment, unique: str, how: str) -> None:
    state = StateAdapter(unique, "s")
    await state.write_state_data({"n": 1}, WHEN)
    collection = await deployment.collection(StateAdapter.spec)
    async with state.watch() as changes, StateAdapter.watch_all() as every:
        if how == "drop":
            await collection.drop()
        elif how == "rename":
            await collection.rename("elsewhere")
        else:
            await (await backtest_mongo.get_mongo()).drop_database(deployment.name)
        assert await state.read_state_data() is None
        await state.write_state_data({"n": 2}, WHEN)
        gone, written = await take_changes(changes, 2)
        assert (gone.kind, gone.context, gone.key) == ("deleted", state.context, None)
        assert (written.kind, written.payload) == ("written", {"n": 2})
        gone, written = await take_changes(every, 2)
        assert (gone.kind, gone.context, written.payload) == ("deleted", None, {"n": 2})


@pytest.mark.parametrize("after", ["sqlite-1-2", "sqlite-99999-1700000000000-3"])
async def test_token_of_sqlite_is_refused(deployment: Deployment, unique: str, after: str) -> None:
    with pytest.raises(InputError, match=r"after is not a token of a change .*one of SQLite is no position"):
        await take_change(StateAdapter(unique, "s").watch(after=after))


@pytest.mark.parametrize(
    ("code", "error", "text"),
    [
        (13, StoreError, "MongoDB answered with error 13"),  # Unauthorized
        (50, StoreUnavailableError, "is unavailable"),  # MaxTimeMSExpired
    ],
)
async def test_error_that_has_nothing_to_do_with_the_token_is_raised_as_it_is(
    on_failing: FailingServer, unique: str, code: int, error: type[StoreError], text: str
) -> None:
    state = StateAdapter(unique, "s")
    async with state.watch() as changes:
        await state.write_state_data({"n": 1}, WHEN)
        token = (await take_change(changes)).token
    on_failing.fail("aggregate", errorCode=code)
    with pytest.raises(error, match=f"^state: watching failed: .*{text}"):
        await take_change(state.watch(after=token))
    on_failing.end()
    async with state.watch(after=token) as changes:
        await state.write_state_data({"n": 2}, WHEN)
        assert (await take_change(changes)).payload == {"n": 2}


async def test_watch_that_has_ended_stays_so(deployment: Deployment, unique: str) -> None:
    changes = StateAdapter(unique, "s").watch()
    async with changes:
        await backtest_mongo.close()
        for _ in range(2):
            assert [change async for change in changes] == []
    assert [change async for change in changes] == []


async def test_token_is_the_start_and_then_the_last_returned_change(deployment: Deployment, unique: str) -> None:
    state = StateAdapter(unique, "s")
    changes = state.watch()
    assert changes.token is None
    async with changes:
        tokens: list[str | None] = [changes.token]
        for n in range(3):
            await state.write_state_data({"n": n}, WHEN)
        stream = changes._source
        assert isinstance(stream, ChangeStream)
        stream._fetching = stream._start(stream._fetch())  # as of a caller who was cancelled
        await stream._fetching
        tokens.append(changes.token)
        for change in await take_changes(changes, 3):
            tokens.append(change.token)
        assert changes.token == tokens[-1]
    assert changes.token == tokens[-1]
    for token, expected in zip(tokens, [0, 0, 1, 2, 3], strict=True):
        changes = state.watch(after=token)
        assert changes.token == token
        async with changes:
            if expected == 3:
                await state.write_state_data({"n": 3}, WHEN)
            assert (await take_change(changes)).payload == {"n": expected}


async def test_row_of_an_older_release_is_reported_with_the_defaults(deployment: Deployment, unique: str) -> None:
    collection = await deployment.collection(SessionAdapter.spec)
    async with SessionAdapter.watch_all() as changes:
        key = {"strategyName": unique, "exchangeName": "e", "frameName": "f"}
        await collection.insert_one({**key, "payload": {"n": 1}, "when": 5.0})
        change = await take_change(changes)
    assert change.context == SessionAdapter(unique, "e", "f").context
    assert (change.when, type(change.when)) == (5, int)


@pytest.mark.parametrize(
    "when", [datetime.fromtimestamp(5, UTC), "1970-01-01T00:00:05Z", 5_000.0, None, math.nan, "soon", {}], ids=str
)
async def test_change_of_a_row_with_another_program_s_form_of_time_is_reported(
    deployment: Deployment, unique: str, when: Any
) -> None:
    state = StateAdapter(unique, "s")
    collection = await deployment.collection(StateAdapter.spec)
    async with state.watch() as changes:
        await collection.insert_one({"signalId": unique, "bucketName": "s", "payload": {"n": 1}, "when": when})
        change = await take_change(changes)
    assert change.payload == {"n": 1}
    assert change.when == (None if when in (None, "soon", {}) or when != when else 5_000)


@pytest.mark.parametrize("time", [math.inf, "soon", None], ids=str)
async def test_change_of_a_candle_without_a_time_is_reported(deployment: Deployment, unique: str, time: Any) -> None:
    candle = CandleAdapter(unique, "1m", "binance")
    collection = await deployment.collection(CandleAdapter.spec)
    async with candle.watch() as changes:
        key = {"symbol": unique, "interval": "1m", "exchangeName": "binance"}
        await collection.insert_one({**key, **({} if time is None else {"timestamp": time}), "open": 1.0})
        await candle.write_candles_data(candles(1, 60_000))
        first, second = await take_changes(changes, 2)
    assert (first.kind, first.context, first.key, first.payload["open"]) == ("written", candle.context, None, 1.0)
    assert (second.key, second.payload) == (60_000, candles(1, 60_000)[0])


async def test_more_watches_than_connections_all_report_their_changes(
    config: dict[str, Any], deployment: Deployment, unique: str
) -> None:
    """Each asks for half a second, so that all of them together need longer than the deadline."""
    uri = f"{config['CC_MONGO_CONNECTION_STRING']}&maxPoolSize=4"
    await backtest_mongo.setup({**config, "CC_MONGO_CONNECTION_STRING": uri, "CC_MONGO_TIMEOUT_MS": 2_500})
    slots = [StateAdapter(unique, f"b{number}") for number in range(32)]
    watches = [slot.watch() for slot in slots]
    await asyncio.gather(*(watch.__aenter__() for watch in watches))
    waiting = [asyncio.ensure_future(take_change(watch)) for watch in watches]
    for number in reversed(range(len(slots))):
        await slots[number].write_state_data({"n": number}, WHEN)
        if number % 8 == 0:  # so that the others wait for longer than the deadline
            assert (await waiting[number]).payload == {"n": number}
    assert [change.payload["n"] for change in await asyncio.gather(*waiting)] == list(range(len(slots)))
    await backtest_mongo.close()


@pytest.mark.parametrize("is_entered", [True, False])
async def test_caller_s_timeout_ends_the_wait_for_the_start(
    on_failing: FailingServer, unique: str, is_entered: bool
) -> None:
    slot = StateAdapter(unique, "s")
    await slot.write_state_data({"n": 0}, WHEN)
    on_failing.hold("aggregate", milliseconds=4_000, times=1)
    watch = slot.watch()
    with pymongo.timeout(0.2), pytest.raises(StoreUnavailableError, match="the caller's own timeout has expired"):
        await (watch.__aenter__() if is_entered else anext(watch))
    await watch.aclose()
    on_failing.end()
    async with slot.watch() as changes:
        await slot.write_state_data({"n": 1}, WHEN)
        assert (await take_change(changes)).payload == {"n": 1}


async def test_dummy_has_no_changes() -> None:
    persist.use_dummy()
    assert await list_changes(persist.state("s", "b").watch()) == []
