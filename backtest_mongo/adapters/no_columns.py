"""Stores of series with columns that store nothing, or can't store any."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from backtest_mongo.adapters.empty_commits import EMPTY_COMMITTER, EmptyRenamer
from backtest_mongo.core.commits import Committer
from backtest_mongo.core.contexts import EVERYTHING, Measure
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.store_protocols import Counts
from backtest_mongo.core.strategy_names import Renamer
from backtest_mongo.errors import StoreError
from backtest_mongo.types import Coverage, SeriesSize

if TYPE_CHECKING:
    from backtest_mongo.columns.arrays import ColumnArrays

__all__ = ["EmptyColumns", "NoColumns"]


class EmptyColumns:
    """A store of a series with columns in which nothing is stored."""

    has_history = False
    row_bytes = 12_000_000

    def __init__(self, spec: SlotSpec) -> None:
        self._spec = spec

    @property
    def committer(self) -> Committer:
        return EMPTY_COMMITTER

    @property
    def renamer(self) -> Renamer:
        return EmptyRenamer()

    async def ready(self) -> None:
        return None

    async def insert(self, context: Key, rows: ColumnArrays) -> int:
        return 0

    async def read_rows(self, context: Key, first: int, end: int, names: Collection[str] | None = None) -> ColumnArrays:
        from backtest_mongo.columns.arrays import ColumnArrays

        return ColumnArrays.empty(self._spec, names)

    async def read_last(self, context: Key, count: int, end: int, names: Collection[str] | None = None) -> ColumnArrays:
        return await self.read_rows(context, 0, 0, names)

    async def cover(self, context: Key, end: int) -> Coverage:
        return Coverage(None, None, 0)

    async def delete_rows(self, context: Key, first: int, end: int) -> int:
        return 0

    async def seal_rows(self, context: Key, *, is_all: bool = True) -> AsyncIterator[Counts]:
        yield 0, 0

    async def verify_rows(self, context: Key) -> AsyncIterator[tuple[Coverage, str | None]]:
        nothing: tuple[tuple[Coverage, str | None], ...] = ()
        for covered in nothing:
            yield covered

    async def retain(self, context: Key, keep: str | None) -> None:
        return None

    async def prune_rows(self, context: Key) -> int:
        return 0

    async def count_prunable(self, context: Key) -> int:
        return 0

    async def size(self, context: Key) -> SeriesSize:
        return SeriesSize(0, 0, 0, 0, 0, 0, None)

    async def list_contexts(self, where: Mapping[str, Any] = EVERYTHING) -> AsyncIterator[Key]:
        nothing: tuple[Key, ...] = ()
        for context in nothing:
            yield context

    async def measure(self, where: Mapping[str, Any], *, by_context: bool) -> list[Measure]:
        return []

    async def delete_some(self, context: Key, owners: Collection[str]) -> tuple[int, bool]:
        return 0, False


class NoColumns(EmptyColumns):
    """What JSON files, which are the Node engine's, have of series with columns: nothing, and no place for any."""

    async def ready(self) -> None:
        self._refuse()

    async def insert(self, context: Key, rows: ColumnArrays) -> int:
        self._refuse()

    async def retain(self, context: Key, keep: str | None) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise StoreError(
            "JSON files have no series but candles",
            slot=self._spec.name,
            hint="store the slot in SQLite, by persist.use_sqlite(), or in MongoDB, by `await setup()`",
        )
