"""What an adapter needs of the place where its rows are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

from backtest_mongo.specs import Key
from backtest_mongo.types import Candle, Document

__all__ = ["SeriesRows", "Store"]


class Store(Protocol):
    """The rows of one slot. Keys are in the order of ``SlotSpec.key``."""

    async def ready(self) -> None: ...
    async def find(self, key: Key) -> Document | None: ...
    async def upsert(self, key: Key, fields: Document) -> None: ...
    async def upsert_many(self, rows: Sequence[tuple[Key, Document]]) -> None: ...
    async def remove(self, key: Key) -> None: ...
    def scan(self, context: Key, until: int | None = None) -> AsyncIterator[Document]: ...
    async def newest(self, context: Key, limit: int) -> list[Document]: ...


class SeriesRows(Store, Protocol):
    """What the adapter of a series needs beyond that."""

    async def insert_new(self, context: Key, rows: Mapping[int, Document]) -> int: ...
    async def window(self, context: Key, first: int, step: int, limit: int) -> list[Candle] | None: ...
