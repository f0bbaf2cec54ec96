"""What ``import-dump`` and ``export-dump`` print."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table

from backtest_mongo.dumps.importing import Progress
from backtest_mongo.dumps.reports import DumpProblem, ExportReport, ImportReport, SlotImport

__all__ = ["following", "print_export", "print_import"]

#: Lines of a kind that are printed; a dump can have thousands of one.
_SHOWN: Final = 20
_DONE: Final = ("added", "same", "replaced", "kept", "open", "refused")
_PLANNED: Final = {"added": "to add", "replaced": "to replace", "kept": "to keep"}


@contextmanager
def following(unit: str, quiet: bool) -> Iterator[Progress | None]:
    """Give what shows progress on a terminal, which is standard error's."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    with console.status("") as status:
        yield lambda slot, count: status.update(f"{slot}: {count:,} {unit}")


def print_import(report: ImportReport, console: Console | None = None) -> None:
    """Print counts by slot, what was left out and why, and what is to be done next."""
    out = console or Console()
    columns = [name for name in _DONE if name in ("added", "same") or any(getattr(one, name) for one in report.slots)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0), show_footer=len(report.slots) > 1)
    table.add_column("slot", footer="all")
    for name in ("files", *columns):
        heading = name if report.applied else _PLANNED.get(name, name)
        table.add_column(heading, justify="right", footer=f"{_total(report.slots, name):,}")
    for one in report.slots:
        table.add_row(one.slot, *(f"{getattr(one, name):,}" for name in ("files", *columns)))
    if report.slots:
        out.print(table)
    else:
        _line(out, f"{report.directory} has no files of these slots.")
    _print_conflicts(out, report)
    _print_problems(out, report.problems)
    if report.others:
        _line(out, f"No slot's, and left alone: {', '.join(report.others[:_SHOWN])}{_more(report.others, ', ')}")
    if not report.applied:
        _line(out, "Nothing was written. --apply does it.", "bold")


def print_export(report: ExportReport, console: Console | None = None) -> None:
    """Print counts by slot, and what was left out."""
    out = console or Console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("slot")
    for heading in ("written", "same"):
        table.add_column(heading, justify="right")
    for one in report.slots:
        table.add_row(one.slot, f"{one.written:,}", f"{one.same:,}")
    if report.slots:
        out.print(table)
    else:
        _line(out, "Nothing is stored.")
    _print_problems(out, report.problems)
    _line(out, f"The dump is in {os.path.relpath(report.directory)}.")


def _print_conflicts(out: Console, report: ImportReport) -> None:
    if not report.conflicts:
        return
    _line(out, "Different in the store:", "bold")
    for conflict in report.conflicts[:_SHOWN]:
        _line(out, f"  {conflict.path}: the {conflict.kept}'s {'stays' if conflict.kept == 'store' else 'is taken'}")
    differing = _total(report.slots, "replaced") + _total(report.slots, "kept")
    if differing > _SHOWN:
        _line(out, f"  and {differing - _SHOWN:,} more")


def _print_problems(out: Console, problems: Sequence[DumpProblem]) -> None:
    if not problems:
        return
    _line(out, "Left out:", "bold")
    for problem in problems[:_SHOWN]:
        _line(out, f"  {problem.path}: {problem.problem}")
    _line(out, _more(problems, "  ").strip("\n"))
    for hint in dict.fromkeys(problem.hint for problem in problems):
        _line(out, f"  -> {hint}")


def _more(shown: Sequence[object], before: str) -> str:
    return f"{before}and {len(shown) - _SHOWN:,} more" if len(shown) > _SHOWN else ""


def _total(slots: Sequence[SlotImport], name: str) -> int:
    return sum(getattr(one, name) for one in slots)


def _line(out: Console, text: str, style: str = "") -> None:
    if text:
        out.print(text, style=style, highlight=False, markup=False, soft_wrap=True)
