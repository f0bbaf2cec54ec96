"""Walking through the directories of a slot in an untrusted dump: each once, and none outside the dump. It blocks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Final

from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.dumps.parse import describe_path, explain, is_inside
from backtest_mongo.dumps.reports import DumpProblem
from backtest_mongo.files.directory import SUFFIX
from backtest_mongo.files.paths import RowPath, compile_paths

__all__ = ["Walk"]

#: How many files of one slot's directories are reported that are not rows.
_MAX_REPORTED: Final = 1_000


class Walk:
    """The files of one slot below a root."""

    def __init__(self, root: str, spec: SlotSpec) -> None:
        self._root = root
        self._real_root = os.path.realpath(root)
        self._spec = spec
        self._paths = compile_paths(spec)
        #: Directories that could not be read, and files that are not rows; complete once all paths have been asked for.
        self.problems: list[DumpProblem] = []
        self.others: list[str] = []

    def paths(self) -> Iterator[RowPath]:
        """Yield the path of each file. Each directory is listed once, however many links lead to it."""
        first = self._paths.top
        start = os.path.realpath(os.path.join(self._root, *first))
        waiting: list[tuple[tuple[str, ...], str, tuple[str, ...]]] = [(first, start, ())]
        known: dict[str, tuple[str, ...]] = {}
        while waiting:
            parts, real, above = waiting.pop()
            if real in above or not self._may_enter(parts, real, known):
                continue
            known[real] = parts
            directories, names = self._list(parts)
            for name in reversed(directories):
                path = os.path.join(self._root, *parts, name)
                target = os.path.realpath(path) if os.path.islink(path) else os.path.join(real, name)
                waiting.append(((*parts, name), target, (*above, real)))
            others = (name for name in names if not name.endswith(SUFFIX) and not name.startswith("."))
            room = max(0, _MAX_REPORTED - len(self.others))
            self.others += [describe_path((*parts, name)) for name in others][:room]
            entities = [name.removesuffix(SUFFIX) for name in names if _is_entity(name)]
            if self._spec.is_candles:
                entities.sort(key=lambda name: (len(name), name))
            yield from ((*parts, name) for name in entities)

    def _may_enter(self, parts: tuple[str, ...], real: str, known: Mapping[str, tuple[str, ...]]) -> bool:
        problem = None
        if not is_inside(self._real_root, real):
            problem = "it leads out of the dump", "put what it leads to in its place, or import that"
        elif real in known:
            problem = f"it leads to {describe_path(known[real])}, which is imported from there", "remove the link"
        elif len(parts) == max(self._paths.depths) and parts[-1].endswith(SUFFIX):
            problem = "it is a directory and not a file", "move or remove it"
        if problem is not None:
            self._note(parts, *problem)
        return problem is None

    def _list(self, parts: tuple[str, ...]) -> tuple[list[str], list[str]]:
        """Return the names of the directories in a directory, and those of everything else in it."""
        directories: list[str] = []
        names: list[str] = []
        try:
            with os.scandir(os.path.join(self._root, *parts)) as entries:
                for entry in entries:
                    try:
                        is_directory = entry.is_dir()
                    except OSError:
                        is_directory = False  # a link to itself, which is reported when it is read
                    (directories if is_directory else names).append(entry.name)
        except OSError as error:
            # It is not a problem if the slot has no files, or if its directory has just been removed.
            if not isinstance(error, FileNotFoundError) or os.path.islink(os.path.join(self._root, *parts)):
                self._note(parts, *explain(error))
        return sorted(directories), sorted(names)

    def _note(self, parts: tuple[str, ...], problem: str, hint: str) -> None:
        self.problems.append(DumpProblem(describe_path(parts), self._spec.name, problem, hint))


def _is_entity(name: str) -> bool:
    """Return whether a file is an entity for Node, whose keys may start with a dot."""
    return name.endswith(SUFFIX) and not name.startswith(".tmp-")
