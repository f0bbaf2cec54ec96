"""The rows of a run in SQLite: how they are found and deleted."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from backtest_mongo.core.commits import name_lease
from backtest_mongo.core.lease_errors import make_in_use_error
from backtest_mongo.core.runs import SIGNAL, STEP, Deleted, Selection
from backtest_mongo.core.specs import FLAG, Key, SlotSpec
from backtest_mongo.errors import LeaseHeldError
from backtest_mongo.sqlite import lease_rows
from backtest_mongo.sqlite.change_log import quote
from backtest_mongo.sqlite.database import Connection, Database
from backtest_mongo.sqlite.layout import make_row_table, make_version_table
from backtest_mongo.sqlite.row_codec import now
from backtest_mongo.sqlite.run_column import RUN
from backtest_mongo.sqlite.store import SQLiteRows

__all__ = ["SQLiteRunRows"]


class SQLiteRunRows(SQLiteRows):
    """The rows of one slot in a database file."""

    def __init__(self, database: Database, spec: SlotSpec) -> None:
        table = make_row_table(spec)
        super().__init__(database, spec, table)
        self.spec: SlotSpec = spec
        self._name = quote(table.name)
        self._columns = {field: quote(column) for field, column in zip(spec.key, table.columns[1:], strict=False)}
        self._key = ", ".join(self._columns.values())
        of_versions = make_version_table(spec).columns[: len(spec.key)]
        self._match_versions = " AND ".join(f"{quote(column)}=?" for column in of_versions)

    async def count(self, selection: Selection) -> int:
        where, parameters = self._make_condition(selection)
        statement = f"SELECT count(*) FROM {self._name} WHERE {where}"
        found = await self._read_in_thread("counting", _fetch_all, statement, parameters)
        return found[0][0] if found else 0

    async def list_signals(self, selection: Selection) -> list[str]:
        where, parameters = self._make_condition(selection)
        signal = self._columns[SIGNAL]
        statement = f"SELECT DISTINCT {signal} FROM {self._name} WHERE {where} ORDER BY 1"
        return [name for (name,) in await self._read_in_thread("listing", _fetch_all, statement, parameters) or ()]

    async def delete(self, selection: Selection) -> AsyncIterator[Deleted]:
        # Asked for first, as a write would make the file and the table.
        while await self.count(selection):
            outcome = await self._write("deleting", lambda: partial(self._delete_some, selection))
            if isinstance(outcome, LeaseHeldError):
                raise outcome
            yield outcome

    # What is called with a connection

    def _delete_some(self, selection: Selection, connection: Connection) -> Deleted | LeaseHeldError:
        """Delete rows, or return why not: an error that is raised would undo the writes of others with its own."""
        where, parameters = self._make_condition(selection)
        select = f"SELECT number, {self._key} FROM {self._name} WHERE {where} LIMIT {STEP}"
        rows = connection.execute(select, parameters).fetchall()
        keys = [self._read_key(key) for _, *key in rows]
        names = {name_lease(self.spec, key[: len(self.spec.context)]) for key in keys}
        for holder in lease_rows.list_held(connection, now()):
            if holder.id in names and not holder.is_expired:
                return make_in_use_error(holder)
        versions = 0
        if connection.execute(
            "SELECT 1 FROM sqlite_master WHERE type='table' AND name=?", (self.spec.versions,)
        ).fetchone():
            delete = f"DELETE FROM {quote(self.spec.versions)} WHERE {self._match_versions}"
            versions = connection.executemany(delete, keys).rowcount
        connection.executemany(f"DELETE FROM {self._name} WHERE number=?", [(number,) for number, *_ in rows])
        return len(rows), versions

    def _read_key(self, values: list[Any]) -> Key:
        return tuple(bool(value) if name == FLAG else value for name, value in zip(self.spec.key, values, strict=True))

    def _make_condition(self, selection: Selection) -> tuple[str, tuple[Any, ...]]:
        """Return the condition of rows as SQL, and its parameters."""
        equal = selection.list_equal(self.spec)
        conditions = [f"{self._columns[name]}=?" for name in equal]
        parameters: list[Any] = list(equal.values())
        if selection.signals is not None:
            conditions.append(f"{self._columns[SIGNAL]} IN (SELECT value FROM json_each(?))")
            parameters.append(json.dumps(list(selection.signals)))
        if selection.owner == "run":
            conditions.append(f"{RUN}=?")
            parameters.append(selection.run)
        elif selection.owner == "other":
            conditions.append(f"{RUN}<>?")  # which NULL is not
            parameters.append(selection.run)
        elif selection.owner == "none":
            conditions.append(f"{RUN} IS NULL")
        return " AND ".join(conditions) or "1", tuple(parameters)


def _fetch_all(connection: Connection, statement: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    return connection.execute(statement, parameters).fetchall()
