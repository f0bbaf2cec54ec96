"""Importing candle files into candle series."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Final, NamedTuple

import numpy as np

from backtest_mongo.adapters import CandleAdapter
from backtest_mongo.core.candle_headers import plain_symbol
from backtest_mongo.core.candle_rules import explain_spacing
from backtest_mongo.core.frame_input import NOT_CLOSED
from backtest_mongo.core.interval_grid import GRIDS
from backtest_mongo.core.wording import format_count
from backtest_mongo.errors import InputError
from backtest_mongo.market_data.candle_chunks import Chunk, ReadOptions
from backtest_mongo.market_data.candle_files import read_candles
from backtest_mongo.market_data.data_files import Source
from backtest_mongo.market_data.importing import ImportProgress, ImportReport, import_sources
from backtest_mongo.market_data.time_formats import Millis, find_usual_distance, is_interval
from backtest_mongo.types import INTERVALS, Interval, WriteReport

__all__ = ["CandleImportReport", "import_candles"]

#: Rows from which on the distance between a file's candles is checked.
_SPACING_ROWS: Final = 3
_DAY: Final = 86_400_000


@dataclass
class CandleImportReport(ImportReport):
    """What became of every line of an import.

    Attributes:
        files: files that were read to their end.
        rows: candles in these files.
        new: candles that were stored.
        present: candles that were stored already, and stay as they are.
        off_grid: stored candles that aren't on the grid of their file's first candle.
        open: candles that were not stored because their interval has not ended.
        others: rows of other symbols, which were skipped.
        series: the symbols that were written to.
        refused: refused candles, counted by reason.
        places: the first places of each reason, as ``file:line``.
        bad_lines: lines that are not candles.
        bad: the first bad lines, with the reason.
        unreadable: what was wrong with files that can't be read or understood.
    """

    off_grid: int = 0
    series: set[str] = field(default_factory=set)

    def _add(self, chunk: Chunk, report: WriteReport, name: str) -> None:
        self._add_counts(len(chunk.lines), report.new, report.present)
        for reason, rows in report.refused.items():
            if reason == NOT_CLOSED:
                self._add_counts(still_open=len(rows))
            else:
                self._add_refused(reason, chunk.lines[rows].tolist(), name)


async def import_candles(
    symbol: str | None,
    interval: Interval,
    exchange_name: str,
    paths: Iterable[str | Path],
    *,
    options: ReadOptions | None = None,
    check_spacing: bool = True,
    check_names: bool = True,
    progress: ImportProgress | None = None,
) -> CandleImportReport:
    """Write the candles of files to their series.

    Reads text with commas, semicolons, tabs or bars between columns, Parquet and Feather; plain, gzipped, or in zip
    archives. A directory's candle files are read in the order of their names. How numbers and times are written is
    decided once per file, and a file that can be understood in two ways is refused. A file that can't be read is
    reported, and the others are imported.

    Candles that are stored already stay as they are, so an import that was interrupted continues when it is run again.
    Candles are written and sealed chunk by chunk, in bounded memory.

    Args:
        symbol: the symbol that the candles are stored under. If a file names symbols, only rows of this one are read;
            with ``None`` rows of all symbols are read, and each is stored under its own.
        interval: the interval of the candles, such as ``1m``.
        exchange_name: the exchange that the candles are stored under.
        paths: candle files, zip archives, or directories of both.
        options: how to read what the files leave open. Its ``interval`` and ``symbol`` are ignored.
        check_spacing: refuse files whose candles are not one interval apart.
        check_names: refuse files whose names contain another symbol or interval.
        progress: receives the progress of the import.

    Returns:
        What became of every line; ``report.is_complete`` says whether all of them are candles that are stored or still
        open.

    Raises:
        InputError: an argument is wrong, a path does not exist, or a directory has no candle files. Hints name the
            options of ``backtest-mongo candles import``.
        StoreUnavailableError: MongoDB can't be reached.
        StoreError: MongoDB answers with an error.
    """
    return await import_into(
        CandleAdapter,
        symbol,
        interval,
        exchange_name,
        paths,
        options=options,
        check_spacing=check_spacing,
        check_names=check_names,
        progress=progress,
    )


async def import_into(
    make: type[CandleAdapter],
    symbol: str | None,
    interval: Interval,
    exchange_name: str,
    paths: Iterable[str | Path],
    *,
    options: ReadOptions | None = None,
    check_spacing: bool = True,
    check_names: bool = True,
    progress: ImportProgress | None = None,
) -> CandleImportReport:
    """Write the candles of files as :func:`import_candles` does, but to where the adapters of a class store."""
    options = replace(options or ReadOptions(), interval=interval, symbol=symbol)
    # Whatever the symbol is, a wrong interval or exchange is refused before a file is opened.
    make("any" if symbol is None else symbol, interval, exchange_name)
    report = CandleImportReport()
    adapters: dict[str, CandleAdapter] = {}

    def open_writer(source: Source) -> _FileWriter:
        return _FileWriter(source, make, symbol, interval, exchange_name, check_spacing, check_names, adapters, report)

    await import_sources(
        paths, "candle", "candle", report, lambda source: read_candles(source, options), open_writer, progress
    )
    # Writes leave the last block of a series open, as more of it might have come.
    for adapter in adapters.values():
        await adapter.seal()
    return report


class _FileWriter:
    """Writes the chunks of one file."""

    def __init__(
        self,
        source: Source,
        make: type[CandleAdapter],
        symbol: str | None,
        interval: Interval,
        exchange_name: str,
        check_spacing: bool,
        check_names: bool,
        adapters: dict[str, CandleAdapter],
        report: CandleImportReport,
    ) -> None:
        self._source = source
        self._make = make
        self._symbol = symbol
        self._interval = interval
        self._exchange_name = exchange_name
        self._check_spacing = check_spacing
        self._check_names = check_names
        self._adapters = adapters
        self._report = report
        #: The grid offset of each symbol's first candle.
        self._offsets: dict[str | None, int] = {}
        self.rows = 0

    def check(self) -> None:
        if self._check_names:
            _check_name(self._source, self._symbol, self._interval)

    async def write(self, chunk: Chunk) -> None:
        times: Millis = chunk.columns["timestamp"]
        if not len(times):
            return
        offsets = _find_grid_offsets(times, self._interval)
        if chunk.symbol not in self._offsets:
            if self._check_spacing:
                _check_spacing(times, self._interval, self._source.name)
            self._offsets[chunk.symbol] = int(offsets[0])
        _check_density(chunk, self._interval, self._source.name, self.rows)
        adapter = self._find_adapter(chunk.symbol)
        self._report.series.add(str(adapter.context["symbol"]))
        self._report.off_grid += int(np.count_nonzero(offsets != self._offsets[chunk.symbol]))
        self.rows += len(times)
        self._report._add(chunk, await adapter.write_frame(chunk.columns), self._source.name)

    def _find_adapter(self, named: str | None) -> CandleAdapter:
        symbol = named if self._symbol is None else self._symbol
        if symbol is None:
            raise InputError(f"{self._source.name}: names no symbol", hint="--symbol names it")
        if symbol not in self._adapters:
            try:
                self._adapters[symbol] = self._make(symbol, self._interval, self._exchange_name)
            except InputError as error:
                raise InputError(f"{self._source.name}: {error}") from error
        return self._adapters[symbol]


def _find_grid_offsets(times: Millis, interval: str) -> Millis:
    """Return how far each time is from its place of the grid; the last day of a month belongs to the next month."""
    grid = GRIDS[interval]
    places, _ = grid.locate_all(times + _DAY)
    return times - grid.times_of(places)


def _check_density(chunk: Chunk, interval: str, name: str, stored: int) -> None:
    """Refuse times that are too close together for candles of an interval; no option overrides this."""
    problem = explain_spacing(chunk.columns["timestamp"], interval)
    if problem is not None:
        before = f"; stored before line {chunk.lines[0]}: {format_count(stored, 'candle')}" if stored else ""
        raise InputError(
            f"{name}: its candles can't be of {interval}: {problem}{before}",
            hint="--interval names their interval, --time-unit what numeric times count",
        )


def _check_spacing(times: Millis, interval: str, name: str) -> None:
    """Refuse a file of another interval: what it would store can't be overwritten."""
    distinct = np.unique(times)
    usual = find_usual_distance(distinct)
    if len(times) < _SPACING_ROWS or usual is None or is_interval(usual, interval):
        return
    other = next((one for one in INTERVALS if is_interval(usual, one)), None)
    raise InputError(
        f"{name}: its candles are {other or f'{usual / 1000:,g} s'} apart, not {interval}",
        hint=f"--any-spacing if they are candles of {interval} all the same",
    )


_LENGTH: Final = r"(?P<count>\d{1,3})?(?P<unit>s|m|h|d|w|M|S|H|D|W|min|minute|hour|day|daily|week|mo|month)"
#: Only a name made of a symbol and an interval identifies a series; a word alone can mean anything.
_NAMES: Final = (
    # Binance: BTCUSDT-1m-2024-01.zip; freqtrade: BTC_USDT-5m.feather, BTC_USDT_USDT-1h-futures.feather
    re.compile(rf"(?P<symbol>[A-Z0-9]+(_[A-Z0-9]+)*)-{_LENGTH}(-\d{{4}}-\d{{2}}(-\d{{2}})?|-futures|-mark|-spot)?"),
    # CryptoDataDownload: Binance_BTCUSDT_1h.csv, Bitstamp_BTCUSD_minute.csv
    re.compile(rf"[A-Z][A-Za-z]+_(?P<symbol>[A-Z0-9]{{5,}})_(\d{{4}}_)?{_LENGTH}"),
    # HistData: DAT_ASCII_EURUSD_M1_2023.csv; MetaTrader: EURUSD_M1_202001020000_202012312359.csv
    re.compile(r"(DAT_[A-Z]+_)?(?P<symbol>[A-Z0-9.]{3,})_(?P<mt>M1|M5|M15|M30|H1|H4|D1|W1|MN1?)(_\d+)*"),
    # Dukascopy: EURUSD_Candlestick_1_h_BID_01.01.2024-31.01.2024.csv
    re.compile(r"(?P<symbol>[A-Z0-9.]{3,})_Candlestick_(?P<count>\d+)_(?P<unit>[smhDWM])_.*"),
)
_UNITS: Final = {"min": "m", "minute": "m", "hour": "h", "day": "d", "daily": "d", "week": "w", "mo": "M", "month": "M"}
_METATRADER: Final = re.compile(r"(M|H|D|W|MN)(\d*)")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "M": 2_592_000}


class _NamedSeries(NamedTuple):
    symbol: str
    #: In seconds, a month as 30 days.
    length: int


def _check_name(source: Source, symbol: str | None, interval: str) -> None:
    """Refuse a file whose name, or whose archive's name, names another series than the import's."""
    for name in (*reversed(source.members), source.path.name):
        named = list(_parse_file_name(PurePath(name).name))
        if not named:
            continue
        if symbol is not None and all(plain_symbol(one.symbol) != plain_symbol(symbol) for one in named):
            raise InputError(f"{source.name}: its name says {named[0].symbol}, not {symbol}", hint="--force stores it")
        asked = _find_seconds(interval)
        if asked is not None and all(one.length != asked for one in named):
            raise InputError(
                f"{source.name}: its name says another interval than {interval}", hint="--force stores them"
            )
        return


def _parse_file_name(name: str) -> Iterator[_NamedSeries]:
    stem = name.split(".zip")[0].split(".gz")[0]
    stem = re.sub(r"\.(csv|tsv|txt|parquet|pq|feather|arrow|ipc)$", "", stem, flags=re.IGNORECASE)
    for pattern in _NAMES:
        found = pattern.fullmatch(stem)
        if found:
            groups = found.groupdict()
            if groups.get("mt"):
                kind, count = _METATRADER.fullmatch(groups["mt"]).groups()  # type: ignore[union-attr]  # the pattern has only these
                unit = {"M": "m", "MN": "M"}.get(kind, kind.lower())
            else:
                unit, count = groups["unit"], groups["count"]
                unit = _UNITS.get(unit, unit if unit in ("m", "M") else unit.lower())
            yield _NamedSeries(groups["symbol"], int(count or 1) * _SECONDS[unit])


def _find_seconds(interval: str) -> int | None:
    found = re.fullmatch(r"(\d+)([smhdwM])", interval)
    return None if found is None else int(found.group(1)) * _SECONDS[found.group(2)]
