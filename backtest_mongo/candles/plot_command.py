"""The command ``backtest-mongo candles plot``."""

# No `from __future__ import annotations` here: typer evaluates the annotations of commands.

from pathlib import Path
from typing import Annotated

import typer

from backtest_mongo.candles.commands import Exchange, Interval, Symbol
from backtest_mongo.console import require

__all__ = ["add_plot"]


def add_plot(app: typer.Typer) -> None:
    """Add the command ``plot`` to an application."""
    app.command()(plot)


def plot(
    symbol: Symbol,
    interval: Interval,
    exchange: Exchange,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", dir_okay=False, help="A .png, or an .html page that zooms."),
    ],
    start: Annotated[str | None, typer.Option(metavar="TIME", help="From here on: ISO 8601, or milliseconds.")] = None,
    end: Annotated[str | None, typer.Option(metavar="TIME", help="Up to here, and without it.")] = None,
    strategy: Annotated[str | None, typer.Option(metavar="NAME", help="Draw this strategy's trades as well.")] = None,
    backtest: Annotated[bool, typer.Option("--backtest/--live", help="Which of its trades.")] = True,
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="Instead of the name of the series.")] = None,
    width: Annotated[int, typer.Option(min=200, max=10_000, help="Of the plotting area.")] = 1200,
    height: Annotated[int, typer.Option(min=100, max=10_000, help="Of the plotting area.")] = 640,
    max_candles: Annotated[int, typer.Option(min=2, help="Merge more than these into a coarser interval.")] = 5000,
) -> None:
    """Draw the candles of a series, and the trades of a strategy over them.

    A .png is a picture. An .html is a page that needs no network: drag it, zoom with the wheel, and point at a candle
    or a trade for its numbers. Times are UTC, and where there was no trade no room is left. The file is replaced if it
    is there.
    """
    from backtest_mongo.candles.plot import FORMATS, plot_candles
    from backtest_mongo.candles.session import run

    if output.suffix.lower() not in FORMATS:
        raise typer.BadParameter(f"must end in {' or '.join(FORMATS)}", param_hint="'--output'")
    if not output.parent.is_dir():
        raise typer.BadParameter(f"directory {output.parent} does not exist", param_hint="'--output'")
    first, last = _millis(start, "--start"), _millis(end, "--end")
    if first is not None and last is not None and first >= last:
        raise typer.BadParameter("must come after --start", param_hint="'--end'")
    require("plot", "altair", "vl_convert")
    drawn = run(
        lambda: plot_candles(
            symbol,
            interval,
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
        )
    )
    merged = "" if drawn.bars == drawn.candles else f" as {drawn.bars:,} of {drawn.interval}"
    trades = "" if strategy is None else f", {drawn.trades:,} trade{'s' * (drawn.trades != 1)} of {strategy}"
    typer.echo(f"{exchange} {symbol} {interval}: {drawn.candles:,} candles{merged}{trades} in {output}")
    if drawn.left_out:
        told = ", ".join(f"{count:,} {reason}" for reason, count in sorted(drawn.left_out.items()))
        typer.echo(f"left out: {told}", err=True)


def _millis(text: str | None, option: str) -> int | None:
    from backtest_mongo.candles.times import text_to_millis

    try:
        return None if text is None else text_to_millis(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=f"'{option}'") from None
