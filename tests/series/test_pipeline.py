"""The bounded pipeline that large reads and writes of candles go through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from backtest_mongo.series.pipeline import work_ahead


async def numbers(count: int, fetched: list[int] | None = None) -> AsyncGenerator[int, None]:
    for number in range(count):
        if fetched is not None:
            fetched.append(number)
        yield number


async def collect(results: AsyncGenerator[int, None], found: list[int]) -> None:
    async for result in results:
        found.append(result)


async def settle() -> None:
    """Let every task go on as far as it can."""
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.mark.parametrize("at_once", [1, 2, 5])
async def test_results_are_in_order_and_concurrency_is_bounded(at_once: int) -> None:
    busy: set[int] = set()
    most = 0
    gates = [asyncio.Event() for _ in range(10)]

    async def work(number: int) -> int:
        nonlocal most
        busy.add(number)
        most = max(most, len(busy))
        await gates[number].wait()
        busy.discard(number)
        return number * 10

    async def open_gates() -> None:
        for gate in reversed(gates[:at_once]):  # the last one first
            await settle()
            gate.set()
        for gate in gates[at_once:]:
            await settle()
            gate.set()

    opening = asyncio.ensure_future(open_gates())
    async with aclosing(work_ahead(numbers(10), work, at_once)) as results:
        assert [result async for result in results] == [number * 10 for number in range(10)]
    await opening
    assert most == at_once


async def test_next_item_is_processed_while_a_result_is_used() -> None:
    done: list[int] = []
    fetched: list[int] = []

    async def work(number: int) -> int:
        done.append(number)
        return number

    async with aclosing(work_ahead(numbers(10, fetched), work)) as results:
        assert await anext(results) == 0
        await settle()
        assert done == [0, 1]
        assert fetched == [0, 1, 2]


async def test_error_of_the_work_comes_after_the_results_before_it_and_ends_all() -> None:
    began: list[int] = []
    ended: list[int] = []

    async def work(number: int) -> int:
        if number == 2:
            raise ValueError("two")
        began.append(number)
        try:
            if number > 2:
                await asyncio.Event().wait()
        finally:
            ended.append(number)
        return number

    found: list[int] = []
    async with aclosing(work_ahead(numbers(10), work, 4)) as results:
        with pytest.raises(ValueError, match="two"):
            await collect(results, found)
    assert found == [0, 1]
    assert began[:3] == [0, 1, 3]
    assert sorted(ended) == began


async def test_error_of_the_source_is_raised_after_its_results() -> None:
    async def fail() -> AsyncGenerator[int, None]:
        yield 1
        raise ValueError("source")

    async def work(number: int) -> int:
        return number

    found: list[int] = []
    async with aclosing(work_ahead(fail(), work)) as results:
        with pytest.raises(ValueError, match="source"):
            await collect(results, found)
    assert found == [1]


async def test_cancelled_consumer_leaves_no_task_and_closes_the_source() -> None:
    closed = False

    async def source() -> AsyncGenerator[int, None]:
        nonlocal closed
        try:
            for number in range(10):
                yield number
        finally:
            closed = True

    async def work(number: int) -> int:
        await asyncio.Event().wait()
        return number

    async def consume() -> None:
        async with aclosing(work_ahead(source(), work, 2)) as results:
            async for _ in results:
                pass

    before = asyncio.all_tasks()
    consuming = asyncio.ensure_future(consume())
    await settle()
    consuming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await consuming
    assert closed
    assert asyncio.all_tasks() == before
