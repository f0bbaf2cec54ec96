"""A throw-away store, a dict pickled to a file, for the conformance suite: it passes what it declares."""

from __future__ import annotations

import fcntl
import os
import pickle
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from backtest_mongo import SLOTS, ConflictError, SlotSpec
from backtest_mongo.types import INTERVAL_MS, Versioned, to_millis

#: What one pickle holds: rows by slot and key.
Table = dict[tuple[Any, ...], "Row"]
Change = Callable[[Table], None]


class Row(NamedTuple):
    value: Any
    when: int | None
    is_removed: bool
    #: The order of first writes, and the version.
    number: int
    version: str


class Pickled:
    """An instance; all of them read and write the file under a lock."""

    capabilities: ClassVar[set[str]] = {
        *("rows", "values", "extended_values", "keys", "lists", "soft_delete", "look_ahead", "candles"),
        *("compare_and_set", "concurrency", "processes", "durable", "transactions"),
    }

    rows: ClassVar[Callable[..., Any]]
    candles: ClassVar[Callable[..., Any]]

    def __init__(self, directory: Path) -> None:
        self.path = directory / "rows.pickle"
        #: The changes of the block that is open, and its time.
        self.block: ContextVar[tuple[list[Change], int | None] | None] = ContextVar("block", default=None)

    async def __aenter__(self) -> Any:
        return self

    async def __aexit__(self, *error: object) -> None:
        return None

    def __getattr__(self, slot: str) -> Any:
        spec = next(spec for spec in SLOTS if spec.name == slot)
        return partial(self.candles if spec.is_candles else self.rows, self, spec)

    @contextmanager
    def lock(self) -> Iterator[None]:
        with open(self.path.with_name("lock"), "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def load(self) -> Table:
        found: Table = pickle.loads(self.path.read_bytes()) if self.path.exists() else {}
        return found

    def save(self, table: Table) -> None:
        temporary = self.path.with_name("written")
        temporary.write_bytes(pickle.dumps(table))
        os.replace(temporary, self.path)

    def view(self) -> Table:
        """Return what the open block sees, or what is stored."""
        table = self.load()
        for change in (self.block.get() or ([],))[0]:
            change(table)
        return table

    def apply(self, *changes: Change) -> None:
        with self.lock():
            table = self.load()
            for change in changes:
                change(table)
            self.save(table)

    async def make(self, change: Change) -> None:
        block = self.block.get()
        if block is None:
            self.apply(change)
        else:
            block[0].append(change)

    @asynccontextmanager
    async def transaction(self, *, when: int | None = None) -> AsyncIterator[None]:
        changes: list[Change] = []
        token = self.block.set((changes, when))
        try:
            yield
        finally:
            self.block.reset(token)
        self.apply(*changes)


def copied(value: Any) -> Any:
    """Return a payload as it is stored: a copy, whose datetimes are in UTC."""
    if isinstance(value, dict):
        return {name: copied(item) for name, item in value.items()}
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return [copied(item) for item in value] if isinstance(value, list) else value


class Rows:
    """An adapter of a slot whose payloads are rows: ``read_signal_data`` is :meth:`read`, and so on."""

    def __init__(self, store: Pickled, spec: SlotSpec, *context: Any) -> None:
        self.store, self.spec, self.context = store, spec, (spec.name, *context)

    def __getattr__(self, name: str) -> Any:
        verb, _, rest = name.partition("_")
        if rest != f"{self.spec.noun}_data":
            raise AttributeError(name)
        return getattr(self, {"list": "iterate"}.get(verb, verb))

    async def wait_for_init(self, initial: bool = True) -> None: ...

    def dispose(self) -> None: ...

    def key(self, *item: str) -> tuple[Any, ...]:
        return (*self.context, *item)

    async def write(self, value: Any, *rest: Any, if_absent: bool = False, expect: str | None = None) -> None:
        if self.spec.shape == "collection":
            items = copied(value)

            def change(table: Table) -> None:
                for one in items:
                    self.put(self.key(one["id"]), one, None, False, None, table)

            await self.store.make(change)
            return
        item, when = (rest[:1], rest[1:]) if self.spec.item else ((), rest)
        default = (self.store.block.get() or ([], None))[1]
        time = (to_millis(when[0]) if when else default) if self.spec.when else None
        await self.store.make(partial(self.put, self.key(*item), copied(value), time, if_absent, expect))

    def put(self, key: Any, value: Any, when: int | None, if_absent: bool, expect: str | None, table: Table) -> None:
        old = table.get(key)
        is_absent = old is None or old.is_removed or old.value is None
        if (if_absent and not is_absent) or (expect is not None and expect != (old.version if old else "absent")):
            error = ConflictError("another row is there", slot=self.spec.name)
            error.found, error.version = None if is_absent or not old else old.value, old.version if old else "absent"
            raise error
        is_removed = self.spec.soft_delete and value.get("removed") is True
        table[key] = Row(value, when, is_removed, old.number if old else len(table), os.urandom(8).hex())

    def is_seen(self, row: Row | None, when: Any) -> bool:
        return row is not None and not row.is_removed and (when is None or (row.when or 0) <= to_millis(when))

    async def read(self, *item: str, when: Any = None, with_version: bool = False, limit: int | None = None) -> Any:
        table = self.store.view()
        if self.spec.shape == "collection":
            found = self.select(table, None)
            if self.spec.newest is None:
                return [row.value for _, row in found]
            rows = sorted((row for _, row in found), key=lambda row: row.number)
            return [row.value for row in rows][-(limit or self.spec.newest) :]
        one = table.get(self.key(*item))
        nothing: Any = {} if self.spec.shape == "entry" else [] if self.spec.payload == "list" else None
        value = one.value if one is not None and self.is_seen(one, when) else nothing
        return Versioned(value, one.version if one else "absent") if with_version else value

    def select(self, table: Table, when: Any) -> list[tuple[str, Row]]:
        length = len(self.context)
        return sorted(
            (str(key[-1]), row)
            for key, row in table.items()
            if key[:length] == self.context and len(key) == length + 1 and self.is_seen(row, when)
        )

    async def iterate(self, when: Any = None) -> AsyncIterator[Any]:
        for key, row in self.select(self.store.view(), when):
            yield (key, row.value) if self.spec.items else key

    async def has(self, item: str) -> bool:
        return self.key(item) in self.store.view()

    async def remove(self, item: str) -> None:
        def change(table: Table) -> None:
            key = self.key(item)
            if key in table:
                table[key] = table[key]._replace(is_removed=True, version=os.urandom(8).hex())

        await self.store.make(change)


class Candles:
    """An adapter of a series of candles."""

    def __init__(self, store: Pickled, spec: SlotSpec, symbol: str, interval: str, exchange_name: str) -> None:
        self.store, self.step, self.context = store, INTERVAL_MS[interval], (symbol, interval, exchange_name)

    async def wait_for_init(self, initial: bool = True) -> None: ...

    async def read_candles_data(self, limit: int, since: Any, until: Any = None) -> list[Any] | None:
        first, table = to_millis(since), self.store.load()
        times = [first + index * self.step for index in range(limit)]
        if until is not None and times[-1] > to_millis(until):
            return None
        found = [table.get((*self.context, time)) for time in times]
        return None if None in found else [row.value for row in found if row]

    async def write_candles_data(self, candles: list[Any]) -> int:
        new: list[int] = []

        def change(table: Table) -> None:
            for candle in candles:
                time = to_millis(candle["timestamp"])
                if self.is_closed(time) and (*self.context, time) not in table:
                    table[(*self.context, time)] = Row({**candle, "timestamp": time}, None, False, 0, "")
                    new.append(time)

        self.store.apply(change)
        return len(new)

    def is_closed(self, start: int) -> bool:
        return start + self.step <= time.time() * 1000


Pickled.rows, Pickled.candles = Rows, Candles
