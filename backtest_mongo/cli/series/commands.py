"""The commands of ``backtest-mongo series``: their options and exit statuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from backtest_mongo.cli.arguments import CONTEXT_HELP, Module, add_command, check_choice, complete_from, import_module
from backtest_mongo.cli.command_runner import print_error, print_output, require
from backtest_mongo.cli.context_text import format_values, parse_context
from backtest_mongo.cli.databases import DATABASES, Files, Mongo, NewSQLite, SQLite, choose_storage, run_on_database
from backtest_mongo.cli.file_options import (
    UNITS,
    Decimal,
    TimeFormat,
    TimeZone,
    check_output,
    parse_decimal,
    parse_time_zone,
)
from backtest_mongo.core.slots import SERIES
from backtest_mongo.core.suggestions import suggest
from backtest_mongo.core.wording import format_count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from backtest_mongo.core.specs import SlotSpec
    from backtest_mongo.market_data import SeriesImportReport

# What needs NumPy or Rich is imported by the command that uses it: help and completion do without.

__all__ = ["build_series_app"]

_SUMMARY: Final = "Move trades, quotes and other series with columns between files and the database, and maintain them."
_NAMES: Final = tuple(spec.name for spec in SERIES)


def build_series_app() -> typer.Typer:
    """Build the application that ``backtest-mongo`` mounts as ``series``."""
    app = typer.Typer(
        help=_SUMMARY,
        short_help=_SUMMARY,
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    add_command(app, import_files, "import")
    for command in (export, coverage, seal, verify, plot):
        add_command(app, command)
    return app


# Options that several commands take


Slot = Annotated[
    str,
    typer.Argument(
        metavar="SLOT",
        help=f"The slot's name: {', '.join(_NAMES)}, or one that --module registers.",
        autocompletion=complete_from(_NAMES),
    ),
]
Context = Annotated[
    list[str] | None,
    typer.Option(
        "--context",
        "-c",
        metavar="NAME=VALUE",
        help="An argument of the adapter, such as symbol=BTCUSDT or exchange_name=binance; repeatable. The backtest "
        "flag is backtest or live.",
    ),
]
AnyContext = Annotated[
    list[str] | None,
    typer.Option(
        "--context", "-c", metavar="NAME=VALUE", help="Only series with this value, as by VALUE|NAME=VALUE; repeatable."
    ),
]
Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="VALUE|NAME=VALUE",
        help="The series: the adapter's arguments in order or as NAME=VALUE, such as BTCUSDT binance. The backtest "
        "flag is backtest or live.",
    ),
]
AnyWords = Annotated[
    list[str] | None, typer.Argument(metavar="VALUE|NAME=VALUE", help=f"Only these series. {CONTEXT_HELP}")
]
Start = Annotated[
    str | None,
    typer.Option("--start", metavar="TIME", help="Start of the range, inclusive: ISO 8601, or a number of s to ns."),
]
End = Annotated[str | None, typer.Option("--end", metavar="TIME", help="End of the range, exclusive.")]


def _find_slot(name: str, module: str | None) -> SlotSpec:
    """Return the row of a slot with columns.

    Raises:
        typer.BadParameter: there is none, or the module can't be imported.
    """
    from backtest_mongo.adapters.registry import persist

    if module is not None:
        import_module(module)
    adapters = persist._adapters
    known = [spec.name for spec in (adapter.spec for adapter in adapters.values()) if spec.columns]
    if name not in adapters:
        raise typer.BadParameter(f"{name!r} is not a slot: {suggest(name, known)}", param_hint="'SLOT'")
    spec = adapters[name].spec
    if not spec.columns:
        advice = "the commands of `candles` work with them" if spec.is_candles else suggest(name, known)
        raise typer.BadParameter(f"{name} is not a series with columns: {advice}", param_hint="'SLOT'")
    return spec


def _parse_any(spec: SlotSpec, words: Sequence[str] | None, context: Sequence[str] | None) -> dict[str, Any]:
    """Return the values of the context that select series."""
    return parse_context(spec, [*(words or ()), *(context or ())], "'VALUE|NAME=VALUE'")


def _require_context(spec: SlotSpec, words: Sequence[str]) -> dict[str, Any]:
    """Return the whole context of one series.

    Raises:
        typer.BadParameter: a word is wrong, or an argument is missing.
    """
    context = parse_context(spec, words, "'VALUE|NAME=VALUE'")
    missing = [name for name in spec.context if name not in context and name not in spec.optional]
    if missing:
        raise typer.BadParameter(f"{missing[0]} is missing: give {missing[0]}=VALUE", param_hint="'VALUE|NAME=VALUE'")
    return context


def _parse_range(spec: SlotSpec, start: str | None, end: str | None) -> tuple[int | None, int | None]:
    from backtest_mongo.market_data.exact_times import parse_exact_time

    found: list[int | None] = []
    for text, option in ((start, "--start"), (end, "--end")):
        try:
            found.append(None if text is None else parse_exact_time(text, spec.unit))
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint=f"'{option}'") from None
    first, last = found
    if first is not None and last is not None and first >= last:
        raise typer.BadParameter("must come after --start", param_hint="'--end'")
    return first, last


def _parse_columns(spec: SlotSpec, text: str | None) -> list[str] | dict[str, str] | None:
    """Return the names that ``--columns`` gives: of all columns in their order, or the file's by the slot's.

    Raises:
        typer.BadParameter: it mixes both, names a column twice, or one that the slot doesn't have.
    """
    from backtest_mongo.market_data.series_headers import list_series_names

    if text is None:
        return None
    words = [word.strip() for word in text.split(",")]
    if not any("=" in word for word in words):
        return words
    assigned: dict[str, str] = {}
    known = list_series_names(spec)
    for word in words:
        name, equals, header = word.partition("=")
        if not equals:
            raise typer.BadParameter(f"{word!r} is not of the form NAME=HEADER", param_hint="'--columns'")
        if name not in known:
            problem = f"{spec.name} has no column {name!r}: {suggest(name, known)}"
            raise typer.BadParameter(problem, param_hint="'--columns'")
        if name in assigned:
            raise typer.BadParameter(f"{name} is given twice", param_hint="'--columns'")
        assigned[name] = header
    return assigned


# Commands


def import_files(
    slot: Slot,
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", exists=True, help="Files of rows, zip archives, or directories of both."),
    ],
    context: Context = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Name the file's columns: price=px,amount=qty for those whose names differ from the slot's, or, for "
            "a file without a header, all of them in their order, with - for one that is not used.",
        ),
    ] = None,
    time_unit: Annotated[
        str,
        typer.Option(
            metavar="UNIT",
            help="What numeric times count: s, ms, us or ns; auto infers it from their size, or from the grid.",
            autocompletion=complete_from(UNITS),
        ),
    ] = "auto",
    time_format: TimeFormat = None,
    time_zone: TimeZone = None,
    decimal: Decimal = None,
    force: Annotated[bool, typer.Option("--force", help="Import a file even if its rows have another symbol.")] = False,
    module: Module = None,
    sqlite: NewSQLite = None,
    json_files: Files = None,
    mongo: Mongo = False,
) -> None:
    """Store the rows of files as series.

    Reads text with commas, semicolons, tabs or bars between columns; Parquet and Feather; plain, gzipped or zipped.
    Columns are found by the slot's names; those of tardis (trades, quotes) and of Binance (aggTrades, trades,
    fundingRate, bookTicker, with a header or without) are known. Arguments of the context that are not given are taken
    from the file's columns, such as symbol and exchange; with a symbol, only rows of this one are read.

    The format of numbers and times is determined once for a whole file and printed; an ambiguous file is refused, and
    the message names the option that decides. Times without a zone are UTC. A value or a time with more digits than
    the slot keeps makes its line a bad one.

    An import may be repeated, which changes nothing. Exits with status 0 if every line was a row, 1 if lines or files
    were not (the others are stored), 2 for a mistake in the arguments.
    """
    from backtest_mongo.cli.import_report import print_import_report
    from backtest_mongo.cli.progress_bar import ProgressBar
    from backtest_mongo.cli.series.stored_series import get_series_adapter
    from backtest_mongo.cli.terminal import Terminal
    from backtest_mongo.market_data import SeriesOptions, import_series

    spec = _find_slot(slot, module)
    given = parse_context(spec, context or [], "'--context'")
    check_choice(time_unit, UNITS, "--time-unit")
    options = SeriesOptions(
        columns=_parse_columns(spec, columns),
        unit=time_unit,
        force=force,
        decimal=parse_decimal(decimal),
        time_format=time_format,
        zone=parse_time_zone(time_zone),
    )

    async def work() -> SeriesImportReport:
        with ProgressBar() as bar:
            return await import_series(get_series_adapter(spec), given, files, options=options, progress=bar)

    storage = choose_storage(sqlite, json_files, mongo, DATABASES)
    report = run_on_database(work, storage, creates=True)
    words = ("new", "already there") if spec.immutable else ("written", "doubles")
    name = " ".join([spec.name, *_name_series(spec, given, report.series)])
    print_import_report(Terminal(), report, name, "row", words=words)
    raise typer.Exit(0 if report.is_complete else 1)


def _name_series(spec: SlotSpec, given: Mapping[str, Any], series: Sequence[Mapping[str, Any]]) -> list[str]:
    if len(series) == 1:
        return [format_values(spec, series[0])]
    if series:
        return [format_count(len(series), "series", "series")]
    return [format_values(spec, given)] if given else []


def export(
    slot: Slot,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", dir_okay=False, help="Ends in .parquet, .csv or .csv.gz.")
    ],
    words: Words = None,
    context: Context = None,
    start: Start = None,
    end: End = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    module: Module = None,
    sqlite: SQLite = None,
    files: Files = None,
    mongo: Mongo = False,
) -> None:
    """Write the rows of a series to a Parquet or CSV file.

    In CSV, times are integers in the slot's unit since the epoch (UTC), an empty field is null, and two quotes are an
    empty string. Both formats can be imported again without losing a bit. The file appears when it is complete.
    """
    from backtest_mongo.cli.progress_bar import ProgressBar
    from backtest_mongo.cli.series.stored_series import format_series, get_series_adapter
    from backtest_mongo.cli.terminal import Terminal, print_line
    from backtest_mongo.market_data import export_series
    from backtest_mongo.market_data.file_output import FILE_ENDINGS

    spec = _find_slot(slot, module)
    given = _require_context(spec, [*(words or ()), *(context or ())])
    check_output(output, output.name.endswith(FILE_ENDINGS), ", ".join(FILE_ENDINGS))
    if output.exists() and not force:
        raise typer.BadParameter(f"{output} exists; --force replaces it", param_hint="'--output'")
    first, last = _parse_range(spec, start, end)
    if output.suffix == ".parquet":
        require("frames", "pyarrow")

    async def work() -> tuple[str, int]:
        series = get_series_adapter(spec)(**given)
        with ProgressBar("rows") as bar:
            rows = await export_series(series, output, start=first, end=last, progress=bar)
        return format_series(series), rows

    name, rows = run_on_database(work, choose_storage(sqlite, files, mongo, DATABASES))
    print_line(Terminal(), f"{spec.name} {name}: {format_count(rows, 'row')} in {output}")


def coverage(
    slot: Slot,
    words: AnyWords = None,
    context: AnyContext = None,
    gaps: Annotated[int, typer.Option(min=0, metavar="N", help="List the longest N gaps of series on a grid.")] = 10,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print everything as JSON, all gaps included, with times in the slot's unit.")
    ] = False,
    module: Module = None,
    sqlite: SQLite = None,
    files: Files = None,
    mongo: Mongo = False,
) -> None:
    """Show what is stored of each series of a slot, and how much space it takes.

    "sealed" is the share of rows in compressed blocks; the others are in the tail, in the small groups in which they
    were written. "kept" is the retention, and is shown if one of the series has one. On a grid, gaps between the first
    and the last row are shown as well.
    """
    from backtest_mongo.cli.series.coverage import coverage_to_json, measure_coverage, print_coverage
    from backtest_mongo.cli.terminal import Terminal, print_json

    spec = _find_slot(slot, module)
    given = _parse_any(spec, words, context)
    storage = choose_storage(sqlite, files, mongo, DATABASES)
    found = run_on_database(lambda: measure_coverage(spec, given), storage)
    if as_json:
        print_json(json.dumps(coverage_to_json(spec, found), indent=2, ensure_ascii=False))
    else:
        print_coverage(Terminal(), spec, found, gaps)


def seal(
    slot: Slot,
    words: AnyWords = None,
    context: AnyContext = None,
    module: Module = None,
    sqlite: SQLite = None,
    files: Files = None,
    mongo: Mongo = False,
) -> None:
    """Merge the rows of the tail into compressed blocks.

    Writers and imports seal as they go. This seals the rest. A standalone MongoDB has no transactions, so its rows stay
    in the tail.
    """
    from backtest_mongo.cli.maintenance_tables import print_sealed_rows
    from backtest_mongo.cli.series.maintenance import seal_series
    from backtest_mongo.cli.terminal import Terminal

    spec = _find_slot(slot, module)
    given = _parse_any(spec, words, context)
    storage = choose_storage(sqlite, files, mongo, DATABASES)
    print_sealed_rows(Terminal(), run_on_database(lambda: seal_series(spec, given), storage), "rows")


def verify(
    slot: Slot,
    words: AnyWords = None,
    context: AnyContext = None,
    module: Module = None,
    sqlite: SQLite = None,
    files: Files = None,
    mongo: Mongo = False,
) -> None:
    """Read every block and every group of the tail, and compare their checksums.

    They are the only copy of their rows, so nothing can repair them but another import. Exits with status 1 if one is
    damaged.
    """
    from functools import partial

    from backtest_mongo.cli.maintenance_tables import print_verified_rows
    from backtest_mongo.cli.series.maintenance import verify_series
    from backtest_mongo.cli.terminal import Terminal
    from backtest_mongo.market_data.exact_times import format_exact_time

    spec = _find_slot(slot, module)
    given = _parse_any(spec, words, context)
    done = run_on_database(lambda: verify_series(spec, given), choose_storage(sqlite, files, mongo, DATABASES))
    show = partial(format_exact_time, unit=spec.unit)
    print_verified_rows(Terminal(), done, "rows", can_repair=False, blocks="blocks\nand groups", format_time=show)
    raise typer.Exit(1 if any(one.report.damaged for one in done) else 0)


def plot(
    slot: Slot,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", dir_okay=False, help="A .png, or an .html page that zooms."),
    ],
    words: Words = None,
    context: Context = None,
    start: Start = None,
    end: End = None,
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="The title; default the series' name.")] = None,
    width: Annotated[int, typer.Option(min=200, max=10_000, help="The width of the plotting area.")] = 1200,
    height: Annotated[int, typer.Option(min=100, max=10_000, help="The height of the plotting area.")] = 640,
    max_points: Annotated[
        int, typer.Option(min=2, help="Merge more rows than this into steps of time, which the subtitle names.")
    ] = 4000,
    module: Module = None,
    sqlite: SQLite = None,
    files: Files = None,
    mongo: Mongo = False,
) -> None:
    """Draw the trades of a market, or the equity of a strategy.

    Of a slot with prices, such as trade: the price and the amounts, buys and sells in different colours. Of a slot with
    equity: the equity and its drawdown. A .png is a picture. An .html is a page that needs no network: drag it, zoom
    with the wheel, and point at a row for its numbers. Times are UTC. An existing file is replaced.
    """
    from backtest_mongo.cli.series.stored_series import format_series, get_series_adapter
    from backtest_mongo.market_data import SeriesPlotReport, plot_series
    from backtest_mongo.market_data.plot import FORMATS

    spec = _find_slot(slot, module)
    given = _require_context(spec, [*(words or ()), *(context or ())])
    check_output(output, output.suffix.lower() in FORMATS, " or ".join(FORMATS))
    first, last = _parse_range(spec, start, end)
    require("plot", "altair", "vl_convert")

    async def work() -> tuple[str, SeriesPlotReport]:
        series = get_series_adapter(spec)(**given)
        drawn = await plot_series(
            series,
            output,
            start=first,
            end=last,
            title=title,
            width=width,
            height=height,
            max_points=max_points,
        )
        return format_series(series), drawn

    name, drawn = run_on_database(work, choose_storage(sqlite, files, mongo, DATABASES))
    merged = "" if drawn.step is None else f" in {drawn.points:,} steps of {drawn.step}"
    print_output(f"{spec.name} {name}: {format_count(drawn.rows, 'row')}{merged} in {output}")
    if drawn.left_out:
        print_error(f"left out: {format_count(drawn.left_out, 'row')} without a number")
