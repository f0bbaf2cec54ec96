"""What imports have in common: reading files ahead in a thread, their progress, and their report."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from backtest_mongo.errors import InputError
from backtest_mongo.market_data.data_files import Source, find_sources

__all__ = ["BadLine", "ImportProgress", "ImportReport", "ReadRows", "RowWriter", "import_sources"]

#: Bad lines that are kept with their reasons, and names of ignored files that are noted.
_LISTED: Final = 20
#: Refused rows whose places are kept, for each reason.
_PLACES: Final = 3


class BadLine(NamedTuple):
    """A line that is not a row: its number in the file, from 1, and the reason."""

    line: int
    reason: str


class ReadRows(Protocol):
    """What every chunk of a file has.

    Attributes:
        lines: the number of each row's line in the file, from 1; in a table, of its row.
        bad: the lines that are not rows.
        position: how many bytes of the file are read so far.
        note: how the file was understood; only in its first chunk.
        others: how many rows of other symbols were skipped.
    """

    @property
    def lines(self) -> npt.NDArray[np.int64]: ...
    @property
    def bad(self) -> list[BadLine]: ...
    @property
    def position(self) -> int: ...
    @property
    def note(self) -> str: ...
    @property
    def others(self) -> int: ...


_Chunk = TypeVar("_Chunk", bound=ReadRows)
_Chunk_contra = TypeVar("_Chunk_contra", bound=ReadRows, contravariant=True)


class RowWriter(Protocol[_Chunk_contra]):
    """Writes the chunks of one file."""

    rows: int

    def check(self) -> None:
        """Check the file before it is read.

        Raises:
            InputError: it must not be imported.
        """

    async def write(self, chunk: _Chunk_contra) -> None:
        """Store a chunk, and add its rows to ``rows``."""


class ImportProgress(Protocol):
    """Receives the progress of an import."""

    def start(self, total: int) -> None:
        """Begin, with ``total`` bytes of files to read."""

    def update(self, description: str, done: int, rows: int = 0) -> None:
        """Show the file being read, how many bytes are read in all, and how many rows were written since the last."""

    def note(self, text: str) -> None:
        """Show one line about a file: how it was understood, or that it is ignored."""


class _NoProgress:
    def start(self, total: int) -> None: ...
    def update(self, description: str, done: int, rows: int = 0) -> None: ...
    def note(self, text: str) -> None: ...


@dataclass
class ImportReport:
    """What became of every line of an import.

    Attributes:
        files: files that were read to their end.
        rows: rows in these files.
        new: rows that were stored.
        present: rows that were stored already.
        open: rows that were not stored because their interval has not ended.
        others: rows of other symbols, which were skipped.
        refused: refused rows, counted by reason.
        places: the first places of each reason, as ``file:line``.
        bad_lines: lines that are not rows.
        bad: the first bad lines, with the reason.
        unreadable: what was wrong with files that can't be read or understood.
    """

    files: int = 0
    rows: int = 0
    new: int = 0
    present: int = 0
    open: int = 0
    others: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[str]] = field(default_factory=dict)
    bad_lines: int = 0
    bad: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Whether every file has rows, and each of its lines is a row that is stored or still open."""
        return not self.bad_lines and not self.unreadable and not self.refused

    def _add_counts(self, rows: int = 0, new: int = 0, present: int = 0, still_open: int = 0) -> None:
        self.rows += rows
        self.new += new
        self.present += present
        self.open += still_open

    def _add_refused(self, reason: str, lines: Sequence[int], name: str) -> None:
        self.refused[reason] += len(lines)
        places = self.places.setdefault(reason, [])
        places += [f"{name}:{line}" for line in lines[: _PLACES - len(places)]]

    def _add_bad(self, chunk: ReadRows, name: str) -> None:
        self.others += chunk.others
        self.bad_lines += len(chunk.bad)
        self.bad += [f"{name}:{line}  {reason}" for line, reason in chunk.bad[: max(_LISTED - len(self.bad), 0)]]


async def import_sources(
    paths: Iterable[str | Path],
    what: str,
    kind: str,
    report: ImportReport,
    read: Callable[[Source], Iterator[_Chunk]],
    open_writer: Callable[[Source], RowWriter[_Chunk]],
    progress: ImportProgress | None,
) -> None:
    """Read files and write their rows, and report what became of them. A file that can't be read is reported.

    Args:
        paths: files, zip archives, or directories of both.
        what: what the files hold, in the singular.
        kind: what such files are called.
        report: receives what becomes of every line.
        read: yields the chunks of a file, in a thread.
        open_writer: makes the writer of a file.
        progress: receives the progress of the import.

    Raises:
        InputError: a path does not exist, or a directory has no such files.
        StoreUnavailableError: MongoDB can't be reached.
        StoreError: MongoDB answers with an error.
    """
    progress = progress or _NoProgress()
    found = find_sources(map(Path, paths), kind)
    progress.start(found.size)
    _note_ignored(found.ignored, progress)
    before = 0
    noted: set[str] = set()
    for source in found.sources:
        writer = open_writer(source)
        try:
            writer.check()
            async with aclosing(_read_ahead(read(source))) as chunks:
                async for chunk in chunks:
                    if chunk.note and chunk.note not in noted:
                        noted.add(chunk.note)
                        progress.note(f"{source.name}: {chunk.note}")
                    report._add_bad(chunk, source.name)
                    await writer.write(chunk)
                    progress.update(source.path.name, before + chunk.position, len(chunk.lines))
            if not writer.rows:
                raise InputError(f"{source.name}: has no {what}s")
            report.files += 1
        except InputError as error:
            report.unreadable.append(str(error))
        before += source.size


def _note_ignored(names: Sequence[str], progress: ImportProgress) -> None:
    for name in names[:_LISTED]:
        progress.note(f"ignored: {name}")
    if len(names) > _LISTED:
        progress.note(f"... and {len(names) - _LISTED:,} more")


async def _read_ahead(chunks: Iterator[_Chunk]) -> AsyncGenerator[_Chunk, None]:
    """Yield chunks; a thread reads the next while the caller works on one."""
    loop = asyncio.get_running_loop()
    reading = loop.run_in_executor(None, next, chunks, None)
    try:
        while True:
            # Unlike awaiting the future, this doesn't cancel it with the caller.
            await asyncio.wait({reading})
            chunk = reading.result()
            if chunk is None:
                return
            reading = loop.run_in_executor(None, next, chunks, None)
            yield chunk
    finally:
        # A thread can't be interrupted: the file is closed once its chunk is read.
        await asyncio.wait({reading})
        if reading.exception() is None:
            chunks.close()  # type: ignore[attr-defined]  # a generator
