"""Exporting MongoDB to an SQLite file, which takes its place once it is complete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import TypeAlias

import bson

from backtest_mongo.connection.hub import Hub
from backtest_mongo.core.cancellation import shield
from backtest_mongo.core.candle_rules import END, START
from backtest_mongo.core.interval_grid import GRIDS, IntervalGrid
from backtest_mongo.core.payload import CODEC
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.dumps.database_reader import describe_row
from backtest_mongo.dumps.database_rows import DatabaseDocuments, make_row
from backtest_mongo.dumps.documents import IncompleteDocumentError, WholeDocuments, explain_incomplete, find_key
from backtest_mongo.dumps.reports import DumpProblem, ExportReport, SlotExport
from backtest_mongo.dumps.series import SeriesExport
from backtest_mongo.errors import ConfigError
from backtest_mongo.sqlite.database import MEMORY, Database, get_database
from backtest_mongo.sqlite.driver_errors import DRIVER_ERRORS, raise_translated
from backtest_mongo.sqlite.replacement import make_database
from backtest_mongo.sqlite.whole_rows import WholeRow, WholeRows
from backtest_mongo.types import INTERVALS, PRICES, Document

__all__ = ["export_to_database"]

Progress: TypeAlias = Callable[[str, int], None]


async def export_to_database(hub: Hub, path: str, specs: Sequence[SlotSpec], progress: Progress | None) -> ExportReport:
    """Export slots to the database at an absolute path: see :func:`~backtest_mongo.export_dump`."""
    if path == MEMORY:
        raise ConfigError(f"an export needs a file, not {MEMORY}", hint="name a file, such as backtest.db")
    counted, problems = [], []
    with ExitStack() as stack:
        temporary = await shield(asyncio.to_thread(stack.enter_context, make_database(path, "replace empty")))
        database = get_database(temporary)
        try:
            await _begin(database)
            for spec in specs:
                kind = SeriesExport if spec.columns else _SeriesExport if spec.is_candles else _RowExport
                one = kind(hub, spec, database)
                async for rows in one.run():
                    if progress is not None:
                        progress(spec.name, rows)
                if one.written:
                    counted.append(SlotExport(spec.name, one.written))
                problems += one.problems
        finally:
            await shield(asyncio.to_thread(database.close))
        await shield(asyncio.to_thread(stack.close))
    return ExportReport(path, tuple(counted), tuple(problems))


async def _begin(database: Database) -> None:
    """Make a database without rows, which is what there is to export if MongoDB is empty."""
    try:
        await database.write(lambda: lambda connection: None)
    except DRIVER_ERRORS as error:
        raise_translated(error, "exporting", database.path)


class _Export:
    """The export of one slot."""

    def __init__(self, hub: Hub, spec: SlotSpec, database: Database) -> None:
        self._spec = spec
        self._documents = WholeDocuments(hub, spec)
        self._database = database
        self.written = 0
        self.problems: list[DumpProblem] = []

    def _refuse(self, key: Key, problem: str, hint: str) -> None:
        self.problems.append(DumpProblem(describe_row(self._spec, key), self._spec.name, problem, hint))

    def _decode(self, raw: bytes) -> tuple[Key, Document] | None:
        """Return the key and the fields of a document, or ``None`` if it can't be a row of its slot."""
        document = bson.decode(raw, CODEC)
        try:
            return find_key(self._spec, document), document
        except IncompleteDocumentError as error:
            self.problems.append(explain_incomplete(self._spec, document, error))
            return None


class _RowExport(_Export):
    """The export of a slot that is no series."""

    async def run(self) -> AsyncIterator[int]:
        """Write all rows; after each page yield how many have been written so far."""
        rows = WholeRows(self._database, self._spec)
        async for page in self._documents.read_pages():
            made = await asyncio.to_thread(self._make_rows, [bytes(row.raw) for row in page])
            taken = await rows.insert_new(made)
            for at in taken:
                self._refuse(made[at].key, "another document has the same key", "remove one of the two")
            self.written += len(made) - len(taken)
            yield self.written
        if self._spec.newest is not None and self.written:
            await rows.order_by_creation()

    def _make_rows(self, page: Iterable[bytes]) -> list[WholeRow]:
        found = (self._decode(raw) for raw in page)
        return [make_row(self._spec, document, key) for key, document in filter(None, found)]


class _SeriesExport(_Export):
    """The export of a series."""

    async def run(self) -> AsyncIterator[int]:
        """Write all candles; after each piece yield how many have been written so far.

        They are read as columns, which takes a tenth of the time. If there are documents that are no candles, all
        are read again one by one.
        """
        stored = DatabaseDocuments(self._database, self._spec)
        is_complete, count = True, await self._documents.count()
        for context in await self._documents.list_contexts():
            if self._explain(context, 0) is not None:
                continue
            interval = self._find_interval(context)
            try:
                async for candles in self._documents.read_candles(context, START, END):
                    self.written += await stored.insert_candles(context, interval, candles)
                    yield self.written
            except IncompleteDocumentError:
                is_complete = False
        if not is_complete or self.written < count:
            async for page in self._documents.read_pages():
                rows = await asyncio.to_thread(self._make_candles, [bytes(row.raw) for row in page])
                for context, documents in rows.items():
                    self.written += await stored.restore_candles(context, self._find_interval(context), documents)
                yield self.written

    def _make_candles(self, page: Iterable[bytes]) -> dict[Key, list[Document]]:
        found: dict[Key, list[Document]] = {}
        for key, document in filter(None, (self._decode(raw) for raw in page)):
            problem = self._explain(key[:-1], key[-1])
            if problem is None and not all(type(document[name]) in (int, float) for name in PRICES):
                problem = f"one of {', '.join(PRICES)} is no number"
            if problem is None:
                found.setdefault(key[:-1], []).append(document)
            else:
                self._refuse(key, problem, "repair or remove the document")
        return found

    def _explain(self, context: Key, time: int) -> str | None:
        """Return why a document can't be a candle, or ``None``."""
        interval = dict(zip(self._spec.key, context, strict=False))["interval"]
        if not all(isinstance(value, str) for value in context) or interval not in INTERVALS:
            return "its interval is unknown"
        return None if START <= time < END else "its time is outside of the years 1 to 9999"

    def _find_interval(self, context: Key) -> IntervalGrid:
        return GRIDS[dict(zip(self._spec.key, context, strict=False))["interval"]]
