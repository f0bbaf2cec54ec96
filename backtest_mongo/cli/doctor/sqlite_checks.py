"""Checks of an SQLite file: versions, the file, its disk, the write-ahead log, and whether its structure is whole."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from backtest_mongo import __version__
from backtest_mongo.cli.doctor.findings import Diagnosis, Finding
from backtest_mongo.cli.formatting import format_bytes
from backtest_mongo.sqlite.backup import connect_to_existing
from backtest_mongo.sqlite.checkpoints import move_log
from backtest_mongo.sqlite.file_format import STEPS, read_format
from backtest_mongo.sqlite.replacement import UNFINISHED

__all__ = [
    "DatabaseFile",
    "check_access",
    "check_file",
    "check_file_system",
    "check_integrity",
    "check_log",
    "check_space",
    "check_versions",
    "list_versions",
]

_RESTORE: Final = (
    "stop what uses the file, and restore a backup: `backtest-mongo backup FILE --sqlite BACKUP --force`; without one, "
    "save what can be read with the shell's command: sqlite3 FILE .recover"
)
#: https://sqlite.org/wal.html#walresetbug names these versions: the first with the bug, the first without it, and the
#: releases of older branches that have the correction.
_RESET_BUG: Final = (3, 7, 0)
_RESET_FIXED: Final = (3, 51, 3)
_RESET_BACKPORTS: Final = ((3, 44, 6), (3, 50, 7))
#: File systems of other machines, on which processes of two machines have no memory in common.
_NETWORK: Final = re.compile(
    r"(nfs\d?|cifs|smb\d?|smbfs|9p|afs|ceph|ncpfs|lustre|gpfs|beegfs|virtiofs|vboxsf|glusterfs"
    r"|fuse\.(sshfs|glusterfs|ceph|rclone|s3fs|gcsfuse|smbnetfs|juicefs|goofys|davfs.*))"
)
#: Below this much free space, a write may fail at any moment; below the second it will soon.
_NO_BYTES: Final = 32 * 1024 * 1024
_FEW_BYTES: Final = 512 * 1024 * 1024
#: A log that is longer costs readers time; SQLite moves its content into the file from 4 MB on.
_LONG_LOG: Final = 64 * 1024 * 1024
#: How often the log is looked at, and how long apart, before a reader is said to hold it.
_LOOKS: Final = 5
_PAUSE: Final = 0.3
#: Errors of its structure that are reported.
_REPORTED: Final = 10


@dataclass
class DatabaseFile:
    """The file that is examined.

    Attributes:
        path: where it is, with all links followed.
        connection: a connection to it.
        thorough: whether to check indexes against their tables.
        read_only: whether to leave the write-ahead log as it is.
        diagnosis: what was found until now.
    """

    path: str
    connection: sqlite3.Connection
    thorough: bool
    read_only: bool
    diagnosis: Diagnosis

    @property
    def facts(self) -> dict[str, Any]:
        return self.diagnosis.facts


def check_versions(version: str) -> Iterator[Finding]:
    """Report the versions of this side, and whether this version of SQLite has a bug that can damage a database."""
    text = f"backtest-mongo {__version__}, Python {platform.python_version()}, SQLite {version}"
    yield Finding("versions", "ok", text)
    numbers = tuple(map(int, version.split(".")))
    is_corrected = any(numbers[:2] == fixed[:2] and numbers >= fixed for fixed in _RESET_BACKPORTS)
    if _RESET_BUG <= numbers < _RESET_FIXED and not is_corrected:
        yield Finding(
            "versions",
            "note",
            f"SQLite {version} has the WAL-reset bug: very rarely, processes that write at the same moment damage the "
            "file. Those of this library avoid it; other programs, such as the sqlite3 shell, may not",
            "let no other program write while an engine runs, or use SQLite 3.51.3 or later, 3.50.7 or 3.44.6 "
            "(https://sqlite.org/wal.html#walresetbug)",
        )


def list_versions() -> dict[str, str]:
    """Return the versions of this side, for programs."""
    return {
        "backtest-mongo": __version__,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }


def check_file(file: DatabaseFile) -> Iterator[Finding]:
    """Report the file's format and its size, and what is beside it."""
    version = read_format(file.connection, file.path)
    (mode,) = file.connection.execute("PRAGMA journal_mode").fetchone()
    size = os.path.getsize(file.path)
    file.facts.update(format=version, journal_mode=mode, bytes=size)
    text = f"{file.path}: format {version}, {format_bytes(size)}"
    if version < len(STEPS):
        yield Finding(
            "file",
            "note",
            f"{text}; this version of backtest-mongo writes format {len(STEPS)}",
            "the next write or read upgrades it; processes of older versions refuse it then",
        )
    else:
        yield Finding("file", "ok", text)
    if mode != "wal":
        yield Finding("file", "note", f"its journal mode is {mode}; the next write turns on the write-ahead log")
    links = os.stat(file.path).st_nlink
    if links > 1:
        yield Finding(
            "file",
            "warning",
            f"it has {links} names (hard links): SQLite keeps a write-ahead log for each, and loses acknowledged "
            "writes if two are in use",
            "remove all names but one, or use symbolic links",
        )
    if os.path.exists(file.path + UNFINISHED):
        yield Finding(
            "file",
            "note",
            f"{file.path}{UNFINISHED} is of an export or a backup that is running, or was killed",
            "the next one to this file removes it",
        )


def check_access(file: DatabaseFile) -> Iterator[Finding]:
    """Report what this user may not write: SQLite needs the file, and the directory for its log."""
    for path, what in ((file.path, "file"), (os.path.dirname(file.path), "directory")):
        if not os.access(path, os.W_OK):
            yield Finding(
                "file", "problem", f"this user may not write the {what} {path}", "change its owner or permissions"
            )


def check_file_system(file: DatabaseFile) -> Iterator[Finding]:
    """Report whether the file is on the disk of another machine."""
    kind = find_file_system(file.path)
    if kind is None:
        return
    file.facts["file_system"] = kind
    if _NETWORK.fullmatch(kind):
        yield Finding(
            "disk",
            "problem",
            f"the file is on a network file system ({kind}): processes of two machines damage it, as the write-ahead "
            "log needs memory that all processes share, and locks there are unreliable",
            "move the file to a local disk; several machines need MongoDB",
        )
    else:
        yield Finding("disk", "ok", f"the file is on a local file system ({kind})")


def find_file_system(path: str, mounts: Path = Path("/proc/self/mountinfo")) -> str | None:
    """Return the type of the file system that a path is on, or ``None`` if this system doesn't say."""
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    found: tuple[int, str] | None = None
    for line in lines:
        before, _, after = line.partition(" - ")
        # A space in a path is written as \040.
        point = re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), before.split()[4])
        is_above = path == point or path.startswith(point.rstrip("/") + "/")
        if is_above and (found is None or len(point) >= found[0]):  # the last one hides those before it
            found = len(point), after.split()[0]
    return found and found[1]


def check_space(file: DatabaseFile) -> Iterator[Finding]:
    """Report how much space is left on the disk."""
    free, size = shutil.disk_usage(os.path.dirname(file.path)).free, os.path.getsize(file.path)
    file.facts["free_bytes"] = free
    text = f"{format_bytes(free)} are free on its disk"
    advice = "free space on the disk, or move the file to a larger one; what was acknowledged is kept if it is full"
    if free < _NO_BYTES:
        yield Finding("disk", "problem", f"{text}: writes fail, or are about to", advice)
    elif free < _FEW_BYTES:
        yield Finding("disk", "warning", text, advice)
    elif free < size:
        yield Finding("disk", "note", f"{text}, less than a backup beside it needs", "make backups on another disk")
    else:
        yield Finding("disk", "ok", text)


def check_log(file: DatabaseFile) -> Iterator[Finding]:
    """Report how long the write-ahead log is, and whether a reader keeps its content from being moved into the file."""
    log = f"{file.path}-wal"
    size = os.path.getsize(log) if os.path.exists(log) else 0
    file.facts["log_bytes"] = size
    if file.read_only:
        is_long = size > _LONG_LOG
        advice = "without --read-only, the doctor looks whether a reader is the reason" if is_long else ""
        yield Finding("log", "note" if is_long else "ok", f"write-ahead log: {format_bytes(size)}", advice)
        return
    (page_bytes,) = file.connection.execute("PRAGMA page_size").fetchone()
    waiting = 0
    for look in range(_LOOKS):
        # Moves what no reader needs any more, as every writer does from time to time, and waits for nobody.
        with closing(connect_to_existing(file.path)) as other:
            found = move_log(file.connection, other)
        if found is not None:
            pages, moved = found
            waiting = max(0, pages - moved) * page_bytes
            if waiting <= _LONG_LOG:
                break
        if look < _LOOKS - 1:
            time.sleep(_PAUSE)  # a moment later a short read is over
    file.facts["log_waiting_bytes"] = waiting
    if waiting > _LONG_LOG:
        yield Finding(
            "log",
            "warning",
            f"write-ahead log: {format_bytes(size)}, of which {format_bytes(waiting)} can't be moved into the file: a "
            "process has been reading since before they were written",
            "end that read, such as a transaction that the sqlite3 shell has left open (`fuser FILE` shows who has the "
            "file open); meanwhile the log grows, and reads become slower",
        )
    elif size > _LONG_LOG:
        yield Finding(
            "log",
            "note",
            f"write-ahead log: {format_bytes(size)}, all of it moved into the file; the space is used again, and free "
            "once no process has the file open",
        )
    else:
        yield Finding("log", "ok", f"write-ahead log: {format_bytes(size)}")


def check_integrity(file: DatabaseFile) -> Iterator[Finding]:
    """Report errors in the structure of the file."""
    name = "integrity_check" if file.thorough else "quick_check"
    try:
        found = [text for (text,) in file.connection.execute(f"PRAGMA {name}({_REPORTED})")]
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise
        found = [str(error)]
    if found == ["ok"]:
        yield Finding("integrity", "ok", f"{name}: ok")
        return
    for text in found:
        yield Finding("integrity", "problem", " ".join(text.split()), _RESTORE if text is found[-1] else "")
