"""The format of a database file: whose it is, and which version of the format it has.

A format is one more than the one before it. Each step of the ladder upgrades a file by one, in the transaction that
notes the version; a file without content is format 0.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from typing import Final

from backtest_mongo.errors import ConfigError
from backtest_mongo.sqlite.change_log import add_change_log
from backtest_mongo.sqlite.lease_rows import add_leases
from backtest_mongo.sqlite.run_column import add_run_columns

__all__ = ["APPLICATION_ID", "STEPS", "check_path", "is_missing", "prepare_file", "read_format"]

#: ``btmo``: the four bytes by which ``file`` and this library know the database.
APPLICATION_ID: Final = int.from_bytes(b"btmo", "big")


def _begin(connection: sqlite3.Connection) -> None:
    """Format 1: tables are made when a slot is first written, so the empty file is one of this format."""


def _allow_columns(connection: sqlite3.Connection) -> None:
    """Format 5: there may be series with columns, whose blocks a fork or an import of an older version would leave out.

    Their tables are made when such a slot is first written.
    """


#: From each format to the next. Format 2 has the log of changes, format 3 leases, format 4 the runs of rows, and
#: format 5 series with columns.
STEPS: Final[list[Callable[[sqlite3.Connection], None]]] = [
    _begin,
    add_change_log,
    add_leases,
    add_run_columns,
    _allow_columns,
]


def read_format(connection: sqlite3.Connection, path: str) -> int:
    """Return the version of the file's format, 0 for one without content.

    Raises:
        ConfigError: the file is another program's, or was written by a newer version of this library.
    """
    application, version, has_content = _read_marks(connection)
    if application != APPLICATION_ID:
        if application or version or has_content:
            raise ConfigError(
                f"{path} is a database of another program", hint="name another file; nothing in it was changed"
            )
        return 0
    if version > len(STEPS):
        raise ConfigError(
            f"{path} has format {version}, and this version of backtest-mongo knows formats up to {len(STEPS)}",
            hint="upgrade backtest-mongo; nothing in the file was changed",
        )
    return int(version)


def _read_marks(connection: sqlite3.Connection) -> tuple[int, int, bool]:
    """Return the application, the version, and whether there are tables, all of one moment."""
    is_own = not connection.in_transaction
    if is_own:
        connection.execute("BEGIN")  # otherwise a writer could begin the file between the statements
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        has_content = connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None
    finally:
        if is_own and connection.in_transaction:
            connection.execute("ROLLBACK")
    return application, version, has_content


def prepare_file(connection: sqlite3.Connection, path: str) -> None:
    """Bring a file to the current format, and set how it is written. Another process may do the same.

    Raises:
        ConfigError: the file can't be used.
        sqlite3.Error: it can't be read or written now.
    """
    version = read_format(connection, path)
    if path != ":memory:":
        (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode != "wal":
            raise ConfigError(
                f"{path} can't have a write-ahead log: its journal mode is {mode}",
                hint="put the file on a local disk; network file systems don't have the shared memory that it needs",
            )
    connection.execute("PRAGMA synchronous=FULL")
    if version == len(STEPS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for step in STEPS[read_format(connection, path) :]:
            step(connection)
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={len(STEPS)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def is_missing(path: str) -> bool:
    """Return whether there is no file at a path, in a directory that is there and that this user may search.

    Otherwise a file that can't be seen would be taken for one that is yet to be made.
    """
    try:
        os.lstat(path)
    except FileNotFoundError:
        return os.path.isdir(os.path.dirname(path))
    except OSError:
        pass
    return False


def check_path(path: str) -> None:
    """Check what can be known of a path without opening it.

    Raises:
        ConfigError: it is a directory.
    """
    if os.path.isdir(path):
        raise ConfigError(f"{path} is a directory", hint="name a file, such as backtest.db")
