"""What is stored of a series, and what is missing: answers from indexes alone; no document is read.

A query covers at most a million rows or places that are not sealed, so a long series takes several, each with its own
deadline. The number of sealed candles is in the index of the blocks, and a complete block has no gaps.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final, NamedTuple

from backtest_mongo.core.gaps import GapFinder
from backtest_mongo.core.specs import Key
from backtest_mongo.series.block_store import BlockStore
from backtest_mongo.series.blocks import BlockGrid, BlockHeader
from backtest_mongo.series.rows import CandleRows
from backtest_mongo.types import Coverage, Document, Gap, Sealed

__all__ = ["CoverageReader"]

#: Rows of a query, or places of the grid.
_PLACES: Final = 1_000_000
_EVER: Final = (-(2**63), 2**63 - 1)


class _Edge(NamedTuple):
    """A row at the edge of what a query has found or of what may be a gap, with the rows of the query around it."""

    before: int | None
    at: int
    after: int | None


class CoverageReader:
    """Says what is stored of one slot's series; ``use_blocks`` uses what is sealed, which is faster."""

    def __init__(self, rows: CandleRows, blocks: BlockStore, use_blocks: bool) -> None:
        self._rows = rows
        self._blocks = blocks
        self._use_blocks = use_blocks
        self._order: Document = dict.fromkeys(rows.spec.key, 1)

    async def read_coverage(self, context: Key, grid: BlockGrid) -> Coverage:
        """Return the first and the last time of a series, and how many rows it has."""
        sealed = await self._read_headers(context, grid, *_EVER)
        whole = Coverage(None, None, sum(header.rows for header in sealed))
        for first, end in _find_unsealed(sealed, grid, *_EVER):
            part = await self._cover_rows(context, first, end)
            whole = Coverage(part.first, part.last, whole.rows + part.rows)
        if sealed:
            lowest, highest = await self.find_bounds(context) or (None, None)
            whole = Coverage(lowest, highest, whole.rows)
        return whole

    async def survey(self, context: Key, grid: BlockGrid, first: int | None, end: int | None) -> tuple[Coverage, int]:
        """Return the coverage of a half-open range, and how many blocks overlap it."""
        blocks = await self._blocks.count_between(context, grid, first, end)
        lowest, highest = _EVER
        return await self._cover_rows(
            context, lowest if first is None else first, highest if end is None else end
        ), blocks

    async def count_sealed(self, context: Key, grid: BlockGrid) -> Sealed:
        """Count the blocks, their rows and their bytes."""
        return await self._blocks.count_sealed(context, grid)

    async def _cover_rows(self, context: Key, first: int, end: int) -> Coverage:
        totals = {"first": {"$min": "$timestamp"}, "last": {"$max": "$timestamp"}, "rows": {"$sum": 1}}
        whole = Coverage(None, None, 0)
        query = self._rows.make_query(context)
        while True:
            query["timestamp"] = {"$gte": first, "$lt": end}
            # The sort is the index's order, so it costs nothing, and the limit ends the scan.
            order: list[Document] = [{"$sort": self._order}, {"$limit": _PLACES}]
            found = await self._rows.aggregate([{"$match": query}, *order, {"$group": {"_id": None, **totals}}])
            if not found:
                return whole
            lowest, last, count = (int(found[0][name]) for name in totals)
            whole = Coverage(lowest if whole.first is None else whole.first, last, whole.rows + count)
            if count < _PLACES:
                return whole
            first = last + 1

    async def find_bounds(self, context: Key) -> tuple[int, int] | None:
        """Return the times of the first and the last row, or ``None`` if there is none."""
        first, last = await self._rows.find_first_time(context), await self._rows.find_last_time(context)
        return None if first is None or last is None else (first, last)

    async def find_around(self, context: Key, first: int | None, end: int | None) -> tuple[int | None, int | None]:
        """Return the times of the last row before ``first`` and of the first one from ``end`` on."""
        before = None if first is None else await self._find_before(context, first)
        return before, None if end is None else await self._rows.find_first_time(context, end)

    async def _find_before(self, context: Key, end: int) -> int | None:
        match = {**self._rows.make_query(context), "timestamp": {"$lt": end}}
        order: list[Document] = [{"$sort": dict.fromkeys(self._order, -1)}, {"$limit": 1}]
        found = await self._rows.aggregate([{"$match": match}, *order, {"$project": {"_id": 0, "timestamp": 1}}])
        return int(found[0]["timestamp"]) if found else None

    async def find_gaps(
        self, context: Key, grid: BlockGrid, finder: GapFinder, bounds: tuple[int, int]
    ) -> AsyncIterator[Gap]:
        """Yield the gaps of a series whose first and last row are at ``bounds``, by time."""
        lowest, highest = bounds
        for gap in finder.find_before(lowest):
            yield gap
        if finder.overlaps(lowest, highest):
            first, end = finder.first, finder.end
            before, after = await self.find_around(
                context,
                first if first is not None and first > lowest else None,
                end if end is not None and end <= highest else None,
            )
            since, until = lowest if before is None else before, highest if after is None else after
            async for edge_before, edge_after in self._find_edges(context, grid, since, until):
                for gap in finder.find_between(edge_before, edge_after):
                    yield gap
        for gap in finder.find_after(highest):
            yield gap

    async def _find_edges(self, context: Key, grid: BlockGrid, first: int, last: int) -> AsyncIterator[tuple[int, int]]:
        """Yield the edges of each gap, by time, from the row at ``first`` to that at ``last``.

        In a complete block no candle is missing, so it is not looked into.
        """
        count_missing = grid.interval.missing
        # Blocks that lie in the range as a whole.
        headers = await self._read_headers(context, grid, first, grid.start(last + 1))
        known = position = first
        for start in [*(header.start for header in headers if header.rows == grid.rows), last + 1]:
            async for before, time, after in self._scan(context, grid, position, start):
                if count_missing(known if before is None else before, time):
                    yield known if before is None else before, time
                if after is None:
                    known = time
            if start <= last:
                if count_missing(known, start):
                    yield known, start
                known, position = grid.last(start), grid.end(start)

    async def _scan(self, context: Key, grid: BlockGrid, first: int, end: int) -> AsyncIterator[_Edge]:
        series = self._rows.make_query(context)
        position: int | None = first
        while position is not None and position < end:
            stop = min(position + _PLACES * grid.interval.shortest, end)
            match = {**series, "timestamp": {"$gte": position, "$lt": stop}}
            found = await self._rows.aggregate([{"$match": match}, *self._make_stages(grid.interval.suspect)])
            for edge in found:
                before, time, after = (edge[name] for name in ("before", "at", "after"))
                yield _Edge(None if before is None else int(before), int(time), None if after is None else int(after))
            # A foreign row with an impossible time can be any number of queries away.
            position = stop if found or stop == end else await self._rows.find_first_time(context, stop)

    def _make_stages(self, suspect: int) -> list[Document]:
        """Return the stages that leave the first row, the last one, and those at the edges of what may be a gap."""
        sides = {
            name: {"$shift": {"output": "$at", "by": by, "default": None}}
            for name, by in (("before", -1), ("after", 1))
        }
        is_edge = {
            "$or": [
                {"$eq": ["$before", None]},
                {"$eq": ["$after", None]},
                {"$gte": [{"$subtract": ["$at", "$before"]}, suspect]},
            ]
        }
        return [
            {"$sort": self._order},
            # A name of its own, and a limit that no condition is moved across: else the server would fetch documents.
            {"$project": {"_id": 0, "at": "$timestamp"}},
            {"$limit": 2**62},
            {"$setWindowFields": {"sortBy": {"at": 1}, "output": sides}},
            {"$match": {"$expr": is_edge}},
        ]

    async def _read_headers(self, context: Key, grid: BlockGrid, first: int, end: int) -> list[BlockHeader]:
        return await self._blocks.read_headers(context, grid, first, end) if self._use_blocks else []


def _find_unsealed(headers: Sequence[BlockHeader], grid: BlockGrid, first: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of a range that are in no block; all blocks lie in the range."""
    for header in headers:
        if first < header.start:
            yield first, header.start
        first = grid.end(header.start)
    if first < end:
        yield first, end
