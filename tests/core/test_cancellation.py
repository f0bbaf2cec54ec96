"""Work that outlasts the cancellation of its caller."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from backtest_mongo.core.cancellation import detach, retrieve_exception, shield


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


Run = Callable[[Awaitable[Any]], Awaitable[Any]]


@pytest.mark.parametrize("run", [shield, detach])
async def test_result_and_error_of_the_work_are_the_caller_s(run: Run) -> None:
    async def work(error: Exception | None) -> int:
        await asyncio.sleep(0)
        if error is not None:
            raise error
        return 5

    assert await run(work(None)) == 5
    with pytest.raises(LookupError, match="no work"):
        await run(work(LookupError("no work")))


@pytest.mark.parametrize("error", [None, LookupError("unnoticed")])
@pytest.mark.parametrize("run", [shield, detach])
async def test_work_goes_on_after_its_caller_was_cancelled(run: Run, error: Exception | None) -> None:
    unretrieved: list[dict[str, Any]] = []  # what asyncio reports of tasks whose exceptions nobody retrieves
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unretrieved.append(context))
    go_on, events = asyncio.Event(), list[str]()

    async def work() -> None:
        await go_on.wait()
        events.append("worked")
        if error is not None:
            raise error

    async def call() -> None:
        try:
            await run(work())
        except asyncio.CancelledError:
            events.append("cancelled")
            raise

    caller = asyncio.create_task(call())
    await turns()
    caller.cancel()
    await turns()
    assert events == ([] if run is shield else ["cancelled"])
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await turns()
    assert events == (["worked", "cancelled"] if run is shield else ["cancelled", "worked"])
    del caller
    gc.collect()
    await turns()
    assert unretrieved == []


async def test_second_cancellation_ends_the_wait_and_not_the_work() -> None:
    go_on, events = asyncio.Event(), list[str]()

    async def work() -> None:
        await go_on.wait()
        events.append("worked")

    caller = asyncio.create_task(shield(work()))
    await turns()
    caller.cancel()
    await turns()
    assert not caller.done()
    caller.cancel()
    await turns()
    assert caller.cancelled()
    go_on.set()
    await turns()
    assert events == ["worked"]


async def test_cancellation_of_the_work_is_the_caller_s() -> None:
    for run in (shield, detach):
        work = asyncio.get_running_loop().create_future()
        caller = asyncio.create_task(run(work))
        await turns()
        work.cancel()
        await turns()
        assert caller.cancelled()


async def test_only_what_was_not_cancelled_has_an_exception_to_retrieve() -> None:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    retrieve_exception(future)
    failed = asyncio.get_running_loop().create_future()
    failed.set_exception(LookupError("x"))
    retrieve_exception(failed)
    del failed
    gc.collect()
