"""The commands of ``backtest-mongo candles``: their options, and how they end."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backtest_mongo.candles.options import AnyExchange, AnyInterval, AnySymbol, Exchange, Interval, Symbol, millis
from backtest_mongo.console import reported, require
from backtest_mongo.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Exchange", "Interval", "Symbol", "candles_app"]

_FILLS = ("null", "forward")


def candles_app() -> typer.Typer:
    """Return the application that ``backtest-mongo`` mounts."""
    app = typer.Typer(
        help="Carry candles between files and the database, and look after what is stored.\n\n"
        "MongoDB and Redis are those that the environment names (CC_*).",
        no_args_is_help=True,
    )
    app.command("import")(import_files)
    for command in (export, coverage, seal, verify):
        app.command()(command)
    from backtest_mongo.candles.plot_command import add_plot

    add_plot(app)
    for registered in app.registered_commands:
        registered.help = _help(registered.callback)
    return app


def _help(command: object) -> str:
    # typer keeps the lines of a docstring as they are, whatever the width of the terminal.
    paragraphs = inspect.getdoc(command) or ""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs.split("\n\n"))


def import_files(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", exists=True, help="Candle files, zip archives, or directories of both."),
    ],
    symbol: Symbol,
    interval: Interval,
    exchange: Exchange,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Name the columns in their order, where there is no header that says it: "
            "time,open,close,high,low,volume for example; - for one that is of no use.",
        ),
    ] = None,
    time_unit: Annotated[
        str,
        typer.Option(metavar="UNIT", help="What a number of a time counts: s, ms, us or ns; auto tells by its size."),
    ] = "auto",
    any_spacing: Annotated[
        bool, typer.Option("--any-spacing", help="Import files whose candles are not one interval apart.")
    ] = False,
) -> None:
    """Store the candles of files.

    Reads CSV (commas, semicolons or tabs; with a header, or in the order of Binance and ccxt: time, open, high, low,
    close, volume; MetaTrader's two columns of date and time) and Parquet, plain, gzipped or zipped. Times are numbers
    or ISO 8601; without a zone they are UTC. A directory's candle files are read in the order of their names.

    What is stored already stays as it is and is passed over, so running it again carries an interrupted import on.

    Exits with 0 if every line was a candle, with 1 if lines or files were not (the others are stored), with 2 for a
    mistake in the arguments.
    """
    from backtest_mongo import CandleAdapter
    from backtest_mongo.candles.headers import find_places
    from backtest_mongo.candles.import_report import print_imported
    from backtest_mongo.candles.importing import import_candles
    from backtest_mongo.candles.progress import notes
    from backtest_mongo.candles.session import run, title
    from backtest_mongo.candles.sources import find_sources
    from backtest_mongo.candles.times import UNITS

    if time_unit not in ("auto", *UNITS):
        raise typer.BadParameter(f"{time_unit!r} is not one of auto, {', '.join(UNITS)}", param_hint="'--time-unit'")
    names = None if columns is None else [name.strip() for name in columns.split(",")]
    if names is not None:
        try:
            find_places(names, "--columns")
        except InputError as error:
            raise typer.BadParameter(str(error), param_hint="'--columns'") from None
    with reported():
        adapter = CandleAdapter(symbol, interval, exchange)
        found = find_sources(files)
    notes([f"ignored: {name}" for name in found.ignored])
    done = run(lambda: import_candles(adapter, found, names, time_unit, not any_spacing))
    print_imported(_console(), done, title(adapter))
    raise typer.Exit(0 if done.clean else 1)


def export(
    symbol: Symbol,
    interval: Interval,
    exchange: Exchange,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", dir_okay=False, help="Ends in .parquet, .csv or .csv.gz.")
    ],
    start: Annotated[str | None, typer.Option(metavar="TIME", help="From here on: ISO 8601, or milliseconds.")] = None,
    end: Annotated[str | None, typer.Option(metavar="TIME", help="Up to here, and without it.")] = None,
    fill: Annotated[
        str | None,
        typer.Option(
            metavar="HOW",
            help="Put a row where a candle is missing: null for an empty one, forward for a flat one at the close "
            "before, without volume.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
) -> None:
    """Write the candles of a series to a Parquet or CSV file.

    In CSV, times are milliseconds since the epoch (UTC); both kinds can be imported again, to the last digit. The file
    appears when it is complete.
    """
    from backtest_mongo import CandleAdapter
    from backtest_mongo.candles.exporting import ENDINGS, export_candles
    from backtest_mongo.candles.session import run, title

    if not output.name.endswith(ENDINGS):
        raise typer.BadParameter(f"must end in {', '.join(ENDINGS)}", param_hint="'--output'")
    if not output.parent.is_dir():
        raise typer.BadParameter(f"directory {output.parent} does not exist", param_hint="'--output'")
    if output.exists() and not force:
        raise typer.BadParameter(f"{output} exists; --force replaces it", param_hint="'--output'")
    if fill not in (None, *_FILLS):
        raise typer.BadParameter(f"{fill!r} is not one of {', '.join(_FILLS)}", param_hint="'--fill'")
    first, last = millis(start, end)
    if output.suffix == ".parquet":
        require("frames", "pyarrow")
    with reported():
        adapter = CandleAdapter(symbol, interval, exchange)
    rows = run(lambda: export_candles(adapter, output, first, last, fill))
    _console().print(f"{title(adapter)}: {rows:,} rows in {output}", highlight=False, markup=False, soft_wrap=True)


def coverage(
    symbol: AnySymbol = None,
    interval: AnyInterval = None,
    exchange: AnyExchange = None,
    gaps: Annotated[int, typer.Option(min=0, metavar="N", help="List the longest N gaps of all series.")] = 10,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print everything as JSON, all gaps included, with times in milliseconds.")
    ] = False,
) -> None:
    """Show what is stored of each series, what is missing, and how much room it takes.

    A gap lies between the first and the last stored candle. "sealed" is the share of candles that are also in
    compressed blocks, which are what large ranges are read from; "on disk" is an estimate of candles, indexes and
    blocks.
    """
    from backtest_mongo.candles import covering
    from backtest_mongo.candles.session import Filter, run

    found = run(lambda: covering.cover(Filter(symbol, interval, exchange)))
    if as_json:
        typer.echo(json.dumps(covering.as_json(found), indent=2))
    else:
        covering.print_covered(_console(), found, gaps)


def seal(symbol: AnySymbol = None, interval: AnyInterval = None, exchange: AnyExchange = None) -> None:
    """Seal candles into compressed blocks, where that is not done yet.

    Large imports seal as they go. This seals the rest: what was written in small pieces, or by another program.
    """
    from backtest_mongo.candles import maintenance
    from backtest_mongo.candles.session import Filter, run

    done = run(lambda: maintenance.seal(Filter(symbol, interval, exchange)))
    maintenance.print_sealed(_console(), done)


def verify(
    symbol: AnySymbol = None,
    interval: AnyInterval = None,
    exchange: AnyExchange = None,
    repair: Annotated[bool, typer.Option("--repair", help="Drop damaged blocks and seal their candles again.")] = False,
) -> None:
    """Compare every sealed block with its candles.

    Exits with 1 if a block is damaged; with --repair only if one could not be repaired.
    """
    from backtest_mongo.candles import maintenance
    from backtest_mongo.candles.session import Filter, run

    done = run(lambda: maintenance.verify(Filter(symbol, interval, exchange), repair))
    maintenance.print_verified(_console(), done)
    raise typer.Exit(0 if all(one.sound for one in done) else 1)


def _console() -> Console:
    from rich.console import Console

    return Console()
