"""The commands of ``backtest-mongo candles``: their options and exit statuses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, cast

import typer

from backtest_mongo.cli.arguments import CONTEXT_HELP, add_command, check_choice, complete_from
from backtest_mongo.cli.command_runner import print_error, print_output, require
from backtest_mongo.cli.context_text import SPECS, parse_context
from backtest_mongo.cli.databases import (
    MONGO_ALONE,
    Files,
    Mongo,
    NewSQLite,
    SQLite,
    choose_storage,
    confirm,
    run_on_database,
)
from backtest_mongo.cli.file_options import (
    UNITS,
    Decimal,
    End,
    Start,
    TimeFormat,
    TimeZone,
    check_output,
    parse_decimal,
    parse_range,
    parse_time_zone,
)
from backtest_mongo.core.wording import format_count
from backtest_mongo.errors import InputError
from backtest_mongo.types import INTERVALS
from backtest_mongo.types import Interval as KnownInterval

# What needs NumPy or Rich is imported by the command that uses it: help and completion do without.

__all__ = ["build_candles_app"]

_SUMMARY: Final = "Move candles between files and the database, plot them, and maintain what is stored."
_FILLS: Final = ("null", "forward")
_INTERVAL_NAMES: Final = " ".join(INTERVALS)
_SERIES_HELP: Final = (
    "The series: symbol, interval and exchange_name, in this order or as NAME=VALUE, such as BTCUSDT 1m binance."
)
_WORDS: Final = "'VALUE|NAME=VALUE'"


def build_candles_app() -> typer.Typer:
    """Build the application that ``backtest-mongo`` mounts as ``candles``."""
    app = typer.Typer(
        help=_SUMMARY,
        short_help=_SUMMARY,
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    add_command(app, import_files, "import")
    for command in (fetch, export, coverage, seal, verify, rows, delete, plot):
        add_command(app, command)
    return app


# Options that several commands take


def _check_interval(interval: str | None) -> str | None:
    if interval is not None and interval not in INTERVALS:
        raise typer.BadParameter(f"{interval!r} is not one of {', '.join(INTERVALS)}")
    return interval


_INTERVAL: Final[dict[str, Any]] = {
    "metavar": "INTERVAL",
    "callback": _check_interval,
    "autocompletion": complete_from(INTERVALS),
}
Symbol = Annotated[str, typer.Option("--symbol", metavar="NAME", help="The symbol that the series is stored under.")]
Interval = Annotated[str, typer.Option("--interval", help=f"One of {_INTERVAL_NAMES}.", **_INTERVAL)]
Exchange = Annotated[
    str, typer.Option("--exchange", metavar="NAME", help="The exchange that the series is stored under.")
]
OneSymbol = Annotated[
    str | None, typer.Option("--symbol", metavar="NAME", help="The symbol that the series is stored under.")
]
OneInterval = Annotated[str | None, typer.Option("--interval", help=f"One of {_INTERVAL_NAMES}.", **_INTERVAL)]
OneExchange = Annotated[
    str | None, typer.Option("--exchange", metavar="NAME", help="The exchange that the series is stored under.")
]
AnySymbol = Annotated[str | None, typer.Option("--symbol", metavar="NAME", help="Only series of this symbol.")]
AnyInterval = Annotated[
    str | None, typer.Option("--interval", help=f"Only series of this interval: {_INTERVAL_NAMES}.", **_INTERVAL)
]
AnyExchange = Annotated[str | None, typer.Option("--exchange", metavar="NAME", help="Only series of this exchange.")]
Words = Annotated[list[str] | None, typer.Argument(metavar="VALUE|NAME=VALUE", help=_SERIES_HELP)]
AnyWords = Annotated[
    list[str] | None, typer.Argument(metavar="VALUE|NAME=VALUE", help=f"Only these series. {CONTEXT_HELP}")
]


def _parse_any(
    words: Sequence[str] | None, symbol: str | None, interval: str | None, exchange: str | None
) -> tuple[str | None, str | None, str | None]:
    """Return the symbol, the interval and the exchange that words or options name.

    Raises:
        typer.BadParameter: a word is wrong, or a value is given twice.
    """
    given = parse_context(SPECS["candle"], words or [], _WORDS)
    options = {"symbol": symbol, "interval": interval, "exchange_name": exchange}
    for name, value in options.items():
        if value is not None and name in given:
            raise typer.BadParameter(f"{name} is given twice", param_hint=_WORDS)
    found = {name: given.get(name, value) for name, value in options.items()}
    check_choice(found["interval"], INTERVALS, "--interval")
    return found["symbol"], found["interval"], found["exchange_name"]


def _parse_whole(
    words: Sequence[str] | None, symbol: str | None = None, interval: str | None = None, exchange: str | None = None
) -> tuple[str, str, str]:
    """Return all three, as :func:`_parse_any` does.

    Raises:
        typer.BadParameter: one is missing, too.
    """
    symbol, interval, exchange = _parse_any(words, symbol, interval, exchange)
    if symbol is None or interval is None or exchange is None:
        named = {"symbol": symbol, "interval": interval, "exchange_name": exchange}
        missing = next(name for name, value in named.items() if value is None)
        raise typer.BadParameter(f"{missing} is missing: give {missing}=VALUE", param_hint=_WORDS)
    return symbol, interval, exchange


# Commands


def import_files(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", exists=True, help="Candle files, zip archives, or directories of both."),
    ],
    interval: Interval,
    exchange: Exchange,
    symbol: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The symbol that the series is stored under. If a file names symbols, only rows of this one are read; "
            "without it rows of all symbols are read, and each is stored under its own.",
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Name the columns in their order if no header does, "
            "such as time,open,close,high,low,volume; - for a column that is not used.",
        ),
    ] = None,
    time_unit: Annotated[
        str,
        typer.Option(
            metavar="UNIT",
            help="What numeric times count: s, ms, us or ns; auto finds it by the interval.",
            autocompletion=complete_from(UNITS),
        ),
    ] = "auto",
    time_format: TimeFormat = None,
    time_zone: TimeZone = None,
    decimal: Decimal = None,
    no_volume: Annotated[bool, typer.Option("--no-volume", help="Store 0 as the volume.")] = False,
    any_spacing: Annotated[
        bool, typer.Option("--any-spacing", help="Import files whose candles are not one interval apart.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Import files whose name or column contains another symbol or interval.")
    ] = False,
    sqlite: NewSQLite = None,
    json_files: Files = None,
    mongo: Mongo = False,
) -> None:
    """Store the candles of files.

    Reads text with commas, semicolons, tabs or bars between columns, with a header, or in the order of Binance and ccxt
    (time, open, high, low, close, volume); Parquet and Feather; plain, gzipped or zipped. The format of numbers and
    times, and the unit of times, are determined once for a whole file and printed; an ambiguous file is refused, and
    the message names the option that decides. Times without a zone are UTC. A directory's candle files are read in the
    order of their names.

    Candles that are stored already stay as they are and are skipped, so an interrupted import continues when it is run
    again.

    Exits with status 0 if every line was a candle, 1 if lines or files were not (the others are stored), 2 for a
    mistake in the arguments. Candles that are still open are counted, but are not an error.
    """
    from backtest_mongo.cli.candles.import_report import print_candle_import
    from backtest_mongo.cli.candles.series_filter import get_candle_adapter
    from backtest_mongo.cli.progress_bar import ProgressBar
    from backtest_mongo.cli.terminal import Terminal
    from backtest_mongo.core.candle_headers import find_columns
    from backtest_mongo.market_data import CandleImportReport, ReadOptions
    from backtest_mongo.market_data.importer import import_into

    check_choice(time_unit, UNITS, "--time-unit")
    mark = parse_decimal(decimal)
    names = None if columns is None else [name.strip() for name in columns.split(",")]
    if names is not None:
        try:
            find_columns(names, "--columns", not no_volume)
        except InputError as error:
            raise typer.BadParameter(str(error), param_hint="'--columns'") from None
    options = ReadOptions(
        columns=names,
        unit=time_unit,
        force=force,
        volume=not no_volume,
        decimal=mark,
        time_format=time_format,
        zone=parse_time_zone(time_zone),
    )

    async def work() -> CandleImportReport:
        with ProgressBar() as bar:
            return await import_into(
                get_candle_adapter(),
                symbol,
                cast("KnownInterval", interval),
                exchange,
                files,
                options=options,
                check_spacing=not any_spacing,
                check_names=not force,
                progress=bar,
            )

    report = run_on_database(work, choose_storage(sqlite, json_files, mongo), creates=True)
    print_candle_import(Terminal(), report, symbol, interval, exchange)
    raise typer.Exit(0 if report.is_complete else 1)


def fetch(
    exchange: Annotated[str, typer.Option("--exchange", metavar="NAME", help="The exchange's id in ccxt: binance.")],
    symbol: Annotated[str, typer.Option("--symbol", metavar="NAME", help="The market as ccxt names it: BTC/USDT.")],
    interval: Interval,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Where to begin: ISO 8601 or milliseconds; default the first stored candle."),
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Where to end, exclusive; default now.")] = None,
    store_as: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The symbol that the series is stored under; default that of the exchange: BTCUSDT."
        ),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, metavar="N", help="Pages that are fetched at once.")] = 4,
    again_after: Annotated[
        float,
        typer.Option(min=0, metavar="DAYS", help="Ask again for what the exchange did not have so many days ago."),
    ] = 7.0,
    sqlite: NewSQLite = None,
    files: Files = None,
    mongo: Mongo = False,
) -> None:
    """Fetch the candles that a series lacks from an exchange, by ccxt.

    Asks for the gaps alone, under the exchange's rate limit. A candle that is still open is not stored. What the
    exchange does not have is remembered, and not asked for again before --again-after. Each page is stored as it comes:
    an interrupted fetch goes on when it is run again.

    Example: backtest-mongo candles fetch --exchange binance --symbol BTC/USDT --interval 1m --since 2024-01-01

    Exits with status 0 if all is fetched, 1 if the exchange refuses or does not answer (what was fetched is stored),
    2 for a mistake in the arguments.
    """
    from backtest_mongo.cli.candles.fetching import fetch_candles, print_fetched
    from backtest_mongo.cli.progress_bar import ProgressBar
    from backtest_mongo.cli.terminal import Terminal

    first, last = parse_range(since, until)
    require("ccxt", "ccxt", "tenacity")

    async def work() -> Any:
        with ProgressBar("candles") as bar:
            return await fetch_candles(
                exchange, symbol, interval, store_as, first, last, concurrency=concurrency, days=again_after, bar=bar
            )

    done = run_on_database(work, choose_storage(sqlite, files, mongo), creates=True)
    raise typer.Exit(print_fetched(Terminal(), done))


def export(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", dir_okay=False, help="Ends in .parquet, .csv or .csv.gz.")
    ],
    words: Words = None,
    symbol: OneSymbol = None,
    interval: OneInterval = None,
    exchange: OneExchange = None,
    start: Start = None,
    end: End = None,
    fill: Annotated[
        str | None,
        typer.Option(
            metavar="HOW",
            help="Write a row where a candle is missing: null an empty one, forward a flat one at the previous close, "
            "without volume.",
            autocompletion=complete_from(_FILLS),
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    sqlite: SQLite = None,
    files: Files = None,
    mongo: Mongo = False,
) -> None:
    """Write the candles of a series to a Parquet or CSV file.

    In CSV, times are milliseconds since the epoch (UTC); both formats can be imported again without losing a digit. The
    file appears when it is complete.
    """
    from backtest_mongo.cli.candles.series_filter import get_candle_adapter
    from backtest_mongo.cli.progress_bar import ProgressBar
    from backtest_mongo.cli.terminal import Terminal, print_line
    from backtest_mongo.market_data.exporter import export_from
    from backtest_mongo.market_data.file_output import FILE_ENDINGS

    symbol, interval, exchange = _parse_whole(words, symbol, interval, exchange)
    check_output(output, output.name.endswith(FILE_ENDINGS), ", ".join(FILE_ENDINGS))
    if output.exists() and not force:
        raise typer.BadParameter(f"{output} exists; --force replaces it", param_hint="'--output'")
    check_choice(fill, _FILLS, "--fill")
    first, last = parse_range(start, end)
    if output.suffix == ".parquet":
        require("frames", "pyarrow")

    async def work() -> int:
        with ProgressBar("candles") as bar:
            how: Any = fill
            series = get_candle_adapter()(symbol, cast("KnownInterval", interval), exchange)
            return await export_from(series, output, start=first, end=last, fill=how, progress=bar)

    rows = run_on_database(work, choose_storage(sqlite, files, mongo))
    print_line(Terminal(), f"{exchange} {symbol} {interval}: {format_count(rows, 'row')} in {output}")


def coverage(
    words: AnyWords = None,
    symbol: AnySymbol = None,
    interval: AnyInterval = None,
    exchange: AnyExchange = None,
    gaps: Annotated[int, typer.Option(min=0, metavar="N", help="List the longest N gaps of all series.")] = 10,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print everything as JSON, all gaps included, with times in milliseconds.")
    ] = False,
    sqlite: SQLite = None,
    files: Files = None,
    mongo: Mongo = False,
) -> None:
    """Show what is stored of each series, what is missing, and how much space it takes.

    A gap lies between the first and the last stored candle. "sealed" is the share of candles that are in compressed
    blocks, which large reads use; "on disk" is an estimate for candles, indexes and blocks. SQLite keeps candles in
    blocks anyway, and JSON files have none: there it is the size of the candles.
    """
    from backtest_mongo.cli.candles.coverage import coverage_to_json, measure_coverage, print_coverage
    from backtest_mongo.cli.candles.series_filter import SeriesFilter
    from backtest_mongo.cli.terminal import Terminal, print_json

    wanted = SeriesFilter(*_parse_any(words, symbol, interval, exchange))
    found = run_on_database(lambda: measure_coverage(wanted), choose_storage(sqlite, files, mongo))
    if as_json:
        print_json(json.dumps(coverage_to_json(found), indent=2))
    else:
        print_coverage(Terminal(), found, gaps)


def seal(
    words: AnyWords = None,
    symbol: AnySymbol = None,
    interval: AnyInterval = None,
    exchange: AnyExchange = None,
    sqlite: SQLite = None,
    files: Files = None,
    mongo: Mongo = False,
) -> None:
    """Seal candles into compressed blocks where that is not done yet.

    Large imports seal as they go. This seals the rest: what was written in small pieces, or by another program.
    """
    from backtest_mongo.cli.candles.maintenance import print_sealed, seal_series
    from backtest_mongo.cli.candles.series_filter import SeriesFilter
    from backtest_mongo.cli.terminal import Terminal

    wanted = SeriesFilter(*_parse_any(words, symbol, interval, exchange))
    storage = choose_storage(sqlite, files, mongo, MONGO_ALONE)
    print_sealed(Terminal(), run_on_database(lambda: seal_series(wanted), storage))


def verify(
    words: AnyWords = None,
    symbol: AnySymbol = None,
    interval: AnyInterval = None,
    exchange: AnyExchange = None,
    repair: Annotated[bool, typer.Option("--repair", help="Drop damaged blocks and seal their candles again.")] = False,
    sqlite: SQLite = None,
    files: Files = None,
    mongo: Mongo = False,
) -> None:
    """Compare every sealed block with its candles; blocks that are the only copy, with their checksums.

    Exits with status 1 if a block is damaged; with --repair, only if one could not be repaired.
    """
    from backtest_mongo.cli.candles.maintenance import print_verified, verify_series
    from backtest_mongo.cli.candles.series_filter import SeriesFilter
    from backtest_mongo.cli.terminal import Terminal

    wanted = SeriesFilter(*_parse_any(words, symbol, interval, exchange))
    done = run_on_database(lambda: verify_series(wanted, repair), choose_storage(sqlite, files, mongo, MONGO_ALONE))
    print_verified(Terminal(), done)
    raise typer.Exit(0 if all(one.is_sound for one in done) else 1)


def rows(
    words: AnyWords = None,
    seal: Annotated[
        bool, typer.Option("--seal", help="Move candles into blocks, and delete the rows that blocks then hold.")
    ] = False,
    restore: Annotated[bool, typer.Option("--restore", help="Write the rows again, which is the way back.")] = False,
    symbol: AnySymbol = None,
    interval: AnyInterval = None,
    exchange: AnyExchange = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    sqlite: SQLite = None,
    files: Files = None,
    mongo: Mongo = False,
) -> None:
    """Choose whether candles are kept in rows or in blocks alone.

    Rows are what the Node package reads, and take some 200 bytes per candle. Blocks take ten, and this library returns
    the same results. Older versions of it refuse the database once a series is in blocks, and Node no longer sees the
    candles of that series. It needs a replica set. Without --seal or --restore it shows how each series is kept.

    Shows which series it would change, and asks. It can be interrupted, and run again to change the rest. Other
    processes may read, write and delete candles meanwhile.

    On SQLite there is nothing to do: candles are in blocks anyway. JSON files have no blocks.

    Exits with status 0 if all is done, 1 if the answer is no or a series could not be changed, 2 for a mistake in the
    arguments, and if there is no terminal to ask on and --yes is not given.
    """
    from backtest_mongo.cli.candles.rows import find_kept, move_series, print_kept, print_moved
    from backtest_mongo.cli.candles.series_filter import SeriesFilter
    from backtest_mongo.cli.terminal import Terminal, print_line

    if seal and restore:
        raise typer.BadParameter("--seal and --restore exclude each other", param_hint="'--restore'")
    console = Terminal()
    wanted = SeriesFilter(*_parse_any(words, symbol, interval, exchange))
    storage = choose_storage(sqlite, files, mongo)
    found = run_on_database(lambda: find_kept(wanted), storage)
    if storage.sqlite is not None:
        print_line(console, "There is nothing to do: SQLite keeps candles in blocks anyway.")
        return
    print_kept(console, found)
    if not seal and not restore:
        return
    chosen = [one.adapter for one in found if one.is_movable(seal)]
    if not chosen:
        print_line(console, f"There is nothing to do: all of it is in {'blocks' if seal else 'rows'}.")
        return
    what = "Move them into blocks, and delete their rows?" if seal else "Write their rows again?"
    confirm(what, "nothing changed", yes)
    print_moved(console, run_on_database(lambda: move_series(chosen, seal), storage), seal)


def delete(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="VALUE|NAME=VALUE", help=_SERIES_HELP, autocompletion=complete_from(INTERVALS), show_default=False
        ),
    ] = None,
    start: Start = None,
    end: End = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    sqlite: SQLite = None,
    files: Files = None,
    mongo: Mongo = False,
) -> None:
    """Delete candles, so that others can be written in their place.

    Shows what it would delete, and asks. Without --start and --end the whole series is deleted. Sealed blocks are
    deleted with their candles. The command can be interrupted, and run again to delete the rest. Running processes may
    keep using candles that they have read before: restart them.

    Exits with status 0 if the candles are deleted or there are none, 1 if the answer is no, 2 for a mistake in the
    arguments, and if there is no terminal to ask on and --yes is not given.
    """
    from backtest_mongo.cli.candles.maintenance import DeletableRange, print_deletable, print_deleted, survey_range
    from backtest_mongo.cli.candles.series_filter import get_candle_adapter
    from backtest_mongo.cli.terminal import Terminal
    from backtest_mongo.types import DeleteReport

    symbol, interval, exchange = _parse_whole(words)
    first, last = parse_range(start, end)
    storage = choose_storage(sqlite, files, mongo)

    async def survey() -> DeletableRange:
        series = get_candle_adapter()(symbol, cast("KnownInterval", interval), exchange)
        return await survey_range(series, first, last)

    async def delete_candles() -> DeleteReport:
        return await found.adapter.delete(first, last)

    console = Terminal()
    found = run_on_database(survey, storage)
    if not found.is_empty:
        print_deletable(console, found)
        confirm("Delete them?", "nothing deleted", yes)
    # Also if there are none: a process that was killed may have left blocks.
    print_deleted(console, found, run_on_database(delete_candles, storage))


def plot(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", dir_okay=False, help="A .png, or an .html page that zooms."),
    ],
    words: Words = None,
    symbol: OneSymbol = None,
    interval: OneInterval = None,
    exchange: OneExchange = None,
    start: Start = None,
    end: End = None,
    strategy: Annotated[str | None, typer.Option(metavar="NAME", help="Draw this strategy's trades as well.")] = None,
    backtest: Annotated[
        bool, typer.Option("--backtest/--live", help="Draw the trades of its backtests, or of live trading.")
    ] = True,
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="The title; default the series' name.")] = None,
    width: Annotated[int, typer.Option(min=200, max=10_000, help="The width of the plotting area.")] = 1200,
    height: Annotated[int, typer.Option(min=100, max=10_000, help="The height of the plotting area.")] = 640,
    max_candles: Annotated[
        int, typer.Option(min=2, help="Merge more candles than this into a coarser interval.")
    ] = 5000,
    sqlite: SQLite = None,
    files: Files = None,
    mongo: Mongo = False,
) -> None:
    """Draw the candles of a series, and the trades of a strategy over them.

    A .png is a picture. An .html is a page that needs no network: drag it, zoom with the wheel, and point at a candle
    or a trade for its numbers. Times are UTC, and breaks in trading take no space. An existing file is replaced.
    """
    from backtest_mongo.market_data import plot_candles
    from backtest_mongo.market_data.plot import FORMATS

    symbol, interval, exchange = _parse_whole(words, symbol, interval, exchange)
    check_output(output, output.suffix.lower() in FORMATS, " or ".join(FORMATS))
    first, last = parse_range(start, end)
    require("plot", "altair", "vl_convert")
    storage = choose_storage(sqlite, files, mongo, MONGO_ALONE)
    drawn = run_on_database(
        lambda: plot_candles(
            symbol,
            cast("KnownInterval", interval),
            exchange,
            output,
            start=first,
            end=last,
            strategy_name=strategy,
            backtest=backtest,
            title=title,
            width=width,
            height=height,
            max_candles=max_candles,
        ),
        storage,
    )
    merged = "" if drawn.bars == drawn.candles else f" as {drawn.bars:,} of {drawn.interval}"
    trades = "" if strategy is None else f", {format_count(drawn.trades, 'trade')} of {strategy}"
    candles = format_count(drawn.candles, "candle")
    print_output(f"{exchange} {symbol} {interval}: {candles}{merged}{trades} in {output}")
    if drawn.left_out:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(drawn.left_out.items()))
        print_error(f"left out: {reasons}")
