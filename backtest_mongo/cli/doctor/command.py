"""The command ``doctor``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from backtest_mongo.cli.arguments import AsJson, import_module
from backtest_mongo.cli.command_runner import exit_cleanly, run_command
from backtest_mongo.cli.databases import DATABASES, Files, Mongo, SQLite, choose_storage

__all__ = ["doctor"]


def doctor(
    as_json: AsJson = False,
    read_only: Annotated[
        bool,
        typer.Option(
            "--read-only",
            help="Time no writes, which go to a collection and a key of the doctor's own; leave an SQLite file's "
            "write-ahead log as it is.",
        ),
    ] = False,
    sqlite: SQLite = None,
    files: Files = None,
    mongo: Mongo = False,
    thorough: Annotated[
        bool,
        typer.Option(
            "--thorough",
            help="Of an SQLite file: compare indexes with tables, and read all of each series, which takes longer.",
        ),
    ] = False,
    module: Annotated[
        str | None,
        typer.Option(metavar="MODULE", help="Import this Python module first, which registers slots of your own."),
    ] = None,
) -> None:
    """Examine a deployment or an SQLite file, and say what to do about the findings.

    Of servers it examines versions, topology, durability, clocks, indexes, stored data and Redis, and times each step.
    Samples are random, so another run may find more. It does not change stored data.

    Of an SQLite file it examines versions, format, disk, write-ahead log, structure, rows, candles and other series.

    Exits with status 1 if there is a problem: something fails, or loses data, as it is.
    """
    # Here, as help needs nothing of Rich.
    from backtest_mongo.cli.doctor.output import print_diagnosis
    from backtest_mongo.cli.terminal import Terminal, print_json

    if module is not None:
        import_module(module)
    storage = choose_storage(sqlite, files, mongo, DATABASES)
    if storage.sqlite is None:
        from backtest_mongo.cli.doctor.diagnose import diagnose

        if thorough:
            raise typer.BadParameter("it needs an SQLite file", param_hint="'--thorough'")
        diagnosis = run_command(lambda: diagnose(read_only))
    else:
        from backtest_mongo.cli.doctor.diagnose_sqlite import diagnose_file

        with exit_cleanly():
            diagnosis = diagnose_file(storage.sqlite, thorough=thorough, read_only=read_only)
    if as_json:
        print_json(json.dumps(diagnosis.to_json(), indent=2))
    else:
        print_diagnosis(Terminal(), diagnosis)
    raise typer.Exit(0 if diagnosis.is_sound else 1)
