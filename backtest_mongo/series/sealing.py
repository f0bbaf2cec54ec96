"""Sealing: stored candles become blocks, and blocks are compared with the candles that they were made of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from backtest_mongo import types
from backtest_mongo.core.interval_grid import GRIDS
from backtest_mongo.core.specs import Key
from backtest_mongo.core.store_protocols import Counts
from backtest_mongo.series.block_store import BlockStore, find_start, find_stretches
from backtest_mongo.series.blocks import (
    Block,
    BlockGrid,
    DamagedBlock,
    DamagedBlockError,
    decode_into,
    encode_block,
    is_newer_format,
    parse_header,
)
from backtest_mongo.series.rows import CandleRows
from backtest_mongo.types import Document

if TYPE_CHECKING:
    from backtest_mongo.core.arrays import CandleArrays

__all__ = ["GROUP", "NO_SERIES", "Sealer"]

#: Blocks sealed at a time: their candles are what is held in memory.
GROUP: Final = 16
#: The problem of a block that belongs to no series, so that it is never read.
NO_SERIES: Final = "its key is that of no series"


class Sealer:
    """Seals and verifies the blocks of one slot's series."""

    def __init__(self, rows: CandleRows, blocks: BlockStore) -> None:
        self._rows = rows
        self._blocks = blocks

    async def seal(self, context: Key, grid: BlockGrid, starts: Sequence[int]) -> Counts:
        """Seal those of the blocks, in ascending order, that are not sealed yet and can be.

        These are the complete ones, and those with gaps whose stretch is over.
        """
        done = rows = 0
        for at in range(0, len(starts), GROUP):
            group = starts[at : at + GROUP]
            sealed = await self._find_sealed(context, grid, group)
            missing = [start for start in group if start not in sealed]
            if missing:
                blocks, candles = await self._seal_group(context, grid, missing)
                done, rows = done + blocks, rows + candles
        return done, rows

    async def _seal_group(self, context: Key, grid: BlockGrid, starts: list[int]) -> Counts:
        token = await self._blocks.announce(context, starts)
        # Read even by the writer of these candles: they may have been deleted since, and others written in their place.
        now = types.now_ms()
        candles = await self._fetch(context, starts[0], grid.end(starts[-1]))
        sealable = [(start, candles.between(start, grid.end(start))) for start in starts]
        sealable = [(start, part) for start, part in sealable if self._can_seal(grid, start, part, now)]
        blocks = await asyncio.to_thread(_encode, self._blocks.make_key(context), grid, sealable)
        ready = {block["start"] for block in blocks}
        done = await self._blocks.finish(context, token, blocks, [start for start in starts if start not in ready])
        if done < len(blocks):  # late candles or another sealer have come in between
            ready &= await self._find_sealed(context, grid, starts)
        return done, sum(block["rows"] for block in blocks if block["start"] in ready)

    async def _find_sealed(self, context: Key, grid: BlockGrid, starts: Sequence[int]) -> set[int]:
        """Return which of these blocks are sealed; those that a later version of this library has sealed count too."""
        key = self._blocks.make_key(context)
        sealed = set()
        for header in await self._blocks.find_headers(context, starts):
            with suppress(DamagedBlockError):
                if is_newer_format(header) or parse_header(header, grid, key):
                    sealed.add(find_start(header))
        return {start for start in starts if start in sealed}

    async def _fetch(self, context: Key, first: int, end: int) -> CandleArrays:
        from backtest_mongo.core.arrays import join_arrays

        return join_arrays([piece async for piece in self._rows.fetch_arrays(context, first, end)])

    def _can_seal(self, grid: BlockGrid, start: int, candles: CandleArrays, now: int) -> bool:
        if not len(candles) or grid.interval.locate_all(candles.timestamp)[1].any():
            return False  # off-grid rows stay rows
        return len(candles) == grid.rows or (grid.is_over(start, now) and not self._blocks.complete_only)

    async def seal_all(self, context: Key, grid: BlockGrid) -> AsyncIterator[Counts]:
        """Seal the whole series; yield what was sealed after each stretch."""
        position = await self._rows.find_first_time(context, types.EARLIEST)
        while position is not None and position <= types.LATEST:
            first = grid.start(position)
            starts = [grid.end(first, number) for number in range(GROUP)]
            yield await self.seal(context, grid, starts)
            position = await self._rows.find_first_time(context, grid.end(starts[-1]))

    async def verify(self, context: Key, grid: BlockGrid) -> AsyncIterator[tuple[Document, str | None]]:
        """Yield each block that is read, by time, with what is wrong with it, or ``None`` if it equals the rows.

        Those whose start is no time come last, with ``None`` as their start.
        """
        position: int | None = -(2**63)
        while position is not None:
            blocks, position = await self._blocks.read_page(context, grid, position, 2**63 - 1)
            for block in blocks:
                async for compared in self._compare(context, grid, block):
                    yield compared
        key = self._blocks.make_key(context)
        for document in await self._blocks.find_strays(context):
            for block in self._blocks.examine([document], grid, key):
                async for compared in self._compare(context, grid, block):
                    yield compared

    async def verify_sample(self, count: int) -> AsyncIterator[tuple[Document, str | None]]:
        """Compare up to so many blocks of any series, taken at random, each with its rows, and yield them by key."""
        fields = self._rows.spec.key[:-1]
        for document in await self._blocks.sample(count):
            key = {name: document.get(name) for name in fields}
            interval = key.get("interval")
            if not all(isinstance(value, str | bool) for value in key.values()) or interval not in GRIDS:
                yield {**key, "_id": document.get("_id"), "start": find_start(document), "rows": 0}, NO_SERIES
                continue
            grid = BlockGrid.of(GRIDS[str(interval)])
            for block in self._blocks.examine([document], grid, key):
                async for compared, problem in self._compare(tuple(key.values()), grid, block):
                    yield {**key, **compared}, problem

    async def _compare(
        self, context: Key, grid: BlockGrid, block: Block | DamagedBlock
    ) -> AsyncIterator[tuple[Document, str | None]]:
        """Yield a block with what is wrong with it, unless a late candle has dropped it meanwhile."""
        document, rows = block.document, 0
        if isinstance(block, DamagedBlock):
            problem: str | None = block.problem
        else:
            rows = block.rows
            stored = await self._fetch(context, block.start, block.end)
            problem = await asyncio.to_thread(_find_difference, block, grid, stored)
        if problem is None or await self._blocks.is_unchanged(context, document):
            yield {"_id": document.get("_id"), "start": find_start(document), "rows": rows}, problem

    async def reseal(self, context: Key, grid: BlockGrid, damaged: Sequence[Document]) -> Counts:
        """Drop these blocks and seal their stretches again; the whole series, if the start of one is wrong too."""
        await self._blocks.drop(context, damaged)
        if all(block["start"] is not None and grid.start(block["start"]) == block["start"] for block in damaged):
            return await self.seal(context, grid, find_stretches(damaged, grid))
        done = rows = 0
        async for blocks, candles in self.seal_all(context, grid):
            done, rows = done + blocks, rows + candles
        return done, rows


def _encode(key: Document, grid: BlockGrid, sealable: list[tuple[int, CandleArrays]]) -> list[Document]:
    return [encode_block({**key, "start": start}, grid, part) for start, part in sealable]


def _find_difference(block: Block, grid: BlockGrid, stored: CandleArrays) -> str | None:
    from backtest_mongo.core.arrays import CandleArrays

    sealed = CandleArrays.empty(block.rows)
    try:
        decode_into(block, grid, sealed, 0)
    except DamagedBlockError as error:
        return str(error)
    if len(stored) != len(sealed) or (stored.timestamp != sealed.timestamp).any():
        return f"its candles are not those of its rows, of which there are {len(stored):,}; it has {len(sealed):,}"
    # Bit by bit: a NaN of another writer's equals itself.
    if any(one.tobytes() != other.tobytes() for one, other in zip(stored.prices, sealed.prices, strict=True)):
        return "its prices differ from the store's"
    return None
