"""Temporary files in memory: servers wait for their disk with each collection, and tests make thousands of them."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

__all__ = ["use_memory"]

_MEMORY: Final = Path("/dev/shm")  # where Linux has a file system in memory
#: What the servers of a whole run write at most, with room to spare, and what they and the tests need besides.
_BYTES: Final = 6 << 30
_AVAILABLE_BYTES: Final = 2 * _BYTES


def use_memory() -> Path | None:
    """Point ``TMPDIR`` of this process and of those that it starts into memory, unless it is set or there is no room.

    Return the directory, for the caller to remove.
    """
    if os.environ.get("TMPDIR") or not os.access(_MEMORY, os.W_OK):
        return None
    if shutil.disk_usage(_MEMORY).free < _BYTES or _available_memory() < _AVAILABLE_BYTES:
        return None
    # Short, because the path of a socket must not have more than about a hundred bytes.
    directory = Path(tempfile.mkdtemp(prefix="bm-", dir=_MEMORY))
    os.environ["TMPDIR"] = str(directory)
    tempfile.tempdir = None  # found out anew
    return directory


def _available_memory() -> int:
    """Return how many bytes of memory Linux can give to programs without swapping."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, size = line.partition(":")
        if name == "MemAvailable":
            return int(size.split()[0]) << 10
    return 0
