"""A direct connection to one member of a replica set: what it reads is the primary's, or it reads nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any, Final

import pymongo
import pytest
from pymongo.errors import OperationFailure, PyMongoError

import backtest_mongo
from backtest_mongo import (
    CandleAdapter,
    LogAdapter,
    MeasureAdapter,
    MemoryAdapter,
    NotificationAdapter,
    SignalAdapter,
    StateAdapter,
    StorageAdapter,
    StoreUnavailableError,
    setup,
)
from faults.topology import Mongod, ReplicaSet, temporary_directory
from tests.conftest import drop_with
from tests.support.uniform import WHEN, candles

pytestmark = [pytest.mark.heavy, pytest.mark.either_driver]

#: The driver's shortest.
HEARTBEAT_MS: Final = 500
#: Fifty heartbeats, for a machine that is busy with other things.
MAX_WAIT_SECONDS: Final = 25.0
LONG: Final = 600


@pytest.fixture(scope="module")
def replica_set() -> Iterator[ReplicaSet]:
    with temporary_directory() as directory:
        members = ReplicaSet(directory, election_seconds=5.0)
        try:
            members.start()
            yield members
        finally:
            members.stop(kill=True)


def make_primary(replica_set: ReplicaSet, member: Mongod) -> None:
    """Let a member be elected, which wins if the set is whole."""
    replica_set.until_whole()
    with member.client() as client:
        for _ in range(20):
            if replica_set.primary() is member:
                break
            try:
                client.admin.command("replSetStepUp")
            except PyMongoError:  # it may have been too far behind
                replica_set.until_whole()
    assert replica_set.primary() is member
    replica_set.until_whole()


def step_down(replica_set: ReplicaSet) -> Mongod:
    """Make the primary a secondary for long, and return the next one."""
    before = replica_set.primary()
    with before.client() as client:
        for _ in range(20):
            # Nobody may be near enough, or it closes its connections as it goes.
            with suppress(PyMongoError):
                client.admin.command("replSetStepDown", 600, secondaryCatchUpPeriodSecs=30)
            if not client.admin.command("hello")["isWritablePrimary"]:
                break
    primary = replica_set.primary(other_than=before)
    replica_set.until_whole()
    return primary


def frozen_no_more(member: Mongod) -> None:
    with member.client() as client, suppress(OperationFailure):  # it may be the primary again
        client.admin.command("replSetFreeze", 0)


@pytest.fixture
async def member(replica_set: ReplicaSet, servers: dict[str, Any], driver: str, unique: str) -> AsyncIterator[Mongod]:
    """The primary, which the library is connected to directly."""
    primary = await asyncio.to_thread(replica_set.primary)
    uri = primary.uri(unique, directConnection="true", heartbeatFrequencyMS=HEARTBEAT_MS)
    await setup(
        {
            **servers,
            "CC_MONGO_CONNECTION_STRING": uri,
            "CC_MONGO_DRIVER": driver,
            "CC_MONGO_TIMEOUT_MS": 5_000,
            "CC_CANDLE_CACHE_MB": 0,
        }
    )
    yield primary
    await backtest_mongo.close()
    await asyncio.to_thread(frozen_no_more, primary)
    await asyncio.to_thread(replica_set.until_whole)
    with pymongo.MongoClient[dict[str, Any]](replica_set.uri(unique)) as client:
        await asyncio.to_thread(drop_with, client, unique)


def reads(unique: str) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Return one call of each path by which anything is read."""
    state, memory, measure = StateAdapter(unique, "s"), MemoryAdapter(unique, "notes"), MeasureAdapter(unique)
    series = CandleAdapter("BTCUSDT", "1m", unique)

    async def listed() -> list[Any]:
        return [row async for row in memory.list_memory_data()]

    async def keys() -> list[Any]:
        return [key async for key in measure.list_measure_data()]

    async def gaps() -> list[Any]:
        return await series.gaps(0, 10 * 60_000)

    async def names() -> list[Any]:
        return [found.context async for found in CandleAdapter.list_series()]

    return {
        "point": state.read_state_data,
        "version": lambda: state.read_state_data(with_version=True),
        "another point": SignalAdapter(unique, "s", "binance").read_signal_data,
        "batch": lambda: StateAdapter.read_many([(unique, "s"), (unique, "t"), (unique, "u")]),
        "has": lambda: memory.has_memory_data("m"),
        "memory list": listed,
        "measure keys": keys,
        "storage": StorageAdapter(True).read_storage_data,
        "log": LogAdapter().read_log_data,
        "notifications": NotificationAdapter(True).read_notification_data,
        "window": lambda: series.read_candles_data(5, 0),
        "long window": lambda: series.read_candles_data(LONG, 0),
        "frame": lambda: series.read_frame(as_="numpy"),
        "coverage": series.coverage,
        "bounds": series.bounds,
        "gaps": gaps,
        "series": names,
    }


async def fill(unique: str, number: int) -> None:
    await asyncio.gather(
        StateAdapter(unique, "s").write_state_data({"n": number}, WHEN),
        SignalAdapter(unique, "s", "binance").write_signal_data({"n": number}),
        MemoryAdapter(unique, "notes").write_memory_data({"n": number}, "m", WHEN),
        MeasureAdapter(unique).write_measure_data({"n": number}, f"k{number}"),
        StorageAdapter(True).write_storage_data([{"id": unique, "n": number}]),
        LogAdapter().write_log_data([{"id": unique, "n": number}]),
        NotificationAdapter(True).write_notification_data([{"id": unique, "n": number}]),
        CandleAdapter("BTCUSDT", "1m", unique).write_candles_data(candles(LONG)),
    )


async def until_refused(call: Callable[[], Awaitable[Any]]) -> StoreUnavailableError | None:
    """Call until it is refused, and return with what, or ``None`` where it never is."""
    clock = asyncio.get_running_loop().time
    end = clock() + MAX_WAIT_SECONDS
    while clock() < end:
        try:
            await call()
        except StoreUnavailableError as error:
            return error
        await asyncio.sleep(HEARTBEAT_MS / 5000)
    return None


async def test_former_primary_is_not_read(replica_set: ReplicaSet, member: Mongod, unique: str) -> None:
    await fill(unique, 1)
    calls = reads(unique)
    for call in calls.values():
        await call()
    primary = await asyncio.to_thread(step_down, replica_set)
    with pymongo.MongoClient[dict[str, Any]](primary.uri(unique, directConnection="true")) as client:
        # What the direct connection does not see.
        await asyncio.to_thread(client[unique]["state-items"].update_many, {}, {"$set": {"payload": {"n": 2}}})
        errors = await asyncio.gather(*(until_refused(call) for call in calls.values()))
        refusals = {name: str(error) for name, error in zip(calls, errors, strict=True)}
        wrong = {name: text for name, text in refusals.items() if "not the primary" not in text}
        assert wrong == {}
        # And so it stays, for those too that begin anew.
        for name, call in calls.items():
            with pytest.raises(StoreUnavailableError, match="not the primary") as caught:
                await call()
            assert not caught.value.may_be_applied, name
        await backtest_mongo.close()
        for call in calls.values():
            with pytest.raises(StoreUnavailableError, match="not the primary"):
                await call()
        await asyncio.to_thread(drop_with, client, unique)


async def test_write_to_a_former_primary_is_refused(replica_set: ReplicaSet, member: Mongod, unique: str) -> None:
    await fill(unique, 1)
    primary = await asyncio.to_thread(step_down, replica_set)
    series = CandleAdapter("BTCUSDT", "1m", unique)
    calls: list[Awaitable[Any]] = [
        StateAdapter(unique, "s").write_state_data({"n": 2}, WHEN),
        StateAdapter(unique, "t").write_state_data({"n": 2}, WHEN, if_absent=True),
        StateAdapter(unique, "s").write_state_data({"n": 2}, WHEN, expect=f"v1-{0:032}"),
        StateAdapter.write_many([((unique, name), {"n": 2}) for name in "tuv"], WHEN),
        MemoryAdapter(unique, "notes").remove_memory_data("m"),
        StorageAdapter(True).write_storage_data([{"id": unique, "n": 2}]),
        series.write_candles_data(candles(5, first=LONG * 60_000)),
    ]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailableError] * len(calls)
    with pymongo.MongoClient[dict[str, Any]](primary.uri(unique, directConnection="true")) as client:
        (row,) = await asyncio.to_thread(client[unique]["state-items"].find().to_list)
    assert row["payload"] == {"n": 1}


async def test_reelected_primary_is_read_again(replica_set: ReplicaSet, member: Mongod, unique: str) -> None:
    state = StateAdapter(unique, "s")
    await state.write_state_data({"n": 1}, WHEN)
    primary = await asyncio.to_thread(step_down, replica_set)
    refusal = await until_refused(state.read_state_data)
    with pymongo.MongoClient[dict[str, Any]](primary.uri(unique, directConnection="true")) as client:
        await asyncio.to_thread(client[unique]["state-items"].update_many, {}, {"$set": {"payload": {"n": 2}}})
    await asyncio.to_thread(frozen_no_more, member)
    await asyncio.to_thread(make_primary, replica_set, member)
    assert "not the primary" in str(refusal)
    clock = asyncio.get_running_loop().time
    end = clock() + MAX_WAIT_SECONDS
    while True:
        try:
            assert await state.read_state_data() == {"n": 2}
            break
        except StoreUnavailableError:
            assert clock() < end, "it is the primary again, and not read"
            await asyncio.sleep(HEARTBEAT_MS / 5000)


async def test_member_that_was_never_primary_is_not_read(replica_set: ReplicaSet, member: Mongod, unique: str) -> None:
    state = StateAdapter(unique, "s")
    await state.write_state_data({"n": 1}, WHEN)
    other = next(one for one in replica_set.members if one is not member)
    uri = other.uri(unique, directConnection="true", heartbeatFrequencyMS=HEARTBEAT_MS)
    await setup(CC_MONGO_CONNECTION_STRING=uri)
    for call in reads(unique).values():
        with pytest.raises(StoreUnavailableError, match="not the primary"):
            await call()


async def test_member_that_was_never_primary_is_not_watched(
    replica_set: ReplicaSet, member: Mongod, unique: str
) -> None:
    state = StateAdapter(unique, "s")
    await state.write_state_data({"n": 1}, WHEN)
    other = next(one for one in replica_set.members if one is not member)
    await setup(CC_MONGO_CONNECTION_STRING=other.uri(unique, directConnection="true"))
    for changes in (state.watch(), StateAdapter.watch_all()):
        with pytest.raises(StoreUnavailableError, match=r"watching failed: .* is not the primary"):
            async with changes:
                pass


async def test_former_primary_is_not_watched(replica_set: ReplicaSet, member: Mongod, unique: str) -> None:
    state = StateAdapter(unique, "s")
    async with state.watch() as changes:
        await state.write_state_data({"n": 1}, WHEN)
        assert (await anext(changes)).payload == {"n": 1}
        await asyncio.to_thread(step_down, replica_set)
        async with asyncio.timeout(MAX_WAIT_SECONDS):
            with pytest.raises(StoreUnavailableError, match=r"watching failed: .* is not the primary"):
                await anext(changes)
        token = changes.token
    # Another watch carries on, on the primary.
    await setup(CC_MONGO_CONNECTION_STRING=replica_set.uri(unique))
    async with state.watch(after=token) as changes:
        await state.write_state_data({"n": 2}, WHEN)
        assert (await anext(changes)).payload == {"n": 2}


async def test_connection_to_the_set_follows_its_primary(replica_set: ReplicaSet, member: Mongod, unique: str) -> None:
    await setup(CC_MONGO_CONNECTION_STRING=replica_set.uri(unique), CC_MONGO_TIMEOUT_MS=30_000)
    await fill(unique, 1)
    await asyncio.to_thread(step_down, replica_set)
    for call in reads(unique).values():
        await call()
    await fill(unique, 2)
    assert await StateAdapter(unique, "s").read_state_data() == {"n": 2}


async def test_standalone_that_is_connected_to_directly_is_read(
    servers: dict[str, Any], driver: str, unique: str
) -> None:
    with temporary_directory() as directory:
        alone = Mongod(directory / "standalone")
        alone.start()
        try:
            uri = alone.uri(unique, directConnection="true", heartbeatFrequencyMS=HEARTBEAT_MS)
            async with setup({**servers, "CC_MONGO_CONNECTION_STRING": uri, "CC_MONGO_DRIVER": driver}):
                await fill(unique, 1)
                for call in reads(unique).values():
                    await call()
                assert await StateAdapter(unique, "s").read_state_data() == {"n": 1}
        finally:
            alone.stop(kill=True)
