"""Sealing: stored candles become blocks, and blocks are compared with the candles that they were made of.

Candles that fill stretches without rows are not read back for it: their blocks are announced before they are inserted,
so that whatever else happens to these stretches withdraws the announcement, and made of what was inserted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from bson import ObjectId

from backtest_mongo import types
from backtest_mongo.core.interval_grid import GRIDS
from backtest_mongo.core.specs import Key
from backtest_mongo.core.store_protocols import Counts
from backtest_mongo.errors import StoreError, StoreUnavailableError
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

__all__ = ["GROUP", "NO_SERIES", "Sealer", "VacantBlocks"]

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

    async def claim_vacant(
        self, context: Key, grid: BlockGrid, starts: Sequence[int], candles: CandleArrays
    ) -> VacantBlocks | None:
        """Announce those of the blocks that can be sealed out of ``candles``, which are about to be inserted.

        These are blocks in whose stretches nothing is stored, neither rows nor anything of blocks.

        Args:
            starts: of blocks, ascending.
            candles: all that is to be inserted into the stretches of these blocks. They must not change any more.

        Returns:
            ``None`` if there is no such block.
        """
        now = types.now_ms()
        parts = {start: candles.between(start, grid.end(start)) for start in starts}
        wanted = [start for start, part in parts.items() if self._can_seal(grid, start, part, now)]
        if not wanted:
            return None
        last, taken = await asyncio.gather(
            self._rows.find_last_time(context, grid.end(wanted[-1])), self._blocks.find_headers(context, wanted)
        )
        occupied = {find_start(header) for header in taken}
        if len(taken) > len(occupied) or None in occupied:
            return None
        vacant = [start for start in wanted if start not in occupied and (last is None or last < start)]
        if not vacant:
            return None
        token = await self._blocks.announce(context, vacant)
        return VacantBlocks(self._rows, self._blocks, context, grid, token, {start: parts[start] for start in vacant})

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


class VacantBlocks:
    """Blocks that were announced in stretches without rows, and are made of the candles that are inserted there.

    A block is stored if all of its candles were inserted by this write, no other row is in its stretch, and nobody has
    withdrawn the announcement: whoever inserts or deletes a row there does.
    """

    def __init__(
        self,
        rows: CandleRows,
        blocks: BlockStore,
        context: Key,
        grid: BlockGrid,
        token: ObjectId,
        candles: dict[int, CandleArrays],
    ) -> None:
        self._rows = rows
        self._blocks = blocks
        self._context = context
        self._grid = grid
        self._waiting = candles
        self._ready: list[Document] = []
        self._given_up: list[int] = []
        #: The announcement.
        self.token: ObjectId = token
        #: From here on nothing was stored.
        self.first: int = min(candles)

    async def take(self, end: int) -> None:
        """Make the blocks that end before ``end``: what this write had for them is inserted."""
        done = [start for start in self._waiting if self._grid.end(start) <= end]
        candles = [(start, self._waiting.pop(start)) for start in done]
        if not candles:
            return
        key = self._blocks.make_key(self._context)
        encoding = asyncio.to_thread(_encode, key, self._grid, candles)
        encoded, stored = await asyncio.gather(encoding, self._count(done[0], self._grid.end(done[-1])))
        if stored == sum(len(part) for _, part in candles):
            self._ready += encoded
        else:
            self._given_up += done

    async def _count(self, first: int, end: int) -> int | None:
        try:
            return await self._rows.count_between(self._context, first, end)
        except (StoreError, StoreUnavailableError):
            return None  # reading them fails, too, and says why

    def give_up(self, times: Sequence[int]) -> None:
        """Leave the blocks of these times to those who read the rows, as candles of others are among them."""
        for start in self._grid.starts(times):
            if self._waiting.pop(start, None) is not None:
                self._given_up.append(start)

    async def finish(self) -> set[int]:
        """Store the blocks, and return the starts of those that are."""
        done = await self._blocks.finish(self._context, self.token, self._ready, [*self._given_up, *self._waiting])
        # Which of them were withdrawn is for those to find out who read the rows.
        return {block["start"] for block in self._ready} if done == len(self._ready) else set()


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
