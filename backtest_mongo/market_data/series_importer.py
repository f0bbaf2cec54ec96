"""Importing files into series with columns."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_mongo import types
from backtest_mongo.adapters.shapes import ColumnSeriesAdapter
from backtest_mongo.columns.arrays import join_columns, sort_rows
from backtest_mongo.columns.sizes import explain_oversized, find_oversized, measure_rows
from backtest_mongo.core.candle_rules import check_spacing
from backtest_mongo.core.series_times import find_grid
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.core.suggestions import suggest
from backtest_mongo.errors import InputError, InputTypeError
from backtest_mongo.market_data.data_files import Source
from backtest_mongo.market_data.importing import BadLine, ImportProgress, ImportReport, import_sources
from backtest_mongo.market_data.series_chunks import SeriesChunk, SeriesOptions
from backtest_mongo.market_data.series_files import read_series

if TYPE_CHECKING:
    from backtest_mongo.columns.arrays import ColumnArrays

__all__ = ["SeriesImportReport", "check_series", "import_series"]

#: Bytes of rows that are written at once: the more, the fewer blocks are written twice.
_BYTES: Final = 48 << 20


@dataclass
class SeriesImportReport(ImportReport):
    """What became of every line of an import.

    Attributes:
        files: files that were read to their end.
        rows: rows in these files.
        new: rows that were stored. Where the last row of a key wins, those that replace others are among them.
        present: rows whose key was stored already or occurs more than once in the files. What is stored stays as it is,
            or, where the last row of a key wins, the last one of the files is stored.
        open: rows of a grid that were not stored because their interval has not ended.
        others: rows of other symbols, which were skipped.
        series: the contexts that were written to, each as the arguments of the adapter.
        refused: is empty.
        places: is empty.
        bad_lines: lines that are not rows.
        bad: the first bad lines, with the reason.
        unreadable: what was wrong with files that can't be read or understood.
    """

    series: list[dict[str, Any]] = field(default_factory=list)


def check_series(adapter: Any, call: str) -> None:
    """Check that an adapter is one of a series with columns.

    Raises:
        InputTypeError: it isn't.
    """
    kind = adapter if isinstance(adapter, type) else type(adapter)
    if not issubclass(kind, ColumnSeriesAdapter):
        raise InputTypeError(f"{call} takes the adapter of a series with columns, not {kind.__name__}")


async def import_series(
    adapter: type[ColumnSeriesAdapter],
    context: Mapping[str, Any],
    paths: Iterable[str | Path],
    *,
    options: SeriesOptions | None = None,
    progress: ImportProgress | None = None,
) -> SeriesImportReport:
    """Write the rows of files to their series.

    Reads text with commas, semicolons, tabs or bars between columns, Parquet and Feather; plain, gzipped, or in zip
    archives. Columns are found by the slot's names, and in files of tardis and of Binance by theirs; Binance's are read
    without a header, too. How numbers and times are written is decided once per file. A value or a time that the slot
    can't hold without losing digits makes its line a bad one. A file that can't be read is reported, and the others are
    imported.

    Rows are written in bounded memory, and at the end the series are sealed. An import may be repeated, which changes
    nothing that it has stored.

    Args:
        adapter: the adapter's class, such as :class:`~backtest_mongo.TradeAdapter` or one of your own.
        context: arguments of the adapter by name. Those that are missing are taken from the file's columns of that name
            (``exchange`` for ``exchange_name``). With a ``symbol``, only rows of this one are read.
        paths: files, zip archives, or directories of both.
        options: how to read what the files leave open.
        progress: receives the progress of the import.

    Returns:
        What became of every line; ``report.is_complete`` says whether all of them are stored or still open.

    Raises:
        InputError: an argument is wrong, a path does not exist, or a directory has no such files. Hints name the
            options of ``backtest-mongo series import``.
        InputTypeError: the adapter is not one of a series with columns.
        StoreUnavailableError: MongoDB can't be reached; a part may be stored.
        StoreError: MongoDB answers with an error; a part may be stored.
    """
    check_series(adapter, "import_series")
    spec = adapter.spec
    interval = _check_context(adapter, context)
    symbol = context.get("symbol")
    options = replace(options or SeriesOptions(), symbol=None if symbol is None else str(symbol))
    report = SeriesImportReport()
    store = _SeriesStore(adapter, context, report)
    try:
        await import_sources(
            paths,
            "row",
            "data",
            report,
            lambda source: read_series(spec, source, options, interval),
            lambda source: _FileWriter(source, store),
            progress,
        )
        await store.finish()
    finally:
        await store.abandon()
    return report


def _check_context(adapter: type[ColumnSeriesAdapter], context: Mapping[str, Any]) -> str | None:
    """Check the given arguments before a file is opened, and return the interval of the grid."""
    spec = adapter.spec
    for name in context:
        if name not in spec.context:
            raise InputError(f"{spec.name} has no {name!r}", slot=spec.name, hint=suggest(name, spec.context))
    if spec.grid == "interval" and "interval" not in context:
        raise InputError("the interval of the grid is missing", slot=spec.name, hint="--context interval=1h names it")
    missing = [name for name in spec.context if name not in context and name not in spec.optional]
    bound = adapter(**{**dict.fromkeys(missing, "any"), **context})
    grid = find_grid(spec, bound._context)
    return None if grid is None else grid.name


class _SeriesStore:
    """Writes rows of several series, many at a time, while the next ones are read."""

    def __init__(
        self, adapter: type[ColumnSeriesAdapter], context: Mapping[str, Any], report: SeriesImportReport
    ) -> None:
        self.spec: SlotSpec = adapter.spec
        self._adapter = adapter
        self._given = context
        self._report = report
        self._adapters: dict[tuple[tuple[str, str], ...], ColumnSeriesAdapter] = {}
        self._held: dict[ColumnSeriesAdapter, list[ColumnArrays]] = {}
        self._bytes = 0
        self._writing: asyncio.Task[None] | None = None

    def find_adapter(self, named: Mapping[str, str], where: str) -> ColumnSeriesAdapter:
        """Return the adapter of a chunk, whose context the file names where the caller does not."""
        own = tuple(sorted((name, value) for name, value in named.items() if name not in self._given))
        if own not in self._adapters:
            context = {**dict(own), **self._given}
            missing = [name for name in self.spec.context if name not in context and name not in self.spec.optional]
            if missing:
                hint = f"--context {missing[0]}=VALUE names it"
                raise InputError(f"{where}: names no {', '.join(missing)}", hint=hint)
            try:
                self._adapters[own] = self._adapter(**context)
            except InputError as error:
                raise InputError(f"{where}: {error}") from error
        return self._adapters[own]

    async def add(self, adapter: ColumnSeriesAdapter, rows: ColumnArrays) -> None:
        """Hold rows back until there are enough of them."""
        self._held.setdefault(adapter, []).append(rows)
        self._bytes += measure_rows(rows).count()
        if self._bytes >= _BYTES:
            await self._start_writing()

    async def _start_writing(self) -> None:
        await self._wait()
        held, self._held, self._bytes = self._held, {}, 0
        self._writing = asyncio.create_task(self._write(held))

    async def _write(self, held: Mapping[ColumnSeriesAdapter, list[ColumnArrays]]) -> None:
        for adapter, parts in held.items():
            rows = await asyncio.to_thread(self._join, parts)
            new = await adapter._rows().insert(adapter._context, rows)
            self._report.new += new
            self._report.present += sum(map(len, parts)) - new

    def _join(self, parts: list[ColumnArrays]) -> ColumnArrays:
        return sort_rows(join_columns(parts), keeps_first=self.spec.immutable)

    async def _wait(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            await writing

    async def finish(self) -> None:
        """Write what is held back, and seal all series."""
        await self._start_writing()
        await self._wait()
        for adapter in self._adapters.values():
            await adapter.seal()
        self._report.series = [dict(adapter.context) for adapter in self._adapters.values()]

    async def abandon(self) -> None:
        """Wait for what is being written, after an error."""
        if self._writing is not None:
            await asyncio.wait({self._writing})
            self._writing.exception()


class _FileWriter:
    """Writes the chunks of one file."""

    def __init__(self, source: Source, store: _SeriesStore) -> None:
        self._source = source
        self._store = store
        self.rows = 0

    def check(self) -> None:
        """Any file may hold any series."""

    async def write(self, chunk: SeriesChunk) -> None:
        if not len(chunk.rows):
            return
        adapter = self._store.find_adapter(chunk.context, self._source.name)
        rows = self._refuse_oversized(chunk, adapter._rows().row_bytes)
        if not len(rows):
            return
        grid = find_grid(self._store.spec, adapter._context)
        self.rows += len(rows)
        self._store._report.rows += len(rows)
        if grid is not None:
            if len(rows) > 1:
                check_spacing(np.sort(rows.time), grid.name, self._source.name, self._store.spec.name)
            still_open = grid.open_at(rows.time, types.now_ms())
            self._store._report.open += int(np.count_nonzero(still_open))
            rows = rows.take(~still_open) if still_open.any() else rows
        if len(rows):
            await self._store.add(adapter, rows)

    def _refuse_oversized(self, chunk: SeriesChunk, most: int) -> ColumnArrays:
        """Report the rows of a chunk that have more than so many bytes, and return the others."""
        oversized = find_oversized(chunk.rows, most)
        if not oversized:
            return chunk.rows
        bad = [BadLine(int(chunk.lines[at]), explain_oversized(size, most)) for at, size in oversized.items()]
        self._store._report._add_bad(replace(chunk, bad=bad, others=0), self._source.name)
        return chunk.rows.take(np.delete(np.arange(len(chunk.rows)), [*oversized]))
