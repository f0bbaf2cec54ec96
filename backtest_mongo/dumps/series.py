"""Series with columns in and out of SQLite files. Files of the Node package's layout have no place for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Final

from backtest_mongo.columns.store_protocol import ColumnStore
from backtest_mongo.connection.hub import Hub
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.wording import format_count
from backtest_mongo.dumps.database_reader import describe_row
from backtest_mongo.dumps.reports import Conflicts, DumpConflict, DumpProblem, SlotImport
from backtest_mongo.errors import StoreError
from backtest_mongo.series.columns.store import MongoColumns
from backtest_mongo.sqlite.columns import SQLiteColumns
from backtest_mongo.sqlite.database import Database

if TYPE_CHECKING:
    from backtest_mongo.columns.arrays import ColumnArrays

__all__ = ["SeriesExport", "SeriesImport", "explain_left_out"]

#: After all times.
_LATEST: Final = 2**63 - 1
#: How many conflicts of one slot are reported.
_MAX_REPORTED: Final = 1_000
_SHORTEN: Final = "store it in several rows, or leave it in the file"
_REPAIR: Final = "restore a backup, or delete this range with the adapter's delete() and write it again"


async def explain_left_out(hub: Hub, spec: SlotSpec) -> DumpProblem | None:
    """Return what an export to files leaves out of a slot; ``None`` if nothing is stored."""
    store = MongoColumns(hub, spec)
    store.skip_indexes()
    for measure in await store.measure({}, by_context=False):
        count = f"{format_count(measure.rows, 'row')} in {format_count(measure.contexts, 'series', 'series')}"
        problem = f"JSON files have no place for series with columns: {count}"
        hint = f"export to an SQLite file, or use `backtest-mongo series export {spec.name}`"
        return DumpProblem(spec.collection, spec.name, problem, hint)
    return None


class SeriesExport:
    """The export of one slot to an SQLite file."""

    def __init__(self, hub: Hub, spec: SlotSpec, database: Database) -> None:
        self._spec = spec
        self._source = MongoColumns(hub, spec)
        self._source.skip_indexes()
        self._target = SQLiteColumns(database, spec)
        self.written: int = 0
        self.problems: list[DumpProblem] = []

    async def run(self) -> AsyncIterator[int]:
        """Write all rows; after each part yield how many have been written so far."""
        async for context in self._source.list_contexts():
            target: Any = self._target
            async for count, error in self._source.copy_rows(context, _LATEST, target, context):
                self.written += count
                if error is not None:
                    self.problems.append(_make_problem(self._spec, context, error))
                yield self.written


class SeriesImport:
    """The import of one slot from an SQLite file.

    Args:
        spec: the slot.
        source: the file.
        target: where the rows go.
        apply: whether they are written.
        conflicts: which of two different rows with one key stays. When a row was written is not known, so ``newest``
            keeps what is stored; so does a slot whose first row wins.
        progress: is called with the slot's name and how many rows have been read.
    """

    def __init__(
        self,
        spec: SlotSpec,
        source: Database,
        target: ColumnStore,
        apply: bool,
        conflicts: Conflicts,
        progress: Callable[[str, int], None] | None,
    ) -> None:
        self._spec = spec
        self._source = SQLiteColumns(source, spec)
        self._target = target
        self._apply = apply
        self._takes_file = conflicts == "file" and not spec.immutable
        self._progress = progress
        self._counts: Counter[str] = Counter()
        self.conflicts: list[DumpConflict] = []
        self.problems: list[DumpProblem] = []
        self.others: list[str] = []

    @property
    def counted(self) -> SlotImport:
        return SlotImport(self._spec.name, **self._counts)

    async def run(self) -> None:
        async for context in self._source.list_contexts():
            receiver: Any = self  # which takes the rows in the place of a database
            async for _, error in self._source.copy_rows(context, _LATEST, receiver, context):
                if error is not None:
                    self._counts["files"] += 1
                    self._counts["refused"] += 1
                    self.problems.append(_make_problem(self._spec, context, error))
                if self._progress is not None:
                    self._progress(self._spec.name, self._counts["files"])

    async def insert(self, context: Key, rows: ColumnArrays) -> int:
        """Compare some rows of a series with those that are stored, and write what is to be written."""
        import numpy as np

        from backtest_mongo.columns.arrays import find_equal_rows

        self._counts["files"] += len(rows)
        rows = self._refuse_oversized(context, rows)
        if not len(rows):
            return 0
        stored = await self._target.read_rows(context, int(rows.time[0]), int(rows.time[-1]) + 1)
        is_stored = stored.contains(rows)
        known, theirs = rows.take(is_stored), stored.take(rows.contains(stored))
        differs = ~find_equal_rows(self._spec, known, theirs)
        fresh, count = ~is_stored, int(differs.sum())
        self._counts["same"] += len(known) - count
        self._counts["replaced" if self._takes_file else "kept"] += count
        for time in known.time[differs][: _MAX_REPORTED - len(self.conflicts)].tolist():
            shown = describe_row(self._spec, (*context, time))
            self.conflicts.append(DumpConflict(shown, self._spec.name, "file" if self._takes_file else "store"))
        added = int(fresh.sum())
        written = fresh.copy()
        if self._takes_file:
            written[np.flatnonzero(is_stored)[differs]] = True
        if self._apply and written.any():
            new = await self._target.insert(context, rows.take(written))
            if self._spec.immutable:  # others have written some meanwhile
                self._counts["kept"] += added - new
                added = new
        self._counts["added"] += added
        return len(rows)

    def _refuse_oversized(self, context: Key, rows: ColumnArrays) -> ColumnArrays:
        """Report the rows that are too large for the store, and return the others."""
        import numpy as np

        from backtest_mongo.columns.sizes import explain_oversized, find_oversized

        most = self._target.row_bytes
        oversized = find_oversized(rows, most)
        if not oversized:
            return rows
        self._counts["refused"] += len(oversized)
        for at, size in oversized.items():
            shown = describe_row(self._spec, (*context, int(rows.time[at])))
            problem = f"the row {explain_oversized(size, most)}"
            self.problems.append(DumpProblem(shown, self._spec.name, problem, _SHORTEN))
        return rows.take(np.delete(np.arange(len(rows)), [*oversized]))


def _make_problem(spec: SlotSpec, context: Key, error: StoreError) -> DumpProblem:
    return DumpProblem(describe_row(spec, context), spec.name, error.message, _REPAIR)
