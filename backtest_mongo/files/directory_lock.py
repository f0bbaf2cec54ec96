"""A lock on a directory of files, against writers in this process and in others."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from backtest_mongo.errors import StoreUnavailableError
from backtest_mongo.files.disk import make_directory, name_path

__all__ = ["LOCK_SECONDS", "lock_directory"]

#: How long to wait for a lock that another process holds, normally for milliseconds.
LOCK_SECONDS: Final = 15.0
_PAUSE: Final = 0.002
#: Platforms that lack this flag don't need it.
_DIRECTORY: Final = getattr(os, "O_DIRECTORY", 0)


@contextmanager
def lock_directory(directory: str) -> Iterator[None]:
    """Create a directory if it is missing, and lock it against all other writers, in this process and in others.

    Raises:
        StoreUnavailableError: another process has held the lock for 15 s.
    """
    end = time.monotonic() + LOCK_SECONDS
    while True:
        make_directory(directory)
        try:
            descriptor = _open(directory)
        except FileNotFoundError:
            continue  # it was removed before the lock was taken
        try:
            while not _try_lock(directory, descriptor):
                if time.monotonic() > end:
                    raise StoreUnavailableError(
                        f"writing failed: another process holds the lock on {directory}", hint="nothing was written"
                    )
                time.sleep(_PAUSE)  # the system's own wait for a lock has no deadline
            if os.path.isdir(directory) and (os.name == "nt" or _is_open(directory, descriptor)):
                yield
                return
        finally:
            os.close(descriptor)  # which releases the lock


def _try_lock(directory: str, descriptor: int) -> bool:
    with name_path(directory):
        return _lock(descriptor)


def _is_open(directory: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(directory), os.fstat(descriptor))
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _open(directory: str) -> int:
        return os.open(os.path.join(directory, ".lock"), os.O_RDWR | os.O_CREAT)

    def _lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _open(directory: str) -> int:
        return os.open(directory, os.O_RDONLY | _DIRECTORY)

    def _lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
