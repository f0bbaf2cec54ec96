"""What a caller gets: errors of its own, cancellation, timeouts, and queues that get no answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pymongo
import pytest
from pymongo.errors import OperationFailure

from backtest_mongo import StoreError, StoreUnavailableError
from backtest_mongo.connection.batching import (
    Call,
    Lanes,
)
from backtest_mongo.connection.operation import Attempts
from tests.support.batches import (
    LONG,
    SHORT,
    Requests,
    call,
    make_error,
    make_queue,
    turns,
)

pytestmark = pytest.mark.one_python

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
