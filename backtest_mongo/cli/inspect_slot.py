"""The command ``inspect``: the stored rows of a slot, filtered by parts of their key, and the changes that follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from backtest_mongo.cli.arguments import complete_from
from backtest_mongo.cli.command_runner import run_command
from backtest_mongo.cli.stored_rows import RowFilter, find_rows
from backtest_mongo.core.slots import SLOTS
from backtest_mongo.errors import InputError

if TYPE_CHECKING:
    from backtest_mongo.cli.row_printer import RowPrinter

__all__ = ["inspect_slot"]

_SPECS: Final = {spec.name: spec for spec in SLOTS}


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
            metavar="[KEY]...",
            help="Parts of the key, in the order of the adapter's arguments, then the entry's key. "
            "A part that is left out or - matches anything. The backtest flag is backtest or live.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Show at most this many rows.")] = 20,
    watch: Annotated[bool, typer.Option("--watch", help="Then show each change as it happens, until Ctrl-C.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print MongoDB's extended JSON, one row or change per line.")
    ] = False,
) -> None:
    """Show what MongoDB holds of a slot: payload, simulation time, and when it was written.

    Rows are in the order of their keys, candles newest first. --watch needs a replica set. An SQLite file is shown by
    the sqlite3 shell, and examined by doctor --sqlite.
    """
    spec = _SPECS.get(slot)
    if spec is None:
        raise typer.BadParameter(f"{slot!r} is not one of {', '.join(_SPECS)}", param_hint="'SLOT'")
    try:
        wanted = RowFilter.parse(spec, key or [])
    except InputError as error:
        raise typer.BadParameter(str(error), param_hint="'KEY'") from None
    # Here, as help needs nothing of Rich.
    from backtest_mongo.cli.row_printer import RowPrinter
    from backtest_mongo.cli.terminal import Terminal

    printer = RowPrinter(Terminal(), spec, as_json)
    if watch:
        run_command(lambda: _watch_rows(wanted, limit, printer))
    else:
        printer.print_rows(run_command(lambda: find_rows(wanted, limit)))


async def _watch_rows(wanted: RowFilter, limit: int, printer: RowPrinter) -> None:
    """Print what is stored, and then each change until the command is interrupted."""
    from backtest_mongo.adapters import ADAPTERS

    async with ADAPTERS[wanted.spec.name].watch_all() as changes:
        if limit:
            printer.print_rows(await find_rows(wanted, limit))
        printer.print_watching()
        async for change in changes:
            if wanted.matches(change):
                printer.print_change(change)
