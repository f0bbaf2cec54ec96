"""Adapters that check their input and store nothing: reads find nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from backtest_mongo.adapters.empty_commits import EMPTY_COMMITTER, EmptyRenamer
from backtest_mongo.adapters.no_columns import EmptyColumns
from backtest_mongo.adapters.shapes import Adapter
from backtest_mongo.core.commits import Committer
from backtest_mongo.core.contexts import EVERYTHING, Measure
from backtest_mongo.core.gaps import GapFinder
from backtest_mongo.core.interval_grid import IntervalGrid
from backtest_mongo.core.no_blocks import NoBlocks
from backtest_mongo.core.no_history import NoHistory
from backtest_mongo.core.pruning import NoPruner, Pruner
from backtest_mongo.core.selection import EVERY_ROW, PayloadFilter, Selection
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.store_protocols import Counts, SeriesStore, Store
from backtest_mongo.core.strategy_names import Renamer
from backtest_mongo.core.versions import ABSENT, is_expected, make_conflict
from backtest_mongo.types import Candle, Coverage, Document, Gap, Version

if TYPE_CHECKING:
    from backtest_mongo.core.arrays import CandleArrays

__all__ = ["make_dummy"]


class _EmptyStore(NoBlocks, NoHistory):
    def __init__(self, spec: SlotSpec) -> None:
        self._spec = spec
        self.pruner: Pruner = NoPruner(spec)

    @property
    def committer(self) -> Committer:
        return EMPTY_COMMITTER

    async def ready(self) -> None:
        return None

    async def find(self, key: Key) -> Document | None:
        return None

    async def find_many(self, keys: Sequence[Key]) -> list[Document | None]:
        return [None for _ in keys]

    async def find_version(self, key: Key) -> tuple[Document | None, Version]:
        return None, ABSENT

    async def upsert(self, key: Key, fields: Document) -> None:
        return None

    async def upsert_each(self, rows: Sequence[tuple[Key, Document]]) -> None:
        return None

    async def upsert_many(self, rows: Sequence[tuple[Key, Document]]) -> None:
        return None

    async def replace(self, key: Key, fields: Document, expected: Version | None) -> None:
        if not is_expected(self._spec, None, ABSENT, expected):
            raise make_conflict(self._spec, key, None, ABSENT, expected)

    async def remove(self, key: Key, run: str | None = None) -> None:
        return None

    async def scan(
        self, context: Key, until: int | None = None, chosen: Selection = EVERY_ROW
    ) -> AsyncIterator[Document]:
        nothing: tuple[Document, ...] = ()
        for document in nothing:
            yield document

    async def newest(self, context: Key, limit: int, where: PayloadFilter | None = None) -> list[Document]:
        return []

    async def list_contexts(self, where: Mapping[str, Any] = EVERYTHING) -> AsyncIterator[Key]:
        nothing: tuple[Key, ...] = ()
        for context in nothing:
            yield context

    async def measure(self, where: Mapping[str, Any], *, by_context: bool) -> list[Measure]:
        return []

    async def delete_some(self, context: Key, owners: Collection[str]) -> tuple[int, bool]:
        return 0, False

    @property
    def renamer(self) -> Renamer:
        return EmptyRenamer()

    async def insert_new(self, context: Key, interval: IntervalGrid, rows: Mapping[int, Document]) -> int:
        return 0

    async def window(self, context: Key, first: int, interval: IntervalGrid, limit: int) -> list[Candle] | None:
        return None

    async def insert_arrays(self, context: Key, interval: IntervalGrid, candles: CandleArrays) -> int:
        return 0

    async def read(self, context: Key, interval: IntervalGrid, first: int, end: int) -> CandleArrays:
        from backtest_mongo.core.arrays import CandleArrays

        return CandleArrays.empty(0)

    async def coverage(self, context: Key, interval: IntervalGrid) -> Coverage:
        return Coverage(None, None, 0)

    async def survey(
        self, context: Key, interval: IntervalGrid, first: int | None, end: int | None
    ) -> tuple[Coverage, int]:
        return Coverage(None, None, 0), 0

    async def delete(self, context: Key, interval: IntervalGrid, first: int | None, end: int | None) -> Counts:
        return 0, 0

    async def find_bounds(self, context: Key) -> tuple[int, int] | None:
        return None

    async def gaps(self, context: Key, finder: GapFinder, bounds: tuple[int, int]) -> AsyncIterator[Gap]:
        nothing: tuple[Gap, ...] = ()
        for gap in nothing:
            yield gap

    async def find_around(self, context: Key, first: int | None, end: int | None) -> tuple[int | None, int | None]:
        return None, None


class _DummyAdapter(Adapter):
    _empty_store: ClassVar[SeriesStore]

    async def _prepare(self) -> None:
        return None

    @classmethod
    def _base_store(cls) -> Store:
        return cls._empty_store

    @classmethod
    def _open_versions(cls) -> None:
        return None

    @classmethod
    def _stream(cls, context: Key | None, after: str | None) -> None:
        return None  # nothing changes, so a watch ends as soon as it begins


def is_dummy(adapter: type[Adapter]) -> bool:
    """Return whether an adapter class stores nothing."""
    return issubclass(adapter, _DummyAdapter)


def make_dummy(adapter: type[Adapter]) -> type[Adapter]:
    """Return a class like ``adapter`` that stores nothing and needs no server."""
    store = EmptyColumns if adapter.spec.columns else _EmptyStore
    members = {"__module__": __name__, "__doc__": adapter.__doc__, "_empty_store": store(adapter.spec)}
    return type(f"Dummy{adapter.__name__}", (_DummyAdapter, adapter), members)
