"""A bounded pipeline: the next results are computed while the last one is used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

__all__ = ["work_ahead"]

T = TypeVar("T")
R = TypeVar("R")


async def work_ahead(
    items: AsyncGenerator[T, None], work: Callable[[T], Awaitable[R]], at_once: int = 1
) -> AsyncGenerator[R, None]:
    """Yield the result of ``work`` for each item, in order, while the next items are fetched and worked on.

    At most ``at_once`` results are being computed or waiting to be taken, and one more item is fetched. Closing the
    generator cancels everything under way and waits for its end: iterate over it in ``aclosing()``.

    Raises:
        Exception: what ``items`` or ``work`` raises, after the results before it.
    """
    free = asyncio.Semaphore(at_once)
    results: asyncio.Queue[asyncio.Future[R] | None] = asyncio.Queue()
    under_way: set[asyncio.Future[Any]] = set()

    async def feed() -> None:
        try:
            async with aclosing(items):
                async for item in items:
                    await free.acquire()
                    result = asyncio.ensure_future(work(item))
                    under_way.add(result)
                    results.put_nowait(result)
        finally:
            results.put_nowait(None)

    feeder = asyncio.ensure_future(feed())
    under_way.add(feeder)
    try:
        while (result := await results.get()) is not None:
            done = await result
            under_way.discard(result)
            free.release()
            yield done
        await feeder
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
