"""The commands ``import-dump`` and ``export-dump``: their options, and how they end."""

from __future__ import annotations

import inspect
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from backtest_mongo.dumps.reports import CONFLICTS

__all__ = ["add_dumps"]

Slots = Annotated[
    list[str] | None, typer.Option("--slot", metavar="NAME", help="Only this slot, such as signal; may be repeated.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def add_dumps(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for name, command in (("import-dump", import_dump), ("export-dump", export_dump)):
        paragraphs = (inspect.getdoc(command) or "").split("\n\n")
        # typer keeps the lines of a docstring as they are, whatever the width of the terminal.
        app.command(name, help="\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs))(command)


def import_dump(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The dump, or the directory that has it as dump.")],
    apply: Annotated[bool, typer.Option("--apply", help="Do it, instead of showing what would be done.")] = False,
    conflicts: Annotated[
        str,
        typer.Option(
            metavar="CHOICE",
            help="Of two different rows of one key keep the newest, by the time they were written, or that of the "
            "file or of the store. Stored candles always stay.",
        ),
    ] = "newest",
    slot: Slots = None,
    strategy: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A strategy's name, to tell apart names that Node joins by _; repeatable."),
    ] = None,
    exchange: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="An exchange's name, for the same; repeatable.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring a dump of the Node package's default storage, of persist.use_files() or of export-dump into MongoDB.

    Without --apply nothing is written, and it says what would be. What is stored already like this is left alone, so it
    may be run again at any time. What can't be told apart, or read, is listed and left out; the rest goes on.

    Exits with 1 if files were left out.
    """
    if conflicts not in CONFLICTS:
        raise typer.BadParameter(f"{conflicts!r} is none of {', '.join(CONFLICTS)}", param_hint="'--conflicts'")
    from backtest_mongo.candles.session import run
    from backtest_mongo.dumps import importing
    from backtest_mongo.dumps.printing import following, print_import

    with following("files", as_json) as progress:
        report = run(
            lambda: importing.import_dump(
                directory,
                apply=apply,
                conflicts=conflicts,
                slots=slot or None,
                strategies=strategy or (),
                exchanges=exchange or (),
                progress=progress,
            )
        )
    if as_json:
        _print_json(asdict(report))
    else:
        print_import(report)
    raise typer.Exit(0 if report.is_complete else 1)


def export_dump(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to; it is made if it is missing.")],
    slot: Slots = None,
    as_json: AsJson = False,
) -> None:
    """Write what MongoDB holds to files in the layout of the Node package's default storage, a file a row.

    The Node package and persist.use_files() read them, and import-dump brings them back as they were. Files that are
    there are replaced where they differ. Candles are a file each: choose --slot where there are millions.

    Exits with 1 if rows were left out.
    """
    from backtest_mongo.candles.session import run
    from backtest_mongo.dumps import exporting
    from backtest_mongo.dumps.printing import following, print_export

    with following("rows", as_json) as progress:
        report = run(lambda: exporting.export_dump(directory, slots=slot or None, progress=progress))
    if as_json:
        _print_json(asdict(report))
    else:
        print_export(report)
    raise typer.Exit(1 if report.problems else 0)


def _print_json(report: dict[str, Any]) -> None:
    typer.echo(json.dumps(report, indent=2, ensure_ascii=False))
