"""The contexts of a slot in SQLite: listed, measured and deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final, TypeVar

from backtest_mongo.core.commits import make_claim
from backtest_mongo.core.contexts import EVERYTHING, MAX_STEP_ROWS, Measure
from backtest_mongo.core.specs import FLAG, Key, SlotSpec
from backtest_mongo.sqlite import lease_rows
from backtest_mongo.sqlite.change_log import quote
from backtest_mongo.sqlite.database import Connection
from backtest_mongo.sqlite.layout import make_version_table
from backtest_mongo.sqlite.row_codec import now

__all__ = ["SQLiteContexts", "has_table", "list_columns", "match_context"]

#: Contexts that are read at a time.
_PAGE: Final = 256

T = TypeVar("T")
#: Reads in a thread, by what is being done: ``None`` if nothing was ever written.
Read = Callable[..., Awaitable[Any]]


class SQLiteContexts:
    """The contexts of a slot's table.

    Args:
        spec: the slot.
        tables: the names of its tables.
        columns: those of its context.
        sizes: the expressions that sum up its rows and their bytes.
        read: carries out a read.
    """

    def __init__(
        self, spec: SlotSpec, tables: Sequence[str], columns: Sequence[str], sizes: tuple[str, str], read: Read
    ) -> None:
        self._spec = spec
        self._tables = tuple(map(quote, tables))
        self._columns = columns
        self._rows, self._bytes = sizes
        self._read = read
        self._fields = spec.key[: len(spec.context)]

    # Listing

    async def list_contexts(self, where: Mapping[str, Any] = EVERYTHING) -> AsyncIterator[Key]:
        """Yield the contexts that match a filter, in the order of the key; the index is jumped through."""
        last: Key | None = None
        while True:
            page = await self._read("listing", self._find_page, where, last) or []
            for context in page:
                yield context
            if len(page) < _PAGE:
                return
            last = page[-1]

    def _find_page(self, connection: Connection, where: Mapping[str, Any], last: Key | None) -> list[Key]:
        """Return the next contexts: each is looked up in the index behind the one before."""
        found: list[Key] = []
        while len(found) < _PAGE:
            context = self._find_next(connection, where, last)
            if context is None:
                break
            found.append(context)
            last = context
        return found

    def _find_next(self, connection: Connection, where: Mapping[str, Any], last: Key | None) -> Key | None:
        found = [self._find_next_in(table, connection, where, last) for table in self._tables]
        return min((context for context in found if context is not None), default=None)

    def _find_next_in(
        self, table: str, connection: Connection, where: Mapping[str, Any], last: Key | None
    ) -> Key | None:
        columns = self._columns
        if not columns:
            row = None if last is not None else connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone()
            return None if row is None else ()
        # The first field in which the next context differs is tried from the last field on.
        order = ", ".join(map(quote, columns))
        given = [(column, where.get(field)) for column, field in zip(columns, self._fields, strict=True)]
        starts = range(len(columns) - 1, -1, -1) if last is not None else (-1,)
        for at in starts:
            conditions, parameters = [], []
            for place, (column, value) in enumerate(given):
                if last is not None and place < at:
                    conditions.append(f"{quote(column)}=?")
                    parameters.append(last[place])
                elif last is not None and place == at:
                    if value is not None:
                        break  # it is the same in all of them
                    conditions.append(f"{quote(column)}>?")
                    parameters.append(last[place])
                elif value is not None:
                    conditions.append(f"{quote(column)}=?")
                    parameters.append(value)
            else:
                query = f"SELECT {order} FROM {table} WHERE {' AND '.join(conditions) or '1'} ORDER BY {order} LIMIT 1"
                row = connection.execute(query, parameters).fetchone()
                if row is not None:
                    return self._make_context(row)
        return None

    def _make_context(self, row: Sequence[Any]) -> Key:
        return tuple(bool(value) if field == FLAG else value for field, value in zip(self._fields, row, strict=True))

    # Measuring

    async def measure(self, where: Mapping[str, Any], *, by_context: bool) -> list[Measure]:
        """Measure the rows of each context, in the order of the key, or of all contexts together."""
        return await self._read("listing", self._measure, where, by_context) or []

    def _measure(self, connection: Connection, where: Mapping[str, Any], by_context: bool) -> list[Measure]:
        names = [quote(column) for column in self._columns]
        table = self._tables[0]
        if len(self._tables) > 1:
            columns = ", ".join((*names, "[rows]", "document", "written"))
            table = f"({' UNION ALL '.join(f'SELECT {columns} FROM {one}' for one in self._tables)})"
        given = {name: where[field] for name, field in zip(names, self._fields, strict=True) if field in where}
        condition = " AND ".join(f"{name}=?" for name in given) or "1"
        listed = ", ".join(names) or "1"
        grouped = (
            f"SELECT {listed}, {self._rows} AS n, {self._bytes} AS b, max(written) AS w FROM {table} "
            f"WHERE {condition} GROUP BY {listed}"
        )
        versions = self._count_versions(connection, listed, condition, given)
        if not by_context:
            total = f"SELECT count(*), sum(n), sum(b), max(w) FROM ({grouped})"
            contexts, rows, size, written = connection.execute(total, (*given.values(),)).fetchone()
            kept = sum(versions.values())
            if not contexts:
                return []
            return [Measure(contexts=contexts, rows=rows, bytes=size or 0, versions=kept, written=written)]
        found = []
        for row in connection.execute(f"{grouped} ORDER BY {listed}", (*given.values(),)):
            *context, rows, size, written = row
            key = self._make_context(context) if names else ()
            kept = versions.get(tuple(context), 0)
            found.append(Measure(context=key, contexts=1, rows=rows, bytes=size or 0, versions=kept, written=written))
        return found

    def _count_versions(
        self, connection: Connection, listed: str, condition: str, given: Mapping[str, Any]
    ) -> dict[tuple[Any, ...], int]:
        if not has_table(connection, self._spec.versions):
            return {}
        statement = f"SELECT {listed}, count(*) FROM {quote(self._spec.versions)} WHERE {condition} GROUP BY {listed}"
        return {(*context,): rows for *context, rows in connection.execute(statement, (*given.values(),))}

    # Deleting

    def exists(self, connection: Connection, context: Key) -> bool:
        """Return whether there is a row or a version of a context."""
        return any(
            connection.execute(f"SELECT 1 FROM {quote(name)} WHERE {self._match(context)} LIMIT 1", context).fetchone()
            for name in (self._spec.collection, self._spec.versions)
            if has_table(connection, name)
        )

    def delete_some(self, context: Key, owners: Collection[str], connection: Connection) -> tuple[int, bool]:
        """Delete some versions of a context or, once there are none, some rows.

        More or fewer values than a context's are the beginning of the keys whose rows are deleted.

        Returns:
            How many rows were deleted, and whether any may be left.

        Raises:
            LeaseHeldError: another owner has the lease.
        """
        claim = make_claim((self._spec, context[: len(self._columns)]))
        lease_rows.refuse_held(connection, claim, owners, now())
        for name in (self._spec.versions, self._spec.collection):
            if not has_table(connection, name):
                continue
            unique = "number" if name == self._spec.collection else ", ".join(map(quote, self._find_unique()))
            some = f"SELECT {unique} FROM {quote(name)} WHERE {self._match(context)} LIMIT {MAX_STEP_ROWS}"
            deleted = connection.execute(f"DELETE FROM {quote(name)} WHERE ({unique}) IN ({some})", context).rowcount
            if deleted:
                return (deleted if name == self._spec.collection else 0), True
        return 0, False

    def _find_unique(self) -> tuple[str, ...]:
        """Return the columns that tell a version from all others."""
        return make_version_table(self._spec).columns[: len(self._spec.key) + 1]

    def _match(self, context: Key) -> str:
        return match_context(
            (self._columns if len(context) == len(self._columns) else self._find_unique())[: len(context)]
        )


def match_context(columns: Sequence[str]) -> str:
    """Return the condition for the rows of a context, whose values are its parameters."""
    return " AND ".join(f"{quote(column)}=?" for column in columns) or "1"


def has_table(connection: Connection, name: str) -> bool:
    """Return whether there is a table."""
    statement = "SELECT 1 FROM sqlite_master WHERE type='table' AND name=?"
    return connection.execute(statement, (name,)).fetchone() is not None


def list_columns(connection: Connection, name: str) -> list[str]:
    """Return the columns of a table."""
    return [row[1] for row in connection.execute(f"PRAGMA table_info({quote(name)})")]
