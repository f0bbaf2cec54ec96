"""Blocking work in threads, one thing at a time for each subject, in the order of the calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import TypeVar
from weakref import WeakKeyDictionary

from backtest_mongo.tasks import to_its_end

__all__ = ["Turns"]

T = TypeVar("T")


class Turns:
    """Keeps the order on each event loop; what several of them do at once is the lock's business."""

    def __init__(self) -> None:
        self._last: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Hashable, asyncio.Future[None]]] = (
            WeakKeyDictionary()
        )

    async def take(self, subject: Hashable, work: Callable[[], T]) -> T:
        """Carry out ``work`` after all that came before for its subject; it goes to its end if the caller is cancelled.

        A thread waits for nobody, so a crowd of calls takes no more threads than it has subjects.
        """
        return await to_its_end(self._after(subject, work))

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
