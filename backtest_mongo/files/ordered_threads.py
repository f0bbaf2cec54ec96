"""Blocking work in threads: for each directory one call at a time, in the order of the calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import TypeVar
from weakref import WeakKeyDictionary

from backtest_mongo.core.cancellation import shield

__all__ = ["Turns"]

T = TypeVar("T")


class Turns:
    """Keeps the order of calls on each event loop. The lock on a directory keeps several loops apart."""

    def __init__(self) -> None:
        self._last: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Hashable, asyncio.Future[None]]] = (
            WeakKeyDictionary()
        )

    async def take(self, subject: Hashable, work: Callable[[], T]) -> T:
        """Run ``work`` in a thread after all earlier calls for its subject, to its end if the caller is cancelled.

        Calls wait in the event loop and not in threads, so many of them take only one thread per subject.
        """
        return await shield(self._after(subject, work))

    async def _after(self, subject: Hashable, work: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        last = self._last.setdefault(loop, {})
        before = last.get(subject)
        done = last[subject] = loop.create_future()
        try:
            if before is not None:
                await before
            return await asyncio.to_thread(work)
        finally:
            if last.get(subject) is done:
                del last[subject]
            done.set_result(None)
