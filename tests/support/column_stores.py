"""Stores of series with columns as several processes have them, each of which can be stopped or killed at any step.

A step is the moment before a request of a store, or before a statement of its transactions, or after a commit.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from typing import Any, Final

import pytest

from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.columns import merging, sizes
from backtest_mongo.columns.arrays import ColumnArrays
from backtest_mongo.columns.row_input import read_rows
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.core.columns import MOST_NEGATIVE
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.series.columns import blocks, heads, store
from backtest_mongo.series.columns.store import MongoColumns
from backtest_mongo.sqlite import column_sealing, columns
from backtest_mongo.types import Coverage

__all__ = ["LATEST", "Killed", "Process", "Steps", "crowd", "each_step", "shrink", "shrink_bytes"]

LATEST: Final = 2**63 - 1
#: The slots of which the first row of a key wins, and the last one.
FIRST: Final = "trade"
LAST: Final = "funding"
#: Rows of a call that go straight into blocks, where they are shrunk.
MANY: Final = 6
BLOCK_ROWS: Final = 4
#: How many rows of processes have one time, where it is crowded.
CROWD: Final = 5
#: From one step that is tried to the next.
STRIDE: Final = int(os.environ.get("BACKTEST_STEPS", "7"))


def shrink(patch: pytest.MonkeyPatch) -> None:
    """Make blocks of four rows, and let nobody rely on what they saw a moment ago."""
    patch.setattr(merging, "BLOCK_ROWS", BLOCK_ROWS)
    patch.setattr(store, "_MANY", MANY)
    patch.setattr(blocks, "PAGE", 2)
    patch.setattr(blocks, "_PAUSE", 0.0)
    patch.setattr(heads, "_FRESH_SECONDS", 0.0)
    patch.setattr(heads, "_RAISING_SECONDS", 0.0)
    patch.setattr(MongoColumns, "_note", _seal_nothing)


def shrink_bytes(patch: pytest.MonkeyPatch, group: int, block: int) -> None:
    """Let few rows have the bytes of a group and of a block, in SQLite, too."""
    patch.setattr(sizes, "GROUP_BYTES", group)
    patch.setattr(merging, "BLOCK_BYTES", block)
    patch.setattr(column_sealing, "BLOCK_BYTES", block)
    patch.setattr(column_sealing, "_RUN_BYTES", 2 * block)
    patch.setattr(column_sealing, "_SMALL_BYTES", group // 2)
    patch.setattr(columns, "_LARGE_BYTES", group // 2)


def crowd(patch: pytest.MonkeyPatch) -> None:
    """Let rows of processes share their times, and blocks have no room for all rows of one of them."""
    patch.setattr(Process, "per_time", CROWD)
    shrink_bytes(patch, sizes.GROUP_BYTES, 120)


async def _seal_nothing(*_: object) -> None:
    """Sealing is the tests' to begin."""


class Killed(Exception):
    """The process has been killed."""


class Steps:
    """Counts the steps of a store, and stops or kills it at one of them.

    Attributes:
        reached: is set at that step.
        go: lets the store go on.
        is_committing: whether the store is within a transaction.
        is_over: whether the work is done whose steps are counted.
    """

    def __init__(self, last: int, *, kills: bool = False) -> None:
        self.last = last
        self.kills = kills
        self.count = 0
        self.reached = asyncio.Event()
        self.go = asyncio.Event()
        self.is_committing = False
        self.is_over = False

    async def take(self) -> None:
        if self.is_over:
            return
        if self.kills and self.reached.is_set():
            raise Killed
        self.count += 1
        if self.count - 1 == self.last:
            self.reached.set()
            if self.kills:
                raise Killed
            await self.go.wait()

    def watch(self, columns: MongoColumns) -> None:
        """Take the steps of a store."""
        for part in (columns._heads, columns._tail, columns._blocks):
            self._wrap(part.slot, "read")
            self._wrap(part.slot, "write")
        self._wrap(columns._tail.writes, "call", ends=True)
        self._wrap(columns._heads, "advance", begins=True)
        self._wrap(columns._tail, "replace")
        self._wrap(columns._blocks, "replace", ends=True)
        commit = columns._merger._commit

        async def committing(*arguments: Any) -> bool:
            done = await commit(*arguments)
            self.is_committing = False
            await self.take()
            return done

        setattr(columns._merger, "_commit", committing)  # noqa: B010  # it is a method

    def _wrap(self, owner: Any, name: str, *, begins: bool = False, ends: bool = False) -> None:
        method: Callable[..., Coroutine[Any, Any, Any]] = getattr(owner, name)

        async def stepping(*arguments: Any, **options: Any) -> Any:
            await self.take()
            if begins:
                self.is_committing = True
            result = await method(*arguments, **options)
            if ends:
                await self.take()
            return result

        setattr(owner, name, stepping)


class Process:
    """A store with what a process of its own knows, for one series.

    Attributes:
        per_time: how many numbers in a row stand for rows of one time, which differ in their sequence.
    """

    per_time = 1

    def __init__(self, slot: str, symbol: str, steps: Steps | None = None) -> None:
        adapter = ADAPTERS[slot](symbol, "binance")
        self.spec: SlotSpec = adapter.spec
        self.context: Key = adapter._context
        self.store = MongoColumns(current_hub(), self.spec)
        if steps is not None:
            steps.watch(self.store)

    def arrays(self, rows: Mapping[int, float]) -> ColumnArrays:
        """Return rows of these values by time."""
        names = ("price", "amount") if self.spec.name == FIRST else ("rate",)
        listed = []
        for number, value in rows.items():
            time, place = divmod(number, self.per_time)
            more = {"trade_id": place} if self.spec.sequence else {}
            listed.append({"timestamp": time, **more, **dict.fromkeys(names, value)})
        return read_rows(self.spec, listed)

    async def write(self, rows: Mapping[int, float]) -> int:
        return await self.store.insert(self.context, self.arrays(rows))

    async def write_each(self, rows: Mapping[int, float]) -> list[int]:
        """Write rows one at a time, and return of each how many were new."""
        return await asyncio.gather(*(self.write({time: value}) for time, value in rows.items()))

    async def read(self, first: int = MOST_NEGATIVE, end: int = LATEST) -> dict[int, float]:
        """Return the values by number, and check that no number comes twice, or too early."""
        found = await self.store.read_rows(self.context, *self._get_times(first, end))
        assert found.is_ordered()
        values = found.values["price" if self.spec.name == FIRST else "rate"]
        return dict(zip(self._get_numbers(found), values.data.tolist(), strict=True))

    def _get_times(self, first: int, end: int) -> tuple[int, int]:
        assert all(time % self.per_time == 0 for time in (first, end) if time not in (MOST_NEGATIVE, LATEST))
        return first // self.per_time, end if end == LATEST else end // self.per_time

    def _get_numbers(self, rows: ColumnArrays) -> list[int]:
        numbers = rows.time * self.per_time
        found: list[int] = (numbers if rows.sequence is None else numbers + rows.sequence).tolist()
        return found

    async def seal(self) -> None:
        async for _ in self.store.seal_rows(self.context):
            pass

    async def delete(self, first: int = MOST_NEGATIVE, end: int = LATEST) -> int:
        return await self.store.delete_rows(self.context, *self._get_times(first, end))

    async def check(self, rows: Mapping[int, float]) -> None:
        """Check that these are the rows, by every kind of read, and that nothing is damaged."""
        assert await self.read() == rows
        numbers = sorted(rows)
        times = [number // self.per_time for number in numbers]
        coverage = await self.store.cover(self.context, LATEST)
        assert coverage == (Coverage(times[0], times[-1], len(times)) if times else Coverage(None, None, 0))
        last = await self.store.read_last(self.context, 3, LATEST)
        assert self._get_numbers(last) == numbers[-3:]
        async for _, problem in self.store.verify_rows(self.context):
            assert problem is None


async def each_step(kills: bool = False) -> AsyncIterator[Steps]:
    """Yield steps that stop, or kill, a store at its first step, then at a later one, until it has no more.

    ``BACKTEST_STEPS=1`` takes every one of them, which takes long.
    """
    last = 0
    while True:
        steps = Steps(last, kills=kills)
        yield steps
        if not steps.reached.is_set():
            assert last, "nothing was stopped"
            return
        last += STRIDE


async def meet(steps: Steps, work: Coroutine[Any, Any, Any], others: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Begin work, let others do theirs when it has stopped, and return what it returns; ``None`` if it ends before."""
    task = asyncio.ensure_future(work)
    reached = asyncio.ensure_future(steps.reached.wait())
    await asyncio.wait({task, reached}, return_when=asyncio.FIRST_COMPLETED)
    reached.cancel()
    if steps.reached.is_set():
        other = asyncio.ensure_future(others())
        if steps.is_committing:  # they may need what it has locked
            await asyncio.wait({other}, timeout=0.1)
        else:
            await asyncio.wait({other})
        steps.go.set()
        await other
    try:
        return await task
    finally:
        steps.is_over = True


def number(times: Iterable[int], of: float) -> dict[int, float]:
    """Return rows whose values say who has written them."""
    return {time: of + time for time in times}
