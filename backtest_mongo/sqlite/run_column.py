"""The column of the run that a row belongs to: format 4."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from backtest_mongo.sqlite.change_log import quote

__all__ = ["RUN", "add_run_columns", "make_run_index"]

#: The column's name; it is the last one of a table of rows, and NULL in a row that belongs to no run.
RUN: Final = "run"


def make_run_index(table: str) -> str:
    """Return the statement that makes the index of the rows that belong to a run, which holds no others."""
    name = quote(f"{table} {RUN}")
    return f"CREATE INDEX IF NOT EXISTS {name} ON {quote(table)} ({RUN}) WHERE {RUN} IS NOT NULL"


def add_run_columns(connection: sqlite3.Connection) -> None:
    """Give every table of rows the column and its index."""
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type='table' AND name LIKE '%-items'").fetchall()
    for (table,) in tables:
        columns = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({quote(table)})")]
        if columns[:1] != ["number"] or columns[-2:] != ["created", "written"]:
            continue  # blocks of candles, or another program's
        for column in columns:
            if column.lower() == RUN:  # a key of a slot of one's own
                free = _find_free_name(column, columns)
                connection.execute(f"ALTER TABLE {quote(table)} RENAME COLUMN {quote(column)} TO {quote(free)}")
        connection.execute(f"ALTER TABLE {quote(table)} ADD COLUMN {RUN} TEXT")
        connection.execute(make_run_index(table))


def _find_free_name(column: str, columns: Sequence[str]) -> str:
    taken = {name.lower() for name in columns}
    while column.lower() in taken:
        column += "_"
    return column
