"""What a series without sealed blocks says of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from backtest_mongo.specs import Key
from backtest_mongo.store import Counts
from backtest_mongo.types import Document, Sealed

__all__ = ["Unsealed"]


class Unsealed:
    """The part of :class:`~backtest_mongo.store.SeriesRows` about blocks, where there are never any."""

    async def seal(self, context: Key, step: int) -> AsyncIterator[Counts]:
        yield 0, 0

    async def verify(self, context: Key, step: int) -> AsyncIterator[tuple[Document, str | None]]:
        nothing: tuple[tuple[Document, str | None], ...] = ()
        for block in nothing:
            yield block

    async def reseal(self, context: Key, step: int, damaged: Sequence[Document]) -> Counts:
        return 0, 0

    async def sealed(self, context: Key) -> Sealed:
        return Sealed(0, 0, 0)
