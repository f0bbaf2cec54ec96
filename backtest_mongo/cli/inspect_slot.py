"""The command ``inspect``: the stored rows of a slot, filtered by parts of their key, and the changes that follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backtest_mongo.cli.arguments import ROW_HELP, complete_from, parse_moment
from backtest_mongo.cli.context_text import SPECS, find_spec, parse_row
from backtest_mongo.cli.databases import (
    DATABASES,
    Files,
    Mongo,
    SQLite,
    choose_storage,
    get_adapter,
    run_on_database,
)
from backtest_mongo.cli.ls import list_slots
from backtest_mongo.cli.stored_rows import FoundRows, RowFilter

if TYPE_CHECKING:
    from backtest_mongo.cli.row_printer import RowPrinter

__all__ = ["inspect_slot"]


def inspect_slot(
    slot: Annotated[
        str | None,
        typer.Argument(
            metavar="SLOT",
            help="The slot's name: signal, candle, memory, ...; without it the slots are listed.",
            autocompletion=complete_from(SPECS),
        ),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="VALUE|NAME=VALUE",
            help=ROW_HELP,
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Show at most this many rows.")] = 20,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="TIME",
            help="Show rows as they were at this simulation time: ISO 8601, or a number of s to ns.",
        ),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Then show each change as it happens, until Ctrl-C.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print MongoDB's extended JSON, one row or change per line.")
    ] = False,
    sqlite: SQLite = None,
    files: Files = None,
    mongo: Mongo = False,
) -> None:
    """Show the rows of a slot: payload, simulation time, and when each was written; or which slots hold any.

    Rows are in the order of their keys, those of series newest first. --watch needs a replica set, or an SQLite file.

    With --at, shows rows as they were then, from the versions that CC_HISTORY keeps; in slots without versions, only
    rows that were not written since. Candles are those that had closed by then, and rows of other series those up to
    then, to the last digit of the slot's unit.
    """
    if slot is None:
        for given, option in ((at, "--at"), (watch, "--watch")):
            if given:
                raise typer.BadParameter("it needs a slot", param_hint=f"'{option}'")
        list_slots(choose_storage(sqlite, files, mongo), as_json)
        return
    spec = find_spec(slot)
    wanted = RowFilter(spec, parse_row(spec, key or [], "'VALUE|NAME=VALUE'"))
    if watch and at is not None:
        raise typer.BadParameter("the past does not change: --watch and --at exclude each other", param_hint="'--at'")
    time = parse_moment(at, "--at", spec.unit if spec.columns else None)
    # Here, as help needs nothing of Rich.
    from backtest_mongo.cli.row_printer import RowPrinter
    from backtest_mongo.cli.terminal import Terminal

    storage = choose_storage(sqlite, files, mongo, DATABASES)
    printer = RowPrinter(Terminal(), spec, as_json)
    if watch:
        run_on_database(lambda: _watch_rows(wanted, limit, printer), storage)
    else:
        printer.print_rows(run_on_database(lambda: _find_rows(wanted, limit, time), storage), time)


async def _find_rows(wanted: RowFilter, limit: int, at: int | None) -> FoundRows:
    # Here, because help needs no driver.
    from backtest_mongo.cli.past_rows import find_rows_here

    return await find_rows_here(wanted, limit, at)


async def _watch_rows(wanted: RowFilter, limit: int, printer: RowPrinter) -> None:
    """Print what is stored, and then each change until the command is interrupted."""
    async with get_adapter(wanted.spec).watch_all() as changes:
        if limit:
            printer.print_rows(await _find_rows(wanted, limit, None))
        printer.print_watching()
        async for change in changes:
            if wanted.matches(change):
                printer.print_change(change)
