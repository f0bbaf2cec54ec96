"""The order of concurrent writes to one series: of two that may have a row of the same key, the first call comes first.

Small writes take the same way to the database, which keeps their order, and need not wait for one another. A write that
takes a longer way keeps those back that were called after it, and waits for those that were called before it, as far as
their times overlap.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable
from types import TracebackType
from typing import Self

__all__ = ["Turn", "Turns"]


class Turn:
    """The turn of one write: ``async with`` waits until it has come.

    Attributes:
        first: the time of its first row.
        last: that of its last one.
        is_alone: whether it takes a longer way than small writes.
    """

    __slots__ = ("_has_begun", "_is_over", "_is_shared", "_line", "first", "is_alone", "last")

    def __init__(self, line: _Line, first: int, last: int, *, is_alone: bool) -> None:
        self._line = line
        self.first: int = first
        self.last: int = last
        self.is_alone: bool = is_alone
        # Each is there once somebody waits for it.
        self._has_begun: asyncio.Future[None] | None = None
        self._is_shared: asyncio.Future[None] | None = None
        self._is_over: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        line = self._line
        before = self._select(line.others) if self.is_alone and line.others else []
        if line.alone:
            before += self._select(line.alone)
        (line.alone if self.is_alone else line.others)[self] = None
        if before or line.waiting:
            await self._wait(before)
        return self

    async def _wait(self, before: list[Turn]) -> None:
        waiting, known = self._line.waiting, tuple(before)
        # Those that wait for the same turns are woken in the order of the calls. Others have to begin first.
        earlier = [turn for other, turns in waiting.items() if other != known for turn in self._select(turns)]
        same = waiting.setdefault(known, {})
        same[self] = None
        self._has_begun = asyncio.get_running_loop().create_future()
        try:
            if before:
                await asyncio.wait([turn._get_end(self) for turn in before])
            for turn in earlier:
                if turn._has_begun is not None and not turn._has_begun.done():
                    await asyncio.wait([turn._has_begun])
        except BaseException:
            self._end()
            raise
        finally:
            self._has_begun.set_result(None)
            del same[self]
            if not same:
                waiting.pop(known, None)

    def _select(self, turns: Iterable[Turn]) -> list[Turn]:
        """Return those whose times overlap this one's."""
        return [turn for turn in turns if turn.first <= self.last and self.first <= turn.last]

    def _get_end(self, waiter: Turn) -> asyncio.Future[None]:
        """Return what is done once another turn may begin."""
        name = "_is_over" if waiter.is_alone else "_is_shared"
        future: asyncio.Future[None] | None = getattr(self, name)
        if future is None:
            future = asyncio.get_running_loop().create_future()
            setattr(self, name, future)
        return future

    def share(self) -> None:
        """Let small writes go on once this has taken their way as well, which it does before its next ``await``."""
        if self.is_alone:
            self.is_alone = False
            del self._line.alone[self]
            self._line.others[self] = None
            if self._is_shared is not None:
                self._is_shared.set_result(None)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        line = self._line
        (line.alone if self.is_alone else line.others).pop(self)
        for future in (self._is_shared, self._is_over):
            if future is not None and not future.done():
                future.set_result(None)
        if not line.alone and not line.others:
            line.drop()


class _Line:
    """The turns of a series.

    Attributes:
        alone: those that take a longer way, in the order of the calls.
        others: those that don't.
        waiting: those that have not begun, by the turns that they wait for.
    """

    def __init__(self, turns: Turns, key: Hashable) -> None:
        self._turns = turns
        self._key = key
        self.alone: dict[Turn, None] = {}
        self.others: dict[Turn, None] = {}
        self.waiting: dict[tuple[Turn, ...], dict[Turn, None]] = {}

    def drop(self) -> None:
        self._turns.drop(self._key)


class Turns:
    """The turns of all series of a slot that are under way."""

    def __init__(self) -> None:
        self._lines: dict[Hashable, _Line] = {}

    def take(self, key: Hashable, first: int, last: int, *, is_alone: bool) -> Turn:
        """Return the turn of a write, which is to be entered at once.

        Args:
            key: the series.
            first: the time of its first row.
            last: that of its last one.
            is_alone: whether it takes a longer way than small writes.
        """
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line(self, key)
        return Turn(line, first, last, is_alone=is_alone)

    def drop(self, key: Hashable) -> None:
        del self._lines[key]
