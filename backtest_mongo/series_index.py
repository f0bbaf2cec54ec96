"""What is stored of a series, and what is missing: answers out of the unique index alone, no document is read.

A query goes over a million places of the grid at most, so that a long series takes several, each within its limit.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from backtest_mongo.series_rows import CandleRows
from backtest_mongo.specs import Key, SlotSpec
from backtest_mongo.types import Coverage, Document

__all__ = ["contexts", "coverage", "neighbours"]

#: Rows of a query, or places of the grid.
_PLACES: Final = 1_000_000


async def coverage(rows: CandleRows, spec: SlotSpec, context: Key) -> Coverage:
    """Return the first and the last time of a series, and how many rows it has."""
    totals = {"first": {"$min": "$timestamp"}, "last": {"$max": "$timestamp"}, "rows": {"$sum": 1}}
    whole = Coverage(None, None, 0)
    query = dict(zip(spec.key, context, strict=False))
    while True:
        # The sort is the index's order, so it costs nothing, and the limit ends the scan.
        order: list[Document] = [{"$sort": dict.fromkeys(spec.key, 1)}, {"$limit": _PLACES}]
        found = await rows.aggregate([{"$match": query}, *order, {"$group": {"_id": None, **totals}}])
        if not found:
            return whole
        first, last, count = (int(found[0][name]) for name in totals)
        whole = Coverage(first if whole.first is None else whole.first, last, whole.rows + count)
        if count < _PLACES:
            return whole
        query["timestamp"] = {"$gt": last}


async def neighbours(
    rows: CandleRows, spec: SlotSpec, context: Key, step: int, phase: int, first: int, end: int
) -> AsyncIterator[tuple[int | None, int | None]]:
    """Yield the neighbours in a half-open range that lie more than a step apart, by time: those of one grid alone.

    Its times have the remainder ``phase`` by ``step``. The first row has ``None`` before it and the last one behind it;
    a range without rows yields nothing.
    """
    series = dict(zip(spec.key, context, strict=False))
    last: int | None = None
    for start in range(first, end, _PLACES * step):
        match = {**series, "timestamp": {"$gte": start, "$lt": min(start + _PLACES * step, end)}}
        for edge in await rows.aggregate([{"$match": match}, *_edges(spec, step, phase)]):
            time = int(edge["at"])
            before = last if edge["before"] is None else int(edge["before"])
            if before is None or time - before > step:
                yield before, time
            if edge["after"] is None:
                last = time
    if last is not None:
        yield last, None


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
