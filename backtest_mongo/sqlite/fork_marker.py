"""The marker of a file that was made by ``fork()``: a table of one row, which other files don't have."""

from __future__ import annotations

import sqlite3
from dataclasses import astuple
from typing import Final

from backtest_mongo.core.fork_marks import ForkMark

__all__ = ["TABLE", "read_fork", "write_fork"]

TABLE: Final = "fork"
_COLUMNS: Final = (
    "source TEXT NOT NULL, at INTEGER NOT NULL, strategyName TEXT, asBacktest INTEGER NOT NULL, candles TEXT NOT NULL, "
    "begun INTEGER NOT NULL, finished INTEGER"
)


def write_fork(connection: sqlite3.Connection, mark: ForkMark) -> None:
    """Write the marker, in a transaction."""
    connection.execute(f"CREATE TABLE IF NOT EXISTS {TABLE} ({_COLUMNS})")
    connection.execute(f"DELETE FROM {TABLE}")  # noqa: S608  # a name of this module
    connection.execute(f"INSERT INTO {TABLE} VALUES (?, ?, ?, ?, ?, ?, ?)", astuple(mark))  # noqa: S608


def read_fork(connection: sqlite3.Connection) -> ForkMark | None:
    """Return what the marker says, ``None`` if there is none."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE type='table' AND name=?", (TABLE,)).fetchone() is None:
        return None
    row = connection.execute(f"SELECT * FROM {TABLE}").fetchone()  # noqa: S608
    if row is None:
        return None
    source, at, strategy_name, as_backtest, candles, begun, finished = row
    return ForkMark(
        source=source,
        at=at,
        strategy_name=strategy_name,
        as_backtest=bool(as_backtest),
        candles=candles,
        begun=begun,
        finished=finished,
    )
