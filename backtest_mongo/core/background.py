"""Background work: nobody waits for it, a failure is only logged, and closing waits until it is done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Final
from weakref import WeakKeyDictionary

from backtest_mongo.core.log import log

__all__ = ["finish_background", "start_background"]

#: How long closing waits for it, in seconds.
_SECONDS: Final = 15.0

#: What is under way on each event loop; the loops themselves hold tasks weakly.
_tasks: WeakKeyDictionary[asyncio.AbstractEventLoop, set[asyncio.Task[None]]] = WeakKeyDictionary()


def start_background(work: Callable[[], Awaitable[object]], warning: str, **subject: object) -> None:
    """Begin ``work`` in a task of its own, outside of the caller's transactions and timeouts.

    Args:
        work: what is done.
        warning: what is logged if it fails.
        **subject: the fields of the log line.
    """
    loop = asyncio.get_running_loop()
    # In a context of its own: the caller's scopes end before it does.
    task = loop.create_task(_carry_out(work, warning, subject), context=Context())
    tasks = _tasks.setdefault(loop, set())
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def _carry_out(work: Callable[[], Awaitable[object]], warning: str, subject: dict[str, object]) -> None:
    try:
        await work()
    except Exception as error:
        log().warning(warning, **subject, error=type(error).__name__, problem=str(error))


async def finish_background() -> None:
    """Wait for what is under way on this event loop, and cancel what takes longer than 15 s."""
    tasks = list(_tasks.get(asyncio.get_running_loop(), ()))
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=_SECONDS)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late)
