"""Bringing a dump into MongoDB."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final

from bson import ObjectId

from backtest_mongo import types
from backtest_mongo.dumps.found import FoundRow, Names, SlotFiles, find_root, others
from backtest_mongo.dumps.reports import CONFLICTS, Conflicts, DumpConflict, DumpProblem, ImportReport, SlotImport
from backtest_mongo.dumps.rows import Replacement, WholeRows, id_bytes, is_same
from backtest_mongo.errors import InputError
from backtest_mongo.hub import Hub, current_hub
from backtest_mongo.registry import persist
from backtest_mongo.series_store import SeriesStore
from backtest_mongo.specs import Key, SlotSpec
from backtest_mongo.types import PRICES

__all__ = ["Progress", "chosen_slots", "import_dump"]

#: Called with a slot's name and how many of its files, or rows, have been gone through.
Progress = Callable[[str, int], None]

#: Files that are gone through at a time, and the bytes of their documents.
_PAGE: Final = 500
_PAGE_BYTES: Final = 32 * 1024 * 1024
#: What a row keeps from its first write when it is replaced.
_FIRST: Final = ("_id", "createDate", "__v")
#: Conflicts of one slot that are reported.
_REPORTED: Final = 1_000


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
    """Bring the files of a dump into MongoDB: the Node package's, ``persist.use_files()``'s, or ``export_dump()``'s.

    Without ``apply`` nothing is written, and the report says what would be. Files that hold what is stored already
    change nothing, so it may be run again at any time, also after it was broken off. Others may read and write
    meanwhile; a row that they write in that moment is left to them. Candles that are stored never change.

    Args:
        directory: the dump, or the directory that has it as ``dump``.
        apply: write.
        conflicts: which of two different rows stays: ``newest``, by the time that the file and the document were
            written, ``file`` or ``store``.
        slots: names of the slots to bring in; all of them by default, those that were registered included.
        strategies: names of strategies, to tell apart what Node joins by ``_``, as in ``BTC_my_strategy_binance``.
        exchanges: names of exchanges, for the same.
        progress: is called now and then with a slot's name and how many of its files have been read.

    Raises:
        InputError: there is no dump, or no such slot, or ``conflicts`` is none of the three.
        StoreUnavailableError, StoreError: MongoDB can't be reached, or refuses it. What was written until then stays.
    """
    if conflicts not in CONFLICTS:
        raise InputError(f"conflicts must be one of {', '.join(CONFLICTS)}, not {conflicts!r}")
    specs = chosen_slots(slots)
    root = await asyncio.to_thread(find_root, os.fspath(directory), chosen_slots(None))
    known = Names(frozenset(strategies), frozenset(exchanges))
    hub = current_hub()
    imports = [_Import(hub, spec, SlotFiles(root, spec, known), apply, conflicts, progress) for spec in specs]
    for one in imports:
        await one.run()
    strange = [name for one in imports for name in one.others]
    strange += await asyncio.to_thread(lambda: list(others(root, chosen_slots(None))))
    return ImportReport(
        directory=root,
        applied=apply,
        slots=tuple(one.counted for one in imports if one.counted.files),
        conflicts=tuple(conflict for one in imports for conflict in one.conflicts),
        problems=tuple(problem for one in imports for problem in one.problems),
        others=tuple(sorted(strange)),
    )


def chosen_slots(names: Iterable[str] | None) -> list[SlotSpec]:
    """Return the rows of the slot table with these names, of all slots by default.

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
    """One slot's files on their way."""

    def __init__(
        self, hub: Hub, spec: SlotSpec, files: SlotFiles, apply: bool, conflicts: Conflicts, progress: Progress | None
    ) -> None:
        self._spec = spec
        self._files = files
        self._apply = apply
        self._conflicts = conflicts
        self._progress = progress
        self._rows = WholeRows(hub, spec)
        self._series = SeriesStore(hub, spec) if spec.shape == "series" else None
        self._counts: Counter[str] = Counter()
        self._keys: dict[Key, str] = {}
        self.conflicts: list[DumpConflict] = []
        self.problems: list[DumpProblem] = []

    @property
    def counted(self) -> SlotImport:
        return SlotImport(self._spec.name, **self._counts)

    @property
    def others(self) -> list[str]:
        return self._files.others

    async def run(self) -> None:
        paths = self._files.paths()
        while page := await asyncio.to_thread(self._page, paths):
            self._counts["files"] += len(page)
            rows = [row for row in page if isinstance(row, FoundRow) and self._is_first(row)]
            self._refuse(row for row in page if isinstance(row, DumpProblem))
            if self._series is None:
                await self._bring(rows)
            else:
                for context, some in groupby(rows, lambda row: row.key[:-1]):
                    await self._bring_candles(self._series, context, list(some))
            if self._progress is not None:
                self._progress(self._spec.name, self._counts["files"])
        self.problems += self._files.unread

    def _page(self, paths: Iterator[tuple[str, ...]]) -> list[FoundRow | DumpProblem]:
        page: list[FoundRow | DumpProblem] = []
        size = 0
        while len(page) < _PAGE and size < _PAGE_BYTES and (path := next(paths, None)) is not None:
            row = self._files.read(path)
            size += row.size if isinstance(row, FoundRow) else 0
            page.append(row)
        return page

    def _is_first(self, row: FoundRow) -> bool:
        """Tell whether no other file has been the row's, as Node's and ours may both be there."""
        if self._series is not None:
            return True  # the store looks at each
        other = self._keys.setdefault(row.key, row.path)
        if other != row.path:
            self._refuse(
                [DumpProblem(row.path, self._spec.name, f"{other} is the same row's", "remove one of the two")]
            )
        return other == row.path

    def _refuse(self, problems: Iterable[DumpProblem]) -> None:
        for problem in problems:
            self._counts["refused"] += 1
            self.problems.append(problem)

    async def _bring(self, rows: list[FoundRow]) -> None:
        spec = self._spec
        fields = [spec.field, *(["when"] if spec.when else ()), *(["removed"] if spec.soft_delete else ())]
        stored = await self._rows.stored([row.key for row in rows])
        fresh = [row for row in rows if row.key not in stored]
        replaced = []
        for row in rows:
            document = stored.get(row.key)
            if document is None:
                continue
            if is_same(row.document, document, fields):
                self._counts["same"] += 1
                continue
            takes_file = self._takes_file(row, document)
            self._note(row, takes_file)
            if takes_file:
                kept = {name: value for name, value in row.document.items() if name not in _FIRST}
                replaced.append(Replacement(row.key, kept, document))
        if self._apply:
            done = await self._rows.replace(replaced)
            self._counts["replaced"] -= len(replaced) - done  # those were written by others meanwhile
            self._counts["kept"] += len(replaced) - done
            added = await self._add(fresh)
            self._counts["added"] += added
            self._counts["kept"] += len(fresh) - added
        else:
            self._counts["added"] += len(fresh)

    def _takes_file(self, row: FoundRow, stored: types.Document) -> bool:
        if self._conflicts != "newest":
            return self._conflicts == "file"
        written = stored.get("updatedDate")
        return written is None or row.document["updatedDate"] > written

    def _note(self, row: FoundRow, takes_file: bool) -> None:
        self._counts["replaced" if takes_file else "kept"] += 1
        if len(self.conflicts) < _REPORTED:
            kept = "file" if takes_file else "store"
            self.conflicts.append(DumpConflict(row.path, self._spec.name, kept))  # type: ignore[arg-type]

    async def _add(self, rows: Sequence[FoundRow]) -> int:
        return await self._rows.add(await self._unused(rows))

    async def _unused(self, rows: Sequence[FoundRow]) -> list[types.Document]:
        """Return the documents of rows, with ids that no other document has."""
        used = await self._rows.used_ids([row.document["_id"] for row in rows if "_id" in row.document])
        documents = []
        for row in rows:
            document = {"_id": ObjectId(), **row.document}
            if id_bytes(document["_id"]) in used:
                document["_id"] = ObjectId()
            documents.append(document)
        return documents

    # Candles

    async def _bring_candles(self, series: SeriesStore, context: Key, rows: list[FoundRow]) -> None:
        step = types.INTERVAL_MS[dict(zip(self._spec.key, context, strict=False))["interval"]]
        closed = [row for row in rows if row.key[-1] + step <= types.now_ms()]
        self._counts["open"] += len(rows) - len(closed)
        stored = await self._rows.stored([row.key for row in closed])
        fresh = []
        for row in closed:
            document = stored.get(row.key)
            if document is None:
                fresh.append(row)
            elif is_same(row.document, document, PRICES):
                self._counts["same"] += 1
            else:
                self._note(row, False)
        if not self._apply:
            self._counts["added"] += len(fresh)
            return
        added = await series.restore(context, step, await self._unused(fresh))
        self._counts["added"] += added
        self._counts["kept"] += len(fresh) - added
