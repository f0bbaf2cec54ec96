"""The command ``rename``: a strategy's other name."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from backtest_mongo.cli.command_runner import print_output
from backtest_mongo.cli.databases import SQLite, confirm, run_on_database

if TYPE_CHECKING:
    from backtest_mongo.types import RenameReport

__all__ = ["rename"]


def rename(
    old: Annotated[str, typer.Argument(metavar="OLD", help="The strategy's name.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The name that it is to have.")],
    sqlite: SQLite = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, for programs: without --yes, of what would be renamed.")
    ] = False,
) -> None:
    """Give everything that is stored of a strategy another name, in all slots. Stop the strategy first.

    Shows what it would change, and asks. Each context is renamed in a transaction, with its versions and the payloads
    that name the strategy. The command can be interrupted, and run again to go on. It is refused if something is
    stored already where a context would have to go, or if somebody holds a lease of one.

    A standalone MongoDB has no transactions, and neither have JSON files.

    Exits with status 0 if everything is renamed or there is nothing, 1 if the answer is no or it is refused, 2 for a
    mistake in the arguments, and if there is no terminal to ask on and --yes is not given.
    """
    from backtest_mongo.cli.terminal import print_json

    async def work(dry_run: bool) -> RenameReport:
        from backtest_mongo import rename_strategy

        return await rename_strategy(old, new, dry_run=dry_run)

    if as_json:
        report = run_on_database(lambda: work(not yes), sqlite)
        print_json(json.dumps(asdict(report), indent=2, ensure_ascii=False))
        return
    planned = run_on_database(lambda: work(True), sqlite)
    if not planned.slots:
        print_output(f"{old}: nothing is stored of a strategy of this name")
        return
    _print_plan(planned)
    confirm("Rename them?", "nothing renamed", yes)
    done = run_on_database(lambda: work(False), sqlite)
    rows = sum(slot.rows for slot in done.slots)
    print_output(f"{old} is {new} now, in {rows:,} rows of {len(done.slots)} slots")


def _print_plan(planned: RenameReport) -> None:
    from backtest_mongo.cli.terminal import Terminal, escape_text, print_table

    versions = any(slot.versions for slot in planned.slots)
    headings = ("slot", "contexts", "rows", *(("versions",) if versions else ()))
    rows = [
        (
            escape_text(slot.slot),
            f"{slot.contexts:,}" if slot.contexts else "-",
            f"{slot.rows:,}",
            *((f"{slot.versions:,}",) if versions else ()),
        )
        for slot in planned.slots
    ]
    print_table(Terminal(), headings, rows)
