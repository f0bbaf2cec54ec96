"""The observed store: where telemetry is set up, adapters get it in front of the store that does the work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar, cast

from backtest_mongo.columns.store_protocol import ColumnStore
from backtest_mongo.connection.hub import Hub
from backtest_mongo.core.commits import Commit, Committer
from backtest_mongo.core.contexts import EVERYTHING, Measure
from backtest_mongo.core.gaps import GapFinder
from backtest_mongo.core.history import VersionStore
from backtest_mongo.core.interval_grid import IntervalGrid
from backtest_mongo.core.observation import current_operation
from backtest_mongo.core.pruning import Pruner
from backtest_mongo.core.selection import EVERY_ROW, PayloadFilter, Selection
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.store_protocols import Counts, SeriesStore, Store, Truth
from backtest_mongo.core.strategy_names import Renamer
from backtest_mongo.telemetry.instruments import Telemetry, get_telemetry
from backtest_mongo.types import Candle, Coverage, Document, Gap, Sealed, SeriesSize, Version

if TYPE_CHECKING:
    from backtest_mongo.columns.arrays import ColumnArrays
    from backtest_mongo.core.arrays import CandleArrays
    from backtest_mongo.mongo.store import MongoStore
    from backtest_mongo.telemetry.spans import OperationSpan

__all__ = ["observe_store"]

T = TypeVar("T")

_END = object()


class _ObservedStore:
    """A span around every operation of a store. Stores of series have all of them, the others the first few."""

    def __init__(self, store: SeriesStore, hub: Hub, spec: SlotSpec, telemetry: Telemetry) -> None:
        from backtest_mongo.telemetry.spans import OperationSpan  # it needs OpenTelemetry, which is there

        self._store = store
        always = {
            "db.system.name": "mongodb",
            "db.namespace": hub.get_database(spec).name,
            "db.collection.name": spec.collection,
        }
        attributes: dict[str, dict[str, str]] = {}

        def begin(name: str) -> OperationSpan:
            if name not in attributes:
                attributes[name] = {**always, "db.operation.name": name}
            return OperationSpan(telemetry, hub, attributes[name])

        self._begin = begin

    async def _batched(self, name: str, work: Callable[[], Awaitable[T]], rows: Callable[[T], int] | None = None) -> T:
        """Carry out an operation that its queue marks as sent, with its batch."""
        return await _carry_out(self._begin(name), work, rows)

    async def _alone(self, name: str, work: Awaitable[T], rows: Callable[[T], int] | None = None, batch: int = 1) -> T:
        """Carry out an operation that is a batch of its own."""
        operation = self._begin(name)
        with operation.mark_sent((operation,), batch):
            return await _carry_out(operation, lambda: work, rows)

    async def _iterate(self, name: str, rows: AsyncIterator[T]) -> AsyncIterator[T]:
        """Yield rows within one span, which does not count the time of the caller between them."""
        operation = self._begin(name)
        span = operation.mark_sent((operation,))
        count, spent = 0, 0.0
        try:
            async with aclosing(cast("Any", rows)):
                while True:
                    since = perf_counter()
                    token = current_operation.set(operation)
                    try:
                        with span:
                            row: Any = await anext(rows, _END)
                    finally:
                        current_operation.reset(token)
                    spent += perf_counter() - since
                    if row is _END:
                        break
                    count += 1
                    yield row
        except GeneratorExit:  # the caller wants no more rows
            operation.end(rows=count, seconds=spent)
            raise
        except BaseException as error:
            operation.end(error, count, spent)
            raise
        operation.end(rows=count, seconds=spent)

    @property
    def has_history(self) -> bool:
        return self._store.has_history

    @property
    def versions(self) -> VersionStore:
        return self._store.versions

    @property
    def pruner(self) -> Pruner:
        return self._store.pruner

    @property
    def committer(self) -> Committer:
        return self._store.committer

    async def ready(self) -> None:
        await self._store.ready()

    async def find(self, key: Key) -> Document | None:
        return await self._batched("read", lambda: self._store.find(key), _count_found)

    async def find_version(self, key: Key) -> tuple[Document | None, Version]:
        return await self._batched("read", lambda: self._store.find_version(key), lambda found: _count_found(found[0]))

    async def upsert(self, key: Key, fields: Document) -> None:
        await self._batched("write", lambda: self._store.upsert(key, fields))

    async def find_many(self, keys: Sequence[Key]) -> list[Document | None]:
        spans = [self._begin("read") for _ in keys]
        found = await _carry_out_each(spans, cast("MongoStore", self._store).find_many(keys, spans))
        for span, document in zip(spans, found, strict=True):
            span.end(rows=_count_found(document))
        return found

    async def find_at(self, keys: Sequence[Key], until: int) -> list[Document | None]:
        spans = [self._begin("read") for _ in keys]
        found = await _carry_out_each(spans, self._store.find_at(keys, until))
        for span, document in zip(spans, found, strict=True):
            span.end(rows=_count_found(document))
        return found

    async def upsert_each(self, rows: Sequence[tuple[Key, Document]]) -> None:
        spans = [self._begin("write") for _ in rows]
        await _carry_out_each(spans, cast("MongoStore", self._store).upsert_each(rows, spans))
        for span in spans:
            span.end()

    async def upsert_many(self, rows: Sequence[tuple[Key, Document]]) -> None:
        await self._alone("write", self._store.upsert_many(rows), batch=len(rows))

    async def replace(self, key: Key, fields: Document, expected: Version | None) -> None:
        await self._batched("write", lambda: self._store.replace(key, fields, expected))

    async def remove(self, key: Key, run: str | None = None) -> None:
        await self._alone("remove", self._store.remove(key, run))

    def scan(self, context: Key, until: int | None = None, chosen: Selection = EVERY_ROW) -> AsyncIterator[Document]:
        return self._iterate("list", self._store.scan(context, until, chosen))

    async def newest(self, context: Key, limit: int, where: PayloadFilter | None = None) -> list[Document]:
        return await self._alone("list", self._store.newest(context, limit, where), len)

    def list_contexts(self, where: Mapping[str, Any] = EVERYTHING) -> AsyncIterator[Key]:
        return self._iterate("list_contexts", self._store.list_contexts(where))

    async def measure(self, where: Mapping[str, Any], *, by_context: bool) -> list[Measure]:
        return await self._alone("measure", self._store.measure(where, by_context=by_context), len)

    async def delete_some(self, context: Key, owners: Collection[str]) -> tuple[int, bool]:
        return await self._alone("delete", self._store.delete_some(context, owners), lambda done: done[0])

    @property
    def renamer(self) -> Renamer:
        return self._store.renamer

    async def insert_new(self, context: Key, interval: IntervalGrid, rows: Mapping[int, Document]) -> int:
        return await self._alone("write", self._store.insert_new(context, interval, rows), batch=len(rows))

    async def window(self, context: Key, first: int, interval: IntervalGrid, limit: int) -> list[Candle] | None:
        reading = self._store.window(context, first, interval, limit)
        return await self._alone("read", reading, lambda rows: len(rows or ()))

    async def insert_arrays(self, context: Key, interval: IntervalGrid, candles: CandleArrays) -> int:
        return await self._alone("write", self._store.insert_arrays(context, interval, candles), batch=len(candles))

    async def read(self, context: Key, interval: IntervalGrid, first: int, end: int) -> CandleArrays:
        return await self._alone("read_frame", self._store.read(context, interval, first, end), len)

    async def coverage(self, context: Key, interval: IntervalGrid) -> Coverage:
        return await self._alone("coverage", self._store.coverage(context, interval))

    async def survey(
        self, context: Key, interval: IntervalGrid, first: int | None, end: int | None
    ) -> tuple[Coverage, int]:
        return await self._alone("coverage", self._store.survey(context, interval, first, end))

    async def delete(self, context: Key, interval: IntervalGrid, first: int | None, end: int | None) -> Counts:
        return await self._alone("delete", self._store.delete(context, interval, first, end), lambda counts: counts[0])

    async def find_bounds(self, context: Key) -> tuple[int, int] | None:
        return await self._alone("bounds", self._store.find_bounds(context))

    def gaps(self, context: Key, finder: GapFinder, bounds: tuple[int, int]) -> AsyncIterator[Gap]:
        return self._iterate("gaps", self._store.gaps(context, finder, bounds))

    async def find_around(self, context: Key, first: int | None, end: int | None) -> tuple[int | None, int | None]:
        return await self._alone("bounds", self._store.find_around(context, first, end))

    def seal(self, context: Key, interval: IntervalGrid) -> AsyncIterator[Counts]:
        return self._iterate("seal", self._store.seal(context, interval))

    async def find_truth(self, context: Key) -> Truth:
        return await self._alone("truth", self._store.find_truth(context))

    def move_to_blocks(self, context: Key, interval: IntervalGrid) -> AsyncIterator[Counts]:
        return self._iterate("seal", self._store.move_to_blocks(context, interval))

    def move_to_rows(self, context: Key, interval: IntervalGrid) -> AsyncIterator[Counts]:
        return self._iterate("restore", self._store.move_to_rows(context, interval))

    def verify(self, context: Key, interval: IntervalGrid) -> AsyncIterator[tuple[Document, str | None]]:
        return self._iterate("verify", self._store.verify(context, interval))

    async def reseal(self, context: Key, interval: IntervalGrid, damaged: Sequence[Document]) -> Counts:
        return await self._alone("seal", self._store.reseal(context, interval, damaged))

    async def count_sealed(self, context: Key, interval: IntervalGrid) -> Sealed:
        return await self._alone("sealed", self._store.count_sealed(context, interval))

    # Series with columns

    @property
    def row_bytes(self) -> int:
        return self._columns.row_bytes

    async def insert(self, context: Key, rows: ColumnArrays) -> int:
        return await self._alone("write", self._columns.insert(context, rows), batch=len(rows))

    async def read_rows(self, context: Key, first: int, end: int, names: Collection[str] | None = None) -> ColumnArrays:
        return await self._alone("read_frame", self._columns.read_rows(context, first, end, names), len)

    async def read_last(self, context: Key, count: int, end: int, names: Collection[str] | None = None) -> ColumnArrays:
        return await self._alone("read", self._columns.read_last(context, count, end, names), len)

    async def cover(self, context: Key, end: int) -> Coverage:
        return await self._alone("coverage", self._columns.cover(context, end))

    async def delete_rows(self, context: Key, first: int, end: int) -> int:
        return await self._alone("delete", self._columns.delete_rows(context, first, end), int)

    def seal_rows(self, context: Key, *, is_all: bool = True) -> AsyncIterator[Counts]:
        return self._iterate("seal", self._columns.seal_rows(context, is_all=is_all))

    def verify_rows(self, context: Key) -> AsyncIterator[tuple[Coverage, str | None]]:
        return self._iterate("verify", self._columns.verify_rows(context))

    async def size(self, context: Key) -> SeriesSize:
        return await self._alone("sealed", self._columns.size(context))

    async def retain(self, context: Key, keep: str | None) -> None:
        await self._alone("retain", self._columns.retain(context, keep))

    async def prune_rows(self, context: Key) -> int:
        return await self._alone("prune", self._columns.prune_rows(context), int)

    async def count_prunable(self, context: Key) -> int:
        return await self._alone("prune", self._columns.count_prunable(context))

    @property
    def _columns(self) -> ColumnStore:
        return cast("ColumnStore", self._store)


async def _carry_out(operation: OperationSpan, work: Callable[[], Awaitable[T]], rows: Callable[[T], int] | None) -> T:
    token = current_operation.set(operation)
    try:
        result = await work()
    except BaseException as error:
        operation.end(error)
        raise
    finally:
        current_operation.reset(token)
    operation.end(rows=None if rows is None else rows(result))
    return result


async def _carry_out_each(spans: Sequence[OperationSpan], work: Awaitable[T]) -> T:
    try:
        return await work
    except BaseException as error:
        for span in spans:
            span.end(error)
        raise


def observe_store(store: Store, hub: Hub, spec: SlotSpec) -> Store:
    """Return a store that records each operation, or ``store`` itself if no telemetry is set up."""
    instruments = get_telemetry()
    if instruments is None:
        return store
    hub.observe_commit = _make_commit_observer(hub, instruments)
    return _ObservedStore(cast("SeriesStore", store), hub, spec, instruments)


def _make_commit_observer(
    hub: Hub, telemetry: Telemetry
) -> Callable[[Commit, Callable[[], Awaitable[T]]], Awaitable[T]]:
    from backtest_mongo.telemetry.spans import OperationSpan  # it needs OpenTelemetry, which is there

    attributes = {"db.system.name": "mongodb", "db.namespace": hub.database.name, "db.operation.name": "commit"}

    async def observe(commit: Commit, work: Callable[[], Awaitable[T]]) -> T:
        """Carry out a commit within a span below the one of who waits for it."""
        operation = commit.caller.run(OperationSpan, telemetry, hub, attributes)
        with operation.mark_sent((operation,), len(commit.rows)):
            return await _carry_out(operation, work, None)

    return observe


def _count_found(document: Document | None) -> int:
    return int(document is not None)
