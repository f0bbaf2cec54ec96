"""The store of a series: candles that never change, written in bulk, and sealed once a stretch of them is complete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from backtest_mongo import series_windows, types
from backtest_mongo.block_grid import Grid
from backtest_mongo.errors import StoreError, StoreUnavailableError
from backtest_mongo.guard import Patience
from backtest_mongo.hub import Hub
from backtest_mongo.limits import Limit
from backtest_mongo.log import log
from backtest_mongo.sealing import GROUP
from backtest_mongo.series_windows import SeriesReads
from backtest_mongo.specs import Key, SlotSpec
from backtest_mongo.store import Counts
from backtest_mongo.tasks import to_its_end
from backtest_mongo.types import Document

if TYPE_CHECKING:
    from backtest_mongo.arrays import CandleArrays

__all__ = ["SeriesStore"]

#: Rows inserted at a time.
_INSERT: Final = 10_000


class SeriesStore(SeriesReads):
    """The write path of a series, on top of its read path."""

    def __init__(self, hub: Hub, spec: SlotSpec) -> None:
        super().__init__(hub, spec)
        self._cache_ids = hub.config.CC_CANDLE_ID_CACHE

    async def insert_new(self, context: Key, step: int, rows: Mapping[int, Document]) -> int:
        """Insert the rows whose times are free, leave all others as they are, and return how many were inserted."""
        if not rows:
            return 0
        if len(rows) >= series_windows.MANY:
            from backtest_mongo.arrays import CandleArrays

            return await self.insert_arrays(context, step, CandleArrays.of(rows), publish=self._cache_ids)
        grid, times = Grid.of(step), sorted(rows)
        with Patience():
            stored = await self.stored_times(context, times)
            now = datetime.now(UTC)
            stamps = {"createDate": now, "updatedDate": now, "__v": 0}
            series = self._series(context)
            fresh = [time for time in times if time not in stored]
            documents = [{"_id": ObjectId(), **series, **rows[time], **stamps} for time in fresh]
            with Limit(self._limit):
                new = await to_its_end(self._insert_and_drop(context, grid, times, fresh, documents))
            if self._cache_ids:
                await self._publish(context, [(row["timestamp"], row["_id"]) for row in new])
        starts = _passed(grid, grid.starts(times), times[-1])
        if len(starts) <= GROUP:  # else they are far apart, and hold hardly more than these
            await self._seal(context, grid, starts)
        return len(new)

    async def restore(self, context: Key, step: int, documents: Sequence[Document]) -> int:
        """Insert whole documents whose times are free, ids and dates as they are, and return how many were inserted."""
        if not documents:
            return 0
        grid, times = Grid.of(step), sorted(document["timestamp"] for document in documents)
        if not self._indexed:
            await self.ready()
        with Limit(self._limit):
            new = await to_its_end(self._insert_and_drop(context, grid, times, times, list(documents)))
        starts = _passed(grid, grid.starts(times), times[-1])
        if len(starts) <= GROUP:
            await self._seal(context, grid, starts)
        return len(new)

    async def insert_arrays(self, context: Key, step: int, candles: CandleArrays, *, publish: bool = False) -> int:
        """The same for many, ascending, each of another time. With ``publish`` their ids go to Redis."""
        grid = Grid.of(step)
        inserted = 0
        with Patience():
            for part in _stretches(candles, grid):
                new = await self._insert_stretch(context, grid, part, publish)
                inserted += new
                starts = grid.starts(part.timestamp.tolist())
                if part.timestamp[-1] == candles.timestamp[-1]:
                    starts = _passed(grid, starts, int(part.timestamp[-1]))
                # What was stored before stays, whatever it is, and has to be read.
                await self._seal(context, grid, starts, part if new == len(part) else None)
        return inserted

    async def _insert_stretch(self, context: Key, grid: Grid, candles: CandleArrays, publish: bool) -> int:
        inserted = 0
        publishing: asyncio.Future[None] | None = None
        parts = [candles.take(slice(start, start + _INSERT)) for start in range(0, len(candles), _INSERT)]
        preparing = asyncio.ensure_future(self._prepare(context, parts[0]))
        try:
            for number, part in enumerate(parts):
                fresh, documents, ids = await preparing
                if number + 1 < len(parts):  # while MongoDB works on these
                    preparing = asyncio.ensure_future(self._prepare(context, parts[number + 1]))
                times = part.timestamp.tolist()
                with Limit(self._limit):
                    new = await to_its_end(self._insert_and_drop(context, grid, times, fresh, documents))
                inserted += len(new)
                if publishing is not None:
                    await publishing
                if publish:
                    # Windows never look an id up, so the process has no use for these; the Node package has. They go to
                    # Redis while MongoDB works on the next rows.
                    known = [(time, ObjectId(oid)) for time, oid in zip(fresh, ids, strict=True)]
                    if len(new) < len(known):  # others were faster
                        new_ids = {document["_id"] for document in new}
                        known = [entry for entry in known if entry[1] in new_ids]
                    publishing = asyncio.ensure_future(self._publish(context, known))
            if publishing is not None:
                await publishing
        finally:
            preparing.cancel()
        return inserted

    async def _prepare(self, context: Key, candles: CandleArrays) -> tuple[list[int], list[Any], list[bytes]]:
        """Return which times are fresh, and the documents to be inserted for them, with their ids."""
        from backtest_mongo.arrays import encode_rows

        times = candles.timestamp.tolist()
        # Asked first, because a refused insert costs the server and the driver far more than a look into the index.
        stored = await self.stored_times(context, times)
        if stored:
            candles = candles.take([time not in stored for time in times])
        documents, ids = await asyncio.to_thread(encode_rows, self._series(context), candles)
        return candles.timestamp.tolist(), documents, ids

    async def _insert_and_drop(
        self, context: Key, grid: Grid, times: Sequence[int], fresh: Sequence[int], documents: list[Any]
    ) -> list[Any]:
        """Insert the documents of the times that are fresh; then no block is left that lacks one of all ``times``."""
        if documents:
            # Before as well: a process that is killed in between leaves no such block behind. And a block that holds
            # what was not stored has outlived its rows, which somebody has deleted.
            late = self._late(grid, fresh)
            if late:
                await self._blocks.drop_of(context, grid.starts(late))
            documents = await self._insert(self._series(context), documents)
            self.counts.writes.add(len(documents))
        late = self._late(grid, times)
        if late:
            await self._blocks.drop_lacking(context, grid, late)
        return documents

    def _late(self, grid: Grid, times: Sequence[int]) -> Sequence[int]:
        now = types.now_ms()
        starts = grid.starts(times)
        late = {start for start in starts if grid.may_be_sealed(start, now)}
        return times if len(late) == len(starts) else [time for time in times if grid.start(time) in late]

    async def _publish(self, context: Key, ids: Sequence[tuple[int, ObjectId]]) -> None:
        await self._cache.put_many(self._spec, [((*context, time), oid) for time, oid in ids], local=False)

    async def _seal(self, context: Key, grid: Grid, starts: Sequence[int], stored: CandleArrays | None = None) -> None:
        if not self._use_blocks or not starts:
            return
        try:
            await self._sealer.seal(context, grid, starts, stored)
        except (StoreError, StoreUnavailableError) as error:
            # The candles are stored, which is all that was promised.
            log().warning("candles could not be sealed", series=":".join(map(str, context)), error=str(error))

    async def seal(self, context: Key, step: int) -> AsyncIterator[Counts]:
        """Seal what can be sealed of a series; yield what was sealed after each stretch."""
        if self._use_blocks:
            async for sealed in self._sealer.seal_all(context, Grid.of(step)):
                yield sealed

    def verify(self, context: Key, step: int) -> AsyncIterator[tuple[Document, str | None]]:
        """Compare each block with its rows."""
        return self._sealer.verify(context, Grid.of(step))

    async def verify_sample(self, count: int) -> AsyncIterator[tuple[Document, str | None]]:
        """Compare up to so many blocks of any series, taken at random, each with its rows, and yield them by key."""
        for block in await self._blocks.sample(count):
            key = {name: block[name] for name in self._spec.key[:-1]}
            grid = Grid.of(types.INTERVAL_MS[block["interval"]])
            async for compared, problem in self._sealer.compare(tuple(key.values()), grid, block):
                yield {**key, **compared}, problem

    async def reseal(self, context: Key, step: int, damaged: Sequence[Document]) -> Counts:
        """Drop these blocks and seal their stretches again."""
        await self._blocks.drop(context, damaged)
        return await self._sealer.seal(context, Grid.of(step), sorted(block["start"] for block in damaged))


def _passed(grid: Grid, starts: list[int], last: int) -> list[int]:
    """Return the blocks that a write up to ``last`` has gone on from: the last one only if it reached its end."""
    return starts if last + grid.step >= starts[-1] + grid.span else starts[:-1]


def _stretches(candles: CandleArrays, grid: Grid) -> Iterator[CandleArrays]:
    """Yield the candles in stretches that end where blocks end."""
    at = 0
    while at < len(candles):
        end = grid.start(int(candles.timestamp[at])) + GROUP * grid.span
        part = candles.take(slice(at, None)).between(-(2**63), end)
        yield part
        at += len(part)
