"""Capability ``transactions``: writes that are stored together, or not at all."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any

import pytest

from backtest_mongo import SLOTS, ConflictError
from backtest_mongo.testing.conformance.instances import Instances
from backtest_mongo.testing.conformance.slots import WHEN, Slot, get_slot, make_payload, needs

pytestmark: list[Any] = [
    pytest.mark.capability("transactions"),
    pytest.mark.asyncio(loop_scope="function"),
    needs("state", "memory", "storage", "signal"),
]

NAMES = ("state", "memory", "storage", "signal")
SPECS = {spec.name: spec for spec in SLOTS}


def get_slots(store: Any) -> list[Slot]:
    return [get_slot(store, SPECS[name]) for name in NAMES]


async def write(store: Any, number: int) -> None:
    for slot in get_slots(store):
        await slot.write(make_payload(slot.spec, number), "entry")


async def read(store: Any) -> set[int | None]:
    """Return the numbers that are stored: one of them if all rows were stored together."""
    found = [await slot.read("entry") for slot in get_slots(store)]
    rows = [row[0] if row and isinstance(row, list) else row for row in found]
    return {row["number"] if row else None for row in rows}


async def outside(work: Coroutine[Any, Any, Any]) -> Any:
    """Run something as another task would that began before everything else."""
    return await asyncio.create_task(work, context=contextvars.Context())


class ExpectedError(Exception):
    """Leaves a block."""


async def abandon(store: Any, work: Coroutine[Any, Any, Any]) -> None:
    """Do something in a transaction that an exception leaves."""
    with pytest.raises(ExpectedError):
        await _leave(store, work)


async def _leave(store: Any, work: Coroutine[Any, Any, Any]) -> None:
    async with store.transaction(when=WHEN):
        await work
        raise ExpectedError


async def test_writes_are_stored_at_the_end_of_the_block(store: Any, instances: Instances) -> None:
    async with store.transaction(when=WHEN):
        await write(store, 1)
    assert await read(store) == {1}
    assert await read(await instances.open()) == {1}


async def test_block_sees_its_writes_and_nobody_else_does(store: Any, instances: Instances) -> None:
    other = await instances.open()
    await write(store, 1)
    async with store.transaction(when=WHEN):
        await write(store, 2)
        assert await read(store) == {2}
        assert await outside(read(other)) == {1}
        assert await outside(read(store)) == {1}
    assert await read(other) == await read(store) == {2}


async def test_exception_drops_all_writes(store: Any, instances: Instances) -> None:
    for before in (None, 1):
        await abandon(store, write(store, 2))
        assert await read(store) == {before}
        assert await read(await instances.open()) == {before}
        await write(store, 1)


async def test_cancellation_drops_all_writes(store: Any) -> None:
    begun = asyncio.Event()

    async def work() -> None:
        async with store.transaction(when=WHEN):
            await write(store, 2)
            begun.set()
            await asyncio.Event().wait()

    task, beginning = asyncio.ensure_future(work()), asyncio.ensure_future(begun.wait())
    await asyncio.wait([task, beginning], return_when=asyncio.FIRST_COMPLETED)
    beginning.cancel()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await read(store) == {None}


async def test_removal_is_part_of_it(store: Any) -> None:
    memory = get_slot(store, SPECS["memory"])
    for key in "ab":
        await memory.write(make_payload(memory.spec), key)
    await abandon(store, memory.remove("a"))
    assert await memory.list_keys() == ["a", "b"]
    async with store.transaction(when=WHEN):
        await memory.remove("a")
        assert await memory.list_keys() == ["b"]
        await memory.write(make_payload(memory.spec), "c")
    assert await memory.list_keys() == ["b", "c"]


async def test_last_of_several_writes_of_a_row_is_stored(store: Any) -> None:
    async with store.transaction(when=WHEN):
        for number in range(3):
            await write(store, number)
    assert await read(store) == {2}


async def test_transactions_at_once_leave_the_rows_of_one(store: Any, instances: Instances) -> None:
    stores = [store, await instances.open()]

    async def commit(number: int) -> None:
        async with stores[number % 2].transaction(when=WHEN):
            await write(stores[number % 2], number)

    await asyncio.gather(*(commit(number) for number in range(6)))
    found = await read(store)
    assert len(found) == 1
    assert found <= set(range(6))


async def test_next_block_sees_what_the_last_one_stored(store: Any) -> None:
    for number in range(5):
        async with store.transaction(when=WHEN + number):
            assert await read(store) == ({number - 1} if number else {None})
            await write(store, number)


@pytest.mark.capability("look_ahead")
async def test_when_is_the_time_of_its_writes(store: Any) -> None:
    state = store.state("s", "bucket")
    async with store.transaction(when=WHEN):
        await state.write_state_data({"n": 1})
    assert await state.read_state_data(when=WHEN - 1) is None
    assert await state.read_state_data(when=WHEN) == {"n": 1}


@pytest.mark.capability("compare_and_set")
async def test_conflict_drops_all_writes(store: Any) -> None:
    async def meet_conflict() -> None:
        async with store.transaction(when=WHEN):
            await write(store, 2)
            await state.write({"n": 2}, if_absent=True)

    state = get_slot(store, SPECS["state"], "another")
    await state.write({"n": 1})
    await write(store, 1)
    with pytest.raises(ConflictError):  # from the write or from the end of the block
        await meet_conflict()
    assert await read(store) == {1}


@pytest.mark.capability("durable")
async def test_sigkill_before_the_end_stores_nothing(closed_store: Instances) -> None:
    worker = closed_store.start("commit", NAMES, 1)
    assert await worker.hear() == "open"
    await worker.kill()
    assert await read(await closed_store.open()) == {None}


@pytest.mark.capability("durable")
async def test_sigkill_after_the_end_loses_nothing(closed_store: Instances) -> None:
    worker = closed_store.start("commit", NAMES, 1)
    assert await worker.hear() == "open"
    worker.say()
    assert await worker.hear() == "committed"
    await worker.kill()
    assert await read(await closed_store.open()) == {1}
