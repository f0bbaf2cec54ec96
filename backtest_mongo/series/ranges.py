"""Reading a range of candles as columns: from blocks where there are any, otherwise from rows.

A planner decides, page by page, what is read from blocks and what from rows. The server sends the next page while the
blocks of those before are decompressed, each straight into its place in the answer.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, NamedTuple

from backtest_mongo import types
from backtest_mongo.core.log import log
from backtest_mongo.core.specs import Key
from backtest_mongo.errors import StoreError, StoreUnavailableError
from backtest_mongo.series.assembly import FEW, Answer, Decoder, Job
from backtest_mongo.series.block_store import BlockStore, find_start, find_stretches
from backtest_mongo.series.blocks import Block, BlockGrid, DamagedBlock
from backtest_mongo.series.pipeline import work_ahead
from backtest_mongo.series.rows import CandleRows
from backtest_mongo.series.sealing import Sealer

if TYPE_CHECKING:
    from backtest_mongo.core.arrays import CandleArrays

__all__ = ["JOBS", "WIDE", "RangeReader"]

#: Pages of blocks that are decompressed at once.
JOBS: Final = 2
#: A range with more places is cut to what is stored before room is made for it.
WIDE: Final = 100_000


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
        if room > WIDE:
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
        decoder = Decoder(planner.grid)
        answer = Answer(room)

        async def place() -> AsyncGenerator[list[Job], None]:
            """Yield the whole blocks of each page with the places that are kept for them; fill in all else."""
            async with aclosing(planner.plan()) as pages:
                async for steps in pages:
                    jobs = []
                    for first, end, block in steps:
                        if block is None:
                            async for piece in self._rows.fetch_arrays(context, first, end):
                                answer.append(piece)
                        elif first == block.start and end == block.end:
                            jobs.append(Job(block, *answer.reserve(block.rows)))
                        else:
                            answer.append(decoder.decode_alone(block).between(first, end))
                    yield jobs

        if room <= FEW * planner.grid.rows:  # there is one page, which nothing comes ahead of
            async with aclosing(place()) as placed:
                async for jobs in placed:
                    await decoder.decode(jobs)
        else:
            async with aclosing(work_ahead(place(), decoder.decode, JOBS)) as decoded:
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
        # The stretch that is not complete yet is in no block.
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
