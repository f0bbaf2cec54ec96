"""What is stored of a series, and what is missing: answers out of indexes alone, no document is read.

Of what is not sealed one query goes over a million places of the grid at most, so a long series takes several, each
within its limit. Of what is sealed the number of candles is in the blocks' index, and a complete block has no gaps.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Final

from backtest_mongo.block_grid import Grid
from backtest_mongo.series_rows import CandleRows
from backtest_mongo.specs import Key, SlotSpec
from backtest_mongo.types import Coverage, Document

__all__ = ["Sizes", "contexts", "coverage", "neighbours"]

#: Rows of a query, or places of the grid.
_PLACES: Final = 1_000_000
_EVER: Final = (-(2**63), 2**63 - 1)

#: The start and the number of rows of blocks, by start.
Sizes = list[tuple[int, int]]


async def coverage(rows: CandleRows, spec: SlotSpec, context: Key, grid: Grid, sealed: Sizes) -> Coverage:
    """Return the first and the last time of a series, and how many rows it has."""
    whole = Coverage(None, None, sum(size for _, size in sealed))
    for first, end in _between(sealed, grid, *_EVER):
        part = await _coverage(rows, spec, context, first, end)
        whole = Coverage(part.first, part.last, whole.rows + part.rows)
    if sealed:
        first_time, last_time = await rows.next_time(context, None), await rows.next_time(context, None, -1)
        whole = Coverage(first_time, last_time, whole.rows)
    return whole


async def _coverage(rows: CandleRows, spec: SlotSpec, context: Key, first: int, end: int) -> Coverage:
    totals = {"first": {"$min": "$timestamp"}, "last": {"$max": "$timestamp"}, "rows": {"$sum": 1}}
    whole = Coverage(None, None, 0)
    query = dict(zip(spec.key, context, strict=False))
    while True:
        query["timestamp"] = {"$gte": first, "$lt": end}
        # The sort is the index's order, so it costs nothing, and the limit ends the scan.
        order: list[Document] = [{"$sort": dict.fromkeys(spec.key, 1)}, {"$limit": _PLACES}]
        found = await rows.aggregate([{"$match": query}, *order, {"$group": {"_id": None, **totals}}])
        if not found:
            return whole
        lowest, last, count = (int(found[0][name]) for name in totals)
        whole = Coverage(lowest if whole.first is None else whole.first, last, whole.rows + count)
        if count < _PLACES:
            return whole
        first = last + 1


def _between(blocks: Sizes, grid: Grid, first: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of a range that are in none of the blocks, each of which lies in it."""
    for start, _ in blocks:
        if first < start:
            yield first, start
        first = start + grid.span
    if first < end:
        yield first, end


async def neighbours(
    rows: CandleRows, spec: SlotSpec, context: Key, grid: Grid, phase: int, sealed: Sizes, first: int, end: int
) -> AsyncIterator[tuple[int | None, int | None]]:
    """Yield the neighbours in a half-open range that lie more than a step apart, by time: those of one grid alone.

    Its times have the remainder ``phase`` by the step. The first row has ``None`` before it and the last one behind it;
    a range without rows yields nothing.
    """
    complete = [block for block in sealed if block[1] == grid.rows and not phase]
    last: int | None = None
    position = first
    for start, _ in [*complete, (end, 0)]:
        async for before, time, after in _edges_between(rows, spec, context, grid, phase, position, start):
            before = last if before is None else before
            if before is None or time - before > grid.step:
                yield before, time
            if after is None:
                last = time
        if start < end:
            if last is None or start - last > grid.step:
                yield last, start
            position = start + grid.span
            last = position - grid.step
    if last is not None:
        yield last, None


async def _edges_between(
    rows: CandleRows, spec: SlotSpec, context: Key, grid: Grid, phase: int, first: int, end: int
) -> AsyncIterator[tuple[int | None, int, int | None]]:
    series = dict(zip(spec.key, context, strict=False))
    width = _PLACES * grid.step
    for start in range(first, end, width):
        match = {**series, "timestamp": {"$gte": start, "$lt": min(start + width, end)}}
        for edge in await rows.aggregate([{"$match": match}, *_edges(spec, grid.step, phase)]):
            before, time, after = (edge[name] for name in ("before", "at", "after"))
            yield None if before is None else int(before), int(time), None if after is None else int(after)


def _edges(spec: SlotSpec, step: int, phase: int) -> list[Document]:
    """Return the stages that leave the first row, the last one, and those behind a gap, with their neighbours."""
    sides = {
        name: {"$shift": {"output": "$at", "by": by, "default": None}} for name, by in (("before", -1), ("after", 1))
    }
    is_edge = {
        "$or": [
            {"$eq": ["$before", None]},
            {"$eq": ["$after", None]},
            {"$gt": [{"$subtract": ["$at", "$before"]}, step]},
        ]
    }
    return [
        {"$sort": dict.fromkeys(spec.key, 1)},
        # A name of its own, and a limit that no condition is moved across: else the server would fetch the documents.
        {"$project": {"_id": 0, "at": "$timestamp"}},
        {"$limit": 2**62},
        {"$match": {"$expr": {"$eq": [{"$mod": [{"$subtract": ["$at", phase]}, step]}, 0]}}},
        {"$setWindowFields": {"sortBy": {"at": 1}, "output": sides}},
        {"$match": {"$expr": is_edge}},
    ]


async def contexts(rows: CandleRows, spec: SlotSpec) -> AsyncIterator[Key]:
    """Yield the context of each series there is, in the order of the index, which is jumped through."""
    fields = spec.key[:-1]
    query: Document = {}
    while True:
        pipeline: list[Document] = [
            {"$match": query},
            {"$sort": dict.fromkeys(spec.key, 1)},
            {"$limit": 1},
            {"$project": {"_id": 0, **dict.fromkeys(fields, 1)}},
        ]
        found = await rows.aggregate(pipeline)
        if not found:
            return
        context = tuple(found[0][name] for name in fields)
        yield context
        query = {"$or": [_after(fields[: at + 1], context) for at in range(len(fields))]}


def _after(fields: tuple[str, ...], context: Key) -> Document:
    *equal, last = zip(fields, context, strict=False)
    return {**dict(equal), last[0]: {"$gt": last[1]}}
