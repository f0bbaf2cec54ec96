"""The storage that a command works on, MongoDB, an SQLite file or a directory of JSON files; and its confirmation.

:func:`choose_storage` is the one place that decides which it is. A command takes the options :data:`SQLite`,
:data:`Files` and :data:`Mongo`, and passes what they hold.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias, TypeVar

import typer

from backtest_mongo.cli.command_runner import exit_cleanly, print_error, run_command
from backtest_mongo.errors import InputError

if TYPE_CHECKING:
    from backtest_mongo.adapters.shapes import Adapter
    from backtest_mongo.core.specs import SlotSpec

__all__ = [
    "DATABASES",
    "MONGO_ALONE",
    "SQLITE_ALONE",
    "Files",
    "Mongo",
    "NewSQLite",
    "SQLite",
    "Storage",
    "StorageOptions",
    "choose_storage",
    "confirm",
    "get_adapter",
    "name_servers",
    "run_on_database",
]

_T = TypeVar("_T")

Kind: TypeAlias = Literal["mongo", "sqlite", "files"]
#: What ``--sqlite``, ``--files`` and ``--mongo`` hold.
StorageOptions: TypeAlias = "tuple[Path | None, Path | None, bool]"

#: All storages; those with transactions, versions and leases; and each of these alone.
EVERYWHERE: Final[tuple[Kind, ...]] = ("sqlite", "files", "mongo")
DATABASES: Final[tuple[Kind, ...]] = ("sqlite", "mongo")
MONGO_ALONE: Final[tuple[Kind, ...]] = ("mongo",)
SQLITE_ALONE: Final[tuple[Kind, ...]] = ("sqlite",)

SQLite = Annotated[Path | None, typer.Option("--sqlite", metavar="FILE", help="Use this SQLite file.")]
Files = Annotated[Path | None, typer.Option("--files", metavar="DIR", help="Use this directory of JSON files.")]
Mongo = Annotated[bool, typer.Option("--mongo", help="Use the servers that the CC_* variables name, or localhost.")]
#: Of a command that writes.
NewSQLite = Annotated[
    Path | None,
    typer.Option("--sqlite", metavar="FILE", help="Use this SQLite file, which is created if it is missing."),
]

#: The environment variables that name servers.
_SERVERS: Final = ("CC_MONGO_CONNECTION_STRING", "CC_REDIS_URL", "CC_REDIS_HOST")
#: Where the library stores by default, and where the Node package does, below the working directory.
_DEFAULT_FILE: Final = Path("backtest.db")
_DEFAULT_DIRECTORY: Final = Path("dump")
_OPTIONS: Final = {"sqlite": "--sqlite FILE", "files": "--files DIR", "mongo": "--mongo"}


@dataclass(frozen=True, slots=True)
class Storage:
    """The storage that a command works on.

    Attributes:
        kind: what it is.
        path: the SQLite file or the directory; ``None`` for servers.
    """

    kind: Kind
    path: Path | None = None

    @property
    def sqlite(self) -> Path | None:
        """The SQLite file, if it is one."""
        return self.path if self.kind == "sqlite" else None

    @property
    def files(self) -> Path | None:
        """The directory of JSON files, if it is one."""
        return self.path if self.kind == "files" else None

    @property
    def option(self) -> str:
        """The option that names it, quoted for a shell."""
        return "--mongo" if self.path is None else f"--{self.kind} {shlex.quote(str(self.path))}"

    def describe(self) -> str:
        """Return what it is, for a line of output; of servers without credentials.

        Raises:
            ConfigError: the environment holds a bad value.
        """
        if self.path is not None:
            # As the user would type it: without a directory a name could be anything.
            shown = f"./{self.path}" if self.path.parent == Path() and not self.path.is_absolute() else str(self.path)
            return f"{shown} ({'SQLite' if self.kind == 'sqlite' else 'JSON files'})"
        # Here, because help does not need it.
        from backtest_mongo.connection.mongo_clients import DEFAULT_DATABASE
        from backtest_mongo.core.config import get_config

        uri = get_config().CC_MONGO_CONNECTION_STRING
        return f"MongoDB at {uri.hosts}, database {uri.database or DEFAULT_DATABASE}"


def name_servers() -> str:
    """Return the environment variable that names servers of the user; an empty string if none does."""
    return next((name for name in _SERVERS if os.environ.get(name)), "")


def choose_storage(
    sqlite: Path | None,
    files: Path | None,
    mongo: bool,
    works_on: Collection[Kind] = EVERYWHERE,
    *,
    default_to_files: bool = True,
) -> Storage:
    """Return the storage that a command works on, and say on standard error which, unless an option names it.

    Without an option it is the servers that the environment names; else ``./backtest.db`` or ``./dump``, whichever is
    there; else servers on localhost. A command that works on a single kind of storage uses that one.

    Args:
        sqlite: the value of ``--sqlite``.
        files: the value of ``--files``.
        mongo: whether ``--mongo`` is given.
        works_on: the kinds of storage that the command works on.
        default_to_files: whether ``./dump`` is used without an option.

    Raises:
        typer.BadParameter: two are named.
        typer.Exit: the command does not work on that storage.
    """
    given: list[Storage] = [
        *([Storage("sqlite", sqlite)] if sqlite is not None else ()),
        *([Storage("files", files)] if files is not None else ()),
        *([Storage("mongo")] if mongo else ()),
    ]
    if len(given) > 1:
        raise typer.BadParameter(
            "name one storage, with --sqlite, --files or --mongo", param_hint=f"'--{given[1].kind}'"
        )
    if given:
        _check_kind(given[0], works_on, named=True)
        return given[0]
    storage, reason = _find_default(works_on, default_to_files)
    _check_kind(storage, works_on, named=False)
    with exit_cleanly():
        _print_storage(storage, reason)
    return storage


def _find_default(works_on: Collection[Kind], to_files: bool) -> tuple[Storage, str]:
    """Return the storage that no option names, and why it is that one."""
    only = next(iter(works_on)) if len(works_on) == 1 else None
    variable = name_servers()
    if only == "mongo" or (only is None and variable):
        return Storage("mongo"), variable
    if only == "sqlite" or (only is None and os.path.lexists(_DEFAULT_FILE)):
        return Storage("sqlite", _DEFAULT_FILE), ""
    if only == "files" or (to_files and _DEFAULT_DIRECTORY.is_dir()):
        return Storage("files", _DEFAULT_DIRECTORY), ""
    places = f"no ./{_DEFAULT_FILE} and no ./{_DEFAULT_DIRECTORY}" if to_files else f"and no ./{_DEFAULT_FILE}"
    return Storage("mongo"), f"no CC_*, {places}"


def _check_kind(storage: Storage, works_on: Collection[Kind], *, named: bool) -> None:
    if storage.kind in works_on:
        return
    what = {"sqlite": "SQLite files", "files": "JSON files", "mongo": "MongoDB"}[storage.kind]
    known = [_OPTIONS[kind] for kind in works_on]
    where = "" if named or storage.path is None else f" (./{storage.path} is there)"
    print_error(f"backtest-mongo: this command does not work on {what}{where}: name {' or '.join(known)}")
    raise typer.Exit(2)


def _print_storage(storage: Storage, reason: str) -> None:
    # Here, as help needs nothing of Rich.
    from backtest_mongo.cli.terminal import Terminal, print_line

    print_line(Terminal(stderr=True), f"storage: {storage.describe()}{f' ({reason})' if reason else ''}", "dim")


def run_on_database(work: Callable[[], Awaitable[_T]], storage: Storage, *, creates: bool = False) -> _T:
    """Run a command's asynchronous work with the registry pointed at a storage.

    Args:
        work: the work.
        storage: the storage.
        creates: whether the work may create the SQLite file.

    Raises:
        typer.Exit: there is no such file or directory, or the work fails.
    """
    if storage.kind == "mongo":
        return run_command(work)

    async def run() -> _T:
        from backtest_mongo.sqlite.database import close_databases

        _point_registry(storage, creates=creates)
        try:
            return await work()
        finally:
            await close_databases()

    return run_command(run, connect=False)


def _point_registry(storage: Storage, *, creates: bool) -> None:
    """Point the registry at an SQLite file or at a directory, and log to standard error.

    Raises:
        InputError: it does not exist.
    """
    import logging

    from backtest_mongo.adapters.registry import persist
    from backtest_mongo.core.log import set_logger

    set_logger(logging.getLogger("backtest_mongo"))
    if storage.sqlite is not None:
        if not creates and not os.path.lexists(storage.sqlite):
            raise InputError(f"there is no file {storage.sqlite}")
        persist.use_sqlite(storage.sqlite)
    elif storage.files is not None:
        if not storage.files.is_dir():
            raise InputError(f"there is no directory {storage.files}")
        persist.use_files(storage.files)


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
