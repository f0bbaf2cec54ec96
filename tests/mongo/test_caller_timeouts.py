"""Callers who time out or are cancelled: in a batch, in a queue, and once their write is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pymongo
import pytest

import backtest_mongo
from backtest_mongo import MemoryAdapter, StateAdapter, StoreUnavailableError
from tests.support.failing_servers import READS, WRITES, FailingServer
from tests.support.queues import is_unsent, make_states, read_stored, tally, write_one
from tests.support.uniform import WHEN

pytestmark = [pytest.mark.heavy, pytest.mark.either_driver, pytest.mark.timeout(300)]


# One caller's own time-out


@pytest.mark.parametrize("place", ["first", "middle", "last"])
@pytest.mark.parametrize("kind", ["read", "cold read", "write", "write many", "remove"])
async def test_timeout_of_one_caller_of_a_batch_fails_only_that_caller(
    set_deadline: Callable[[int], Coroutine[Any, Any, None]],
    failing: FailingServer,
    unique: str,
    kind: str,
    place: str,
) -> None:
    await set_deadline(30_000)
    count = 6 if kind == "remove" else 50  # removals are not batched, so each of them is held
    hurried = {"first": 0, "middle": count // 2, "last": count - 1}[place]
    slots = make_states(unique, count)
    memory = MemoryAdapter(unique, "notes")
    await asyncio.gather(*(slot.write_state_data({"n": 0}, WHEN) for slot in slots))
    await asyncio.gather(*(memory.write_memory_data({"n": 0}, f"m{number}", WHEN) for number in range(count)))
    if kind == "cold read":
        await backtest_mongo.close()
        await slots[0].wait_for_init()
    failing.hold(*READS, *WRITES, milliseconds=1_500)

    async def call(number: int) -> Any:
        if kind in ("read", "cold read"):
            return await slots[number].read_state_data()
        if kind == "write":
            return await slots[number].write_state_data({"n": 1}, WHEN)
        if kind == "write many":
            return await StateAdapter.write_many([((unique, f"b{number:05}"), {"n": 1})], WHEN)
        return await memory.remove_memory_data(f"m{number}")

    async def call_in_a_hurry(number: int) -> Any:
        if number != hurried:
            return await call(number)
        with pymongo.timeout(0.1):
            return await call(number)

    outcomes = await asyncio.gather(*(call_in_a_hurry(number) for number in range(count)), return_exceptions=True)
    failing.end()
    own = outcomes.pop(hurried)
    expected = {"n": 0} if "read" in kind else None
    assert tally(outcomes) == {"fine": count - 1}
    assert outcomes == [expected] * (count - 1)
    assert isinstance(own, StoreUnavailableError), own


async def test_callers_of_a_batch_have_timeouts_of_their_own(
    set_deadline: Callable[[int], Coroutine[Any, Any, None]], failing: FailingServer, unique: str
) -> None:
    await set_deadline(30_000)
    slots = make_states(unique, 30)
    await asyncio.gather(*(slot.write_state_data({"n": 0}, WHEN) for slot in slots))
    failing.hold(*READS, *WRITES, milliseconds=1_500)

    async def read(number: int) -> Any:
        with pymongo.timeout([0.1, 20.0, None][number % 3]):
            return await slots[number].read_state_data()

    outcomes = await asyncio.gather(*(read(number) for number in range(30)), return_exceptions=True)
    failing.end()
    assert [type(outcome) for outcome in outcomes[::3]] == [StoreUnavailableError] * 10
    assert outcomes[1::3] + outcomes[2::3] == [{"n": 0}] * 20


@pytest.mark.parametrize("timed", [pymongo.timeout, asyncio.timeout], ids=["pymongo.timeout", "asyncio.timeout"])
async def test_first_caller_who_gives_up_while_indexes_are_created_does_not_fail_others(
    on_failing: FailingServer, unique: str, timed: Callable[[float], Any]
) -> None:
    on_failing.hold("createIndexes", milliseconds=1_500, times=1)

    async def read(number: int) -> Any:
        if number:
            return await StateAdapter(unique, "s").read_state_data()
        if timed is pymongo.timeout:
            with pymongo.timeout(0.1):
                return await StateAdapter(unique, "s").read_state_data()
        async with asyncio.timeout(0.1):
            return await StateAdapter(unique, "s").read_state_data()

    outcomes = await asyncio.gather(*(read(number) for number in range(20)), return_exceptions=True)
    on_failing.end()
    assert isinstance(outcomes[0], StoreUnavailableError | TimeoutError)
    assert outcomes[1:] == [None] * 19


# Cancellation and time-outs of callers who wait


@pytest.mark.parametrize("kind", ["single", "batch", "list", "remove"])
async def test_caller_who_is_cancelled_in_the_queue_of_a_key_is_dropped(
    set_deadline: Callable[[int], Coroutine[Any, Any, None]], failing: FailingServer, unique: str, kind: str
) -> None:
    await set_deadline(30_000)
    await write_one(kind, unique, 0)
    name = {"list": "storage-items", "batch": "signal-items"}.get(kind, "memory-items")
    with failing.client[unique][name].watch() as stream:
        failing.hold(*WRITES, milliseconds=3_000, times=1)
        first = asyncio.ensure_future(write_one(kind, unique, 5))
        await failing.until_held()
        dropped = asyncio.ensure_future(write_one(kind, unique, 1))
        third = asyncio.ensure_future(write_one(kind, unique, 3))
        await asyncio.sleep(0.1)  # long enough for it to be sent, if it did not wait behind the first
        dropped.cancel()
        await asyncio.wait([dropped])
        assert dropped.cancelled()
        assert not first.done(), "who is cancelled in a queue has nothing to wait for"
        await asyncio.gather(first, third)
        await write_one(kind, unique, 9)
        seen: list[Any] = []
        while not seen or seen[-1] != 9:
            event = await asyncio.to_thread(stream.next)
            changes = event["updateDescription"]["updatedFields"]
            seen.append("removed" if changes.get("removed") is True else changes["payload"]["n"])
    assert [value for value in seen if value not in (5, 3, 9)] == []
    assert read_stored(failing, kind, unique) == 9


async def test_callers_who_are_cancelled_before_their_batch_is_sent_are_dropped(
    set_deadline: Callable[[int], Coroutine[Any, Any, None]], failing: FailingServer, unique: str
) -> None:
    await set_deadline(30_000)
    slots = make_states(unique, 20_000)
    failing.hold("update", "findAndModify", milliseconds=500)
    tasks = [asyncio.ensure_future(slot.write_state_data({"n": n}, WHEN)) for n, slot in enumerate(slots)]
    await failing.until_held()
    victims = tasks[15_000:]
    for task in victims:
        task.cancel()
    await asyncio.wait(victims)
    # The batches before theirs are still in the queue.
    assert not all(task.done() for task in tasks[:15_000])
    outcomes = await asyncio.gather(*tasks[:15_000], return_exceptions=True)
    failing.end()
    assert tally(outcomes) == {"fine": 15_000}
    await failing.until_idle()
    assert failing.client[unique]["state-items"].count_documents({"signalId": unique}) == 15_000


@pytest.mark.parametrize("kind", ["single", "batch", "list", "remove"])
async def test_caller_who_is_cancelled_once_its_write_is_sent_waits_for_its_end(
    set_deadline: Callable[[int], Coroutine[Any, Any, None]], failing: FailingServer, unique: str, kind: str
) -> None:
    await set_deadline(30_000)
    await write_one(kind, unique, 0)
    failing.hold(*WRITES, milliseconds=1_000, times=1)
    sent = asyncio.ensure_future(write_one(kind, unique, 2))
    await failing.until_held()
    sent.cancel()
    await asyncio.wait([sent])
    assert sent.cancelled()
    assert read_stored(failing, kind, unique) == 2


@pytest.mark.parametrize("timed", ["pymongo.timeout", "asyncio.timeout"])
@pytest.mark.parametrize("kind", ["single", "batch", "list", "remove"])
async def test_caller_s_timeout_runs_from_its_call(
    set_deadline: Callable[[int], Coroutine[Any, Any, None]], failing: FailingServer, unique: str, kind: str, timed: str
) -> None:
    await set_deadline(30_000)
    await write_one(kind, unique, 0)
    failing.hold(*WRITES, milliseconds=4_000, times=1)
    first = asyncio.ensure_future(write_one(kind, unique, 2))
    await failing.until_held()
    error: Any = None
    try:
        if timed == "pymongo.timeout":
            with pymongo.timeout(0.2):
                await write_one(kind, unique, 1)
        else:
            async with asyncio.timeout(0.2):
                await write_one(kind, unique, 1)
    except (StoreUnavailableError, TimeoutError) as caught:
        error = caught
    assert not first.done(), "it waited for more than its own time"
    assert is_unsent(error) if timed == "pymongo.timeout" else isinstance(error, TimeoutError)
    await first
    await failing.until_idle()
    assert read_stored(failing, kind, unique) == 2


@pytest.mark.parametrize("timed", ["pymongo.timeout", "asyncio.timeout"])
async def test_reader_s_timeout_runs_from_its_call(
    set_deadline: Callable[[int], Coroutine[Any, Any, None]], failing: FailingServer, unique: str, timed: str
) -> None:
    await set_deadline(30_000)
    slots = make_states(unique, 10_000)
    await slots[0].write_state_data({"n": 0}, WHEN)
    failing.hold("find", milliseconds=2_500)
    queued = [asyncio.ensure_future(slot.read_state_data()) for slot in slots[1:]]
    await failing.until_held()

    async def read_in_a_hurry() -> Any:
        if timed == "pymongo.timeout":
            with pymongo.timeout(0.2):
                return await slots[0].read_state_data()
        async with asyncio.timeout(0.2):
            return await slots[0].read_state_data()

    with pytest.raises((StoreUnavailableError, TimeoutError)):
        await read_in_a_hurry()
    assert not all(read.done() for read in queued)
    failing.end()
    assert tally(await asyncio.gather(*queued, return_exceptions=True)) == {"fine": len(queued)}
