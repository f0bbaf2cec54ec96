"""The series of a slot, listed and measured, whether their candles are in rows or in blocks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from backtest_mongo.core.contexts import Measure
from backtest_mongo.core.interval_grid import GRIDS, IntervalGrid
from backtest_mongo.core.specs import Key
from backtest_mongo.mongo.contexts import list_contexts
from backtest_mongo.series.data_blocks import DataBlocks
from backtest_mongo.series.layouts import Layouts
from backtest_mongo.series.rows import CandleRows
from backtest_mongo.types import Coverage

__all__ = ["SeriesContexts"]


class SeriesContexts:
    """The series of one slot. ``coverage`` says how many candles one has."""

    def __init__(
        self,
        rows: CandleRows,
        data: DataBlocks,
        layouts: Layouts,
        coverage: Callable[[Key, IntervalGrid], Awaitable[Coverage]],
    ) -> None:
        self._rows = rows
        self._data = data
        self._layouts = layouts
        self._coverage = coverage

    async def list_contexts(self, where: Mapping[str, Any]) -> AsyncIterator[Key]:
        """Yield the context of each series, in the order of the key.

        Series whose last rows are moved to blocks during the listing may come last.
        """
        waiting = [context async for context in list_contexts(self._data.slot, where)]
        seen = {*waiting}
        at = 0
        async for context in self._rows.list_contexts(where):
            while at < len(waiting) and waiting[at] < context:
                yield waiting[at]
                at += 1
            if context not in seen:
                seen.add(context)
                yield context
        for context in waiting[at:]:
            yield context
        async for context in list_contexts(self._data.slot, where):
            if context not in seen:
                yield context

    async def measure(self, where: Mapping[str, Any], *, by_context: bool) -> list[Measure]:
        """Return what is stored of each series, in the order of the key, or of all together."""
        found = await self._rows.measure(where, by_context=True) if await self._has_blocks() else None
        if found is None:
            return await self._rows.measure(where, by_context=by_context)
        measures = {one.context: one for one in found}
        for row in await self._data.measure(dict(where)):
            context = tuple(row["_id"].values())
            if not all(isinstance(value, str | bool) for value in context):
                continue
            known = measures.get(context)
            interval = dict(zip(self._rows.spec.key, context, strict=False))["interval"]
            rows = int(row["rows"])
            if known is not None and interval in GRIDS:
                # Rows and blocks may have some in common.
                rows = (await self._coverage(context, GRIDS[str(interval)])).rows
            elif known is not None:
                rows += known.rows
            times = [int(row["written"]), *([] if known is None or known.written is None else [known.written])]
            size = int(row["bytes"]) + (0 if known is None else known.bytes)
            measures[context] = Measure(context=context, contexts=1, rows=rows, bytes=size, written=max(times))
        ordered = [measures[context] for context in sorted(measures)]
        if by_context or not ordered:
            return ordered
        written = [one.written for one in ordered if one.written is not None]
        return [
            Measure(
                context=(),
                contexts=len(ordered),
                rows=sum(one.rows for one in ordered),
                bytes=sum(one.bytes for one in ordered),
                versions=sum(one.versions for one in ordered),
                written=max(written, default=None),
            )
        ]

    async def _has_blocks(self) -> bool:
        return any(layout.has_blocks for layout in (await self._layouts.list_all()).values())
