"""Deletes the rows of a collection in SQLite that need not be kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from backtest_mongo.core.changes import name_context
from backtest_mongo.core.pruning import Prunable, Pruner
from backtest_mongo.core.retention import Retention
from backtest_mongo.core.specs import FLAG, Key, SlotSpec
from backtest_mongo.sqlite.change_log import quote
from backtest_mongo.sqlite.database import Connection
from backtest_mongo.sqlite.filters import extract
from backtest_mongo.sqlite.layout import RowTable, make_row_table, make_version_table
from backtest_mongo.sqlite.row_codec import now

__all__ = ["SQLitePruner"]


class SQLitePruner(Pruner):
    """The pruner of one slot in one database.

    Args:
        spec: the slot.
        read: calls a function with a connection to read, ``None`` where nothing was ever written.
        write: calls a function with a connection within a transaction.
    """

    def __init__(
        self, spec: SlotSpec, read: Callable[..., Awaitable[Any]], write: Callable[..., Awaitable[Any]]
    ) -> None:
        super().__init__(spec)
        self._read, self._write = read, write
        self._table: RowTable = make_row_table(spec)

    async def survey(self, retention: Retention) -> Sequence[Prunable]:
        found: Sequence[Prunable] | None = await self._read("listing", self._survey, retention)
        return found or ()

    async def prune(self, context: Key, retention: Retention, limit: int) -> tuple[int, list[Key]]:
        work = partial(self._prune, context, retention, limit)
        keys: list[Key] = await self._write("deleting rows", lambda: work)
        return len(keys), keys

    # What is called with a connection

    def _survey(self, connection: Connection, retention: Retention) -> list[Prunable]:
        table, spec = self._table, self.spec
        names = ", ".join(map(quote, table.context))
        group = f" GROUP BY {names} ORDER BY {names}" if names else ""
        counted = f"SELECT {f'{names}, ' if names else ''}count(*) FROM {quote(table.name)}{group}"
        found = []
        for *values, stored in connection.execute(counted).fetchall():
            context = tuple(
                bool(value) if name == FLAG else value for name, value in zip(spec.key, values, strict=False)
            )
            condition, parameters = self._make_condition(context, retention)
            statement = f"SELECT count(*) FROM {quote(table.name)} WHERE {condition}"
            (rows,) = connection.execute(statement, parameters).fetchone()
            if stored:
                found.append(Prunable(context=name_context(spec, context), key=context, stored=stored, rows=rows))
        return found

    def _prune(self, context: Key, retention: Retention, limit: int, connection: Connection) -> list[Key]:
        table = self._table
        name, columns = quote(f"{table.name} written"), ", ".join(map(quote, (*table.context, "written")))
        connection.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {quote(table.name)} ({columns})")
        condition, parameters = self._make_condition(context, retention)
        rows = connection.execute(
            f"SELECT number, {quote(table.item)} FROM {quote(table.name)} WHERE {condition} "
            "ORDER BY written, number LIMIT ?",
            (*parameters, limit),
        ).fetchall()
        statement = f"DELETE FROM {quote(table.name)} WHERE number=?"
        connection.executemany(statement, [(number,) for number, _ in rows])
        keys = [(*context, item) for _, item in rows]
        versions = make_version_table(self.spec)
        if versions.name in connection.tables or _exists(connection, versions.name):
            connection.executemany(versions.delete, keys)
        return keys

    def _make_condition(self, context: Key, retention: Retention) -> tuple[str, tuple[Any, ...]]:
        """Return the condition of the rows of a context that need not be kept, and its parameters."""
        table = self._table
        within = " AND ".join(f"{quote(column)}=?" for column in table.context) or "1"
        conditions, parameters = [within], [*context]
        cut = retention.find_cut(now())
        if cut is not None:
            conditions.append("written<?")
            parameters.append(cut)
        elif retention.rows is not None:
            conditions.append(
                f"(written, number)<(SELECT written, number FROM {quote(table.name)} WHERE {within} "
                "ORDER BY written DESC, number DESC LIMIT 1 OFFSET ?)"
            )
            parameters += [*context, retention.rows - 1]
        else:
            conditions.append("0")
        if self.spec.ended:
            path, *values = self.spec.ended
            conditions.append(f"{extract(quote(table.field), path)} IN ({', '.join('?' * len(values))})")
            parameters += values
        return " AND ".join(conditions), tuple(parameters)


def _exists(connection: Connection, table: str) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name=?", (table,)).fetchone() is not None
