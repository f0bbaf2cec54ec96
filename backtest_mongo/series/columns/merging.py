"""Merging: rows of the tail, and large frames, become blocks; and rows of blocks are deleted.

Every change of blocks is prepared outside of any transaction: it begins with the edition of the series, then reads what
it needs, merges and compresses. The transaction replaces the edition, at most one block of a part of the time, and the
groups that went into it, which are compared by their number; if any of these has changed meanwhile, nothing happens,
and the change is prepared again.

Where the first row of a key wins, a block wins over the tail. Rows from outside could thus take the place of a row that
was stored just before: so they are announced. Whoever stores a row in the tail looks at the announcement afterwards,
and replaces the edition if there is one; and what is stored before the announcement is read by who made it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from bson import ObjectId

from backtest_mongo.connection.hub import Hub
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.store_protocols import Counts
from backtest_mongo.errors import StoreError
from backtest_mongo.mongo.committer import get_committer
from backtest_mongo.series.columns.blocks import LATEST, Partition, SeriesBlocks
from backtest_mongo.series.columns.heads import RangeNote, SeriesHeads
from backtest_mongo.series.columns.tail import SeriesTail
from backtest_mongo.types import Document

if TYPE_CHECKING:
    from backtest_mongo.columns.arrays import ColumnArrays

__all__ = ["SEALED_GROUPS", "Merger"]

#: With so many groups a tail is sealed, whatever their rows: reading them takes longer than reading a block.
SEALED_GROUPS: Final = 1_024
#: Groups that are sealed together at most.
_MOST_GROUPS: Final = 2 * SEALED_GROUPS
#: Blocks that are deleted together.
_DELETED_BLOCKS: Final = 64
_SEALING: Final = "sealing rows"
_WRITING: Final = "writing rows"
_DELETING: Final = "deleting rows"


class _StaleError(Exception):
    """What a change was prepared from has changed."""


@dataclass(slots=True)
class _Change:
    """What a transaction does to a series.

    Attributes:
        edition: that of the series when the preparation began.
        removed: blocks that go.
        made: blocks that come.
        groups: of the tail, which go.
        rests: what is left of some of these, in the places of which it comes.
        note: the rows that it stores or deletes, unless it only moves some.
    """

    edition: ObjectId
    removed: Sequence[Document] = ()
    made: Sequence[Document] = ()
    groups: Sequence[Document] = ()
    rests: Sequence[tuple[Document, ColumnArrays]] = ()
    note: RangeNote | None = None
    following: ObjectId = field(default_factory=ObjectId)


class Merger:
    """Changes the blocks of one slot's series."""

    def __init__(self, hub: Hub, spec: SlotSpec, heads: SeriesHeads, tail: SeriesTail, blocks: SeriesBlocks) -> None:
        self._hub = hub
        self._spec = spec
        self._heads = heads
        self._tail = tail
        self._blocks = blocks
        #: Those who merge rows of one series take turns.
        self._turns: dict[Key, asyncio.Lock] = {}

    def _turn(self, context: Key) -> asyncio.Lock:
        return self._turns.setdefault(context, asyncio.Lock())

    async def _commit(self, doing: str, context: Key, change: _Change) -> bool:
        """Carry out a change, and return whether it was still possible."""
        try:
            await get_committer(self._hub).run_plain(doing, self._spec, partial(self._apply, context, change))
        except _StaleError:
            return False
        return True

    async def _apply(self, context: Key, change: _Change, session: Any) -> None:
        if not await self._heads.advance(context, change.edition, change.following, change.note, session):
            if await self._heads.has_edition(context, change.following, session):
                return  # it was committed, and the answer was lost
            raise _StaleError
        if not await self._tail.replace(context, change.groups, change.rests, session):
            raise _StaleError
        if not await self._blocks.replace(change.removed, change.made, session):
            raise _StaleError

    # Sealing

    async def seal(self, context: Key, *, is_all: bool) -> AsyncGenerator[Counts, None]:
        """Merge groups of the tail into blocks; yield how many blocks were made, and of how many rows, each time.

        Args:
            context: of the series.
            is_all: whether to go on until the tail is empty, and not only while it is long.
        """
        async with self._turn(context):
            while True:
                done = await self._seal_some(context, is_all=is_all)
                if done is None:
                    return
                if done[1]:
                    yield done

    async def _seal_some(self, context: Key, *, is_all: bool) -> Counts | None:
        from backtest_mongo.columns.merging import BLOCK_ROWS, merge_rows

        head = await self._heads.look(context)
        if head.is_moving:
            return None
        listed = await self._tail.list_headers(context, _MOST_GROUPS)
        rows = sum(group["rows"] for group in listed)
        if not listed or not (is_all or rows >= BLOCK_ROWS or len(listed) >= SEALED_GROUPS):
            return None
        chosen = _choose(listed, BLOCK_ROWS)
        partition = await self._blocks.find_partition(context, min(group["first"] for group in chosen))
        chosen = [group for group in chosen if group["first"] < partition.end]
        last = max(group["last"] for group in chosen)
        if self._spec.immutable and last > head.bound:
            await self._heads.raise_bound(context, last)
            await self._heads.wait_for_writers()
        groups = await self._tail.fetch(context, [group["_id"] for group in chosen])
        if len(groups) < len(chosen):
            return 0, 0  # another process has sealed some: look again
        parts = [self._tail.decode(context, group) for group in groups]
        merge = partial(merge_rows, keeps_first=self._spec.immutable)
        inside = merge([part.between(partition.start, partition.end) for part in parts])
        rests = [
            (group, _leave_out(part, partition.start, partition.end))
            for group, part in zip(groups, parts, strict=True)
            if int(part.time[-1]) >= partition.end or int(part.time[0]) < partition.start
        ]
        removed, made = await self._make_blocks(context, partition, inside)
        # Of rows whose writer was killed before it confirmed them nobody has heard.
        unchecked = [part for group, part in zip(groups, parts, strict=True) if group.get("unchecked")]
        change = _Change(head.edition, removed, made, groups, rests, _note("written", unchecked))
        if not await self._commit(_SEALING, context, change):
            return 0, 0
        return len(made), len(inside)

    async def _make_blocks(
        self,
        context: Key,
        partition: Partition,
        rows: ColumnArrays,
        ahead: Callable[[int], Awaitable[Document]] | None = None,
    ) -> tuple[list[Document], list[Document]]:
        """Return the blocks that go and those that come if rows are merged into a part of the time.

        Args:
            context: of the series.
            partition: the part.
            rows: all within it, each of which wins over the block's or not, as the slot says.
            ahead: returns the block of the rows with this start, if that is all there is to be made.
        """
        from backtest_mongo.columns.merging import BLOCK_ROWS, merge_rows, split_rows

        start, old = partition.start, []
        if partition.block is not None:
            count, last = partition.block["rows"], partition.block["last"]
            fits = count + len(rows) <= BLOCK_ROWS or count < BLOCK_ROWS // 2
            if int(rows.time[0]) > last and not fits:
                start = int(rows.time[0])
            else:
                block = await self._blocks.fetch(context, partition.block)
                if block is None:
                    return [partition.block], []  # which is gone, so the change is stale
                old = [block]
        if ahead is not None and not old:
            return [], [await ahead(start)]

        def make() -> list[Document]:
            parts = [self._blocks.decode(context, block) for block in old]
            merged = merge_rows([*parts, rows], keeps_first=self._spec.immutable)
            most = BLOCK_ROWS
            if partition.end < LATEST:  # of equal length, as none will get more rows at its end
                most = -(-len(merged) // -(-len(merged) // BLOCK_ROWS))
            made = []
            for at, part in enumerate(split_rows(merged, most)):
                made.append(self._blocks.make(context, int(part.time[0]) if at else start, part))
            return made

        return old, await asyncio.to_thread(make)

    # Large frames

    async def write(self, context: Key, rows: ColumnArrays) -> int:
        """Merge rows from outside into blocks, and return how many were new.

        Where the last row of a key wins, all are.
        """
        async with self._turn(context):
            if not self._spec.immutable:
                return await self._write_announced(context, rows, asyncio.sleep(0))
            await self._heads.open(context)
            announce = partial(self._heads.announce, context, int(rows.time[-1]))
            token = await self._heads.slot.write(_WRITING, lambda _: announce())
            waiting = asyncio.ensure_future(self._heads.wait_for_writers())
            try:
                return await self._write_announced(context, rows, waiting)
            finally:
                waiting.cancel()
                await self._heads.slot.write(_WRITING, lambda _: self._heads.withdraw_own(context, token))

    async def _write_announced(self, context: Key, rows: ColumnArrays, waiting: Awaitable[object]) -> int:
        from backtest_mongo.columns.merging import split_rows

        parts = split_rows(rows)
        new, part, following = 0, next(parts, None), next(parts, None)
        encoding = _Encoding(self._blocks, context, part)
        await waiting
        while part is not None:
            ahead = _Encoding(self._blocks, context, following)
            while part is not None:
                added, part = await self._write_part(context, part, encoding)
                new += added
                encoding = _Encoding(self._blocks, context, None)
            encoding, part, following = ahead, following, next(parts, None)
        return new

    async def _write_part(
        self, context: Key, rows: ColumnArrays, encoding: _Encoding
    ) -> tuple[int, ColumnArrays | None]:
        """Merge the first of some rows into one part of the time; return how many were new, and the other rows."""
        from backtest_mongo.columns.merging import merge_rows

        while True:
            head = await self._heads.look(context)
            if head.is_moving:
                raise StoreError(
                    "writing rows failed: the strategy of the series is being renamed",
                    slot=self._spec.name,
                    hint="wait until it is done; if rename_strategy() was interrupted, call it again",
                )
            partition = await self._blocks.find_partition(context, int(rows.time[0]))
            inside = rows.between(partition.start, partition.end)
            first, end = int(inside.time[0]), int(inside.time[-1]) + 1
            groups = await self._tail.find(context, first, end)
            merged, rests = inside, []
            if groups:
                parts = [self._tail.decode(context, group) for group in groups]
                rests = [(group, _leave_out(part, first, end)) for group, part in zip(groups, parts, strict=True)]
                stored = [part.between(first, end) for part in parts]
                merged = merge_rows([*stored, inside], keeps_first=self._spec.immutable)
            new = len(inside)
            if self._spec.immutable:
                new = await self._count_new(context, partition, inside, groups)
            is_whole = not groups and len(inside) == len(rows)
            removed, made = await self._make_blocks(context, partition, merged, encoding.take if is_whole else None)
            note = RangeNote("written", first, end, new) if new else None
            change = _Change(head.edition, removed, made, groups, rests, note)
            if await self._commit(_WRITING, context, change):
                return new, rows.take(slice(len(inside), None)) if len(inside) < len(rows) else None

    async def _count_new(
        self, context: Key, partition: Partition, rows: ColumnArrays, groups: Sequence[Document]
    ) -> int:
        import numpy as np

        present = np.zeros(len(rows), bool)
        for group in groups:
            present |= self._tail.decode(context, group, ()).contains(rows)
        if partition.block is not None and int(rows.time[0]) <= partition.block["last"]:
            block = await self._blocks.fetch(context, partition.block)
            if block is not None:
                present |= self._blocks.decode(context, block, ()).contains(rows)
        return len(rows) - int(present.sum())

    # Deleting

    async def delete(self, context: Key, first: int, end: int) -> int:
        """Delete the rows of a half-open range of times, and return how many were deleted.

        The tail comes first: rows move from there to blocks, and never back.
        """
        async with self._turn(context):
            deleted = 0
            while (some := await self._delete_groups(context, first, end)) is not None:
                deleted += some
            position: int | None = first
            while position is not None:
                some, position = await self._delete_blocks(context, position, end)
                deleted += some
            return deleted

    async def _delete_groups(self, context: Key, first: int, end: int) -> int | None:
        head = await self._heads.look(context)
        groups = await self._tail.find_inside(context, first, end, _MOST_GROUPS)
        if not groups:  # those that are left have rows on both sides, if any
            groups = await self._tail.find(context, first, end)
        parts = [self._tail.decode(context, group) for group in groups]
        rests = [(group, _leave_out(part, first, end)) for group, part in zip(groups, parts, strict=True)]
        deleted = sum(map(len, parts)) - sum(len(rest) for _, rest in rests)
        if not deleted:
            return None
        note = _note("deleted", [part.between(first, end) for part in parts])
        if await self._commit(_DELETING, context, _Change(head.edition, groups=groups, rests=rests, note=note)):
            return deleted
        return 0

    async def _delete_blocks(self, context: Key, first: int, end: int) -> tuple[int, int | None]:
        """Delete the rows of some blocks; return how many, and the time from which on there may be more."""
        head = await self._heads.look(context)
        partitions = await self._blocks.list_partitions(context, first, end, _DELETED_BLOCKS)
        if not partitions:
            return 0, None
        whole = [part for part in partitions if _covers(part, first, end)]
        if whole:
            count, bounds = sum(part.count_rows() for part in whole), [part.find_bounds() for part in whole]
            note = RangeNote("deleted", bounds[0][0], bounds[-1][1] + 1, count)
            blocks = [part.block for part in whole if part.block]
            if await self._commit(_DELETING, context, _Change(head.edition, blocks, note=note)):
                return count, first
            return 0, first
        for part in partitions:
            block = None if part.block is None else await self._blocks.fetch(context, part.block)
            if block is None:
                return 0, first
            rows = await asyncio.to_thread(self._blocks.decode, context, block)
            rest = _leave_out(rows, first, end)
            if len(rest) == len(rows):
                continue
            made = [await asyncio.to_thread(self._blocks.make, context, part.start, rest)] if len(rest) else []
            note = _note("deleted", [rows.between(first, end)])
            if await self._commit(_DELETING, context, _Change(head.edition, [block], made, note=note)):
                return len(rows) - len(rest), first
            return 0, first
        return 0, partitions[-1].end if len(partitions) == _DELETED_BLOCKS else None


class _Encoding:
    """Rows that are compressed in a thread before their turn comes."""

    def __init__(self, blocks: SeriesBlocks, context: Key, rows: ColumnArrays | None) -> None:
        self._blocks = blocks
        self._context = context
        self._rows = rows
        self._task: asyncio.Task[Document] | None = None
        self._start = 0
        if rows is not None:
            self._start = int(rows.time[0])
            self._task = asyncio.ensure_future(asyncio.to_thread(blocks.make, context, self._start, rows))
            self._task.add_done_callback(_ignore)

    async def take(self, start: int) -> Document:
        """Return the block of the rows with this start."""
        if self._task is None or self._rows is None:
            raise AssertionError("there are no rows")
        if start == self._start:
            return await asyncio.shield(self._task)
        return await asyncio.to_thread(self._blocks.make, self._context, start, self._rows)


def _ignore(task: asyncio.Task[Document]) -> None:
    if not task.cancelled():
        task.exception()  # who takes it sees it


def _choose(listed: Sequence[Document], most: int) -> list[Document]:
    """Return the first groups, of so many rows or a few more."""
    chosen: list[Document] = []
    rows = 0
    for group in listed:
        chosen.append(group)
        rows += group["rows"]
        if rows >= most:
            break
    return chosen


def _leave_out(rows: ColumnArrays, first: int, end: int) -> ColumnArrays:
    """Return the rows outside of a half-open range of times."""
    return rows.take((rows.time < first) | (rows.time >= end))


def _note(kind: Literal["written", "deleted"], parts: Sequence[ColumnArrays]) -> RangeNote | None:
    """Return the note on all rows of some parts, ``None`` if there is none."""
    filled = [part for part in parts if len(part)]
    if not filled:
        return None
    start = min(int(part.time[0]) for part in filled)
    return RangeNote(kind, start, max(int(part.time[-1]) for part in filled) + 1, sum(map(len, filled)))


def _covers(partition: Partition, first: int, end: int) -> bool:
    """Return whether all rows of a block are in a half-open range of times."""
    bounds = partition.find_bounds()
    return first <= bounds[0] and bounds[1] < end
