"""What a store without sealed blocks answers about them, and about rows that might become blocks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from backtest_mongo.core.interval_grid import IntervalGrid
from backtest_mongo.core.specs import Key
from backtest_mongo.core.store_protocols import Counts, Truth
from backtest_mongo.types import Document, Sealed

__all__ = ["NoBlocks"]


class NoBlocks:
    """The methods of ``SeriesStore`` that are about blocks, for stores without any."""

    async def seal(self, context: Key, interval: IntervalGrid) -> AsyncIterator[Counts]:
        yield 0, 0

    async def verify(self, context: Key, interval: IntervalGrid) -> AsyncIterator[tuple[Document, str | None]]:
        nothing: tuple[tuple[Document, str | None], ...] = ()
        for block in nothing:
            yield block

    async def reseal(self, context: Key, interval: IntervalGrid, damaged: Sequence[Document]) -> Counts:
        return 0, 0

    async def find_truth(self, context: Key) -> Truth:
        return "rows"

    def move_to_blocks(self, context: Key, interval: IntervalGrid) -> AsyncIterator[Counts]:
        return self.seal(context, interval)

    def move_to_rows(self, context: Key, interval: IntervalGrid) -> AsyncIterator[Counts]:
        return self.seal(context, interval)

    async def count_sealed(self, context: Key, interval: IntervalGrid) -> Sealed:
        return Sealed(0, 0, 0)
