"""Changes as they happen: of every slot, of one context or all, through lost connections and dropped collections."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

import pymongo
import pytest

import backtest_mongo
from backtest_mongo import (
    Change,
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
from backtest_mongo.hub import current_hub
from backtest_mongo.watching import Watch
from faults.proxy import HOST, Proxy
from faults.topology import SET_NAME, Mongod, temporary_directory
from faults.topology import until as wait_until
from tests import uniform
from tests.conftest import Deployment
from tests.uniform import WHEN, candles, entry, payload, write

pytestmark = pytest.mark.either_driver

SECONDS = 30


async def following(changes: Watch) -> Change:
    async with asyncio.timeout(SECONDS):
        return await anext(changes)


async def seen(changes: Watch, count: int) -> list[Change]:
    return [await following(changes) for _ in range(count)]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SECONDS):
        while not await condition():  # noqa: ASYNC110  # nothing tells when a server has done what is waited for
            await asyncio.sleep(0.02)


async def test_change_of_every_slot_tells_what_was_written(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
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
        change = await following(changes)
        assert asdict(change) == asdict(await following(every))
        status = await (await backtest_mongo.get_mongo()).admin.command("hello")
    assert (change.kind, change.slot, change.context, change.payload) == (
        "written",
        spec.name,
        adapter.context,
        expected,
    )
    assert change.key == (60_000 if spec.shape == "series" else entry(spec, unique) if spec.item else None)
    assert change.when == (WHEN if spec.when else None)
    assert abs(change.time - status["localTime"].timestamp() * 1000) < 60_000


async def test_each_write_is_told_as_it_was(deployment: Deployment, unique: str) -> None:
    """The server shows a document as it is by now, which is after all of these writes."""
    memory = MemoryAdapter(unique, "notes")
    await memory.write_memory_data({"n": 0}, "a", WHEN)
    async with memory.watch() as changes:
        for n in range(1, 20):
            await memory.write_memory_data({"n": n}, "a", WHEN + n // 5)
        await memory.remove_memory_data("a")
        await memory.write_memory_data({"n": 20}, "a", WHEN)
        told = await seen(changes, 21)
    assert [change.payload for change in told] == [*({"n": n} for n in range(1, 20)), None, {"n": 20}]
    assert [change.kind for change in told] == [*["written"] * 19, "removed", "written"]
    assert [change.when for change in told] == [*(WHEN + n // 5 for n in range(1, 20)), WHEN + 3, WHEN]


async def test_watch_of_a_context_is_told_nothing_of_others(deployment: Deployment, unique: str) -> None:
    one, other = StateAdapter(unique, "one"), StateAdapter(unique, "other")
    collection = await deployment.collection(StateAdapter.spec)
    await other.write_state_data({"n": 0}, WHEN)
    async with one.watch() as changes:
        await other.write_state_data({"n": 1}, WHEN)
        await collection.delete_many({})
        await one.write_state_data({"n": 2}, WHEN)
        change = await following(changes)
    assert (change.context, change.payload) == (one.context, {"n": 2})


async def test_cleared_row_and_items_of_a_list_are_told(deployment: Deployment, unique: str) -> None:
    signal, storage = SignalAdapter("BTCUSDT", unique, "x"), StorageAdapter(True)
    async with SignalAdapter.watch_all() as signals, storage.watch() as rows:
        await signal.write_signal_data({"id": "s"})
        await signal.write_signal_data(None)
        await storage.write_storage_data([{"id": name} for name in "abc"])
        assert [change.payload for change in await seen(signals, 2)] == [{"id": "s"}, None]
        assert [change.key for change in await seen(rows, 3)] == ["a", "b", "c"]


async def test_deleted_document_is_told_with_its_key(deployment: Deployment, unique: str) -> None:
    interval = IntervalAdapter(unique)
    await interval.write_interval_data({"n": 1}, "before", WHEN)
    collection = await deployment.collection(IntervalAdapter.spec)
    async with interval.watch() as changes:
        await interval.write_interval_data({"n": 1}, "since", WHEN)
        await collection.delete_one({"entryKey": "before"})
        await collection.delete_one({"entryKey": "since"})
        told = await seen(changes, 3)
    assert [(change.kind, change.key) for change in told] == [
        ("written", "since"),
        ("deleted", "before"),
        ("deleted", "since"),
    ]
    assert told[1].context == {"bucket": unique}


async def test_deletion_of_a_row_that_is_not_remembered_is_told_without_its_key(
    deployment: Deployment, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backtest_mongo.changes.REMEMBERED", 1)
    monkeypatch.setattr("backtest_mongo.change_stream.REMEMBERED", 1)
    for name in ("a", "b"):
        await StateAdapter(unique, name).write_state_data({}, WHEN)
    collection = await deployment.collection(StateAdapter.spec)
    async with StateAdapter.watch_all() as changes:
        await collection.delete_one({"bucketName": "a"})
        await collection.delete_one({"bucketName": "b"})
        contexts = [change.context for change in await seen(changes, 2)]
    assert contexts == [None, {"signal_id": unique, "bucket_name": "b"}]


@pytest.mark.parametrize("how", ["drop", "rename", "database"])
async def test_watch_goes_on_after_its_collection_is_gone(deployment: Deployment, unique: str, how: str) -> None:
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
        gone, written = await seen(changes, 2)
        assert (gone.kind, gone.context, gone.key) == ("deleted", state.context, None)
        assert (written.kind, written.payload) == ("written", {"n": 2})
        gone, written = await seen(every, 2)
        assert (gone.kind, gone.context, written.payload) == ("deleted", None, {"n": 2})


async def test_another_watch_carries_on_after_a_token(deployment: Deployment, unique: str) -> None:
    state = StateAdapter(unique, "s")
    async with state.watch() as changes:
        for n in range(3):
            await state.write_state_data({"n": n}, WHEN)
        first = await following(changes)
    await deployment.forget()
    async with state.watch(after=first.token) as changes:
        assert [change.payload for change in await seen(changes, 2)] == [{"n": 1}, {"n": 2}]
    for bad in ("", "zz", "82"):
        with pytest.raises(InputError, match="after is no token"):
            await following(state.watch(after=bad))
        with pytest.raises(InputError, match="after is no token"):
            async with state.watch(after=bad):
                pass
    with pytest.raises(InputTypeError, match="after must be a str, not dict"):
        state.watch(after={"_data": "x"})  # type: ignore[arg-type]  # which is the test


async def test_token_of_a_watch_is_where_it_began_then_behind_what_was_given(
    deployment: Deployment, unique: str
) -> None:
    state = StateAdapter(unique, "s")
    changes = state.watch()
    assert changes.token is None
    async with changes:
        tokens: list[str | None] = [changes.token]
        for n in range(3):
            await state.write_state_data({"n": n}, WHEN)
        stream = changes._stream
        assert stream is not None
        stream._fetching = stream._going_on(stream._fetch())  # as of a caller who was cancelled
        await stream._fetching
        tokens.append(changes.token)
        for change in await seen(changes, 3):
            tokens.append(change.token)
        assert changes.token == tokens[-1]
    assert changes.token == tokens[-1]
    for token, expected in zip(tokens, [0, 0, 1, 2, 3], strict=True):
        changes = state.watch(after=token)
        assert changes.token == token
        async with changes:
            if expected == 3:
                await state.write_state_data({"n": 3}, WHEN)
            assert (await following(changes)).payload == {"n": expected}


async def test_token_moves_on_while_nothing_happens(
    deployment: Deployment, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backtest_mongo.change_stream._WAIT_MS", 20)
    state, elsewhere = StateAdapter(unique, "s"), SignalAdapter(unique, "s", "x")
    async with state.watch() as changes:
        began = changes.token
        waiting = asyncio.ensure_future(following(changes))
        await elsewhere.write_signal_data({})
        await until(lambda: asyncio.sleep(0, changes.token != began))
        await state.write_state_data({"n": 1}, WHEN)
        assert (await waiting).payload == {"n": 1}


async def test_row_of_an_older_release_is_told_with_the_defaults(deployment: Deployment, unique: str) -> None:
    collection = await deployment.collection(SessionAdapter.spec)
    async with SessionAdapter.watch_all() as changes:
        key = {"strategyName": unique, "exchangeName": "e", "frameName": "f"}
        await collection.insert_one({**key, "payload": {"n": 1}, "when": 5.0})
        change = await following(changes)
    assert change.context == SessionAdapter(unique, "e", "f").context
    assert (change.when, type(change.when)) == (5, int)


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
        await until(lambda: asyncio.sleep(0, bool(current_hub().streams)))
        await state.write_state_data({"n": 1}, WHEN)

    writing = asyncio.ensure_future(write_soon())
    async for change in state.watch():
        assert change.payload == {"n": 1}
        break
    await writing
    await until(lambda: nothing_is_left(unique))


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
        assert (await following(changes)).payload == {"n": n}

    async def follow() -> None:
        async with changes:
            async for _ in changes:
                pass

    following_it = asyncio.ensure_future(follow())
    await asyncio.sleep(0.05)
    following_it.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following_it
    await until(lambda: nothing_is_left(unique))
    with pytest.raises(StopAsyncIteration):
        await anext(changes)


@pytest.mark.parametrize("how", ["aclose", "close"])
async def test_closing_ends_the_iteration(deployment: Deployment, unique: str, how: str) -> None:
    changes = StateAdapter(unique, "s").watch()
    waiting = asyncio.ensure_future(_all_of(changes))
    await until(lambda: asyncio.sleep(0, bool(current_hub().streams)))
    await (changes.aclose() if how == "aclose" else backtest_mongo.close())
    async with asyncio.timeout(SECONDS):
        assert await waiting == []
    await until(lambda: nothing_is_left(unique))
    await changes.aclose()


async def _all_of(changes: Watch) -> list[Change]:
    return [change async for change in changes]


async def test_watch_that_never_began_holds_nothing(deployment: Deployment, unique: str) -> None:
    changes = StateAdapter(unique, "s").watch()
    await changes.aclose()
    assert await _all_of(changes) == []
    del changes
    gc.collect()
    assert not current_hub().streams


async def test_dummy_has_no_changes() -> None:
    persist.use_dummy()
    assert await _all_of(persist.state("s", "b").watch()) == []  # type: ignore[attr-defined]  # not of the contract


# Lost connections.


@pytest.fixture
async def proxy(servers: dict[str, Any]) -> AsyncIterator[Proxy]:
    with Proxy(urlsplit(servers["CC_MONGO_CONNECTION_STRING"]).port or 27017) as started:
        yield started


@pytest.fixture
async def lossy(
    servers: dict[str, Any], driver: str, unique: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Deployment]:
    """The library on the replica set of one, behind the proxy; what is asked finds an end soon."""
    monkeypatch.setattr("backtest_mongo.change_stream._WAIT_MS", 50)
    uri = f"mongodb://127.0.0.1:{proxy.port}/{unique}?directConnection=true"
    config = {**servers, "CC_MONGO_CONNECTION_STRING": uri, "CC_MONGO_DRIVER": driver}
    await backtest_mongo.setup(config)
    yield Deployment(config, unique)
    proxy.pass_on()
    await (await backtest_mongo.get_mongo()).drop_database(unique)
    await backtest_mongo.close()


async def test_nothing_is_lost_or_told_twice_while_connections_are_lost(
    lossy: Deployment, unique: str, proxy: Proxy
) -> None:
    memory, count = MemoryAdapter(unique, "notes"), 300

    def write_all() -> None:
        # Not through the proxy: a write whose answer is lost may be carried out twice, and is told twice then.
        with pymongo.MongoClient[dict[str, Any]](HOST, proxy.target, directConnection=True) as client:
            rows = client[lossy.name][memory.spec.collection]
            for n in range(count):
                key = {**uniform.natural_key(memory, f"{n % 7}")}
                rows.update_one(key, {"$set": {"payload": {"n": n}, "when": WHEN, "removed": False}}, upsert=True)

    async with memory.watch() as changes:
        writing = asyncio.ensure_future(asyncio.to_thread(write_all))
        telling = asyncio.ensure_future(seen(changes, count))
        while not (writing.done() and telling.done()):
            await asyncio.to_thread(proxy.reset)
            await asyncio.sleep(0.02)
        await writing
        assert [change.payload["n"] for change in await telling] == list(range(count))
        await memory.write_memory_data({"n": count}, "last", WHEN)
        assert (await following(changes)).payload == {"n": count}


@pytest.mark.parametrize("words", [(b"getMore",), (b"getMore", b"aggregate")])
async def test_answer_that_is_lost_is_asked_for_again(
    lossy: Deployment, unique: str, proxy: Proxy, words: tuple[bytes, ...]
) -> None:
    state = StateAdapter(unique, "s")
    async with state.watch() as changes:
        for n in range(2):
            proxy.cuts = 0
            if b"aggregate" in words:
                await state.write_state_data({"n": n}, WHEN)
            proxy.cut(*words, after=20 * (n % 2))
            told = asyncio.ensure_future(following(changes))
            await until(lambda: asyncio.sleep(0, proxy.cuts > 2 * (b"aggregate" in words)))
            if b"aggregate" not in words:
                await state.write_state_data({"n": n}, WHEN)
            proxy.pass_on()
            assert (await told).payload == {"n": n}


async def test_server_that_stays_away_is_an_error_and_the_token_carries_on(
    lossy: Deployment, unique: str, proxy: Proxy
) -> None:
    await backtest_mongo.setup({**lossy.config, "CC_MONGO_TIMEOUT_MS": 1_000})
    state = StateAdapter(unique, "s")
    async with state.watch() as changes:
        await state.write_state_data({"n": 0}, WHEN)
        first = await following(changes)
    async with state.watch() as idle:
        proxy.refuse()
        with pytest.raises(StoreUnavailableError, match=r"^state: watching failed: MongoDB at \S+ is unavailable"):
            await following(idle)
        assert await _all_of(idle) == []
    proxy.pass_on()
    await backtest_mongo.setup(lossy.config)
    await state.write_state_data({"n": 1}, WHEN)
    for token in (first.token, idle.token):
        async with state.watch(after=token) as changes:
            assert (await following(changes)).payload == {"n": 1}


@pytest.fixture(scope="module")
def standalone() -> Iterator[Mongod]:
    with temporary_directory() as directory:
        server = Mongod(directory / "standalone")
        server.start()
        yield server
        server.stop(kill=True)


async def test_standalone_is_an_error_that_says_what_to_do(
    standalone: Mongod, servers: dict[str, Any], driver: str, unique: str
) -> None:
    config = {**servers, "CC_MONGO_CONNECTION_STRING": standalone.uri(unique), "CC_MONGO_DRIVER": driver}
    async with backtest_mongo.setup(config):
        with pytest.raises(StoreError, match=r"standalone, which has no change streams .*--replSet.*rs.initiate"):
            await following(StateAdapter(unique, "s").watch())
        with pytest.raises(StoreError, match="standalone"):
            async with StateAdapter.watch_all():
                pass


# A server of its own, which is killed, and whose oplog is small.


class _Forgetful(Mongod):
    """A replica set of one whose oplog holds a megabyte or two, once a second."""

    def _command(self) -> list[Any]:
        command = [*super()._command(), "--syncdelay", 1]
        command[command.index("--oplogSize") + 1] = 1
        return command

    def forget(self) -> None:
        """Write so much elsewhere that nothing that was written before is left in the oplog."""
        with self.client() as client:
            oplog, began = client.local["oplog.rs"], client.admin.command("hello")["operationTime"]

            def is_forgotten() -> bool:
                client.elsewhere.rows.insert_one({"text": "x" * 1_000_000})
                oldest = oplog.find_one(sort=[("$natural", 1)])
                return oldest is not None and oldest["ts"] > began

            wait_until(is_forgotten, "an oplog that has forgotten")


@pytest.fixture(scope="module")
def forgetful() -> Iterator[_Forgetful]:
    with temporary_directory() as directory:
        server = _Forgetful(directory / "member", is_member=True)
        server.start()
        with server.client() as client:
            members = [{"_id": 0, "host": server.address}]
            client.admin.command("replSetInitiate", {"_id": SET_NAME, "members": members})
            wait_until(lambda: client.admin.command("hello")["isWritablePrimary"], "a primary")
        yield server
        server.stop(kill=True)


@pytest.fixture
async def small(
    forgetful: _Forgetful, servers: dict[str, Any], driver: str, unique: str
) -> AsyncIterator[dict[str, Any]]:
    uri = forgetful.uri(unique, replicaSet=SET_NAME, heartbeatFrequencyMS=500)
    config = {**servers, "CC_MONGO_CONNECTION_STRING": uri, "CC_MONGO_DRIVER": driver}
    async with backtest_mongo.setup(config):
        yield config


@pytest.mark.usefixtures("small", "driver_garbage")
async def test_watch_carries_on_once_its_server_was_killed_and_is_back(forgetful: _Forgetful, unique: str) -> None:
    state = StateAdapter(unique, "s")
    async with state.watch() as changes, StateAdapter.watch_all() as every:
        await state.write_state_data({"n": 0}, WHEN)
        assert (await following(changes)).payload == {"n": 0}
        await state.write_state_data({"n": 1}, WHEN)
        waiting = asyncio.ensure_future(seen(every, 3))
        await asyncio.to_thread(forgetful.kill)
        await asyncio.to_thread(forgetful.start)
        await state.write_state_data({"n": 2}, WHEN)
        assert [change.payload for change in await seen(changes, 2)] == [{"n": 1}, {"n": 2}]
        assert [change.payload for change in await waiting] == [{"n": 0}, {"n": 1}, {"n": 2}]


@pytest.mark.usefixtures("small")
async def test_token_that_the_oplog_has_forgotten_is_an_error(forgetful: _Forgetful, unique: str) -> None:
    state = StateAdapter(unique, "s")
    async with state.watch() as changes:
        await state.write_state_data({"n": 0}, WHEN)
        await following(changes)
    await asyncio.to_thread(forgetful.forget)
    with pytest.raises(StoreError, match=r"changes have been missed, .* oplog .*read what is stored") as caught:
        async with state.watch(after=changes.token):
            pass
    assert caught.value.code == 286
