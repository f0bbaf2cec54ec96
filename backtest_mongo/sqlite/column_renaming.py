"""Renames a strategy in series with columns: each series in one transaction, however many rows it has.

The documents don't have the context, so only the columns of their rows change.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

from backtest_mongo.core.commits import make_claim
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.strategy_names import Moved, NewName, make_name_conflict
from backtest_mongo.sqlite import lease_rows
from backtest_mongo.sqlite.change_log import encode_deleted, fill_record
from backtest_mongo.sqlite.column_layout import ColumnTable
from backtest_mongo.sqlite.column_retention import move_retention
from backtest_mongo.sqlite.database import Connection
from backtest_mongo.sqlite.row_codec import now

__all__ = ["ColumnRenamer"]


class ColumnRenamer:
    """Renames series of one slot.

    Args:
        spec: the slot.
        table: its tables.
        read: carries out a read: ``None`` if nothing was ever written.
        write: carries out a write in a transaction.
    """

    def __init__(
        self,
        spec: SlotSpec,
        table: ColumnTable,
        read: Callable[..., Awaitable[Any]],
        write: Callable[[str, Callable[[], Callable[[Connection], Any]]], Awaitable[Any]],
    ) -> None:
        self._spec = spec
        self._table = table
        self._read = read
        self._write = write

    async def check(self) -> None:
        return None

    async def count(self, context: Key) -> Moved:
        """Return how many rows there are; those that were replaced and not merged yet count."""
        return await self._read("listing", self._count, context) or Moved(0, 0)

    async def is_moving(self, source: Key, target: Key) -> bool:
        return False  # a killed process has moved all of a series, or nothing

    async def move(self, source: Key, target: Key, name: NewName) -> Moved:
        work = partial(self._move, source, target)
        moved: Moved = await self._write("renaming a strategy", lambda: work)
        return moved

    async def count_mentions(self, name: NewName) -> dict[Key, int]:
        return {}

    async def rename_mentions(self, name: NewName) -> int:
        return 0

    # What is called with a connection

    def _count(self, connection: Connection, context: Key) -> Moved:
        counts = [connection.execute(statement, context).fetchone()[1] for statement in self._table.counts]
        return Moved(sum(rows or 0 for rows in counts), 0)

    def _move(self, source: Key, target: Key, connection: Connection) -> Moved:
        spec, table, at = self._spec, self._table, now()
        lease_rows.refuse_held(connection, make_claim((spec, source), (spec, target)), (), at)
        if self._has_rows(connection, source) and self._has_rows(connection, target):
            raise make_name_conflict(spec, target)
        moved = self._count(connection, source)
        if moved.rows:
            self._record(connection, source, target, moved.rows, at)
        move_retention(connection, spec, source, target)
        for statement in table.rename:
            connection.execute(statement, (*target, *source))
        return moved

    def _has_rows(self, connection: Connection, context: Key) -> bool:
        return next(self._list_numbers(connection, context), None) is not None

    def _list_numbers(self, connection: Connection, context: Key) -> Iterator[tuple[bool, int]]:
        for is_block in (True, False):
            for (number,) in connection.execute(self._table.numbers[is_block], context).fetchall():
                yield is_block, number

    def _record(self, connection: Connection, source: Key, target: Key, rows: int, at: int) -> None:
        table = self._table
        found = [connection.execute(statement, source).fetchone() for statement in table.ranges]
        ranges = [range_ for range_ in found if range_[0] is not None]
        first, last = min(row[0] for row in ranges), max(row[1] for row in ranges)
        connection.execute(table.record, fill_record(encode_deleted(first, last, rows), "deleted", at, source))
        for is_block, number in self._list_numbers(connection, source):
            (document,) = connection.execute(table.fetch[is_block], (number,)).fetchone()
            connection.execute(table.record, fill_record(document, "written", at, target))
