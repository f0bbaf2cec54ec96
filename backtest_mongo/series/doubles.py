"""Rows of candles that are in blocks already: first write wins, also where rows have lost the index that sees to it.

A writer looks for its candles in blocks before it inserts them as rows, so that it hardly ever inserts one of these;
and afterwards, with the blocks as they are on the primary then, which tells for certain. What it has inserted of them
it deletes before it returns. Readers take the block's candle all the while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bson import ObjectId

from backtest_mongo import types
from backtest_mongo.core.specs import Key
from backtest_mongo.series.blocks import BlockGrid, DamagedBlockError, decode_into, parse_block
from backtest_mongo.series.data_blocks import DataBlocks
from backtest_mongo.series.layouts import Layouts
from backtest_mongo.series.rows import CandleRows
from backtest_mongo.types import PRICES

if TYPE_CHECKING:
    from backtest_mongo.core.arrays import CandleArrays

__all__ = ["DoubleRows"]


class DoubleRows:
    """Finds rows of one slot's series that blocks have already."""

    def __init__(self, rows: CandleRows, data: DataBlocks, layouts: Layouts) -> None:
        self._rows = rows
        self._data = data
        self._layouts = layouts

    async def find_stored(self, wanted: Sequence[tuple[Key, BlockGrid, Sequence[int]]]) -> set[Key]:
        """Return, within a request, which of the ascending times of some series are known to be in blocks, as keys.

        The stretch that is not complete yet is not looked at: there is no block of it.
        """
        now = types.now_ms()
        asked = []
        for context, grid, times in wanted:
            if self._layouts.has_blocks(context):
                starts = [start for start in grid.starts(times) if start < grid.start(now)]
                if starts:
                    asked.append((context, grid, starts))
        if not asked:
            return set()
        places = await self._data.find_latest_places(asked)
        held = {key: {*block.get_times(_find_grid(asked, key[0])).tolist()} for key, block in places.items()}
        return {
            (*context, time)
            for context, grid, times in wanted
            for time in times
            if time in held.get((context, grid.start(time)), ())
        }

    async def look_up_stored(self, context: Key, grid: BlockGrid, times: Sequence[int]) -> set[int]:
        """Return the same of one series, by a request of its own."""
        if not self._layouts.has_blocks(context):
            return set()
        import numpy as np

        places = await self._data.read_places(context, grid, times[0], times[-1] + 1)
        held = [block.get_times(grid) for block in places]
        return {*np.intersect1d(np.concatenate(held), times).tolist()} if held else set()

    async def drop(self, inserted: Sequence[tuple[Key, BlockGrid, Sequence[Any]]]) -> set[ObjectId]:
        """Delete, within a request, those of the inserted documents whose candles are in blocks, and return their ids.

        Of documents that are gone already, since another process has moved all rows of their stretch, those are
        returned that had to give way to another candle.
        """
        if not inserted:
            return set()
        wanted = [
            (context, grid, grid.starts(sorted({int(row["timestamp"]) for row in documents})))
            for context, grid, documents in inserted
        ]
        places = await self._data.find_latest_places(wanted)
        lost: set[ObjectId] = set()
        for context, grid, documents in inserted:
            lost |= await self._drop(context, grid, documents, places)
        return lost

    async def _drop(self, context: Key, grid: BlockGrid, documents: Sequence[Any], places: Any) -> set[ObjectId]:
        held = {
            time
            for start in {grid.start(int(row["timestamp"])) for row in documents}
            if (context, start) in places
            for time in places[context, start].get_times(grid).tolist()
        }
        doubles = [row for row in documents if int(row["timestamp"]) in held]
        layout = self._layouts.get(context)
        # While rows are written again, those that were inserted meanwhile give way to those that come out of blocks.
        uncertain = doubles if layout is not None and layout.truth == "blocks" else list(documents)
        if not uncertain:
            return set()
        there = await self._rows.find_existing(context, [row["_id"] for row in uncertain])
        own = [row["_id"] for row in doubles if row["_id"] in there]
        if own:
            await self._rows.delete_doubles(context, own)
        gone = [row for row in uncertain if row["_id"] not in there]
        return {*own, *(await self._find_overruled(context, grid, gone) if gone else ())}

    async def _find_overruled(self, context: Key, grid: BlockGrid, documents: Sequence[Any]) -> list[ObjectId]:
        """Return the ids of documents whose candles are stored with other numbers."""
        times = sorted(int(row["timestamp"]) for row in documents)
        stored = {
            int(row["timestamp"]): row for row in await self._rows.fetch_documents(context, times[0], times[-1] + 1)
        }
        for document in await self._data.find_latest(context, grid.starts(times)):
            candles = await asyncio.to_thread(self._decode, context, grid, document)
            stored |= {row["timestamp"]: dict(row) for row in candles.candles()}
        return [
            row["_id"]
            for row in documents
            if int(row["timestamp"]) in stored
            and any(row[name] != stored[int(row["timestamp"])].get(name) for name in PRICES)
        ]

    def _decode(self, context: Key, grid: BlockGrid, document: Any) -> CandleArrays:
        from backtest_mongo.core.arrays import CandleArrays

        try:
            block = parse_block(document, grid, self._data.make_key(context))
            candles = CandleArrays.empty(block.rows)
            decode_into(block, grid, candles, 0)
        except DamagedBlockError as error:
            raise self._data.make_damage_error(context, grid, document, str(error)) from None
        return candles


def _find_grid(wanted: Sequence[tuple[Key, BlockGrid, Sequence[int]]], context: Key) -> BlockGrid:
    return next(grid for known, grid, _ in wanted if known == context)
