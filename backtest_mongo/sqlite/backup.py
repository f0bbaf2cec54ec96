"""Copying a database while others write, with SQLite's own online backup."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from backtest_mongo.errors import ConfigError, InputError, StoreError
from backtest_mongo.sqlite.driver_errors import raise_translated
from backtest_mongo.sqlite.file_format import check_path, is_missing, read_format
from backtest_mongo.sqlite.replacement import make_database

__all__ = ["back_up", "connect_to_existing"]

#: Pages that are copied at a time; between two times progress is shown, and a signal ends the copying.
_STEP: Final = 1_000
#: How long a lock of another process is waited for.
_LOCK_SECONDS: Final = 15.0


def back_up(
    source: str, target: str, *, force: bool = False, progress: Callable[[int, int], None] | None = None
) -> int:
    """Copy a database to another file, as it is at one moment. It blocks.

    Other processes may read and write meanwhile. The copy is written beside its place, checked, and takes its place
    once it is on the disk; before that, and if anything fails, there is what was there before. It has the permissions
    of the database, but for those that the process's umask takes away.

    Args:
        source: the database.
        target: the copy.
        force: replace a file that is there.
        progress: is called repeatedly with the number of bytes that were copied, and of those to copy.

    Returns:
        The size of the copy in bytes.

    Raises:
        ConfigError: there is no database of this library at ``source``, or ``target`` can't be a file.
        InputError: both are the same file, or ``target`` exists and ``force`` is false.
        StoreUnavailableError: another process makes the same copy, or uses the file to be replaced.
        StoreError: the database is damaged, or can't be read.
        OSError: the directory of ``target`` or its disk refuses.
    """
    source, target = os.path.realpath(source), os.path.realpath(target)
    with closing(connect_to_existing(source)) as connection:
        if os.path.exists(target) and os.path.samefile(source, target):
            raise InputError(f"the copy would replace the database itself: {target}", hint="name another file")
        mode = os.stat(source).st_mode & 0o777
        with make_database(target, "replace" if force else "refuse", mode) as temporary:
            try:
                _copy(connection, temporary, progress)
                _check(temporary, source)
            except sqlite3.Error as error:
                raise_translated(error, "backing up", source)
            return os.path.getsize(temporary)


def connect_to_existing(path: str) -> sqlite3.Connection:
    """Connect to a database of this library, of this format or an older one, and leave its format as it is.

    Raises:
        ConfigError: there is none at ``path``, or a newer version of this library has written it.
        StoreError: it is damaged, or can't be read.
        StoreUnavailableError: another process holds the lock.
    """
    check_path(path)
    if is_missing(path):
        raise ConfigError(f"there is no database at {path}", hint="name the file that persist.use_sqlite() names")
    connection = None
    try:
        connection = sqlite3.connect(
            f"{Path(path).as_uri()}?mode=rw", uri=True, timeout=_LOCK_SECONDS, isolation_level=None
        )
        if not read_format(connection, path):
            raise ConfigError(
                f"{path} is not a database of backtest-mongo: it is empty",
                hint="name the file that persist.use_sqlite() names",
            )
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, sqlite3.Error):
            raise_translated(error, "opening", path)
        raise
    return connection


def _copy(connection: sqlite3.Connection, path: str, progress: Callable[[int, int], None] | None) -> None:
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()

    def show(_: int, left: int, total: int) -> None:
        if progress is not None:
            progress((total - left) * page_bytes, total * page_bytes)

    # While this is open, what is copied stays as it is now. Otherwise SQLite would begin again after each write of
    # another process. With the write-ahead log it keeps nobody from writing.
    connection.execute("BEGIN")
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        with closing(sqlite3.connect(path, isolation_level=None)) as copy:
            copy.execute("PRAGMA synchronous=OFF")  # the whole is synced at the end
            connection.backup(copy, pages=_STEP, progress=show)
    finally:
        connection.execute("ROLLBACK")


def _check(path: str, source: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as copy:
        (found,) = copy.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise StoreError(
            f"backing up failed: the copy is damaged as {source} is: {found}",
            hint="the copy was dropped; restore an earlier backup, or save what can be read with the shell's command: "
            "sqlite3 FILE .recover",
        )
