"""Work that is not cancelled together with its caller."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

__all__ = ["detach", "retrieve_exception", "shield"]

T = TypeVar("T")


async def shield(work: Awaitable[T]) -> T:
    """Await ``work``; if the caller is cancelled meanwhile, wait until the work is done, then raise the cancellation.

    So nothing happens behind the back of code that runs after the cancellation. A second cancellation ends the wait,
    not the work. The work must have a time limit of its own.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(retrieve_exception)
        if not task.done():
            await asyncio.wait([task])
        raise


async def detach(work: Awaitable[T]) -> T:
    """Await ``work``; if the caller is cancelled meanwhile, raise at once and let the work finish without it.

    PyMongo's asyncio client must not be cancelled: it leaves a socket unclosed where it was connecting, and on Python
    3.11 a second cancellation while it waits for a server leaves its lock held, so that it never answers again.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(retrieve_exception)
        raise


def retrieve_exception(task: asyncio.Future[Any]) -> None:
    """Retrieve the exception of a finished task that nothing awaits: asyncio logs those that are never retrieved."""
    if not task.cancelled():
        task.exception()
