"""What importing and exporting a dump report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

__all__ = [
    "CONFLICTS",
    "Conflicts",
    "DumpConflict",
    "DumpProblem",
    "ExportReport",
    "ImportReport",
    "SlotExport",
    "SlotImport",
]

#: Which of two different rows of one key stays: the one that was written last, the file's, or the store's.
Conflicts: TypeAlias = Literal["newest", "file", "store"]

CONFLICTS: Final[tuple[Conflicts, ...]] = ("newest", "file", "store")


@dataclass(frozen=True, slots=True)
class DumpProblem:
    """A file that was left out.

    Attributes:
        path: where it is, below the dump.
        slot: its slot's name, where that is known.
        problem: why it was left out.
        hint: what to do about it.
    """

    path: str
    slot: str | None
    problem: str
    hint: str


@dataclass(frozen=True, slots=True)
class DumpConflict:
    """A key that the dump and the store hold different rows of, and which of them stays."""

    path: str
    slot: str
    kept: Literal["file", "store"]


@dataclass(frozen=True, slots=True)
class SlotImport:
    """What became of one slot's files, or would: each is counted once.

    Attributes:
        slot: the slot's name.
        files: how many there are.
        added: rows that the store did not have.
        same: rows that it has like this.
        replaced: rows of which the file's was taken.
        kept: rows of which the store's was left; of candles, which never change, all that differ.
        open: candles that have not closed yet.
        refused: files that were left out: the report's ``problems``.
    """

    slot: str
    files: int = 0
    added: int = 0
    same: int = 0
    replaced: int = 0
    kept: int = 0
    open: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What :func:`~backtest_mongo.import_dump` did, or would do.

    Attributes:
        directory: the dump.
        applied: whether anything was written.
        slots: the slots that have files.
        conflicts: rows that differ, the first thousand of each slot.
        problems: files that were left out.
        others: directories and files of the dump that are no slot's.
    """

    directory: str
    applied: bool
    slots: tuple[SlotImport, ...]
    conflicts: tuple[DumpConflict, ...]
    problems: tuple[DumpProblem, ...]
    others: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """Whether no file was left out."""
        return not self.problems


@dataclass(frozen=True, slots=True)
class SlotExport:
    """What became of one slot's rows: files that were written, and those that were there already, the same."""

    slot: str
    written: int = 0
    same: int = 0


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What :func:`~backtest_mongo.export_dump` did.

    Attributes:
        directory: the dump.
        slots: the slots that have rows.
        problems: rows that were left out, as their documents are not what the slot holds.
    """

    directory: str
    slots: tuple[SlotExport, ...]
    problems: tuple[DumpProblem, ...]
