"""The command ``migrate``: finds and repairs what older versions of the Node package left."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from backtest_mongo.cli.arguments import AsJson
from backtest_mongo.cli.databases import MONGO_ALONE, Files, Mongo, SQLite, choose_storage, run_on_database
from backtest_mongo.cli.formatting import format_extended_json

if TYPE_CHECKING:
    from rich.console import Console

    from backtest_mongo.mongo.migrations import MigrationReport

__all__ = ["migrate_rows"]

#: Conflicting keys that are printed.
_LISTED: Final = 10


def migrate_rows(
    apply: Annotated[bool, typer.Option("--apply", help="Apply the changes instead of showing them.")] = False,
    sqlite: SQLite = None,
    files: Files = None,
    mongo: Mongo = False,
    as_json: AsJson = False,
) -> None:
    """Find what older versions of the Node package left behind, and repair it with --apply.

    Their unique index of session rows has three fields and rejects a second session of a strategy, and their rows lack
    symbol and backtest, so no read finds them. The rows get "" and false, and the index is replaced.

    Other processes may read and write at the same time, and it can be run again at any time. Before you run it, stop
    programs of the older version.

    Exits with status 1 if something is left to do.
    """
    # Here, as help needs nothing of Rich.
    from backtest_mongo.cli.terminal import Terminal, print_json
    from backtest_mongo.mongo.migrations import migrate

    report = run_on_database(lambda: migrate(apply), choose_storage(sqlite, files, mongo, MONGO_ALONE))
    if as_json:
        print_json(json.dumps(_to_json(report), indent=2))
    else:
        _print_report(Terminal(), report)
    raise typer.Exit(0 if report.is_clean else 1)


def _to_json(report: MigrationReport) -> dict[str, Any]:
    return {
        "applied": report.applied,
        "clean": report.is_clean,
        "found": [{name: getattr(one, name) for name in one.__slots__} for one in report.found],
    }


def _print_report(console: Console, report: MigrationReport) -> None:
    from backtest_mongo.cli.terminal import print_line

    if not report.found:
        print_line(console, "Nothing to migrate: no index or row of an older version of the Node package.")
        return
    for one in report.found:
        print_line(console, one.collection, "bold")
        for name in one.indexes:
            done = "dropped; the unique index on the whole key exists" if report.applied else "would be replaced"
            print_line(console, f"  index  {name}: {done}")
        if report.applied:
            text = f"incomplete keys: {one.mended:,} completed, {one.left:,} left"
        else:
            text = f"incomplete keys, so no read finds the rows: {one.rows:,}; they would be completed"
        print_line(console, f"  rows   {text}")
        for key in one.conflicts[:_LISTED]:
            print_line(console, f"  left   {format_extended_json(key)}: another row has this key")
        if len(one.conflicts) > _LISTED:
            print_line(console, f"         and {len(one.conflicts) - _LISTED:,} more")
    if not report.applied:
        print_line(console, "Nothing was changed. Stop programs of the older version, then run it with --apply.")
    elif any(one.conflicts for one in report.found):
        print_line(console, "No read finds the remaining rows. Delete them, or delete the others and run it again.")
    elif not report.is_clean:
        print_line(console, "A program of the older version is still writing: stop it, and run it again.")
