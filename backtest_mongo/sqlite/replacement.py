"""Making a database file as a whole: it is written beside its place, and takes it once it is complete and on the disk.

A process that is killed leaves the unfinished file, which the next one to make the same file removes. Two that make one
file at the same time would mix their content, so the second is refused.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Literal, TypeAlias

from backtest_mongo.errors import ConfigError, InputError, StoreUnavailableError
from backtest_mongo.sqlite.driver_errors import is_locked, raise_translated
from backtest_mongo.sqlite.file_format import check_path, read_format
from backtest_mongo.sqlite.whole_layout import has_rows

__all__ = ["UNFINISHED", "Existing", "make_database"]

#: What becomes of a file that is there: it stays, and is an error; it is replaced; or that only if it holds no rows.
Existing: TypeAlias = Literal["refuse", "replace", "replace empty"]

#: The end of the unfinished file's name.
UNFINISHED: Final = ".unfinished"
#: What SQLite keeps beside a database.
_BESIDE: Final = ("-wal", "-shm", "-journal")
#: How long others get to finish what they do with the file that is replaced.
_LOCK_SECONDS: Final = 5.0


@contextmanager
def make_database(path: str, existing: Existing, mode: int = 0o644) -> Iterator[str]:
    """Give the path of an empty file, which takes the place of ``path`` at the end unless the block raises. It blocks.

    Args:
        path: the database to make, with all links followed.
        existing: what becomes of a file that is there. It is looked at before the block, and again at the end, while
            nobody else can use it.
        mode: the permissions of the file, but for those that the process's umask takes away.

    Raises:
        ConfigError: ``path`` can't be a file, or is a database of another program.
        InputError: there is a file that stays.
        StoreUnavailableError: another process makes the same file, or uses the one to be replaced.
        StoreError: the file that is there can't be read.
        OSError: the directory or the disk refuses.
    """
    check_path(path)
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        raise ConfigError(f"{path} can't be written: there is no directory {directory}", hint="make it first")
    with _hold(path, existing):
        pass
    temporary = path + UNFINISHED
    with _lock(temporary, mode):
        try:
            _drop(temporary, _BESIDE)
            yield temporary
            _sync(temporary)
            with _hold(path, existing) as is_there:
                _drop(path, _BESIDE)  # of a file that was removed: SQLite would play it back into the one made here
                if is_there:
                    os.replace(temporary, path)
                else:
                    _place(temporary, path)
            _sync_directory(directory)
        finally:
            _drop(temporary, ("", *_BESIDE))


@contextmanager
def _hold(path: str, existing: Existing) -> Iterator[bool]:
    """Return whether there is a file at ``path``, one that may be replaced and that nobody else can use meanwhile."""
    if not os.path.lexists(path):
        yield False
        return
    if existing == "refuse":
        raise InputError(f"{path} exists already", hint="name another file, or replace it with --force")
    if not os.path.isfile(path):
        raise ConfigError(f"{path} is not a file", hint="name a file, such as backtest.db")
    connection = sqlite3.connect(
        f"{Path(path).as_uri()}?mode=rw", uri=True, timeout=_LOCK_SECONDS, isolation_level=None
    )
    try:
        try:
            if existing == "replace empty":
                _check_is_empty(connection, path)
            mode = _take_alone(connection)
            if existing == "replace empty":
                _check_is_empty(connection, path)
        except sqlite3.Error as error:
            if is_locked(error):
                raise StoreUnavailableError(
                    f"{path} is used by another process, so it can't be replaced",
                    hint="close what has it open, or name another file",
                ) from error
            if existing == "replace empty":
                raise_translated(error, "opening", path)
            mode = ""  # it is damaged or no database, which nobody can be using
        status = os.stat(path)
        if os.name == "nt":
            connection.close()  # a file that is open can't be replaced there
        yield True
        if mode == "wal" and os.name != "nt" and os.path.samestat(status, os.stat(path)):
            connection.execute("ROLLBACK")
            connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()


def _take_alone(connection: sqlite3.Connection) -> str:
    """Lock a database against all others, readers included, and return the journal mode that it had.

    SQLite gives up the write-ahead log only where there is no other connection, and moves its content into the file. A
    log that stayed would be played back into the file that takes the place of this one.
    """
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.execute("BEGIN EXCLUSIVE")
    return str(mode)


def _check_is_empty(connection: sqlite3.Connection, path: str) -> None:
    read_format(connection, path)
    if has_rows(connection):
        raise InputError(f"{path} holds rows already", hint="name another file, or move this one away")


def _place(temporary: str, path: str) -> None:
    """Move a file to where none is."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise InputError(f"{path} has been made meanwhile", hint="name another file, or move this one away") from None
    except OSError:  # the file system has no links
        os.rename(temporary, path)


def _drop(path: str, endings: tuple[str, ...]) -> None:
    for ending in endings:
        with suppress(FileNotFoundError):
            os.unlink(path + ending)


def _sync(path: str) -> None:
    """Wait until a file's content is on the disk."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


if sys.platform == "win32":

    def _sync_directory(directory: str) -> None:
        """Do nothing: directories can't be opened."""

    @contextmanager
    def _lock(temporary: str, mode: int) -> Iterator[None]:
        """Make an empty file. A file that is open can't be removed, which keeps a second process out."""
        _drop(temporary, ("",))
        os.close(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode))
        yield

else:
    import fcntl

    def _sync_directory(directory: str) -> None:
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def _lock(temporary: str, mode: int) -> Iterator[None]:
        """Make an empty file, and keep others that make the same one out.

        It is a lock of another kind than SQLite's, which ends with the first descriptor of the file that is closed.
        """
        while True:
            descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, mode)
            try:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise StoreUnavailableError(
                        f"another process is writing {temporary}", hint="wait until it is done, or name another file"
                    ) from None
                if not _is_at(temporary, descriptor):
                    continue  # another process has removed it meanwhile
                status = os.fstat(descriptor)
                if status.st_size or status.st_nlink > 1:
                    # A process that was killed has left it, perhaps as a second name of the file that it has made.
                    os.unlink(temporary)
                    continue
                yield
                return
            finally:
                os.close(descriptor)

    def _is_at(path: str, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.stat(path), os.fstat(descriptor))
        except FileNotFoundError:
            return False
