"""The command ``explain``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from backtest_mongo.cli.arguments import check_choice, complete_from
from backtest_mongo.cli.databases import DATABASES, Files, Mongo, SQLite, choose_storage, run_on_database
from backtest_mongo.types import INTERVALS

if TYPE_CHECKING:
    from backtest_mongo.cli.explain.knowledge import Explanation

__all__ = ["explain"]

_INTERVAL_NAMES: Final = ", ".join(INTERVALS)


def explain(
    trade: Annotated[str, typer.Argument(metavar="TRADE_ID", help="The signal's id in the storage slot.")],
    candles: Annotated[int, typer.Option(min=0, max=1000, help="Show this many of the last closed candles.")] = 5,
    interval: Annotated[
        list[str] | None,
        typer.Option(
            metavar="INTERVAL",
            help=f"Only candles of this interval: {_INTERVAL_NAMES}; repeatable. By default all stored ones.",
            autocompletion=complete_from(INTERVALS),
        ),
    ] = None,
    backtest: Annotated[
        bool | None, typer.Option("--backtest/--live", help="Whether it is a backtest's trade or a live one.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print MongoDB's extended JSON, on one line.")] = False,
    sqlite: SQLite = None,
    files: Files = None,
    mongo: Mongo = False,
) -> None:
    """Show what was known when a trade was scheduled, opened, and closed.

    For each of these moments it shows the signal of the trade's context, its state, dictionaries and memory, partial
    profits and breakeven, the risk profiles of the exchange, the session, and the last closed candles. In a terminal,
    changes since the previous moment are highlighted.

    Rows are shown as they were then, from the versions that CC_HISTORY keeps; in slots without versions, only rows that
    were not written since.

    Exits with status 1 if no trade has the id.
    """
    for one in interval or ():
        check_choice(one, INTERVALS, "--interval")

    async def collect() -> Explanation:
        # Here, because help needs no driver.
        from backtest_mongo.cli.explain.knowledge import explain_trade
        from backtest_mongo.cli.explain.trade import find_trade

        return await explain_trade(await find_trade(trade, backtest), candles, interval or ())

    found = run_on_database(collect, choose_storage(sqlite, files, mongo, DATABASES))
    from backtest_mongo.cli.explain.output import explanation_to_json, print_explanation
    from backtest_mongo.cli.formatting import format_extended_json
    from backtest_mongo.cli.terminal import Terminal, print_json

    if as_json:
        print_json(format_extended_json(explanation_to_json(found)))
    else:
        print_explanation(Terminal(), found)
