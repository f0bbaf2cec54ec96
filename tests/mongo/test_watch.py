"""Changes as they happen: of every slot, of one context or all, from a token on, and how a watch ends."""

from __future__ import annotations

import asyncio
import gc
import math
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pymongo
import pytest

import backtest_mongo
from backtest_mongo import (
    CandleAdapter,
    InputError,
    InputTypeError,
    IntervalAdapter,
    MemoryAdapter,
    SessionAdapter,
    SignalAdapter,
    SlotSpec,
    StateAdapter,
    StorageAdapter,
    StoreError,
    StoreUnavailableError,
    persist,
)
from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.connection.hub_registry import current_hub
from tests.conftest import Deployment
from tests.support import uniform
from tests.support.changes import list_changes, take_change, take_changes, wait_for
from tests.support.deadlines import SECONDS
from tests.support.failing_servers import FailingServer
from tests.support.uniform import WHEN, candles, entry, payload, write

pytestmark = pytest.mark.either_driver


async def test_change_of_every_slot_has_the_written_payload(
    deployment: Deployment, unique: str, spec: SlotSpec
) -> None:
    adapter, other = uniform.adapter(spec, unique), ADAPTERS[spec.name]
    async with adapter.watch() as changes, other.watch_all() as every:
        if spec.shape == "series":
            await adapter.write_candles_data(candles(1, 60_000))
            expected = candles(1, 60_000)[0]
        else:
            await write(adapter, payload(spec), entry(spec, unique))
            expected = payload(spec)
            if spec.shape == "collection":
                expected = {"id": entry(spec, unique), **expected}
        change = await take_change(changes)
        assert asdict(change) == asdict(await take_change(every))
        status = await (await backtest_mongo.get_mongo()).admin.command("hello")
    assert (change.kind, change.slot, change.context, change.payload) == (
        "written",
        spec.name,
        adapter.context,
        expected,
    )
    assert change.key == (60_000 if spec.shape == "series" else entry(spec, unique) if spec.item else None)
    assert change.when == (WHEN if spec.when else None)
    assert abs(change.time - status["localTime"].replace(tzinfo=UTC).timestamp() * 1000) < 60_000


async def test_each_write_is_reported_with_its_own_payload(deployment: Deployment, unique: str) -> None:
    """The server shows a document as it is by now, which is after all of these writes."""
    memory = MemoryAdapter(unique, "notes")
    await memory.write_memory_data({"n": 0}, "a", WHEN)
    async with memory.watch() as changes:
        for n in range(1, 20):
            await memory.write_memory_data({"n": n}, "a", WHEN + n // 5)
        await memory.remove_memory_data("a")
        await memory.write_memory_data({"n": 20}, "a", WHEN)
        changed = await take_changes(changes, 21)
    assert [change.payload for change in changed] == [*({"n": n} for n in range(1, 20)), None, {"n": 20}]
    assert [change.kind for change in changed] == [*["written"] * 19, "removed", "written"]
    assert [change.when for change in changed] == [*(WHEN + n // 5 for n in range(1, 20)), WHEN + 3, WHEN]


async def test_watch_of_a_context_reports_no_changes_of_others(deployment: Deployment, unique: str) -> None:
    one, other = StateAdapter(unique, "one"), StateAdapter(unique, "other")
    collection = await deployment.collection(StateAdapter.spec)
    await other.write_state_data({"n": 0}, WHEN)
    async with one.watch() as changes:
        await other.write_state_data({"n": 1}, WHEN)
        await collection.delete_many({})
        await one.write_state_data({"n": 2}, WHEN)
        change = await take_change(changes)
    assert (change.context, change.payload) == (one.context, {"n": 2})


async def test_cleared_row_and_items_of_a_list_are_reported(deployment: Deployment, unique: str) -> None:
    signal, storage = SignalAdapter("BTCUSDT", unique, "x"), StorageAdapter(True)
    async with SignalAdapter.watch_all() as signals, storage.watch() as rows:
        await signal.write_signal_data({"id": "s"})
        await signal.write_signal_data(None)
        await storage.write_storage_data([{"id": name} for name in "abc"])
        assert [change.payload for change in await take_changes(signals, 2)] == [{"id": "s"}, None]
        assert [change.key for change in await take_changes(rows, 3)] == ["a", "b", "c"]


async def test_deleted_document_is_reported_with_its_key(deployment: Deployment, unique: str) -> None:
    interval = IntervalAdapter(unique)
    await interval.write_interval_data({"n": 1}, "before", WHEN)
    collection = await deployment.collection(IntervalAdapter.spec)
    async with interval.watch() as changes:
        await interval.write_interval_data({"n": 1}, "since", WHEN)
        await collection.delete_one({"entryKey": "before"})
        await collection.delete_one({"entryKey": "since"})
        changed = await take_changes(changes, 3)
    assert [(change.kind, change.key) for change in changed] == [
        ("written", "since"),
        ("deleted", "before"),
        ("deleted", "since"),
    ]
    assert changed[1].context == {"bucket": unique}


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


async def test_another_watch_resumes_after_a_token(deployment: Deployment, unique: str) -> None:
    state = StateAdapter(unique, "s")
    async with state.watch() as changes:
        for n in range(3):
            await state.write_state_data({"n": n}, WHEN)
        first = await take_change(changes)
    await deployment.forget()
    async with state.watch(after=first.token) as changes:
        assert [change.payload for change in await take_changes(changes, 2)] == [{"n": 1}, {"n": 2}]
    for bad in ("", "zz", "82"):
        with pytest.raises(InputError, match="after is not a token") as caught:
            await take_change(state.watch(after=bad))
        assert caught.value.slot == "state"
        with pytest.raises(InputError, match="after is not a token"):
            async with state.watch(after=bad):
                pass
    with pytest.raises(InputTypeError, match="after must be a str, not dict"):
        state.watch(after={"_data": "x"})  # type: ignore[arg-type]  # which is the test


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
        stream = changes._stream
        assert stream is not None
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


async def test_token_advances_while_nothing_changes(
    deployment: Deployment, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backtest_mongo.mongo.change_stream._WAIT_MS", 20)
    state, elsewhere = StateAdapter(unique, "s"), SignalAdapter(unique, "s", "x")
    async with state.watch() as changes:
        began = changes.token
        waiting = asyncio.ensure_future(take_change(changes))
        await elsewhere.write_signal_data({})
        await wait_for(lambda: asyncio.sleep(0, changes.token != began))
        await state.write_state_data({"n": 1}, WHEN)
        assert (await waiting).payload == {"n": 1}


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


# How it ends.


async def nothing_is_left(unique: str) -> bool:
    """Tell whether neither this process nor the server has a stream of the test's database open."""
    hub = current_hub()
    if hub.streams:
        return False
    pipeline = [{"$currentOp": {"idleCursors": True, "allUsers": True}}]
    cursor: Any = hub.mongo.admin.aggregate(pipeline)
    cursor = await cursor if asyncio.iscoroutine(cursor) else cursor
    operations = await cursor.to_list(None)
    return not any(
        unique in operation.get("ns", "") and "changeStream" in str(operation.get("cursor", operation.get("command")))
        for operation in operations
    )


async def test_break_leaves_nothing_open(deployment: Deployment, unique: str) -> None:
    state = StateAdapter(unique, "s")

    async def write_soon() -> None:
        await wait_for(lambda: asyncio.sleep(0, bool(current_hub().streams)))
        await state.write_state_data({"n": 1}, WHEN)

    writing = asyncio.ensure_future(write_soon())
    async for change in state.watch():
        assert change.payload == {"n": 1}
        break
    await writing
    await wait_for(lambda: nothing_is_left(unique))


async def test_cancellation_ends_it_and_a_timeout_loses_nothing(deployment: Deployment, unique: str) -> None:
    state = StateAdapter(unique, "s")
    changes = state.watch()
    for n in range(3):
        while not current_hub().streams or n:  # so often that it begins, and then in the midst of waiting
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(changes), 0.01 + 0.1 * n)
            if n:
                break
        await state.write_state_data({"n": n}, WHEN)
        assert (await take_change(changes)).payload == {"n": n}

    async def follow() -> None:
        async with changes:
            async for _ in changes:
                pass

    following_it = asyncio.ensure_future(follow())
    await asyncio.sleep(0.05)
    following_it.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following_it
    await wait_for(lambda: nothing_is_left(unique))
    with pytest.raises(StopAsyncIteration):
        await anext(changes)


@pytest.mark.parametrize("how", ["aclose", "close"])
async def test_closing_ends_the_iteration(deployment: Deployment, unique: str, how: str) -> None:
    changes = StateAdapter(unique, "s").watch()
    waiting = asyncio.ensure_future(list_changes(changes))
    await wait_for(lambda: asyncio.sleep(0, bool(current_hub().streams)))
    await (changes.aclose() if how == "aclose" else backtest_mongo.close())
    async with asyncio.timeout(SECONDS):
        assert await waiting == []
    await wait_for(lambda: nothing_is_left(unique))
    await changes.aclose()


async def test_closing_ends_all_watches_at_once(deployment: Deployment, unique: str) -> None:
    watches = [await SignalAdapter(f"{unique}{n}", "s", "binance").watch().__aenter__() for n in range(6)]
    waiting = [asyncio.ensure_future(anext(watch, None)) for watch in watches]
    streams = list(current_hub().streams)
    ends = [stream.ended for stream in streams]
    closing = asyncio.ensure_future(backtest_mongo.close())
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    # Every one has ended, and none waits for the answer to another.
    assert [end.done() for end in ends] == [True] * len(watches)
    await asyncio.gather(closing, *waiting)


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


async def test_watch_that_never_began_holds_nothing(deployment: Deployment, unique: str) -> None:
    changes = StateAdapter(unique, "s").watch()
    await changes.aclose()
    assert await list_changes(changes) == []
    del changes
    gc.collect()
    assert not current_hub().streams


async def test_dummy_has_no_changes() -> None:
    persist.use_dummy()
    assert await list_changes(persist.state("s", "b").watch()) == []
