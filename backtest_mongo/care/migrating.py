"""What ``backtest-mongo migrate`` prints."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from backtest_mongo.care.texts import as_json
from backtest_mongo.migrations import MigrationReport, Outdated

__all__ = ["print_migration", "report_as_json"]

#: Conflicting keys that are printed.
_SHOWN = 10


def report_as_json(report: MigrationReport) -> dict[str, Any]:
    """Return the report for programs."""
    return {
        "applied": report.applied,
        "clean": report.is_clean,
        "found": [{name: getattr(one, name) for name in Outdated.__slots__} for one in report.found],
    }


def print_migration(console: Console, report: MigrationReport) -> None:
    """Print what was found, what was done, and what is left to do."""

    def line(text: str, style: str = "") -> None:
        console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)

    if not report.found:
        line("Nothing of an older version of the Node package is in the way.")
        return
    for one in report.found:
        line(one.collection, "bold")
        for name in one.indexes:
            done = "dropped; the unique index over the whole key is there" if report.applied else "would be replaced"
            line(f"  index  {name}: {done}")
        if report.applied:
            line(f"  rows   {one.mended:,} were given what they lacked of their key, {one.left:,} lack it still")
        else:
            line(f"  rows   {one.rows:,} lack a part of their key, and are never found; they would be given it")
        for key in one.conflicts[:_SHOWN]:
            line(f"  left   {as_json(key)}: another row has this key")
        if len(one.conflicts) > _SHOWN:
            line(f"         and {len(one.conflicts) - _SHOWN:,} more")
    if not report.applied:
        line("Nothing was changed. Stop programs of the older version, then run it with --apply.")
    elif any(one.conflicts for one in report.found):
        line("The rows that are left are not read. Delete them, or the others and run it again.")
    elif not report.is_clean:
        line("A program of the older version is still writing: stop it, and run it again.")
