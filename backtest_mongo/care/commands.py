"""The commands ``doctor``, ``inspect`` and ``migrate``: their options, and how they end."""

from __future__ import annotations

import inspect as inspection
import json
from typing import TYPE_CHECKING, Annotated

import typer

from backtest_mongo.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["add_care"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def add_care(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for name, command in (("doctor", doctor), ("inspect", inspect_slot), ("migrate", migrate_rows)):
        paragraphs = (inspection.getdoc(command) or "").split("\n\n")
        # typer keeps the lines of a docstring as they are, whatever the width of the terminal.
        app.command(name, help="\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs))(command)


def doctor(
    as_json: AsJson = False,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Time no writes, which are to a collection and a key of its own.")
    ] = False,
) -> None:
    """Examine the deployment that the environment names (CC_*), and say what to do about what is found.

    Versions, topology, durability, clocks, indexes, what is stored, Redis, and how long each step takes. Samples are
    taken at random, so another run may find more. It changes nothing that is stored.

    Exits with 1 if there is a problem: something fails, or loses data, as it is.
    """
    from backtest_mongo.candles.session import run
    from backtest_mongo.care.doctor import diagnose
    from backtest_mongo.care.printing import print_diagnosis

    diagnosis = run(lambda: diagnose(read_only))
    if as_json:
        typer.echo(json.dumps(diagnosis.as_json(), indent=2))
    else:
        print_diagnosis(_console(), diagnosis)
    raise typer.Exit(0 if diagnosis.is_sound else 1)


def inspect_slot(
    slot: Annotated[str, typer.Argument(metavar="SLOT", help="The slot's name: signal, candle, memory, ...")],
    key: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY]...",
            help="Parts of the key, in the order of the adapter's arguments, then the entry's key. "
            "Left out or -: any. The backtest flag is backtest or live.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Show so many rows at most.")] = 20,
    watch: Annotated[bool, typer.Option("--watch", help="Then show each change as it happens, until Ctrl-C.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print MongoDB's extended JSON, one row or change a line.")
    ] = False,
) -> None:
    """Show what is stored of a slot: payload, simulation time, and when it was written.

    Rows come in the order of their keys, candles newest first. --watch needs a replica set.
    """
    from backtest_mongo.candles.session import run
    from backtest_mongo.care.inspecting import Filter, Printer, find, follow
    from backtest_mongo.slots import SLOTS

    spec = next((spec for spec in SLOTS if spec.name == slot), None)
    if spec is None:
        known = ", ".join(spec.name for spec in SLOTS)
        raise typer.BadParameter(f"{slot!r} is not one of {known}", param_hint="'SLOT'")
    try:
        wanted = Filter.of(spec, key or [])
    except InputError as error:
        raise typer.BadParameter(str(error), param_hint="'KEY'") from None
    printer = Printer(_console(), spec, as_json)
    if watch:
        run(lambda: follow(wanted, limit, printer))
    else:
        printer.show(run(lambda: find(wanted, limit)))


def migrate_rows(
    apply: Annotated[bool, typer.Option("--apply", help="Do it, instead of showing what would be done.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find what older versions of the Node package left that is in the way, and with --apply mend it.

    Their unique index of session rows has three fields, which refuses a second session of a strategy, and their rows
    lack symbol and backtest, so that no read finds them. The rows get "" and false, and the index is replaced.

    Others may read and write meanwhile, and it may be run again at any time. Stop programs of the older version before.

    Exits with 1 if something is left to do.
    """
    from backtest_mongo.candles.session import run
    from backtest_mongo.care.migrating import print_migration, report_as_json
    from backtest_mongo.migrations import migrate

    report = run(lambda: migrate(apply))
    if as_json:
        typer.echo(json.dumps(report_as_json(report), indent=2))
    else:
        print_migration(_console(), report)
    raise typer.Exit(0 if report.is_clean else 1)


def _console() -> Console:
    from rich.console import Console

    return Console()
