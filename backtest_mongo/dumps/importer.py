"""Importing a dump or an SQLite file into MongoDB, or into an SQLite file."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from itertools import chain, groupby
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from backtest_mongo import types
from backtest_mongo.adapters.registry import persist
from backtest_mongo.adapters.sqlite import resolve_path
from backtest_mongo.columns.store_protocol import ColumnStore
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.core.interval_grid import GRIDS, IntervalGrid
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.dumps.database_reader import CandlePage, DatabaseReader, describe_row, open_source
from backtest_mongo.dumps.database_rows import DatabaseDocuments
from backtest_mongo.dumps.documents import (
    IncompleteDocumentError,
    Replacement,
    WholeDocuments,
    get_millis,
    has_same_values,
)
from backtest_mongo.dumps.identify import NAMING_SLOTS, KnownNames
from backtest_mongo.dumps.reader import DumpRow, SlotReader, find_root, list_others
from backtest_mongo.dumps.reports import CONFLICTS, Conflicts, DumpConflict, DumpProblem, ImportReport, SlotImport
from backtest_mongo.dumps.series import SeriesImport
from backtest_mongo.errors import InputError, StoreError
from backtest_mongo.series.columns.store import MongoColumns
from backtest_mongo.sqlite.columns import SQLiteColumns
from backtest_mongo.sqlite.database import Database, get_database
from backtest_mongo.types import PRICES

if TYPE_CHECKING:
    from backtest_mongo.core.arrays import CandleArrays

__all__ = ["Progress", "import_dump", "select_slots"]

#: Is called with a slot's name and the number of its files that have been read, or of its rows that were written.
Progress = Callable[[str, int], None]

_Reader: TypeAlias = SlotReader | DatabaseReader
_Documents: TypeAlias = WholeDocuments | DatabaseDocuments

#: The fields of a stored document that stay when it is replaced.
_KEPT: Final = ("_id", "createDate", "__v")
#: How many conflicts of one slot are reported.
_MAX_REPORTED: Final = 1_000


async def import_dump(
    directory: str | os.PathLike[str],
    *,
    apply: bool = False,
    conflicts: Conflicts = "newest",
    slots: Iterable[str] | None = None,
    strategies: Iterable[str] = (),
    exchanges: Iterable[str] = (),
    progress: Progress | None = None,
    sqlite: str | os.PathLike[str] | None = None,
) -> ImportReport:
    """Import a dump or an SQLite file into MongoDB, or with ``sqlite`` into another SQLite file.

    A dump is a directory with the files of the Node package, of ``persist.use_files()`` or of ``export_dump()``; an
    SQLite file is that of ``persist.use_sqlite()`` or of ``export_dump(sqlite=...)``.

    Without ``apply`` nothing is written, and the report says what would change. A row that is stored already changes
    nothing, so an import may be repeated at any time, for example after it was interrupted. Other programs may read and
    write at the same time: a row that they write during the import stays. Stored candles never change, and of series
    with columns only rows of an SQLite file with ``conflicts="file"`` replace what is stored, where the slot lets rows
    be replaced; what is kept of a series is not imported.

    Args:
        directory: the dump, the directory whose ``dump`` it is, or the SQLite file.
        apply: write to the store.
        conflicts: which of two different rows stays: ``file``, ``store``, or ``newest``, the one that was written last.
        slots: names of the slots to import; by default all slots, registered ones included.
        strategies: names of strategies, by which to divide what Node joins by ``_``, as in ``BTC_my_strategy_binance``.
        exchanges: names of exchanges, for the same purpose.
        progress: is called repeatedly with a slot's name and the number of its files, or rows, that have been read.
        sqlite: the SQLite file to import into; no server is needed then. It is made if it is missing. Its newest rows
            are those that were imported last, in the order of the dump.

    Returns:
        What was imported, or would be, by slot; conflicts; and the files or rows that were left out, with the reasons.

    Raises:
        InputError: there is no dump or no such slot, ``conflicts`` is none of the three, or a file would be imported
            into itself.
        ConfigError: a file is not a database of this library, or was written by a newer version of it.
        StoreUnavailableError: MongoDB can't be reached or did not answer in time, or an SQLite file was locked. What
            was written before stays.
        StoreError: the store refuses a write, or the dump can't be read. What was written before stays.
    """
    if conflicts not in CONFLICTS:
        raise InputError(f"conflicts must be one of {', '.join(CONFLICTS)}, not {conflicts!r}")
    specs, known = select_slots(slots), select_slots(None)
    target = None if sqlite is None else get_database(resolve_path(sqlite, "import_dump"))
    root, others, readers, source = await _open(os.fspath(directory), target, known, KnownNames(strategies, exchanges))
    imports: list[_Import | SeriesImport] = []
    for spec in specs:
        if spec.columns:
            if source is not None:
                store = _open_columns(target, spec, apply)
                imports.append(SeriesImport(spec, source, store, apply, conflicts, progress))
            continue
        documents = WholeDocuments(current_hub(), spec) if target is None else DatabaseDocuments(target, spec)
        imports.append(_Import(spec, readers(spec), documents, apply, conflicts, progress))
    for one in imports:
        await one.run()
    return ImportReport(
        directory=root,
        applied=apply,
        slots=tuple(one.counted for one in imports if one.counted.files),
        conflicts=tuple(conflict for one in imports for conflict in one.conflicts),
        problems=tuple(problem for one in imports for problem in one.problems),
        others=tuple(sorted([name for one in imports for name in one.others] + await others())),
    )


async def _open(
    path: str, target: Database | None, known: list[SlotSpec], names: KnownNames
) -> tuple[str, Callable[[], Awaitable[list[str]]], Callable[[SlotSpec], _Reader], Database | None]:
    """Return where a dump is, what lists that in it which is no slot's, what makes a slot's reader, and the file."""
    if await asyncio.to_thread(os.path.isfile, path):
        database = get_database(resolve_path(path, "import_dump"))
        if database is target:
            raise InputError(f"{path} would be imported into itself", hint="name another file")
        found = await open_source(database, known)

        async def list_tables() -> list[str]:
            return found

        return path, list_tables, lambda spec: DatabaseReader(database, spec), database
    root = await asyncio.to_thread(find_root, path, known)
    naming = (SlotReader(root, spec, names) for spec in known if spec.name in NAMING_SLOTS)
    names.sources = chain.from_iterable(reader.naming_payloads() for reader in naming)
    list_files = partial(asyncio.to_thread, lambda: list(list_others(root, known)))
    return root, list_files, lambda spec: SlotReader(root, spec, names), None


def _open_columns(target: Database | None, spec: SlotSpec, apply: bool) -> ColumnStore:
    """Return where series with columns go; without ``apply`` their indexes are not made."""
    if target is not None:
        return cast("ColumnStore", SQLiteColumns(target, spec))
    store = MongoColumns(current_hub(), spec)
    if not apply:
        store.skip_indexes()
    return cast("ColumnStore", store)


def select_slots(names: Iterable[str] | None) -> list[SlotSpec]:
    """Return the rows of the slot table with these names, or of all slots.

    Raises:
        InputError: there is no such slot.
    """
    specs = {name: adapter.spec for name, adapter in persist._adapters.items()}
    if names is None:
        return list(specs.values())
    names = list(names)
    unknown = next((name for name in names if name not in specs), None)
    if unknown is not None:
        raise InputError(f"no slot is named {unknown!r}: there are {', '.join(specs)}")
    return [spec for name, spec in specs.items() if name in names]


class _Import:
    """The import of one slot."""

    def __init__(
        self,
        spec: SlotSpec,
        reader: _Reader,
        documents: _Documents,
        apply: bool,
        conflicts: Conflicts,
        progress: Progress | None,
    ) -> None:
        self._spec = spec
        self._is_series = spec.is_candles
        self._reader = reader
        self._documents = documents
        self._apply = apply
        self._conflicts = conflicts
        self._progress = progress
        self._counts: Counter[str] = Counter()
        self._keys: dict[Key, str] = {}
        self.conflicts: list[DumpConflict] = []
        self.problems: list[DumpProblem] = []

    @property
    def counted(self) -> SlotImport:
        return SlotImport(self._spec.name, **self._counts)

    @property
    def others(self) -> list[str]:
        return self._reader.others

    async def run(self) -> None:
        if isinstance(self._reader, DatabaseReader) and self._is_series:
            async for candles in self._reader.read_candles():
                await self._import_columns(candles)
                self._report_progress()
        else:
            async for page in self._reader.read_pages():
                await self._import_page(page)
                self._report_progress()
        self.problems += self._reader.problems

    def _report_progress(self) -> None:
        if self._progress is not None:
            self._progress(self._spec.name, self._counts["files"])

    async def _import_page(self, page: Sequence[DumpRow | DumpProblem]) -> None:
        self._counts["files"] += len(page)
        rows = [row for row in page if isinstance(row, DumpRow) and self._is_first(row)]
        self._refuse(row for row in page if isinstance(row, DumpProblem))
        if not self._is_series:
            await self._import_rows(rows)
        else:
            for context, some in groupby(rows, lambda row: row.key[:-1]):
                await self._import_candles(context, list(some))

    def _is_first(self, row: DumpRow) -> bool:
        """Return whether this is the first file of its key: both Node and this library may have written one."""
        if self._is_series or self._reader.has_distinct_keys:
            return True  # of candles the store checks each
        other = self._keys.setdefault(row.key, row.path)
        if other != row.path:
            self._refuse([DumpProblem(row.path, self._spec.name, f"{other} has the same key", "remove one of the two")])
        return other == row.path

    def _refuse(self, problems: Iterable[DumpProblem]) -> None:
        for problem in problems:
            self._counts["refused"] += 1
            self.problems.append(problem)

    async def _import_rows(self, rows: list[DumpRow]) -> None:
        spec = self._spec
        fields = [spec.field, *(["when"] if spec.when else ()), *(["removed"] if spec.soft_delete else ())]
        stored = await self._documents.find_by_key([row.key for row in rows])
        fresh = [row for row in rows if row.key not in stored]
        replaced = []
        for row in rows:
            document = stored.get(row.key)
            if document is None:
                continue
            if has_same_values(row.document, document, fields):
                self._counts["same"] += 1
                continue
            takes_file = self._takes_file(row, document)
            self._note(row, takes_file)
            if takes_file:
                kept = {name: value for name, value in row.document.items() if name not in _KEPT}
                replaced.append(Replacement(row.key, kept, document))
        if self._apply:
            done = await self._documents.replace_unchanged(replaced)
            self._counts["replaced"] -= len(replaced) - done  # other programs have written those meanwhile
            self._counts["kept"] += len(replaced) - done
            added = await self._documents.insert_new([row.document for row in fresh])
            self._counts["added"] += added
            self._counts["kept"] += len(fresh) - added
        else:
            self._counts["added"] += len(fresh)

    def _takes_file(self, row: DumpRow, stored: types.Document) -> bool:
        if self._conflicts != "newest":
            return self._conflicts == "file"
        by_file, by_store = (get_millis(document.get("updatedDate")) for document in (row.document, stored))
        return by_store is None or (by_file is not None and by_file > by_store)

    def _note(self, row: DumpRow, takes_file: bool) -> None:
        self._counts["replaced" if takes_file else "kept"] += 1
        if len(self.conflicts) < _MAX_REPORTED:
            kept = "file" if takes_file else "store"
            self.conflicts.append(DumpConflict(row.path, self._spec.name, kept))  # type: ignore[arg-type]

    # Candles

    async def _import_candles(self, context: Key, rows: list[DumpRow]) -> None:
        interval = self._find_interval(context)
        closed = [row for row in rows if interval.closes_at(row.key[-1]) <= types.now_ms()]
        self._counts["open"] += len(rows) - len(closed)
        stored = await self._documents.find_by_key([row.key for row in closed])
        fresh = []
        for row in closed:
            document = stored.get(row.key)
            if document is None:
                fresh.append(row)
            elif has_same_values(row.document, document, PRICES):
                self._counts["same"] += 1
            else:
                self._note(row, False)
        if not self._apply:
            self._counts["added"] += len(fresh)
            return
        added = await self._documents.restore_candles(context, interval, [row.document for row in fresh])
        self._counts["added"] += added
        self._counts["kept"] += len(fresh) - added

    async def _import_columns(self, page: CandlePage) -> None:
        """Do the same with columns."""
        from backtest_mongo.core.arrays import CandleArrays, join_arrays

        context, candles = page.context, page.candles
        self._counts["files"] += len(candles) + page.refused
        self._counts["refused"] += page.refused
        self.problems += page.problems
        if not len(candles):
            return
        interval = self._find_interval(context)
        is_open = interval.open_at(candles.timestamp, types.now_ms())
        self._counts["open"] += int(is_open.sum())
        closed = candles.take(~is_open)
        if not len(closed):
            return
        bounds = int(closed.timestamp[0]), int(closed.timestamp[-1]) + 1
        try:
            parts = [part async for part in self._documents.read_candles(context, *bounds)]
        except IncompleteDocumentError as error:
            raise StoreError(
                f"reading failed: {error}",
                slot=self._spec.name,
                collection=self._spec.collection,
                key=dict(zip(self._spec.key, context, strict=False)),
                hint="repair or remove the document",
            ) from error
        stored = join_arrays(parts) if parts else CandleArrays.empty(0)
        fresh = self._compare(context, closed, stored)
        added = len(fresh)
        if self._apply and added:
            added = await self._documents.insert_candles(context, interval, fresh)
        self._counts["added"] += added
        self._counts["kept"] += len(fresh) - added

    def _compare(self, context: Key, candles: CandleArrays, stored: CandleArrays) -> CandleArrays:
        """Count the candles that are stored already, and return those that are not."""
        import numpy as np

        is_stored = np.isin(candles.timestamp, stored.timestamp, assume_unique=True)
        known = candles.take(is_stored)
        theirs = stored.take(np.searchsorted(stored.timestamp, known.timestamp))
        is_same = np.ones(len(known), bool)
        for mine, other in zip(known.prices, theirs.prices, strict=True):
            is_same &= mine == other
        self._counts["same"] += int(is_same.sum())
        self._counts["kept"] += int((~is_same).sum())
        for time in known.timestamp[~is_same][: _MAX_REPORTED - len(self.conflicts)].tolist():
            shown = describe_row(self._spec, (*context, time))
            self.conflicts.append(DumpConflict(shown, self._spec.name, "store"))
        return candles.take(~is_stored)

    def _find_interval(self, context: Key) -> IntervalGrid:
        return GRIDS[dict(zip(self._spec.key, context, strict=False))["interval"]]
