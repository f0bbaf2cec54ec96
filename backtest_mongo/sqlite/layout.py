"""The tables of slots, their triggers and the statements on them, derived from the slot table."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.errors import IndexConflictError
from backtest_mongo.sqlite.change_log import make_record, make_series_triggers, make_triggers, quote
from backtest_mongo.sqlite.run_column import RUN, make_run_index

__all__ = [
    "RowTable",
    "SeriesTable",
    "Table",
    "VersionTable",
    "make_row_table",
    "make_series_table",
    "make_version_table",
    "name_columns",
]

#: Names that a slot's own columns can't have: those of the others, and SQLite's for the number of a row.
_ROW_COLUMNS: Final = ("number", "when", "removed", "created", "written", "run", "rowid", "oid", "_rowid_")
_BLOCK_COLUMNS: Final = ("start", "rows", "first", "last", "candles", "created", "written", "rowid", "oid", "_rowid_")


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table, its columns, and the statements that make it with its indexes and triggers."""

    name: str
    columns: tuple[str, ...]
    creation: tuple[str, ...]

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of all tables that have rows of the slot."""
        return (self.name,)

    def make(self, connection: sqlite3.Connection) -> None:
        """Make the table if it is missing, within the transaction of its first write.

        Raises:
            IndexConflictError: there is one with other columns.
        """
        for statement in self.creation:
            connection.execute(statement)
        found = tuple(row[1] for row in connection.execute(f"PRAGMA table_info({quote(self.name)})"))
        if found != self.columns:
            raise IndexConflictError(
                f"the table {self.name} has other columns than the slot: {', '.join(found)}",
                collection=self.name,
                hint="give the slot another name, or rename the table",
            )


@dataclass(frozen=True, kw_only=True)
class RowTable(Table):
    """The table of documents, entries, collections or buckets. Parameters are in the order of the columns."""

    #: The columns of the context.
    context: tuple[str, ...]
    #: How many rows there are, and their bytes, as SQL sums them up.
    sizes: tuple[str, str]
    find: str
    #: What ``find`` returns, and when the row was last written.
    find_written: str
    upsert: str
    find_removable: str
    mark_removed: str
    #: The beginning of a list, up to the conditions beside the context.
    listed: str
    #: The column of the natural key's last field.
    item: str
    #: The column of the payload.
    field: str

    def make_page(
        self, *, is_behind: bool, has_end: bool, has_until: bool, newest_first: bool, filtered: str = ""
    ) -> str:
        """Return the statement for a page of a context's rows by key.

        Its parameters are the context, the smallest key, the key below which all are if ``has_end``, the latest time if
        ``has_until``, those of ``filtered``, and how many rows.

        Args:
            is_behind: whether the smallest key is left out itself.
            has_end: whether there is a key below which all are.
            has_until: whether rows of later times are left out.
            newest_first: whether the keys are in descending order.
            filtered: further conditions, each after ``AND``.
        """
        item = quote(self.item)
        keys = f" AND {item}{'>' if is_behind else '>='}?{f' AND {item}<?' if has_end else ''}"
        until = " AND [when]<=?" if has_until else ""
        removed = " AND removed=0" if "removed" in self.columns else ""
        order = " DESC" if newest_first else ""
        return f"{self.listed}{keys}{removed}{until}{filtered} ORDER BY {item}{order} LIMIT ?"

    def make_newest(self, filtered: str = "") -> str:
        """Return the statement for the newest rows of a context: its parameters, those of ``filtered``, how many."""
        return f"{self.listed}{filtered} ORDER BY number DESC LIMIT ?"


@dataclass(frozen=True, kw_only=True)
class VersionTable(Table):
    """The table of the versions of a slot's rows. Each statement begins with the key as its parameters."""

    #: Payload, ``removed`` if the slot has it, time and time of writing of the latest version up to a time.
    find: str
    #: Time, time of writing, payload, and ``removed`` if the slot has it, of the latest version.
    latest: str
    #: As ``find``, of so many versions from one time to another, by whether the latest comes first.
    pages: Mapping[bool, str]
    upsert: str
    delete: str
    delete_later: str
    #: Time and time of writing of so many versions, the earliest first.
    earliest: str
    #: When the earliest version was written first, and when the row was created.
    first: str
    created: str
    #: The time of the version that so many are later than.
    behind: str
    delete_until: str
    #: How many versions there are of all keys; how many of each key come before a number of later ones; and how many
    #: were written before a time, without the last one of each key. Parameters: the time, the number.
    count: str
    #: Rows of a context from a key on, or backwards before a number, removed ones included: item, number,
    #: payload, ``when`` and ``removed`` if the slot has them, and when it was written.
    rows: Mapping[bool, str]


@dataclass(frozen=True, kw_only=True)
class SeriesTable(Table):
    """The table of a series' blocks. Each begins with the context as its parameters."""

    #: The columns of the context.
    context: tuple[str, ...]
    #: How many rows there are, and their bytes, as SQL sums them up.
    sizes: tuple[str, str]
    #: Start and content of the blocks from one start to another.
    blocks: str
    insert: str
    delete: str
    #: First time, last time and number of rows of all blocks.
    cover: str
    #: Start, rows, first and last time of the blocks from one start to another.
    heads: str
    #: The times alone of all blocks.
    times: str
    #: The last block with a candle before a time, which is given twice, and the first one with a candle from it on.
    before: str
    after: str
    contexts: str
    #: See :func:`~backtest_mongo.sqlite.change_log.make_record`.
    record: str


@cache
def make_row_table(spec: SlotSpec) -> RowTable:
    """Return the table of a slot that is no series."""
    *key, field = name_columns((*spec.key, spec.field), _ROW_COLUMNS)
    extra = (("when",) if spec.when else ()) + (("removed",) if spec.soft_delete else ())
    stored = (*key, field, *extra, "created", "written", RUN)
    name, context, item = spec.collection, key[: len(spec.context)], key[-1]
    kinds = {"number": "INTEGER PRIMARY KEY", field: "TEXT NOT NULL", RUN: "TEXT"}
    for column, of in zip(key, spec.key, strict=True):
        kinds[column] = "INTEGER NOT NULL" if of == "backtest" else "TEXT NOT NULL"
    table, match = quote(name), " AND ".join(f"{quote(column)}=?" for column in key)
    within = " AND ".join(f"{quote(column)}=?" for column in context) or "1"
    read = ", ".join(map(quote, (field, *extra)))
    replaced = ", ".join(f"{quote(column)}=excluded.{quote(column)}" for column in (field, *extra, "written", RUN))
    columns = ", ".join(f"{quote(column)} {kinds.get(column, 'INTEGER NOT NULL')}" for column in ("number", *stored))
    creation = [f"CREATE TABLE IF NOT EXISTS {table} ({columns}, UNIQUE ({', '.join(map(quote, key))}))"]
    if spec.newest is not None and context:
        indexed = ", ".join(map(quote, (*context, "number")))
        creation.append(f"CREATE INDEX IF NOT EXISTS {quote(f'{name} newest')} ON {table} ({indexed})")
    creation.append(make_run_index(name))
    creation += make_triggers(name, key, field, stored)
    return RowTable(
        name=name,
        columns=("number", *stored),
        creation=tuple(creation),
        context=tuple(context),
        sizes=("count(*)", f"sum(length(CAST({quote(field)} AS BLOB)))"),
        find=f"SELECT {read} FROM {table} WHERE {match}",
        find_written=f"SELECT {read}, written FROM {table} WHERE {match}",
        upsert=f"INSERT INTO {table} ({', '.join(map(quote, stored))}) VALUES ({', '.join('?' * len(stored))}) "
        f"ON CONFLICT ({', '.join(map(quote, key))}) DO UPDATE SET {replaced}",
        find_removable=f"SELECT {quote(field)}, {'[when]' if spec.when else 'NULL'} FROM {table} "
        f"WHERE {match} AND removed=0",
        mark_removed=f"UPDATE {table} SET {quote(field)}=?, removed=1, written=?, {RUN}=? WHERE {match}",
        listed=f"SELECT {quote(item)}, {read} FROM {table} WHERE {within}",
        item=item,
        field=field,
    )


@cache
def make_version_table(spec: SlotSpec) -> VersionTable:
    """Return the table of the versions of a slot that is no series."""
    *key, field = name_columns((*spec.key, spec.field), _ROW_COLUMNS)
    extra = ("removed",) if spec.soft_delete else ()
    stored = (*key, "when", field, *extra, "written", "created")
    kinds = dict.fromkeys(key, "TEXT NOT NULL") | {field: "TEXT NOT NULL"}
    kinds |= {column: "INTEGER NOT NULL" for column, of in zip(key, spec.key, strict=True) if of == "backtest"}
    name, rows = spec.versions, quote(spec.collection)
    table, match = quote(name), " AND ".join(f"{quote(column)}=?" for column in key)
    columns = ", ".join(f"{quote(column)} {kinds.get(column, 'INTEGER NOT NULL')}" for column in stored)
    read = ", ".join(map(quote, (field, *extra, "when", "written")))
    read_payload = ", ".join(map(quote, (field, *extra)))
    replaced = ", ".join(f"{quote(column)}=excluded.{quote(column)}" for column in (field, *extra, "written"))
    unique = ", ".join(map(quote, (*key, "when")))
    within = " AND ".join(f"{quote(column)}=?" for column in key[: len(spec.context)]) or "1"
    item = quote(key[-1])
    of_row = ", ".join(map(quote, (field, *(("when",) if spec.when else ()), *extra, "written")))
    return VersionTable(
        name=name,
        columns=stored,
        creation=(f"CREATE TABLE IF NOT EXISTS {table} ({columns}, PRIMARY KEY ({unique})) WITHOUT ROWID",),
        find=f"SELECT {read} FROM {table} WHERE {match} AND [when]<=? ORDER BY [when] DESC LIMIT 1",
        latest=f"SELECT [when], written, {read_payload} FROM {table} WHERE {match} ORDER BY [when] DESC LIMIT 1",
        pages={
            newest_first: f"SELECT {read} FROM {table} WHERE {match} AND [when] BETWEEN ? AND ? "
            f"ORDER BY [when] {'DESC' if newest_first else ''} LIMIT ?"
            for newest_first in (False, True)
        },
        upsert=f"INSERT INTO {table} ({', '.join(map(quote, stored))}) VALUES ({', '.join('?' * len(stored))}) "
        f"ON CONFLICT ({unique}) DO UPDATE SET {replaced}",
        delete=f"DELETE FROM {table} WHERE {match}",
        delete_later=f"DELETE FROM {table} WHERE {match} AND [when]>?",
        earliest=f"SELECT [when], written FROM {table} WHERE {match} ORDER BY [when] LIMIT ?",
        first=f"SELECT created FROM {table} WHERE {match} ORDER BY [when] LIMIT 1",
        created=f"SELECT created FROM {rows} WHERE {match}",
        behind=f"SELECT [when] FROM {table} WHERE {match} ORDER BY [when] DESC LIMIT 1 OFFSET ?",
        count="SELECT coalesce(sum(stored), 0), coalesce(sum(max(stored-:rows, 0)), 0), "
        "coalesce(sum(max(old-1, 0)), 0) FROM (SELECT count(*) AS stored, sum(written<:cut) AS old "
        f"FROM {table} GROUP BY {', '.join(map(quote, key))})",
        delete_until=f"DELETE FROM {table} WHERE {match} AND [when]<=?",
        rows={
            newest: f"SELECT {item}, number, {of_row} FROM {rows} WHERE {within} AND "
            f"{'number<?' if newest else f'{item}>=?'} ORDER BY {'number DESC' if newest else item} LIMIT ?"
            for newest in (False, True)
        },
    )


@cache
def make_series_table(spec: SlotSpec) -> SeriesTable:
    """Return the table of a series."""
    context = name_columns(spec.key[:-1], _BLOCK_COLUMNS)
    stored = (*context, "start", "rows", "first", "last", "candles", "created", "written")
    kinds = dict.fromkeys(context, "TEXT NOT NULL") | {"candles": "BLOB NOT NULL"}
    name, table = spec.collection, quote(spec.collection)
    names = ", ".join(map(quote, context))
    within = " AND ".join(f"{quote(column)}=?" for column in context)
    columns = ", ".join(f"{quote(column)} {kinds.get(column, 'INTEGER NOT NULL')}" for column in stored)
    ordered = ", ".join(map(quote, stored))
    updated = ", ".join(
        f"{quote(column)}=excluded.{quote(column)}" for column in ("rows", "first", "last", "candles", "written")
    )
    return SeriesTable(
        name=name,
        columns=stored,
        context=context,
        sizes=("sum([rows])", "sum(length(candles))"),
        creation=(
            f"CREATE TABLE IF NOT EXISTS {table} ({columns}, PRIMARY KEY ({names}, [start]))",
            *make_series_triggers(name, context),
        ),
        blocks=f"SELECT [start], candles FROM {table} WHERE {within} AND [start] BETWEEN ? AND ? ORDER BY [start]",
        insert=f"INSERT INTO {table} ({ordered}) VALUES ({', '.join('?' * len(stored))}) "
        f"ON CONFLICT ({names}, [start]) DO UPDATE SET {updated}",
        delete=f"DELETE FROM {table} WHERE {within} AND [start]=?",
        cover=f"SELECT min([first]), max([last]), sum([rows]) FROM {table} WHERE {within}",
        heads=f"SELECT [start], [rows], [first], [last] FROM {table} "
        f"WHERE {within} AND [start] BETWEEN ? AND ? ORDER BY [start]",
        times=f"SELECT substr(candles, 1, 8 * [rows]) FROM {table} WHERE {within} ORDER BY [start]",
        before=f"SELECT [start], candles FROM {table} WHERE {within} AND [start]<? AND [first]<? "
        "ORDER BY [start] DESC LIMIT 1",
        after=f"SELECT [start], candles FROM {table} WHERE {within} AND [last]>=? ORDER BY [start] LIMIT 1",
        contexts=f"SELECT DISTINCT {names} FROM {table} ORDER BY {names}",
        record=make_record(name, context),
    )


def name_columns(fields: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    """Return the columns of fields: their names, unless SQLite, which ignores case, has given such a one already."""
    taken = set(others)
    columns = []
    for field in fields:
        column = field
        while column.lower() in taken:
            column += "_"
        taken.add(column.lower())
        columns.append(column)
    return tuple(columns)
