"""Moving the write-ahead log into the file, while no process can write.

SQLite does that itself after a commit, when the log has a thousand pages. Up to 3.51.2 (with a few exceptions) it has
the `WAL-reset bug <https://sqlite.org/wal.html#walresetbug>`_: if a process commits while another one moves a log that
was moved already, pages that were acknowledged may never get into the file. Pythons with such a version will be in use
for years. So connections of this library don't do it after a commit: the thread that writes does, now and then, with
the lock held that every commit of any process needs. The last connection to a file still moves its log when it is
closed, which SQLite does with everybody locked out.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from backtest_mongo.sqlite.driver_errors import is_locked

__all__ = ["Checkpoints", "count_pages", "leave_log", "move_log"]

#: Pages that the log has when it is moved: as many as by SQLite's default.
_PAGES: Final = 1_000
#: It is looked at after so many changes, or so many transactions.
_CHANGES: Final = 200
_TRANSACTIONS: Final = 25
#: The header of the log, and that of each page in it: https://sqlite.org/fileformat2.html#walformat
_HEADER: Final = 32
_PAGE_HEADER: Final = 24
_PAGE_SIZE: Final = slice(8, 12)
_SALT: Final = slice(16, 24)
_SALT_OF_A_PAGE: Final = slice(8, 16)


def leave_log(connection: sqlite3.Connection) -> None:
    """Keep a connection from moving the log after its commits."""
    connection.execute("PRAGMA wal_autocheckpoint=0")


def move_log(writer: sqlite3.Connection, other: sqlite3.Connection) -> tuple[int, int] | None:
    """Move what no reader needs any more from the log into the file, and wait for nobody.

    Args:
        writer: a connection without a transaction, which keeps others from writing meanwhile.
        other: another connection to the same file.

    Returns:
        How many pages the log had, and how many of them are in the file; ``None`` if others were writing.
    """
    try:
        writer.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        if not is_locked(error):
            raise
        return None
    try:
        _, pages, moved = other.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    finally:
        writer.execute("ROLLBACK")
    return int(pages), int(moved)


def count_pages(log: str) -> int:
    """Return how many pages a write-ahead log has, whatever an earlier log has left behind them."""
    try:
        file = os.open(log, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except OSError:
        return 0
    try:
        header = os.read(file, _HEADER)
        if len(header) < _HEADER:
            return 0
        step = _PAGE_HEADER + int.from_bytes(header[_PAGE_SIZE], "big")
        # All pages of this log come before all that are left of an earlier one, which have other salt.
        first, end = 0, (os.fstat(file).st_size - _HEADER) // step
        while first < end:
            middle = (first + end) // 2
            os.lseek(file, _HEADER + middle * step, os.SEEK_SET)
            if os.read(file, _PAGE_HEADER)[_SALT_OF_A_PAGE] == header[_SALT]:
                first = middle + 1
            else:
                end = middle
        return first
    finally:
        os.close(file)


class Checkpoints:
    """When the log of a database is moved: once it has a thousand pages."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._changes = 0
        self._transactions = 0

    def is_due(self, writer: sqlite3.Connection) -> bool:
        """Return whether the log is long, after a transaction of the connection that writes."""
        self._transactions += 1
        if self._transactions < _TRANSACTIONS and 0 <= writer.total_changes - self._changes < _CHANGES:
            return False
        self._changes, self._transactions = writer.total_changes, 0
        return count_pages(f"{self._path}-wal") >= _PAGES

    def move(self, writer: sqlite3.Connection) -> None:
        """Move the log, unless others are writing."""
        uri = f"{Path(self._path).as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=0.0, isolation_level=None)) as other:
            leave_log(other)
            move_log(writer, other)
