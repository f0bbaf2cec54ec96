"""The store of a series: everything that its adapter calls.

Windows are answered here, from memory if possible. Everything else is delegated to the parts: rows and blocks in
their collections, the sealer, the writer, and the readers of ranges and of coverage.

Of a series whose truth is in rows, as it is by default, blocks are copies. If its truth is in blocks, rows and blocks
are joined. Which of the two it is may change at any time; an answer out of rows that may lack something is checked
against the document of the series: see :mod:`backtest_mongo.series.layouts`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from backtest_mongo.connection.hub import Hub
from backtest_mongo.core.contexts import EVERYTHING, Measure
from backtest_mongo.core.gaps import GapFinder
from backtest_mongo.core.interval_grid import GRIDS, IntervalGrid
from backtest_mongo.core.observation import current_operation
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.store_protocols import Counts, Truth
from backtest_mongo.series.block_store import BlockStore
from backtest_mongo.series.blocks import BlockGrid
from backtest_mongo.series.contexts import SeriesContexts
from backtest_mongo.series.coverage import CoverageReader
from backtest_mongo.series.data_blocks import DataBlocks
from backtest_mongo.series.joined import JoinedReader
from backtest_mongo.series.layouts import Layouts
from backtest_mongo.series.moving import Mover
from backtest_mongo.series.ranges import RangeReader
from backtest_mongo.series.rows import CandleRows
from backtest_mongo.series.sealing import Sealer
from backtest_mongo.series.verifying import DataVerifier
from backtest_mongo.series.writing import CandleWriter
from backtest_mongo.types import Candle, Coverage, Document, Gap, Sealed

if TYPE_CHECKING:
    from backtest_mongo.core.arrays import CandleArrays

__all__ = ["MongoSeriesStore"]

_LATEST: Final = 2**63 - 1
_EVER: Final = (-(2**63), _LATEST)
#: Candles of an answer that is not worth being looked into.
_LONG: Final = 100_000

T = TypeVar("T")


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
        self._coverage = CoverageReader(self._rows, self._blocks, use_blocks)
        # Of series whose truth is in blocks
        self._layouts = Layouts(hub, spec)
        self._data = DataBlocks(hub, spec)
        self._joined = JoinedReader(self._rows, self._data, self._layouts)
        self._mover = Mover(hub, self._rows, self._blocks, self._data, self._layouts)
        self._writer = CandleWriter(
            hub,
            self._rows,
            self._blocks,
            self._sealer if use_blocks else None,
            self._layouts,
            self._data,
            self._mover,
        )
        self._verifier = DataVerifier(self._data, self._joined)
        self._contexts = SeriesContexts(self._rows, self._data, self._layouts, self.coverage)

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
        start, count = interval.time(missing), limit - found
        until = interval.time(end + ahead)
        if self._layouts.has_blocks(context):
            rest, arrays = await self._join_window(context, start, interval, count, until)
            if arrays is not None:
                series.put_arrays(arrays)
                return None if rest is None else candles + rest
        if end + ahead - missing < self._rows.many:
            rows = await self._rows.fetch(context, start, interval.time(end - 1 + ahead))
            rest = _pick_rows(rows, interval, start, count)
            if rest is not None or not await self._is_joined(context):
                series.put(rows)
        else:
            arrays = await self._ranges.read(context, BlockGrid.of(interval), start, min(until, _LATEST))
            rest = _pick_arrays(arrays, interval, start, count)
            if rest is not None or not await self._is_joined(context):
                series.put_arrays(arrays)
        if rest is None and self._layouts.has_blocks(context):
            rest, arrays = await self._join_window(context, start, interval, count, until)
            if arrays is not None:
                series.put_arrays(arrays)
        return None if rest is None else candles + rest

    async def _is_joined(self, context: Key) -> bool:
        """Return whether a series that was read from rows, and lacks some, has candles in blocks alone."""
        return (await self._layouts.look(context)).has_blocks

    async def _join_window(
        self, context: Key, first: int, interval: IntervalGrid, limit: int, end: int
    ) -> tuple[list[Candle] | None, CandleArrays | None]:
        """Return a window from rows and blocks, and all that was read for it up to ``end``.

        The latter is ``None`` if the series turns out to be in rows.
        """

        def is_whole(candles: CandleArrays) -> bool:
            return _has_window(candles, interval, first, limit)

        arrays = await self._joined.read_window(context, BlockGrid.of(interval), first, min(end, _LATEST), is_whole)
        return (None, None) if arrays is None else (_pick_arrays(arrays, interval, first, limit), arrays)

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
        end = interval.shift(first, limit)
        if self._layouts.has_blocks(context):
            rest, arrays = await self._join_window(context, first, interval, limit, end)
            if arrays is not None:
                return rest
        last = interval.shift(first, limit - 1)
        if limit < self._rows.many:
            rest = _pick_rows(await self._rows.fetch(context, first, last), interval, first, limit)
        else:
            candles = await self._ranges.read(context, BlockGrid.of(interval), first, min(last + 1, _LATEST))
            rest = _pick_arrays(candles, interval, first, limit)
        if rest is None and await self._is_joined(context):
            rest, _ = await self._join_window(context, first, interval, limit, end)
        return rest

    async def read(self, context: Key, interval: IntervalGrid, first: int, end: int) -> CandleArrays:
        """Return the candles of a half-open range of times, by time, as columns."""
        grid = BlockGrid.of(interval)

        def is_whole(candles: CandleArrays) -> bool:
            return _is_whole(candles, interval, first, end)

        return await self._choose(
            context,
            lambda: self._joined.read(context, grid, first, end),
            lambda: self._ranges.read(context, grid, first, end),
            is_whole,
        )

    async def _choose(
        self,
        context: Key,
        join: Callable[[], Awaitable[T | None]],
        read_rows: Callable[[], Awaitable[T]],
        is_whole: Callable[[T], bool] = lambda _: False,
    ) -> T:
        """Answer by the way in which a series is stored, whoever changes it meanwhile."""
        while True:
            if not self._layouts.has_blocks(context):
                answer = await read_rows()
                # What was moved to blocks meanwhile is missing in it.
                if is_whole(answer) or not await self._is_joined(context):
                    return answer
            joined = await join()
            if joined is not None:
                return joined

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
        grid = BlockGrid.of(interval)

        async def join() -> Coverage | None:
            found = await self._joined.survey(context, grid, *_EVER)
            return None if found is None else found[0]

        return await self._choose(context, join, lambda: self._coverage.read_coverage(context, grid))

    async def survey(
        self, context: Key, interval: IntervalGrid, first: int | None, end: int | None
    ) -> tuple[Coverage, int]:
        """Return the coverage of a half-open range, and how many blocks overlap it."""
        grid = BlockGrid.of(interval)

        async def join() -> tuple[Coverage, int] | None:
            low, high = _EVER[0] if first is None else first, _EVER[1] if end is None else end
            found = await self._joined.survey(context, grid, low, high)
            return None if found is None else (found[0], len(found[1]))

        return await self._choose(context, join, lambda: self._coverage.survey(context, grid, first, end))

    async def find_bounds(self, context: Key) -> tuple[int, int] | None:
        """Return the times of the first and the last row, or ``None`` if there is none."""
        grid = self._find_grid(context)

        async def read_rows() -> tuple[tuple[int, int] | None]:
            return (await self._coverage.find_bounds(context),)

        (bounds,) = await self._choose(context, lambda: self._joined.find_bounds(context, grid), read_rows)
        return bounds

    def _find_grid(self, context: Key) -> BlockGrid:
        return BlockGrid.of(GRIDS[context[self._rows.spec.key.index("interval")]])

    async def find_around(self, context: Key, first: int | None, end: int | None) -> tuple[int | None, int | None]:
        """Return the times of the last row before ``first`` and of the first one from ``end`` on."""
        grid = self._find_grid(context)
        return await self._choose(
            context,
            lambda: self._joined.find_around(context, grid, first, end),
            lambda: self._coverage.find_around(context, first, end),
        )

    async def gaps(self, context: Key, finder: GapFinder, bounds: tuple[int, int]) -> AsyncIterator[Gap]:
        """Yield the gaps of a series whose first and last row are at ``bounds``, by time."""
        grid = BlockGrid.of(finder.interval)

        async def join() -> list[Gap] | None:
            return await self._join_gaps(context, grid, finder, bounds)

        async def read_rows() -> list[Gap]:
            return [gap async for gap in self._coverage.find_gaps(context, grid, finder, bounds)]

        for gap in await self._choose(context, join, read_rows):
            yield gap

    async def _join_gaps(
        self, context: Key, grid: BlockGrid, finder: GapFinder, bounds: tuple[int, int]
    ) -> list[Gap] | None:
        lowest, highest = bounds
        gaps = list(finder.find_before(lowest))
        if finder.overlaps(lowest, highest):
            first, end = finder.first, finder.end
            around = await self._joined.find_around(
                context,
                grid,
                first if first is not None and first > lowest else None,
                end if end is not None and end <= highest else None,
            )
            if around is None:
                return None
            before, after = around
            since, until = lowest if before is None else before, highest if after is None else after
            edges = await self._joined.find_edges(context, grid, since, until)
            if edges is None:
                return None
            gaps += [gap for edge in edges for gap in finder.find_between(*edge)]
        return [*gaps, *finder.find_after(highest)]

    def list_contexts(self, where: Mapping[str, Any] = EVERYTHING) -> AsyncIterator[Key]:
        """Yield the context of each series there is, in the order of the key."""
        return self._contexts.list_contexts(where)

    async def measure(self, where: Mapping[str, Any], *, by_context: bool) -> list[Measure]:
        return await self._contexts.measure(where, by_context=by_context)

    # Blocks

    async def count_sealed(self, context: Key, interval: IntervalGrid) -> Sealed:
        """Return the number of blocks, their rows and their bytes."""
        grid = BlockGrid.of(interval)
        if (await self._layouts.look(context)).has_blocks:
            return await self._data.count_sealed(context, grid)
        return await self._coverage.count_sealed(context, grid)

    async def seal(self, context: Key, interval: IntervalGrid) -> AsyncIterator[Counts]:
        """Seal what can be sealed of a series; yield what was sealed after each stretch."""
        grid = BlockGrid.of(interval)
        if (await self._layouts.look(context)).truth == "blocks":
            async for sealed in self._mover.seal_all(context, grid):
                yield sealed
        elif self._seals:
            async for sealed in self._sealer.seal_all(context, grid):
                yield sealed

    async def verify(self, context: Key, interval: IntervalGrid) -> AsyncIterator[tuple[Document, str | None]]:
        """Yield each block with what is wrong with it, or ``None`` if it equals its rows.

        A block that is the truth is compared with its checksum, and with what the document of its series lists.
        """
        grid = BlockGrid.of(interval)
        is_joined = (await self._layouts.look(context)).has_blocks
        verifier = self._verifier.verify(context, grid) if is_joined else self._sealer.verify(context, grid)
        async for one in verifier:
            yield one

    async def verify_sample(self, count: int) -> AsyncIterator[tuple[Document, str | None]]:
        """Compare up to so many blocks of any series, taken at random, each with its rows, and yield them by key.

        Blocks that are the truth are compared with their checksums; copies that are left of such series are left out.
        """
        joined = await self.list_in_blocks()
        async for block, problem in self._sealer.verify_sample(count):
            if tuple(block.get(name) for name in self._rows.spec.key[:-1]) not in joined:
                yield block, problem
        if joined:
            async for one in self._verifier.verify_sample(count):
                yield one

    async def reseal(self, context: Key, interval: IntervalGrid, damaged: Sequence[Document]) -> Counts:
        """Drop these blocks and seal their stretches again.

        Raises:
            StoreError: they are the only copy of their candles.
        """
        if (await self._layouts.look(context)).has_blocks:
            raise self._verifier.make_unrepairable_error(context, damaged)
        return await self._sealer.reseal(context, BlockGrid.of(interval), damaged)

    # Where the truth is

    async def move_to_blocks(self, context: Key, interval: IntervalGrid) -> AsyncIterator[Counts]:
        """Make blocks the truth of a series; yield after each stretch how many blocks were written, and rows deleted.

        Raises:
            StoreError: the server is a standalone.
        """
        grid = BlockGrid.of(interval)
        await self._mover.begin(context)
        # Nobody that knows where the truth is reads the copies.
        await self._writer.drop_copies(context, grid)
        async for moved in self._mover.seal_all(context, grid):
            yield moved

    def move_to_rows(self, context: Key, interval: IntervalGrid) -> AsyncIterator[Counts]:
        """Make rows the truth of a series; yield after each stretch how many blocks went, and rows were written."""
        return self._mover.restore_all(context, BlockGrid.of(interval))

    async def find_truth(self, context: Key) -> Truth:
        """Return where the truth of a series is."""
        return (await self._layouts.look(context)).truth

    async def list_in_blocks(self) -> set[Key]:
        """Return the contexts of all series that have candles in blocks alone."""
        return {context for context, layout in (await self._layouts.list_all()).items() if layout.has_blocks}

    async def begin_blocks(self, context: Key) -> None:
        """Make blocks the truth of a series that is not stored yet."""
        await self._mover.begin(context, if_absent=True)

    async def find_lost(self, context: Key, interval: IntervalGrid) -> list[int]:
        """Return the starts of blocks that are the only copy of their candles, and are gone."""
        return await self._joined.list_lost(context, BlockGrid.of(interval))


def _is_whole(candles: CandleArrays, interval: IntervalGrid, first: int, end: int) -> bool:
    """Return whether a half-open range is known to lack no candle; of a long one that is not looked into."""
    if not len(candles) or len(candles) > _LONG:
        return False
    (low, late), (high, over) = interval.locate(first), interval.locate(end)
    places = high + bool(over) - (low + bool(late))
    return len(candles) == places and not interval.locate_all(candles.timestamp)[1].any()


def _has_window(candles: CandleArrays, interval: IntervalGrid, first: int, limit: int) -> bool:
    """Return whether there are so many rows from ``first`` on, one per interval, whatever else there is."""
    import numpy as np

    part = candles.between(first, min(interval.shift(first, limit), _LATEST))
    if len(part) < limit:
        return False
    wanted = np.fromiter(interval.times(first, limit), np.int64, limit)
    return bool(np.isin(wanted, part.timestamp, assume_unique=True).all())


def _pick_arrays(candles: CandleArrays, interval: IntervalGrid, first: int, limit: int) -> list[Candle] | None:
    """Return so many rows from ``first`` on, one per interval, skipping others; ``None`` if one is missing."""
    import numpy as np

    part = candles.between(first, min(interval.shift(first, limit), _LATEST))
    if len(part) < limit:
        return None
    wanted = np.fromiter(interval.times(first, limit), np.int64, limit)
    if len(part) > limit:
        part = part.take(np.isin(part.timestamp, wanted, assume_unique=True))
    return part.candles() if np.array_equal(part.timestamp, wanted) else None


def _pick_rows(rows: Sequence[Document], interval: IntervalGrid, first: int, limit: int) -> list[Candle] | None:
    """Return so many rows from ``first`` on, one per interval, skipping others; ``None`` if one is missing."""
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
