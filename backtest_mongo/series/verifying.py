"""Verifying blocks that are the truth: each by its checksum, and all of a series by the list of those that it has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from backtest_mongo.core.interval_grid import GRIDS
from backtest_mongo.core.specs import Key
from backtest_mongo.errors import StoreError
from backtest_mongo.series.block_store import find_start
from backtest_mongo.series.blocks import Block, BlockGrid, DamagedBlock, DamagedBlockError, decode_into
from backtest_mongo.series.data_blocks import DataBlocks
from backtest_mongo.series.joined import JoinedReader
from backtest_mongo.types import Document

__all__ = ["LOST", "DataVerifier"]

#: The problem of a block that is not there.
LOST = "it is lost"


class DataVerifier:
    """Verifies the blocks of one slot's series."""

    def __init__(self, data: DataBlocks, joined: JoinedReader) -> None:
        self._data = data
        self._joined = joined

    async def verify(self, context: Key, grid: BlockGrid) -> AsyncIterator[tuple[Document, str | None]]:
        """Yield each block, by time, with what is wrong with it; then those that are in no range, and those lost."""
        key = self._data.make_key(context)
        position: int | None = -(2**63)
        while position is not None:
            blocks, position = await self._data.read_page(context, grid, position, 2**63 - 1)
            for block in blocks:
                yield await self._compare(block, grid)
        for document in await self._data.find_strays(context):
            for block in self._data.examine([document], grid, key):
                yield await self._compare(block, grid)
        for start in await self._joined.list_lost(context, grid):
            yield {"_id": None, "start": start, "rows": 0}, LOST

    async def verify_sample(self, count: int) -> AsyncIterator[tuple[Document, str | None]]:
        """Verify up to so many blocks of any series, taken at random, and yield them with their keys."""
        for document in await self._data.sample(count):
            key = {name: document.get(name) for name in self._data.fields}
            if not all(isinstance(value, str) for value in key.values()) or key["interval"] not in GRIDS:
                named = {**key, "_id": document.get("_id"), "start": find_start(document), "rows": 0}
                yield {**named, "is_truth": True}, "its key is damaged"
                continue
            grid = BlockGrid.of(GRIDS[str(key["interval"])])
            for block in self._data.examine([document], grid, key):
                compared, problem = await self._compare(block, grid)
                yield {**key, **compared, "is_truth": True}, problem

    async def _compare(self, block: Block | DamagedBlock, grid: BlockGrid) -> tuple[Document, str | None]:
        document = block.document
        if isinstance(block, DamagedBlock):
            return {"_id": document.get("_id"), "start": find_start(document), "rows": 0}, block.problem
        problem = await asyncio.to_thread(_find_damage, block, grid)
        return {"_id": document.get("_id"), "start": block.start, "rows": block.rows}, problem

    def make_unrepairable_error(self, context: Key, damaged: Sequence[Document]) -> StoreError:
        """Return the error of an attempt to repair blocks of which there is no other copy."""
        return StoreError(
            f"repairing failed: {len(damaged):,} damaged blocks of {':'.join(map(str, context))} are the only copy of "
            "their candles",
            slot=self._data.slot.spec.name,
            collection=self._data.slot.documents.name,
            key=self._data.make_key(context),
            hint="restore them from a backup, or delete() their whole range and write it again",
        )


def _find_damage(block: Block, grid: BlockGrid) -> str | None:
    from backtest_mongo.core.arrays import CandleArrays

    try:
        decode_into(block, grid, CandleArrays.empty(block.rows), 0)
    except DamagedBlockError as error:
        return str(error)
    return None
