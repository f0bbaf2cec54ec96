"""Series with columns in SQLite against a dict: written, read, sealed, deleted and damaged, through two databases."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from backtest_mongo.errors import StoreError
from backtest_mongo.sqlite import column_documents, column_sealing, columns
from backtest_mongo.sqlite.column_layout import make_column_table
from backtest_mongo.sqlite.columns import SQLiteColumns
from backtest_mongo.sqlite.database import Database
from tests.support.column_rows import COLUMNS, SeriesModel, list_rows, make_arrays, make_spec, values
from tests.support.column_stores import shrink_bytes
from tests.support.model_machine import run_stateful

T = TypeVar("T")

CONTEXT = (False, "trend", "BTCUSDT")
FIRST, END = -(2**63), 2**63
#: Few, so that rows meet, and the extremes.
times = st.integers(0, 40) | st.sampled_from([FIRST + 1, END - 1])
bounds = st.integers(-1, 42) | st.sampled_from([FIRST, FIRST + 1, END - 1, END])
places = st.integers(0, 2)
chosen = st.none() | st.sets(st.sampled_from([column.name for column in COLUMNS]))
databases = st.sampled_from([0, 0, 1])


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few rows be many."""
    monkeypatch.setattr(column_documents, "BLOCK_ROWS", 12)
    monkeypatch.setattr(column_sealing, "BLOCK_ROWS", 12)
    monkeypatch.setattr(column_sealing, "_RUN_ROWS", 16)
    monkeypatch.setattr(column_sealing, "SMALL_ROWS", 4)
    monkeypatch.setattr(columns, "_GROUPS", 3)
    monkeypatch.setattr(columns, "_UNSEEN", 2)
    monkeypatch.setattr(columns, "_LARGE", 4)
    monkeypatch.setattr(columns, "_BULK", 9)
    monkeypatch.setattr(columns, "_FEW", 5)
    monkeypatch.setattr(columns, "_DELETED", 2)


class ColumnsMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.spec = make_spec("", immutable=False)
        self.databases: list[Database] = []

    @initialize(sequence=st.sampled_from(["", "int64", "str"]), immutable=st.booleans())
    def set_up(self, sequence: Any, immutable: bool) -> None:
        self.spec = make_spec(sequence, immutable=immutable)
        self.model = SeriesModel(self.spec)
        self.table = make_column_table(self.spec)
        self.open()

    def open(self) -> None:
        # Two databases of one file have connections of their own, as those of two processes.
        self.databases = [Database(str(self.root / "backtest.db")) for _ in range(2)]
        self.stores = [SQLiteColumns(database, self.spec) for database in self.databases]

    def teardown(self) -> None:
        self.close()
        self.runner.close()
        shutil.rmtree(self.root)

    def close(self) -> None:
        for database in self.databases:
            database.end()

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(call)

    def make_key(self, time: int, place: int) -> tuple[int, Any]:
        kinds: dict[str, Any] = {"": None, "int64": place - 1, "str": "ab"[:place]}
        return time, kinds[self.spec.sequence]

    @rule(
        database=databases,
        rows=st.dictionaries(st.tuples(times, places), values, min_size=1, max_size=30),
    )
    def insert(self, database: int, rows: dict[tuple[int, int], Any]) -> None:
        self.write(database, {self.make_key(*key): row for key, row in rows.items()})

    @rule(database=databases, rows=st.lists(values, min_size=1, max_size=30), step=st.integers(1, 2))
    def append(self, database: int, rows: list[Any], step: int) -> None:
        """Insert rows behind all others but the latest that there can be."""
        last = max((time for time, _ in self.model.rows if time < END - 1), default=0)
        self.write(database, {self.make_key(last + step * (at + 1), 1): row for at, row in enumerate(rows)})

    @rule(database=databases, rows=st.lists(values, min_size=3, max_size=8))
    def append_one_by_one(self, database: int, rows: list[Any]) -> None:
        for row in rows:
            self.append(database, [row], 1)

    def write(self, database: int, rows: dict[tuple[int, Any], Any]) -> None:
        count = self.run(self.stores[database].insert(CONTEXT, make_arrays(self.spec, rows)))
        assert count == self.model.insert(rows)

    @rule(database=databases, first=bounds, end=bounds)
    def delete(self, database: int, first: int, end: int) -> None:
        count = self.run(self.stores[database].delete_rows(CONTEXT, first, end))
        assert count == self.model.delete(first, end)

    @rule(database=databases, is_all=st.booleans(), steps=st.sampled_from([1, 2, 1_000]))
    def seal(self, database: int, is_all: bool, steps: int) -> None:
        """Seal, or only begin to, as one that is killed does."""

        async def seal_some() -> None:
            left = steps
            steps_made: Any = self.stores[database].seal_rows(CONTEXT, is_all=is_all)
            async with contextlib.aclosing(steps_made) as sealing:
                async for blocks, rows in sealing:
                    assert blocks > 0
                    assert rows > 0
                    left -= 1
                    if not left:
                        return
            if is_all:
                assert (await self.stores[database].size(CONTEXT)).tail_groups == 0

        self.run(seal_some())

    @rule(database=databases, count=st.integers(1, 50), end=bounds, names=chosen)
    def read_last(self, database: int, count: int, end: int, names: set[str] | None) -> None:
        found = self.run(self.stores[database].read_last(CONTEXT, count, end, names))
        assert list_rows(self.spec, found) == self.model.list(FIRST, end, names)[-count:]

    @rule(database=databases, first=bounds, end=bounds, names=chosen)
    def read(self, database: int, first: int, end: int, names: set[str] | None) -> None:
        found = self.run(self.stores[database].read_rows(CONTEXT, first, end, names))
        assert list_rows(self.spec, found) == self.model.list(first, end, names)

    @rule(database=databases, end=bounds)
    def cover(self, database: int, end: int) -> None:
        found = self.run(self.stores[database].cover(CONTEXT, end))
        assert (found.first, found.last, found.rows) == self.model.cover(end)

    @rule()
    def reopen(self) -> None:
        self.close()
        self.open()

    @rule(database=databases)
    def delete_all(self, database: int) -> None:
        async def delete() -> None:
            while (await self.stores[database].delete_some(CONTEXT, ()))[1]:
                pass

        self.run(delete())
        self.model.rows.clear()

    @rule(
        database=databases,
        part=st.integers(0, 1_000),
        what=st.sampled_from(["document", "document", "first", "rows", "head"]),
        place=st.integers(0, 100_000),
    )
    def damage(self, database: int, part: int, what: str, place: int) -> None:
        """Damage a block or a group: reading it fails, what is beside it is read, and it can be deleted."""
        store = self.stores[database]
        with contextlib.closing(sqlite3.connect(self.root / "backtest.db")) as connection, connection:
            made = connection.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall()
            parts = [
                (table, number)
                for table in self.table.tables
                if (table,) in made
                for (number,) in connection.execute(f"SELECT number FROM [{table}] ORDER BY number")
            ]
            if not parts:
                return
            table, number = parts[part % len(parts)]
            content, first, last, rows = connection.execute(
                f"SELECT [{what}], first, last, [rows] FROM [{table}] WHERE number=?", (number,)
            ).fetchone()
            if isinstance(content, bytes):
                changed = bytearray(content)
                changed[place % len(content)] ^= 1 << place % 8
                damaged: Any = bytes(changed)
            else:
                damaged = content - 1 if content == END - 1 else content + 1
            connection.execute(f"UPDATE [{table}] SET [{what}]=? WHERE number=?", (damaged, number))

        problems = [(covers, problem) for covers, problem in self.run(self.list_problems(store)) if problem]
        if not problems:  # the byte says nothing of the rows, such as the kind of a binary value
            assert list_rows(self.spec, self.run(store.read_rows(CONTEXT, FIRST, END))) == self.model.list(FIRST, END)
            return
        ((covers, _),) = problems
        assert (covers.first, covers.last, covers.rows) == (first, last, rows)
        with pytest.raises(StoreError, match=rf"{rows:,} rows from {first} to {last} .* is damaged"):
            self.run(store.read_rows(CONTEXT, FIRST, END))
        if what == "document":
            for begin, end in ((FIRST, first), (last + 1, END)):
                found = self.run(store.read_rows(CONTEXT, begin, end))
                assert list_rows(self.spec, found) == self.model.list(begin, end)
        self.run(store.delete_rows(CONTEXT, first, last + 1))
        self.model.delete(first, last + 1)

    async def list_problems(self, store: SQLiteColumns) -> list[tuple[Any, str | None]]:
        return [found async for found in store.verify_rows(CONTEXT)]

    @invariant()
    def all_is_read_and_sound(self) -> None:
        if not self.databases:
            return
        store = self.stores[0]
        assert [problem for _, problem in self.run(self.list_problems(store)) if problem] == []
        found = self.run(store.read_rows(CONTEXT, FIRST, END))
        assert list_rows(self.spec, found) == self.model.list(FIRST, END)
        size = self.run(store.size(CONTEXT))
        assert size.block_rows + size.tail_rows >= len(self.model.rows)
        assert (size.blocks + size.tail_groups > 0) == bool(self.model.rows)


@pytest.mark.timeout(3_600)
def test_series_in_sqlite_do_what_a_dict_does() -> None:
    run_stateful(ColumnsMachine)


@pytest.mark.timeout(3_600)
def test_series_in_sqlite_that_are_cut_by_bytes_do_what_a_dict_does(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_bytes(monkeypatch, 300, 500)
    run_stateful(ColumnsMachine)
