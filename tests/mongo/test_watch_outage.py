"""Watches through lost connections and killed servers, and where there are no change streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import pymongo
import pytest

import backtest_mongo
from backtest_mongo import MemoryAdapter, StateAdapter, StoreError, StoreUnavailableError
from faults.proxy import HOST, Proxy
from faults.topology import SET_NAME, Mongod, temporary_directory
from faults.topology import until as wait_until
from tests.conftest import Deployment
from tests.support import uniform
from tests.support.changes import list_changes, take_change, take_changes, wait_for
from tests.support.short_deadlines import shorten_deadline
from tests.support.uniform import WHEN

pytestmark = pytest.mark.either_driver

#: Between two losses of all connections, if a change comes through meanwhile.
_PAUSE_SECONDS: Final = 0.02


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
    monkeypatch.setattr("backtest_mongo.mongo.change_stream._WAIT_MS", 50)
    uri = f"mongodb://127.0.0.1:{proxy.port}/{unique}?directConnection=true"
    config = {**servers, "CC_MONGO_CONNECTION_STRING": uri, "CC_MONGO_DRIVER": driver}
    await backtest_mongo.setup(config)
    yield Deployment(config, unique)
    proxy.pass_on()
    await (await backtest_mongo.get_mongo()).drop_database(unique)
    await backtest_mongo.close()


async def test_no_change_is_missed_or_repeated_while_connections_are_lost(
    lossy: Deployment, unique: str, proxy: Proxy
) -> None:
    memory, count = MemoryAdapter(unique, "notes"), 300

    def write_all() -> None:
        # Not through the proxy: a write whose answer is lost may be carried out twice, and is reported twice then.
        with pymongo.MongoClient[dict[str, Any]](HOST, proxy.target, directConnection=True) as client:
            rows = client[lossy.name][memory.spec.collection]
            for n in range(count):
                key = {**uniform.natural_key(memory, f"{n % 7}")}
                rows.update_one(key, {"$set": {"payload": {"n": n}, "when": WHEN, "removed": False}}, upsert=True)

    async with memory.watch() as changes:
        taken: list[int] = []

        async def take_all() -> None:
            while len(taken) < count:
                taken.append((await take_change(changes)).payload["n"])

        writing = asyncio.ensure_future(asyncio.to_thread(write_all))
        taking = asyncio.ensure_future(take_all())
        pause = _PAUSE_SECONDS
        while not (writing.done() and taking.done()):
            await asyncio.to_thread(proxy.reset)
            before = len(taken)
            await asyncio.sleep(pause)
            # A busy machine needs longer to connect at all.
            pause = _PAUSE_SECONDS if len(taken) > before else 2 * pause
        await writing
        await taking
        assert taken == list(range(count))
        await memory.write_memory_data({"n": count}, "last", WHEN)
        assert (await take_change(changes)).payload == {"n": count}


@pytest.mark.parametrize("words", [(b"getMore",), (b"getMore", b"aggregate")])
async def test_lost_answer_is_requested_again(
    lossy: Deployment, unique: str, proxy: Proxy, words: tuple[bytes, ...]
) -> None:
    state = StateAdapter(unique, "s")
    async with state.watch() as changes:
        for n in range(2):
            proxy.cuts = 0
            if b"aggregate" in words:
                await state.write_state_data({"n": n}, WHEN)
            proxy.cut(*words, after=20 * (n % 2))
            waiting = asyncio.ensure_future(take_change(changes))
            await wait_for(lambda: asyncio.sleep(0, proxy.cuts > 2 * (b"aggregate" in words)))
            if b"aggregate" not in words:
                await state.write_state_data({"n": n}, WHEN)
            proxy.pass_on()
            assert (await waiting).payload == {"n": n}


async def test_server_that_stays_away_is_an_error_and_the_token_resumes(
    lossy: Deployment, unique: str, proxy: Proxy
) -> None:
    state = StateAdapter(unique, "s")
    async with state.watch() as changes:
        await state.write_state_data({"n": 0}, WHEN)
        first = await take_change(changes)
    await shorten_deadline(2_000, state)
    async with state.watch() as idle:
        proxy.refuse()
        with pytest.raises(StoreUnavailableError, match=r"^state: watching failed: MongoDB at \S+ is unavailable"):
            await take_change(idle)
        assert await list_changes(idle) == []
    proxy.pass_on()
    await backtest_mongo.setup(lossy.config)
    await state.write_state_data({"n": 1}, WHEN)
    for token in (first.token, idle.token):
        async with state.watch(after=token) as changes:
            assert (await take_change(changes)).payload == {"n": 1}


async def test_standalone_is_an_error_that_says_what_to_do(
    standalone: Mongod, servers: dict[str, Any], driver: str, unique: str
) -> None:
    config = {**servers, "CC_MONGO_CONNECTION_STRING": standalone.uri(unique), "CC_MONGO_DRIVER": driver}
    async with backtest_mongo.setup(config):
        with pytest.raises(
            StoreError, match=r"standalone, which has no change streams .*--replSet.*rs.initiate"
        ) as caught:
            await take_change(StateAdapter(unique, "s").watch())
        assert (caught.value.slot, caught.value.collection) == ("state", "state-items")
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


@pytest.mark.usefixtures("small", "closing")
async def test_watch_resumes_once_a_killed_server_is_back(forgetful: _Forgetful, unique: str) -> None:
    state = StateAdapter(unique, "s")
    async with state.watch() as changes, StateAdapter.watch_all() as every:
        await state.write_state_data({"n": 0}, WHEN)
        assert (await take_change(changes)).payload == {"n": 0}
        await state.write_state_data({"n": 1}, WHEN)
        waiting = asyncio.ensure_future(take_changes(every, 3))
        await asyncio.to_thread(forgetful.kill)
        await asyncio.to_thread(forgetful.start)
        await state.write_state_data({"n": 2}, WHEN)
        assert [change.payload for change in await take_changes(changes, 2)] == [{"n": 1}, {"n": 2}]
        assert [change.payload for change in await waiting] == [{"n": 0}, {"n": 1}, {"n": 2}]


@pytest.mark.usefixtures("small")
async def test_token_older_than_the_oplog_is_an_error(forgetful: _Forgetful, unique: str) -> None:
    state = StateAdapter(unique, "s")
    async with state.watch() as changes:
        await state.write_state_data({"n": 0}, WHEN)
        await take_change(changes)
    await asyncio.to_thread(forgetful.forget)
    with pytest.raises(StoreError, match=r"changes were missed, .* oplog .*read what is stored") as caught:
        async with state.watch(after=changes.token):
            pass
    assert caught.value.code == 286
