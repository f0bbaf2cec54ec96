"""Work that goes on when its caller is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

__all__ = ["apart", "to_its_end"]

T = TypeVar("T")


async def to_its_end(work: Awaitable[T]) -> T:
    """Await ``work``; a caller that is cancelled meanwhile waits for its end all the same, and is cancelled then.

    So nothing happens behind the back of whoever goes on after the cancellation. A second cancellation ends the wait,
    not the work. What is waited for must have a time limit of its own.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_retrieve)
        if not task.done():
            await asyncio.wait([task])
        raise


async def apart(work: Awaitable[T]) -> T:
    """Await ``work``; a caller that is cancelled meanwhile goes on at once, and the work to its end without it.

    PyMongo's asyncio client must not be cancelled: it leaves a socket unclosed where it was connecting, and on Python
    3.11 a second cancellation while it waits for a server leaves its lock held, so that it never answers again.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_retrieve)
        raise


def _retrieve(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()  # nobody else will ask for it
