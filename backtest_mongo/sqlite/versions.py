"""The versions of a slot's rows in an SQLite database: a table of its own, beside the rows.

A version and its row are written in one transaction. Both have the same time of writing: a row of another one was
written without a version, and says what is true from its own time on.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from backtest_mongo.core.retention import Retention
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.sqlite.database import Connection, Database
from backtest_mongo.sqlite.driver_errors import lacks_table
from backtest_mongo.sqlite.layout import make_row_table, make_version_table
from backtest_mongo.sqlite.row_codec import Row, decode_row
from backtest_mongo.sqlite.store import SQLiteRows
from backtest_mongo.sqlite.stored_keys import fetch_keys
from backtest_mongo.sqlite.version_rows import count_prunable, is_version, prune
from backtest_mongo.types import Document

__all__ = ["SQLiteVersions"]

#: Rows by key that are read on the event loop at most.
_FEW: Final = 32
_EARLIEST: Final = -(2**63)
_LATEST: Final = 2**63 - 1


class SQLiteVersions(SQLiteRows):
    """The versions of one slot in one database."""

    def __init__(self, database: Database, spec: SlotSpec) -> None:
        super().__init__(database, spec, make_row_table(spec))
        self._rows = make_row_table(spec)
        self._table = make_version_table(spec)

    async def find_at(self, keys: Sequence[Key], until: int) -> list[Document | None]:
        read = self._read_here if len(keys) <= _FEW else self._read_in_thread
        return await read("reading", self._find_all, keys, until) or [None] * len(keys)

    def _find_all(self, connection: Connection, keys: Sequence[Key], until: int) -> list[Document | None]:
        return [self._find(connection, key, until) for key in keys]

    def _find(self, connection: Connection, key: Key, until: int) -> Document | None:
        row: Row | None = connection.execute(self._rows.find_written, key).fetchone()
        if row is not None and self._find_time(connection, key, row) <= until:
            return self._decode(key, row[:-1])
        found = self._fetch(connection, self._table.find, (*key, until))
        return self._decode_version(key, found[0]) if found else None

    def _find_time(self, connection: Connection, key: Key, row: Row) -> int:
        """Return the simulation time of a row, which ends with when it was written."""
        latest = self._fetch(connection, self._table.latest, key)
        if latest and is_version(self._spec, row, latest[0]):
            return int(latest[0][0])
        return int(row[1] if self._spec.when else row[-1])

    def _fetch(self, connection: Connection, statement: str, parameters: Row) -> list[Row]:
        """Return what a statement finds, nothing if no version was ever written."""
        try:
            return connection.execute(statement, parameters).fetchall()
        except sqlite3.OperationalError as error:
            if lacks_table(error):
                return []
            raise

    def _decode(self, key: Key, row: Sequence[Any]) -> Document:
        return decode_row(self._spec, key, row, self._database.path)

    def _decode_version(self, key: Key, row: Row) -> Document:
        payload, *removed, when, written = row
        document = self._decode(key, (payload, *((when,) if self._spec.when else ()), *removed))
        return document | {"when": when, "written": written}

    async def are_complete(self, keys: Sequence[Key]) -> list[bool]:
        found = await self._read_in_thread("reading", self._are_complete, keys)
        return [True] * len(keys) if found is None else found

    def _are_complete(self, connection: Connection, keys: Sequence[Key]) -> list[bool]:
        found = []
        for key in keys:
            row = connection.execute(self._table.created, key).fetchone()
            found.append(row is None or self._fetch(connection, self._table.first, key) == [row])
        return found

    # Listing

    async def list_rows(self, context: Key, after: Any, limit: int, *, newest: bool) -> tuple[list[Document], Any]:
        begin = (_LATEST if newest else "") if after is None else after
        page = await self._read_in_thread("listing", self._list_rows, context, begin, limit, newest)
        found, last = page or ([], None)
        return found, (last if len(found) == limit else None)

    def _list_rows(
        self, connection: Connection, context: Key, after: Any, limit: int, newest: bool
    ) -> tuple[list[Document], Any]:
        found: list[Document] = []
        last: Any = None
        for item, number, *row in connection.execute(self._table.rows[newest], (*context, after, limit)).fetchall():
            key = (*context, item) if self._spec.item else context
            document = self._decode(key, row[:-1])
            document["when"] = self._find_time(connection, key, tuple(row))
            found.append(document)
            last = number if newest else item + "\0"  # no text lies between the two
        return found, last

    async def list_versions(
        self, key: Key, since: int | None, until: int | None, limit: int, *, newest_first: bool
    ) -> list[Document]:
        bounds = (_EARLIEST if since is None else since, _LATEST if until is None else until)
        statement = self._table.pages[newest_first]
        rows = await self._read_in_thread("listing", self._fetch, statement, (*key, *bounds, limit))
        return [self._decode_version(key, row) for row in rows or ()]

    async def find_unversioned(self, key: Key) -> Document | None:
        return await self._read_here("reading", self._find_unversioned, key)

    def _find_unversioned(self, connection: Connection, key: Key) -> Document | None:
        row: Row | None = connection.execute(self._rows.find_written, key).fetchone()
        latest = self._fetch(connection, self._table.latest, key)
        if row is None or (latest and is_version(self._spec, row, latest[0])):
            return None
        when = self._find_time(connection, key, row)
        return self._decode(key, row[:-1]) | {"when": when, "written": row[-1]}

    async def list_keys(self, after: Key | None, limit: int) -> list[Key]:
        return await self._read_in_thread("listing", self._list_keys, after, limit) or []

    def _list_keys(self, connection: Connection, after: Key | None, limit: int) -> list[Key]:
        found: list[Key] = []
        # One seek in the index for each key, however many versions it has.
        while len(found) < limit:
            keys = fetch_keys(connection, self._spec, {}, after, 1, of_versions=True)
            if not keys:
                break
            found += keys
            (after,) = keys
        return found

    # Retention

    async def count_prunable(self, retention: Retention) -> tuple[int, int]:
        return await self._read_in_thread("listing", count_prunable, self._spec, retention) or (0, 0)

    async def prune(self, key: Key, retention: Retention) -> int:
        return await self._write("deleting versions", lambda: partial(self._prune, key, retention))

    def _prune(self, key: Key, retention: Retention, connection: Connection) -> int:
        if self._table.name not in connection.tables:
            self._table.make(connection)
            connection.tables.add(self._table.name)
        return prune(connection, self._spec, key, retention)
