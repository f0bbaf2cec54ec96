"""Adapters that store nothing: input is checked as ever, writes go nowhere, reads find nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from backtest_mongo.shapes import Adapter
from backtest_mongo.specs import Key
from backtest_mongo.store import SeriesRows, Store
from backtest_mongo.types import Candle, Document

__all__ = ["dummy"]


class _NullStore:
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

    async def insert_new(self, context: Key, rows: Mapping[int, Document]) -> int:
        return 0

    async def window(self, context: Key, first: int, step: int, limit: int) -> list[Candle] | None:
        return None


_NOTHING: SeriesRows = _NullStore()


class _Dummy(Adapter):
    async def _prepare(self) -> None:
        return None

    def _store(self) -> Store:
        return _NOTHING


def dummy(adapter: type[Adapter]) -> type[Adapter]:
    """Return a class like ``adapter`` that stores nothing and needs no server."""
    return type(f"Dummy{adapter.__name__}", (_Dummy, adapter), {"__module__": __name__, "__doc__": adapter.__doc__})
