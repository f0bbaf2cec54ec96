"""Transactions on MongoDB, by both drivers, and on SQLite: every sentence of what ``transaction()`` promises."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import InputError, InputTypeError, SlotSpec, StoreError, persist, transaction
from backtest_mongo.commit.scope import current_scope
from backtest_mongo.mongo.collection import aggregate
from tests.conftest import Deployment, operations
from tests.sqlite.support import list_names
from tests.support import uniform
from tests.support.scopes import look, outside
from tests.support.uniform import WHEN, candles, entry, payload, redis_key, write

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]

#: All but candles, which are not part of a transaction.
ROWS = pytest.mark.shapes("document", "entry", "collection", "bucket")


class Stop(Exception):
    """What a block raises to be left."""


async def fill(adapter: Any, unique: str) -> tuple[str, str, str]:
    """Write two rows, and return their keys and one of a row that is not there."""
    keys = entry(adapter.spec, f"{unique}-b"), entry(adapter.spec, f"{unique}-d"), entry(adapter.spec, f"{unique}-c")
    for number, key in enumerate(keys[:2]):
        await write(adapter, payload(adapter.spec, number), key)
    return keys


async def change(adapter: Any, keys: tuple[str, str, str]) -> None:
    """Write a row over, a fresh one twice, and remove one where that can be done."""
    spec = adapter.spec
    await write(adapter, payload(spec, 10), keys[0], WHEN + 1)
    await write(adapter, payload(spec, 11), keys[2])
    await write(adapter, payload(spec, 12), keys[2])
    if spec.soft_delete:
        await getattr(adapter, f"remove_{spec.noun}_data")(keys[1])


# All or nothing.


@pytest.mark.shapes("collection")
async def test_empty_list_in_a_block_writes_nothing(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    adapter = uniform.adapter(spec, unique)
    key = entry(spec, unique)
    async with transaction(when=WHEN):
        await getattr(adapter, f"write_{spec.noun}_data")([])
    async with transaction(when=WHEN):
        await write(adapter, payload(spec, 1), key)
        await getattr(adapter, f"write_{spec.noun}_data")([])
    assert len(await getattr(adapter, f"read_{spec.noun}_data")()) == 1


@ROWS
async def test_block_sees_its_writes_in_every_form_and_nobody_else_before_the_commit(
    deployment: Deployment, unique: str, spec: SlotSpec
) -> None:
    adapter = uniform.adapter(spec, unique)
    keys = await fill(adapter, unique)
    before = await look(adapter, *keys)
    async with transaction():
        assert await look(adapter, *keys) == before
        await change(adapter, keys)
        inside, meanwhile = await look(adapter, *keys), await outside(look(adapter, *keys))
    after = await outside(look(adapter, *keys))
    assert meanwhile == before
    assert inside == after != before


@ROWS
async def test_exception_drops_all_writes(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    adapter = uniform.adapter(spec, unique)
    keys = await fill(adapter, unique)
    before = await look(adapter, *keys)

    async def work() -> None:
        async with transaction():
            await change(adapter, keys)
            raise Stop

    with pytest.raises(Stop):
        await work()
    assert await look(adapter, *keys) == before


@ROWS
async def test_payload_is_stored_as_it_was_at_the_call(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    adapter, value = uniform.adapter(spec, unique), payload(spec)
    async with transaction():
        await write(adapter, value)
        (value[0][1] if spec.payload == "list" else value)["number"] = "changed by its caller"
        found: Any = await uniform.read(adapter)
        assert found == uniform.stored(spec, payload(spec))
        (found if spec.payload == "list" or spec.shape == "collection" else [found]).append("changed by a reader")
        assert await uniform.read(adapter) == uniform.stored(spec, payload(spec))
    assert await uniform.read(adapter) == uniform.stored(spec, payload(spec))


async def test_rows_of_all_slots_are_committed_at_once(deployment: Deployment, unique: str) -> None:
    rows = [spec for spec in backtest_mongo.SLOTS if spec.shape != "series"]
    adapters = [uniform.adapter(spec, unique) for spec in rows]
    async with transaction():
        for adapter in adapters:
            await write(adapter, payload(adapter.spec))
        for adapter in adapters:
            assert await outside(uniform.read(adapter)) == uniform.nothing(adapter.spec)
    for adapter in adapters:
        assert await uniform.read(adapter) == uniform.stored(adapter.spec, payload(adapter.spec))


async def test_nothing_is_sent_before_the_end_of_the_block(
    deployment: Deployment, unique: str, driver: str, tmp_path: Path
) -> None:
    state, memory, storage = persist.state(unique, "s"), persist.memory(unique, "m"), persist.storage(True)
    if driver != "sqlite":
        await state.read_state_data()
        before = await operations()
    async with transaction(when=WHEN):
        await state.write_state_data({"n": 1})
        await memory.write_memory_data({"n": 1}, "a")
        await storage.write_storage_data([{"id": "a"}, {"id": "b"}])
        if driver == "sqlite":
            assert list_names(tmp_path) == []
        else:
            sent = await operations() - before
            assert not sent.keys() & {"insert", "update", "delete"}
    assert await state.read_state_data() == {"n": 1}


async def test_block_without_writes_and_one_that_only_reads_commit_nothing(
    deployment: Deployment, unique: str, driver: str, tmp_path: Path
) -> None:
    state = persist.state(unique, "s")
    async with transaction():
        pass
    async with transaction():
        assert await state.read_state_data() is None
    if driver == "sqlite":
        assert list_names(tmp_path) == []


async def test_bad_payload_is_refused_by_its_call_and_the_others_are_committed(
    deployment: Deployment, unique: str
) -> None:
    state, storage = persist.state(unique, "s"), persist.storage(True)
    async with transaction(when=WHEN):
        await state.write_state_data({"n": 1})
        with pytest.raises(InputError, match="has no id"):
            await storage.write_storage_data([{"id": "a"}, {"n": 2}])
        with pytest.raises(InputTypeError, match="must be a dict"):
            await state.write_state_data([1])  # type: ignore[arg-type]
    assert await state.read_state_data() == {"n": 1}
    assert await storage.read_storage_data() == []


async def test_lists_that_are_read_while_rows_are_written_are_in_order(deployment: Deployment, unique: str) -> None:
    memory = persist.memory(unique, "m")
    for name in ("\U0001f4c8", "b", "ключ", "\ufeffa", "a:b"):
        await memory.write_memory_data({"n": name}, name, WHEN)
    async with transaction(when=WHEN):
        for name in ("é", "b", "\U0001f4c9", "", "a"):
            if name:
                await memory.write_memory_data({"n": f"{name} again"}, name)
        inside = await uniform.listed(memory)
    assert inside == await uniform.listed(memory)
    assert [name.encode() for name, _ in inside] == sorted(name.encode() for name, _ in inside)


async def test_newest_rows_are_those_that_the_commit_leaves(deployment: Deployment, unique: str) -> None:
    log = persist.log()
    for number in range(6):
        await log.write_log_data([{"id": f"{number}"}])
    async with transaction():
        await log.write_log_data([{"id": "7"}, {"id": "2", "again": True}, {"id": "6"}])
        await log.write_log_data([{"id": "8"}, {"id": "7", "again": True}])
        inside = [await log.read_log_data(limit) for limit in (1, 3, 5, 8, 200)]
    assert inside == [await log.read_log_data(limit) for limit in (1, 3, 5, 8, 200)]
    assert [row["id"] for row in inside[-1]] == ["0", "1", "2", "3", "4", "5", "7", "6", "8"]


async def test_write_many_and_read_many_are_part_of_it(deployment: Deployment, unique: str) -> None:
    state = type(persist.state("a", "b"))
    contexts = [(unique, f"{number}") for number in range(5)]
    await state.write_many([(context, {"n": 0}) for context in contexts[:3]], WHEN)
    async with transaction(when=WHEN):
        await state.write_many([(context, {"n": 1}) for context in contexts[1:]])
        await state.write_many([(contexts[4], {"n": 2}), (contexts[4], {"n": 3})])
        inside: list[Any] = await state.read_many([*contexts, contexts[4]])
        assert inside == [{"n": 0}, *[{"n": 1}] * 3, {"n": 3}, {"n": 3}]
        inside[4]["n"] = "changed by its caller"
        assert await outside(state.read_many(contexts)) == [*[{"n": 0}] * 3, None, None]
    assert await state.read_many(contexts) == [{"n": 0}, *[{"n": 1}] * 3, {"n": 3}]


# Documents.


@ROWS
async def test_documents_look_as_those_of_plain_writes(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    plain, whole = uniform.adapter(spec, f"{unique}-plain"), uniform.adapter(spec, f"{unique}-whole")
    keys = [entry(spec, f"{unique}-{name}") for name in ("one", "other")]
    await write(plain, payload(spec), keys[0])
    async with transaction():
        await write(whole, payload(spec), keys[1])
    first, second = await deployment.rows(spec)
    compare(spec, first, second)
    await write(plain, payload(spec, 2), keys[0])
    async with transaction():
        await write(whole, payload(spec, 2), keys[1])
    again = await deployment.rows(spec)
    compare(spec, *again)
    for before, after in zip((first, second), again, strict=True):
        assert before.get("_id") == after.get("_id")
        assert before.get("createDate") == after.get("createDate")


@pytest.mark.shapes("bucket")
async def test_removed_rows_look_as_those_that_are_removed_alone(
    deployment: Deployment, unique: str, spec: SlotSpec
) -> None:
    adapter = uniform.adapter(spec, unique)
    remove = getattr(adapter, f"remove_{spec.noun}_data")
    for name in ("one", "other"):
        await write(adapter, payload(spec), name)
    await remove("one")
    async with transaction():
        await remove("other")
        await remove("nothing")
    compare(spec, *await deployment.rows(spec))


def compare(spec: SlotSpec, one: dict[str, Any], other: dict[str, Any]) -> None:
    assert [*one] == [*other] or {*one} == {*other}
    for name, value in one.items():
        assert type(value) is type(other[name]), name
        if name == spec.field and spec.shape == "collection":
            value, other = {**value, "id": ""}, {**other, name: {**other[name], "id": ""}}
        if name not in {"_id", "createDate", "updatedDate", "number", "created", "written", *spec.key}:
            assert value == other[name], name
    for name in ("createDate", "updatedDate"):
        if isinstance(one.get(name), datetime):
            assert abs(datetime.now(UTC).timestamp() - one[name].replace(tzinfo=UTC).timestamp()) < 3_600


@ROWS
@pytest.mark.mongodb
async def test_ids_are_in_redis_after_the_commit_and_not_before(
    deployment: Deployment, unique: str, spec: SlotSpec
) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    async with transaction():
        await write(adapter, payload(spec), key)
        assert await deployment.cached(redis_key(adapter, key)) is None
    (row,) = await deployment.rows(spec)
    assert await deployment.cached(redis_key(adapter, key)) == str(row["_id"])


# Removals.


@pytest.mark.shapes("bucket")
async def test_removal_marks_what_others_have_written_meanwhile(
    deployment: Deployment, unique: str, spec: SlotSpec
) -> None:
    adapter = uniform.adapter(spec, unique)
    await write(adapter, payload(spec, 1), "a")
    async with transaction():
        await getattr(adapter, f"remove_{spec.noun}_data")("a")
        await outside(write(adapter, payload(spec, 2), "a"))
    (row,) = await deployment.rows(spec)
    assert row["removed"] is True
    assert row[spec.field] == {**payload(spec, 2), "removed": True}


@pytest.mark.shapes("bucket")
async def test_removal_of_a_row_that_is_deleted_meanwhile_does_not_bring_it_back(
    deployment: Deployment, unique: str, spec: SlotSpec
) -> None:
    adapter = uniform.adapter(spec, unique)
    await write(adapter, payload(spec, 1), "a")
    async with transaction():
        await getattr(adapter, f"remove_{spec.noun}_data")("a")
        await deployment.delete_rows(spec)
    assert await deployment.rows(spec) == []


@pytest.mark.shapes("bucket")
async def test_row_that_is_written_and_removed_in_one_block_is_stored_as_removed(
    deployment: Deployment, unique: str, spec: SlotSpec
) -> None:
    adapter = uniform.adapter(spec, unique)
    remove = getattr(adapter, f"remove_{spec.noun}_data")
    await write(adapter, payload(spec, 1), "b")
    async with transaction():
        await write(adapter, payload(spec, 1), "a")
        await remove("a")
        await remove("b")
        await write(adapter, payload(spec, 2), "b")
        assert await uniform.listed(adapter) == ([("b", payload(spec, 2))] if spec.items else ["b"])
    rows = {row["removed"]: row[spec.field] for row in await deployment.rows(spec)}
    assert rows == {True: {**payload(spec, 1), "removed": True}, False: payload(spec, 2)}


# Blocks within blocks.


async def test_inner_block_joins_the_outer_one(deployment: Deployment, unique: str) -> None:
    one, other = persist.state(unique, "one"), persist.state(unique, "other")
    async with transaction(when=WHEN):
        await one.write_state_data({"n": 1})
        async with transaction(when=WHEN + 1):
            assert await one.read_state_data() == {"n": 1}
            await one.write_state_data({"n": 2})
            await other.write_state_data({"n": 2})
        assert await outside(one.read_state_data()) is None
        assert await other.read_state_data(WHEN) is None
        assert await other.read_state_data(WHEN + 1) == {"n": 2}
    assert [await one.read_state_data(), await other.read_state_data()] == [{"n": 2}, {"n": 2}]


async def test_error_of_an_inner_block_that_is_caught_drops_its_writes_alone(
    deployment: Deployment, unique: str
) -> None:
    one, other = persist.state(unique, "one"), persist.state(unique, "other")

    async def work() -> None:
        async with transaction():
            await one.write_state_data({"n": 2})
            await other.write_state_data({"n": 2})
            raise Stop

    async with transaction(when=WHEN):
        with pytest.raises(Stop):
            await work()
    assert await one.read_state_data() is None
    async with transaction(when=WHEN):
        await one.write_state_data({"n": 1})
        with pytest.raises(Stop):
            await work()
        assert [await one.read_state_data(), await other.read_state_data()] == [{"n": 1}, None]
    assert [await one.read_state_data(), await other.read_state_data()] == [{"n": 1}, None]


async def test_error_of_the_outer_block_drops_what_the_inner_one_has_written(
    deployment: Deployment, unique: str
) -> None:
    state = persist.state(unique, "s")

    async def work() -> None:
        async with transaction(when=WHEN):
            async with transaction():
                await state.write_state_data({"n": 1})
            raise Stop

    with pytest.raises(Stop):
        await work()
    assert await state.read_state_data() is None


async def test_tasks_within_a_block_are_part_of_it(deployment: Deployment, unique: str) -> None:
    states = [persist.state(unique, f"{number}") for number in range(20)]
    async with transaction(when=WHEN):
        await asyncio.gather(*(state.write_state_data({"n": 1}) for state in states))
        assert await asyncio.gather(*(outside(state.read_state_data()) for state in states)) == [None] * 20
        assert await asyncio.gather(*(state.read_state_data() for state in states)) == [{"n": 1}] * 20
    assert await asyncio.gather(*(state.read_state_data() for state in states)) == [{"n": 1}] * 20


# Times.


async def test_time_of_the_block_is_the_default_of_writes_and_the_limit_of_reads(
    deployment: Deployment, unique: str
) -> None:
    state, memory = persist.state(unique, "s"), persist.memory(unique, "m")
    await state.write_state_data({"n": 0}, WHEN + 5)
    await memory.write_memory_data({"n": 0}, "later", WHEN + 5)
    async with transaction(when=datetime.fromtimestamp(WHEN / 1000, UTC)):
        assert await state.read_state_data() is None
        assert await type(state).read_many([(unique, "s")]) == [None]
        assert await state.read_state_data(WHEN + 5) == {"n": 0}
        assert await memory.read_memory_data("later") is None
        assert await uniform.listed(memory) == []
        await memory.write_memory_data({"n": 1}, "now")
        await memory.write_memory_data({"n": 2}, "its own", WHEN + 9)
        assert await uniform.listed(memory) == [("now", {"n": 1})]
        async with transaction(when=WHEN + 9):
            assert len(await uniform.listed(memory)) == 3
        async with transaction():
            assert len(await uniform.listed(memory)) == 1
    assert {(row["when"], row["removed"]) for row in await deployment.rows(memory.spec)} == {
        (WHEN, False),
        (WHEN + 5, False),
        (WHEN + 9, False),
    }


async def test_write_without_a_time_is_refused_where_the_block_has_none(deployment: Deployment, unique: str) -> None:
    state = persist.state(unique, "s")
    async with transaction():
        with pytest.raises(InputTypeError, match=r"transaction\(when="):
            await state.write_state_data({"n": 1})
    with pytest.raises(InputTypeError, match=r"transaction\(when="):
        await state.write_state_data({"n": 1})


@pytest.mark.parametrize("when", ["now", 1.5, True, datetime(2024, 1, 1), 2**70])
def test_time_that_is_none_is_refused_at_once(when: Any) -> None:
    with pytest.raises(InputError, match="transaction: when"):
        transaction(when=when)


# Candles.


async def test_candles_are_stored_at_once_and_stay(deployment: Deployment, unique: str) -> None:
    candle, state = uniform.adapter(backtest_mongo.SLOTS[0], unique), persist.state(unique, "s")

    async def work() -> None:
        async with transaction(when=WHEN):
            await state.write_state_data({"n": 1})
            assert await candle.write_candles_data(candles(3)) == 3
            assert await outside(candle.read_candles_data(3, 0)) == candles(3)
            raise Stop

    with pytest.raises(Stop):
        await work()
    assert await candle.read_candles_data(3, 0) == candles(3)
    assert await state.read_state_data() is None


# Bad use.


async def test_task_that_outlives_the_block_is_told_so(deployment: Deployment, unique: str) -> None:
    state, over = persist.state(unique, "s"), asyncio.Event()

    async def work(call: Callable[[], Any]) -> None:
        await over.wait()
        await call()

    calls: list[Callable[[], Any]] = [
        lambda: state.write_state_data({"n": 2}, WHEN),
        state.read_state_data,
        lambda: type(state).read_many([(unique, "s")]),
        lambda: uniform.listed(persist.memory(unique, "m")),
        lambda: persist.log().read_log_data(),
        lambda: state.read_state_data(with_version=True),
        transaction().__aenter__,
    ]
    async with transaction(when=WHEN):
        await state.write_state_data({"n": 1})
        tasks = [asyncio.create_task(work(call)) for call in calls]
        await asyncio.sleep(0)
    over.set()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(outcome, InputError)
        assert "await the task within the block" in str(outcome)
    assert await state.read_state_data() == {"n": 1}


async def test_inner_block_that_outlives_the_outer_one_is_told_that_its_writes_are_lost(
    deployment: Deployment, unique: str
) -> None:
    state, over, begun = persist.state(unique, "s"), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        async with transaction(when=WHEN):
            await state.write_state_data({"n": 1})
            begun.set()
            await over.wait()

    async with transaction():
        task = asyncio.create_task(work())
        await begun.wait()
    over.set()
    with pytest.raises(InputError, match="has ended"):
        await task
    assert await state.read_state_data() is None


async def test_block_on_another_loop_is_refused(deployment: Deployment, unique: str) -> None:
    state = persist.state(unique, "s")
    async with transaction(when=WHEN):
        await state.write_state_data({"n": 1})
        with pytest.raises(InputError, match="another event loop"):
            await asyncio.to_thread(asyncio.run, state.write_state_data({"n": 2}))
        with pytest.raises(InputError, match="another event loop"):
            await asyncio.to_thread(asyncio.run, state.read_state_data())
    assert await state.read_state_data() == {"n": 1}


async def test_one_object_is_one_block(deployment: Deployment) -> None:
    block = transaction()
    async with block:
        pass
    with pytest.raises(InputError, match="one block"):
        await block.__aenter__()
    assert current_scope.get() is None


# Two stores.


async def test_second_database_is_refused_at_its_first_write_by_the_names_of_both_slots(
    deployment: Deployment, unique: str, tmp_path: Path
) -> None:
    state = persist.state(unique, "s")
    persist.use_sqlite(tmp_path / "other.db", slots=["signal"])
    signal = persist.signal("BTCUSDT", unique, "x")
    async with transaction(when=WHEN):
        await state.write_state_data({"n": 1})
        assert await signal.read_signal_data() is None
        with pytest.raises(InputError, match=r"state is in .*, and signal is in .*other\.db"):
            await signal.write_signal_data({"id": "s"})
    assert await state.read_state_data() == {"n": 1}
    assert await signal.read_signal_data() is None


async def test_files_beside_it_are_refused_by_an_error_that_names_sqlite(
    deployment: Deployment, unique: str, tmp_path: Path
) -> None:
    state = persist.state(unique, "s")
    persist.use_files(tmp_path / "dump", slots=["signal"])
    async with transaction(when=WHEN):
        await state.write_state_data({"n": 1})
        with pytest.raises(StoreError, match="use_sqlite") as caught:
            await persist.signal("BTCUSDT", unique, "x").write_signal_data({"id": "s"})
        assert caught.value.slot == "signal"
    assert await state.read_state_data() == {"n": 1}


@pytest.mark.shapes("document", "entry", "collection", "bucket")
async def test_files_refuse_the_first_write_by_an_error_that_names_sqlite(
    tmp_path: Path, unique: str, spec: SlotSpec
) -> None:
    persist.use_files(tmp_path)
    adapter = getattr(persist, spec.name)(*uniform.context(spec, unique).values())
    with pytest.raises(StoreError, match="use_sqlite"):
        async with transaction():
            await write(adapter, payload(spec))
    assert list_names(tmp_path) == []


async def test_dummy_takes_transactions(unique: str) -> None:
    persist.use_dummy()
    async with transaction(when=WHEN):
        await persist.state(unique, "s").write_state_data({"n": 1})
        assert await persist.state(unique, "s").read_state_data() == {"n": 1}
    assert await persist.state(unique, "s").read_state_data() is None


async def test_many_blocks_leave_nothing_behind(deployment: Deployment, unique: str) -> None:
    state = persist.state(unique, "s")
    for number in range(30):
        async with transaction(when=WHEN):
            await state.write_state_data({"n": number})
    gc.collect()
    scopes = [found for found in gc.get_objects() if type(found).__name__ == "Transaction"]
    assert len(scopes) <= 1


@pytest.mark.mongodb
async def test_many_blocks_share_a_session(deployment: Deployment, unique: str) -> None:
    state = persist.state(unique, "s")

    async def count_sessions() -> int:
        client: Any = await backtest_mongo.get_mongo()
        return len(await aggregate(client.admin, [{"$listLocalSessions": {"allUsers": True}}]))

    async def write_in_a_block(number: int) -> None:
        async with transaction(when=WHEN):
            await state.write_state_data({"n": number})
            if number % 3 == 0:
                raise Stop

    await write_in_a_block(1)
    before = await count_sessions()
    for number in range(2, 31):
        with contextlib.suppress(Stop):
            await write_in_a_block(number)
    assert await count_sessions() <= before + 2
