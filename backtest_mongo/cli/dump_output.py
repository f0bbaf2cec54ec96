"""How the reports of imports and exports are printed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from rich.console import Console

from backtest_mongo.cli.terminal import escape_text, print_line, print_table
from backtest_mongo.dumps.reports import DumpProblem, ExportReport, ImportReport, SlotImport

__all__ = ["print_export", "print_import"]

#: Lines of a kind that are printed; a dump can have thousands of one kind.
_LISTED: Final = 20
_COUNTS: Final = ("added", "same", "replaced", "kept", "open", "refused")
_PLANNED: Final = {"added": "to add", "replaced": "to replace", "kept": "to keep"}


def print_import(console: Console, report: ImportReport) -> None:
    """Print counts by slot, what was left out and why, and what to do next."""
    columns = [name for name in _COUNTS if name in ("added", "same") or any(getattr(one, name) for one in report.slots)]
    unit = "rows" if os.path.isfile(report.directory) else "files"
    names = ("files", *columns)
    if report.slots:
        print_table(
            console,
            ("slot", unit, *(name if report.applied else _PLANNED.get(name, name) for name in columns)),
            [(escape_text(one.slot), *(f"{getattr(one, name):,}" for name in names)) for one in report.slots],
            footer=("all", *(f"{_sum(report.slots, name):,}" for name in names)) if len(report.slots) > 1 else (),
        )
    else:
        print_line(console, f"{report.directory} has no {unit} of these slots.")
    _print_conflicts(console, report)
    _print_problems(console, report.problems)
    if report.others:
        names_of_others = ", ".join(report.others[:_LISTED])
        print_line(console, f"Skipped, not {unit} of any slot: {names_of_others}{_count_more(report.others, ', ')}")
    if not report.applied:
        print_line(console, "Nothing was written; --apply writes it.", "bold")


def print_export(console: Console, report: ExportReport) -> None:
    """Print counts by slot, and what was left out."""
    if report.slots:
        rows = [(escape_text(one.slot), f"{one.written:,}", f"{one.same:,}") for one in report.slots]
        print_table(console, ("slot", "written", "same"), rows)
    else:
        print_line(console, "Nothing is stored.")
    _print_problems(console, report.problems)
    what = "SQLite file is" if os.path.isfile(report.directory) else "dump is in"
    print_line(console, f"The {what} {os.path.relpath(report.directory)}.")


def _print_conflicts(console: Console, report: ImportReport) -> None:
    if not report.conflicts:
        return
    print_line(console, "Stored rows that differ:", "bold")
    for conflict in report.conflicts[:_LISTED]:
        outcome = "stays" if conflict.kept == "store" else "is taken"
        print_line(console, f"  {conflict.path}: the {conflict.kept}'s {outcome}")
    differing = _sum(report.slots, "replaced") + _sum(report.slots, "kept")
    if differing > _LISTED:
        print_line(console, f"  and {differing - _LISTED:,} more")


def _print_problems(console: Console, problems: Sequence[DumpProblem]) -> None:
    if not problems:
        return
    print_line(console, "Left out:", "bold")
    for problem in problems[:_LISTED]:
        print_line(console, f"  {problem.path}: {problem.problem}")
    if more := _count_more(problems, "  "):
        print_line(console, more)
    for hint in dict.fromkeys(problem.hint for problem in problems):
        print_line(console, f"  -> {hint}")


def _count_more(listed: Sequence[object], before: str) -> str:
    return f"{before}and {len(listed) - _LISTED:,} more" if len(listed) > _LISTED else ""


def _sum(slots: Sequence[SlotImport], name: str) -> int:
    return sum(getattr(one, name) for one in slots)
