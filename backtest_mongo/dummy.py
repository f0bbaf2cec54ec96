"""Adapters that store nothing: input is checked as ever, writes go nowhere, reads find nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING

from backtest_mongo.shapes import Adapter
from backtest_mongo.specs import Key
from backtest_mongo.store import SeriesRows, Store
from backtest_mongo.types import Candle, Coverage, Document
from backtest_mongo.unsealed import Unsealed

if TYPE_CHECKING:
    from backtest_mongo.arrays import CandleArrays

__all__ = ["dummy"]


class _NullStore(Unsealed):
    async def ready(self) -> None:
        return None

    async def find(self, key: Key) -> Document | None:
        return None

    async def upsert(self, key: Key, fields: Document) -> None:
        return None

    async def upsert_many(self, rows: Sequence[tuple[Key, Document]]) -> None:
        return None

    async def remove(self, key: Key) -> None:
        return None

    async def scan(self, context: Key, until: int | None = None) -> AsyncIterator[Document]:
        nothing: tuple[Document, ...] = ()
        for document in nothing:
            yield document

    async def newest(self, context: Key, limit: int) -> list[Document]:
        return []

    async def insert_new(self, context: Key, step: int, rows: Mapping[int, Document]) -> int:
        return 0

    async def window(self, context: Key, first: int, step: int, limit: int) -> list[Candle] | None:
        return None

    async def insert_arrays(self, context: Key, step: int, candles: CandleArrays) -> int:
        return 0

    async def read(self, context: Key, step: int, first: int, end: int) -> CandleArrays:
        from backtest_mongo.arrays import CandleArrays

        return CandleArrays.empty(0)

    async def coverage(self, context: Key, step: int) -> Coverage:
        return Coverage(None, None, 0)

    async def bounds(self, context: Key) -> tuple[int, int] | None:
        return None

    async def neighbours(
        self, context: Key, step: int, phase: int, first: int, end: int
    ) -> AsyncIterator[tuple[int | None, int | None]]:
        nothing: tuple[tuple[int | None, int | None], ...] = ()
        for pair in nothing:
            yield pair

    async def contexts(self) -> AsyncIterator[Key]:
        nothing: tuple[Key, ...] = ()
        for context in nothing:
            yield context


_NOTHING: SeriesRows = _NullStore()


class _Dummy(Adapter):
    async def _prepare(self) -> None:
        return None

    @classmethod
    def _store(cls) -> Store:
        return _NOTHING

    @classmethod
    def _stream(cls, context: Key | None, after: str | None) -> None:
        return None  # nothing changes, so a watch is over as soon as it begins


def dummy(adapter: type[Adapter]) -> type[Adapter]:
    """Return a class like ``adapter`` that stores nothing and needs no server."""
    return type(f"Dummy{adapter.__name__}", (_Dummy, adapter), {"__module__": __name__, "__doc__": adapter.__doc__})
