"""Importing a dump into MongoDB."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain, groupby
from typing import Any, Final

from bson import DatetimeMS, ObjectId

from backtest_mongo import types
from backtest_mongo.adapters.registry import persist
from backtest_mongo.connection.hub import Hub
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.core.interval_grid import GRIDS
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.dumps.documents import Replacement, WholeDocuments, encode_id, has_same_values
from backtest_mongo.dumps.identify import NAMING_SLOTS, KnownNames
from backtest_mongo.dumps.reader import DumpRow, SlotReader, find_root, list_others
from backtest_mongo.dumps.reports import CONFLICTS, Conflicts, DumpConflict, DumpProblem, ImportReport, SlotImport
from backtest_mongo.errors import InputError
from backtest_mongo.series.store import MongoSeriesStore
from backtest_mongo.types import PRICES, to_millis

__all__ = ["Progress", "import_dump", "select_slots"]

#: Is called with a slot's name and the number of its files that have been read, or of its rows that were written.
Progress = Callable[[str, int], None]

#: How many files are read at a time, and how many bytes their documents may have.
_PAGE: Final = 500
_PAGE_BYTES: Final = 32 * 1024 * 1024
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
) -> ImportReport:
    """Import a dump into MongoDB: files of the Node package, of ``persist.use_files()`` or of ``export_dump()``.

    Without ``apply`` nothing is written, and the report says what would change. A file whose row is stored already
    changes nothing, so an import may be repeated at any time, for example after it was interrupted. Other programs may
    read and write at the same time: a row that they write during the import stays. Stored candles never change.

    Args:
        directory: the dump, or the directory whose ``dump`` it is.
        apply: write to MongoDB.
        conflicts: which of two different rows stays: ``file``, ``store``, or ``newest``, the one that was written last.
        slots: names of the slots to import; by default all slots, registered ones included.
        strategies: names of strategies, by which to divide what Node joins by ``_``, as in ``BTC_my_strategy_binance``.
        exchanges: names of exchanges, for the same purpose.
        progress: is called repeatedly with a slot's name and the number of its files that have been read.

    Returns:
        What was imported, or would be, by slot; conflicts; and the files that were left out, with the reasons.

    Raises:
        InputError: there is no dump or no such slot, or ``conflicts`` is none of the three.
        StoreUnavailableError: MongoDB can't be reached or did not answer in time. What was written before stays.
        StoreError: MongoDB refuses a write, or the dump can't be read. What was written before stays.
    """
    if conflicts not in CONFLICTS:
        raise InputError(f"conflicts must be one of {', '.join(CONFLICTS)}, not {conflicts!r}")
    specs = select_slots(slots)
    root = await asyncio.to_thread(find_root, os.fspath(directory), select_slots(None))
    known = KnownNames(strategies, exchanges)
    naming = (SlotReader(root, spec, known) for spec in select_slots(None) if spec.name in NAMING_SLOTS)
    known.sources = chain.from_iterable(reader.naming_payloads() for reader in naming)
    hub = current_hub()
    imports = [_Import(hub, spec, SlotReader(root, spec, known), apply, conflicts, progress) for spec in specs]
    for one in imports:
        await one.run()
    others = [name for one in imports for name in one.others]
    others += await asyncio.to_thread(lambda: list(list_others(root, select_slots(None))))
    return ImportReport(
        directory=root,
        applied=apply,
        slots=tuple(one.counted for one in imports if one.counted.files),
        conflicts=tuple(conflict for one in imports for conflict in one.conflicts),
        problems=tuple(problem for one in imports for problem in one.problems),
        others=tuple(sorted(others)),
    )


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
        self, hub: Hub, spec: SlotSpec, reader: SlotReader, apply: bool, conflicts: Conflicts, progress: Progress | None
    ) -> None:
        self._spec = spec
        self._reader = reader
        self._apply = apply
        self._conflicts = conflicts
        self._progress = progress
        self._documents = WholeDocuments(hub, spec)
        self._series = MongoSeriesStore(hub, spec) if spec.shape == "series" else None
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
        paths = self._reader.paths()
        while page := await asyncio.to_thread(self._read_page, paths):
            self._counts["files"] += len(page)
            rows = [row for row in page if isinstance(row, DumpRow) and self._is_first(row)]
            self._refuse(row for row in page if isinstance(row, DumpProblem))
            if self._series is None:
                await self._import_rows(rows)
            else:
                for context, some in groupby(rows, lambda row: row.key[:-1]):
                    await self._import_candles(self._series, context, list(some))
            if self._progress is not None:
                self._progress(self._spec.name, self._counts["files"])
        self.problems += self._reader.problems

    def _read_page(self, paths: Iterator[tuple[str, ...]]) -> list[DumpRow | DumpProblem]:
        page: list[DumpRow | DumpProblem] = []
        size = 0
        while len(page) < _PAGE and size < _PAGE_BYTES and (path := next(paths, None)) is not None:
            row = self._reader.read(path)
            size += row.size if isinstance(row, DumpRow) else 0
            page.append(row)
        return page

    def _is_first(self, row: DumpRow) -> bool:
        """Return whether this is the first file of its key: both Node and this library may have written one."""
        if self._series is not None:
            return True  # the store checks each candle
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
            added = await self._documents.insert_new(await self._with_free_ids(fresh))
            self._counts["added"] += added
            self._counts["kept"] += len(fresh) - added
        else:
            self._counts["added"] += len(fresh)

    def _takes_file(self, row: DumpRow, stored: types.Document) -> bool:
        if self._conflicts != "newest":
            return self._conflicts == "file"
        by_file, by_store = (_millis(document.get("updatedDate")) for document in (row.document, stored))
        return by_store is None or (by_file is not None and by_file > by_store)

    def _note(self, row: DumpRow, takes_file: bool) -> None:
        self._counts["replaced" if takes_file else "kept"] += 1
        if len(self.conflicts) < _MAX_REPORTED:
            kept = "file" if takes_file else "store"
            self.conflicts.append(DumpConflict(row.path, self._spec.name, kept))  # type: ignore[arg-type]

    async def _with_free_ids(self, rows: Sequence[DumpRow]) -> list[types.Document]:
        """Return the documents of rows, each with an id that no other document has."""
        used = await self._documents.find_used_ids([row.document["_id"] for row in rows if "_id" in row.document])
        documents = []
        for row in rows:
            document = {"_id": ObjectId(), **row.document}
            if encode_id(document["_id"]) in used:
                document["_id"] = ObjectId()
            used.add(encode_id(document["_id"]))  # two rows of the dump may have the same id
            documents.append(document)
        return documents

    # Candles

    async def _import_candles(self, series: MongoSeriesStore, context: Key, rows: list[DumpRow]) -> None:
        interval = GRIDS[dict(zip(self._spec.key, context, strict=False))["interval"]]
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
        added = await series.restore(context, interval, await self._with_free_ids(fresh))
        self._counts["added"] += added
        self._counts["kept"] += len(fresh) - added


def _millis(date: Any) -> int | None:
    """Return a date in milliseconds, also one that Python's dates can't hold."""
    if isinstance(date, DatetimeMS):
        return int(date)
    return to_millis(date) if isinstance(date, datetime) and date.tzinfo else None
