"""Versions of rows by simulation time, on MongoDB, by both drivers, and on SQLite."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import (
    InputError,
    InputTypeError,
    MemoryAdapter,
    SignalAdapter,
    SlotSpec,
    StateAdapter,
    StorageAdapter,
    StoreError,
    as_of,
    lease,
    persist,
    transaction,
)
from backtest_mongo.core.retention import find_due
from backtest_mongo.history.pruning import prune_versions
from tests.conftest import Deployment
from tests.history.conftest import NAMES
from tests.support import uniform
from tests.support.uniform import WHEN, entry, payload, write

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]

ROWS = pytest.mark.shapes("document", "entry", "collection", "bucket")


async def list_history(adapter: Any, key: str, **how: Any) -> list[tuple[int, Any]]:
    """Return the times and values of a row."""
    arguments = (key,) if adapter.spec.item else ()
    return [(one.when, one.value) async for one in adapter.history(*arguments, **how)]


def value_of(spec: SlotSpec, key: str, number: int) -> Any:
    """Return what :func:`write` stores."""
    value = payload(spec, number)
    return {"id": key, **value} if spec.shape == "collection" else value


async def write_at(adapter: Any, number: int, key: str, when: int) -> None:
    """Write a row at a simulation time, in slots without one within a transaction of that time."""
    if adapter.spec.when:
        await write(adapter, payload(adapter.spec, number), key, when)
    else:
        async with transaction(when=when):
            await write(adapter, payload(adapter.spec, number), key)


@ROWS
async def test_every_version_is_kept_by_simulation_time(kept: Deployment, unique: str, spec: SlotSpec) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    for number in range(4):
        await write_at(adapter, number, key, WHEN + 10 * number)
    versions = [(WHEN + 10 * number, value_of(spec, key, number)) for number in range(4)]
    assert await list_history(adapter, key) == versions
    assert await list_history(adapter, key, newest_first=True) == versions[::-1]
    assert await list_history(adapter, key, since=WHEN + 10, until=WHEN + 20) == versions[1:3]
    assert await list_history(adapter, key, since=WHEN + 11, until=WHEN + 19) == []
    assert await list_history(adapter, f"{key}-other" if spec.item else key, until=WHEN - 1) == []


@ROWS
@pytest.mark.slots("when")
async def test_read_gives_what_was_true_at_its_time(kept: Deployment, unique: str, spec: SlotSpec) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    for number in range(3):
        await write_at(adapter, number, key, WHEN + 10 * number)
    for offset, number in ((0, 0), (5, 0), (10, 1), (19, 1), (20, 2), (10**9, 2)):
        assert await uniform.read(adapter, key, WHEN + offset) == payload(spec, number)
    assert await uniform.read(adapter, key, WHEN - 1) == uniform.nothing(spec)
    assert await uniform.read(adapter, key) == payload(spec, 2)


@ROWS
async def test_write_removes_later_versions_of_its_row_alone(kept: Deployment, unique: str, spec: SlotSpec) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    other = f"{key}-other"
    for number in range(3):
        await write_at(adapter, number, key, WHEN + 10 * number)
        if spec.item:
            await write_at(adapter, number, other, WHEN + 10 * number)
    await write_at(adapter, 7, key, WHEN + 5)
    assert await list_history(adapter, key) == [
        (WHEN, value_of(spec, key, 0)), (WHEN + 5, value_of(spec, key, 7)),
    ]  # fmt: skip
    if spec.item:
        assert len(await list_history(adapter, other)) == 3


@ROWS
async def test_write_at_the_same_time_replaces_the_version(kept: Deployment, unique: str, spec: SlotSpec) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    for number in range(3):
        await write_at(adapter, number, key, WHEN)
    assert await list_history(adapter, key) == [(WHEN, value_of(spec, key, 2))]


@ROWS
@pytest.mark.slots("when")
@pytest.mark.parametrize("how", ["alone", "together"])
async def test_write_without_a_version_is_kept_by_the_next_one(
    kept: Deployment, unique: str, spec: SlotSpec, how: str
) -> None:
    """It overrules what was later, and does not come back to life."""
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    for number in (1, 2, 3):
        await write_at(adapter, number, key, WHEN + 1_000 * number)
    await kept.configure(CC_HISTORY="")
    await write(adapter, payload(spec, 15), key, WHEN + 1_500)
    await kept.configure(CC_HISTORY=NAMES)
    seen = [payload(spec, 15)] * 3
    assert [await uniform.read(adapter, key, WHEN + time) for time in (1_500, 2_500, 3_500)] == seen
    if how == "alone":
        await write(adapter, payload(spec, 4), key, WHEN + 4_000)
    else:
        async with transaction(when=WHEN + 4_000):
            await write(adapter, payload(spec, 4), key, WHEN + 4_000)
            await uniform.ADAPTERS["state"](unique, "beside")._write({"n": 1})  # type: ignore[attr-defined]
    assert [await uniform.read(adapter, key, WHEN + time) for time in (1_500, 2_500, 3_500)] == seen
    assert await uniform.read(adapter, key, WHEN + 1_400) == payload(spec, 1)
    assert [(when - WHEN, value) for when, value in await list_history(adapter, key)] == [
        (1_000, payload(spec, 1)), (1_500, payload(spec, 15)), (4_000, payload(spec, 4)),
    ]  # fmt: skip


@pytest.mark.shapes("bucket")
async def test_removal_is_a_version(kept: Deployment, unique: str, spec: SlotSpec) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    await write_at(adapter, 1, key, WHEN)
    async with transaction(when=WHEN + 10):
        await getattr(adapter, f"remove_{spec.noun}_data")(key)
    async with transaction(when=WHEN + 15):
        await getattr(adapter, f"remove_{spec.noun}_data")(key)  # which changes nothing
    await write_at(adapter, 2, key, WHEN + 20)
    found = [(one.when, one.value, one.is_removed) async for one in adapter.history(key)]
    assert found == [
        (WHEN, payload(spec, 1), False), (WHEN + 10, None, True), (WHEN + 20, payload(spec, 2), False),
    ]  # fmt: skip
    if spec.when:
        assert await uniform.read(adapter, key, WHEN + 9) == payload(spec, 1)
        assert await uniform.read(adapter, key, WHEN + 10) is None
        assert await uniform.read(adapter, key, WHEN + 20) == payload(spec, 2)


@pytest.mark.shapes("bucket")
@pytest.mark.slots("when")
async def test_removal_without_a_time_counts_from_the_time_of_its_row(
    kept: Deployment, unique: str, spec: SlotSpec
) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    await write_at(adapter, 1, key, WHEN)
    await write_at(adapter, 2, key, WHEN + 10)
    await getattr(adapter, f"remove_{spec.noun}_data")(key)
    await getattr(adapter, f"remove_{spec.noun}_data")(f"{key}-of nothing")
    assert [(one.when, one.is_removed) async for one in adapter.history(key)] == [(WHEN, False), (WHEN + 10, True)]
    assert await uniform.read(adapter, key, WHEN + 9) == payload(spec, 1)
    assert await uniform.read(adapter, key, WHEN + 10) is None


@pytest.mark.shapes("bucket")
@pytest.mark.slots("when")
async def test_list_is_as_of_its_time(kept: Deployment, unique: str, spec: SlotSpec) -> None:
    adapter = uniform.adapter(spec, unique)
    for name, times in (("a", (0, 20)), ("b", (10,)), ("c", (0,)), ("d", (30,))):
        for offset in times:
            await write_at(adapter, offset, name, WHEN + offset)
    async with transaction(when=WHEN + 15):
        await getattr(adapter, f"remove_{spec.noun}_data")("c")

    async def keys(offset: int) -> list[Any]:
        return [row[0] if spec.items else row for row in await uniform.listed(adapter, when=WHEN + offset)]

    assert [await keys(offset) for offset in (-1, 0, 10, 15, 20, 30)] == [
        [], ["a", "c"], ["a", "b", "c"], ["a", "b"], ["a", "b"], ["a", "b", "d"],
    ]  # fmt: skip
    if spec.items:
        assert dict(await uniform.listed(adapter, when=WHEN + 19))["a"] == payload(spec, 0)
        async with transaction():
            await write_at(adapter, 99, "a", WHEN + 25)
            assert dict(await uniform.listed(adapter, when=WHEN + 19))["a"] == payload(spec, 0)
            assert dict(await uniform.listed(adapter, when=WHEN + 25))["a"] == payload(spec, 99)


async def test_slots_without_a_time_have_the_clock_s(kept: Deployment, unique: str) -> None:
    signal = SignalAdapter("BTCUSDT", unique, "binance") if kept.config else uniform.adapter(SignalAdapter.spec, unique)
    before = await kept.read_clock()
    await signal.write_signal_data({"id": "s-1"})
    await asyncio.sleep(0.01)
    await signal.write_signal_data(None)
    after = await kept.read_clock()
    found = [one async for one in signal.history()]
    assert [one.value for one in found] == [{"id": "s-1"}, None]
    assert before - 1 <= found[0].when < found[1].when <= after + 1
    assert all(one.written is not None and abs(one.written - one.when) < 1_000 for one in found)


@ROWS
@pytest.mark.slots("when")
async def test_transaction_keeps_each_version_of_a_row(kept: Deployment, unique: str, spec: SlotSpec) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    await write_at(adapter, 0, key, WHEN)
    await write_at(adapter, 9, key, WHEN + 100)
    async with transaction():
        for number in (1, 2, 3):
            await write(adapter, payload(spec, number), key, WHEN + 10 * number)
        assert await uniform.read(adapter, key, WHEN + 25) == payload(spec, 2)
        assert await uniform.read(adapter, key, WHEN + 5) == payload(spec, 0)
        async with transaction():
            await write(adapter, payload(spec, 4), key, WHEN + 25)
    assert [when - WHEN for when, _ in await list_history(adapter, key)] == [0, 10, 20, 25]


@pytest.mark.parametrize("every", [1, 5])
async def test_leased_transactions_keep_every_version(kept: Deployment, unique: str, every: int) -> None:
    state: Any = uniform.adapter(StateAdapter.spec, unique)
    signal: Any = uniform.adapter(SignalAdapter.spec, unique)
    async with lease(state, signal, commit_every=every):
        for number in range(12):
            async with transaction(when=WHEN + number):
                await state.write_state_data({"n": number})
                await signal.write_signal_data({"n": number})
            assert await state.read_state_data(when=WHEN + number - 1) == ({"n": number - 1} if number else None)
            assert await state.read_state_data() == {"n": number}
    expected = [(WHEN + number, {"n": number}) for number in range(12)]
    assert await list_history(state, "") == expected
    assert await list_history(signal, "") == expected
    assert await state.read_state_data(when=WHEN + 5) == {"n": 5}


@ROWS
@pytest.mark.slots("item")
async def test_many_rows_are_read_and_written_at_once(kept: Deployment, unique: str, spec: SlotSpec) -> None:
    adapter = uniform.adapter(spec, unique)
    names = [f"{unique}-{number}" for number in range(40)]
    for offset in (0, 10):
        await asyncio.gather(*(write(adapter, payload(spec, offset), name, WHEN + offset) for name in names))
    for name in names[:3]:
        assert len(await list_history(adapter, name)) in ((2,) if spec.when else (1, 2))
    if spec.when:
        found = await asyncio.gather(*(uniform.read(adapter, name, WHEN + 5) for name in names))
        assert found == [payload(spec, 0)] * 40


async def test_read_many_and_write_many_know_the_past(kept: Deployment, unique: str) -> None:
    adapter: Any = uniform.ADAPTERS["state"]
    contexts = [(unique, f"s-{number}") for number in range(300)]
    for offset in (0, 10):
        await adapter.write_many([(context, {"n": offset}) for context in contexts], when=WHEN + offset)
    assert await adapter.read_many(contexts, when=WHEN + 9) == [{"n": 0}] * 300
    assert await adapter.read_many(contexts, when=WHEN + 10) == [{"n": 10}] * 300
    assert await adapter.read_many(contexts, when=WHEN - 1) == [None] * 300
    assert await adapter.read_many(contexts) == [{"n": 10}] * 300


@pytest.mark.shapes("document", "collection")
async def test_last_of_concurrent_calls_counts(kept: Deployment, unique: str, spec: SlotSpec) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    context = tuple(adapter.context.values())

    def write_one(number: int) -> Coroutine[Any, Any, None]:
        return write(adapter, payload(spec, number), key, WHEN)

    def write_two(number: int) -> Coroutine[Any, Any, None]:
        if spec.shape == "collection":
            rows = [value_of(spec, name, number) for name in ("other", key)]
            return getattr(adapter, f"write_{spec.noun}_data")(rows)  # type: ignore[no-any-return]
        pairs = [(each, payload(spec, number)) for each in ((unique, *context[1:]), context)]
        return type(adapter).write_many(pairs, **({"when": WHEN} if spec.when else {}))  # type: ignore[no-any-return]

    for last in (write_one, write_two):
        calls = [*(write_one if number % 3 else write_two for number in range(12)), last]
        await asyncio.gather(*(call(number) for number, call in enumerate(calls)))
        assert await uniform.read(adapter, key) == uniform.stored(spec, payload(spec, 12))


async def test_call_with_more_rows_than_a_transaction_takes_is_not_overtaken(kept: Deployment, unique: str) -> None:
    state: Any = uniform.ADAPTERS["state"]
    contexts = [(unique, f"s-{number}") for number in range(1_500)]
    storage: Any = uniform.ADAPTERS["storage"](True)
    rows = [{"id": f"{unique}-{number}"} for number in range(1_500)]
    await asyncio.gather(
        state.write_many([(context, {"n": 0}) for context in contexts], when=WHEN),
        state(*contexts[-1]).write_state_data({"n": 1}, WHEN),
        storage.write_storage_data([{**row, "n": 0} for row in rows]),
        storage.write_storage_data([{**rows[-1], "n": 1}]),
    )
    assert await state.read_many(contexts) == [{"n": 0}] * 1_499 + [{"n": 1}]
    found = {row["id"]: row["n"] for row in await storage.read_storage_data()}
    assert found == {row["id"]: 0 for row in rows} | {rows[-1]["id"]: 1}


async def test_readers_of_one_version_each_get_one_of_their_own(kept: Deployment, unique: str) -> None:
    state: Any = uniform.ADAPTERS["state"](unique, "s")
    for number in range(2):
        await state.write_state_data({"n": number}, WHEN + 10 * number)
    for when in (WHEN, WHEN + 10):
        for found in (
            await asyncio.gather(*(state.read_state_data(when=when) for _ in range(3))),
            await type(state).read_many([(unique, "s")] * 3, when=when),
        ):
            found[0]["n"] = "changed"
            assert found[1:] == [{"n": (when - WHEN) // 10}] * 2


async def test_conditional_writes_keep_versions(kept: Deployment, unique: str) -> None:
    state: Any = uniform.adapter(StateAdapter.spec, unique)
    await state.write_state_data({"n": 0}, WHEN, if_absent=True)
    with pytest.raises(backtest_mongo.ConflictError):
        await state.write_state_data({"n": 1}, WHEN + 1, if_absent=True)
    version = (await state.read_state_data(with_version=True)).version
    await state.write_state_data({"n": 2}, WHEN + 2, expect=version)
    with pytest.raises(backtest_mongo.ConflictError):
        await state.write_state_data({"n": 3}, WHEN + 3, expect=version)
    assert await list_history(state, "") == [(WHEN, {"n": 0}), (WHEN + 2, {"n": 2})]


async def test_bad_times_are_refused(kept: Deployment, unique: str) -> None:
    state: Any = uniform.adapter(StateAdapter.spec, unique)
    with pytest.raises(InputError):
        await list_history(state, "", since=datetime(2024, 1, 1))
    with pytest.raises(InputError):
        await list_history(state, "", until="yesterday")
    await state.write_state_data({}, datetime(2024, 1, 1, tzinfo=UTC))
    assert await list_history(state, "", until=datetime(2024, 1, 1, tzinfo=UTC)) != []


async def test_write_by_the_clock_removes_what_a_lease_has_yet_to_commit_of_later_times(
    kept: Deployment, unique: str
) -> None:
    signal: Any = uniform.adapter(SignalAdapter.spec, unique)
    async with lease(signal, commit_every=64):
        async with transaction(when=WHEN):
            await signal.write_signal_data({"n": 0})
        async with transaction(when=2**60):
            await signal.write_signal_data({"n": 1})
        await signal.write_signal_data({"n": 2})
    assert [value for _, value in await list_history(signal, "")] == [{"n": 0}, {"n": 2}]


async def test_order_of_a_history_is_a_bool(kept: Deployment, unique: str) -> None:
    with pytest.raises(InputTypeError, match="newest_first must be a bool, not str"):
        await list_history(uniform.adapter(StateAdapter.spec, unique), "", newest_first="no")


@pytest.mark.mongodb("a row in SQLite has its time")
async def test_row_of_an_unknown_time_is_no_version(kept: Deployment, unique: str) -> None:
    signal: Any = uniform.adapter(SignalAdapter.spec, unique)
    async with transaction(when=WHEN):
        await signal.write_signal_data({"n": 0})
    collection = await kept.collection(signal.spec)
    await collection.update_one({"symbol": signal.context["symbol"]}, {"$unset": {"updatedDate": 1}})
    assert await list_history(signal, "") == [(WHEN, {"n": 0})]


async def test_without_the_setting_there_is_no_past(deployment: Deployment, unique: str) -> None:
    memory: Any = uniform.adapter(MemoryAdapter.spec, unique)
    await memory.write_memory_data({"n": 0}, "a", WHEN)
    await memory.write_memory_data({"n": 1}, "a", WHEN + 10)
    assert await memory.read_memory_data("a", when=WHEN + 5) is None
    with pytest.raises(StoreError, match="memory keeps no versions"):
        await list_history(memory, "a")


@pytest.mark.parametrize(("history", "kept_versions"), [(True, 3), ("2", 2)])
async def test_slot_of_one_s_own_keeps_versions_without_the_setting(
    deployment: Deployment, unique: str, history: bool | str, kept_versions: int
) -> None:
    spec = SlotSpec(
        name=f"order_{unique}",
        shape="bucket",
        context=("exchange_name",),
        key=("exchangeName", "orderId"),
        redis=("exchangeName", "orderId"),
        when=True,
        soft_delete=True,
        history=history,
    )
    persist.register(spec)
    order: Any = getattr(persist, spec.name)("binance")
    state: Any = persist.state(unique, "s")
    for number in range(3):
        await write_at(order, number, "o-1", WHEN + 10 * number)
        await write_at(state, number, "", WHEN + 10 * number)
    versions = [(WHEN + 10 * number, payload(spec, number)) for number in range(3)]
    assert await list_history(order, "o-1") == versions
    assert await uniform.read(order, "o-1", WHEN + 15) == payload(spec, 1)
    async with as_of(WHEN + 5) as past:
        assert await uniform.read(getattr(past, spec.name)("binance"), "o-1") == payload(spec, 0)
    assert await prune_versions(spec, order._base_store().versions) == 3 - kept_versions
    assert await list_history(order, "o-1") == versions[-kept_versions:]
    with pytest.raises(StoreError, match="state keeps no versions"):
        await list_history(state, "")


async def test_retention_by_number_keeps_the_last_versions(deployment: Deployment, unique: str) -> None:
    await deployment.configure(CC_HISTORY="state=10")
    state: Any = uniform.adapter(StateAdapter.spec, unique)
    writes = max(count for count in range(200) if find_due(count - 1, 1) is not None)  # after which they are deleted
    for number in range(writes):
        await state.write_state_data({"n": number}, WHEN + number)
    await backtest_mongo.close()  # which waits for what is done in the background
    assert await list_history(state, "") == [(WHEN + number, {"n": number}) for number in range(writes - 10, writes)]


async def test_versions_of_all_that_take_turns_are_deleted(deployment: Deployment, unique: str) -> None:
    await deployment.configure(CC_HISTORY="memory=10")
    memory: Any = uniform.adapter(MemoryAdapter.spec, unique)
    for number in range(45):
        async with transaction(when=WHEN + number):
            for key in ("a", "b"):
                await memory.write_memory_data({"n": number}, key)
    await backtest_mongo.close()
    found = [await list_history(memory, key) for key in ("a", "b")]
    assert [10 <= len(versions) < 45 for versions in found] == [True, True]
    assert [versions[-1] for versions in found] == [(WHEN + 44, {"n": 44})] * 2


async def test_retention_keeps_up_with_a_lease_that_commits_later(deployment: Deployment, unique: str) -> None:
    await deployment.configure(CC_HISTORY="state=10")
    state: Any = uniform.adapter(StateAdapter.spec, unique)
    async with lease(state, commit_every=64):
        for number in range(256):
            async with transaction(when=WHEN + number):
                await state.write_state_data({"n": number})
    await backtest_mongo.close()
    assert 10 <= len(await list_history(state, "")) < 256


async def test_collections_keep_the_versions_of_their_rows(kept: Deployment, unique: str) -> None:
    storage: Any = uniform.ADAPTERS["storage"](True)
    assert storage.spec == StorageAdapter.spec
    async with transaction(when=WHEN):
        await storage.write_storage_data([{"id": f"{unique}-{number}", "n": 0} for number in range(5)])
    async with transaction(when=WHEN + 10):
        await storage.write_storage_data([{"id": f"{unique}-{number}", "n": 1} for number in range(2)])
    assert [value["n"] for _, value in await list_history(storage, f"{unique}-0")] == [0, 1]
    assert [value["n"] for _, value in await list_history(storage, f"{unique}-4")] == [0]


async def test_rows_that_need_not_be_kept_go_with_their_versions(deployment: Deployment, unique: str) -> None:
    await deployment.configure(CC_HISTORY="log", CC_KEEP="log=50")
    log: Any = uniform.ADAPTERS["log"]()
    for start in range(0, 400, 50):
        await log.write_log_data([{"id": f"{unique}-{number}"} for number in range(start, start + 50)])
    await log.write_log_data([{"id": f"{unique}-399"}])
    await backtest_mongo.close()  # which waits for what is done in the background
    stored = {row["entryId"] for row in await deployment.rows(log.spec)}
    assert 50 <= len(stored) < 400
    gone = next(name for name in (f"{unique}-{number}" for number in range(400)) if name not in stored)
    assert await list_history(log, gone) == []
    assert len(await list_history(log, f"{unique}-399")) >= 1
