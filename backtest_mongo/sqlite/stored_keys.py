"""What is stored of a slot, for programs that look at it: keys of rows and of versions in their order, and rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from backtest_mongo.core.specs import FLAG, Key, SlotSpec
from backtest_mongo.sqlite.change_log import quote
from backtest_mongo.sqlite.database import Database
from backtest_mongo.sqlite.layout import make_row_table, make_version_table
from backtest_mongo.sqlite.row_codec import decode_row
from backtest_mongo.sqlite.store import SQLiteRows
from backtest_mongo.types import Document

__all__ = ["StoredKeys", "fetch_keys", "make_condition", "name_key_columns"]


def name_key_columns(spec: SlotSpec) -> dict[str, str]:
    """Return the columns of a key, quoted, by the fields that they hold; versions have them, too."""
    return {name: quote(column) for name, column in zip(spec.key, make_row_table(spec).columns[1:], strict=False)}


def make_condition(spec: SlotSpec, where: Mapping[str, Any], after: Key | None = None) -> tuple[str, list[Any]]:
    """Return a condition on a table, and its parameters.

    Args:
        spec: the slot.
        where: values of fields of the key.
        after: the key after which to begin.
    """
    columns = name_key_columns(spec)
    terms = [f"{columns[name]}=?" for name in where]
    parameters = [int(value) if isinstance(value, bool) else value for value in where.values()]
    if after is not None:
        terms.append(f"({', '.join(columns.values())}) > ({', '.join('?' * len(columns))})")
        parameters += [int(value) if isinstance(value, bool) else value for value in after]
    return " AND ".join(terms) or "1", parameters


def fetch_keys(
    connection: sqlite3.Connection,
    spec: SlotSpec,
    where: Mapping[str, Any],
    after: Key | None,
    limit: int,
    *,
    of_versions: bool = False,
) -> list[Key]:
    """Return the keys of rows, or of versions, as often as there are any of them, ``limit`` at most.

    Raises:
        sqlite3.OperationalError: there is no such table yet.
    """
    table = make_version_table(spec).name if of_versions else make_row_table(spec).name
    columns = ", ".join(name_key_columns(spec).values())
    condition, parameters = make_condition(spec, where, after)
    statement = f"SELECT {columns} FROM {quote(table)} WHERE {condition} ORDER BY {columns} LIMIT ?"
    found = connection.execute(statement, (*parameters, limit)).fetchall()
    return [_read_key(spec, row) for row in found]


class StoredKeys(SQLiteRows):
    """The keys and rows of a slot in a database, for programs that look at what is stored.

    Args:
        database: the database.
        spec: the slot, which is no series.
    """

    def __init__(self, database: Database, spec: SlotSpec) -> None:
        super().__init__(database, spec, make_row_table(spec))
        self.database = database

    async def list_keys(self, where: Mapping[str, Any], after: Key | None, limit: int) -> list[Key]:
        """Return keys of rows in their order, ``limit`` at most, from behind ``after`` on."""
        return await self._read_in_thread("listing", fetch_keys, self._spec, where, after, limit) or []

    async def list_rows(self, where: Mapping[str, Any], limit: int) -> tuple[list[Document], int]:
        """Return the first rows by key, with ``createDate`` and ``updatedDate``, and how many match.

        Raises:
            StoreError: one of the rows can't be decoded.
        """
        return await self._read_in_thread("listing", self._fetch_rows, where, limit) or ([], 0)

    def _fetch_rows(
        self, connection: sqlite3.Connection, where: Mapping[str, Any], limit: int
    ) -> tuple[list[Document], int]:
        spec = self._spec
        table, key = quote(spec.collection), ", ".join(name_key_columns(spec).values())
        condition, parameters = make_condition(spec, where)
        # The payload, and `when` and `removed` if the slot has them, come after the key; the run is the last one.
        columns = ", ".join(map(quote, make_row_table(spec).columns[1 + len(spec.key) : -1]))
        statement = f"SELECT {key}, {columns} FROM {table} WHERE {condition} ORDER BY {key} LIMIT ?"
        found = []
        for row in connection.execute(statement, (*parameters, limit)).fetchall():
            stored = _read_key(spec, row)
            *state, created, written = row[len(spec.key) :]
            document = decode_row(spec, stored, state, self.database.path)
            document |= {"createDate": _to_date(created), "updatedDate": _to_date(written)}
            found.append(document)
        count = len(found)
        if count == limit:
            (count,) = connection.execute(f"SELECT count(*) FROM {table} WHERE {condition}", parameters).fetchone()
        return found, count

    async def list_versioned(self) -> frozenset[str]:
        """Return the names of the tables that hold versions, of whatever slots."""
        return await self._read_in_thread("listing", _fetch_version_tables) or frozenset()


def _read_key(spec: SlotSpec, row: Sequence[Any]) -> Key:
    return tuple(bool(value) if name == FLAG else value for name, value in zip(spec.key, row, strict=False))


def _to_date(millis: int) -> datetime | int:
    try:
        return datetime.fromtimestamp(millis / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return millis


def _fetch_version_tables(connection: sqlite3.Connection) -> frozenset[str]:
    found = connection.execute("SELECT name FROM sqlite_master WHERE type='table' AND name LIKE '%-history'")
    return frozenset(name for (name,) in found)
