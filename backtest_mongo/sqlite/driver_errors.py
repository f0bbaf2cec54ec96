"""What an error of SQLite means, and what to do about it."""

from __future__ import annotations

import sqlite3
from copy import copy
from typing import Final, NoReturn

from backtest_mongo.errors import BacktestMongoError, ConfigError, StoreError, StoreUnavailableError

__all__ = [
    "DRIVER_ERRORS",
    "ForkedError",
    "LockedError",
    "is_locked",
    "is_overtaken",
    "is_undecodable",
    "lacks_table",
    "raise_translated",
]


class LockedError(Exception):
    """Another process held the lock on the database until the deadline."""


class ForkedError(Exception):
    """A connection was in use when this process was forked, so the database can't be opened safely here."""


#: What a database raises, but for mistakes of this library.
DRIVER_ERRORS: Final = (sqlite3.Error, LockedError, ForkedError, BacktestMongoError)

_UNREADABLE: Final = "restore a backup, or save what can be read with the shell's command: sqlite3 FILE .recover"

#: By SQLite's primary code: the kind of error, and what to do.
_KINDS: Final[dict[int, tuple[type[BacktestMongoError], str]]] = {
    sqlite3.SQLITE_CANTOPEN: (ConfigError, "check that its directory exists and that this user may write there"),
    sqlite3.SQLITE_CORRUPT: (StoreError, f"the file is damaged: {_UNREADABLE}"),
    sqlite3.SQLITE_FULL: (StoreError, "free space on the disk and write again; what was stored before is whole"),
    sqlite3.SQLITE_IOERR: (StoreError, "check the disk and the space on it; what was stored before is whole"),
    sqlite3.SQLITE_NOTADB: (
        ConfigError,
        f"name another file; if it held data of backtest-mongo, it is damaged: {_UNREADABLE}",
    ),
    sqlite3.SQLITE_READONLY: (ConfigError, "make the file and its directory writable for this user"),
    sqlite3.SQLITE_PERM: (ConfigError, "make the file and its directory writable for this user"),
    sqlite3.SQLITE_TOOBIG: (StoreError, "it is larger than SQLite's limit for a row"),
}


def _get_code(error: BaseException) -> int:
    """Return SQLite's primary code of an error, 0 where it has none."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def is_locked(error: BaseException) -> bool:
    """Return whether another connection holds the lock, so that waiting helps."""
    return _get_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_overtaken(error: BaseException) -> bool:
    """Return whether tables were made again and again while a statement was prepared, so that it knows old ones."""
    return _get_code(error) == sqlite3.SQLITE_SCHEMA


def lacks_table(error: BaseException) -> bool:
    """Return whether a statement failed because nothing was ever written into its table."""
    return _get_code(error) == sqlite3.SQLITE_ERROR and str(error).startswith("no such table: ")


def is_undecodable(error: sqlite3.Error) -> bool:
    """Return whether a row holds text that is not UTF-8. It is ``sqlite3`` that says so, without a code of SQLite."""
    return _get_code(error) == 0 and str(error).startswith("Could not decode to UTF-8 column")


def raise_translated(error: Exception, doing: str, path: str, slot: str | None = None) -> NoReturn:
    """Raise this library's error for one of :data:`DRIVER_ERRORS`.

    Args:
        error: what a database raised. Several callers may get one, so what is raised is always another.
        doing: what failed, such as ``writing``.
        path: the database.
        slot: whose rows it was about, if it was about those of one.
    """
    if isinstance(error, BacktestMongoError):
        same = copy(error)
        same.slot = error.slot or slot
        raise same from error.__cause__
    raise _translate(error, doing, path, slot) from error


def _translate(error: Exception, doing: str, path: str, slot: str | None) -> BacktestMongoError:
    if isinstance(error, LockedError) or is_locked(error):
        is_write = doing not in ("reading", "listing", "watching")
        return StoreUnavailableError(
            f"{doing} failed: another process holds the lock on {path}",
            slot=slot,
            hint=f"{'nothing was written; ' if is_write else ''}CC_MONGO_TIMEOUT_MS is how long a lock is waited for",
        )
    if isinstance(error, ForkedError):
        return StoreUnavailableError(
            f"{doing} failed: {path} was in use when this process was forked",
            slot=slot,
            hint="start the process with the method spawn or forkserver, or fork before the first operation",
        )
    kind, hint = _KINDS.get(_get_code(error), (StoreError, "see the error of SQLite that it was raised from"))
    translated = kind(f"{doing} failed: {error}: {path}", slot=slot, hint=hint)
    if isinstance(translated, StoreError):
        translated.code = getattr(error, "sqlite_errorcode", None)
    return translated
