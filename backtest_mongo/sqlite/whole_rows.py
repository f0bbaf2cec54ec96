"""The rows of a slot as they are stored, times of creation and writing included: for imports, exports, the doctor."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

from backtest_mongo.core.extended_json import from_json
from backtest_mongo.core.specs import FLAG, Key, SlotSpec
from backtest_mongo.errors import InputError
from backtest_mongo.sqlite.database import Connection, Database
from backtest_mongo.sqlite.layout import make_row_table
from backtest_mongo.sqlite.row_codec import Row
from backtest_mongo.sqlite.store import SQLiteRows, decode_text
from backtest_mongo.sqlite.whole_layout import make_whole_table, reorder

__all__ = ["DamagedRow", "RowReplacement", "WholeRow", "WholeRows", "fetch_page"]

#: Rows that are read at a time, and the bytes of their payloads.
_PAGE: Final = 500
_PAGE_BYTES: Final = 32 * 1024 * 1024

_INT64: Final = range(-(2**63), 2**63)


class WholeRow(NamedTuple):
    """A row.

    Attributes:
        key: its natural key.
        text: its payload as extended JSON.
        when: its simulation time in milliseconds, 0 in slots without one.
        removed: whether it is removed, false in slots without removed rows.
        created: when it was written first, in milliseconds since the epoch.
        written: when it was written last.
        run: the name of the run that it belongs to.
    """

    key: Key
    text: str
    when: int
    removed: bool
    created: int
    written: int
    run: str | None = None


class DamagedRow(NamedTuple):
    """A row that holds what this library does not write.

    Attributes:
        key: what it has as its key.
        problem: what is wrong with it.
    """

    key: Key
    problem: str


class RowReplacement(NamedTuple):
    """A row that replaces another one of its key, provided that the other has not changed since it was read."""

    row: WholeRow
    seen: WholeRow


#: A row, its payload, and its number in the order of creation.
Page: TypeAlias = tuple[list[tuple[WholeRow, Any] | DamagedRow], int]


class WholeRows(SQLiteRows):
    """The rows of a slot that is no series."""

    def __init__(self, database: Database, spec: SlotSpec) -> None:
        self._table = make_whole_table(spec)
        super().__init__(database, spec, make_row_table(spec))

    async def read_page(self, after: int) -> Page | None:
        """Return rows with numbers above ``after`` in the order of creation, decoded, and the last one's number.

        There is no page if nothing is left.

        Raises:
            StoreError: the database is damaged.
            StoreUnavailableError: another process held the lock until the deadline.
        """
        return await self._read_in_thread("reading", partial(fetch_page, self._spec), after)

    async def find_by_key(self, keys: Sequence[Key]) -> dict[Key, tuple[WholeRow, Any] | DamagedRow]:
        """Return the stored rows of keys, decoded."""
        return await self._read_in_thread("reading", self._find, keys) or {}

    async def insert_new(self, rows: Sequence[WholeRow]) -> list[int]:
        """Insert the rows whose keys are free, in their order, and return the places of all others."""
        return await self._write("writing", lambda: partial(self._insert, rows)) if rows else []

    async def replace_unchanged(self, rows: Sequence[RowReplacement]) -> int:
        """Replace the rows that have not changed since they were read, and return how many were replaced."""
        return await self._write("writing", lambda: partial(self._replace, rows)) if rows else 0

    async def order_by_creation(self) -> None:
        """Make the order of first writes that of the times of creation, and of insertion within one millisecond."""
        await self._write("writing", lambda: partial(reorder, table=self._table))

    # What is called with a connection

    def _find(self, connection: Connection, keys: Sequence[Key]) -> dict[Key, tuple[WholeRow, Any] | DamagedRow]:
        found = {}
        for key in keys:
            for row in _fetch(connection, self._table.find, key):
                found[key] = _decode(self._spec, row)
        return found

    def _insert(self, rows: Sequence[WholeRow], connection: Connection) -> list[int]:
        statement, taken = self._table.insert, []
        for at, row in enumerate(rows):
            parameters = (*row.key, row.text, *self._list_extra(row), row.created, row.written, row.run)
            if not connection.execute(statement, parameters).rowcount:
                taken.append(at)
        return taken

    def _replace(self, rows: Sequence[RowReplacement], connection: Connection) -> int:
        done = 0
        for row, seen in rows:
            values = (row.text, *self._list_extra(row), row.written, row.run)
            done += connection.execute(self._table.replace, (*values, *seen.key, seen.text, seen.written)).rowcount
        return done

    def _list_extra(self, row: WholeRow) -> tuple[int, ...]:
        spec = self._spec
        return ((row.when,) if spec.when else ()) + ((int(row.removed),) if spec.soft_delete else ())


def fetch_page(spec: SlotSpec, connection: sqlite3.Connection, after: int, *, has_run: bool = True) -> Page | None:
    """Do what :meth:`WholeRows.read_page` does, with a connection; ``has_run`` is false before format 4."""
    table = make_whole_table(spec)
    rows = _fetch(connection, table.page if has_run else table.page_without_run, (after, _PAGE))
    return ([_decode(spec, row) for row in rows], rows[-1][0]) if rows else None


def _fetch(connection: sqlite3.Connection, statement: str, parameters: Row) -> list[Row]:
    """Return the rows of a statement, or as many of the first as are read at a time."""
    connection.text_factory = decode_text
    try:
        rows, size = [], 0
        for row in connection.execute(statement, parameters):
            rows.append(row)
            size += sum(len(value) for value in row if isinstance(value, str | bytes))
            if size > _PAGE_BYTES:
                break
        return rows
    finally:
        connection.text_factory = str


def _decode(spec: SlotSpec, row: Row) -> tuple[WholeRow, Any] | DamagedRow:
    _, *stored, created, written, run = row
    width = len(spec.key)
    key, text, extra = tuple(stored[:width]), stored[width], stored[width + 1 :]
    when = extra[0] if spec.when else 0
    removed = extra[-1] if spec.soft_delete else 0
    try:
        checked = tuple(_check(spec, name, value) for name, value in zip(spec.key, key, strict=True))
        payload = from_json(text)
    except InputError as error:
        return DamagedRow(key, error.message)
    except (ValueError, RecursionError, TypeError):
        return DamagedRow(key, "it holds no JSON")
    if not all(type(value) is int and value in _INT64 for value in (when, created, written)):
        return DamagedRow(key, "a time of it is not a whole number")
    return WholeRow(checked, text, when, bool(removed), created, written, run), payload


def _check(spec: SlotSpec, name: str, value: Any) -> Any:
    if name == FLAG:
        if value not in (0, 1):
            raise InputError(f"{name} is {value!r}, and must be 0 or 1")
        return bool(value)
    return spec.check_key(name, value)
