"""Forks in SQLite: another file, which takes its place once it is complete."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

from backtest_mongo.columns.store_protocol import ColumnStore
from backtest_mongo.core.cancellation import shield
from backtest_mongo.core.config import MaskedDict
from backtest_mongo.core.fork_marks import ForkMark
from backtest_mongo.core.history import find_history
from backtest_mongo.core.interval_grid import GRIDS
from backtest_mongo.core.past_rows import FoundRow, LostRow, PastRow
from backtest_mongo.core.specs import FLAG, Key, SlotSpec
from backtest_mongo.errors import ConfigError, InputError, StoreError
from backtest_mongo.forks.backend import Copied, Writer
from backtest_mongo.sqlite.columns import SQLiteColumns
from backtest_mongo.sqlite.database import MEMORY, Connection, Database, get_database
from backtest_mongo.sqlite.driver_errors import DRIVER_ERRORS, raise_translated
from backtest_mongo.sqlite.file_format import read_format
from backtest_mongo.sqlite.fork_marker import write_fork
from backtest_mongo.sqlite.past_rows import PastRows
from backtest_mongo.sqlite.replacement import make_database
from backtest_mongo.sqlite.series import SQLiteSeries
from backtest_mongo.sqlite.whole_layout import count_rows, list_collections, list_filled
from backtest_mongo.sqlite.whole_series import WholeSeries
from backtest_mongo.types import now_ms

__all__ = ["SQLiteBackend", "find_path"]

#: How many tables an error names.
_NAMED: Final = 5
_ENDING: Final = ".db"
_BEFORE: Final = -(2**63)
_LOCK_SECONDS: Final = 15.0


def find_path(name: str | os.PathLike[str], source: str) -> str | os.PathLike[str]:
    """Return the path of a fork: a bare name is one beside the source.

    Args:
        name: a path, or a name without directory and suffix.
        source: the path of the source.
    """
    if not isinstance(name, str) or not name or name == MEMORY or os.path.basename(name) != name or Path(name).suffix:
        return name
    directory = "" if source == MEMORY else os.path.dirname(source)
    return os.path.join(directory, f"{name}{_ENDING}")


class SQLiteBackend:
    """A database file, and the one that is created.

    Args:
        database: the source.
        candles: the database that its candles are in.
        path: the absolute path of the file that is created.

    Raises:
        InputError: it is the source, has its candles, or is not a file.
    """

    def __init__(self, database: Database, candles: Database, path: str) -> None:
        self._database = database
        self._candles = candles
        self.source: str = database.path
        self.candles: str = candles.path
        self.target: str = path
        self.path: str | None = path
        if path == MEMORY:
            raise InputError(f"fork: a fork needs a file, not {MEMORY}", hint="name a file, such as what_if.db")
        for known, what in ((self.source, "the database itself"), (self.candles, "the file of its candles")):
            if path == known or (os.path.exists(path) and os.path.exists(known) and os.path.samefile(path, known)):
                raise InputError(f"fork: {path} is {what}", hint="name another file")

    async def close(self) -> None:
        return None

    def make_config(self, candles: str) -> dict[str, Any]:
        return MaskedDict({"CC_CANDLE_DATABASE": candles})

    # Reading

    async def open_reader(self, spec: SlotSpec) -> _SQLiteRowReader:
        return _SQLiteRowReader(PastRows(self._database, spec, is_kept=find_history(spec) is not None))

    def open_columns(self, spec: SlotSpec) -> ColumnStore:
        return cast("ColumnStore", SQLiteColumns(self._database, spec))

    async def list_others(self, specs: Sequence[SlotSpec]) -> list[tuple[str, int]]:
        known = {spec.collection for spec in specs}
        try:
            counts = await self._database.read_in_thread(_count_others, known)
        except DRIVER_ERRORS as error:
            raise_translated(error, "reading", self.source)
        return counts or []

    # The file that is created

    async def check(self, mark: ForkMark) -> None:
        await asyncio.to_thread(self._check)

    def _check(self) -> None:
        """Refuse a file with content. It is checked again when the fork takes its place."""
        if self.source != MEMORY and not os.path.exists(self.source):
            raise ConfigError(f"fork: there is no database at {self.source}", hint="name the file that has the rows")
        directory = os.path.dirname(self.target)
        if not os.path.isdir(directory):
            raise ConfigError(f"fork: there is no directory {directory}", hint="create it first")
        if not os.path.lexists(self.target):
            return
        if not os.path.isfile(self.target):
            raise ConfigError(f"fork: {self.target} is not a file", hint="name a file, such as what_if.db")
        try:
            with closing(
                sqlite3.connect(f"{Path(self.target).as_uri()}?mode=ro", uri=True, timeout=_LOCK_SECONDS)
            ) as connection:
                read_format(connection, self.target)
                filled = list_filled(connection)
        except sqlite3.Error as error:
            raise_translated(error, "opening", self.target)
        if filled:
            shown = ", ".join(filled[:_NAMED]) + (", ..." if len(filled) > _NAMED else "")
            raise InputError(
                f"fork: {self.target} is not empty: it holds {shown}",
                hint="name another file, or move this one away",
            )

    @asynccontextmanager
    async def open_writer(self, mark: ForkMark) -> AsyncIterator[Writer]:
        await self.check(mark)
        mode = 0o644 if self.source == MEMORY else os.stat(self.source).st_mode & 0o777
        with ExitStack() as stack:
            making = make_database(self.target, "replace empty", mode)
            temporary = await shield(asyncio.to_thread(stack.enter_context, making))
            database = get_database(temporary)
            try:
                await self._mark(database, mark)
                yield _SQLiteWriter(self._database, self._candles, database, mark)
                await self._mark(database, replace(mark, finished=now_ms()))
            finally:
                await shield(asyncio.to_thread(database.close))
            await shield(asyncio.to_thread(stack.close))

    async def _mark(self, database: Database, mark: ForkMark) -> None:
        def prepare() -> Callable[[Connection], None]:
            return lambda connection: write_fork(connection, mark)

        try:
            await database.write(prepare)
        except DRIVER_ERRORS as error:
            raise_translated(error, "writing", self.target)


class _SQLiteRowReader:
    def __init__(self, rows: PastRows) -> None:
        self._rows = rows

    async def read_pages(self, until: int) -> AsyncIterator[Sequence[FoundRow]]:
        after = _BEFORE
        while (page := await self._rows.read_past(after, until)) is not None:
            found, after = page
            yield found

    async def find(self, keys: Sequence[Key], until: int) -> Sequence[FoundRow]:
        return await self._rows.find_past(keys, until)


class _SQLiteWriter:
    def __init__(self, source: Database, candles: Database, target: Database, mark: ForkMark) -> None:
        self._source = source
        self._candles = candles
        self._target = target
        self._as_backtest = mark.as_backtest

    async def write(self, spec: SlotSpec, rows: Sequence[PastRow]) -> None:
        if self._as_backtest and FLAG in spec.key:
            rows = [self._change(spec, row) for row in rows]
        await PastRows(self._target, spec, is_kept=False).write_past(rows)

    def _change(self, spec: SlotSpec, row: PastRow) -> PastRow:
        key = tuple(True if name == FLAG else value for name, value in zip(spec.key, row.key, strict=True))
        return row._replace(key=key, stored=row.stored._replace(key=key))

    def copy_series(
        self, spec: SlotSpec, context: Key, copied: Key, end: int
    ) -> AsyncIterator[tuple[int, StoreError | None]]:
        return SQLiteColumns(self._source, spec).copy_rows(context, end, SQLiteColumns(self._target, spec), copied)

    async def copy_candles(self, spec: SlotSpec) -> AsyncIterator[Copied]:
        source, target = WholeSeries(self._candles, spec), SQLiteSeries(self._target, spec)
        async for context in source.list_contexts():
            fields = dict(zip(spec.key, context, strict=False))
            if fields["interval"] not in GRIDS:
                yield Copied(lost=(LostRow(fields, "its interval is unknown"),))
                continue
            after = _BEFORE
            while blocks := await source.read_page(context, after):
                after = blocks[-1].start
                copied, lost = 0, []
                for block in blocks:
                    if isinstance(block.candles, str):
                        lost.append(LostRow({**fields, "start": block.start}, block.candles))
                    else:
                        copied += await target.insert_arrays(context, GRIDS[fields["interval"]], block.candles)
                yield Copied(copied, lost)


def _count_others(connection: Connection, known: set[str]) -> list[tuple[str, int]]:
    counts = [(name, count_rows(connection, name)) for name in list_collections(connection) if name not in known]
    return [one for one in counts if one[1]]
