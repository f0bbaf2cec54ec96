"""Writing a series: candles never change, are inserted in bulk, and are sealed once a stretch of them is complete.

Of concurrent writes of one candle in a process the one that was called first wins: each write takes its place in the
queue when it is called, by the stretches of its candles.

Small writes of one turn of the event loop, of any series, are one batch: one insert, one query of blocks and one
command to Redis. A write of one candle is inserted without a look at what is stored: nearly all of them are new, and
the server says which aren't. Each batch asks for blocks, as other processes may have sealed some since the last one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Collection, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast

import pymongo
from bson import ObjectId

from backtest_mongo import types
from backtest_mongo.connection.batching import MAX_BATCH_BYTES, Call, Reservation
from backtest_mongo.connection.hub import Hub
from backtest_mongo.connection.hub_registry import forget_candles
from backtest_mongo.connection.operation import Attempts, WaitBudget, seconds_left
from backtest_mongo.core.log import log
from backtest_mongo.core.outcomes import after_writing
from backtest_mongo.core.specs import Key
from backtest_mongo.core.store_protocols import Counts
from backtest_mongo.errors import BacktestMongoError, StoreError, StoreUnavailableError
from backtest_mongo.series.block_store import BlockStore, Written
from backtest_mongo.series.blocks import BlockGrid
from backtest_mongo.series.data_blocks import DataBlocks
from backtest_mongo.series.doubles import DoubleRows
from backtest_mongo.series.layouts import Layout, LayoutChangedError, Layouts
from backtest_mongo.series.moving import IMPORTED, Mover
from backtest_mongo.series.pipeline import work_ahead
from backtest_mongo.series.rows import DELETING, WRITING, CandleRows, Insertion
from backtest_mongo.series.sealing import GROUP, Sealer, VacantBlocks
from backtest_mongo.types import Document

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from backtest_mongo.core.arrays import CandleArrays

__all__ = ["CandleWriter"]

#: Imports into blocks that are under way at once: one is compressed while the other is written.
_IMPORTS: Final = 2
#: Rows inserted at a time.
_INSERTED: Final = 10_000
#: What a row of a small write counts towards the bytes of a batch, so that a batch has 4,000 rows at most.
_ROW_BYTES: Final = MAX_BATCH_BYTES // 4_000
#: Small writes of more rows ask first which of them are stored. The question takes as long as four rejected rows, and
#: these writes tend to hold the last few candles, of which most are stored.
_UNASKED: Final = 1
#: After all times.
_LATEST: Final = 2**63 - 1
#: Rows deleted at a time.
_DELETED: Final = 5_000


T = TypeVar("T")
U = TypeVar("U")


class _Part(NamedTuple):
    """Candles that are written by one request: all their times, and the documents of those that were not stored."""

    times: list[int]
    fresh: list[int]
    documents: list[Any]
    ids: list[bytes]


@dataclass(slots=True)
class _SmallWrite:
    """A few candles of one series, which are written together with others'.

    Attributes:
        starts: of the blocks that they lie in.
        times: of the candles, ascending.
        rows: the candles by their times.
        documents: what is sent.
        inserted: those of the documents that nobody had stored before.
    """

    context: Key
    grid: BlockGrid
    starts: list[int]
    times: list[int]
    rows: Mapping[int, Document]
    documents: Sequence[Document] = ()
    inserted: Sequence[Document] = ()

    def find_written(self) -> Written:
        """Return its times, and which of them were inserted."""
        is_new = len(self.inserted) == len(self.times)
        inserted = self.times if is_new else [row["timestamp"] for row in self.inserted]
        return Written(self.context, self.grid, self.starts, self.times, inserted)


class _Deleted(NamedTuple):
    """One batch: the times that were found, and how many rows and blocks are gone."""

    times: list[int]
    rows: int
    blocks: int


class CandleWriter:
    """Inserts and deletes the candles of one slot's series; with ``sealer`` it seals what an insertion completes.

    In a series whose truth is in blocks it moves what an insertion completes by ``mover``, with or without ``sealer``.
    """

    def __init__(
        self,
        hub: Hub,
        rows: CandleRows,
        blocks: BlockStore,
        sealer: Sealer | None,
        layouts: Layouts,
        data: DataBlocks,
        mover: Mover,
    ) -> None:
        self._hub = hub
        self._rows = rows
        self._blocks = blocks
        self._sealer = sealer
        self._layouts = layouts
        self._doubles = DoubleRows(rows, data, layouts)
        self._mover = mover
        self._starts_in_blocks = not hub.config.CC_CANDLE_ROWS
        self._publishes = hub.config.CC_CANDLE_ID_CACHE
        rows.writes.send = self._write_batch

    async def insert(self, context: Key, grid: BlockGrid, rows: Mapping[int, Document]) -> int:
        """Insert the rows whose times are free, leave all others as they are, and return how many were inserted."""
        if not rows:
            return 0
        if len(rows) >= self._rows.many:
            from backtest_mongo.core.arrays import CandleArrays

            return await self.insert_arrays(context, grid, CandleArrays.of(rows), publish=self._publishes)
        times = sorted(rows)
        starts = grid.starts(times)
        write = _SmallWrite(context, grid, starts, times, rows)
        size = len(times) * (_ROW_BYTES + 8 * sum(map(len, map(str, context))))
        keys = [(*context, start) for start in starts]
        new, left = await self._rows.writes.call(write, WRITING, None, keys, size)
        passed = _find_passed(grid, starts, times[-1])
        if passed and len(passed) <= GROUP:  # else they are far apart, and hold hardly more than these
            # The sealing is part of the write, and within its deadline.
            with pymongo.timeout(max(left, 0.001) if left < float("inf") else None):
                await self._seal(context, grid, passed)
        return int(new)

    async def _write_batch(self, calls: list[Call[_SmallWrite, tuple[int, float]]], _: Attempts) -> None:
        """Write many small writes at once; a candle that is refused fails its own caller alone."""
        self._rows.counts.writes.add(-len(calls), trips=-1)  # what counts is candles, and not calls
        writes = [call.item for call in calls]
        insertion = Insertion([])
        failure: BacktestMongoError | None = None
        try:
            await self._insert_small(writes, insertion)
        except BacktestMongoError as error:
            failure = error
        left = seconds_left()
        for call in calls:
            write = call.item
            refusal = next(filter(None, (insertion.refused.get(row["_id"]) for row in write.documents)), None)
            if refusal is not None:
                call.fail(refusal)
            elif failure is not None:
                call.fail(_copy_error(failure))
            else:
                call.answer((len(write.inserted), left))

    async def _insert_small(self, writes: Sequence[_SmallWrite], insertion: Insertion) -> None:
        await self._begin_new({write.context for write in writes})
        asked = [(write.context, write.times) for write in writes if len(write.times) > _UNASKED]
        stored = await self._rows.find_stored(asked) if asked else set()
        stored |= await self._doubles.find_stored([(write.context, write.grid, write.times) for write in writes])
        now = datetime.now(UTC)
        stamps = {"createDate": now, "updatedDate": now, "__v": 0}
        for write in writes:
            series = self._rows.make_query(write.context)
            fresh = [time for time in write.times if (*write.context, time) not in stored] if stored else write.times
            write.documents = [{"_id": ObjectId(), **series, **write.rows[time], **stamps} for time in fresh]
            insertion.left += write.documents
        count = len(insertion.left)
        await self._rows.insert(insertion)
        if len(insertion.inserted) == count:
            for write in writes:
                write.inserted = write.documents
        else:
            ids = {document["_id"] for document in insertion.inserted}
            for write in writes:
                write.inserted = [document for document in write.documents if document["_id"] in ids]
        publishing = None
        if self._publishes and insertion.inserted:
            publishing = asyncio.ensure_future(self._rows.publish_rows(insertion.inserted))
        try:
            doubles = await self._settle([(write.find_written(), write.inserted) for write in writes])
        finally:
            if publishing is not None:
                await publishing
        for write in writes if doubles else ():
            write.inserted = [document for document in write.inserted if document["_id"] not in doubles]

    async def _settle(
        self, written: Sequence[tuple[Written, Sequence[Any]]], spared: ObjectId | None = None
    ) -> set[ObjectId]:
        """Do, within a request, what has to be done once rows are inserted: see the modules of blocks.

        Args:
            written: what is stored, and the documents that were inserted.
            spared: the token of announcements that stay.

        Returns:
            The ids of the documents that blocks have had before, which are deleted.
        """
        with after_writing():
            _, layouts = await _gather(
                self._blocks.drop_stale([one for one, _ in written], spared),
                self._layouts.look_within({one.context for one, _ in written}),
            )
            # Blocks are looked at last: no announcement is left by which one could get in.
            entered = [(one.context, one.grid, documents) for one, documents in written if layouts[one.context].changes]
            return await self._doubles.drop([one for one in entered if one[2]])

    async def _begin_new(self, contexts: Collection[Key]) -> None:
        """Make blocks the truth, within a request, of series that are new, if the configuration says so."""
        if not self._starts_in_blocks:
            return
        unknown = [context for context in contexts if self._layouts.get(context) is None]
        layouts = await self._layouts.look_within(unknown) if unknown else {}
        for context, layout in layouts.items():
            if not layout.changes and not await self._rows.find_first_times(context, None, None, 1):
                await self._mover.begin_within(context, if_absent=True)

    async def restore(self, context: Key, grid: BlockGrid, documents: Sequence[Document]) -> int:
        """Insert whole documents whose times are free, ids and dates as they are, and return how many were inserted."""
        if not documents:
            return 0
        times = sorted(document["timestamp"] for document in documents)
        if self._starts_in_blocks:
            await self._find_layout(context)
        insert = partial(self._insert_and_drop, context, grid, times, list(documents))
        keys = _make_keys(context, grid, times)
        new = await self._rows.writes.run_steps(insert, WRITING, None, keys, is_long=True)
        starts = _find_passed(grid, grid.starts(times), times[-1])
        if len(starts) <= GROUP:
            await self._seal(context, grid, starts)
        return len(new)

    async def insert_arrays(
        self, context: Key, grid: BlockGrid, candles: CandleArrays, *, publish: bool = False
    ) -> int:
        """Insert candles, ascending and with distinct times, and return how many were inserted.

        With ``publish`` their ids go to Redis.
        """
        stretches = list(_split_by_blocks(candles, grid))
        places = [self._rows.writes.reserve(WRITING, _make_keys(context, grid, part.timestamp)) for part in stretches]
        try:
            with self._hub.writes.hold(), WaitBudget():
                layout = await self._find_layout(context)
                with after_writing():
                    if layout.truth == "blocks":
                        return await self._insert_into_blocks(context, grid, stretches, places, publish)
                    return await self._insert_stretches(context, grid, stretches, places, publish)
        finally:
            for place in places:
                place.give_up()

    async def _insert_stretches(
        self,
        context: Key,
        grid: BlockGrid,
        stretches: Sequence[CandleArrays],
        places: Sequence[Reservation],
        publish: bool,
    ) -> int:
        """Insert candles as rows, and seal what they complete."""
        inserted = 0
        for part, place in zip(stretches, places, strict=True):
            starts = grid.starts(part.timestamp)
            if part is stretches[-1]:
                starts = _find_passed(grid, starts, int(part.timestamp[-1]))
            async with place:
                # The rows and their blocks are made one after the other: of the same numbers.
                candles = part.copy()
                vacant = await self._claim_vacant(context, grid, starts, candles)
                inserted += await self._insert_stretch(context, grid, candles, publish, vacant)
            sealed = await self._finish(context, vacant)
            await self._seal(context, grid, [start for start in starts if start not in sealed])
        return inserted

    async def _find_layout(self, context: Key) -> Layout:
        layout = await self._layouts.look(context)
        if not layout.changes and self._starts_in_blocks and await self._rows.find_first_time(context) is None:
            await self._mover.begin(context, if_absent=True)
            layout = await self._layouts.look(context)
        return layout

    async def _insert_into_blocks(
        self,
        context: Key,
        grid: BlockGrid,
        stretches: Sequence[CandleArrays],
        places: Sequence[Reservation],
        publish: bool,
    ) -> int:
        """Write candles straight into blocks: while the server works on some, the next ones are compressed."""
        count = max(1, IMPORTED // GROUP)

        async def split() -> AsyncGenerator[tuple[Sequence[CandleArrays], Sequence[Reservation]], None]:
            for at in range(0, len(stretches), count):
                yield stretches[at : at + count], places[at : at + count]

        async def write(some: tuple[Sequence[CandleArrays], Sequence[Reservation]]) -> int:
            from backtest_mongo.core.arrays import join_arrays

            parts, turns = some
            async with AsyncExitStack() as stack:
                for turn in turns:
                    await stack.enter_async_context(turn)
                candles = join_arrays(parts).copy()
                is_for_blocks = grid.interval.locate_all(candles.timestamp)[1] == 0
                is_for_blocks &= candles.timestamp < grid.start(types.now_ms())
                new, rest = 0, candles.take(~is_for_blocks)
                if is_for_blocks.any():
                    try:
                        new = await self._mover.insert(context, grid, candles.take(is_for_blocks))
                        self._rows.counts.writes.add(new)
                    except LayoutChangedError:
                        rest = candles  # its rows are being written again
                    self._rows.writes.note_answer()
                if len(rest):
                    new += await self._insert_stretch(context, grid, rest, publish, None)
                return new

        async with aclosing(work_ahead(split(), write, _IMPORTS)) as counts:
            return sum([new async for new in counts])

    async def _claim_vacant(
        self, context: Key, grid: BlockGrid, starts: Sequence[int], candles: CandleArrays
    ) -> VacantBlocks | None:
        if self._sealer is None or not starts:
            return None
        try:
            vacant = await self._sealer.claim_vacant(context, grid, starts, candles)
        except (StoreError, StoreUnavailableError):
            return None  # sealing by reading says what is wrong
        self._rows.writes.note_answer()
        return vacant

    async def _finish(self, context: Key, vacant: VacantBlocks | None) -> set[int]:
        """Store blocks, and return the starts of those that are stored."""
        if vacant is None:
            return set()
        try:
            return await vacant.finish()
        except (StoreError, StoreUnavailableError):
            return set()  # sealing by reading says what is wrong

    async def _insert_stretch(
        self, context: Key, grid: BlockGrid, candles: CandleArrays, publish: bool, vacant: VacantBlocks | None
    ) -> int:
        """Insert candles: while the server works on some, the next are prepared and the last are finished.

        That is, their ids go to Redis, and blocks are made of them.
        """
        first_vacant = _LATEST if vacant is None else vacant.first
        token = None if vacant is None else vacant.token

        async def split() -> AsyncGenerator[CandleArrays, None]:
            for piece in (candles.between(-_LATEST, first_vacant), candles.between(first_vacant, _LATEST)):
                for start in range(0, len(piece), _INSERTED):
                    yield piece.take(slice(start, start + _INSERTED))

        async def prepare(part: CandleArrays) -> _Part:
            return await self._prepare(context, grid, part, look_up=int(part.timestamp[0]) < first_vacant)

        async def insert() -> AsyncGenerator[tuple[_Part, list[Any]], None]:
            async with aclosing(work_ahead(split(), prepare)) as prepared:
                async for part in prepared:
                    insert = partial(self._insert_and_drop, context, grid, part.times, part.documents, token)
                    yield part, await self._rows.writes.run_steps(insert, WRITING, is_long=True)

        async def finish(inserted: tuple[_Part, list[Any]]) -> int:
            part, new = inserted
            if publish:
                await self._publish(context, part, new)
            if vacant is not None:
                if len(new) < len(part.times):
                    vacant.give_up(part.times)
                is_last = part.times[-1] == candles.timestamp[-1]
                await vacant.take(_LATEST if is_last else part.times[-1] + 1)
            return len(new)

        async with aclosing(work_ahead(insert(), finish)) as counts:
            return sum([new async for new in counts])

    async def _prepare(self, context: Key, grid: BlockGrid, candles: CandleArrays, *, look_up: bool) -> _Part:
        """Return the candles to insert: those that are not stored yet or, without ``look_up``, all of them."""
        from backtest_mongo.core.arrays import encode_rows

        times = candles.timestamp.tolist()
        # The index is asked first: a rejected insert costs the server and the driver far more than a look-up.
        stored = await self._rows.look_up_stored(context, times) if look_up else set()
        stored |= await self._doubles.look_up_stored(context, grid, times)
        if stored:
            candles = candles.take([time not in stored for time in times])
        documents, ids = await asyncio.to_thread(encode_rows, self._rows.make_query(context), candles)
        return _Part(times, candles.timestamp.tolist(), documents, ids)

    async def _publish(self, context: Key, part: _Part, new: list[Any]) -> None:
        times, ids = part.fresh, part.ids
        if len(new) < len(ids):  # others were faster
            times = [int(document["timestamp"]) for document in new]
            ids = [document["_id"].binary for document in new]
        await self._rows.publish_ids(context, times, ids)

    async def _insert_and_drop(
        self,
        context: Key,
        grid: BlockGrid,
        times: Sequence[int],
        documents: list[Any],
        spared: ObjectId | None = None,
    ) -> list[Any]:
        """Insert the documents of those of ``times`` that are not stored; then no block lacks one of ``times``.

        It is a long call, of two requests. Announcements with the token ``spared`` stay.
        """
        insertion = Insertion(documents)
        with self._rows.writes.bound_request():
            await self._rows.insert(insertion)
        for refusal in insertion.refused.values():
            raise refusal
        new = insertion.inserted
        inserted = times if len(new) == len(times) else sorted(int(document["timestamp"]) for document in new)
        with self._rows.writes.bound_request():
            written = Written(context, grid, grid.starts(times), times, inserted)
            doubles = await self._settle([(written, new)], spared)
        return [document for document in new if document["_id"] not in doubles] if doubles else new

    async def _seal(self, context: Key, grid: BlockGrid, starts: Sequence[int]) -> None:
        if not starts:
            return
        try:
            if self._layouts.has_blocks(context):
                await self._mover.seal(context, grid, starts)
            elif self._sealer is not None:
                await self._sealer.seal(context, grid, starts)
        except (StoreError, StoreUnavailableError) as error:
            # The candles are stored, which is all that was promised.
            log().warning("candles could not be sealed", series=":".join(map(str, context)), error=str(error))

    async def delete(self, context: Key, grid: BlockGrid, first: int | None, end: int | None) -> Counts:
        """Delete the rows of a half-open range, and every block that may hold one of them; return how many of both.

        It may be killed between any two requests, and be called again. Before each batch of rows, what sealers have
        announced is dropped with the blocks, so no sealer has read rows long before; after the batch once more, since a
        sealer may have announced itself and read them in between. One that announces itself after that finds the rows
        gone.

        Candles in blocks that are the truth are deleted before the rows and after them, as they may be moved either way
        meanwhile.
        """
        rows = blocks = 0
        position = first
        try:
            layout = await self._layouts.look(context)
            with self._hub.writes.hold(), after_writing():
                rows, blocks = await self._delete_from_blocks(context, grid, first, end, layout)
                drop = partial(self._blocks.drop_between, context, grid, first, end)
                blocks += await self._rows.writes.run_steps(drop, DELETING)
                deleted = None
                while deleted is None or deleted.times:
                    delete = partial(self._delete_some, context, grid, position, end)
                    deleted = await self._rows.writes.run_steps(delete, DELETING)
                    rows, blocks = rows + deleted.rows, blocks + deleted.blocks
                    position = deleted.times[-1] + 1 if deleted.times else position
                # Blocks that a killed process has left in stretches without rows.
                blocks += await self._rows.writes.run_steps(drop, DELETING)
                layout = await self._layouts.look(context)
                moved, changed = await self._delete_from_blocks(context, grid, first, end, layout)
                rows, blocks = rows + moved, blocks + changed
        finally:
            # Whatever was deleted until then. A window that is being read now is not kept either.
            forget_candles(self._hub, context)
        return rows, blocks

    async def drop_copies(self, context: Key, grid: BlockGrid) -> None:
        """Drop the copies of a series in blocks."""
        drop = partial(self._blocks.drop_between, context, grid, None, None)
        await self._rows.writes.run_steps(drop, DELETING)

    async def _delete_from_blocks(
        self, context: Key, grid: BlockGrid, first: int | None, end: int | None, layout: Layout
    ) -> Counts:
        return await self._mover.delete(context, grid, first, end) if layout.changes else (0, 0)

    async def _delete_some(self, context: Key, grid: BlockGrid, first: int | None, end: int | None) -> _Deleted:
        """Delete, within a request, the first rows of a range with their ids, and the blocks that hold one of them."""
        times = await self._rows.find_first_times(context, first, end, _DELETED)
        if not times:
            return _Deleted([], 0, 0)
        # Before the rows, as a process killed in between would leave ids that belong to no row; and after them, as
        # others may have looked the rows up meanwhile.
        await self._rows.forget_ids(context, times)
        rows = await self._rows.delete(context, times[0], times[-1] + 1, len(times))
        await self._rows.forget_ids(context, times)
        return _Deleted(times, rows, await self._blocks.drop_between(context, grid, times[0], times[-1] + 1))


def _make_keys(context: Key, grid: BlockGrid, times: Sequence[int] | NDArray[np.int64]) -> list[Key]:
    """Return the keys that keep writes in order: one per stretch, for all of its candles."""
    return [(*context, start) for start in grid.starts(times)]


def _copy_error(error: BacktestMongoError) -> BacktestMongoError:
    """Return an equal error: each caller gets one of its own."""
    copied = copy(error)
    copied.__cause__ = error.__cause__
    return copied


async def _gather(one: Awaitable[T], other: Awaitable[U]) -> tuple[T, U]:
    """Carry out both at once, to their end even if one of them fails."""
    done = await asyncio.gather(one, other, return_exceptions=True)
    for result in done:
        if isinstance(result, BaseException):
            raise result
    return cast("tuple[T, U]", tuple(done))


def _find_passed(grid: BlockGrid, starts: list[int], last: int) -> list[int]:
    """Return the blocks that a write up to ``last`` has gone on from: the last one only if it reached its end."""
    return starts if last >= grid.last(starts[-1]) else starts[:-1]


def _split_by_blocks(candles: CandleArrays, grid: BlockGrid) -> Iterator[CandleArrays]:
    """Yield the candles in stretches that end where blocks end."""
    at = 0
    while at < len(candles):
        end = grid.end(grid.start(int(candles.timestamp[at])), GROUP)
        part = candles.take(slice(at, None)).between(-(2**63), end)
        yield part
        at += len(part)
