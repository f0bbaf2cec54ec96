"""The store of a slot's series with columns: everything that its adapter calls.

A read asks for the tail first and then for the blocks: a row that is sealed in between is found twice, which is
resolved, and never missed.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from contextlib import aclosing
from functools import partial
from itertools import starmap
from typing import TYPE_CHECKING, Any, Final

from backtest_mongo.columns.turns import Turns
from backtest_mongo.connection.hub import Hub
from backtest_mongo.core.background import start_background
from backtest_mongo.core.columns import MOST_NEGATIVE
from backtest_mongo.core.commits import Committer
from backtest_mongo.core.contexts import EVERYTHING, Measure
from backtest_mongo.core.counters import SeriesCounts
from backtest_mongo.core.log import log
from backtest_mongo.core.outcomes import after_writing
from backtest_mongo.core.series_retention import Piece, find_cut, parse_stored_retention
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.store_protocols import Counts
from backtest_mongo.core.strategy_names import Renamer
from backtest_mongo.errors import StoreError, StoreUnavailableError
from backtest_mongo.mongo.committer import get_committer
from backtest_mongo.series.columns.blocks import (
    BEGINNING,
    END,
    LATEST,
    Partition,
    Position,
    SeriesBlocks,
    get_position,
)
from backtest_mongo.series.columns.heads import Head, SeriesHeads
from backtest_mongo.series.columns.merging import SEALED_GROUPS, Merger
from backtest_mongo.series.columns.tail import Group, SeriesTail
from backtest_mongo.series.pipeline import work_ahead
from backtest_mongo.types import Coverage, Document, SeriesSize, now_ms, to_millis

if TYPE_CHECKING:
    from backtest_mongo.columns.arrays import ColumnArrays, Mask

__all__ = ["MongoColumns"]

#: Rows of one call from which on they go straight into blocks, as those do that have more bytes than a group.
_MANY: Final = 16_384
#: Rows of a group at most, where they can't.
_MOST_ROWS: Final = 20_000
#: Fewer rows are put together in place: another thread would take longer.
_FEW: Final = 1_000
#: Pages of blocks that are decompressed at once.
_JOBS: Final = 2
#: Blocks whose headers are read at a time, from the end.
_HEADS: Final = 64
_UNAUTHORIZED: Final = 13


class MongoColumns:
    """A slot's series with columns in MongoDB. Times are in the slot's unit."""

    has_history = False
    row_bytes = 12_000_000

    def __init__(self, hub: Hub, spec: SlotSpec) -> None:
        self._hub = hub
        self._spec = spec
        self._heads = SeriesHeads(hub, spec)
        self._tail = SeriesTail(hub, spec, self._heads.find_taken)
        self._blocks = SeriesBlocks(hub, spec)
        self._merger = Merger(hub, spec, self._heads, self._tail, self._blocks)
        self._has_transactions: bool | None = None
        self._sealing: set[Key] = set()
        self._turns = Turns()
        #: Held by a call until its rows are queued.
        self._queueing: defaultdict[Key, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def ready(self) -> None:
        """Make sure that the collections have their indexes."""
        await self._tail.slot.prepare()
        await self._heads.slot.prepare()
        await self._blocks.slot.prepare()

    async def _can_seal(self) -> bool:
        """Return whether the server has transactions, without which nothing is ever taken from the tail."""
        if self._has_transactions is None:
            try:
                await get_committer(self._hub).check()
            except StoreError as error:
                if error.code is not None:
                    raise
                self._has_transactions = False
            else:
                self._has_transactions = True
        return self._has_transactions

    # Writing

    async def insert(self, context: Key, rows: ColumnArrays) -> int:
        """Store rows, each key once and in order, and return how many were new."""
        from backtest_mongo.columns import sizes

        if not len(rows):
            return 0
        is_large, size = len(rows) >= _MANY, 0
        if not is_large:
            size = sizes.measure_rows(rows, has_keys=self._spec.immutable).count()
            is_large = size > sizes.GROUP_BYTES and len(rows) > 1
        async with self._turns.take(context, int(rows.time[0]), int(rows.time[-1]), is_alone=is_large):
            if not is_large:
                return await self._insert(context, rows, size)
            new = await self._insert_many(context, rows)
        if await self._can_seal():
            await self._prune_behind(context)
        return new

    async def _insert_many(self, context: Key, rows: ColumnArrays) -> int:
        from backtest_mongo.columns.sizes import split_groups

        if await self._can_seal():
            await self._blocks.slot.prepare()
            await self._heads.look(context)
            with after_writing():
                return await self._merger.write(context, rows, self._insert)
        await self._heads.open(context)
        parts = split_groups(rows, _MOST_ROWS, has_keys=self._spec.immutable)
        with after_writing():
            return sum([await self._insert(context, part) for part in parts])

    async def _insert(self, context: Key, rows: ColumnArrays, size: int | None = None) -> int:
        first = int(rows.time[0])
        async with self._queueing[context]:  # a call waits if one before it has to look at the series
            head = self._heads.get(context)
            if head is None or (self._spec.immutable and not head.is_fresh):
                head = await self._heads.look(context)
            is_checked = not self._spec.immutable or first > head.bound
            group, inserted = self._tail.insert(context, rows, size, is_checked=is_checked)
        await inserted
        if group.document is None:
            return 0
        if self._spec.immutable and not head.holds_beyond(first):
            with after_writing():
                await self._check_blocks(context, group)
        await self._note(context, head, group)
        return len(group.rows)

    async def _check_blocks(self, context: Key, group: Group) -> None:
        """Take back those rows of an inserted group that blocks have; the first row of a key wins."""
        head = await self._heads.look(context)
        if int(group.rows.time[0]) > head.bound:
            if not group.is_checked:
                await self._tail.confirm(group)
            return
        if head.announced:
            await self._heads.disturb(context, head)
        rows = group.rows
        present = await self._find_present(context, rows)
        if not present.any():
            if not group.is_checked:
                await self._tail.confirm(group)
            return
        if not await self._tail.take_back(group, present):
            # The group itself has become a part of blocks, so these are its own rows unless they differ.
            known: set[str] = set()
            async with aclosing(self._read_holding(context, rows, None)) as blocks:
                async for stored in blocks:
                    known.update(map(repr, stored.take(rows.contains(stored)).rows(self._spec)))
            own = [at for at, row in enumerate(rows.rows(self._spec)) if not present[at] or repr(row) in known]
            group.rows = rows.take(own)

    def _read_holding(
        self, context: Key, rows: ColumnArrays, names: Collection[str] | None
    ) -> AsyncGenerator[ColumnArrays, None]:
        has_blocks = partial(self._heads.has_blocks, context)
        return self._blocks.read_holding(context, rows, names, has_blocks=has_blocks)

    async def _find_present(self, context: Key, rows: ColumnArrays) -> Mask:
        """Return which of some rows have a key that a block has."""
        import numpy as np

        present: Mask = np.zeros(len(rows), bool)
        async with aclosing(self._read_holding(context, rows, ())) as blocks:
            async for stored in blocks:
                present |= stored.contains(rows)
        return present

    async def _note(self, context: Key, head: Head, group: Group) -> None:
        """Seal the tail in the background when it has become long."""
        if not head.is_counted:
            head.is_counted = True
            try:
                await self._count(context, head)
            except (StoreError, StoreUnavailableError):
                head.is_counted = False  # the rows are stored, and the next write counts them
        else:
            head.groups += 1
            head.rows += len(group.rows)
            head.bytes += group.size
            if (counts := self._tail.counts.series.get(context)) is not None:
                counts.tail_groups, counts.tail_rows = head.groups, head.rows
                counts.oldest = now_ms() if counts.oldest is None else counts.oldest
        from backtest_mongo.columns.merging import BLOCK_BYTES, BLOCK_ROWS

        is_long = head.groups >= SEALED_GROUPS or head.rows >= BLOCK_ROWS or head.bytes >= BLOCK_BYTES
        if is_long and context not in self._sealing:
            self._sealing.add(context)
            seal = partial(self._seal_in_background, context, head)
            start_background(seal, "rows of a series could not be sealed", slot=self._spec.name)

    async def _seal_in_background(self, context: Key, head: Head) -> None:
        try:
            async for _ in self.seal_rows(context, is_all=False):
                pass
            await self._prune_behind(context)
            await self._count(context, head)
        finally:
            self._sealing.discard(context)

    async def _count(self, context: Key, head: Head) -> None:
        size = await self.size(context)
        head.groups, head.rows, head.bytes = size.tail_groups, size.tail_rows, size.tail_bytes

    # What need not be kept

    async def retain(self, context: Key, keep: str | None) -> None:
        """Keep a part of the rows from now on, or all."""
        await self._heads.set_retention(context, keep)
        await self._prune_behind(context)

    async def _prune_behind(self, context: Key) -> None:
        """Delete what need not be kept after a write; if that fails, a later one does it."""
        head = await self._heads.open(context)
        if head.retention is None:
            return
        try:
            await self.prune_rows(context)
        except (StoreError, StoreUnavailableError) as error:
            log().warning("old rows of a series could not be deleted", slot=self._spec.name, problem=str(error))

    async def prune_rows(self, context: Key) -> int:
        """Delete what need not be kept, and return how many rows."""
        cut = await self._find_cut(context)
        if cut is None:
            return 0
        if await self._can_seal():
            return await self._merger.drop_before(context, cut)
        groups = await self._tail.find_before(context, cut)
        return await self._tail.drop(context, groups) if groups else 0

    async def count_prunable(self, context: Key) -> int:
        """Return how many rows need not be kept, about."""
        cut = await self._find_cut(context)
        if cut is None:
            return 0
        heads = await self._blocks.read_heads(context, (cut,))
        groups = await self._tail.find_before(context, cut)
        return sum(head.rows for head in heads if head.last < cut) + sum(map(self._tail.count_rows, groups))

    async def _find_cut(self, context: Key) -> int | None:
        """Return the time before which rows need not be kept; ``None`` if all are."""
        keep = await self._heads.read_retention(context)
        if keep is None:
            return None
        key = dict(zip(self._spec.key, context, strict=False))
        collection = self._heads.slot.documents.name
        retention = parse_stored_retention(keep, slot=self._spec.name, collection=collection, key=key)
        groups = await self._tail.find_before(context, LATEST)
        pieces = [Piece(one["first"], one["last"], self._tail.count_rows(one), one["bytes"]) for one in groups]
        heads = await self._blocks.read_heads(context, END)
        pieces += [Piece(one.first, one.last, one.rows, one.bytes) for one in heads if one.rows]
        return find_cut(retention, pieces, self._spec.unit, now_ms())

    async def delete_rows(self, context: Key, first: int, end: int) -> int:
        """Delete the rows of a half-open range of times, and return how many were deleted."""
        if not await self._can_seal():
            return await self._delete_from_tail(context, first, end)
        rows = None if self._spec.immutable else await self._count_rows(context, first, end)
        await self._heads.look(context)
        with after_writing():
            deleted = await self._merger.delete(context, first, end)
        return deleted if rows is None else rows

    async def _count_rows(self, context: Key, first: int, end: int) -> int | None:
        """Return how many keys a range has, of which some may be in the tail and in blocks; ``None`` if damaged."""
        try:
            return len(await self.read_rows(context, first, end, ()))
        except StoreError:
            return None

    async def _delete_from_tail(self, context: Key, first: int, end: int) -> int:
        """Delete rows where there are neither transactions nor blocks."""
        deleted, found = 0, await self._tail.find(context, first, end)
        with after_writing():
            for document in found:
                rows = self._tail.decode(context, document)
                gone = (rows.time >= first) & (rows.time < end)
                deleted += int(gone.sum())
                if gone.any():
                    await self._tail.take_back(Group(context, rows, document), gone)
        return deleted

    # Reading

    async def read_rows(self, context: Key, first: int, end: int, names: Collection[str] | None = None) -> ColumnArrays:
        """Return the rows of a half-open range of times, with all columns or those of these names."""
        tail = await self._read_tail(context, first, end, names)
        if self._spec.immutable and any(map(len, tail)):
            await self._keep(context, min(int(part.time[0]) for part in tail if len(part)))
        found = await self._read_blocks(context, (first,), end, names)
        if tail:
            found = await self._join([found, *tail])
        self._tail.counts.lists.add(len(found))
        return found

    async def _keep(self, context: Key, first: int) -> None:
        """Let rows of the tail that were read stay what they are: no row that is merged now takes their places."""
        head = self._heads.get(context)
        if head is None or not head.is_fresh:
            head = await self._heads.look(context)
        if head.announced and first <= head.bound:
            try:
                await self._heads.disturb(context, head)
            except StoreError as error:
                if error.code != _UNAUTHORIZED:  # a user who only reads
                    raise

    async def _read_tail(self, context: Key, first: int, end: int, names: Collection[str] | None) -> list[ColumnArrays]:
        groups = await self._tail.find(context, first, end, names)
        if not groups:
            return []

        def decode() -> list[ColumnArrays]:
            return [self._tail.decode(context, group, names).between(first, end) for group in groups]

        return await asyncio.to_thread(decode) if len(groups) > 4 else decode()  # a thread takes longer for few

    async def _join(self, parts: list[ColumnArrays]) -> ColumnArrays:
        """Return rows of which some may be in several parts; where the slot says so, the last part wins."""
        from backtest_mongo.columns.merging import merge_rows

        merge = partial(merge_rows, parts, keeps_first=self._spec.immutable)
        return await asyncio.to_thread(merge) if sum(map(len, parts)) > _FEW else merge()

    async def _read_blocks(
        self, context: Key, first: Position, end: int, names: Collection[str] | None
    ) -> ColumnArrays:
        from backtest_mongo.columns.arrays import ColumnArrays, join_columns
        from backtest_mongo.columns.buffer import ColumnBuffer

        cut = partial(self._cut_block, context, end, names)
        pages = self._blocks.read(context, first, end, names, has_blocks=partial(self._heads.has_blocks, context))
        async with aclosing(pages):
            page: list[tuple[Document, Position]] = await anext(pages, [])
            following: list[tuple[Document, Position]] = await anext(pages, [])
            if not following:
                parts = [cut(*page[0])] if len(page) == 1 else await asyncio.to_thread(lambda: [*starmap(cut, page)])
                parts = [part for part in parts if len(part)]
                return join_columns(parts) if parts else ColumnArrays.empty(self._spec, names)
            # There are more, so it is worth asking how many rows these are, and making room for them.
            heads = await self._blocks.read_heads(context, (end,))
            buffer = ColumnBuffer(self._spec, sum(head.rows for head in heads if head.end > first), names)
            rest: list[ColumnArrays] = []

            async def place() -> AsyncGenerator[list[tuple[Document, int | None]], None]:
                """Yield the blocks of each page with their places in the buffer, but those that the range cuts."""
                waiting = [page, following]
                while some := waiting.pop(0):
                    jobs: list[tuple[Document, int | None]] = []
                    for block, start in some:
                        if start <= max(get_position(block), (block["first"],)) and block["last"] < end:
                            jobs.append((block, buffer.reserve(block["rows"])))
                            continue
                        rows = await asyncio.to_thread(cut, block, start)
                        at = buffer.reserve(len(rows))
                        rest.append(rows) if at is None else buffer.put(at, rows)
                    yield jobs
                    if not waiting:
                        waiting.append(await anext(pages, []))

            def decode_page(jobs: list[tuple[Document, int | None]]) -> None:
                for block, at in jobs:
                    rows = self._blocks.decode(context, block, names)
                    rest.append(rows) if at is None else buffer.put(at, rows)

            async def decode(jobs: list[tuple[Document, int | None]]) -> None:
                await asyncio.to_thread(decode_page, jobs)

            async with aclosing(work_ahead(place(), decode, _JOBS)) as decoded:
                async for _ in decoded:
                    pass
        found = buffer.finish()
        return await self._join([found, *rest]) if rest else found  # more were sealed meanwhile

    def _cut_block(
        self, context: Key, end: int, names: Collection[str] | None, block: Document, start: Position
    ) -> ColumnArrays:
        return self._blocks.decode(context, block, names).within(start, (end,))

    async def read_last(self, context: Key, count: int, end: int, names: Collection[str] | None = None) -> ColumnArrays:
        """Return the last rows of those before a time: so many, or all if there are fewer."""
        position = end
        while True:
            first = await self._find_first(context, count, position, end)
            found = await self.read_rows(context, MOST_NEGATIVE if first is None else first, end, names)
            if len(found) >= count or first is None:
                return found.take(slice(max(0, len(found) - count), None))
            position = first  # rows were deleted meanwhile

    async def _find_first(self, context: Key, count: int, position: int, end: int) -> int | None:
        """Return a time from which on blocks have so many rows, ``None`` if it has to be the first one.

        Args:
            context: of the series.
            count: how many rows.
            position: the time before which blocks are counted.
            end: the end of the range that is read.
        """
        rows = 0
        before: Position = (position,)
        while True:
            heads = await self._blocks.read_heads(context, before, _HEADS)
            for head in heads:
                # Of the block in which the range ends it is not known how many rows are before the end.
                rows += head.rows if head.last < end else 0
                before = head.start
                if rows >= count:
                    return before[0]
            if len(heads) < _HEADS:
                return None

    async def cover(self, context: Key, end: int) -> Coverage:
        """Return the first and the last time of the rows before ``end``, and their number.

        It is counted again if blocks change meanwhile: a row that is sealed would be counted twice, or not at all.
        """
        edition = await self._heads.read_edition(context)
        while True:
            covered = await self._cover(context, end)
            before, edition = edition, await self._heads.read_edition(context)
            if edition == before:
                return covered

    async def _cover(self, context: Key, end: int) -> Coverage:
        tail = await self._read_tail(context, MOST_NEGATIVE, end, ())
        first: int | None = None
        last: int | None = None
        rows = 0
        position: Position = (end,)
        while True:
            heads = await self._blocks.read_heads(context, position, 100 * _HEADS)
            for head in heads:
                position = head.start
                if not head.rows or head.first >= end:
                    continue
                if head.last < end:
                    rows, first = rows + head.rows, head.first
                    last = head.last if last is None else last
                    continue
                part = await self._read_blocks(context, max(head.start, (head.first,)), end, ())
                if len(part):  # or they were deleted just now
                    rows, first, last = rows + len(part), int(part.time[0]), int(part.time[-1])
            if len(heads) < 100 * _HEADS:
                break
        if not tail:
            return Coverage(first, last, rows)
        from backtest_mongo.columns.merging import merge_rows

        times = merge_rows(tail, keeps_first=True)
        if not len(times):
            return Coverage(first, last, rows)
        lowest, highest = int(times.time[0]), int(times.time[-1])
        if last is not None and lowest <= last:
            rows -= int((await self._find_present(context, times)).sum())
        return Coverage(
            lowest if first is None else min(first, lowest),
            highest if last is None else max(last, highest),
            rows + len(times),
        )

    async def copy_rows(
        self, context: Key, end: int, target: MongoColumns, copied: Key
    ) -> AsyncGenerator[tuple[int, StoreError | None], None]:
        """Insert the rows before a time into another database, for forks, about a block at a time.

        Args:
            context: the series.
            end: the first time that is left out, in the slot's unit.
            target: where they go.
            copied: the context that they get.

        Yields:
            After each step how many rows were copied, or why some can't be: they are damaged.
        """
        first = MOST_NEGATIVE
        while first < end:
            is_expected = await self._heads.has_blocks(context)
            parts = await self._blocks.list_partitions(context, (first,), end, _HEADS, is_expected=is_expected)
            for stop in [min(part.times[1], end) for part in parts] or [end]:
                if stop == first:  # one of several blocks of a time
                    continue
                try:
                    rows = await self.read_rows(context, first, stop)
                except StoreUnavailableError:
                    raise
                except StoreError as error:
                    yield 0, error
                else:
                    if len(rows):
                        yield await target.insert(copied, rows), None
                first = stop

    # What is stored, and how

    async def seal_rows(self, context: Key, *, is_all: bool = True) -> AsyncGenerator[Counts, None]:
        """Merge the tail into blocks, whole blocks alone unless ``is_all``; yield blocks and rows after each step."""
        if not await self._can_seal():
            return
        await self._blocks.slot.prepare()
        async with aclosing(self._merger.seal(context, is_all=is_all)) as steps:
            async for step in steps:
                yield step
        if is_all and (head := self._heads.get(context)) is not None:
            await self._count(context, head)

    async def verify_rows(self, context: Key) -> AsyncGenerator[tuple[Coverage, str | None], None]:
        """Read each group of the tail and each block; yield what it covers, and what is wrong with it."""
        for group in await self._tail.find(context, MOST_NEGATIVE, LATEST):
            yield self._verify(context, group, self._tail)
        position = BEGINNING
        while position < END:
            is_expected = await self._heads.has_blocks(context)
            parts = await self._blocks.list_partitions(context, position, LATEST, _HEADS, is_expected=is_expected)
            for part in parts:
                if part.head is None:
                    yield _cover_part(part), self._blocks.make_part_error(context, part).args[0]
                elif part.rows and (block := await self._blocks.fetch(context, part)) is not None:
                    yield await asyncio.to_thread(self._verify, context, block, self._blocks)
            position = parts[-1].end if parts else END

    def _verify(
        self, context: Key, document: Document, where: SeriesTail | SeriesBlocks
    ) -> tuple[Coverage, str | None]:
        first, last, count = map(_get_int, (document.get(name) for name in ("first", "last", "rows")))
        covered = Coverage(first, last, count or 0)
        try:
            rows = where.decode(context, document)
        except StoreError as error:
            return covered, error.args[0]
        return covered, None if rows.is_ordered() else "its rows are not in order"

    def skip_indexes(self) -> None:
        """Let reads go on without the indexes, and make none."""
        for part in (self._tail, self._blocks, self._heads):
            part.slot.is_indexed = True

    async def verify_sample(self, count: int) -> list[tuple[Key, str | None]]:
        """Read ``count`` random blocks of any series; return the context of each, and what is wrong with it."""
        found = []
        for block in await self._blocks.sample(count):
            context = tuple(block.get(name) for name in self._spec.context_key)
            found.append((context, (await asyncio.to_thread(self._verify, context, block, self._blocks))[1]))
        return found

    async def find_lost(self, context: Key) -> list[tuple[int, int]]:
        """Return the half-open ranges of times whose blocks are missing, or have damaged headers."""
        if not await self._heads.has_blocks(context):
            return []
        found: list[tuple[int, int]] = []
        position = BEGINNING
        while position < END:
            parts = await self._blocks.list_partitions(context, position, LATEST, 16 * _HEADS, is_expected=True)
            found += [part.times for part in parts if part.head is None]
            position = parts[-1].end
        return found

    async def find_missing_indexes(self) -> list[tuple[str, tuple[str, ...], bool]]:
        """Return the collections of the slot that lack an index, its fields, and whether it should be unique."""
        missing = []
        for part in (self._tail, self._blocks, self._heads):
            documents = part.slot.documents
            found = await documents.index_information()
            present = {(tuple(index["key"]), bool(index.get("unique"))) for index in found.values()}
            if found:  # otherwise there is no such collection yet
                missing += [
                    (documents.name, tuple(name for name, _ in fields), is_unique)
                    for fields, is_unique in part.list_indexes()
                    if (tuple(fields), is_unique) not in present
                ]
        return missing

    async def size(self, context: Key) -> SeriesSize:
        """Return how the series is stored."""
        tail = await self._tail.count(context)
        blocks = await self._blocks.count(context)
        oldest = None if tail.oldest is None else to_millis(tail.oldest)
        keep = await self._heads.read_retention(context)
        counts = (*blocks, tail.groups, tail.rows, tail.bytes, oldest)
        self._tail.counts.series[context] = SeriesCounts(*counts)
        return SeriesSize(*counts, keep)

    # Contexts

    @property
    def committer(self) -> Committer:
        return get_committer(self._hub)

    @property
    def renamer(self) -> Renamer:
        from backtest_mongo.series.columns.renaming import ColumnRenamer

        return ColumnRenamer(self._hub, self._spec, self._heads, self._tail, self._blocks)

    async def list_contexts(self, where: Mapping[str, Any] = EVERYTHING) -> AsyncIterator[Key]:
        """Yield the context of each series that has rows, in the order of the key."""
        # A series can have rows in its tail and no document, if it was deleted while others wrote them.
        known, in_tail = self._heads.list_contexts(where), self._tail.list_contexts(where)
        async with aclosing(_merge(known, in_tail)) as contexts:
            async for context in contexts:
                if (await self.cover_some(context)) is not None:
                    yield context

    async def cover_some(self, context: Key) -> int | None:
        """Return the time of a row, ``None`` if there is none."""
        if headers := await self._tail.list_headers(context, 1):
            return int(headers[0]["first"])
        return await self._blocks.has_rows(context)

    async def measure(self, where: Mapping[str, Any], *, by_context: bool) -> list[Measure]:
        """Return what is stored of each series, in the order of the key, or of all together."""
        found = []
        async for context in self.list_contexts(where):
            size = await self.size(context)
            rows = size.block_rows + size.tail_rows
            if rows:
                written = await self._find_written(context)
                total = size.block_bytes + size.tail_bytes
                found.append(Measure(context=context, contexts=1, rows=rows, bytes=total, versions=0, written=written))
        if by_context or not found:
            return found
        return [
            Measure(
                context=(),
                contexts=len(found),
                rows=sum(one.rows for one in found),
                bytes=sum(one.bytes for one in found),
                versions=0,
                written=max((one.written for one in found if one.written is not None), default=None),
            )
        ]

    async def _find_written(self, context: Key) -> int | None:
        """Return when rows were last written, or merged into blocks."""
        newest = (await self._tail.count(context)).newest
        found = [await self._heads.find_written(context), None if newest is None else to_millis(newest)]
        return max((time for time in found if time is not None), default=None)

    async def delete_some(self, context: Key, owners: Collection[str]) -> tuple[int, bool]:
        """Delete all rows of a series; return how many, and that none is left."""
        deleted = await self.delete_rows(context, MOST_NEGATIVE, LATEST)
        with after_writing():
            if await self._can_seal():
                await self._merger.forget(context)
        return deleted, False


async def _merge(first: AsyncIterator[Key], second: AsyncIterator[Key]) -> AsyncGenerator[Key, None]:
    """Yield the keys of both, each of which are in order, once each and in order."""
    ends = [await anext(first, None), await anext(second, None)]
    while (key := min((one for one in ends if one is not None), default=None)) is not None:
        yield key
        for at, keys in enumerate((first, second)):
            if ends[at] == key:
                ends[at] = await anext(keys, None)


def _get_int(value: object) -> int | None:
    return int(value) if isinstance(value, int) else None


def _cover_part(part: Partition) -> Coverage:
    first, end = part.times
    return Coverage(None if first == MOST_NEGATIVE else first, None if end == LATEST else end - 1, 0)
