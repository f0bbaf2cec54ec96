"""Reading a series whose truth is in blocks: rows and blocks are joined, and of two candles of one time the block's
wins.

What is in rows is a tail: candles that are not in blocks yet, or can't be. A transaction moves candles from rows to
blocks, or back while the series is "restoring". So rows are read first and then blocks, or the other way round while
they go back: what is moved in between is read twice, and counted once. An answer in which nothing is missing is right
whatever happens meanwhile. Any other one is compared with the document of the series: if the way of storing has
changed, it is read again, and if a block that should be there is not, it is an error, and not a gap.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar

from backtest_mongo import types
from backtest_mongo.core.specs import Key
from backtest_mongo.core.store_protocols import Truth
from backtest_mongo.series.assembly import FEW, Answer, Decoder, Job
from backtest_mongo.series.blocks import Block, BlockGrid
from backtest_mongo.series.data_blocks import BlockPlaces, DataBlocks
from backtest_mongo.series.layouts import Layout, Layouts
from backtest_mongo.series.pipeline import work_ahead
from backtest_mongo.series.ranges import JOBS, WIDE
from backtest_mongo.series.rows import CandleRows
from backtest_mongo.types import Coverage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from backtest_mongo.core.arrays import CandleArrays

    Times: TypeAlias = NDArray[np.int64]

__all__ = ["JoinedReader"]

#: Blocks read at a time: some megabytes.
_PAGE: Final = 64
_EVER: Final = (-(2**63), 2**63 - 1)

T = TypeVar("T")

#: The first stretch that a way of storing has in blocks, and an answer lacks; ``None`` if it lacks none.
FindLost: TypeAlias = Callable[[Layout], int | None]


class _Index(NamedTuple):
    """The times of the rows of a range that are in no block, and the blocks that overlap it."""

    tail: Times
    places: Sequence[BlockPlaces]


class JoinedReader:
    """Reads one slot's series in blocks. Each method returns ``None`` if the series turns out to be in rows."""

    def __init__(self, rows: CandleRows, data: DataBlocks, layouts: Layouts) -> None:
        self._rows = rows
        self._data = data
        self._layouts = layouts

    async def _repeat(
        self,
        context: Key,
        grid: BlockGrid,
        read: Callable[[Truth], Coroutine[Any, Any, tuple[T, FindLost]]],
        is_whole: Callable[[T], bool] = lambda _: False,
    ) -> T | None:
        """Read until the answer is whole, or the series was stored in one way all the time.

        Raises:
            StoreError: a block is damaged or lost.
        """
        layout = self._layouts.get(context) or await self._layouts.look(context)
        while layout.has_blocks:
            answer, find_lost = await read(layout.truth)
            if is_whole(answer):
                return answer
            now = await self._layouts.look(context)
            if (now.truth, now.changes) == (layout.truth, layout.changes):
                lost = find_lost(now)
                if lost is None:
                    return answer
                if now.writes == layout.writes:
                    raise self._data.make_lost_error(context, grid, lost)
            layout = now
        return None

    # Candles

    async def read(self, context: Key, grid: BlockGrid, first: int, end: int) -> CandleArrays | None:
        """Return the candles of a half-open range of times, by time."""
        return await self._repeat(context, grid, partial(self._read_range, context, grid, first, end))

    async def _read_range(
        self, context: Key, grid: BlockGrid, first: int, end: int, truth: Truth
    ) -> tuple[CandleArrays, FindLost]:
        from backtest_mongo.core.arrays import CandleArrays, merge_arrays

        if truth == "blocks":
            tail = await self._fetch_rows(context, first, end)
            candles, starts = await self._assemble(context, grid, first, end, tail)
        else:
            candles, starts = await self._assemble(context, grid, first, end, CandleArrays.empty(0))
            candles = merge_arrays(candles, await self._fetch_rows(context, first, end))
        return candles, partial(_find_lost, grid, first, end, starts)

    async def _fetch_rows(self, context: Key, first: int, end: int) -> CandleArrays:
        from backtest_mongo.core.arrays import CandleArrays, join_arrays

        pieces = [piece async for piece in self._rows.fetch_arrays(context, first, end)]
        return join_arrays(pieces) if pieces else CandleArrays.empty(0)

    async def _assemble(
        self, context: Key, grid: BlockGrid, first: int, end: int, tail: CandleArrays
    ) -> tuple[CandleArrays, set[int]]:
        """Return the candles of the blocks of a range joined with a tail, and the starts of these blocks."""
        low, high = grid.start(first), end
        room = grid.interval.room(first, end)
        if room > WIDE:
            outer = await self._data.find_outer_starts(context, low, high)
            if outer is None:
                return tail, set()
            low, high = outer[0], min(end, grid.end(outer[1]))
            blocks = await self._data.count_between(context, grid, low, high)
            room = min(grid.interval.room(max(first, low), high), blocks * grid.rows) + len(tail)
        decoder, answer = Decoder(grid), Answer(room)
        starts: set[int] = set()

        async def place() -> AsyncGenerator[list[Job], None]:
            position, following = first, low
            while following < high:
                jobs = []
                blocks = await self._data.read_blocks(context, grid, following, high, limit=_PAGE)
                for block in blocks:
                    starts.add(block.start)
                    answer.append(tail.between(position, max(position, block.start)))
                    inside = tail.between(block.start, block.end)
                    if not len(inside) and first <= block.start and block.end <= end:
                        jobs.append(Job(block, *answer.reserve(block.rows)))
                    else:
                        answer.append(_join_block(decoder.decode_alone(block).between(first, end), inside))
                    position = max(position, block.end)
                yield jobs
                following = blocks[-1].end if len(blocks) == _PAGE else high
            answer.append(tail.between(position, max(position, end)))

        if room <= FEW * grid.rows:  # there is one page, which nothing comes ahead of
            async with aclosing(place()) as placed:
                async for jobs in placed:
                    await decoder.decode(jobs)
        else:
            async with aclosing(work_ahead(place(), decoder.decode, JOBS)) as decoded:
                async for _ in decoded:
                    pass
        self._refuse_damage(context, grid, decoder)
        return answer.finish(), starts

    def _refuse_damage(self, context: Key, grid: BlockGrid, decoder: Decoder) -> None:
        for damaged in decoder.damaged:
            raise self._data.make_damage_error(context, grid, damaged.document, damaged.problem)

    async def read_window(
        self, context: Key, grid: BlockGrid, first: int, end: int, is_whole: Callable[[CandleArrays], bool]
    ) -> CandleArrays | None:
        """Return the candles of a small half-open range: those of its blocks alone, if they are all that is needed."""
        read = partial(self._read_few, context, grid, first, end, is_whole)
        return await self._repeat(context, grid, read, is_whole)

    async def _read_few(
        self,
        context: Key,
        grid: BlockGrid,
        first: int,
        end: int,
        is_whole: Callable[[CandleArrays], bool],
        truth: Truth,
    ) -> tuple[CandleArrays, FindLost]:
        low = grid.start(first)
        blocks = {block.start: block for block in await self._data.read_blocks(context, grid, low, end)}
        candles = self._decode_few(context, grid, first, end, blocks.values())
        if not is_whole(candles):
            tail = await self._fetch_rows(context, first, end)
            if truth == "blocks":  # what was moved from rows to blocks before the rows were read
                known = [block.document["_id"] for block in blocks.values()]
                changed = await self._data.read_blocks(context, grid, low, end, known)
                if changed:
                    blocks |= {block.start: block for block in changed}
                    candles = self._decode_few(context, grid, first, end, blocks.values())
            candles = _join_block(candles, tail)
        return candles, partial(_find_lost, grid, first, end, blocks)

    def _decode_few(
        self, context: Key, grid: BlockGrid, first: int, end: int, blocks: Sequence[Block] | Any
    ) -> CandleArrays:
        from backtest_mongo.core.arrays import CandleArrays, join_arrays

        decoder = Decoder(grid)
        parts = [decoder.decode_alone(block) for block in sorted(blocks, key=lambda block: block.start)]
        self._refuse_damage(context, grid, decoder)
        return join_arrays(parts).between(first, end) if parts else CandleArrays.empty(0)

    # What is stored

    async def survey(
        self, context: Key, grid: BlockGrid, first: int, end: int
    ) -> tuple[Coverage, list[BlockPlaces]] | None:
        """Return what is stored of a half-open range, and the blocks that overlap it."""
        index = await self._read_index(context, grid, first, end)
        if index is None:
            return None
        rows = len(index.tail) + sum(block.count_between(grid, first, end) for block in index.places)
        edges = [int(time) for time in (index.tail[:1], index.tail[-1:]) for time in time]
        for block in (*index.places[:1], *index.places[-1:]):
            times = block.get_times(grid)
            inside = times[(times >= first) & (times < end)]
            edges += [int(time) for time in (*inside[:1], *inside[-1:])]
        # A block at an edge may have no candle within the range, and the one next to it has.
        for block in (*index.places[1:2], *index.places[-2:-1]):
            times = block.get_times(grid)
            inside = times[(times >= first) & (times < end)]
            edges += [int(time) for time in (*inside[:1], *inside[-1:])]
        overlapping = [block for block in index.places if block.count_between(grid, first, end)]
        coverage = Coverage(min(edges), max(edges), rows) if edges else Coverage(None, None, 0)
        return coverage, overlapping

    async def find_bounds(self, context: Key, grid: BlockGrid) -> tuple[tuple[int, int] | None] | None:
        """Return the times of the first and the last candle, or ``None`` if there is none, as the only element."""
        return await self._repeat(context, grid, partial(self._find_bounds, context, grid))

    async def _find_bounds(
        self, context: Key, grid: BlockGrid, truth: Truth
    ) -> tuple[tuple[tuple[int, int] | None], FindLost]:
        times: list[int] = []
        outer: tuple[int, int] | None = None
        for side in ("rows", "blocks") if truth == "blocks" else ("blocks", "rows"):
            if side == "rows":
                found = await self._rows.find_first_time(context), await self._rows.find_last_time(context)
                times += [time for time in found if time is not None]
            else:
                outer = await self._data.find_outer_starts(context, *_EVER)
                for start in {*(outer or ())}:
                    for block in await self._data.read_places(context, grid, start, start + 1):
                        inside = block.get_times(grid)
                        times += [int(inside[0]), int(inside[-1])]
        bounds = (min(times), max(times)) if times else None
        return (bounds,), partial(_find_lost_edge, grid, outer)

    async def find_around(
        self, context: Key, grid: BlockGrid, first: int | None, end: int | None
    ) -> tuple[int | None, int | None] | None:
        """Return the times of the last candle before ``first`` and of the first one from ``end`` on."""
        return await self._repeat(context, grid, partial(self._find_around, context, grid, first, end))

    async def _find_around(
        self, context: Key, grid: BlockGrid, first: int | None, end: int | None, truth: Truth
    ) -> tuple[tuple[int | None, int | None], FindLost]:
        before: list[int | None] = []
        after: list[int | None] = []
        for side in ("rows", "blocks") if truth == "blocks" else ("blocks", "rows"):
            if side == "rows":
                before.append(None if first is None else await self._rows.find_last_time(context, first))
                after.append(None if end is None else await self._rows.find_first_time(context, end))
            else:
                before.append(
                    None if first is None else await self._data.find_edge(context, grid, before=first, since=None)
                )
                after.append(None if end is None else await self._data.find_edge(context, grid, before=None, since=end))
        last = max((time for time in before if time is not None), default=None)
        return (last, min((time for time in after if time is not None), default=None)), lambda _: None

    async def find_edges(self, context: Key, grid: BlockGrid, first: int, last: int) -> list[tuple[int, int]] | None:
        """Return the candles at the edges of each gap, by time, from the candle at ``first`` to that at ``last``."""
        index = await self._read_index(context, grid, first, last + 1)
        return None if index is None else list(_find_edges(index, grid, first, last))

    async def _read_index(self, context: Key, grid: BlockGrid, first: int, end: int) -> _Index | None:
        return await self._repeat(context, grid, partial(self._fetch_index, context, grid, first, end))

    async def _fetch_index(
        self, context: Key, grid: BlockGrid, first: int, end: int, truth: Truth
    ) -> tuple[_Index, FindLost]:
        import numpy as np

        if truth == "blocks":
            times = await self._rows.fetch_times(context, first, end)
            places = await self._data.read_places(context, grid, first, end)
        else:
            places = await self._data.read_places(context, grid, first, end)
            times = await self._rows.fetch_times(context, first, end)
        is_double = np.zeros(len(times), bool)
        for block in places if len(times) else ():
            low, high = np.searchsorted(times, (block.start, block.end)).tolist()
            if low < high:
                is_double[low:high] = np.isin(times[low:high], block.get_times(grid), assume_unique=True)
        lost = partial(_find_lost, grid, first, end, {block.start for block in places})
        return _Index(times[~is_double], places), lost

    async def list_lost(self, context: Key, grid: BlockGrid) -> list[int]:
        """Return the starts of the blocks that should be there and are not."""
        while True:
            before = await self._layouts.look(context)
            starts = {*await self._data.list_starts(context)}
            now = await self._layouts.look(context)
            lost = [start for start in now.list_starts(grid, types.EARLIEST, _EVER[1]) if start not in starts]
            if not lost or before == now:
                return lost


def _join_block(block: CandleArrays, rows: CandleArrays) -> CandleArrays:
    from backtest_mongo.core.arrays import merge_arrays

    return merge_arrays(block, rows)


def _find_lost(grid: BlockGrid, first: int, end: int, starts: Any, layout: Layout) -> int | None:
    return next((start for start in layout.list_starts(grid, first, end) if start not in starts), None)


def _find_lost_edge(grid: BlockGrid, outer: tuple[int, int] | None, layout: Layout) -> int | None:
    if not layout.blocks:
        return None
    first, end = layout.blocks[0][0], layout.blocks[-1][1]
    if outer is None or outer[0] != first:
        return first
    return None if grid.end(outer[1]) == end else grid.start(end - 1)


def _find_edges(index: _Index, grid: BlockGrid, first: int, last: int) -> Iterator[tuple[int, int]]:
    known = first
    for times, has_gaps in _split_times(index, grid, first, last):
        if times[0] > known and grid.interval.missing(known, int(times[0])):
            yield known, int(times[0])
        if has_gaps:
            for at in grid.interval.missing_all(times).nonzero()[0].tolist():
                yield int(times[at]), int(times[at + 1])
        known = int(times[-1])


def _split_times(index: _Index, grid: BlockGrid, first: int, last: int) -> Iterator[tuple[Times, bool]]:
    """Yield all times, a block at a time, and whether there may be gaps among them.

    Of a block without gaps these are the first and the last one alone.
    """
    import numpy as np

    def cut(times: Times, low: int, high: int) -> Times:
        start, stop = np.searchsorted(times, (low, high))
        return times[start:stop]

    position = first
    for block in index.places:
        ahead = cut(index.tail, position, max(position, block.start))
        if len(ahead):
            yield ahead, True
        is_solid = block.times is None and first <= block.start and block.end <= last + 1
        if is_solid:
            own = np.array([block.start, grid.last(block.start)], np.int64)
        else:
            inside = cut(index.tail, max(position, block.start), block.end)
            own = np.union1d(cut(block.get_times(grid), first, last + 1), inside)
        if len(own):
            yield own, not is_solid
        position = max(position, block.end)
    rest = cut(index.tail, position, last + 1)
    if len(rest):
        yield rest, True
