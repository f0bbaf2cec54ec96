"""Reading an SQLite file of this library for an import: its rows as documents, its candles as columns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import bson

from backtest_mongo.core.candle_rules import find_impossible_rows
from backtest_mongo.core.interval_grid import GRIDS
from backtest_mongo.core.payload import CODEC, MAX_DOCUMENT_BYTES, check_payload
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.wording import format_count
from backtest_mongo.dumps.database_rows import make_document
from backtest_mongo.dumps.reader import ID_BYTES, DumpRow
from backtest_mongo.dumps.reports import DumpProblem
from backtest_mongo.errors import ConfigError, InputError
from backtest_mongo.sqlite.database import Connection, Database
from backtest_mongo.sqlite.driver_errors import DRIVER_ERRORS, raise_translated
from backtest_mongo.sqlite.series import SQLiteSeries
from backtest_mongo.sqlite.whole_layout import list_collections
from backtest_mongo.sqlite.whole_rows import DamagedRow, WholeRow, WholeRows
from backtest_mongo.sqlite.whole_series import WholeSeries
from backtest_mongo.types import INTERVALS, PRICES

if TYPE_CHECKING:
    from backtest_mongo.core.arrays import CandleArrays

__all__ = ["CandlePage", "DatabaseReader", "describe_row", "open_source"]

_REPAIR: Final = "repair or delete it with the sqlite3 shell"


class CandlePage(NamedTuple):
    """Candles of one series, by time.

    Attributes:
        context: the series.
        candles: those that can be stored, by time.
        refused: how many can't be, or are in blocks that can't be read.
        problems: why.
    """

    context: Key
    candles: CandleArrays
    refused: int
    problems: Sequence[DumpProblem]


async def open_source(database: Database, known: Sequence[SlotSpec]) -> list[str]:
    """Check that a file is a database of this library, and return the tables in it of slots that are not known.

    Raises:
        ConfigError: it is not, or a newer version of this library has written it.
        StoreError: it is damaged, or can't be read.
        StoreUnavailableError: another process held the lock until the deadline.
    """
    try:
        found = await database.read_in_thread(_list)
    except DRIVER_ERRORS as error:
        raise_translated(error, "reading", database.path)
    if found is None:
        raise ConfigError(
            f"{database.path} is not a database of backtest-mongo: it is empty",
            hint="name the file that persist.use_sqlite() names, or a dump of files",
        )
    collections = {spec.collection for spec in known}
    return [name for name in found if name not in collections]


def _list(connection: Connection) -> list[str]:
    return list_collections(connection)


class DatabaseReader:
    """Reads the rows of one slot."""

    #: Whether no two rows have one key.
    has_distinct_keys: Final = True

    def __init__(self, database: Database, spec: SlotSpec) -> None:
        self._spec = spec
        self._rows = WholeRows(database, spec) if not spec.is_candles else None
        self._series = WholeSeries(database, spec) if spec.is_candles else None
        self._database = database
        #: What is wrong besides the rows, and what is not a row; a database has neither.
        self.problems: list[DumpProblem] = []
        self.others: list[str] = []

    async def read_pages(self) -> AsyncIterator[list[DumpRow | DumpProblem]]:
        """Yield the rows in the order of their creation, a page at a time."""
        assert self._rows is not None
        last = -(2**63)
        while (page := await self._rows.read_page(last)) is not None:
            rows, last = page
            yield await asyncio.to_thread(self._make_rows, rows)

    def _make_rows(self, rows: Sequence[tuple[WholeRow, Any] | DamagedRow]) -> list[DumpRow | DumpProblem]:
        return [self._make_row(row) for row in rows]

    def _make_row(self, row: tuple[WholeRow, Any] | DamagedRow) -> DumpRow | DumpProblem:
        spec = self._spec
        if isinstance(row, DamagedRow):
            return self._problem(describe_row(spec, row.key), row.problem)
        stored, payload = row
        shown = describe_row(spec, stored.key)
        try:
            check_payload(payload, spec.field, spec.name)
        except InputError as error:
            return self._problem(shown, error.message)
        if spec.payload == "list" and not isinstance(payload, list):
            return self._problem(shown, "it holds no list")
        document = make_document(spec, stored, payload)
        size = len(bson.encode(document, codec_options=CODEC)) + ID_BYTES
        if size > MAX_DOCUMENT_BYTES:
            problem = f"the document would be {size:,} bytes, and MongoDB holds {MAX_DOCUMENT_BYTES:,} at most"
            return DumpProblem(shown, spec.name, problem, "split or delete the row")
        return DumpRow(shown, stored.key, document, False, size)

    async def read_candles(self) -> AsyncIterator[CandlePage]:
        """Yield the candles of all series, each by time, a page at a time."""
        from backtest_mongo.core.arrays import CandleArrays, join_arrays

        assert self._series is not None
        async for context in self._series.list_contexts():
            after, shown = -(2**63), describe_row(self._spec, context)
            problem = self._explain_context(context)
            if problem is not None:
                rows = (await SQLiteSeries(self._database, self._spec).coverage(context, GRIDS["1m"])).rows
                yield CandlePage(context, CandleArrays.empty(0), rows, [self._problem(shown, problem)])
                continue
            while blocks := await self._series.read_page(context, after):
                after = blocks[-1].start
                sound = [block.candles for block in blocks if not isinstance(block.candles, str)]
                problems = [
                    self._problem(f"{shown}, block {block.start}", block.candles)
                    for block in blocks
                    if isinstance(block.candles, str)
                ]
                candles = join_arrays(sound) if sound else CandleArrays.empty(0)
                possible, impossible = self._split(shown, candles)
                refused = len(problems) + len(candles) - len(possible)
                yield CandlePage(context, possible, refused, [*problems, *impossible])

    def _explain_context(self, context: Key) -> str | None:
        """Return why nothing of a series can be stored, or ``None``."""
        fields = dict(zip(self._spec.key, context, strict=False))
        try:
            for name, value in fields.items():
                self._spec.check_key(name, value)
        except InputError as error:
            return error.message
        return None if fields["interval"] in INTERVALS else "its interval is unknown"

    def _split(self, shown: str, candles: CandleArrays) -> tuple[CandleArrays, list[DumpProblem]]:
        """Return the candles that can be stored, and why the others can't."""
        import numpy as np

        columns = dict(zip(PRICES, candles.prices, strict=True))
        impossible = find_impossible_rows({"timestamp": candles.timestamp, **columns})
        if not impossible:
            return candles, []
        left = np.ones(len(candles), bool)
        problems = []
        for reason, rows in impossible.items():
            left[rows] = False
            which = f"{shown}, {int(candles.timestamp[rows[0]])}"
            more = f" (and {format_count(len(rows) - 1, 'more candle')} after it)" if len(rows) > 1 else ""
            problems.append(self._problem(which, f"it can't be a candle: {reason}{more}"))
        return candles.take(left), problems

    def _problem(self, path: str, problem: str) -> DumpProblem:
        return DumpProblem(path, self._spec.name, problem, _REPAIR)


def describe_row(spec: SlotSpec, key: Key) -> str:
    """Return which row of a database has a key, for people."""
    return f"{spec.collection}: {', '.join(map(str, key))}" if key else spec.collection
