"""Exporting MongoDB to a dump of files, or to an SQLite file."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import ExitStack
from itertools import groupby
from typing import Any, Final, NamedTuple

import bson

from backtest_mongo.adapters.sqlite import resolve_path
from backtest_mongo.connection.hub import Hub
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.core.payload import CODEC
from backtest_mongo.core.simulation_time import time_of
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.dumps.bson_sidecar import SidecarWriter, open_sidecar
from backtest_mongo.dumps.database_exporter import export_to_database
from backtest_mongo.dumps.documents import (
    IncompleteDocumentError,
    WholeDocuments,
    explain_incomplete,
    find_key,
)
from backtest_mongo.dumps.importer import Progress, select_slots
from backtest_mongo.dumps.reports import DumpProblem, ExportReport, SlotExport
from backtest_mongo.dumps.series import explain_left_out
from backtest_mongo.errors import InputError, StoreError
from backtest_mongo.files import disk
from backtest_mongo.files.candles import encode_candle
from backtest_mongo.files.directory import SUFFIX, Directory, RowToWrite
from backtest_mongo.files.directory_lock import lock_directory
from backtest_mongo.files.layout import get_engine_fields
from backtest_mongo.files.paths import RowPath, compile_paths
from backtest_mongo.files.row_owners import is_free
from backtest_mongo.files.series import NAME_FILE, read_name
from backtest_mongo.files.text import to_text
from backtest_mongo.types import Document, to_millis

__all__ = ["export_dump"]

_NANOSECONDS: Final = 1_000_000


async def export_dump(
    directory: str | os.PathLike[str] | None = None,
    *,
    sqlite: str | os.PathLike[str] | None = None,
    slots: Iterable[str] | None = None,
    progress: Progress | None = None,
) -> ExportReport:
    """Export MongoDB to files in the layout of the Node package's default storage, or to an SQLite file.

    **Files**, one per row: the Node package and ``persist.use_files(directory)`` read them. Hidden files next to them
    hold what a row's file can't: ids, dates and types. With these, :func:`import_dump` into an empty database restores
    the same documents, bit by bit. Series with columns, such as trades, have no such files: the report says what is
    left out. A candle is a file too, so choose ``slots`` if there are millions of candles.
    Existing files are replaced, atomically, if they differ; files of other rows stay.

    **SQLite**: ``persist.use_sqlite(sqlite)`` reads the file. It has each row's payload with its types, its simulation
    time, whether it is removed, when it was created and written, and the order of newest rows; not the document's id,
    nor fields of other programs. Of series with columns it has all rows, but not what is kept of them. The file is made
    beside its place and takes it once it is complete, so an export that was interrupted leaves nothing, and can be run
    again.

    A row that another program writes during the export is exported as it was before or after that write. On return
    everything that was written is durable.

    Args:
        directory: the dump; it is created if it is missing.
        sqlite: the SQLite file, instead of a directory. It must not exist, or hold no rows.
        slots: names of the slots to export; by default all slots, registered ones included.
        progress: is called repeatedly with a slot's name and the number of its rows that have been written.

    Returns:
        How many files or rows of each slot were written or existed already, and which documents were left out, and why.

    Raises:
        InputError: there is no such slot; the SQLite file holds rows; or not exactly one of ``directory`` and
            ``sqlite`` is given.
        ConfigError: ``sqlite`` can't be a database, or is another program's.
        StoreUnavailableError: MongoDB can't be reached or did not answer in time, or another process uses the file.
        StoreError: MongoDB can't be read, or the directory or the file can't be written.
    """
    if (directory is None) == (sqlite is None):
        raise InputError("export_dump takes a directory, or sqlite= with a file")
    specs = select_slots(slots)
    hub = current_hub()
    try:
        if directory is None:
            return await export_to_database(hub, resolve_path(sqlite, "export_dump"), specs, progress)
        return await _export_to_files(hub, os.fspath(directory), specs, progress)
    except OSError as error:
        raise StoreError(
            f"exporting failed: {error.strerror or type(error).__name__}: {error.filename}",
            hint="check the directory, its permissions, and the space on its disk",
        ) from error


async def _export_to_files(
    hub: Hub, directory: str, specs: Iterable[SlotSpec], progress: Progress | None
) -> ExportReport:
    counted, problems = [], []
    root, folds_case = await asyncio.to_thread(_make_root, directory)
    for spec in specs:
        if spec.columns:
            left = await explain_left_out(hub, spec)
            problems += [left] if left is not None else []
            continue
        one = _Export(hub, spec, root, folds_case)
        async for rows in one.run():
            if progress is not None:
                progress(spec.name, rows)
        if one.written or one.same:
            counted.append(SlotExport(spec.name, one.written, one.same))
        problems += one.problems
    await asyncio.to_thread(disk.sync_all)
    return ExportReport(root, tuple(counted), tuple(problems))


def _make_root(directory: str) -> tuple[str, bool]:
    """Make the directory of a dump; return its path, and whether its file system ignores case."""
    root = os.path.abspath(directory)
    os.makedirs(os.path.join(root, "data"), exist_ok=True)
    return root, disk.folds_case(root, "data")


class _Row(NamedTuple):
    key: Key
    path: RowPath
    document: Document
    raw: bytes


class _Export:
    """The export of one slot."""

    def __init__(self, hub: Hub, spec: SlotSpec, root: str, folds_case: bool) -> None:
        self._spec = spec
        self._documents = WholeDocuments(hub, spec)
        self._root = root
        self._folds_case = folds_case
        self._engine_fields = get_engine_fields(spec)
        self._paths = compile_paths(spec)
        #: The keys whose rows have the paths that several keys may have.
        self._owners: dict[RowPath, Key] = {}
        #: How many rows were created in each millisecond.
        self._created_in: Counter[int] = Counter()
        self.written = self.same = 0
        self.problems: list[DumpProblem] = []

    async def run(self) -> AsyncIterator[int]:
        """Write all rows; after each page yield how many have been written so far."""
        sidecar: SidecarWriter | None = None
        with ExitStack() as stack:
            async for page in self._documents.read_pages():
                if sidecar is None:
                    sidecar = stack.enter_context(open_sidecar(self._root, self._spec))
                await asyncio.to_thread(self._write, [bytes(row.raw) for row in page], sidecar)
                yield self.written + self.same
            async for page in self._documents.read_block_pages():
                if sidecar is None:
                    sidecar = stack.enter_context(open_sidecar(self._root, self._spec))
                await asyncio.to_thread(self._write, [bytes(row.raw) for row in page], sidecar)
                yield self.written + self.same

    # What blocks runs in threads.

    def _write(self, page: list[bytes], sidecar: SidecarWriter) -> None:
        rows = [row for raw in page if (row := self._decode(raw)) is not None]
        rows.sort(key=lambda row: row.path[:-1])  # stable, so rows of a directory stay in their order
        for parts, some in groupby(rows, lambda row: row.path[:-1]):
            directory = Directory(self._spec, os.path.join(self._root, *parts))
            os.makedirs(directory.path, exist_ok=True)
            with lock_directory(directory.path):
                if self._spec.is_candles:
                    self._write_candles(directory, list(some), sidecar)
                else:
                    self._write_rows(directory, list(some), sidecar)

    def _decode(self, raw: bytes) -> _Row | None:
        document = bson.decode(raw, CODEC)
        try:
            key = find_key(self._spec, document)
        except IncompleteDocumentError as error:
            self.problems.append(explain_incomplete(self._spec, document, error))
            return None
        path = self._choose_path(key)
        if os.path.isdir(os.path.join(self._root, *path) + SUFFIX):
            shown = os.path.join(*path) + SUFFIX
            self.problems.append(
                DumpProblem(shown, self._spec.name, "a directory is in its place", "move or remove it")
            )
            return None
        return _Row(key, path, document, raw)

    def _choose_path(self, key: Key) -> RowPath:
        """Return where a row goes. A place that another row has, from this run or an earlier one, is not taken."""
        first, *others = self._paths.find_places(key, self._folds_case)
        if not first.is_shared or self._paths.is_unambiguous(first.path):
            return first.path
        directory = Directory(self._spec, os.path.join(self._root, *first.path[:-1]))
        is_own = self._owners.get(first.path, key) == key and is_free(self._paths, directory, first, key)
        if is_own:
            self._owners[first.path] = key
            return first.path
        return next(place.path for place in others if not place.is_shared)

    def _write_rows(self, directory: Directory, rows: list[_Row], sidecar: SidecarWriter) -> None:
        spec = self._spec
        changed = []
        for row in rows:
            document, name = row.document, row.path[-1]
            payload, removed = document[spec.field], document.get("removed") is True
            when = time_of(spec, document) if spec.when else None
            content = to_text(payload, self._engine_fields)
            sidecar.write(row.path, content, row.raw)
            created = self._make_created(document.get("createDate"))  # of every row, so that each run counts the same
            present = _read_present(os.path.join(directory.path, name + SUFFIX))
            if present == content and self._is_same(directory, name, when, removed):
                self.same += 1
                continue
            needs_key = not self._paths.is_unambiguous(row.path)
            changed.append(RowToWrite(name, row.key, payload, when, removed, created, needs_key))
        directory.write(changed, durable=False)
        self.written += len(changed)

    def _is_same(self, directory: Directory, name: str, when: int | None, removed: bool) -> bool:
        try:
            row = directory.read(name)
        except (StoreError, disk.UnfitError):
            return False
        return row is not None and (not self._spec.when or row.when == when) and row.removed == removed

    def _make_created(self, created: Any) -> int | None:
        """Return a row's creation in nanoseconds, so that rows of one millisecond stay in the order of their ids."""
        if self._spec.newest is None:
            return None
        try:
            millis = to_millis(created)
        except (TypeError, ValueError):
            return None
        self._created_in[millis] += 1
        return millis * _NANOSECONDS + self._created_in[millis]

    def _write_candles(self, directory: Directory, rows: list[_Row], sidecar: SidecarWriter) -> None:
        self._write_names(rows[0])
        fresh: list[tuple[bytes, str]] = []
        for row in rows:
            time = row.key[-1]
            content = encode_candle(time, row.document)
            sidecar.write(row.path, content, row.raw)
            path = os.path.join(directory.path, f"{time}{SUFFIX}")
            if _read_present(path) == content:
                self.same += 1
            else:
                fresh.append((content, path))
        staged = disk.stage(directory.path, (content for content, _ in fresh), durable=False)
        try:
            for temporary, (_, path) in zip(staged, fresh, strict=True):
                os.replace(temporary, path)
        except BaseException:
            disk.drop(staged)
            raise
        self.written += len(fresh)

    def _write_names(self, row: _Row) -> None:
        """Write name files into the directories of a series whose names had to be escaped or cut."""
        at = len(self._paths.top)
        for part, item in enumerate(row.key[:-1], at):
            name = os.path.join(self._root, *row.path[: part + 1], NAME_FILE)
            if row.path[part] != item and read_name(os.path.dirname(name)) != item:
                (staged,) = disk.stage(os.path.dirname(name), [item.encode()], durable=False)
                os.replace(staged, name)


def _read_present(path: str) -> bytes | None:
    """Return the content of a row's file, and ``None`` for anything that is not a regular file and is replaced."""
    try:
        return disk.read(path)
    except disk.UnfitError:
        return None
