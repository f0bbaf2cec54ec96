"""Sealing: stored candles become blocks, and blocks are compared with the candles that they were made of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Final

from backtest_mongo import types
from backtest_mongo.block_grid import FORMAT, Grid
from backtest_mongo.block_store import MongoBlocks
from backtest_mongo.series_rows import CandleRows
from backtest_mongo.specs import Key
from backtest_mongo.store import Counts
from backtest_mongo.types import Document

if TYPE_CHECKING:
    from backtest_mongo.arrays import CandleArrays

__all__ = ["GROUP", "Sealer"]

#: Blocks sealed at a time: their candles are what is held in memory.
GROUP: Final = 16


class Sealer:
    """Seals and verifies the blocks of one slot's series."""

    def __init__(self, rows: CandleRows, blocks: MongoBlocks) -> None:
        self._rows = rows
        self._blocks = blocks

    async def seal(self, context: Key, grid: Grid, starts: Sequence[int], stored: CandleArrays | None = None) -> Counts:
        """Seal those of the blocks, in ascending order, that are not sealed yet and can be.

        That is every complete one, and one with gaps once its stretch is over.

        Args:
            stored: candles that are stored for good, so that they need not be read.
        """
        done = rows = 0
        if stored is not None and len(starts) > 1 and stored.timestamp[0] > starts[0]:
            # Of the first one a part may have been stored before: alone, so that the others need not be read.
            done, rows = await self.seal(context, grid, starts[:1])
            starts = starts[1:]
        for at in range(0, len(starts), GROUP):
            group = starts[at : at + GROUP]
            sealed = {head["start"] for head in await self._blocks.heads(context, group) if _is_sealed(head, grid)}
            missing = [start for start in group if start not in sealed]
            if missing:
                blocks, candles = await self._seal_group(context, grid, missing, stored)
                done, rows = done + blocks, rows + candles
        return done, rows

    async def _seal_group(self, context: Key, grid: Grid, starts: list[int], stored: CandleArrays | None) -> Counts:
        token = await self._blocks.announce(context, starts)
        now = types.now_ms()
        candles = await self._candles(context, starts[0], starts[-1] + grid.span, stored)
        sealable = [(start, candles.between(start, start + grid.span)) for start in starts]
        sealable = [(start, part) for start, part in sealable if self._can_seal(grid, start, part, now)]
        blocks = await asyncio.to_thread(_encode, self._blocks.key(context), grid, sealable)
        ready = {block["start"] for block in blocks}
        done = await self._blocks.finish(context, token, blocks, [start for start in starts if start not in ready])
        if done < len(blocks):  # late candles or another sealer have come in between
            ready &= {head["start"] for head in await self._blocks.heads(context, starts) if _is_sealed(head, grid)}
        return done, sum(block["rows"] for block in blocks if block["start"] in ready)

    async def _candles(self, context: Key, first: int, end: int, stored: CandleArrays | None) -> CandleArrays:
        from backtest_mongo.arrays import CandleArrays, joined

        if stored is not None:
            part = stored.between(first, end)
            # As many as there are: then no others are stored beside them.
            if await self._rows.count(context, first, end) == len(part):
                return part
        parts = [piece async for piece in self._rows.pieces(context, first, end)]
        return joined(parts) if parts else CandleArrays.empty(0)

    def _can_seal(self, grid: Grid, start: int, candles: CandleArrays, now: int) -> bool:
        if not len(candles) or ((candles.timestamp - start) % grid.step).any():
            return False  # rows beside the grid stay rows
        return len(candles) == grid.rows or (grid.is_over(start, now) and not self._blocks.complete_only)

    async def seal_all(self, context: Key, grid: Grid) -> AsyncIterator[Counts]:
        """Seal the whole series; yield what was sealed after each stretch."""
        position = await self._rows.next_time(context, None)
        while position is not None:
            first = grid.start(position)
            starts = [first + number * grid.span for number in range(GROUP)]
            yield await self.seal(context, grid, starts)
            position = await self._rows.next_time(context, starts[-1] + grid.span)

    async def verify(self, context: Key, grid: Grid) -> AsyncIterator[tuple[Document, str | None]]:
        """Yield each block that readers use, by time, with what is wrong with it, or ``None`` if it equals the rows."""
        position = -(2**63)
        while page := await self._blocks.page(context, grid, position, 2**63 - 1):
            for block in page:
                async for compared in self.compare(context, grid, block):
                    yield compared
            position = page[-1]["start"] + 1

    async def compare(self, context: Key, grid: Grid, block: Document) -> AsyncIterator[tuple[Document, str | None]]:
        """Yield a block with what is wrong with it, unless a late candle has dropped it meanwhile."""
        parts = [piece async for piece in self._rows.pieces(context, block["start"], block["start"] + grid.span)]
        problem = await asyncio.to_thread(_difference, block, grid, parts)
        if problem is None or await self._blocks.has(block):
            yield {name: block[name] for name in ("_id", "start", "rows")}, problem


def _is_sealed(head: Document, grid: Grid) -> bool:
    # What a later version of this library has sealed is left to it.
    return bool(head["format"] > FORMAT or (head["format"] == FORMAT and 0 < head["rows"] <= grid.rows))


def _encode(key: Document, grid: Grid, sealable: list[tuple[int, CandleArrays]]) -> list[Document]:
    from backtest_mongo.blocks import encode

    return [encode({**key, "start": start}, grid, part) for start, part in sealable]


def _difference(block: Document, grid: Grid, parts: list[CandleArrays]) -> str | None:
    from backtest_mongo.arrays import CandleArrays, joined
    from backtest_mongo.blocks import DamagedBlockError, decode_into

    sealed = CandleArrays.empty(block["rows"])
    try:
        decode_into(block, grid, sealed, 0)
    except DamagedBlockError as error:
        return str(error)
    stored = joined(parts) if parts else CandleArrays.empty(0)
    if len(stored) != len(sealed) or (stored.timestamp != sealed.timestamp).any():
        return f"it holds {len(sealed):,} candles, and the store {len(stored):,}, or at other times"
    if any((one != other).any() for one, other in zip(stored.prices, sealed.prices, strict=True)):
        return "its prices differ from the store's"
    return None
