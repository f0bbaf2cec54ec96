"""The store of a series: candles that never change, written in bulk and read in windows, out of blocks where it can."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from backtest_mongo import series_index, types
from backtest_mongo.block_grid import Grid
from backtest_mongo.block_store import MongoBlocks
from backtest_mongo.errors import StoreError, StoreUnavailableError
from backtest_mongo.guard import Patience
from backtest_mongo.hub import Hub
from backtest_mongo.limits import Limit
from backtest_mongo.log import log
from backtest_mongo.sealing import GROUP, Sealer
from backtest_mongo.series_rows import CandleRows
from backtest_mongo.specs import Key, SlotSpec
from backtest_mongo.store import Counts
from backtest_mongo.tasks import to_its_end
from backtest_mongo.types import Candle, Coverage, Document, Sealed

if TYPE_CHECKING:
    from backtest_mongo.arrays import CandleArrays

__all__ = ["SeriesStore"]

#: Rows inserted at a time.
_INSERT: Final = 10_000
#: From so many rows on they are handled as columns, and may be in blocks.
MANY = 512
_LATEST: Final = 2**63 - 1


class SeriesStore(CandleRows):
    """A series' rows in its MongoDB collection, its blocks, and what was read of both in memory."""

    def __init__(self, hub: Hub, spec: SlotSpec) -> None:
        super().__init__(hub, spec)
        self._columns = hub.candles
        self._cache_ids = hub.config.CC_CANDLE_ID_CACHE
        self._use_blocks = hub.config.CC_CANDLE_BLOCKS
        self._blocks = MongoBlocks(hub, spec)
        self._sealer = Sealer(self, self._blocks)

    # Reading

    async def window(self, context: Key, first: int, step: int, limit: int) -> list[Candle] | None:
        """Return ``limit`` rows from ``first`` on, one each ``step``, or ``None`` if one is not stored."""
        position, beside = divmod(first, step)
        if beside or 4 * limit > self._columns.rows:
            return await self._read_window(context, first, step, limit)
        series = self._columns.series(context, step)
        candles, found = series.get(position, limit)
        if found == limit:
            self.hits += 1
            return candles
        self.misses += 1
        missing, end = position + found, position + limit
        ahead = series.rows_ahead(missing, range(position, end))
        if end + ahead - missing < MANY:
            rows = await self.fetch(context, missing * step, (end - 1 + ahead) * step)
            series.put(rows)
            rest = _on_grid(rows, missing * step, step, limit - found)
        else:
            arrays = await self.read(context, step, missing * step, min((end + ahead) * step, _LATEST))
            series.put_arrays(arrays)
            rest = _window(arrays, missing * step, step, limit - found)
        return None if rest is None else candles + rest

    async def _read_window(self, context: Key, first: int, step: int, limit: int) -> list[Candle] | None:
        last = first + (limit - 1) * step
        if limit < MANY:
            return _on_grid(await self.fetch(context, first, last), first, step, limit)
        return _window(await self.read(context, step, first, min(last + 1, _LATEST)), first, step, limit)

    async def read(self, context: Key, step: int, first: int, end: int) -> CandleArrays:
        """Return the candles of a half-open range of times, by time, as columns."""
        from backtest_mongo.series_reads import Read

        grid = Grid.of(step)
        read = Read(self, self._blocks if self._use_blocks else None, grid, context)
        candles = await read.between(first, end)
        if read.damaged:
            await self._mend(context, grid, read.damaged)
        return candles

    async def _mend(self, context: Key, grid: Grid, damaged: Sequence[Document]) -> None:
        for block in damaged:
            log().warning(
                "a block of candles is damaged: its rows were read instead, and it is sealed again",
                problem=block["problem"],
                series=":".join(map(str, context)),
                start=block["start"],
            )
        try:
            await self._blocks.drop(damaged)
            await self._sealer.seal(context, grid, sorted(block["start"] for block in damaged))
        except StoreError as error:  # such as a user who may only read, and has an answer
            log().warning("a damaged block of candles could not be sealed again", error=str(error))

    # Writing

    async def insert_new(self, context: Key, step: int, rows: Mapping[int, Document]) -> int:
        """Insert the rows whose times are free, leave all others as they are, and return how many were inserted."""
        if not rows:
            return 0
        if len(rows) >= MANY:
            from backtest_mongo.arrays import CandleArrays

            return await self.insert_arrays(context, step, CandleArrays.of(rows), publish=self._cache_ids)
        grid, times = Grid.of(step), sorted(rows)
        with Patience():
            stored = await self.stored_times(context, times)
            now = datetime.now(UTC)
            stamps = {"createDate": now, "updatedDate": now, "__v": 0}
            series = self._series(context)
            fresh = [time for time in rows if time not in stored]
            documents = [{"_id": ObjectId(), **series, **rows[time], **stamps} for time in fresh]
            with Limit(self._limit):
                new = await to_its_end(self._insert_and_drop(context, grid, times, fresh, documents))
            if self._cache_ids:
                await self._publish(context, [(row["timestamp"], row["_id"]) for row in new])
        starts = _passed(grid, grid.starts(times), times[-1])
        if len(starts) <= GROUP:  # else they are far apart, and hold hardly more than these
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

    # Sealing

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

    async def reseal(self, context: Key, step: int, damaged: Sequence[Document]) -> Counts:
        """Drop these blocks and seal their stretches again."""
        await self._blocks.drop(damaged)
        return await self._sealer.seal(context, Grid.of(step), sorted(block["start"] for block in damaged))

    async def sealed(self, context: Key) -> Sealed:
        """Return the number of blocks, their rows and their bytes."""
        return Sealed(**await self._blocks.totals(context))

    # The index

    async def coverage(self, context: Key, step: int) -> Coverage:
        grid = Grid.of(step)
        sealed = await self._sizes(context, grid, -_LATEST, _LATEST)
        return await series_index.coverage(self, self._spec, context, grid, sealed)

    async def bounds(self, context: Key) -> tuple[int, int] | None:
        """Return the times of the first and the last row."""
        first, last = await self.next_time(context, None), await self.next_time(context, None, -1)
        return None if first is None or last is None else (first, last)

    async def neighbours(
        self, context: Key, step: int, phase: int, first: int, end: int
    ) -> AsyncIterator[tuple[int | None, int | None]]:
        """Yield neighbours of a grid that lie more than a step apart, the ends of the range among them."""
        grid = Grid.of(step)
        sealed = await self._sizes(context, grid, first, end - grid.span + 1)
        async for pair in series_index.neighbours(self, self._spec, context, grid, phase, sealed, first, end):
            yield pair

    async def _sizes(self, context: Key, grid: Grid, first: int, end: int) -> series_index.Sizes:
        return await self._blocks.sizes(context, grid, first, end) if self._use_blocks else []

    def contexts(self) -> AsyncIterator[Key]:
        """Yield the context of each series there is."""
        return series_index.contexts(self, self._spec)


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


def _window(candles: CandleArrays, first: int, step: int, limit: int) -> list[Candle] | None:
    """Return the rows at ``first`` and each ``step`` after it, passing over others; ``None`` if one is missing."""
    part = candles.between(first, min(first + limit * step, _LATEST))
    part = part.take((part.timestamp - first) % step == 0)
    return part.candles() if len(part) == limit else None


def _on_grid(rows: Sequence[Document], first: int, step: int, limit: int) -> list[Candle] | None:
    """Return the rows at ``first`` and each ``step`` after it, passing over others; ``None`` if one is missing."""
    candles: list[Candle] = []
    expected = first
    for row in rows:
        time = row["timestamp"]
        if time != expected:
            if time > expected:
                return None
            continue
        # The time is taken from the grid: Node stores it as a double.
        candles.append(
            {
                "timestamp": expected,
                "open": row["open"],
                "high": row["high"],
                "low": row["low"],
                "close": row["close"],
                "volume": row["volume"],
            }
        )
        if len(candles) == limit:
            return candles
        expected += step
    return None
