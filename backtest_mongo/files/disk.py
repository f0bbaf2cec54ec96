"""What the file storage asks of the disk: durable files, whole or not there at all, and turns in a directory."""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Final

from backtest_mongo.errors import StoreUnavailableError

__all__ = [
    "TEMPORARY",
    "ends_in",
    "folds_case",
    "make_directory",
    "read",
    "read_with_time",
    "stage",
    "sync",
    "sync_all",
    "turn",
]

#: What Node takes for an unfinished write, and what tells ours from its own.
TEMPORARY: Final = ".tmp-backtest-mongo-"
#: How long to wait for another process's turn in a directory to end, which takes milliseconds.
TURN_SECONDS: Final = 15.0
_PAUSE: Final = 0.002
#: Files that are made durable at once: the disk then does many in one go.
_AT_ONCE: Final = 8
#: Other platforms have neither this flag nor its need.
_BINARY: Final = getattr(os, "O_BINARY", 0)


def read(path: str) -> bytes | None:
    """Return a file's content, or ``None`` where there is none."""
    found = read_with_time(path)
    return None if found is None else found[0]


def read_with_time(path: str) -> tuple[bytes, int] | None:
    """Return a file's content and the time it was written, in nanoseconds since the epoch."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(), os.fstat(file.fileno()).st_mtime_ns
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def stage(directory: str, contents: Iterable[bytes], durable: bool = True) -> list[str]:
    """Write contents to temporary files, durably if asked for, and return their paths."""
    staged: list[str] = []
    try:
        for content in contents:
            path = os.path.join(directory, f"{TEMPORARY}{secrets.token_hex(8)}")
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
            staged.append(path)
            with open(descriptor, "wb", buffering=0) as file:
                rest = memoryview(content)
                while rest:
                    rest = rest[file.write(rest) :]
                if durable and os.name == "nt":
                    os.fsync(file.fileno())  # only a descriptor that has written can
        if durable and os.name != "nt":
            _each(sync, staged)
    except BaseException:
        drop(staged)
        raise
    return staged


def drop(paths: Iterable[str]) -> None:
    for path in paths:
        with suppress(OSError):
            os.unlink(path)


def _each(work: Callable[[str], None], paths: list[str]) -> None:
    if len(paths) <= 2:
        for path in paths:
            work(path)
        return
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(work, paths))


def sync(path: str) -> None:
    """Make a file's content, or the names in a directory, durable."""
    if os.name == "nt" and os.path.isdir(path):
        return  # Windows opens no directories, and keeps their names in its journal
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_all() -> None:
    """Make all that has been written durable, where the system can."""
    if hasattr(os, "sync"):
        os.sync()


def make_directory(path: str) -> None:
    """Make a directory and those above it, durably, where they are missing."""
    if os.path.isdir(path):
        return
    above = os.path.dirname(path)
    if above != path:
        make_directory(above)
    try:
        os.mkdir(path)
    except FileExistsError:
        return
    sync(above)


def folds_case(root: str, directory: str) -> bool:
    """Tell whether the file system takes upper and lower case for one, by a directory that is in ``root``."""
    try:
        return os.path.samefile(os.path.join(root, directory), os.path.join(root, directory.upper()))
    except OSError:
        return False


def ends_in(root: str, path: Iterable[str]) -> bool:
    """Tell whether a path is there in just this spelling, which a file system that folds case doesn't look at."""
    for part in path:
        try:
            if part not in os.listdir(root):
                return False
        except OSError:
            return False
        root = os.path.join(root, part)
    return True


@contextmanager
def turn(directory: str) -> Iterator[None]:
    """Make a directory if it is missing, and hold it alone among all writers, in this process and in any other.

    Raises:
        StoreUnavailableError: another process has held it for 15 s.
    """
    end = time.monotonic() + TURN_SECONDS
    while True:
        make_directory(directory)
        try:
            descriptor = _open(directory)
        except FileNotFoundError:
            continue  # somebody has removed it
        try:
            while not _lock(descriptor):
                if time.monotonic() > end:
                    raise StoreUnavailableError(
                        f"writing failed: another process holds {directory}", hint="nothing was written"
                    )
                time.sleep(_PAUSE)  # waiting for a lock by the system has no deadline
            if os.path.isdir(directory) and (os.name == "nt" or _is(directory, descriptor)):
                yield
                return
        finally:
            os.close(descriptor)  # and the lock with it


def _is(directory: str, descriptor: int) -> bool:
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
        return os.open(directory, os.O_RDONLY)

    def _lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
