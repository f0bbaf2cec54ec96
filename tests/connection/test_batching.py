"""Queues of calls and their lanes: which calls are sent together, in which order, and what becomes of each."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import pymongo
import pytest
from pymongo.errors import AutoReconnect, OperationFailure

from backtest_mongo import StoreError, StoreUnavailableError
from backtest_mongo.connection.batching import (
    LANES_OF_A_BATCH,
    MAX_BATCH_BYTES,
    MAX_BATCH_CALLS,
    Call,
    Lanes,
    Queue,
)
from backtest_mongo.connection.operation import Attempts, attempt, seconds_left
from backtest_mongo.core.counters import RoundTrips
from backtest_mongo.core.observation import ObservedOperation, current_operation

FOREVER = float("inf")
#: A deadline that no test reaches.
LONG = 3_600.0
#: One that a test waits for.
SHORT = 0.2


class Requests:
    """The requests of a queue, in their order; each is answered when the test says so, by ten times its item."""

    def __init__(self) -> None:
        self.sent: list[list[Any]] = []
        self._gates: list[asyncio.Future[None]] = []

    async def send(self, calls: list[Call[Any, Any]], attempts: Attempts) -> None:
        await self.wait([call.item for call in calls])
        for call in calls:
            call.answer(10 * call.item)

    async def wait(self, items: list[Any]) -> None:
        self.sent.append(items)
        gate = asyncio.get_running_loop().create_future()
        self._gates.append(gate)
        await gate

    def end(self, number: int, error: Exception | None = None) -> None:
        gate = self._gates[number]
        if error is None:
            gate.set_result(None)
        else:
            gate.set_exception(error)

    async def end_all(self) -> None:
        """Answer all that are sent from now on, and those that were."""
        for _ in range(100):
            for gate in self._gates:
                if not gate.done():
                    gate.set_result(None)
            await asyncio.sleep(0)


async def prepare() -> bool:
    return True


def make_error(doing: str, key: Any, reason: str, was_sent: bool) -> StoreUnavailableError:
    error = StoreUnavailableError(f"{doing} {key}: {reason}")
    error.may_be_applied = was_sent
    return error


def translate(doing: str, error: Exception, key: Any) -> StoreError:
    return StoreError(f"{doing} {key}: {error}")


def make_queue(lanes: Lanes, requests: Requests, seconds: float = FOREVER, **options: Any) -> Queue[Any, Any]:
    arguments = {"prepare": prepare, "is_write": True, **options}
    queue: Queue[Any, Any] = Queue(lanes, seconds, arguments.pop("prepare"), make_error, translate, **arguments)
    queue.send = requests.send
    return queue


def call(queue: Queue[Any, Any], item: Any, *keys: Any, size: int = 0) -> asyncio.Task[Any]:
    return asyncio.ensure_future(queue.call(item, "writing", f"k{item}", keys, size))


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.fixture
def requests() -> Requests:
    return Requests()


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


# Order


async def test_calls_of_one_key_are_sent_in_order_each_after_the_answer_before(requests: Requests) -> None:
    queue = make_queue(Lanes(8), requests)
    tasks = [call(queue, 1, "a"), call(queue, 2, "a"), call(queue, 3, "b"), call(queue, 4, "a"), call(queue, 5, "c")]
    await turns()
    assert requests.sent == [[1, 3, 5]]
    requests.end(0)
    await turns()
    assert requests.sent == [[1, 3, 5], [2]]
    tasks.append(call(queue, 6, "a"))
    tasks.append(call(queue, 7, "b"))
    await turns()
    assert requests.sent[2:] == [[7]]
    requests.end(1)
    await turns()
    assert requests.sent[3:] == [[4]]
    await requests.end_all()
    assert requests.sent[4:] == [[6]]
    assert await asyncio.gather(*tasks) == [10, 20, 30, 40, 50, 60, 70]


async def test_call_of_several_keys_waits_for_all_of_them_and_holds_up_each(requests: Requests) -> None:
    queue = make_queue(Lanes(8), requests)
    tasks = [call(queue, 1, "a")]
    await turns()
    tasks.append(call(queue, 2, "b"))
    await turns()
    tasks += [call(queue, 3, "a", "b"), call(queue, 4, "b"), call(queue, 5, "a")]
    requests.end(0)
    await turns()
    assert requests.sent == [[1], [2]]
    requests.end(1)
    await turns()
    assert requests.sent == [[1], [2], [3]]
    requests.end(2)
    await turns()
    assert sorted(requests.sent[3]) == [4, 5]
    await requests.end_all()
    await asyncio.gather(*tasks)


async def test_call_whose_write_failed_lets_the_next_of_its_key_go_on(requests: Requests) -> None:
    queue = make_queue(Lanes(8), requests)
    tasks = [call(queue, 1, "a"), call(queue, 2, "a")]
    await turns()
    requests.end(0, OperationFailure("refused", 1))
    await turns()
    assert requests.sent == [[1], [2]]
    await requests.end_all()
    with pytest.raises(StoreError, match="writing k1: refused"):
        await tasks[0]
    assert await tasks[1] == 20


async def test_reservation_takes_its_place_in_the_order(requests: Requests) -> None:
    lanes = Lanes(8)
    queue = make_queue(lanes, requests)
    first = call(queue, 1, "a")
    await turns()
    place = queue.reserve("writing", ["a", "b"])
    later = [call(queue, 2, "a"), call(queue, 3, "b")]
    entered = asyncio.Event()

    async def use() -> None:
        async with place:
            entered.set()
            assert [*await asyncio.gather(call(queue, 4), call(queue, 5))] == [40, 50]

    using = asyncio.ensure_future(use())
    await turns()
    assert not entered.is_set()
    requests.end(0)
    await entered.wait()
    await turns()
    assert requests.sent == [[1], [4, 5]]
    requests.end(1)
    await using
    await turns()
    assert requests.sent[2:] == [[2, 3]]
    await requests.end_all()
    await asyncio.gather(first, *later)
    assert lanes.is_idle


@pytest.mark.parametrize("is_its_turn", [True, False])
async def test_reservation_that_is_given_up_holds_up_nobody(requests: Requests, is_its_turn: bool) -> None:
    lanes = Lanes(8)
    queue = make_queue(lanes, requests)
    first = call(queue, 1, "a")
    await turns()
    place = queue.reserve("writing", ["a"])
    later = call(queue, 2, "a")
    if is_its_turn:
        requests.end(0)
        await turns()
        assert requests.sent == [[1]]
    place.give_up()
    place.give_up()
    await requests.end_all()
    assert requests.sent == [[1], [2]]
    await asyncio.gather(first, later)
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


# Errors of one, cancellation and timeouts


async def test_each_call_has_its_own_error_in_a_list(requests: Requests) -> None:
    lanes = Lanes(8)
    queue = make_queue(lanes, requests)

    async def send(calls: list[Call[Any, Any]], attempts: Attempts) -> None:
        for one in calls:
            if one.item % 2:
                one.fail(make_error(one.doing, one.key, "lost", one.item > 2))
            else:
                one.answer(one.item)

    queue.send = send
    calls = [Call[Any, Any](number, "writing", f"k{number}") for number in range(6)]
    outcomes = await queue.call_all(calls)
    assert [outcomes[number] for number in (0, 2, 4)] == [0, 2, 4]
    assert [str(outcomes[number]) for number in (1, 3, 5)] == [f"writing k{number}: lost" for number in (1, 3, 5)]
    assert (lanes.unknown, lanes.calls) == (2, 0)  # the first one is known not to be applied


async def test_error_of_a_request_is_that_of_the_calls_that_have_no_outcome_of_their_own(requests: Requests) -> None:
    queue = make_queue(Lanes(8), requests)

    async def send(calls: list[Call[Any, Any]], attempts: Attempts) -> None:
        calls[0].answer("fine")
        calls[1].fail(StoreError("its own"))
        raise OperationFailure("refused", 1)

    queue.send = send
    outcomes = await queue.call_all([Call[Any, Any](number, "writing", f"k{number}") for number in range(3)])
    assert outcomes[0] == "fine"
    assert [str(outcome) for outcome in outcomes[1:]] == ["its own", "writing k2: refused"]


async def test_error_that_is_not_the_driver_s_is_raised_as_it_is(requests: Requests) -> None:
    queue = make_queue(Lanes(8), requests)
    task = call(queue, 1)
    await turns()
    requests.end(0, ZeroDivisionError("ours"))
    with pytest.raises(ZeroDivisionError, match="ours"):
        await task
    again = call(queue, 2)
    await turns()
    requests.end(1)
    assert await again == 20


async def test_call_cancelled_before_it_is_sent_is_never_sent(requests: Requests) -> None:
    lanes = Lanes(1)
    queue = make_queue(lanes, requests)
    first, *others = (call(queue, number, "a" if number < 3 else number) for number in range(5))
    await turns()
    assert requests.sent == [[0, 3, 4]]
    waiting = call(queue, 5)
    await turns()
    others[0].cancel()
    waiting.cancel()
    await turns()
    assert others[0].cancelled()
    assert waiting.cancelled()
    await requests.end_all()
    assert requests.sent == [[0, 3, 4], [2]]
    assert await asyncio.gather(first, *others[1:]) == [0, 20, 30, 40]
    assert lanes.is_idle


@pytest.mark.parametrize("is_write", [True, False])
async def test_cancelled_writer_waits_for_the_end_of_what_was_sent_and_a_reader_does_not(
    requests: Requests, is_write: bool
) -> None:
    queue = make_queue(Lanes(8), requests, is_write=is_write)
    one, other = call(queue, 1), call(queue, 2)
    several = asyncio.ensure_future(queue.call_all([Call[Any, Any](number, "writing", "k") for number in (3, 4)]))
    await turns()
    for task in (one, several):
        task.cancel()
    await turns()
    assert [task.done() for task in (one, several, other)] == [not is_write, not is_write, False]
    await requests.end_all()
    assert await other == 20
    await asyncio.wait([one, several])
    assert one.cancelled()
    assert several.cancelled()
    assert requests.sent == [[1, 2], [3, 4]]


@pytest.mark.parametrize("many", [True, False])
@pytest.mark.parametrize("is_sent", [True, False])
async def test_caller_whose_own_timeout_expires_gets_an_error_that_says_whether_it_was_sent(
    requests: Requests, many: bool, is_sent: bool
) -> None:
    lanes = Lanes(1)
    queue = make_queue(lanes, requests)
    other = call(queue, 0, *([] if is_sent else ["a"]))
    if not is_sent:
        await turns()
    with pymongo.timeout(SHORT):
        if many:
            outcomes = await queue.call_all([Call[Any, Any](n, "writing", f"k{n}", ("a", n)) for n in (1, 2)])
        else:
            outcomes = [*await asyncio.gather(call(queue, 1, "a"), return_exceptions=True)]
    error = outcomes[0]
    assert isinstance(error, StoreUnavailableError)
    assert str(error) == "writing k1: the caller's own timeout has expired"
    assert error.may_be_applied is is_sent
    await requests.end_all()
    assert await other == 0
    assert requests.sent == ([[0, 1]] if is_sent else [[0]])
    assert lanes.is_idle
    assert lanes.unknown == 0


async def test_timeout_that_is_long_enough_changes_nothing(requests: Requests) -> None:
    queue = make_queue(Lanes(1), requests)
    with pymongo.timeout(LONG):
        several = asyncio.ensure_future(queue.call_all([Call[Any, Any](1, "writing", "k")]))
        one = call(queue, 2)
        await turns()
    await requests.end_all()
    assert await asyncio.gather(several, one) == [[10], 20]


# Queues without answers


async def test_calls_behind_one_without_an_answer_fail_as_not_sent(requests: Requests) -> None:
    lanes = Lanes(1)
    queue = make_queue(lanes, requests, SHORT)
    first = call(queue, 0, "a")
    await turns()
    behind = [call(queue, 1, "a"), call(queue, 2, "b")]
    outcomes = await asyncio.gather(*behind, return_exceptions=True)
    for number, outcome in enumerate(outcomes, 1):
        assert isinstance(outcome, StoreUnavailableError)
        assert str(outcome) == f"writing k{number}: it answered nothing for {SHORT:g} s"
        assert not outcome.may_be_applied
    assert not first.done()
    requests.end(0)
    assert await first == 0
    assert requests.sent == [[0]]
    assert lanes.is_idle
    again = call(queue, 3, "a")
    await turns()
    requests.end(1)
    assert await again == 30


async def test_calls_wait_as_long_as_their_queue_gets_answers_and_not_longer(requests: Requests) -> None:
    queue = make_queue(Lanes(1), requests, SHORT)
    tasks = [call(queue, number, "a") for number in range(8)]
    await turns()
    for number in range(6):
        # Half a deadline, by the clock of the loop: if that is held up, the calls wait longer too.
        await asyncio.sleep(SHORT / 2)
        requests.end(number)
        await turns()
    assert requests.sent == [[number] for number in range(7)]
    with pytest.raises(StoreUnavailableError, match="writing k7: it answered nothing"):
        await tasks[7]
    requests.end(6)
    assert await asyncio.gather(*tasks[:7]) == [10 * number for number in range(7)]


async def test_calls_without_a_lane_fail_if_those_who_have_it_get_no_answer(requests: Requests) -> None:
    lanes = Lanes(1)
    one, two = make_queue(lanes, requests, SHORT), make_queue(lanes, requests, SHORT)
    first = call(one, 0)
    await turns()
    with pytest.raises(StoreUnavailableError, match="writing k1: it answered nothing"):
        await call(two, 1)
    requests.end(0)
    assert await first == 0
    assert (requests.sent, lanes.is_idle) == ([[0]], True)


async def test_answers_of_other_queues_help_none_that_waits_for_its_own(requests: Requests) -> None:
    lanes = Lanes(2)
    one, two = make_queue(lanes, requests, SHORT), make_queue(lanes, Requests(), SHORT)

    async def answer(calls: list[Call[Any, Any]], attempts: Attempts) -> None:
        for each in calls:
            each.answer(None)

    two.send = answer
    first = call(one, 0, "a")
    await turns()
    behind = call(one, 1, "a")
    while not behind.done():
        await call(two, 2)
    with pytest.raises(StoreUnavailableError, match="writing k1: it answered nothing"):
        await behind
    requests.end(0)
    assert await first == 0


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
