"""The command ``backup``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from backtest_mongo.cli.command_runner import exit_cleanly, print_output
from backtest_mongo.cli.databases import SQLITE_ALONE, Files, Mongo, choose_storage

__all__ = ["backup"]


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write the copy.")],
    sqlite: Annotated[
        Path | None, typer.Option("--sqlite", metavar="PATH", help="The SQLite file to copy; default ./backtest.db.")
    ] = None,
    files: Files = None,
    mongo: Mongo = False,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False,
) -> None:
    """Copy an SQLite file as it is at one moment, while other processes read and write.

    The copy is written beside FILE, checked, and put in its place once it is on the disk. To restore a backup, stop
    what uses the file and copy it back: backtest-mongo backup backtest.db --sqlite BACKUP --force.

    Exits with status 1 if there is no copy.
    """
    from backtest_mongo.cli.formatting import format_bytes
    from backtest_mongo.cli.progress_bar import ProgressBar
    from backtest_mongo.sqlite.backup import back_up

    source = choose_storage(sqlite, files, mongo, SQLITE_ALONE).sqlite
    assert source is not None  # for the type checker: there is no other kind

    with exit_cleanly(), ProgressBar() as bar:
        started = False

        def show(done: int, total: int) -> None:
            nonlocal started
            if not started:
                bar.start(total)
                started = True
            bar.update(os.fspath(file), done)

        size = back_up(os.fspath(source), os.fspath(file), force=force, progress=show)
    print_output(f"{file}: a copy of {source}, {format_bytes(size)}, checked")
