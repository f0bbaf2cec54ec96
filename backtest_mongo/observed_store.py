"""A store that is observed: what an adapter gets where telemetry is set up, in front of the one that does the work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar, cast

from backtest_mongo.counts import seen
from backtest_mongo.hub import Hub
from backtest_mongo.specs import Key, SlotSpec
from backtest_mongo.store import Counts, SeriesRows, Store
from backtest_mongo.telemetry import Telemetry, telemetry
from backtest_mongo.types import Candle, Coverage, Document, Sealed

if TYPE_CHECKING:
    from backtest_mongo.arrays import CandleArrays
    from backtest_mongo.operation import Operation

__all__ = ["observed"]

T = TypeVar("T")

_END = object()


class _Observed:
    """Every operation of a series' store; those of other slots' are the first few of them."""

    def __init__(self, store: SeriesRows, hub: Hub, spec: SlotSpec, telemetry: Telemetry) -> None:
        from backtest_mongo.operation import Operation  # it needs OpenTelemetry, which is there

        self._store = store
        always = {
            "db.system.name": "mongodb",
            "db.namespace": hub.database.name,
            "db.collection.name": spec.collection,
        }
        attributes: dict[str, dict[str, str]] = {}

        def begin(name: str) -> Operation:
            if name not in attributes:
                attributes[name] = {**always, "db.operation.name": name}
            return Operation(telemetry, hub, attributes[name])

        self._begin = begin

    async def _together(self, name: str, work: Awaitable[T], rows: Callable[[T], int] | None = None) -> T:
        """Carry out what travels with others, or alone, and sets out when that is known."""
        return await _carried_out(self._begin(name), work, rows)

    async def _one(self, name: str, work: Awaitable[T], rows: Callable[[T], int] | None = None, batch: int = 1) -> T:
        operation = self._begin(name)
        with operation.set_out((operation,), batch):
            return await _carried_out(operation, work, rows)

    async def _each(self, name: str, rows: AsyncIterator[T]) -> AsyncIterator[T]:
        operation = self._begin(name)
        trip = operation.set_out((operation,))
        count, spent = 0, 0.0
        try:
            async with aclosing(cast("Any", rows)):
                while True:
                    # What the caller does between two rows is none of it.
                    since = perf_counter()
                    with trip:
                        row: Any = await anext(rows, _END)
                    spent += perf_counter() - since
                    if row is _END:
                        break
                    count += 1
                    yield row
        except GeneratorExit:  # the caller has seen enough
            operation.end(rows=count, seconds=spent)
            raise
        except BaseException as error:
            operation.end(error, count, spent)
            raise
        operation.end(rows=count, seconds=spent)

    async def ready(self) -> None:
        await self._store.ready()

    async def find(self, key: Key) -> Document | None:
        return await self._together("read", self._store.find(key), _found)

    async def upsert(self, key: Key, fields: Document) -> None:
        await self._together("write", self._store.upsert(key, fields))

    async def upsert_many(self, rows: Sequence[tuple[Key, Document]]) -> None:
        await self._one("write", self._store.upsert_many(rows), batch=len(rows))

    async def remove(self, key: Key) -> None:
        await self._one("remove", self._store.remove(key))

    def scan(self, context: Key, until: int | None = None) -> AsyncIterator[Document]:
        return self._each("list", self._store.scan(context, until))

    async def newest(self, context: Key, limit: int) -> list[Document]:
        return await self._one("list", self._store.newest(context, limit), len)

    async def insert_new(self, context: Key, step: int, rows: Mapping[int, Document]) -> int:
        return await self._one("write", self._store.insert_new(context, step, rows), batch=len(rows))

    async def window(self, context: Key, first: int, step: int, limit: int) -> list[Candle] | None:
        return await self._one("read", self._store.window(context, first, step, limit), lambda rows: len(rows or ()))

    async def insert_arrays(self, context: Key, step: int, candles: CandleArrays) -> int:
        return await self._one("write", self._store.insert_arrays(context, step, candles), batch=len(candles))

    async def read(self, context: Key, step: int, first: int, end: int) -> CandleArrays:
        return await self._one("read_frame", self._store.read(context, step, first, end), len)

    async def coverage(self, context: Key, step: int) -> Coverage:
        return await self._one("coverage", self._store.coverage(context, step))

    async def bounds(self, context: Key) -> tuple[int, int] | None:
        return await self._one("bounds", self._store.bounds(context))

    def neighbours(
        self, context: Key, step: int, phase: int, first: int, end: int
    ) -> AsyncIterator[tuple[int | None, int | None]]:
        return self._each("gaps", self._store.neighbours(context, step, phase, first, end))

    def contexts(self) -> AsyncIterator[Key]:
        return self._each("list_series", self._store.contexts())

    def seal(self, context: Key, step: int) -> AsyncIterator[Counts]:
        return self._each("seal", self._store.seal(context, step))

    def verify(self, context: Key, step: int) -> AsyncIterator[tuple[Document, str | None]]:
        return self._each("verify", self._store.verify(context, step))

    async def reseal(self, context: Key, step: int, damaged: Sequence[Document]) -> Counts:
        return await self._one("seal", self._store.reseal(context, step, damaged))

    async def sealed(self, context: Key) -> Sealed:
        return await self._one("sealed", self._store.sealed(context))


async def _carried_out(operation: Operation, work: Awaitable[T], rows: Callable[[T], int] | None) -> T:
    token = seen.set(operation)
    try:
        result = await work
    except BaseException as error:
        operation.end(error)
        raise
    finally:
        seen.reset(token)
    operation.end(rows=None if rows is None else rows(result))
    return result


def observed(store: Store, hub: Hub, spec: SlotSpec) -> Store:
    """Return a store that tells of each operation, or ``store`` itself where nobody wants to know."""
    instruments = telemetry()
    return store if instruments is None else _Observed(cast("SeriesRows", store), hub, spec, instruments)


def _found(document: Document | None) -> int:
    return int(document is not None)
