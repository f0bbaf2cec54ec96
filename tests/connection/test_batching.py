"""Queues of calls and their lanes: which calls are sent together, and how they are counted and prepared."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import pytest
from pymongo.errors import AutoReconnect, OperationFailure

from backtest_mongo import StoreError, StoreUnavailableError
from backtest_mongo.connection.batching import (
    LANES_OF_A_BATCH,
    MAX_BATCH_BYTES,
    MAX_BATCH_CALLS,
    Call,
    Lanes,
)
from backtest_mongo.connection.operation import Attempts, attempt, seconds_left
from backtest_mongo.core.counters import RoundTrips
from backtest_mongo.core.observation import ObservedOperation, current_operation
from tests.support.batches import (
    FOREVER,
    LONG,
    SHORT,
    Requests,
    call,
    make_queue,
    turns,
)

pytestmark = pytest.mark.one_python

# Batches and lanes


async def test_calls_of_one_turn_are_one_request_and_later_ones_another(requests: Requests) -> None:
    trips = RoundTrips()
    queue = make_queue(Lanes(8), requests, trips=trips)
    first = [call(queue, number) for number in range(3)]
    await turns()
    later = [call(queue, number) for number in (3, 4)]
    await turns()
    assert requests.sent == [[0, 1, 2], [3, 4]]
    requests.end(1)
    assert await asyncio.gather(*later) == [30, 40]
    assert not any(task.done() for task in first)
    requests.end(0)
    assert await asyncio.gather(*first) == [0, 10, 20]
    assert (trips.trips, trips.rows, queue.answers) == (2, 5, 2)


async def test_calls_that_wait_for_a_lane_are_one_request_once_there_is_one(requests: Requests) -> None:
    lanes = Lanes(2)
    queue = make_queue(lanes, requests)
    tasks = []
    for number in range(5):
        tasks.append(call(queue, number))
        await turns()
    assert requests.sent == [[0], [1]]
    assert (lanes.calls, lanes.is_idle) == (5, False)
    requests.end(1)
    await turns()
    assert requests.sent == [[0], [1], [2, 3, 4]]
    assert lanes.calls == 4
    await requests.end_all()
    assert await asyncio.gather(*tasks) == [0, 10, 20, 30, 40]
    assert (lanes.calls, lanes.is_idle, lanes.answers, lanes.unknown) == (0, True, 3, 0)


@pytest.mark.parametrize(
    ("count", "others"),
    [
        (1, 3),
        (MAX_BATCH_CALLS // 3, 3),
        (MAX_BATCH_CALLS // 3 + 1, 2),
        (MAX_BATCH_CALLS - 1, 1),
        (MAX_BATCH_CALLS, 0),
    ],
)
async def test_large_batch_takes_several_lanes(requests: Requests, count: int, others: int) -> None:
    queue = make_queue(Lanes(LANES_OF_A_BATCH), requests)
    tasks = [call(queue, number) for number in range(count)]
    await turns()
    for number in range(5):
        tasks.append(call(queue, number))
        await turns()
    assert [len(items) for items in requests.sent] == [count] + [1] * others
    await requests.end_all()
    await asyncio.gather(*tasks)
    # And each gives back the lanes that it took.
    requests.sent.clear()
    again = []
    for number in range(5):
        again.append(call(queue, number))
        await turns()
    assert requests.sent == [[0], [1], [2], [3]]
    await requests.end_all()
    await asyncio.gather(*again)


async def test_large_batch_starts_as_soon_as_one_lane_is_free(requests: Requests) -> None:
    queue = make_queue(Lanes(1), requests)
    tasks = [call(queue, number) for number in range(MAX_BATCH_CALLS + 5)]
    await turns()
    assert [len(items) for items in requests.sent] == [MAX_BATCH_CALLS]
    requests.end(0)
    await turns()
    assert [len(items) for items in requests.sent] == [MAX_BATCH_CALLS, 5]
    await requests.end_all()
    assert await asyncio.gather(*tasks) == [10 * number for number in range(MAX_BATCH_CALLS + 5)]


async def test_batch_takes_no_more_once_it_has_its_bytes(requests: Requests) -> None:
    queue = make_queue(Lanes(8), requests)
    half = MAX_BATCH_BYTES // 2
    tasks = [call(queue, number, size=half) for number in range(3)]
    tasks += [call(queue, number, size=half - 1) for number in range(3, 6)]
    await turns()
    assert requests.sent == [[0, 1], [2, 3, 4], [5]]
    await requests.end_all()
    await asyncio.gather(*tasks)


async def test_queues_get_a_lane_in_turn() -> None:
    lanes, all_requests = Lanes(1), Requests()
    one, two = (make_queue(lanes, all_requests) for _ in range(2))
    tasks = [call(one, 0)]
    await turns()
    tasks += [call(one, number, size=MAX_BATCH_BYTES) for number in (1, 2)]
    await turns()
    tasks += [call(two, number, size=MAX_BATCH_BYTES) for number in (3, 4)]
    await turns()
    for number in range(5):
        all_requests.end(number)
        await turns()
    assert all_requests.sent == [[0], [1], [3], [2], [4]]
    await asyncio.gather(*tasks)


async def test_lanes_stay_shut_until_those_before_are_idle(requests: Requests) -> None:
    before = Lanes(2)
    old = make_queue(before, requests)
    first = call(old, 1)
    await turns()
    idle = Lanes(2)
    after = Lanes(2, [before, idle])
    queue = make_queue(after, requests)
    second = call(queue, 2)
    await turns()
    assert requests.sent == [[1]]
    late = call(old, 3)
    await turns()
    assert requests.sent == [[1], [3]]
    requests.end(0)
    await turns()
    assert (requests.sent, after.total_answers, after.answers) == ([[1], [3]], 1, 0)
    requests.end(1)
    await turns()
    assert requests.sent == [[1], [3], [2]]
    await requests.end_all()
    assert [*await asyncio.gather(first, second, late)] == [10, 20, 30]
    # What is called on the former ones from now on is not waited for.
    tasks = [call(old, 4), call(queue, 5)]
    await turns()
    assert requests.sent[3:] == [[4], [5]]
    await requests.end_all()
    await asyncio.gather(*tasks)


async def test_wait_until_idle_ends_with_the_last_call(requests: Requests) -> None:
    lanes = Lanes(1)
    queue = make_queue(lanes, requests)
    await lanes.wait_until_idle(LONG)
    tasks = [call(queue, number, "key") for number in range(3)]
    await turns()
    with lanes.hold():
        waiting = asyncio.ensure_future(lanes.wait_until_idle(LONG))
        await requests.end_all()
        await asyncio.gather(*tasks)
        assert not waiting.done()
        assert not lanes.is_idle
    await waiting
    assert lanes.is_idle


async def test_wait_until_idle_gives_up_when_nothing_is_answered(requests: Requests) -> None:
    lanes = Lanes(1)
    task = call(make_queue(lanes, requests), 1)
    await turns()
    await lanes.wait_until_idle(SHORT)
    assert not lanes.is_idle
    requests.end(0)
    await task
    assert lanes.is_idle


# Work of its own


async def test_work_is_carried_out_alone_and_its_rows_are_counted(requests: Requests) -> None:
    trips = RoundTrips()
    queue = make_queue(Lanes(8), requests, trips=trips)

    async def work(attempts: Attempts) -> str:
        assert not attempts.is_retry
        await requests.wait(["work"])
        return "done"

    batched = Call[Any, Any](None, "writing", "k", rows=7, work=work)
    tasks = [
        asyncio.ensure_future(queue.run(work, "writing", "k")),
        asyncio.ensure_future(queue.call_all([batched])),
        call(queue, 1),
        call(queue, 2),
    ]
    await turns()
    assert requests.sent == [[1, 2], ["work"], ["work"]]
    await requests.end_all()
    assert await asyncio.gather(*tasks) == ["done", ["done"], 10, 20]
    assert (trips.trips, trips.rows) == (2, 9)  # what is run by itself counts its own


async def test_work_whose_connection_was_lost_is_carried_out_again(requests: Requests) -> None:
    queue = make_queue(Lanes(8), requests, LONG)
    retries = []

    async def work(attempts: Attempts) -> int:
        retries.append(attempts.is_retry)
        if len(retries) < 3:
            raise AutoReconnect("lost")
        return len(retries)

    assert await queue.run(work, "writing") == 3
    assert retries == [False, True, True]


@pytest.mark.parametrize("is_long", [False, True])
async def test_steps_have_one_deadline_unless_they_are_long(requests: Requests, is_long: bool) -> None:
    queue = make_queue(Lanes(LANES_OF_A_BATCH + 1), requests, LONG)

    async def steps() -> tuple[float, bool]:
        left = seconds_left()
        with queue.bound_request():
            assert 0 < seconds_left() <= LONG
        await requests.wait(["steps"])
        return left, queue.is_prepared

    running = asyncio.ensure_future(queue.run_steps(steps, "writing", is_long=is_long))
    tasks = []
    for number in range(3):
        await turns()
        tasks.append(call(queue, number))
    await turns()
    # Long ones take as many lanes as the largest batch.
    assert requests.sent == [["steps"], [0]] if is_long else [["steps"], [0], [1], [2]]
    requests.end(0)
    left, was_prepared = await running
    assert (left == FOREVER) is is_long
    assert was_prepared or is_long
    await requests.end_all()
    await asyncio.gather(*tasks)


async def test_steps_have_their_place_in_the_order_of_keys_and_their_error_its_name(requests: Requests) -> None:
    queue = make_queue(Lanes(8), requests)

    async def steps() -> None:
        await requests.wait(["steps"])
        raise OperationFailure("refused", 1)

    async def work(attempts: Attempts) -> None:
        await steps()

    first = call(queue, 1, "a")
    running = [
        asyncio.ensure_future(queue.run_steps(steps, "sealing", "key", ["a", "b"])),
        asyncio.ensure_future(queue.run(work, "deleting", "other", ["b"])),
    ]
    await turns()
    last = call(queue, 2, "b")
    await turns()
    assert requests.sent == [[1]]
    requests.end(0)
    await turns()
    assert requests.sent == [[1], ["steps"]]
    await requests.end_all()
    assert requests.sent == [[1], ["steps"], ["steps"], [2]]
    outcomes = await asyncio.gather(*running, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["sealing key: refused", "deleting other: refused"]
    assert [*await asyncio.gather(first, last)] == [10, 20]


async def test_answers_are_counted_for_the_queue_and_for_its_lanes(requests: Requests) -> None:
    lanes = Lanes(8)
    one, two = make_queue(lanes, requests, LONG), make_queue(lanes, requests, LONG)

    async def work(attempts: Attempts) -> None:
        return None

    async def steps() -> None:
        for _ in range(2):
            with one.bound_request():
                await attempt(work)
        one.note_answer()

    await one.run_steps(steps, "sealing", is_long=True)
    assert (one.answers, two.answers, lanes.answers) == (3, 0, 3)
    await two.run(work, "sealing")
    two.note_answer()
    assert (one.answers, two.answers, lanes.answers, lanes.total_answers) == (3, 2, 5, 5)


async def test_nothing_is_kept_of_calls_that_were_answered(requests: Requests) -> None:
    class Item:
        pass

    async def send(calls: list[Call[Any, Any]], attempts: Attempts) -> None:
        for each in calls:
            each.answer(None)

    queue = make_queue(Lanes(8), requests)
    queue.send = send
    items = [Item() for _ in range(3)]
    kept = [weakref.ref(item) for item in items]
    await asyncio.gather(*(call(queue, item, "a") for item in items))
    del items
    gc.collect()
    assert [ref() for ref in kept] == [None] * 3


# Preparing and confirming


@pytest.mark.parametrize(("holds", "times"), [(True, 1), (False, 3)])
async def test_queue_is_prepared_until_that_holds(requests: Requests, holds: bool, times: int) -> None:
    prepared = 0

    async def count() -> bool:
        nonlocal prepared
        prepared += 1
        return holds

    queue = make_queue(Lanes(8), requests, prepare=count)
    for number in range(3):
        task = call(queue, number)
        await turns()
        requests.end(number)
        await task
    assert (prepared, queue.is_prepared) == (times, holds)


async def test_calls_fail_with_what_preparing_raises_and_it_is_tried_again(requests: Requests) -> None:
    errors: list[Exception] = [StoreError("no index"), OperationFailure("no index")]

    async def fail() -> bool:
        if errors:
            raise errors.pop(0)
        return True

    queue = make_queue(Lanes(8), requests, prepare=fail)
    for text in ("no index", "writing k1: no index"):
        first, second = call(queue, 1), call(queue, 2)
        with pytest.raises(StoreError, match=f"^{text}"):
            await first
        with pytest.raises(StoreError):
            await second
    assert requests.sent == []
    task = call(queue, 3)
    await turns()
    requests.end(0)
    assert await task == 30


async def test_error_of_confirming_takes_the_place_of_the_answers(requests: Requests) -> None:
    problems = [True, False]

    def confirm() -> None:
        if problems.pop(0):
            raise StoreUnavailableError("not the primary")

    queue = make_queue(Lanes(8), requests, confirm=confirm)
    for number in range(2):
        task = call(queue, number + 1)
        await turns()
        requests.end(number)
        if number == 0:
            with pytest.raises(StoreUnavailableError, match="not the primary"):
                await task
    assert await task == 20


# Observed operations


class Observed(ObservedOperation):
    __slots__ = ("batches",)

    def __init__(self) -> None:
        self.batches: list[Sequence[ObservedOperation]] = []

    def mark_sent(self, batch: Sequence[ObservedOperation]) -> nullcontext[None]:
        self.batches.append(batch)
        return nullcontext()


async def test_observed_operations_know_of_the_batch_that_they_are_sent_in(requests: Requests) -> None:
    queue = make_queue(Lanes(8), requests)
    operations = [Observed() for _ in range(2)]
    tasks = []
    for number, operation in enumerate(operations):
        token = current_operation.set(operation)
        tasks.append(call(queue, number))
        current_operation.reset(token)
    tasks.append(call(queue, 2))
    given = Observed()
    several = asyncio.ensure_future(queue.call_all([Call[Any, Any](3, "writing", "k", observed=[given])]))
    await requests.end_all()
    await asyncio.gather(*tasks, several)
    assert requests.sent == [[0, 1, 2], [3]]
    assert operations[0].batches == [operations]
    assert operations[1].batches == []
    assert given.batches == [[given]]
