"""The store of a series: everything that its adapter calls.

Windows are answered here, from memory if possible. Everything else is delegated to the parts: rows and blocks in
their collections, the sealer, the writer, and the readers of ranges and of coverage.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from backtest_mongo.connection.hub import Hub
from backtest_mongo.core.contexts import EVERYTHING, Measure
from backtest_mongo.core.gaps import GapFinder
from backtest_mongo.core.interval_grid import IntervalGrid
from backtest_mongo.core.observation import current_operation
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.store_protocols import Counts
from backtest_mongo.series.block_store import BlockStore
from backtest_mongo.series.blocks import BlockGrid
from backtest_mongo.series.coverage import CoverageReader
from backtest_mongo.series.ranges import RangeReader
from backtest_mongo.series.rows import CandleRows
from backtest_mongo.series.sealing import Sealer
from backtest_mongo.series.writing import CandleWriter
from backtest_mongo.types import Candle, Coverage, Document, Gap, Sealed

if TYPE_CHECKING:
    from backtest_mongo.core.arrays import CandleArrays

__all__ = ["MongoSeriesStore"]

_LATEST: Final = 2**63 - 1


class MongoSeriesStore:
    """A slot's series in MongoDB, and what was read of them in memory. Times are in milliseconds."""

    def __init__(self, hub: Hub, spec: SlotSpec) -> None:
        use_blocks = hub.config.CC_CANDLE_BLOCKS
        self._memory = hub.candle_cache
        self._rows = CandleRows(hub, spec)
        self._blocks = BlockStore(hub, spec)
        self._sealer = Sealer(self._rows, self._blocks)
        self._seals = use_blocks
        self._ranges = RangeReader(self._rows, self._blocks if use_blocks else None, self._sealer)
        self._writer = CandleWriter(hub, self._rows, self._blocks, self._sealer if use_blocks else None)
        self._coverage = CoverageReader(self._rows, self._blocks, use_blocks)

    async def ready(self) -> None:
        """Make sure that the rows have their indexes."""
        await self._rows.ready()

    # Reading

    async def window(self, context: Key, first: int, interval: IntervalGrid, limit: int) -> list[Candle] | None:
        """Return ``limit`` rows from ``first`` on, one an interval, or ``None`` if one is not stored."""
        if 4 * limit > self._memory.rows:
            return await self._fetch_window(context, first, interval, limit)
        position, offset = interval.locate(first)
        if offset:
            return await self._fetch_window(context, first, interval, limit)
        series = self._memory.series(context, interval)
        candles, found = series.get(position, limit)
        self._note_window(found == limit)
        if found == limit:
            return candles
        missing, end = position + found, position + limit
        ahead = series.rows_ahead(missing, range(position, end))
        start = interval.time(missing)
        if end + ahead - missing < self._rows.many:
            rows = await self._rows.fetch(context, start, interval.time(end - 1 + ahead))
            series.put(rows)
            rest = _pick_rows(rows, interval, start, limit - found)
        else:
            arrays = await self.read(context, interval, start, min(interval.time(end + ahead), _LATEST))
            series.put_arrays(arrays)
            rest = _pick_arrays(arrays, interval, start, limit - found)
        return None if rest is None else candles + rest

    def _note_window(self, hit: bool) -> None:
        counts = self._rows.counts
        counts.reads.rows += 1
        if hit:
            counts.hits += 1
        else:
            counts.misses += 1
            counts.reads.trips += 1
        observed = current_operation.get()
        if observed is not None:
            observed.hit = hit

    async def _fetch_window(self, context: Key, first: int, interval: IntervalGrid, limit: int) -> list[Candle] | None:
        self._note_window(False)
        last = interval.shift(first, limit - 1)
        if limit < self._rows.many:
            return _pick_rows(await self._rows.fetch(context, first, last), interval, first, limit)
        return _pick_arrays(await self.read(context, interval, first, min(last + 1, _LATEST)), interval, first, limit)

    async def read(self, context: Key, interval: IntervalGrid, first: int, end: int) -> CandleArrays:
        """Return the candles of a half-open range of times, by time, as columns."""
        return await self._ranges.read(context, BlockGrid.of(interval), first, end)

    # Writing

    async def insert_new(self, context: Key, interval: IntervalGrid, rows: Mapping[int, Document]) -> int:
        """Insert the rows whose times are free, leave all others as they are, and return how many were inserted."""
        return await self._writer.insert(context, BlockGrid.of(interval), rows)

    async def insert_arrays(self, context: Key, interval: IntervalGrid, candles: CandleArrays) -> int:
        """Insert candles as :meth:`insert_new` does, ascending and with distinct times; their ids don't go to Redis."""
        return await self._writer.insert_arrays(context, BlockGrid.of(interval), candles)

    async def restore(self, context: Key, interval: IntervalGrid, documents: Sequence[Document]) -> int:
        """Insert whole documents whose times are free, ids and dates as they are, and return how many were inserted."""
        return await self._writer.restore(context, BlockGrid.of(interval), documents)

    async def delete(self, context: Key, interval: IntervalGrid, first: int | None, end: int | None) -> Counts:
        """Delete the rows of a half-open range with their blocks, and return how many of both."""
        return await self._writer.delete(context, BlockGrid.of(interval), first, end)

    # What is stored

    async def coverage(self, context: Key, interval: IntervalGrid) -> Coverage:
        """Return the first and the last time of a series, and how many rows it has."""
        return await self._coverage.read_coverage(context, BlockGrid.of(interval))

    async def survey(
        self, context: Key, interval: IntervalGrid, first: int | None, end: int | None
    ) -> tuple[Coverage, int]:
        """Return the coverage of a half-open range, and how many blocks overlap it."""
        return await self._coverage.survey(context, BlockGrid.of(interval), first, end)

    async def find_bounds(self, context: Key) -> tuple[int, int] | None:
        """Return the times of the first and the last row, or ``None`` if there is none."""
        return await self._coverage.find_bounds(context)

    async def find_around(self, context: Key, first: int | None, end: int | None) -> tuple[int | None, int | None]:
        """Return the times of the last row before ``first`` and of the first one from ``end`` on."""
        return await self._coverage.find_around(context, first, end)

    def gaps(self, context: Key, finder: GapFinder, bounds: tuple[int, int]) -> AsyncIterator[Gap]:
        """Yield the gaps of a series whose first and last row are at ``bounds``, by time."""
        return self._coverage.find_gaps(context, BlockGrid.of(finder.interval), finder, bounds)

    def list_contexts(self, where: Mapping[str, Any] = EVERYTHING) -> AsyncIterator[Key]:
        """Yield the context of each series there is, in the order of the key."""
        return self._rows.list_contexts(where)

    async def measure(self, where: Mapping[str, Any], *, by_context: bool) -> list[Measure]:
        return await self._rows.measure(where, by_context=by_context)

    # Blocks

    async def count_sealed(self, context: Key, interval: IntervalGrid) -> Sealed:
        """Return the number of blocks, their rows and their bytes."""
        return await self._coverage.count_sealed(context, BlockGrid.of(interval))

    async def seal(self, context: Key, interval: IntervalGrid) -> AsyncIterator[Counts]:
        """Seal what can be sealed of a series; yield what was sealed after each stretch."""
        if self._seals:
            async for sealed in self._sealer.seal_all(context, BlockGrid.of(interval)):
                yield sealed

    def verify(self, context: Key, interval: IntervalGrid) -> AsyncIterator[tuple[Document, str | None]]:
        """Yield each block with what is wrong with it, or ``None`` if it equals its rows."""
        return self._sealer.verify(context, BlockGrid.of(interval))

    def verify_sample(self, count: int) -> AsyncIterator[tuple[Document, str | None]]:
        """Compare up to so many blocks of any series, taken at random, each with its rows, and yield them by key."""
        return self._sealer.verify_sample(count)

    async def reseal(self, context: Key, interval: IntervalGrid, damaged: Sequence[Document]) -> Counts:
        """Drop these blocks and seal their stretches again."""
        return await self._sealer.reseal(context, BlockGrid.of(interval), damaged)


def _pick_arrays(candles: CandleArrays, interval: IntervalGrid, first: int, limit: int) -> list[Candle] | None:
    """Return so many rows from ``first`` on, one an interval, skipping others; ``None`` if one is missing."""
    import numpy as np

    part = candles.between(first, min(interval.shift(first, limit), _LATEST))
    if len(part) < limit:
        return None
    wanted = np.fromiter(interval.times(first, limit), np.int64, limit)
    if len(part) > limit:
        part = part.take(np.isin(part.timestamp, wanted, assume_unique=True))
    return part.candles() if np.array_equal(part.timestamp, wanted) else None


def _pick_rows(rows: Sequence[Document], interval: IntervalGrid, first: int, limit: int) -> list[Candle] | None:
    """Return so many rows from ``first`` on, one an interval, skipping others; ``None`` if one is missing."""
    candles: list[Candle] = []
    wanted = iter(interval.times(first, limit))
    expected = next(wanted)
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
        expected = next(wanted)
    return None
