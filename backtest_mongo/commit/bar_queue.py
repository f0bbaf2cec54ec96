"""The queue of a lease whose transactions are acknowledged before they are in the database.

Transactions are committed in their order and whole, many in one commit, and of each row the last value alone. What
waits is bounded, so a producer that is faster than the database waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextvars import Context
from typing import Final

from backtest_mongo.commit.memory import Memory
from backtest_mongo.commit.scope import Rows
from backtest_mongo.core.commits import RowWrite
from backtest_mongo.core.counters import CommitCounts
from backtest_mongo.core.specs import Key
from backtest_mongo.errors import LeaseLostError

__all__ = ["BarQueue"]

#: Bytes of payloads that wait at most.
_MOST_BYTES: Final = 8 << 20
#: Transactions between two turns of the event loop, so that a commit goes on beside a caller who awaits nothing else.
_BARS_PER_TURN: Final = 2


class BarQueue:
    """Transactions of one lease that are acknowledged and not committed yet.

    Args:
        commit: commits rows; it is called by one task, one commit after another.
        memory: where reads find them.
        every: how many transactions are committed together, if so many come in time.
        delay: seconds after which fewer are.
        counts: where what waits is counted.
    """

    def __init__(
        self,
        commit: Callable[[list[RowWrite]], Awaitable[None]],
        memory: Memory,
        every: int,
        delay: float,
        counts: CommitCounts,
    ) -> None:
        self._commit = commit
        self._memory = memory
        self._every = every
        self._delay = delay
        self._counts = counts
        self._waiting: Rows = {}
        self._bars = 0
        self._bytes = 0
        self._sending: Rows = {}
        self._sent_bars = 0
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        #: Why the last commit failed, until somebody was told.
        self._failure: Exception | None = None

    def list_rows(self, slot: str) -> Iterator[Mapping[Key, RowWrite]]:
        """Yield what waits to be written of a slot, what was written first first."""
        for rows in (self._sending, self._waiting):
            if slot in rows:
                yield rows[slot]

    async def put(self, rows: list[RowWrite]) -> None:
        """Take a transaction, once there is room for it.

        Raises:
            BacktestMongoError: transactions before it could not be committed. They are still in the queue, and this one
                is not.
        """
        while True:
            if self._failure is not None:
                failure, self._failure = self._failure, None
                self._begin()
                raise failure
            if self._bars < self._every and self._bytes < _MOST_BYTES:
                break
            self._begin()
            assert self._task is not None
            await asyncio.wait([self._task])
        self._bars += 1
        self._counts.queued += 1
        for row in rows:
            slot = self._waiting.setdefault(row.spec.name, {})
            before = slot.get(row.key)
            if before is not None:
                self._bytes -= before.size
                row.follow(before)
            self._bytes += row.size
            slot[row.key] = row
            self._memory.put_waiting(row)
        if self._task is not None and not self._bars % _BARS_PER_TURN:
            await asyncio.sleep(0)
        if self._bars >= self._every or self._bytes >= _MOST_BYTES:
            self._begin()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._delay, self._begin)

    async def flush(self) -> None:
        """Wait until everything that was taken is committed.

        Raises:
            BacktestMongoError: it could not be. It is still in the queue.
        """
        self._failure = None  # what could not be committed before is tried again
        while self._bars or self._sent_bars:
            self._begin()
            if self._task is not None:
                await asyncio.wait([self._task])
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure

    def drop(self) -> None:
        """Give up what waits: the lease is lost, or has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._counts.queued -= self._bars
        self._waiting, self._bars, self._bytes = {}, 0, 0

    def _begin(self) -> None:
        """Begin to commit what waits, unless a commit is under way, after which the next one begins."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is None and self._bars:
            self._task = asyncio.get_running_loop().create_task(self._send(), context=Context())
            self._task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if task.cancelled():  # the event loop ends
            return
        if self._failure is None and self._bars:
            if self._bars >= self._every:
                self._begin()
            elif self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(self._delay, self._begin)

    async def _send(self) -> None:
        self._sending, self._sent_bars = self._waiting, self._bars
        size, self._waiting, self._bars, self._bytes = self._bytes, {}, 0, 0
        rows = [row for some in self._sending.values() for row in some.values()]
        try:
            await self._commit(rows)
        except LeaseLostError as error:
            self._failure = error
        except Exception as error:
            self._failure = error
            self._put_back(size)
        finally:
            if self._failure is None or isinstance(self._failure, LeaseLostError):
                self._counts.queued -= self._sent_bars
            self._sending, self._sent_bars = {}, 0

    def _put_back(self, size: int) -> None:
        """Let what could not be committed be the first of what waits."""
        for slot, rows in self._sending.items():
            later = self._waiting.get(slot, {})
            for key, row in rows.items():
                if key in later:
                    size -= row.size
                    if row.is_kept:
                        later[key].follow(row)
            self._waiting[slot] = {**rows, **later}
        self._bars += self._sent_bars
        self._bytes += size
