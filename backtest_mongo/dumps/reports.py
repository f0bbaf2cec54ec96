"""The reports of importing and exporting a dump, a directory of files or an SQLite file."""

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

#: Which of two different rows with the same key stays: the one that was written last, the file's, or the store's.
Conflicts: TypeAlias = Literal["newest", "file", "store"]

CONFLICTS: Final[tuple[Conflicts, ...]] = ("newest", "file", "store")


@dataclass(frozen=True, slots=True)
class DumpProblem:
    """A file, a row of an SQLite file, or a document that was left out.

    Attributes:
        path: where it is below the dump; of a row or document, its collection and its key or id.
        slot: its slot's name, if that is known.
        problem: why it was left out.
        hint: what to do about it.
    """

    path: str
    slot: str | None
    problem: str
    hint: str


@dataclass(frozen=True, slots=True)
class DumpConflict:
    """A key for which the dump and the store have different rows.

    Attributes:
        path: where the file is below the dump; of a row of an SQLite file, its collection and its key.
        slot: the slot's name.
        kept: which of the rows stays.
    """

    path: str
    slot: str
    kept: Literal["file", "store"]


@dataclass(frozen=True, slots=True)
class SlotImport:
    """What happened, or would happen, to one slot's files, each of which is counted once.

    In an SQLite file, each row and each candle is what a file is in a dump.

    Attributes:
        slot: the slot's name.
        files: the number of files.
        added: rows that the store did not have.
        same: rows that the store has with the same values.
        replaced: differing rows in which the file's version replaced the store's.
        kept: differing rows in which the store's version stayed; all candles that differ, as candles never change.
        open: candles that have not closed yet, which are not stored.
        refused: files that were left out (a damaged block of candles counts as one), as the report's ``problems`` say.
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
        directory: the dump, or the SQLite file.
        applied: whether anything was written.
        slots: what happened to the files of each slot that has some.
        conflicts: the rows that differ; of each slot the first thousand.
        problems: the files that were left out.
        others: directories and files in the dump, or tables in the SQLite file, that belong to no slot.
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
    """What happened to one slot's rows.

    Attributes:
        slot: the slot's name.
        written: how many files, or rows of an SQLite file, were written.
        same: how many files existed already with the same content.
    """

    slot: str
    written: int = 0
    same: int = 0


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What :func:`~backtest_mongo.export_dump` did.

    Attributes:
        directory: the dump, or the SQLite file.
        slots: what happened to the rows of each slot that has some.
        problems: the documents that were left out, as they can't be rows of the slot.
    """

    directory: str
    slots: tuple[SlotExport, ...]
    problems: tuple[DumpProblem, ...]
