"""The commands ``import-dump`` and ``export-dump``: their options, progress and output."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console

from backtest_mongo.cli.arguments import AsJson, check_choice, complete_from
from backtest_mongo.cli.command_runner import run_command
from backtest_mongo.cli.terminal import Terminal, can_redraw, escape_text, print_json, print_line, print_table
from backtest_mongo.core.slots import SLOTS
from backtest_mongo.core.wording import format_count
from backtest_mongo.dumps.reports import CONFLICTS, DumpProblem, ExportReport, ImportReport, SlotImport

if TYPE_CHECKING:
    from backtest_mongo.dumps.importer import Progress

__all__ = ["export_dump", "import_dump", "print_export", "print_import"]

#: Lines of a kind that are printed; a dump can have thousands of one kind.
_LISTED: Final = 20
_COUNTS: Final = ("added", "same", "replaced", "kept", "open", "refused")
_PLANNED: Final = {"added": "to add", "replaced": "to replace", "kept": "to keep"}

_Slots = Annotated[
    list[str] | None,
    typer.Option(
        "--slot",
        metavar="NAME",
        help="Only this slot, such as signal; repeatable.",
        autocompletion=complete_from([spec.name for spec in SLOTS]),
    ),
]


def import_dump(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIR|FILE",
            help="The dump, the directory that contains it as dump, or an SQLite file of this library.",
        ),
    ],
    apply: Annotated[bool, typer.Option("--apply", help="Apply the changes instead of showing them.")] = False,
    conflicts: Annotated[
        str,
        typer.Option(
            metavar="CHOICE",
            help="Which of two different rows with one key to keep: the newest, by the time they were written, or that "
            "of the file or of the store. Stored candles always stay.",
            autocompletion=complete_from(CONFLICTS),
        ),
    ] = "newest",
    sqlite: Annotated[
        Path | None,
        typer.Option(
            "--sqlite", metavar="FILE", help="Import into this SQLite file, not into MongoDB; made if it is missing."
        ),
    ] = None,
    slot: _Slots = None,
    strategy: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A strategy's name, to split names that Node joins with _; repeatable."),
    ] = None,
    exchange: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="An exchange's name, for the same purpose; repeatable.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Import a dump of the Node package's default storage, of persist.use_files() or of export-dump into MongoDB.

    Imports SQLite files of persist.use_sqlite() and of export-dump --sqlite too. With --sqlite, dumps go into an SQLite
    file, and no server is needed.

    Without --apply nothing is written; the command shows what would be. Rows that are stored already with the same
    values are skipped, so it can be run again at any time. What is ambiguous or can't be read is listed and left out;
    the rest is imported.

    Exits with status 1 if files or rows were left out.
    """
    from backtest_mongo.dumps import importer

    check_choice(conflicts, CONFLICTS, "--conflicts")
    choice: Any = conflicts
    with _show_progress("row" if directory.is_file() else "file", as_json) as progress:
        report = run_command(
            lambda: importer.import_dump(
                directory,
                apply=apply,
                conflicts=choice,
                slots=slot or None,
                strategies=strategy or (),
                exchanges=exchange or (),
                progress=progress,
                sqlite=sqlite,
            )
        )
    if as_json:
        _print_json(asdict(report))
    else:
        print_import(Terminal(), report)
    raise typer.Exit(0 if report.is_complete else 1)


def export_dump(
    directory: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Where to write files; created if it is missing.")
    ] = None,
    sqlite: Annotated[
        Path | None,
        typer.Option("--sqlite", metavar="FILE", help="Write an SQLite file instead; it must not exist, or be empty."),
    ] = None,
    slot: _Slots = None,
    as_json: AsJson = False,
) -> None:
    """Write what MongoDB holds to files in the layout of the Node package's default storage, one file per row.

    The Node package and persist.use_files() read them, and import-dump restores them as they were. Existing files are
    replaced where they differ. Each candle is a file: choose --slot if there are millions.

    With --sqlite, it writes one SQLite file, which persist.use_sqlite() and import-dump read. The file appears once it
    is complete.

    Exits with status 1 if rows were left out.
    """
    from backtest_mongo.dumps import exporter

    if (directory is None) == (sqlite is None):
        raise typer.BadParameter("name a directory, or a file with --sqlite", param_hint="'DIR'")
    with _show_progress("row", as_json) as progress:
        report = run_command(
            lambda: exporter.export_dump(directory, sqlite=sqlite, slots=slot or None, progress=progress)
        )
    if as_json:
        _print_json(asdict(report))
    else:
        print_export(Terminal(), report)
    raise typer.Exit(1 if report.problems else 0)


@contextmanager
def _show_progress(unit: str, quiet: bool) -> Iterator[Progress | None]:
    console = Terminal(stderr=True)
    if quiet or not can_redraw(console):
        yield None
        return
    with console.status("") as status:
        yield lambda slot, count: status.update(escape_text(f"{slot}: {format_count(count, unit)}"))


def _print_json(report: dict[str, Any]) -> None:
    print_json(json.dumps(report, indent=2, ensure_ascii=False))


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
