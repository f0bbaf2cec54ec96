"""The command ``status``."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from backtest_mongo.cli.databases import Files, Mongo, SQLite, choose_storage, run_on_database

if TYPE_CHECKING:
    from collections.abc import Callable

    from backtest_mongo.overview.model import Overview

__all__ = ["status"]


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Show it again whenever it changes, until Ctrl-C.")] = False,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="Show at most this many runs.")] = 200,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, for programs; with --watch each time on one line.")
    ] = False,
    sqlite: SQLite = None,
    files: Files = None,
    mongo: Mongo = False,
) -> None:
    """Show what every strategy is doing, in live trading and in backtests.

    For each symbol it shows the open signal and since when it is open, what closed signals have brought, what the open
    one would bring at the last stored candle of the shortest interval, before costs, the last bar, and who holds the
    lease. What nothing stored says is unknown.

    With --watch, a change in the database shows at once, and one in JSON files within a second or two.

    Example: backtest-mongo status --sqlite backtest.db --watch
    """
    # Here, as help needs nothing of Rich.
    from backtest_mongo.cli.status.output import print_overview, print_overview_json
    from backtest_mongo.cli.terminal import Terminal

    console = Terminal()
    storage = choose_storage(sqlite, files, mongo)

    def show(overview: Overview) -> None:
        if as_json:
            print_overview_json(overview, is_compact=watch)
        else:
            print_overview(console, overview, redraws=watch, storage=storage.describe())

    if watch:
        run_on_database(lambda: _watch(limit, show), storage)
    else:
        show(run_on_database(lambda: _gather(limit), storage))


async def _gather(limit: int) -> Overview:
    # Here, because help needs no driver.
    from backtest_mongo.overview.gathering import gather_overview

    return await gather_overview(limit)


async def _watch(limit: int, show: Callable[[Overview], None]) -> None:
    from backtest_mongo.overview.watching import watch_overview

    async with aclosing(watch_overview(limit)) as overviews:
        async for overview in overviews:
            show(overview)
