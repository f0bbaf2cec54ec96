"""Blocks and groups of a series with columns: how their headers and rows are read and checked.

All of it is called with a connection, in a thread. A read is of one moment: see :func:`open_snapshot`.

This module imports NumPy: import it in the functions that need it, not at the top of a module.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import bson
from bson.errors import BSONError

from backtest_mongo.columns.arrays import ColumnArrays
from backtest_mongo.columns.codec import DamagedRowsError, parse_header
from backtest_mongo.core.specs import FLAG, Key, SlotSpec
from backtest_mongo.errors import StoreError
from backtest_mongo.sqlite.column_documents import Part, cluster, cut, decode_part, merge
from backtest_mongo.sqlite.column_layout import ColumnTable
from backtest_mongo.sqlite.column_retention import read_retention
from backtest_mongo.types import Coverage, SeriesSize

__all__ = ["PartReader", "open_snapshot"]


@contextmanager
def open_snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Let all that is read be of one moment. In a transaction it is already."""
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


class PartReader:
    """Reads the parts of a series.

    Args:
        spec: the slot.
        table: its tables.
        path: the database, for messages.
    """

    def __init__(self, spec: SlotSpec, table: ColumnTable, path: str) -> None:
        self._spec = spec
        self._table = table
        self._path = path

    # All series

    def list_contexts(self, connection: sqlite3.Connection) -> list[Key]:
        """Return the context of each stored series, in the order of the key."""
        fields = self._spec.key[: len(self._spec.context)]
        found = (zip(fields, row, strict=False) for row in connection.execute(self._table.contexts))
        return [tuple(bool(value) if field == FLAG else value for field, value in row) for row in found]

    def sample_blocks(self, connection: sqlite3.Connection, count: int) -> list[int]:
        """Return the numbers of ``count`` random blocks of any series, or of all if there are fewer."""
        return [number for (number,) in connection.execute(self._table.sample, (count,))]

    def measure(self, connection: sqlite3.Connection, context: Key) -> SeriesSize:
        """Return how a series is stored, of one moment; rows that were replaced and not merged yet count."""
        with open_snapshot(connection):
            counts = [connection.execute(statement, context).fetchone() for statement in self._table.counts]
            keep = read_retention(connection, self._spec, context)
        (groups, rows, size, oldest), (blocks, block_rows, block_size, _) = counts
        return SeriesSize(blocks, block_rows or 0, block_size or 0, groups, rows or 0, size or 0, oldest, keep)

    # Headers

    def list_groups(self, connection: sqlite3.Connection, context: Key) -> list[Part]:
        """Return the groups of the tail in the order of writing, unchecked."""
        return [Part(*row) for row in connection.execute(self._table.groups, context)]

    def list_blocks(self, connection: sqlite3.Connection, context: Key, first: int, last: int) -> list[Part]:
        """Return the blocks that are responsible for times from one to another, by start, unchecked."""
        parameters = {f"part{at}": value for at, value in enumerate(context)}
        found = connection.execute(self._table.block_heads, {**parameters, "first": first, "last": last})
        return [Part(*row) for row in found]

    def list_parts(self, connection: sqlite3.Connection, context: Key, first: int, last: int) -> list[Part]:
        """Return the parts with rows from one time to another: blocks by start, then groups in the order of writing.

        Raises:
            StoreError: one of them is damaged, or a group of whatever time.
        """
        found = self.list_blocks(connection, context, first, last)
        found += self.list_groups(connection, context)
        self.check(connection, context, found)
        return [part for part in found if part.overlaps(first, last)]

    def check(self, connection: sqlite3.Connection, context: Key, parts: Iterable[Part]) -> None:
        """Compare headers with their checksums.

        Raises:
            StoreError: one of them is damaged.
        """
        for part in parts:
            try:
                part.check()
            except DamagedRowsError as error:
                raise self.make_error(context, self.restore(connection, part), str(error)) from None

    def restore(self, connection: sqlite3.Connection, part: Part) -> Part:
        """Return a part with the header that its document has, if its own is damaged and that one is not."""
        try:
            part.check()
        except DamagedRowsError:
            try:
                document = bson.decode(self.fetch(connection, part) or b"")
                key = {name: document[name] for name in part.key}
                rows, first, last = parse_header(document, key)
            except (BSONError, TypeError, KeyError, DamagedRowsError):
                return part
            return replace(part, rows=rows, first=first, last=last)
        return part

    def verify(
        self, connection: sqlite3.Connection, context: Key, is_block: bool, number: int
    ) -> tuple[Coverage, str | None] | None:
        """Return what a part covers, and what is wrong with it; ``None`` if it is gone."""
        row = connection.execute(self._table.part[is_block], (number,)).fetchone()
        if row is None:
            return None
        part = Part(*row)
        problem = self._find_problem(connection, context, part)
        part = self.restore(connection, part)
        return Coverage(part.first, part.last, part.rows), problem

    def _find_problem(self, connection: sqlite3.Connection, context: Key, part: Part) -> str | None:
        try:
            rows = decode_part(self._spec, part, self.fetch(connection, part))
        except DamagedRowsError as error:
            return str(error)
        if not rows.is_ordered() or (int(rows.time[0]), int(rows.time[-1])) != (part.first, part.last):
            return "its rows are not in order"
        if part.start is not None:
            (next_start,) = connection.execute(self._table.next_start, (*context, part.start)).fetchone()
            if part.first < part.start or (next_start is not None and part.last >= next_start):
                return "it has rows of another block's times"
        return None

    # Rows

    def fetch(self, connection: sqlite3.Connection, part: Part) -> bytes | None:
        """Return the document of a part, ``None`` if it is gone."""
        row = connection.execute(self._table.fetch[part.is_block], (part.number,)).fetchone()
        return None if row is None else row[0]

    def decode(self, context: Key, part: Part, content: Any, names: Collection[str] | None = None) -> ColumnArrays:
        """Return the rows of a part, with all columns or those of these names.

        Raises:
            StoreError: it is damaged.
        """
        try:
            return decode_part(self._spec, part, content, names)
        except DamagedRowsError as error:
            raise self.make_error(context, part, str(error)) from None

    def load(
        self, connection: sqlite3.Connection, context: Key, part: Part, names: Collection[str] | None = None
    ) -> ColumnArrays:
        """Fetch and decode a part.

        Raises:
            StoreError: it is damaged.
        """
        return self.decode(context, part, self.fetch(connection, part), names)

    def read(
        self,
        connection: sqlite3.Connection,
        context: Key,
        first: int,
        last: int,
        names: Collection[str] | None = None,
    ) -> ColumnArrays:
        """Return the rows from one time to another, both included.

        Raises:
            StoreError: a part of them is damaged.
        """
        parts = self.list_parts(connection, context, first, last)
        return self._merge(context, parts, [self.fetch(connection, part) for part in parts], first, last, names)

    def _merge(
        self,
        context: Key,
        parts: Sequence[Part],
        contents: Sequence[Any],
        first: int,
        last: int,
        names: Collection[str] | None,
    ) -> ColumnArrays:
        if not parts:
            return ColumnArrays.empty(self._spec, names)
        decoded = [
            cut(self.decode(context, part, content, names), first, last)
            for part, content in zip(parts, contents, strict=True)
        ]
        return merge(decoded)

    def read_range(
        self, connection: sqlite3.Connection, context: Key, first: int, last: int, names: Collection[str] | None
    ) -> ColumnArrays:
        """Do what :meth:`read` does; what was fetched of one moment is decoded when the snapshot is closed."""
        with open_snapshot(connection):
            parts = self.list_parts(connection, context, first, last)
            contents = [self.fetch(connection, part) for part in parts]
        return self._merge(context, parts, contents, first, last, names)

    def read_last(
        self, connection: sqlite3.Connection, context: Key, count: int, last: int, names: Collection[str] | None
    ) -> ColumnArrays:
        """Return the last ``count`` rows up to a time.

        Raises:
            StoreError: a part of them is damaged.
        """
        with open_snapshot(connection):
            groups = self.list_groups(connection, context)
            self.check(connection, context, groups)
            wanted = count
            while True:
                blocks, are_all = self._list_last_blocks(connection, context, wanted, last)
                self.check(connection, context, blocks)
                parts = [*blocks, *groups]
                lowest = _find_lowest(parts, wanted, last)
                if lowest is None:
                    found = ColumnArrays.empty(self._spec, names)
                    break
                found = self.read(connection, context, lowest, last, names)
                if len(found) >= count or (are_all and lowest == min(part.first for part in parts)):
                    break
                wanted *= 2  # as some of the rows are replaced by others of these
        return found if len(found) <= count else found.take(slice(len(found) - count, None))

    def _list_last_blocks(
        self, connection: sqlite3.Connection, context: Key, count: int, last: int
    ) -> tuple[list[Part], bool]:
        """Return the last blocks up to a time, and whether these are all.

        Those that end before it have ``count`` rows, if there are so many.
        """
        limit, found = 2, list[Part]()
        while True:
            found = [Part(*row) for row in connection.execute(self._table.blocks_before, (*context, last, limit))]
            if len(found) < limit:
                return found, True
            if sum(part.rows for part in found if part.last <= last) >= count:
                return found, False
            limit *= 2

    # Counting

    def cover(
        self, connection: sqlite3.Connection, context: Key, first: int, last: int
    ) -> tuple[int | None, int | None, int]:
        """Return the first and the last time of the rows from one time to another, and their number.

        Only what overlaps is decoded, and what one of the times is within.

        Raises:
            StoreError: a part of these is damaged.
        """
        parts = self.list_parts(connection, context, first, last)
        firsts, lasts, count = list[int](), list[int](), 0
        for places in cluster([(part.first, part.last) for part in parts]):
            some = [parts[at] for at in places]
            if len(some) == 1 and some[0].is_within(first, last):
                firsts.append(some[0].first)
                lasts.append(some[0].last)
                count += some[0].rows
                continue
            keys = merge([cut(self.load(connection, context, part, ()), first, last) for part in some])
            if len(keys):
                firsts.append(int(keys.time[0]))
                lasts.append(int(keys.time[-1]))
                count += len(keys)
        return (min(firsts), max(lasts), count) if firsts else (None, None, 0)

    # Damage

    def make_error(self, context: Key, part: Part, problem: str, doing: str = "reading") -> StoreError:
        """Return the error of a part that is damaged."""
        what = f"a {'block' if part.is_block else 'group'} of {part.rows:,} rows from {part.first} to {part.last}"
        return StoreError(
            f"{doing} failed: {what} ({self._spec.unit}) is damaged, so these rows are lost: {problem}: {self._path}",
            slot=self._spec.name,
            collection=self._spec.collection,
            key=dict(zip(self._spec.key, context, strict=False)),
            hint=f"restore a backup, or delete the range with delete({part.first}, {part.last + 1}), "
            "and write its rows again",
        )


def _find_lowest(parts: Sequence[Part], count: int, last: int) -> int | None:
    """Return the time from which on the parts that end before a time have so many rows; ``None`` without parts."""
    lowest = None
    for part in sorted(parts, key=lambda part: part.first, reverse=True):
        if part.first > last:
            continue
        lowest = part.first
        if part.last <= last:
            count -= part.rows
        if count <= 0:
            break
    return lowest
