"""The command ``inspect``: the stored rows of a slot, filtered by parts of their key, and the changes that follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from backtest_mongo.cli.arguments import complete_from, parse_moment
from backtest_mongo.cli.databases import SQLite, get_adapter, run_on_database
from backtest_mongo.cli.stored_rows import FoundRows, RowFilter
from backtest_mongo.core.slots import SERIES, SLOTS
from backtest_mongo.errors import InputError

if TYPE_CHECKING:
    from backtest_mongo.cli.row_printer import RowPrinter

__all__ = ["inspect_slot"]

_SPECS: Final = {spec.name: spec for spec in (*SLOTS, *SERIES)}


def inspect_slot(
    slot: Annotated[
        str,
        typer.Argument(
            metavar="SLOT",
            help="The slot's name: signal, candle, memory, ...",
            autocompletion=complete_from(_SPECS),
        ),
    ],
    key: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY",
            help="Parts of the key, in the order of the adapter's arguments, then the entry's key. "
            "A part that is left out or - matches anything. The backtest flag is backtest or live.",
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
) -> None:
    """Show the rows of a slot: payload, simulation time, and when each was written.

    Rows are in the order of their keys, those of series newest first. --watch needs a replica set, or an SQLite file.

    With --at, shows rows as they were then, from the versions that CC_HISTORY keeps; in slots without versions, only
    rows that were not written since. Candles are those that had closed by then, and rows of other series those up to
    then, to the last digit of the slot's unit.
    """
    spec = _SPECS.get(slot)
    if spec is None:
        raise typer.BadParameter(f"{slot!r} is not one of {', '.join(_SPECS)}", param_hint="'SLOT'")
    try:
        wanted = RowFilter.parse(spec, key or [])
    except InputError as error:
        raise typer.BadParameter(str(error), param_hint="'KEY'") from None
    if watch and at is not None:
        raise typer.BadParameter("the past does not change: --watch and --at exclude each other", param_hint="'--at'")
    time = parse_moment(at, "--at", spec.unit if spec.columns else None)
    # Here, as help needs nothing of Rich.
    from backtest_mongo.cli.row_printer import RowPrinter
    from backtest_mongo.cli.terminal import Terminal

    printer = RowPrinter(Terminal(), spec, as_json)
    if watch:
        run_on_database(lambda: _watch_rows(wanted, limit, printer), sqlite)
    else:
        printer.print_rows(run_on_database(lambda: _find_rows(wanted, limit, time), sqlite), time)


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
