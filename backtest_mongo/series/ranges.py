"""Reading a range of candles as columns: from blocks where there are any, otherwise from rows.

A planner decides, page by page, what is read from blocks and what from rows. The server sends the next page while the
blocks of those before are decompressed, each straight into its place in the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, NamedTuple

from backtest_mongo import types
from backtest_mongo.core.cancellation import shield
from backtest_mongo.core.log import log
from backtest_mongo.core.specs import Key
from backtest_mongo.errors import StoreError, StoreUnavailableError
from backtest_mongo.series.block_store import BlockStore, find_start, find_stretches
from backtest_mongo.series.blocks import Block, BlockGrid, DamagedBlock, DamagedBlockError, decode_into
from backtest_mongo.series.pipeline import work_ahead
from backtest_mongo.series.rows import CandleRows
from backtest_mongo.series.sealing import Sealer

if TYPE_CHECKING:
    from backtest_mongo.core.arrays import CandleArrays

__all__ = ["RangeReader"]

#: Pages of blocks that are decompressed at once.
_JOBS: Final = 2
#: Blocks that are decompressed in place: another thread would take longer.
_FEW: Final = 2
#: A range with more places is cut to what is stored before room is made for it.
_WIDE: Final = 100_000


class RangeReader:
    """Reads ranges of one slot's series. Without ``blocks`` they are read from rows alone."""

    def __init__(self, rows: CandleRows, blocks: BlockStore | None, sealer: Sealer) -> None:
        self._rows = rows
        self._blocks = blocks
        self._sealer = sealer

    async def read(self, context: Key, grid: BlockGrid, first: int, end: int) -> CandleArrays:
        """Return the candles of a half-open range of times, by time. Damaged blocks it finds are sealed again."""
        from backtest_mongo.core.arrays import CandleArrays

        room = grid.interval.room(first, end)
        if room > _WIDE:
            start = await self._rows.find_first_time(context, first)
            if start is None or start >= end:
                return CandleArrays.empty(0)
            last = await self._rows.find_last_time(context)
            first, end = start, min(end, start + 1 if last is None else last + 1)
            room = grid.interval.room(first, end)
        planner = _Planner(self._blocks, context, grid, first, end)
        answer = await self._fill(context, planner, room)
        while answer is None:  # there is no room for the rows of the damaged blocks
            answer = await self._fill(context, planner, room)
        if planner.damaged and self._blocks is not None:
            await self._mend(self._blocks, context, grid, planner.damaged)
        return answer

    async def _fill(self, context: Key, planner: _Planner, room: int) -> CandleArrays | None:
        """Return the candles of a plan, or ``None`` if blocks turned out to be damaged when they were decompressed."""
        decoder = _Decoder(planner.grid)
        answer = _Answer(room)

        async def place() -> AsyncGenerator[list[_Job], None]:
            """Yield the whole blocks of each page with the places that are kept for them; fill in all else."""
            async with aclosing(planner.plan()) as pages:
                async for steps in pages:
                    jobs = []
                    for first, end, block in steps:
                        if block is None:
                            async for piece in self._rows.fetch_arrays(context, first, end):
                                answer.append(piece)
                        elif first == block.start and end == block.end:
                            jobs.append(_Job(block, *answer.reserve(block.rows)))
                        else:
                            answer.append(decoder.decode_alone(block).between(first, end))
                    yield jobs

        if room <= _FEW * planner.grid.rows:  # there is one page, which nothing comes ahead of
            async with aclosing(place()) as placed:
                async for jobs in placed:
                    await decoder.decode(jobs)
        else:
            async with aclosing(work_ahead(place(), decoder.decode, _JOBS)) as decoded:
                async for _ in decoded:
                    pass
        planner.damaged += decoder.damaged
        return None if decoder.damaged else answer.finish()

    async def _mend(self, blocks: BlockStore, context: Key, grid: BlockGrid, damaged: Sequence[DamagedBlock]) -> None:
        documents = [block.document for block in damaged]
        for block in damaged:
            log().warning(
                "a block of candles is damaged: its rows were read instead, and it is sealed again",
                problem=block.problem,
                series=":".join(map(str, context)),
                start=find_start(block.document),
            )
        try:
            await blocks.drop(context, documents)
            await self._sealer.seal(context, grid, find_stretches(documents, grid))
        except (StoreError, StoreUnavailableError) as error:  # the reader may have no right to write
            log().warning("a damaged block of candles could not be sealed again", error=str(error))


class _Step(NamedTuple):
    """The next part of a range, and the block that it is read out of; ``None`` for rows."""

    first: int
    end: int
    block: Block | None


class _Planner:
    """Says what of a half-open range is read out of blocks; ``damaged`` are those that it leaves to the rows."""

    def __init__(self, blocks: BlockStore | None, context: Key, grid: BlockGrid, first: int, end: int) -> None:
        self._blocks = blocks
        self._context = context
        self.grid = grid
        self.first = first
        self.end = end
        self.damaged: list[DamagedBlock] = []

    async def plan(self) -> AsyncGenerator[list[_Step], None]:
        """Yield the steps of each page of blocks, by time, and then those after the last block."""
        # The stretch that goes on now is in no block.
        end = min(self.end, self.grid.start(types.now_ms()))
        position = self.first
        following: int | None = self.grid.start(position)
        while self._blocks is not None and following is not None and following < end:
            blocks, following = await self._blocks.read_page(self._context, self.grid, following, end)
            steps: list[_Step] = []
            for block in blocks:
                if any(block.document.get("_id") == known.document.get("_id") for known in self.damaged):
                    continue
                if isinstance(block, DamagedBlock):
                    self.damaged.append(block)
                    continue
                if position < block.start:
                    steps.append(_Step(position, block.start, None))
                steps.append(_Step(max(self.first, block.start), min(block.end, self.end), block))
                position = block.end
            yield steps
        if position < self.end:
            yield [_Step(position, self.end, None)]


class _Job(NamedTuple):
    """A block that is to be decompressed, the arrays that it goes to, and the position of its first candle."""

    block: Block
    into: CandleArrays
    at: int


class _Decoder:
    """Decompresses blocks to their places; ``damaged`` are those that it can't."""

    def __init__(self, grid: BlockGrid) -> None:
        self._grid = grid
        self.damaged: list[DamagedBlock] = []

    async def decode(self, jobs: Sequence[_Job]) -> None:
        """Decompress the blocks of a page."""
        if len(jobs) <= _FEW:
            self._decode_all(jobs)
        else:
            await shield(asyncio.to_thread(self._decode_all, jobs))

    def decode_alone(self, block: Block) -> CandleArrays:
        """Return the candles of one block."""
        from backtest_mongo.core.arrays import CandleArrays

        whole = CandleArrays.empty(block.rows)
        self._decode_all([_Job(block, whole, 0)])
        return whole

    def _decode_all(self, jobs: Sequence[_Job]) -> None:
        for block, into, at in jobs:
            try:
                decode_into(block, self._grid, into, at)
            except DamagedBlockError as error:
                self.damaged.append(DamagedBlock(block.document, str(error)))


class _Answer:
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
