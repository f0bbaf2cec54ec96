"""The command ``rename``: gives a strategy a new name."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from backtest_mongo.cli.command_runner import print_output
from backtest_mongo.cli.databases import DATABASES, Files, Mongo, SQLite, choose_storage, confirm, run_on_database

if TYPE_CHECKING:
    from backtest_mongo.types import RenameReport

__all__ = ["rename"]


def rename(
    old: Annotated[str, typer.Argument(metavar="OLD", help="The strategy's current name.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Its new name.")],
    sqlite: SQLite = None,
    files: Files = None,
    mongo: Mongo = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON and don't ask; without --yes, nothing is renamed.")
    ] = False,
) -> None:
    """Rename a strategy wherever its name is stored, in all slots. Stop the strategy first.

    Shows what it would change, and asks. Each context is renamed in a transaction, with its versions and the payloads
    that name the strategy. The command can be interrupted, and run again to continue. It refuses to start if a context
    is already stored under the new name, or if somebody holds the lease of one that would change.

    A standalone MongoDB and JSON files have no transactions, so nothing can be renamed there.

    Exits with status 0 if everything is renamed or nothing matches, 1 if the answer is no or it is refused, 2 for a
    mistake in the arguments, or if there is no terminal to ask on and --yes is not given.
    """
    from backtest_mongo.cli.terminal import print_json

    async def work(dry_run: bool) -> RenameReport:
        from backtest_mongo import rename_strategy

        return await rename_strategy(old, new, dry_run=dry_run)

    storage = choose_storage(sqlite, files, mongo, DATABASES)
    if as_json:
        report = run_on_database(lambda: work(not yes), storage)
        print_json(json.dumps(asdict(report), indent=2, ensure_ascii=False))
        return
    planned = run_on_database(lambda: work(True), storage)
    if not planned.slots:
        print_output(f"{old}: nothing is stored for a strategy of this name")
        return
    _print_plan(planned)
    confirm("Rename them?", "nothing renamed", yes)
    done = run_on_database(lambda: work(False), storage)
    rows = sum(slot.rows for slot in done.slots)
    print_output(f"{old} is now {new}, in {rows:,} rows of {len(done.slots)} slots")


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
