"""Putting an answer together: blocks are decompressed, each straight into its place in the arrays of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from backtest_mongo.core.cancellation import shield
from backtest_mongo.series.blocks import Block, BlockGrid, DamagedBlock, DamagedBlockError, decode_into

if TYPE_CHECKING:
    from backtest_mongo.core.arrays import CandleArrays

__all__ = ["FEW", "Answer", "Decoder", "Job"]

#: Blocks that are decompressed in place: another thread would take longer.
FEW: Final = 2


class Job(NamedTuple):
    """A block that is to be decompressed, the arrays that it goes to, and the position of its first candle."""

    block: Block
    into: CandleArrays
    at: int


class Decoder:
    """Decompresses blocks to their places; ``damaged`` are those that it can't."""

    def __init__(self, grid: BlockGrid) -> None:
        self._grid = grid
        self.damaged: list[DamagedBlock] = []

    async def decode(self, jobs: Sequence[Job]) -> None:
        """Decompress the blocks of a page."""
        if len(jobs) <= FEW:
            self._decode_all(jobs)
        else:
            await shield(asyncio.to_thread(self._decode_all, jobs))

    def decode_alone(self, block: Block) -> CandleArrays:
        """Return the candles of one block."""
        from backtest_mongo.core.arrays import CandleArrays

        whole = CandleArrays.empty(block.rows)
        self._decode_all([Job(block, whole, 0)])
        return whole

    def _decode_all(self, jobs: Sequence[Job]) -> None:
        for block, into, at in jobs:
            try:
                decode_into(block, self._grid, into, at)
            except DamagedBlockError as error:
                self.damaged.append(DamagedBlock(block.document, str(error)))


class Answer:
    """The arrays that an answer is put together in, with room for as many rows as are expected."""

    def __init__(self, rows: int) -> None:
        from backtest_mongo.core.arrays import CandleArrays

        self._empty = CandleArrays.empty
        self._full: list[CandleArrays] = []
        self._into = CandleArrays.empty(rows)
        self._room = rows
        self._filled = 0

    def reserve(self, rows: int) -> tuple[CandleArrays, int]:
        """Keep room for the next rows; return the arrays that they go to, and the position of the first."""
        if self._filled + rows > self._room:  # there are off-grid rows
            self._full.append(self._into.take(slice(self._filled)))
            self._room, self._filled = max(rows, self._filled), 0
            self._into = self._empty(self._room)
        at = self._filled
        self._filled += rows
        return self._into, at

    def append(self, rows: CandleArrays) -> None:
        """Copy the next rows to their place."""
        into, at = self.reserve(len(rows))
        into.put(at, rows)

    def finish(self) -> CandleArrays:
        """Return all rows."""
        from backtest_mongo.core.arrays import join_arrays

        rest = self._into if self._filled == self._room else self._into.take(slice(self._filled))
        if self._full:
            return join_arrays([*self._full, rest])
        # A small part of much room would keep all of it.
        return rest if 2 * self._filled > self._room or not self._room else rest.copy()
