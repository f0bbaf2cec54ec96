"""The commands ``import-dump`` and ``export-dump``: their options and progress."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backtest_mongo.cli.arguments import AsJson, check_choice, complete_from
from backtest_mongo.cli.command_runner import run_command
from backtest_mongo.cli.databases import DATABASES, MONGO_ALONE, Files, Mongo, NewSQLite, choose_storage
from backtest_mongo.core.slots import SERIES, SLOTS
from backtest_mongo.core.wording import format_count
from backtest_mongo.dumps.reports import CONFLICTS

if TYPE_CHECKING:
    from backtest_mongo.dumps.importer import Progress

__all__ = ["export_dump", "import_dump"]

_Slots = Annotated[
    list[str] | None,
    typer.Option(
        "--slot",
        metavar="NAME",
        help="Only this slot, such as signal; repeatable.",
        autocompletion=complete_from([spec.name for spec in (*SLOTS, *SERIES)]),
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
    sqlite: NewSQLite = None,
    files: Files = None,
    mongo: Mongo = False,
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
    """Import a dump of the Node package's default storage, of persist.use_files() or of export-dump.

    Imports SQLite files of persist.use_sqlite() and of export-dump --sqlite too. They go into MongoDB, or into an
    SQLite file, for which no server is needed.

    Without --apply nothing is written; the command shows what would be. Rows that are stored already with the same
    values are skipped, so it can be run again at any time. What is ambiguous or can't be read is listed and left out;
    the rest is imported.

    Exits with status 1 if files or rows were left out.
    """
    # Here, as help needs nothing of Rich.
    from backtest_mongo.cli.dump_output import print_import
    from backtest_mongo.cli.terminal import Terminal
    from backtest_mongo.dumps import importer

    check_choice(conflicts, CONFLICTS, "--conflicts")
    choice: Any = conflicts
    # A dump in the working directory is where rows come from.
    target = choose_storage(sqlite, files, mongo, DATABASES, default_to_files=False)
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
                sqlite=target.sqlite,
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
    files: Files = None,
    mongo: Mongo = False,
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
    from backtest_mongo.cli.dump_output import print_export
    from backtest_mongo.cli.terminal import Terminal
    from backtest_mongo.dumps import exporter

    if (directory is None) == (sqlite is None):
        raise typer.BadParameter("name a directory, or a file with --sqlite", param_hint="'DIR'")
    choose_storage(None, files, mongo, MONGO_ALONE)
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
    from backtest_mongo.cli.terminal import Terminal, can_redraw, escape_text

    console = Terminal(stderr=True)
    if quiet or not can_redraw(console):
        yield None
        return
    with console.status("") as status:
        yield lambda slot, count: status.update(escape_text(f"{slot}: {format_count(count, unit)}"))


def _print_json(report: dict[str, Any]) -> None:
    from backtest_mongo.cli.terminal import print_json

    print_json(json.dumps(report, indent=2, ensure_ascii=False))
