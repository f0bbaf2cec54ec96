"""Calls that are waiting in the same turn of the event loop, carried out together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Final, Generic, TypeVar

from backtest_mongo.counts import Seen, Trips, seen

__all__ = ["Call", "Crowd"]

#: Calls carried out together at most, and their bytes: a crowd that has reached either lets no more join.
MOST: Final = 1_000
MOST_BYTES: Final = 16 * 1024 * 1024

Item = TypeVar("Item")
Result = TypeVar("Result")


class Call(Generic[Item, Result]):
    """One caller: what it asks for, and where its own answer or its own error goes."""

    __slots__ = ("_future", "item", "seen")

    def __init__(self, item: Item) -> None:
        self.item: Item = item
        self.seen: Seen | None = seen.get()
        self._future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()

    @property
    def is_open(self) -> bool:
        """Whether somebody still waits: a cancelled caller does not."""
        return not self._future.done()

    def answer(self, result: Result) -> None:
        if self.is_open:
            self._future.set_result(result)

    def fail(self, error: BaseException) -> None:
        if self.is_open:
            self._future.set_exception(error)

    async def outcome(self) -> Result:
        return await self._future


class Crowd(Generic[Item, Result]):
    """Brings callers together.

    The first one lets the turn of the event loop end. If nobody has joined it by then it goes alone, undelayed; else
    all of them are carried out by one task, so that the cancellation of one caller harms no other.

    Args:
        together: carries out two calls or more, and answers or fails each of them. It raises nothing.
        trips: where its round trips and their calls are counted.
    """

    def __init__(
        self, together: Callable[[list[Call[Item, Result]]], Awaitable[None]], trips: Trips | None = None
    ) -> None:
        self._together = together
        self._trips = trips or Trips()
        self._gathering: list[Call[Item, Result]] | None = None
        self._bytes = 0
        self._tasks: set[asyncio.Future[None]] = set()

    async def call(self, item: Item, alone: Callable[[Item], Awaitable[Result]], size: int = 0) -> Result:
        """Carry out ``item``, of ``size`` bytes: with ``alone``, or together with what others ask for in this turn."""
        gathering = self._gathering
        if gathering is not None:
            call: Call[Item, Result] = Call(item)
            gathering.append(call)
            self._bytes += size
            if len(gathering) + 1 >= MOST or self._bytes >= MOST_BYTES:  # with the first one
                self._gathering = None
            return await call.outcome()
        gathering = self._gathering = []
        self._bytes = size
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self._depart(gathering)
            if gathering:
                self._start(gathering)
            raise
        self._depart(gathering)
        if not gathering:
            self._trips.add(1)
            observed = seen.get()
            if observed is None:
                return await alone(item)
            with observed.set_out((observed,)):
                return await alone(item)
        call = Call(item)
        self._start([call, *gathering])
        return await call.outcome()

    def _depart(self, gathering: list[Call[Item, Result]]) -> None:
        if self._gathering is gathering:
            self._gathering = None

    def _start(self, calls: list[Call[Item, Result]]) -> None:
        self._trips.add(len(calls))
        observed = [call.seen for call in calls if call.seen is not None]
        with observed[0].set_out(observed) if observed else nullcontext():
            task = asyncio.ensure_future(self._together(calls))
        self._tasks.add(task)  # the event loop alone would not keep it alive
        task.add_done_callback(self._tasks.discard)
