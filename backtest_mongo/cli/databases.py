"""The database that a command works on, MongoDB, an SQLite file or a directory of JSON files; and its confirmation."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from backtest_mongo.cli.command_runner import print_error, run_command
from backtest_mongo.errors import InputError

if TYPE_CHECKING:
    from backtest_mongo.adapters.shapes import Adapter
    from backtest_mongo.core.specs import SlotSpec

__all__ = ["Files", "NewSQLite", "SQLite", "confirm", "get_adapter", "run_on_database"]

_T = TypeVar("_T")

SQLite = Annotated[
    Path | None, typer.Option("--sqlite", metavar="FILE", help="Use this SQLite file instead of MongoDB.")
]
Files = Annotated[
    Path | None,
    typer.Option("--files", metavar="DIR", help="Use this directory of JSON files instead of MongoDB."),
]


#: Of a command that writes.
NewSQLite = Annotated[
    Path | None,
    typer.Option(
        "--sqlite", metavar="FILE", help="Use this SQLite file instead of MongoDB; it is created if it is missing."
    ),
]


def run_on_database(
    work: Callable[[], Awaitable[_T]], sqlite: Path | None, files: Path | None = None, *, creates: bool = False
) -> _T:
    """Run a command's asynchronous work with the registry pointed at the database that its options name.

    Args:
        work: the work.
        sqlite: an SQLite file.
        files: a directory of JSON files.
        creates: whether the work may create the SQLite file.

    Raises:
        typer.BadParameter: they name two databases.
        typer.Exit: there is no such file or directory, or the work fails.
    """
    if sqlite is not None and files is not None:
        raise typer.BadParameter("name one database, with --sqlite or --files", param_hint="'--files'")
    if sqlite is None and files is None:
        return run_command(work)

    async def run() -> _T:
        from backtest_mongo.sqlite.database import close_databases

        _point_registry(sqlite, files, creates=creates)
        try:
            return await work()
        finally:
            await close_databases()

    return run_command(run, connect=False)


def _point_registry(sqlite: Path | None, files: Path | None, *, creates: bool) -> None:
    """Point the registry at an SQLite file or at a directory, and log to standard error.

    Raises:
        InputError: it does not exist.
    """
    import logging

    from backtest_mongo.adapters.registry import persist
    from backtest_mongo.core.log import set_logger

    set_logger(logging.getLogger("backtest_mongo"))
    if sqlite is not None:
        if not creates and not os.path.lexists(sqlite):
            raise InputError(f"there is no file {sqlite}")
        persist.use_sqlite(sqlite)
    elif files is not None:
        if not files.is_dir():
            raise InputError(f"there is no directory {files}")
        persist.use_files(files)


def get_adapter(spec: SlotSpec) -> type[Adapter]:
    """Return the adapter class of a slot for the database that the command works on."""
    from backtest_mongo.adapters.registry import persist

    adapter: type[Adapter] = persist._get_implementation(spec)  # type: ignore[assignment]  # a command has no others
    return adapter


def confirm(question: str, refused: str, yes: bool) -> None:
    """Ask a question, unless ``yes`` answers it.

    Raises:
        typer.Exit: the answer is no, or there is no terminal to ask on; ``refused`` says what is not done then.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        print_error(f"backtest-mongo: {refused}: there is no terminal to ask on, and --yes is not given")
        raise typer.Exit(2)
    if not typer.confirm(question):
        raise typer.Exit(1)
