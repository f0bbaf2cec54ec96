"""The order of calls that share a key, and the places that reservations have in it."""

from __future__ import annotations

import asyncio

import pytest
from pymongo.errors import OperationFailure

from backtest_mongo import StoreError
from backtest_mongo.connection.batching import (
    Lanes,
)
from tests.support.batches import (
    Requests,
    call,
    make_queue,
    turns,
)

pytestmark = pytest.mark.one_python

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
