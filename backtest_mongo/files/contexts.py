"""The contexts that are stored in files: found by the names of directories and files, where these tell them.

A path that may be of several keys is told by the row in it: by its metadata sidecar, or by the names in its payload. A
row that none of these tells is left out, with a warning.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from backtest_mongo.core.log import log
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.errors import StoreError
from backtest_mongo.files import disk
from backtest_mongo.files.directory import Directory, is_text, list_names
from backtest_mongo.files.layout import MAX_SLASHES
from backtest_mongo.files.paths import PathTemplate, RowPath
from backtest_mongo.files.row_owners import find_names

__all__ = ["ContextFinder", "delete_row", "remove_empty"]


class ContextFinder:
    """Finds the contexts of a slot below a root directory. Everything here blocks."""

    def __init__(self, root: str, spec: SlotSpec, paths: PathTemplate) -> None:
        self._root = root
        self._spec = spec
        self._paths = paths
        self._warned: set[RowPath] = set()

    def find_all(self) -> set[Key]:
        """Return the contexts of all rows."""
        found: set[Key] = set()
        length = len(self._spec.context)
        for directory in self._walk(self._paths.top):
            for name in sorted(list_names(os.path.join(self._root, *directory))):
                path = (*directory, name)
                key = self._identify(path)
                if key is None:
                    continue
                found.add(key[:length])
                if self._spec.shape != "document" and self._paths.is_unambiguous(path):
                    break  # all others have the same directory, and so the same context
        return found

    def _walk(self, path: RowPath) -> Iterator[RowPath]:
        """Yield the directories that may have rows."""
        yield path
        if len(path) >= max(self._paths.depths) + MAX_SLASHES:
            return
        try:
            with os.scandir(os.path.join(self._root, *path)) as entries:
                below = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except (FileNotFoundError, NotADirectoryError):
            return
        for name in sorted(name for name in below if is_text(name)):
            yield from self._walk((*path, name))

    def _identify(self, path: RowPath) -> Key | None:
        """Return the key of the row at a path, ``None`` if it can't be told or is none of the slot's."""
        readings = self._paths.read(path).all
        if self._paths.is_unambiguous(path):
            return readings[0]
        slashed = self._paths.read_with_slashes(path)
        directory = Directory(self._spec, os.path.join(self._root, *path[:-1]))
        row = None
        with suppress(StoreError, disk.UnfitError):
            row = directory.read(path[-1])
        if row is None:
            return None
        noted = row.key or row.noted_key
        if noted is not None and self._paths.is_path_of(noted, path):
            return noted
        names = find_names(self._spec, row.payload)
        known = self._paths.read_known(path, {name: (value,) for name, value in names.items()}) if names else ()
        for told in (known, readings, slashed):
            if len(told) == 1:
                return told[0]
        if (readings or slashed) and path not in self._warned:
            self._warned.add(path)
            log().warning(
                "a list of contexts lacks a row whose path may be of several",
                slot=self._spec.name,
                path="/".join(path),
            )
        return None


def delete_row(directory: Directory, name: str) -> None:
    """Delete the files of a row; the caller holds the lock."""
    for path in directory.list_files(name):
        with suppress(FileNotFoundError):
            os.unlink(path)


def remove_empty(directory: str, top: str) -> None:
    """Remove a directory and those above it that are empty then, below ``top``."""
    while directory.startswith(top + os.sep):
        try:
            os.rmdir(directory)
        except OSError:
            return
        directory = os.path.dirname(directory)
