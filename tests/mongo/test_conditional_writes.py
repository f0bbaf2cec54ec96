"""Compare and set on MongoDB: one command decides, whatever happens between the read and it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from bson import Int64
from bson.son import SON

import backtest_mongo
from backtest_mongo import (
    ConflictError,
    IndexConflictError,
    InputError,
    MemoryAdapter,
    RiskAdapter,
    SignalAdapter,
    SlotSpec,
    StateAdapter,
    StoreError,
    StoreUnavailableError,
    get_mongo,
    setup,
)
from backtest_mongo.mongo import store
from backtest_mongo.mongo.store import MongoStore
from faults.proxy import Proxy
from faults.topology import Mongod
from tests.conftest import Counts, Deployment, drop_database, operations
from tests.support import uniform
from tests.support.failing_servers import FailingServer
from tests.support.uniform import WHEN, entry, payload, read, read_version, write

pytestmark = [pytest.mark.either_driver, pytest.mark.two_pythons]

POINTS = ("document", "entry", "bucket")
Meanwhile = Callable[[Callable[[], Awaitable[Any]]], None]


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    """Do something once, between the read of a conditional write and its command."""

    def register(work: Callable[[], Awaitable[Any]]) -> None:
        find_current = MongoStore._find_current

        async def then_work(self: MongoStore, key: Any) -> Any:
            row = await find_current(self, key)
            monkeypatch.setattr(MongoStore, "_find_current", find_current)
            await work()
            return row

        monkeypatch.setattr(MongoStore, "_find_current", then_work)

    return register


# What is stored between the read and the command, within the same millisecond


@pytest.mark.shapes(*POINTS)
async def test_write_of_another_program_between_read_and_command_is_not_lost(
    deployment: Deployment, unique: str, spec: SlotSpec, meanwhile: Meanwhile
) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    await write(adapter, payload(spec, 1), key)
    version = (await read_version(adapter, key)).version
    meanwhile(lambda: deployment.replace_payload(spec, payload(spec, 2)))
    with pytest.raises(ConflictError) as caught:
        await write(adapter, payload(spec, 3), key, expect=version)
    assert caught.value.found == payload(spec, 2) == await read(adapter, key)
    assert caught.value.version == (await read_version(adapter, key)).version != version


#: What a filter by a value takes for the value.
LOOKALIKES: list[tuple[Any, Any]] = [
    ([1, 2], [[1, 2]]),
    ([1, 2], [[1, 2], 3]),
    ([None], []),
    ([{"a": 1}], [[{"a": 1}]]),
    ([], [[]]),
    ([1], None),
]


@pytest.mark.parametrize(("before", "after"), LOOKALIKES)
async def test_list_is_compared_as_a_whole(
    deployment: Deployment, unique: str, meanwhile: Meanwhile, before: Any, after: Any
) -> None:
    risk = RiskAdapter(unique, "binance")
    await risk.write_position_data(before, WHEN)
    version = (await risk.read_position_data(with_version=True)).version
    meanwhile(lambda: deployment.replace_payload(RiskAdapter.spec, after))
    with pytest.raises(ConflictError) as caught:
        await risk.write_position_data(["mine"], WHEN, expect=version)
    assert caught.value.found == after


@pytest.mark.parametrize(
    "change",
    [
        {"when": WHEN + 1},
        {"when": None},
        {"removed": True},
        {"payload": [{"a": 1, "b": 2}]},
        {"payload": SON([("b", 2), ("a", 1)])},
        {"payload": None},
        {"payload.b": 3},
        {"payload": {"a": 1, "b": 2, "$c": 3}},
    ],
    ids=str,
)
async def test_any_change_of_a_row_is_seen(
    deployment: Deployment, unique: str, meanwhile: Meanwhile, change: dict[str, Any]
) -> None:
    memory = MemoryAdapter(unique, "notes")
    await memory.write_memory_data({"a": 1, "b": 2}, "m", WHEN)
    version = (await memory.read_memory_data("m", with_version=True)).version
    collection = await deployment.collection(MemoryAdapter.spec)

    meanwhile(lambda: collection.update_one({}, {"$set": change}))
    with pytest.raises(ConflictError) as caught:
        await memory.write_memory_data({"mine": True}, "m", WHEN, expect=version)
    assert caught.value.version != version
    assert (await memory.read_memory_data("m", with_version=True)).version == caught.value.version


async def test_row_deleted_between_read_and_command_is_a_conflict(
    deployment: Deployment, unique: str, meanwhile: Meanwhile
) -> None:
    state = StateAdapter(unique, "s")
    await state.write_state_data({"n": 1}, WHEN)
    version = (await state.read_state_data(with_version=True)).version
    meanwhile(lambda: deployment.delete_rows(StateAdapter.spec))
    with pytest.raises(ConflictError, match="no longer stored") as caught:
        await state.write_state_data({"n": 2}, WHEN, expect=version)
    assert caught.value.found is None
    assert await deployment.rows(StateAdapter.spec) == []


@pytest.mark.parametrize(
    "odd", [{"$ref": 1, "text": "$payload", "$literal": {"$eq": "$$ROOT"}}, {"a.b": {"$gt": ""}, "": None}], ids=str
)
async def test_payload_with_operators_is_compared_as_it_is(deployment: Deployment, unique: str, odd: Any) -> None:
    state = StateAdapter(unique, "s")
    await state.write_state_data(odd, WHEN)
    _, version = await state.read_state_data(with_version=True)
    await state.write_state_data({**odd, "n": 2}, WHEN, expect=version)
    assert await state.read_state_data() == {**odd, "n": 2}


@pytest.mark.parametrize(
    "value", [5, 5.0, Int64(5), float("inf"), float("nan"), b"\0", None, [Int64(1), [2.0, None]]], ids=repr
)
async def test_row_of_another_program_is_replaced_by_its_version(
    deployment: Deployment, unique: str, value: Any
) -> None:
    signal = SignalAdapter(unique, "s", "binance")
    await signal.write_signal_data({"n": 0})
    versions = set()
    for fields in ({"payload": {"n": value}}, {"payload": value}, {"payload": [{"n": value}], "updatedDate": "never"}):
        await (await deployment.collection(SignalAdapter.spec)).update_one({}, {"$set": fields})
        _, version = await signal.read_signal_data(with_version=True)
        versions.add(version)
        await signal.write_signal_data({"n": 1}, expect=version)
        assert await signal.read_signal_data() == {"n": 1}
    assert len(versions) == 3


async def test_row_without_any_of_the_library_s_fields_is_replaced_by_its_version(
    deployment: Deployment, unique: str
) -> None:
    state = StateAdapter(unique, "s")
    await state.wait_for_init()
    collection = await deployment.collection(StateAdapter.spec)
    await collection.insert_one({"signalId": unique, "bucketName": "s"})
    value, version = await state.read_state_data(with_version=True)
    assert value is None
    await state.write_state_data({"n": 1}, WHEN, expect=version)
    (row,) = await deployment.rows(StateAdapter.spec)
    assert row["payload"] == {"n": 1}


async def test_versions_tell_numbers_of_two_types_apart(deployment: Deployment, unique: str) -> None:
    state = StateAdapter(unique, "s")
    await state.write_state_data({"n": 5}, WHEN)
    seen = set()
    for number in (5, 5.0, Int64(5), -0.0, 0.0):
        await (await deployment.collection(StateAdapter.spec)).update_one({}, {"$set": {"payload.n": number}})
        seen.add((await state.read_state_data(with_version=True)).version)
    assert len(seen) == 5


# Large rows


async def test_large_row_is_compared_as_a_whole(deployment: Deployment, unique: str, meanwhile: Meanwhile) -> None:
    state = StateAdapter(unique, "s")
    large = {"text": "x" * 7_000_000, "n": 1}
    await state.write_state_data(large, WHEN)
    version = (await state.read_state_data(with_version=True)).version
    meanwhile(lambda: deployment.replace_payload(StateAdapter.spec, {**large, "n": 2}))
    with pytest.raises(ConflictError) as caught:
        await state.write_state_data(large, WHEN, expect=version)
    await state.write_state_data({**large, "n": 3}, WHEN, expect=caught.value.version)
    assert (await state.read_state_data() or {})["n"] == 3


async def test_rows_that_are_too_large_for_one_command_are_refused(deployment: Deployment, unique: str) -> None:
    state = StateAdapter(unique, "s")
    large = {"text": "x" * 9_000_000}
    await state.write_state_data(large, WHEN, if_absent=True)
    value, version = await state.read_state_data(with_version=True)
    assert value == large
    with pytest.raises(InputError, match=r"^state: payload is 18,000,\d+ bytes with the one that it replaces"):
        await state.write_state_data(large, WHEN, expect=version)
    await state.write_state_data({"text": "y" * 7_000_000}, WHEN, expect=version)


async def test_largest_pair_fits_into_one_command(deployment: Deployment, unique: str) -> None:
    state = StateAdapter(unique, "s" * 500)
    half = store._LARGEST_PAIR // 2 - 100
    await state.write_state_data({"text": "x" * half}, WHEN)
    version = (await state.read_state_data(with_version=True)).version
    await state.write_state_data({"text": "y" * half}, WHEN, expect=version)
    assert (await state.read_state_data() or {})["text"][0] == "y"


# Indexes that are not the library's


async def test_row_that_another_index_refuses_is_no_conflict(deployment: Deployment, unique: str) -> None:
    await StateAdapter(unique, "s1").write_state_data({"n": 1}, WHEN)
    collection = await deployment.collection(StateAdapter.spec)
    await collection.create_index("payload.n", unique=True)
    other = StateAdapter(unique, "s2")
    absent = (await other.read_state_data(with_version=True)).version
    with pytest.raises(IndexConflictError, match=r"a unique index on payload\.n, which this library did not create"):
        await other.write_state_data({"n": 1}, WHEN, if_absent=True)
    with pytest.raises(IndexConflictError, match=r"a unique index on payload\.n, which this library did not create"):
        await other.write_state_data({"n": 1}, WHEN, expect=absent)
    await other.write_state_data({"n": 2}, WHEN, if_absent=True)
    version = (await other.read_state_data(with_version=True)).version
    with pytest.raises(IndexConflictError):
        await other.write_state_data({"n": 1}, WHEN, expect=version)
    with pytest.raises(ConflictError):
        await other.write_state_data({"n": 1}, WHEN, if_absent=True)
    assert await other.read_state_data() == {"n": 2}


async def test_row_that_breaks_a_rule_of_the_collection_is_refused_with_the_server_s_code(
    deployment: Deployment, unique: str
) -> None:
    state = StateAdapter(unique, "s")
    await state.write_state_data({"n": 0}, WHEN)
    collection = await deployment.collection(StateAdapter.spec)
    await collection.database.command({"collMod": collection.name, "validator": {"payload.n": {"$lt": 2}}})
    version = (await state.read_state_data(with_version=True)).version
    with pytest.raises(StoreError, match=r"^state: writing failed: MongoDB answered with error 121") as caught:
        await state.write_state_data({"n": 2}, WHEN, expect=version)
    assert caught.value.code == 121
    await state.write_state_data({"n": 1}, WHEN, expect=version)


# Requests


async def test_write_if_absent_is_one_command_and_one_with_a_version_two(deployment: Deployment, unique: str) -> None:
    state = StateAdapter(unique, "s")
    await state.wait_for_init()
    before = await operations()
    await state.write_state_data({"n": 1}, WHEN, if_absent=True)
    once = await operations()
    _, version = await state.read_state_data(with_version=True)
    read_once = await operations()
    await state.write_state_data({"n": 2}, WHEN, expect=version)
    after = await operations()
    # A command that updates one document counts as an update, or as the insert that it becomes.
    assert sum((once - before).values()) <= 2
    assert read_once - once == Counts({"query": 1})
    assert (after - read_once)["query"] == 1


async def test_reads_with_versions_and_conditional_writes_are_counted(deployment: Deployment, unique: str) -> None:
    state = StateAdapter(unique, "s")
    _, version = await state.read_state_data(with_version=True)
    await state.write_state_data({"n": 1}, WHEN, if_absent=True)
    with pytest.raises(ConflictError):
        await state.write_state_data({"n": 1}, WHEN, expect=version)
    counts = backtest_mongo.stats().slots["state"]
    assert (counts.reads, counts.writes) == (1, 2)


# Lost answers


@pytest.fixture
def proxy(standalone: Mongod) -> Iterator[Proxy]:
    with Proxy(standalone.port) as started:
        yield started


@pytest.fixture
async def lossy(servers: dict[str, Any], driver: str, unique: str, proxy: Proxy) -> AsyncIterator[Deployment]:
    """The library on a standalone behind the proxy."""
    uri = f"mongodb://127.0.0.1:{proxy.port}/{unique}"
    config = {**servers, "CC_MONGO_CONNECTION_STRING": uri, "CC_MONGO_DRIVER": driver}
    await setup(config)
    yield Deployment(config, unique)
    proxy.pass_on()
    await drop_database(unique)
    await backtest_mongo.close()


async def lose(proxy: Proxy, word: bytes, after: int = 0) -> None:
    """Cut the next answer to a request with the word, and no other."""
    proxy.cuts = 0
    proxy.cut(word, after=after)
    while not proxy.cuts:  # noqa: ASYNC110  # the proxy runs in a thread of its own
        await asyncio.sleep(0.001)
    proxy.pass_on()


@pytest.mark.parametrize(("slot", "after"), [("state", 0), ("signal", 20), ("risk", 0), ("partial", 0), ("memory", 0)])
async def test_write_whose_answer_is_lost_is_not_sent_again(
    lossy: Deployment, unique: str, slot: str, proxy: Proxy, after: int
) -> None:
    spec = uniform.ADAPTERS[slot].spec
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    absent = (await read_version(adapter, key)).version
    for number, condition in enumerate(({"if_absent": True}, {"expect": absent}, {"expect": None})):
        if number == 1:
            await lossy.delete_rows(spec)
        elif number == 2:
            condition = {"expect": (await read_version(adapter, key)).version}
        losing = asyncio.ensure_future(lose(proxy, b"findAndModify", after))
        with pytest.raises(StoreUnavailableError, match="nothing shows whether the condition held") as caught:
            await write(adapter, payload(spec, number), key, **condition)
        await losing
        assert caught.value.may_be_applied
        assert caught.value.key == uniform.natural_key(adapter, key)
        # It was applied, and a second attempt would have found its own row in the way.
        assert await read(adapter, key) == payload(spec, number)


async def test_read_before_a_write_whose_answer_is_lost_is_sent_again(
    lossy: Deployment, unique: str, proxy: Proxy
) -> None:
    state = StateAdapter(unique, "s")
    await state.write_state_data({"n": 1}, WHEN)
    _, version = await state.read_state_data(with_version=True)
    losing = asyncio.ensure_future(lose(proxy, b"find"))
    await state.write_state_data({"n": 2}, WHEN, expect=version)
    await losing
    losing = asyncio.ensure_future(lose(proxy, b"find"))
    assert (await state.read_state_data(with_version=True)).value == {"n": 2}
    await losing


@pytest.mark.parametrize(
    "failure",
    [
        {"closeConnection": True},
        {"errorCode": 189, "errorLabels": ["RetryableWriteError"]},
        # It is applied, and the server shuts down before it is durable.
        {"writeConcernError": {"code": 91, "errmsg": "no majority"}, "errorLabels": ["RetryableWriteError"]},
    ],
    ids=["connection", "stepdown", "unconfirmed"],
)
async def test_driver_sends_a_write_again_that_a_replica_set_may_have_applied(
    on_failing: FailingServer, failing_config: dict[str, Any], unique: str, failure: dict[str, Any]
) -> None:
    # The driver waits for a heartbeat after some of these errors.
    await setup({**failing_config, "CC_MONGO_CONNECTION_STRING": on_failing.uri(unique, heartbeatFrequencyMS=500)})
    state = StateAdapter(unique, "s")
    absent = (await state.read_state_data(with_version=True)).version
    on_failing.fail("findAndModify", mode={"times": 1}, **failure)
    await state.write_state_data({"n": 1}, WHEN, if_absent=True)
    value, version = await state.read_state_data(with_version=True)
    assert (value, version == absent) == ({"n": 1}, False)
    on_failing.fail("findAndModify", mode={"times": 1}, **failure)
    await state.write_state_data({"n": 2}, WHEN, expect=version)
    assert await state.read_state_data() == {"n": 2}


async def test_write_that_is_applied_and_not_confirmed_has_an_unknown_outcome(
    on_failing: FailingServer, unique: str
) -> None:
    state = StateAdapter(unique, "s")
    _, version = await state.read_state_data(with_version=True)
    on_failing.fail("findAndModify", writeConcernError={"code": 64, "errmsg": "no majority in time"})
    with pytest.raises(StoreUnavailableError) as caught:
        await state.write_state_data({"n": 1}, WHEN, expect=version)
    on_failing.end()
    assert caught.value.may_be_applied
    assert await state.read_state_data() == {"n": 1}


async def test_database_is_asked_for_again_after_another_program_dropped_it(
    deployment: Deployment, unique: str
) -> None:
    state = StateAdapter(unique, "s")
    await state.write_state_data({"n": 1}, WHEN, if_absent=True)
    await (await get_mongo())[unique].drop_collection(StateAdapter.spec.collection)
    await state.write_state_data({"n": 2}, WHEN, if_absent=True)
    assert await state.read_state_data() == {"n": 2}
