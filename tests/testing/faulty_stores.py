"""Stores with one fault each: the conformance suite must find it in the capability that :data:`FAULTS` names."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

from backtest_mongo.types import to_millis
from tests.testing.pickled_store import Candles, Change, Pickled, Row, Rows, Table

T = TypeVar("T")

#: By name, a store with a fault, and the capability that it lacks.
FAULTS: Final[dict[str, tuple[type[Pickled], str]]] = {}


def breaks(capability: str) -> Callable[[type[T]], type[T]]:
    """Take a class for a fault: of a whole store, or of adapters that a store is then made of."""

    def note(fault: type[T]) -> type[T]:
        found: Any = fault
        if not issubclass(fault, Pickled):
            members = {"__module__": __name__, "rows" if issubclass(fault, Rows) else "candles": fault}
            found = type(f"{fault.__name__}Store", (Pickled,), members)
        FAULTS[found.__name__] = (found, capability)
        return fault

    return note


@breaks("rows")
class LosesThirdWrite(Pickled):
    writes: ClassVar[int] = 0

    async def make(self, change: Change) -> None:
        LosesThirdWrite.writes += 1
        if LosesThirdWrite.writes % 3:
            await super().make(change)


@breaks("rows")
class MergesPayloads(Rows):
    def put(self, key: Any, value: Any, *rest: Any) -> None:
        old = rest[-1].get(key)
        is_merged = isinstance(value, dict) and old is not None and isinstance(old.value, dict)
        super().put(key, {**old.value, **value} if is_merged else value, *rest)


@breaks("rows")
class IgnoresLastArgument(Rows):
    def __init__(self, store: Pickled, spec: Any, *context: Any) -> None:
        super().__init__(store, spec, *context[:-1])


@breaks("rows")
class RemembersWhatItRead(Pickled):
    table: Table | None = None

    def load(self) -> Table:
        self.table = self.table if self.table is not None else super().load()
        return self.table


@breaks("values")
class RoundsNumbers(Rows):
    async def write(self, value: Any, *rest: Any, **condition: Any) -> None:
        rounded = json.loads(json.dumps(value), parse_float=lambda text: round(float(text), 6))
        await super().write(rounded, *rest, **condition)


@breaks("values")
class TakesIntegersForFloats(Rows):
    async def write(self, value: Any, *rest: Any, **condition: Any) -> None:
        await super().write(json.loads(json.dumps(value), parse_int=float), *rest, **condition)


@breaks("values")
class DropsNones(Rows):
    async def write(self, value: Any, *rest: Any, **condition: Any) -> None:
        await super().write(_drop_nones(value), *rest, **condition)


def _drop_nones(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _drop_nones(item) for name, item in value.items() if item is not None}
    return [_drop_nones(item) for item in value] if isinstance(value, list) else value


@breaks("extended_values")
class KnowsJSONAlone(Rows):
    async def write(self, value: Any, *rest: Any, **condition: Any) -> None:
        await super().write(json.loads(json.dumps(value, default=str)), *rest, **condition)


@breaks("keys")
class FoldsCase(Rows):
    def key(self, *item: str) -> tuple[Any, ...]:
        return (*self.context, *(text.casefold() for text in item))


@breaks("keys")
class JoinsKeys(Rows):
    def key(self, *item: str) -> tuple[Any, ...]:
        return (*self.context[:1], ":".join(map(str, (*self.context[1:], *item))))


@breaks("keys")
class StripsKeys(Rows):
    def key(self, *item: str) -> tuple[Any, ...]:
        return (*self.context, *(text.strip() for text in item))


@breaks("lists")
class StopsAtThousand(Rows):
    def select(self, table: Table, when: Any) -> list[tuple[str, Row]]:
        return super().select(table, when)[:1_000]


@breaks("lists")
class DropsAnEntry(Rows):
    def select(self, table: Table, when: Any) -> list[tuple[str, Row]]:
        found = super().select(table, when)
        return found[:700] + found[701:]


@breaks("lists")
class ListsInOrderOfWriting(Rows):
    def select(self, table: Table, when: Any) -> list[tuple[str, Row]]:
        return sorted(super().select(table, when), key=lambda pair: pair[1].number)


@breaks("lists")
class MovesRewrittenRowsToTheEnd(Rows):
    def put(self, key: Any, *rest: Any) -> None:
        table = rest[-1]
        super().put(key, *rest)
        table[key] = table[key]._replace(number=max(row.number for row in table.values()) + 1)


@breaks("soft_delete")
class DeletesForGood(Rows):
    async def remove(self, item: str) -> None:
        await self.store.make(lambda table: table.pop(self.key(item), None) and None)


@breaks("soft_delete")
class RemovesNothing(Rows):
    async def remove(self, item: str) -> None:
        return None


@breaks("soft_delete")
class StaysRemoved(Rows):
    def put(self, key: Any, *rest: Any) -> None:
        table = rest[-1]
        was_removed = key in table and table[key].is_removed
        super().put(key, *rest)
        table[key] = table[key]._replace(is_removed=was_removed or table[key].is_removed)


@breaks("soft_delete")
class ListsRemovedRows(Rows):
    def select(self, table: Table, when: Any) -> list[tuple[str, Row]]:
        return super().select({key: row._replace(is_removed=False) for key, row in table.items()}, when)


@breaks("look_ahead")
class IgnoresWhen(Rows):
    def is_seen(self, row: Row | None, when: Any) -> bool:
        return super().is_seen(row, None)


@breaks("look_ahead")
class IsOneMillisecondEarly(Rows):
    def is_seen(self, row: Row | None, when: Any) -> bool:
        return super().is_seen(row if row is None or row.when is None else row._replace(when=row.when - 1), when)


@breaks("look_ahead")
class ListsLaterRows(Rows):
    def select(self, table: Table, when: Any) -> list[tuple[str, Row]]:
        return super().select(table, None)


@breaks("candles")
class OverwritesCandles(Candles):
    async def write_candles_data(self, candles: list[Any]) -> int:
        def change(table: Table) -> None:
            for candle in candles:
                table.pop((*self.context, to_millis(candle["timestamp"])), None)

        self.store.apply(change)
        return await super().write_candles_data(candles)


@breaks("candles")
class LeavesGapsOut(Candles):
    async def read_candles_data(self, limit: int, since: Any, until: Any = None) -> list[Any] | None:
        rows: list[Any] = []
        for number in range(limit):
            rows += await super().read_candles_data(1, to_millis(since) + number * self.step) or []
        return rows or None


@breaks("candles")
class FreezesOpenCandles(Candles):
    def is_closed(self, start: int) -> bool:
        return True


@breaks("candles")
class IgnoresUntil(Candles):
    async def read_candles_data(self, limit: int, since: Any, until: Any = None) -> list[Any] | None:
        return await super().read_candles_data(limit, since)


@breaks("compare_and_set")
class IgnoresConditions(Rows):
    async def write(self, value: Any, *rest: Any, **condition: Any) -> None:
        await super().write(value, *rest)


@breaks("compare_and_set")
class HasOneVersion(Rows):
    def put(self, key: Any, value: Any, when: Any, if_absent: bool, expect: str | None, table: Table) -> None:
        super().put(key, value, when, if_absent, None, table)
        table[key] = table[key]._replace(version="1")


@breaks("concurrency")
class GivesWayBetweenReadingAndWriting(Pickled):
    async def make(self, change: Change) -> None:
        if self.block.get() is not None:
            await super().make(change)
            return
        table = self.load()
        change(table)
        await asyncio.sleep(0)
        self.save(table)


@breaks("processes")
class SharesWithinAProcess(Pickled):
    tables: ClassVar[dict[Path, Table]] = {}

    def load(self) -> Table:
        return self.tables.setdefault(self.path, super().load())


@breaks("durable")
class WritesWhenItIsClosed(Pickled):
    tables: ClassVar[dict[Path, Table]] = {}

    def load(self) -> Table:
        return self.tables.setdefault(self.path, super().load())

    def save(self, table: Table) -> None:
        return None

    async def __aexit__(self, *error: object) -> None:
        super().save(self.tables.pop(self.path, {}))


@breaks("transactions")
class WritesBeforeTheEnd(Pickled):
    @asynccontextmanager
    async def transaction(self, *, when: int | None = None) -> AsyncIterator[None]:
        yield


@breaks("transactions")
class CommitsInTwoSteps(Pickled):
    def apply(self, *changes: Change) -> None:
        for change in changes:
            super().apply(change)


@breaks("transactions")
class CommitsWhatFailed(Pickled):
    @asynccontextmanager
    async def transaction(self, *, when: int | None = None) -> AsyncIterator[None]:
        changes: list[Change] = []
        token = self.block.set((changes, when))
        try:
            yield
        finally:
            self.block.reset(token)
            self.apply(*changes)


@breaks("transactions")
class HidesWhatTheBlockWrote(Pickled):
    def view(self) -> Table:
        return self.load()


class Forgetful(Pickled):
    """Keeps its promises, and does not declare all of them."""

    capabilities: ClassVar[set[str]] = {"rows", "values"}


class Overconfident(Pickled):
    """Declares what it does not have."""

    capabilities: ClassVar[set[str]] = {"rows", "ranges"}


class SmallStore(Pickled):
    """Has two slots alone."""

    slots: ClassVar[set[str]] = {"state", "candle"}


class Silent:
    """Declares nothing."""

    capabilities: ClassVar[set[str]] = set()


class OneName:
    """Declares a name, not names."""

    capabilities: ClassVar[str] = "rows"


class Unknown:
    """Declares what there is not."""

    capabilities: ClassVar[set[str]] = {"rows", "speed"}


globals().update({name: fault for name, (fault, _) in FAULTS.items()})
