"""Disk operations of the file storage: durable, atomic writes and safe reads."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from io import FileIO
from typing import Final

from backtest_mongo.core.payload import MAX_DOCUMENT_BYTES

__all__ = [
    "MAX_BYTES",
    "TEMPORARY",
    "UnfitError",
    "folds_case",
    "has_spelling",
    "make_directory",
    "name_path",
    "open_regular",
    "read",
    "read_with_time",
    "stage",
    "sync",
    "sync_all",
]

#: The prefix of temporary files. Node takes ``.tmp-`` for an unfinished write; the rest marks those of this library.
TEMPORARY: Final = ".tmp-backtest-mongo-"
#: How many files are made durable at once, so that the disk can combine them.
_SYNC_THREADS: Final = 8
#: The longest file that is read: the largest document, with every byte escaped as six.
MAX_BYTES: Final = 8 * MAX_DOCUMENT_BYTES
_CHUNK: Final = 64 * 1024
#: Platforms that lack these flags don't need them.
_BINARY: Final = getattr(os, "O_BINARY", 0)
#: Opening must not block, as it would for the other end of a pipe that has replaced a file.
_NO_WAIT: Final = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)


@contextmanager
def name_path(path: str) -> Iterator[None]:
    """Put the path into errors that lack one, such as those of an open file."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = path
        raise


class UnfitError(OSError):
    """A file with a row's name can't be a row: it is not a regular file, too large, or a link to itself."""


def open_regular(path: str) -> FileIO:
    """Open a regular file for reading. A pipe would block the caller, and a device may never end.

    Raises:
        UnfitError: it is not a regular file.
        OSError: it can't be opened.
    """
    try:
        _check_regular(os.stat(path), path)
        descriptor = os.open(path, os.O_RDONLY | _BINARY | _NO_WAIT)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UnfitError(errno.ELOOP, "it is a link that leads to itself", path) from None
        raise
    try:
        _check_regular(os.fstat(descriptor), path)
        return FileIO(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _check_regular(status: os.stat_result, path: str) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(status.st_mode):
        raise UnfitError(errno.EINVAL, "it is not a regular file", path)


def read(path: str, max_bytes: int = MAX_BYTES) -> bytes | None:
    """Return a file's content, or ``None`` if there is no file.

    Raises:
        UnfitError: it is not a regular file, or has more than ``max_bytes`` bytes.
    """
    found = read_with_time(path, max_bytes)
    return None if found is None else found[0]


def read_with_time(path: str, max_bytes: int = MAX_BYTES) -> tuple[bytes, int] | None:
    """Return a file's content and the time when it was written, in nanoseconds since the epoch, if there is a file.

    Raises:
        UnfitError: it is not a regular file, or has more than ``max_bytes`` bytes.
    """
    try:
        with name_path(path), open_regular(path) as file:
            status = os.fstat(file.fileno())
            content = (file.read(status.st_size + 1) or b"") if status.st_size <= max_bytes else b""
            while content and len(content) <= max_bytes and (rest := file.read(_CHUNK)):
                content += rest  # the file grows while it is read
            if max(status.st_size, len(content)) > max_bytes:
                raise UnfitError(errno.EFBIG, f"it has more than {max_bytes:,} bytes", path)
            return content, status.st_mtime_ns
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def stage(directory: str, contents: Iterable[bytes], durable: bool = True) -> list[str]:
    """Write contents to temporary files, and return their paths. With ``durable`` the files are durable on return."""
    staged: list[str] = []
    try:
        for content in contents:
            path = os.path.join(directory, f"{TEMPORARY}{secrets.token_hex(8)}")
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
            staged.append(path)
            with name_path(path), open(descriptor, "wb", buffering=0) as file:
                rest = memoryview(content)
                while rest:
                    written = file.write(rest)
                    if not written:
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    rest = rest[written:]
                if durable and os.name == "nt":
                    os.fsync(file.fileno())  # Windows needs a descriptor that may write
        if durable and os.name != "nt":
            _run_each(sync, staged)
    except BaseException:
        drop(staged)
        raise
    return staged


def drop(paths: Iterable[str]) -> None:
    """Remove files, as far as that is possible."""
    for path in paths:
        with suppress(OSError):
            os.unlink(path)


def _run_each(work: Callable[[str], None], paths: list[str]) -> None:
    if len(paths) <= 2:
        for path in paths:
            work(path)
        return
    with ThreadPoolExecutor(_SYNC_THREADS) as pool:
        list(pool.map(work, paths))


def sync(path: str) -> None:
    """Make the content of a file, or the names in a directory, durable."""
    if os.name == "nt" and os.path.isdir(path):
        return  # Windows can't open directories; it keeps their names in its journal
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with name_path(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_all() -> None:
    """Make everything that was written durable, if the system can do that."""
    if hasattr(os, "sync"):
        os.sync()


def make_directory(path: str) -> None:
    """Make a directory and its parents durably, if they are missing."""
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
    """Return whether the file system ignores case, judged by a directory that is in ``root``."""
    try:
        return os.path.samefile(os.path.join(root, directory), os.path.join(root, directory.upper()))
    except OSError:
        return False


def has_spelling(root: str, path: Iterable[str]) -> bool:
    """Return whether a path exists with exactly these letters, which a file system that ignores case doesn't check."""
    for part in path:
        try:
            if part not in os.listdir(root):
                return False
        except OSError:
            return False
        root = os.path.join(root, part)
    return True
