"""Parsing a file of a dump. It blocks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.files import disk
from backtest_mongo.files.directory import SUFFIX, is_text
from backtest_mongo.files.layout import get_engine_fields
from backtest_mongo.files.paths import RowPath
from backtest_mongo.files.text import from_text

__all__ = ["FileParser", "FileRefusedError", "ParsedFile", "describe_path", "explain", "is_inside"]


class FileRefusedError(Exception):
    """A file that can't be imported: why, and what to do about it."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem, hint)
        self.problem = problem
        self.hint = hint


class ParsedFile(NamedTuple):
    """What a file holds.

    Attributes:
        path: where it is below the dump.
        content: its bytes.
        payload: the payload whose JSON they are.
        modified: when it was written, in nanoseconds since the epoch.
    """

    path: RowPath
    content: bytes
    payload: Any
    modified: int


class FileParser:
    """Parses the files of one slot."""

    def __init__(self, root: str, spec: SlotSpec) -> None:
        self._root = root
        self._real_root = os.path.realpath(root)
        self._engine_fields = get_engine_fields(spec)

    def parse(self, path: RowPath) -> ParsedFile:
        """Read a file and decode its payload.

        Raises:
            FileRefusedError: it no longer exists, its name is not valid Unicode, or it is a link out of the dump.
            OSError: it can't be read.
            ValueError, RecursionError: it does not hold JSON.
        """
        file = os.path.join(self._root, *path) + SUFFIX
        if not is_text(file):
            raise FileRefusedError("its name is not valid Unicode, as keys are", "rename or remove it")
        if os.path.islink(file) and not is_inside(self._real_root, os.path.realpath(file)):
            raise FileRefusedError("it leads out of the dump", "put what it leads to in its place, or remove it")
        found = disk.read_with_time(file)
        if found is None:
            raise FileRefusedError("it was removed during the import", "run the import again")
        content, modified = found
        return ParsedFile(path, content, from_text(content, self._engine_fields), modified)


def is_inside(real_root: str, real: str) -> bool:
    """Return whether a path is in a directory, both with all links followed."""
    return real == real_root or real.startswith(os.path.join(real_root, ""))


def describe_path(path: Sequence[str]) -> str:
    """Return a path for people. Bytes that are not valid Unicode are escaped, so that it can be printed."""
    return os.fsencode(os.path.join(*path)).decode(errors="backslashreplace")


def explain(error: OSError) -> tuple[str, str]:
    """Return why something can't be read, and what to do about it."""
    return f"it can't be read: {error.strerror or type(error).__name__}", "check its permissions, and run it again"
