"""Series with columns where a run is reset: their rows carry no run's name, so they are counted, and stay."""

from __future__ import annotations

from collections.abc import AsyncIterator

from backtest_mongo.core.runs import Deleted, Selection
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.sqlite.change_log import quote
from backtest_mongo.sqlite.column_layout import make_column_table
from backtest_mongo.sqlite.database import Connection, Database
from backtest_mongo.sqlite.store import SQLiteRows

__all__ = ["SQLiteRunColumns"]


class SQLiteRunColumns(SQLiteRows):
    """The rows of one slot with columns in a database file, none of which belongs to a run."""

    def __init__(self, database: Database, spec: SlotSpec) -> None:
        self._table = table = make_column_table(spec)
        super().__init__(database, spec, table)
        self.spec: SlotSpec = spec

    async def count(self, selection: Selection) -> int:
        if selection.owner in ("run", "other") or selection.signals is not None:
            return 0
        return await self._read_in_thread("counting", self._count, selection) or 0

    async def list_signals(self, selection: Selection) -> list[str]:
        return []

    async def delete(self, selection: Selection) -> AsyncIterator[Deleted]:
        nothing: tuple[Deleted, ...] = ()
        for step in nothing:
            yield step

    def _count(self, connection: Connection, selection: Selection) -> int:
        equal = selection.list_equal(self.spec)
        columns = dict(zip(self.spec.key, self._table.context, strict=False))
        where = " AND ".join(f"{quote(columns[field])}=?" for field in equal) or "1"
        counts = [
            connection.execute(f"SELECT sum([rows]) FROM {quote(name)} WHERE {where}", (*equal.values(),)).fetchone()[0]
            for name in self._table.tables
        ]
        return sum(int(rows or 0) for rows in counts)
