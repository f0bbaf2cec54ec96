"""The rows of a slot in an SQLite file as whole documents, as MongoDB has them: an import compares and writes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from bson import DatetimeMS

from backtest_mongo.core.extended_json import to_json
from backtest_mongo.core.interval_grid import GRIDS, IntervalGrid
from backtest_mongo.core.simulation_time import time_of
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.dumps.documents import Replacement, get_millis
from backtest_mongo.errors import StoreError
from backtest_mongo.mongo.updates import ORIGIN, read_origin
from backtest_mongo.sqlite.database import Database
from backtest_mongo.sqlite.series import SQLiteSeries
from backtest_mongo.sqlite.whole_rows import DamagedRow, RowReplacement, WholeRow, WholeRows
from backtest_mongo.types import PRICES, Document

if TYPE_CHECKING:
    from backtest_mongo.core.arrays import CandleArrays

__all__ = ["DatabaseDocuments", "make_document", "make_row"]

#: The simulation time of a row without one, which every reader sees.
_ALWAYS: Final = -(2**63)


class _StoredDocument(dict[str, Any]):
    """A document, and the row that it was made from."""

    row: WholeRow


class DatabaseDocuments:
    """The documents of one slot."""

    def __init__(self, database: Database, spec: SlotSpec) -> None:
        self._spec = spec
        self._path = database.path
        self._series = SQLiteSeries(database, spec) if spec.is_candles else None
        self._rows = WholeRows(database, spec) if not spec.is_candles else None

    async def find_by_key(self, keys: Sequence[Key]) -> dict[Key, Document]:
        """Return the stored documents of these keys.

        Raises:
            StoreError: a row can't be decoded.
        """
        if self._series is not None:
            return await self._find_candles(keys)
        assert self._rows is not None
        found: dict[Key, Document] = {}
        for key, row in (await self._rows.find_by_key(keys)).items():
            if isinstance(row, DamagedRow):
                raise StoreError(
                    f"reading failed: a stored row can't be decoded: {row.problem}: {self._path}",
                    slot=self._spec.name,
                    collection=self._spec.collection,
                    key=dict(zip(self._spec.key, key, strict=True)),
                    hint="repair or delete it with the sqlite3 shell",
                )
            document = _StoredDocument(make_document(self._spec, *row))
            document.row = row[0]
            found[key] = document
        return found

    async def insert_new(self, documents: Sequence[Document]) -> int:
        """Insert the documents whose keys are free, in their order, and return how many were inserted."""
        assert self._rows is not None
        rows = [make_row(self._spec, document) for document in documents]
        return len(rows) - len(await self._rows.insert_new(rows))

    async def replace_unchanged(self, rows: Sequence[Replacement]) -> int:
        """Replace the rows that have not changed since they were read, and return how many were replaced."""
        assert self._rows is not None
        replacements = []
        for row in rows:
            assert isinstance(row.seen, _StoredDocument)
            replacements.append(RowReplacement(make_row(self._spec, row.document), row.seen.row))
        return await self._rows.replace_unchanged(replacements)

    # Candles

    async def _find_candles(self, keys: Sequence[Key]) -> dict[Key, Document]:
        found: dict[Key, Document] = {}
        for context in dict.fromkeys(key[:-1] for key in keys):
            wanted = {key[-1] for key in keys if key[:-1] == context}
            async for candles in self.read_candles(context, min(wanted), max(wanted) + 1):
                found |= {
                    (*context, row["timestamp"]): dict(row) for row in candles.candles() if row["timestamp"] in wanted
                }
        return found

    async def restore_candles(self, context: Key, interval: IntervalGrid, documents: Sequence[Document]) -> int:
        """Insert the candles of documents whose times are free, and return how many were inserted."""
        assert self._series is not None
        rows = {int(row["timestamp"]): {name: row[name] for name in PRICES} for row in documents}
        return await self._series.insert_new(context, interval, rows)

    async def insert_candles(self, context: Key, interval: IntervalGrid, candles: CandleArrays) -> int:
        """Insert the candles whose times are free, and return how many were inserted."""
        assert self._series is not None
        return await self._series.insert_arrays(context, interval, candles)

    async def read_candles(self, context: Key, first: int, end: int) -> AsyncIterator[CandleArrays]:
        """Yield the candles of a half-open range of times, by time."""
        assert self._series is not None
        interval = GRIDS[dict(zip(self._spec.key, context, strict=False))["interval"]]
        yield await self._series.read(context, interval, first, end)


def make_document(spec: SlotSpec, row: WholeRow, payload: Any) -> Document:
    """Return a row as MongoDB has it."""
    document: Document = {**dict(zip(spec.key, row.key, strict=True)), spec.field: payload}
    if spec.when:
        document["when"] = row.when
    if spec.soft_delete:
        document["removed"] = row.removed
    dates = {"createDate": DatetimeMS(row.created), "updatedDate": DatetimeMS(row.written)}
    if row.run is not None:
        document[ORIGIN] = {"run": row.run, "written": dates["updatedDate"]}
    return {**document, **dates, "__v": 0}


def make_row(spec: SlotSpec, document: Document, key: Key | None = None) -> WholeRow:
    """Return the row of a document, whoever wrote it.

    A date that is missing is the other one; a row without any was created at the beginning, which is MongoDB's order.
    """
    key = tuple(document[name] for name in spec.key) if key is None else key
    created, written = get_millis(document.get("createDate")), get_millis(document.get("updatedDate"))
    if created is None:
        created = written or 0
    when = time_of(spec, document) if spec.when else 0
    return WholeRow(
        key=key,
        text=to_json(document[spec.field]),
        when=_ALWAYS if when is None else when,
        removed=document.get("removed") is True,
        created=created,
        written=created if written is None else written,
        run=_get_run(document),
    )


def _get_run(document: Document) -> str | None:
    run = (read_origin(document) or {}).get("run")
    return run if isinstance(run, str) else None
