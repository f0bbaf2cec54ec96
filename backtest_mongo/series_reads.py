"""Reading a range of candles as columns: out of blocks where there are any, and out of rows where not.

The server sends the next blocks while those before are being decompressed, each straight into its place of the answer.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from backtest_mongo import types
from backtest_mongo.arrays import CandleArrays
from backtest_mongo.block_grid import Grid
from backtest_mongo.block_store import PAGE_BLOCKS, MongoBlocks
from backtest_mongo.blocks import DamagedBlockError, decode_into
from backtest_mongo.series_rows import CandleRows
from backtest_mongo.specs import Key
from backtest_mongo.types import Document

__all__ = ["Read"]

#: Pages of blocks that are being decompressed at once.
_JOBS: Final = 2
#: Blocks that are decompressed in place: another thread would take longer.
_FEW: Final = 2
#: Where a range has more places, it is cut to what is stored before there is room made for it.
_WIDE: Final = 100_000

Job = list[tuple[Document, int]]


class Read:
    """One read. ``damaged`` are the blocks that it found to be so, and took the rows instead of."""

    def __init__(self, rows: CandleRows, blocks: MongoBlocks | None, grid: Grid, context: Key) -> None:
        self._rows = rows
        self._blocks = blocks
        self._grid = grid
        self._context = context
        self._jobs: list[asyncio.Future[list[Document]]] = []
        self._next: asyncio.Future[list[Document]] | None = None
        self.damaged: list[Document] = []

    async def between(self, first: int, end: int) -> CandleArrays:
        """Return the candles of the half-open range, by time."""
        if (end - first) // self._grid.step > _WIDE:
            start = await self._rows.next_time(self._context, first)
            if start is None or start >= end:
                return CandleArrays.empty(0)
            last = await self._rows.next_time(self._context, None, -1)
            first, end = start, min(end, start + 1 if last is None else last + 1)
        self._into = CandleArrays.empty(max(0, -((first - end) // self._grid.step)))
        self._filled = 0
        while True:
            known = len(self.damaged)
            await self._fill(first, end)
            if len(self.damaged) == known:
                return self._into if self._filled == len(self._into) else self._trimmed()
            self._filled = 0

    def _trimmed(self) -> CandleArrays:
        part = self._into.take(slice(self._filled))
        # A small part of much room would keep all of it.
        return part if 2 * self._filled > len(self._into) else part.copy()

    async def _fill(self, first: int, end: int) -> None:
        position = first
        page = await self._page(self._grid.start(first), end)
        try:
            while page:
                if len(page) == PAGE_BLOCKS:
                    self._next = asyncio.ensure_future(self._page(page[-1]["start"] + 1, end))
                job: Job = []
                for block in page:
                    if any(block["_id"] == known["_id"] for known in self.damaged):
                        continue
                    start, stop = block["start"], block["start"] + self._grid.span
                    await self._fill_from_rows(position, start)
                    if first <= start and stop <= end:
                        job.append((block, await self._reserve(block["rows"])))
                    else:
                        await self._fill_in_part(block, max(first, start), min(stop, end))
                    position = stop
                await self._decode(job)
                page = await self._next if self._next is not None and len(page) == PAGE_BLOCKS else []
            await self._fill_from_rows(position, end)
            await self._finish(0)
        finally:
            under_way: list[asyncio.Future[Any]] = [*self._jobs]
            if self._next is not None:
                self._next.cancel()
                under_way.append(self._next)
                self._next = None
            await asyncio.gather(*under_way, return_exceptions=True)
            self._jobs.clear()

    async def _page(self, first: int, end: int) -> list[Document]:
        # The stretch that goes on now is in no block.
        end = min(end, self._grid.start(types.now_ms()))
        if self._blocks is None or first >= end:
            return []
        return await self._blocks.page(self._context, self._grid, first, end)

    async def _fill_from_rows(self, first: int, end: int) -> None:
        async for piece in self._rows.pieces(self._context, first, end):
            at = await self._reserve(len(piece))
            self._into.put(at, piece)

    async def _fill_in_part(self, block: Document, first: int, end: int) -> None:
        whole = CandleArrays.empty(block["rows"])
        self.damaged += _decoded(self._grid, [(block, 0)], whole)
        part = whole.between(first, end)
        at = await self._reserve(len(part))
        self._into.put(at, part)

    async def _reserve(self, rows: int) -> int:
        at = self._filled
        self._filled += rows
        if self._filled > len(self._into):  # there are rows beside the grid
            await self._finish(0)
            larger = CandleArrays.empty(2 * self._filled)
            larger.put(0, self._into)
            self._into = larger
        return at

    async def _decode(self, job: Job) -> None:
        if len(job) <= _FEW:
            self.damaged += _decoded(self._grid, job, self._into)
            return
        self._jobs.append(asyncio.ensure_future(asyncio.to_thread(_decoded, self._grid, job, self._into)))
        await self._finish(_JOBS - 1)

    async def _finish(self, under_way: int) -> None:
        """Wait until no more than so many jobs are under way."""
        while len(self._jobs) > under_way:
            self.damaged += await self._jobs.pop(0)


def _decoded(grid: Grid, job: Job, into: CandleArrays) -> list[Document]:
    """Decompress blocks to their places, and return those that are damaged."""
    damaged = []
    for block, at in job:
        try:
            decode_into(block, grid, into, at)
        except DamagedBlockError as error:
            damaged.append({**block, "problem": str(error)})
    return damaged
