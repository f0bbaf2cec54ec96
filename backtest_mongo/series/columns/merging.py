"""Merging: rows of the tail, and large frames, become blocks; and rows of blocks are deleted.

Every change of blocks is prepared outside of any transaction: it begins with the edition of the series, then reads what
it needs, merges and compresses. The transaction replaces the edition, at most one block of a part of the time, and the
groups that went into it, which are compared by their number; if any of these has changed meanwhile, nothing happens,
and the change is prepared again.

Where the first row of a key wins, a block wins over the tail. Rows from outside could thus take the place of a row that
was stored just before: so they are announced. Whoever stores a row in the tail looks at the announcement afterwards,
and replaces the edition if there is one, and so does a reader of such a row; rows that were stored before the
announcement are read by the process that made it. If others keep replacing the edition, rows from outside are appended
to the tail, as theirs are.

Where the last row of a key wins, the tail may have rows that win over those of blocks. Deleting begins with the blocks
there, or an older row would come back in between, and otherwise with the tail, for the same reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from bson import ObjectId

from backtest_mongo.connection.hub import Hub
from backtest_mongo.core.columns import MOST_NEGATIVE
from backtest_mongo.core.log import log
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.store_protocols import Counts
from backtest_mongo.errors import StoreError, StoreUnavailableError
from backtest_mongo.mongo.committer import get_committer
from backtest_mongo.series.columns.blocks import BEGINNING, END, Partition, Position, SeriesBlocks
from backtest_mongo.series.columns.heads import Basis, Head, RangeNote, SeriesHeads
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
#: How often rows from outside are merged in vain before they are appended, and in groups of how many rows.
_MERGES: Final = 5
_APPENDED_ROWS: Final = 2_048
_SEALING: Final = "sealing rows"
_WRITING: Final = "writing rows"
_DELETING: Final = "deleting rows"


class _StaleError(Exception):
    """What a change was prepared from has changed."""


@dataclass(slots=True)
class _Change:
    """What a transaction does to a series.

    Attributes:
        basis: what it relies on.
        removed: blocks that go.
        made: blocks that come.
        shortened: a block that stays, and where it ends from now on.
        groups: of the tail, which go.
        rests: what is left of some of these, in the places of which it comes.
        drops_strays: whether blocks go that have lost their place.
        note: the rows that it stores or deletes, unless it only moves some.
    """

    basis: Basis
    removed: Sequence[Document] = ()
    made: Sequence[Document] = ()
    shortened: tuple[Document, Position] | None = None
    groups: Sequence[Document] = ()
    rests: Sequence[tuple[Document, ColumnArrays]] = ()
    drops_strays: bool = False
    note: RangeNote | None = None
    following: ObjectId = field(default_factory=ObjectId)


#: Appends rows of a series, and returns how many were new.
Append: TypeAlias = Callable[[Key, "ColumnArrays"], Awaitable[int]]


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
        has_blocks, note = bool(change.made), change.note
        taken = [group["_id"] for group in change.groups]
        if not await self._heads.advance(
            context, change.basis, change.following, session, has_blocks=has_blocks, note=note, taken=taken
        ):
            if await self._heads.has_edition(context, change.following, session):
                return  # it was committed, and the answer was lost
            raise _StaleError
        if not await self._tail.replace(context, change.groups, change.rests, session):
            raise _StaleError
        if not await self._blocks.replace(context, change.removed, change.made, change.shortened, session):
            raise _StaleError
        if change.drops_strays:
            await self._blocks.drop_strays(context, session)

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
        from backtest_mongo.columns.merging import BLOCK_BYTES, BLOCK_ROWS, merge_rows

        head = await self._heads.look(context)
        if head.is_moving:
            return None
        listed = await self._tail.list_headers(context, _MOST_GROUPS)
        if not listed or not (is_all or _is_long(listed, BLOCK_ROWS, BLOCK_BYTES)):
            return None
        chosen = _choose(listed, BLOCK_ROWS, BLOCK_BYTES)
        partition = await self._find_partition(context, (min(group["first"] for group in chosen),))
        chosen = [group for group in chosen if (group["first"],) < partition.end]
        last = max(group["last"] for group in chosen)
        if self._spec.immutable:
            await self._heads.settle(context, head, last)
        groups = await self._tail.fetch(context, [group["_id"] for group in chosen])
        if len(groups) < len(chosen):
            return 0, 0  # another process has sealed some: look again
        parts = [self._tail.decode(context, group) for group in groups]
        first = min(part.get_position(0) for part in parts)
        if first >= partition.end:  # of the time of several blocks, and none of them belongs in the first one
            partition = await self._find_partition(context, first)
        merge = partial(merge_rows, keeps_first=self._spec.immutable)
        inside = merge([part.within(partition.start, partition.end) for part in parts])
        rests = [
            (group, rest)
            for group, part in zip(groups, parts, strict=True)
            if len(rest := part.without(partition.start, partition.end))
        ]
        removed, made, shortened = await self._make_blocks(context, partition, inside)
        basis = Basis(head.edition, last if self._spec.immutable else None)
        # Of rows whose writer was killed before it confirmed them nobody has heard.
        unchecked = [part for group, part in zip(groups, parts, strict=True) if group.get("unchecked")]
        change = _Change(basis, removed, made, shortened, groups, rests, note=_note("written", unchecked))
        if not await self._commit(_SEALING, context, change):
            return 0, 0
        return len(made), len(inside)

    async def _find_partition(self, context: Key, position: Position) -> Partition:
        return await self._blocks.find_partition(context, position, partial(self._heads.has_blocks, context))

    async def _make_blocks(
        self,
        context: Key,
        partition: Partition,
        rows: ColumnArrays,
        ahead: Callable[[Position], Awaitable[Document]] | None = None,
    ) -> tuple[list[Document], list[Document], tuple[Document, Position] | None]:
        """Return what goes, comes and is shortened if rows are merged into a part of the time, as of a change.

        Args:
            context: of the series.
            partition: the part.
            rows: all within it, each of which wins over the block's or not, as the slot says.
            ahead: returns the block of the rows with this start, if that is all there is to be made.
        """
        from backtest_mongo.columns.merging import count_block_rows, merge_rows

        start, old, shortened = partition.start, [], None
        head = partition.head
        if head is not None:
            most = count_block_rows(rows)
            fits = head.rows + len(rows) <= most or head.rows < most // 2
            if head.rows and int(rows.time[0]) > head.last and not fits:
                start = (int(rows.time[0]),)
                shortened = (partition.blocks[0], start)
            elif head.rows:
                block = await self._blocks.fetch(context, partition)
                if block is None:
                    return [partition.blocks[0]], [], None  # which is gone, so the change is stale
                old = [block]
        removed = [] if shortened is not None else list(partition.blocks)
        if ahead is not None and not old:
            made = [await ahead(start)]
            self._blocks.link(made, partition.end)
            return removed, made, shortened

        def make() -> list[Document]:
            parts = [*(self._blocks.decode(context, block) for block in old), rows]
            merged = merge_rows(parts, keeps_first=self._spec.immutable)
            return self._cut(context, start, merged, partition.end)

        return removed, await asyncio.to_thread(make), shortened

    def _cut(self, context: Key, start: Position, rows: ColumnArrays, end: Position) -> list[Document]:
        """Return the blocks of all rows of a part of the time."""
        from backtest_mongo.columns.merging import split_rows

        made: list[Document] = []
        last: int | None = None
        for part in split_rows(rows, is_even=end < END):  # as none but the very last will get more rows at its end
            if last is not None:
                start = part.get_position(0) if int(part.time[0]) == last else (int(part.time[0]),)
            made.append(self._blocks.make(context, start, part))
            last = int(part.time[-1])
        self._blocks.link(made, end)
        return made

    # Large frames

    async def write(self, context: Key, rows: ColumnArrays, append: Append) -> int:
        """Merge rows from outside into blocks, and return how many were new.

        Where the last row of a key wins, all are.

        Args:
            context: of the series.
            rows: in order, each key once.
            append: for rows that others keep from being merged.
        """
        async with self._turn(context):
            if not self._spec.immutable:
                return await self._write_parts(context, rows, None, append)
            announcement = _Announcement(self._heads, context, int(rows.time[-1]))
            try:
                return await self._write_parts(context, rows, announcement, append)
            finally:
                await announcement.end()

    async def _write_parts(
        self, context: Key, rows: ColumnArrays, announcement: _Announcement | None, append: Append
    ) -> int:
        from backtest_mongo.columns.merging import split_rows

        parts = split_rows(rows)
        part = await asyncio.to_thread(next, parts, None)  # which measures all of them
        new, following = 0, next(parts, None)
        encoding: _Encoding | None = _Encoding(self._blocks, context, part) if part is not None else None
        while part is not None:
            ahead = None if following is None else _Encoding(self._blocks, context, following)
            while part is not None:
                added, part = await self._write_part(context, part, encoding, announcement, append)
                new += added
                encoding = None  # what is left has other rows
            encoding, part, following = ahead, following, next(parts, None)
        return new

    async def _write_part(
        self,
        context: Key,
        rows: ColumnArrays,
        encoding: _Encoding | None,
        announcement: _Announcement | None,
        append: Append,
    ) -> tuple[int, ColumnArrays | None]:
        """Merge the first of some rows into one part of the time; return how many were new, and the other rows."""
        from backtest_mongo.columns.merging import merge_rows
        from backtest_mongo.columns.sizes import split_groups

        for _ in range(_MERGES):
            head = await self._heads.look(context)
            if head.is_moving:
                raise StoreError(
                    "writing rows failed: the strategy of the series is being renamed",
                    slot=self._spec.name,
                    hint="wait until it is done; if rename_strategy() was interrupted, call it again",
                )
            if announcement is not None and not announcement.is_made(head):
                await announcement.make()
                head = await self._heads.look(context)
            partition = await self._find_partition(context, rows.get_position(0))
            inside = rows.within(partition.start, partition.end)
            first, end = int(inside.time[0]), int(inside.time[-1]) + 1
            groups = await self._tail.find(context, first, end)
            merged, rests = inside, []
            if groups:
                low, high = max((first,), partition.start), min((end,), partition.end)
                parts = [self._tail.decode(context, group) for group in groups]
                rests = [(group, part.without(low, high)) for group, part in zip(groups, parts, strict=True)]
                stored = [part.within(low, high) for part in parts]
                merged = merge_rows([*stored, inside], keeps_first=self._spec.immutable)
            new = len(inside)
            if self._spec.immutable:
                new = await self._count_new(context, partition, inside, groups)
            is_whole = not groups and len(inside) == len(rows)
            ahead = encoding.take if encoding is not None and is_whole else None
            removed, made, shortened = await self._make_blocks(context, partition, merged, ahead)
            basis = Basis(head.edition) if announcement is None else announcement.make_basis(head)
            note = RangeNote("written", first, end, new) if new else None
            if await self._commit(
                _WRITING, context, _Change(basis, removed, made, shortened, groups, rests, note=note)
            ):
                return new, rows.take(slice(len(inside), None)) if len(inside) < len(rows) else None
        some = next(split_groups(rows, _APPENDED_ROWS, has_keys=self._spec.immutable))
        return await append(context, some), rows.take(slice(len(some), None)) if len(some) < len(rows) else None

    async def _count_new(
        self, context: Key, partition: Partition, rows: ColumnArrays, groups: Sequence[Document]
    ) -> int:
        import numpy as np

        present = np.zeros(len(rows), bool)
        for group in groups:
            present |= self._tail.decode(context, group, ()).contains(rows)
        head = partition.head
        if head is not None and head.rows and int(rows.time[0]) <= head.last:
            block = await self._blocks.fetch(context, partition)
            if block is not None:
                present |= self._blocks.decode(context, block, ()).contains(rows)
        return len(rows) - int(present.sum())

    # Deleting

    async def delete(self, context: Key, first: int, end: int) -> int:
        """Delete the rows of a half-open range of times, and return how many were deleted.

        Rows move from the tail to blocks meanwhile, and never back, so blocks come last in any case.
        """
        async with self._turn(context):
            deleted = 0
            if not self._spec.immutable:
                deleted += await self._delete_from_blocks(context, first, end)
            while (some := await self._delete_groups(context, first, end)) is not None:
                deleted += some
            return deleted + await self._delete_from_blocks(context, first, end)

    async def drop_before(self, context: Key, cut: int) -> int:
        """Delete the blocks, and then the groups, all of whose rows are before a time; return how many rows.

        Where the last row of a key wins, a group stays as long as a block may have rows that it has replaced.
        """
        async with self._turn(context):
            deleted, position = 0, BEGINNING
            while True:
                head = await self._heads.look(context)
                is_expected = await self._heads.has_blocks(context)
                parts = await self._blocks.list_partitions(
                    context, position, cut, _DELETED_BLOCKS, is_expected=is_expected
                )
                whole = [*takewhile(lambda part: _covers(part, MOST_NEGATIVE, cut), parts)]
                if any(part.rows or part.head is None for part in whole):
                    deleted += await self._drop_blocks(context, head, whole) or 0
                elif whole and whole[-1].end < (cut,) and len(whole) == len(parts):
                    position = whole[-1].end  # all of them are empty
                else:
                    break
            end = cut
            if len(parts) > len(whole) and not self._spec.immutable:
                left = parts[len(whole)]
                end = min(cut, left.times[0] if left.head is None else left.head.first)
            while groups := await self._tail.find_before(context, end, _MOST_GROUPS):
                head = await self._heads.look(context)
                rows = sum(map(self._tail.count_rows, groups))
                first, last = min(group["first"] for group in groups), max(group["last"] for group in groups)
                note = RangeNote("deleted", first, last + 1, rows)
                if await self._commit(_DELETING, context, _Change(Basis(head.edition), groups=groups, note=note)):
                    deleted += rows
            return deleted

    async def _drop_blocks(self, context: Key, head: Head, whole: Sequence[Partition]) -> int | None:
        """Delete the rows of blocks next to each other; return how many, ``None`` if the blocks have changed."""
        made = [self._blocks.make_empty(context, whole[0].start, whole[-1].end)]
        removed = [block for part in whole for block in part.blocks]
        strays = any(part.head is None for part in whole)
        change = _Change(Basis(head.edition), removed, made, drops_strays=strays, note=_note_parts(whole))
        return sum(part.rows for part in whole) if await self._commit(_DELETING, context, change) else None

    async def _delete_groups(self, context: Key, first: int, end: int) -> int | None:
        head = await self._heads.look(context)
        groups = await self._tail.find_inside(context, first, end, _MOST_GROUPS)
        rests: list[tuple[Document, ColumnArrays]] = []
        deleted = sum(self._tail.count_rows(group) for group in groups)
        if not groups:  # those that are left have rows on both sides, if any
            for group in await self._tail.find(context, first, end):
                rows = self._tail.decode(context, group)
                rest = rows.without((first,), (end,))
                if len(rest) < len(rows):
                    groups.append(group)
                    rests.append((group, rest))
                    deleted += len(rows) - len(rest)
        if not groups:
            return None
        bounds = [(group["first"], group["last"]) for group in groups]
        start, last = max(first, min(low for low, _ in bounds)), min(end - 1, max(high for _, high in bounds))
        note = RangeNote("deleted", start, last + 1, deleted) if deleted else None
        if await self._commit(_DELETING, context, _Change(Basis(head.edition), groups=groups, rests=rests, note=note)):
            return deleted
        return 0

    async def _delete_from_blocks(self, context: Key, first: int, end: int) -> int:
        deleted = 0
        position: Position = (first,)
        while position < (end,):
            some, position = await self._delete_blocks(context, first, end, position)
            deleted += some
        return deleted

    async def _delete_blocks(self, context: Key, first: int, end: int, position: Position) -> tuple[int, Position]:
        """Delete the rows of some blocks; return how many, and the position from which on there may be more."""
        head = await self._heads.look(context)
        is_expected = await self._heads.has_blocks(context)
        parts = await self._blocks.list_partitions(context, position, end, _DELETED_BLOCKS, is_expected=is_expected)
        if not parts:
            return 0, (end,)
        whole = _find_whole(parts, first, end)
        if whole:
            return await self._drop_blocks(context, head, whole) or 0, position
        for part in parts:
            if part.head is None:
                raise self._blocks.make_part_error(context, part)
            if not part.rows or part.head.last < first or part.head.first >= end:
                continue
            block = await self._blocks.fetch(context, part)
            if block is None:
                return 0, position
            rows = await asyncio.to_thread(self._blocks.decode, context, block)
            rest = rows.without((first,), (end,))
            if len(rest) == len(rows):
                continue
            made = await asyncio.to_thread(self._cut, context, part.start, rest, part.end)
            change = _Change(Basis(head.edition), [block], made, note=_note("deleted", [rows.between(first, end)]))
            if await self._commit(_DELETING, context, change):
                return len(rows) - len(rest), position
            return 0, position
        return 0, parts[-1].end

    async def forget(self, context: Key) -> None:
        """Delete the document and the empty blocks of a series, unless it has rows."""
        async with self._turn(context):
            head = self._heads.get(context) or await self._heads.look(context)
            await get_committer(self._hub).run_plain(_DELETING, self._spec, partial(self._forget, context, head))

    async def _forget(self, context: Key, head: Head, session: Any) -> None:
        if await self._tail.has_any(context, session):
            return
        await self._blocks.drop_empty(context, session)
        if not await self._blocks.has_any(context, session):
            await self._heads.forget(context, session)


class _Announcement:
    """That rows from outside are about to be merged into blocks."""

    def __init__(self, heads: SeriesHeads, context: Key, last: int) -> None:
        self._heads = heads
        self._context = context
        self._last = last
        self._token: ObjectId | None = None

    def is_made(self, head: Head) -> bool:
        """Return whether the document of the series has it: others may withdraw it."""
        return self._token is not None and self._token in head.announced and head.bound >= self._last

    async def make(self) -> None:
        """Announce the rows, and wait until everybody knows."""
        self._token = ObjectId()
        await self._heads.announce(self._context, self._last, self._token)
        await self._heads.wait_for_writers()

    def make_basis(self, head: Head) -> Basis:
        return Basis(head.edition, self._last, self._token)

    async def end(self) -> None:
        """Withdraw it. If that fails, others do so some time later."""
        if self._token is not None:
            try:
                await self._heads.withdraw(self._context, [self._token])
            except (StoreError, StoreUnavailableError) as error:
                log().debug("an announcement was left", slot=self._heads.slot.spec.name, error=type(error).__name__)


class _Encoding:
    """Rows that are compressed in a thread before their turn comes."""

    def __init__(self, blocks: SeriesBlocks, context: Key, rows: ColumnArrays) -> None:
        self._blocks = blocks
        self._context = context
        self._rows = rows
        self._start: Position = (int(rows.time[0]),)
        self._task = asyncio.ensure_future(asyncio.to_thread(blocks.make, context, self._start, rows))
        self._task.add_done_callback(_ignore)

    async def take(self, start: Position) -> Document:
        """Return the block of the rows with this start."""
        if start == self._start:
            return await asyncio.shield(self._task)
        return await asyncio.to_thread(self._blocks.make, self._context, start, self._rows)


def _note_parts(parts: Sequence[Partition]) -> RangeNote | None:
    """Return what is noted if the rows of whole blocks are deleted."""
    heads = [part.head for part in parts if part.head is not None and part.head.rows]
    if not heads:
        return None
    return RangeNote("deleted", heads[0].first, heads[-1].last + 1, sum(head.rows for head in heads))


def _ignore(task: asyncio.Task[Document]) -> None:
    if not task.cancelled():
        task.exception()  # who takes it sees it


def _is_long(listed: Sequence[Document], rows: int, size: int) -> bool:
    """Return whether groups have the rows or the bytes of a block, or are too many."""
    counts = (sum(group[name] for group in listed) for name in ("rows", "bytes"))
    return len(listed) >= SEALED_GROUPS or any(count >= most for count, most in zip(counts, (rows, size), strict=True))


def _choose(listed: Sequence[Document], most_rows: int, most_bytes: int) -> list[Document]:
    """Return the first groups, of so many rows or bytes, or a few more."""
    chosen: list[Document] = []
    rows = size = 0
    for group in listed:
        chosen.append(group)
        rows, size = rows + group["rows"], size + group["bytes"]
        if rows >= most_rows or size >= most_bytes:
            break
    return chosen


def _note(kind: Literal["written", "deleted"], parts: Sequence[ColumnArrays]) -> RangeNote | None:
    """Return the note on all rows of some parts, ``None`` if there is none."""
    filled = [part for part in parts if len(part)]
    if not filled:
        return None
    start = min(int(part.time[0]) for part in filled)
    return RangeNote(kind, start, max(int(part.time[-1]) for part in filled) + 1, sum(map(len, filled)))


def _find_whole(parts: Sequence[Partition], first: int, end: int) -> list[Partition]:
    """Return parts next to each other all of whose rows are in a half-open range of times, if some have rows."""
    found: list[Partition] = []
    for part in parts:
        if _covers(part, first, end):
            found.append(part)
        elif any(part.rows or part.head is None for part in found):
            return found
        else:
            found = []
    return found if any(part.rows or part.head is None for part in found) else []


def _covers(part: Partition, first: int, end: int) -> bool:
    """Return whether all rows of a block are in a half-open range of times, as far as is known."""
    if part.head is None:
        return (first,) <= part.start and part.end <= (end,)
    return not part.rows or (first <= part.head.first and part.head.last < end)
