"""Statements on whole tables: for imports, exports and the doctor, which read all that is stored."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from functools import cache
from typing import Final

from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.sqlite.change_log import TABLE
from backtest_mongo.sqlite.column_layout import BLOCKS
from backtest_mongo.sqlite.layout import make_row_table, make_series_table

__all__ = [
    "WholeSeriesTable",
    "WholeTable",
    "count_rows",
    "find_blocks",
    "find_columns",
    "has_rows",
    "list_collections",
    "list_filled",
    "make_whole_series_table",
    "make_whole_table",
    "reorder",
]


#: How the name of a table of rows ends.
_ITEMS: Final = "-items"


@dataclass(frozen=True, kw_only=True)
class WholeTable:
    """The table of a slot that is no series. Rows have all columns: the number, the key, the payload, and the rest."""

    name: str
    #: So many rows from behind a number on.
    page: str
    #: The same of a table of a format before runs.
    page_without_run: str
    find: str
    #: Inserts a row without its number, unless there is one of its key.
    insert: str
    #: Replaces payload, when, removed, written and run of a row, given by its key, its payload and when it was written.
    replace: str
    #: Whether a row was created before one that is ahead of it.
    is_unordered: str
    #: Number all rows by their creation, those of one millisecond as they are.
    reorder: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class WholeSeriesTable:
    """The table of a series' blocks."""

    #: So many blocks of a context from behind a start on.
    page: str
    contexts: str


@cache
def make_whole_table(spec: SlotSpec) -> WholeTable:
    """Return the statements on the table of a slot that is no series."""
    made = make_row_table(spec)
    table, stored = _quote(made.name), made.columns[1:]
    key, (field, *extra) = stored[: len(spec.key)], stored[len(spec.key) : -3]
    match = " AND ".join(f"{_quote(column)}=?" for column in key)
    replaced = ", ".join(f"{_quote(column)}=?" for column in (field, *extra, "written", "run"))
    columns = ", ".join(map(_quote, stored))
    read = f"SELECT number, {columns} FROM {table} WHERE"
    return WholeTable(
        name=made.name,
        page=f"{read} number>? ORDER BY number LIMIT ?",
        page_without_run=f"SELECT number, {', '.join(map(_quote, stored[:-1]))}, NULL FROM {table} "
        "WHERE number>? ORDER BY number LIMIT ?",
        find=f"{read} {match}",
        insert=f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(stored))}) "
        f"ON CONFLICT ({', '.join(map(_quote, key))}) DO NOTHING",
        replace=f"UPDATE {table} SET {replaced} WHERE {match} AND {_quote(field)}=? AND written=?",
        is_unordered=f"SELECT 1 FROM (SELECT created<lag(created) OVER (ORDER BY number) AS is_late FROM {table}) "
        "WHERE is_late LIMIT 1",
        reorder=(
            "CREATE TEMP TABLE reordered (old INTEGER PRIMARY KEY, new INTEGER NOT NULL)",
            f"INSERT INTO reordered SELECT number, row_number() OVER (ORDER BY created, number) FROM {table}",
            # In two steps, as no two rows may have one number in between.
            f"UPDATE {table} SET number=-(SELECT new FROM reordered WHERE old=number)",
            f"UPDATE {table} SET number=-number",
            "DROP TABLE reordered",
        ),
    )


@cache
def make_whole_series_table(spec: SlotSpec) -> WholeSeriesTable:
    """Return the statements on the table of a series."""
    made = make_series_table(spec)
    table, context = _quote(made.name), made.columns[: len(spec.key) - 1]
    match = " AND ".join(f"{_quote(column)}=?" for column in context)
    return WholeSeriesTable(
        page=f"SELECT [start], [rows], [first], [last], candles FROM {table} WHERE {match} AND [start]>? "
        "ORDER BY [start] LIMIT ?",
        contexts=made.contexts,
    )


def reorder(connection: sqlite3.Connection, table: WholeTable) -> None:
    """Make the order of first writes that of the times of creation, in a transaction.

    No row is changed by that, so no trigger of the table sees it.
    """
    if connection.execute(table.is_unordered).fetchone() is None:
        return
    triggers = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type='trigger' AND tbl_name=?", (table.name,)
    ).fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {_quote_any(name)}")
    for statement in table.reorder:
        connection.execute(statement)
    for _, creation in triggers:
        connection.execute(creation)


def list_collections(connection: sqlite3.Connection) -> list[str]:
    """Return the names of the tables that hold rows of slots, of slots that this process doesn't know, too."""
    found = connection.execute("SELECT name FROM sqlite_master WHERE type='table' AND name LIKE '%-items' ORDER BY 1")
    return [name for (name,) in found]


def find_columns(connection: sqlite3.Connection, name: str) -> tuple[str, ...]:
    """Return the columns of a table; none if it is missing."""
    return tuple(row[1] for row in connection.execute(f"PRAGMA table_info({_quote_any(name)})"))


def has_rows(connection: sqlite3.Connection) -> bool:
    """Return whether there is a row of any slot."""
    names = list_collections(connection)
    names += [blocks for name in names if (blocks := find_blocks(connection, name))]
    return any(connection.execute(f"SELECT 1 FROM {_quote_any(name)} LIMIT 1").fetchone() is not None for name in names)


def list_filled(connection: sqlite3.Connection) -> list[str]:
    """Return the names of the tables that have rows, but for the log of changes, which a new file has."""
    found = connection.execute(
        "SELECT name FROM sqlite_master WHERE type='table' AND name<>? AND name NOT LIKE 'sqlite~_%' ESCAPE '~' "
        "ORDER BY 1",
        (TABLE,),
    )
    names = [name for (name,) in found]
    return [name for name in names if connection.execute(f"SELECT 1 FROM {_quote_any(name)} LIMIT 1").fetchone()]


def count_rows(connection: sqlite3.Connection, name: str) -> int:
    """Return how many rows a table has; one of a series with columns, how many tail and blocks have."""
    blocks = find_blocks(connection, name)
    if blocks:
        sums = [f"(SELECT sum([rows]) FROM {_quote_any(one)})" for one in (name, blocks)]
        found = connection.execute(f"SELECT {', '.join(sums)}").fetchone()
        return sum(int(rows or 0) for rows in found)
    (count,) = connection.execute(f"SELECT count(*) FROM {_quote_any(name)}").fetchone()
    return int(count)


def find_blocks(connection: sqlite3.Connection, name: str) -> str | None:
    """Return the name of the table of blocks that a table of rows has, if it is that of a series with columns."""
    blocks = f"{name.removesuffix(_ITEMS)}{BLOCKS}"
    return blocks if "head" in find_columns(connection, name) and find_columns(connection, blocks) else None


def _quote_any(name: str) -> str:
    """Quote the name of something that this library may not have made."""
    return '"' + name.replace('"', '""') + '"'


def _quote(name: str) -> str:
    # In double quotes, a column that is missing would be taken for a text.
    return f"[{name}]"
