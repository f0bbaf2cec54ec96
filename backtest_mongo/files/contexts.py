"""The contexts that are stored in files: found by the names of directories and files, where these tell them.

A path that may be of several keys is told by the row in it: by its metadata sidecar, or by the names in its payload. A
row that none of these tells is left out, with a warning.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from backtest_mongo.core.log import log
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.errors import StoreError
from backtest_mongo.files import disk
from backtest_mongo.files.directory import Directory, FileRow, is_text, list_names
from backtest_mongo.files.layout import MAX_SLASHES
from backtest_mongo.files.names import is_cut
from backtest_mongo.files.paths import PathTemplate, Place, RowPath
from backtest_mongo.files.row_owners import find_names, is_row_of

__all__ = ["ContextFinder", "delete_row", "remove_empty"]


class ContextFinder:
    """Finds the contexts of a slot below a root directory. Everything here blocks."""

    def __init__(
        self, root: str, spec: SlotSpec, paths: PathTemplate, find_places: Callable[[Key], Sequence[Place]]
    ) -> None:
        self._root = root
        self._spec = spec
        self._paths = paths
        self._find_places = find_places
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
        readings = self._paths.read(path)
        if self._paths.is_unambiguous(path) and not any(map(is_cut, path[:-1])):
            return readings.all[0]
        directory = Directory(self._spec, os.path.join(self._root, *path[:-1]))
        row = None
        with suppress(StoreError, disk.UnfitError):
            row = directory.read(path[-1])
        if row is None:
            return None
        noted = directory.read_key(path[-1])
        if noted is not None and self._paths.is_path_of(noted, path):
            return noted
        slashed = self._paths.read_with_slashes(path)
        names = find_names(self._spec, row.payload)
        named = self._paths.read_known(path, {name: (value,) for name, value in names.items()}) if names else ()
        # Those whose reads find the row; first those that this library gives the path.
        for keys in (readings.own, (*readings.node, *slashed, *named)):
            found = [key for key in dict.fromkeys(keys) if self._is_row_of(directory, path, key, row)]
            if len(found) == 1:
                return found[0]
            if found:
                break
        if path not in self._warned:
            self._warned.add(path)
            log().warning(
                "a list of contexts lacks a row whose path does not tell its context",
                slot=self._spec.name,
                path="/".join(path),
            )
        return None

    def _is_row_of(self, directory: Directory, path: RowPath, key: Key, row: FileRow) -> bool:
        places = [place for place in self._find_places(key) if place.path == path]
        return bool(places) and is_row_of(self._paths, directory, places[0], key, row)


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
