"""The command ``prune``: deletes rows and versions that need not be kept, once it has shown what it would delete."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar, cast

import typer

from backtest_mongo.cli.arguments import AsJson, complete_from, import_module
from backtest_mongo.cli.command_runner import exit_cleanly, print_error, run_command
from backtest_mongo.cli.context_text import format_values
from backtest_mongo.cli.databases import Files, Mongo, SQLite, choose_storage
from backtest_mongo.core.contexts import name_values
from backtest_mongo.core.retention import Retention, parse_retention
from backtest_mongo.core.slots import SERIES, SLOTS
from backtest_mongo.core.specs import FLAG, Key, SlotSpec
from backtest_mongo.core.suggestions import suggest
from backtest_mongo.core.wording import format_count
from backtest_mongo.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from backtest_mongo.core.history import VersionStore
    from backtest_mongo.core.pruning import Prunable
    from backtest_mongo.core.store_protocols import Store

__all__ = ["Found", "find_targets", "prune", "survey"]

#: The slots whose rows can be pruned.
PRUNED: Final = {spec.name: spec for spec in SLOTS if spec.shape == "collection"}
#: The slots that can have versions, these included.
_SPECS: Final = {spec.name: spec for spec in SLOTS if not spec.immutable}
#: The names of the package's own series, of which each says what is kept of it.
_SERIES: Final = tuple(spec.name for spec in SERIES)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Found:
    """The rows of a context, and how many of them need not be kept."""

    spec: SlotSpec
    retention: Retention
    rows: Prunable

    @property
    def name(self) -> str:
        """The words that name the context: the slot, and the values of its constructor's arguments."""
        values = self.rows.context.items()
        return " ".join((self.spec.name, *(_name_value(name, value) for name, value in values)))


@dataclass(frozen=True, slots=True)
class FoundVersions:
    """How many versions of a slot's rows are stored, and how many of them need not be kept."""

    spec: SlotSpec
    retention: Retention
    stored: int
    prunable: int


@dataclass(frozen=True, slots=True)
class FoundSeries:
    """How many rows a series with columns has, what is kept of them, and how many need not be."""

    spec: SlotSpec
    context: Key
    keep: str
    stored: int
    prunable: int

    @property
    def name(self) -> str:
        """The words that name the series, as those of other contexts."""
        return f"{self.spec.name} {format_values(self.spec, self.values)}"

    @property
    def values(self) -> dict[str, str | bool]:
        return name_values(self.spec, self.context)


def prune(
    slots: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SLOT",
            help=f"The slots to prune: {', '.join(PRUNED)}, one whose versions CC_HISTORY limits, or one of series: "
            f"{', '.join(_SERIES)}, or one that --module registers. By default all that CC_KEEP and CC_HISTORY limit, "
            "and series with a limit.",
            autocompletion=complete_from((*_SPECS, *_SERIES)),
        ),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option("--keep", metavar="TEXT", help="Which rows to keep: 30d for days, 10000 for rows."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    sqlite: SQLite = None,
    files: Files = None,
    mongo: Mongo = False,
    module: Annotated[
        str | None,
        typer.Option(metavar="MODULE", help="Import this Python module first, which registers series of your own."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Delete rows of storage, notification, log and series that need not be kept, and versions of any slot's rows.

    Shows how many it would delete, and asks. --keep, or else CC_KEEP, says which rows are kept, and CC_HISTORY which
    versions; what is kept of a series is stored with it, as retain() has set it. The age of a version counts from when
    it was written; the last of the old ones stays, because it holds what was true until the next. The age of a row
    counts from its last write; in a series with columns it is the time from the row to the last row. Signals that are
    still open are kept, however old they are, and so are contexts that another process has leased. The command can be
    interrupted, and run again to delete the rest.

    With --json it does not ask: without --yes it prints what it would delete, and deletes nothing.

    Exits with status 0 if nothing is left to delete, 1 if something is, 2 for a mistake in the arguments, or if there
    is no terminal to ask on and --yes is not given.
    """
    if module is not None:
        import_module(module)
    known = _find_series()
    chosen = _check_arguments(slots or [], keep, known)
    storage = choose_storage(sqlite, files, mongo)
    file = None if storage.sqlite is None else os.path.realpath(storage.sqlite)
    open_store = partial(_open_store, file, storage.files)
    run: Callable[[Callable[[], Awaitable[Any]]], Any] = partial(_run, is_on_server=storage.kind == "mongo")
    # Files keep no versions, and --keep is about rows.
    of_versions: list[tuple[SlotSpec, Retention]] = []
    if storage.files is None and keep is None:
        with exit_cleanly():  # the configuration may have a mistake
            of_versions = _find_version_targets(name for name in slots or _SPECS if name in _SPECS)
    of_series: list[SlotSpec] = []
    if storage.files is None and keep is None:
        of_series = [known[name] for name in dict.fromkeys(slots or known) if name in known]
    found: list[Found] = []
    versions: list[FoundVersions] = []
    series: list[FoundSeries] = []
    if of_series:
        series = run(lambda: _survey_series(of_series, open_store))
    if _has_targets(chosen) or not (of_versions or series or (slots and of_series)):
        found = run(lambda: survey(chosen, open_store))
    if of_versions:
        versions = run(lambda: _survey_versions(of_versions, file))
    left = sum(one.rows.rows for one in found) + sum(one.prunable for one in versions)
    left += sum(one.prunable for one in series)
    if not as_json:
        _print_found(found, versions, series)
    if left and not yes and not as_json:
        if not sys.stdin.isatty():
            print_error("backtest-mongo: nothing deleted: there is no terminal to ask on, and --yes is not given")
            raise typer.Exit(2)
        if not typer.confirm("Delete them?"):
            raise typer.Exit(1)
    deleted: dict[str, int] = {}
    deleted_versions: dict[str, int] = {}
    deleted_rows: dict[str, int] = {}
    if left and (yes or not as_json):
        deleted = run(lambda: _delete(found, open_store))
        if any(one.prunable for one in series):
            deleted_rows = run(lambda: _delete_rows(series, open_store))
        if any(one.prunable for one in versions):
            deleted_versions = run(lambda: _delete_versions(versions, file))
        left = sum(one.rows.rows for one in found if one.name not in deleted)
    if as_json:
        _print_json(found, deleted, versions, deleted_versions, series, deleted_rows)
    elif deleted or deleted_versions or deleted_rows or left:
        _print_deleted(found, deleted, deleted_versions, deleted_rows)
    raise typer.Exit(1 if left else 0)


def _find_series() -> dict[str, SlotSpec]:
    """Return the slots with columns, those that a module of the user has registered, too."""
    from backtest_mongo.adapters.registry import persist

    return {name: adapter.spec for name, adapter in persist._adapters.items() if adapter.spec.columns}


def _check_arguments(
    names: Sequence[str], keep: str | None, series: Mapping[str, SlotSpec]
) -> list[tuple[SlotSpec, Retention | None]]:
    """Return the slots, and what ``--keep`` says is kept of each.

    Raises:
        typer.BadParameter: a name is not that of a slot that can be pruned, or ``keep`` can't be parsed.
    """
    for name in names:
        if keep is not None and name in series:
            problem = f"what is kept of a series is stored with it, and {name}'s retain() sets it"
            raise typer.BadParameter(problem, param_hint="'--keep'")
        if name not in ({**_SPECS, **series} if keep is None else PRUNED):
            known = suggest(name, {**_SPECS, **series} if keep is None else PRUNED)
            raise typer.BadParameter(f"{name!r} is not a slot that can be pruned: {known}", param_hint="SLOT")
    if keep is None:
        return [(_SPECS[name], None) for name in dict.fromkeys(names or PRUNED) if name in _SPECS]
    if not names:
        raise typer.BadParameter("name the slots that it applies to", param_hint="'--keep'")
    try:
        retention = parse_retention(keep)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="'--keep'") from None
    return [(PRUNED[name], retention) for name in dict.fromkeys(names)]


def _run(work: Callable[[], Awaitable[T]], *, is_on_server: bool) -> T:
    async def run() -> T:
        from backtest_mongo.sqlite.database import close_databases

        try:
            return await work()
        finally:
            if not is_on_server:
                await close_databases()

    return run_command(run, connect=is_on_server)


def _open_store(sqlite: str | None, files: Path | None, spec: SlotSpec) -> Store:
    if sqlite is not None:
        from backtest_mongo.sqlite.backup import connect_to_existing
        from backtest_mongo.sqlite.columns import SQLiteColumns
        from backtest_mongo.sqlite.database import get_database
        from backtest_mongo.sqlite.store import SQLiteStore

        connect_to_existing(sqlite).close()  # which raises if there is none
        database = get_database(sqlite)
        return cast("Store", SQLiteColumns(database, spec)) if spec.columns else SQLiteStore(database, spec)
    if files is not None:
        from backtest_mongo.files.store import FileStore

        if not files.is_dir():
            raise InputError(f"there is no directory {files}")
        return FileStore(os.fspath(files), spec)
    from backtest_mongo.adapters.registry import persist

    return persist._adapters[spec.name]._base_store()


def find_targets(chosen: Sequence[tuple[SlotSpec, Retention | None]]) -> list[tuple[SlotSpec, Retention]]:
    """Return the slots that are pruned, and what is kept of each.

    Raises:
        InputError: neither ``--keep`` nor the configuration says what is kept of any of them.
    """
    from backtest_mongo.core.pruning import find_retention

    found = [(spec, retention or find_retention(spec)) for spec, retention in chosen if spec.name in PRUNED]
    targets = [(spec, retention) for spec, retention in found if retention is not None]
    if not targets:
        names = ", ".join(spec.name for spec, _ in chosen)
        raise InputError(
            f"nothing says what is kept of {names}",
            hint="give --keep, such as `backtest-mongo prune log --keep 30d`, or set CC_KEEP, such as log=30d, or "
            "CC_HISTORY for versions, such as state=30d",
        )
    return targets


def _has_targets(chosen: Sequence[tuple[SlotSpec, Retention | None]]) -> bool:
    try:
        return bool(find_targets(chosen))
    except InputError:
        return False


def _find_version_targets(names: Iterable[str]) -> list[tuple[SlotSpec, Retention]]:
    """Return the slots whose versions are pruned, and what is kept of each."""
    from backtest_mongo.core.history import find_history

    found = [(_SPECS[name], find_history(_SPECS[name])) for name in dict.fromkeys(names)]
    return [(spec, retention) for spec, retention in found if retention is not None and retention.is_limited]


async def survey(
    chosen: Sequence[tuple[SlotSpec, Retention | None]], open_store: Callable[[SlotSpec], Store]
) -> list[Found]:
    """Return how many rows the contexts of slots have, and how many of them need not be kept.

    Args:
        chosen: the slots, and what is kept of each, ``None`` for what the configuration says.
        open_store: returns the store of a slot.
    """
    found = []
    for spec, retention in find_targets(chosen):
        found += [Found(spec, retention, rows) for rows in await open_store(spec).pruner.survey(retention)]
    return found


async def _survey_series(specs: Sequence[SlotSpec], open_store: Callable[[SlotSpec], Store]) -> list[FoundSeries]:
    """Return the series that have a limit, and how many rows of each need not be kept."""
    found = []
    for spec in specs:
        store: Any = open_store(spec)
        async for context in store.list_contexts():
            size = await store.size(context)
            if size.keep is not None:
                prunable = await store.count_prunable(context)
                found.append(FoundSeries(spec, context, size.keep, size.block_rows + size.tail_rows, prunable))
    return found


async def _delete_rows(found: Sequence[FoundSeries], open_store: Callable[[SlotSpec], Store]) -> dict[str, int]:
    """Delete rows of series that need not be kept, and return how many of each."""
    deleted = {}
    for one in found:
        if one.prunable:
            store: Any = open_store(one.spec)
            deleted[one.name] = await store.prune_rows(one.context)
    return deleted


async def _survey_versions(targets: Sequence[tuple[SlotSpec, Retention]], file: str | None) -> list[FoundVersions]:
    """Return how many versions slots have, and how many of them need not be kept."""
    found = []
    for spec, retention in targets:
        stored, prunable = await _open_versions(spec, file).count_prunable(retention)
        found.append(FoundVersions(spec, retention, stored, prunable))
    return found


async def _delete_versions(found: Sequence[FoundVersions], file: str | None) -> dict[str, int]:
    """Delete versions that need not be kept, and return how many of each slot."""
    from backtest_mongo.history.pruning import prune_versions

    return {
        one.spec.name: await prune_versions(one.spec, _open_versions(one.spec, file)) for one in found if one.prunable
    }


def _open_versions(spec: SlotSpec, file: str | None) -> VersionStore:
    if file is not None:
        from backtest_mongo.sqlite.backup import connect_to_existing
        from backtest_mongo.sqlite.database import get_database
        from backtest_mongo.sqlite.versions import SQLiteVersions

        connect_to_existing(file).close()  # which raises if there is none
        return SQLiteVersions(get_database(file), spec)
    from backtest_mongo.connection.hub_registry import current_hub
    from backtest_mongo.mongo.versions import get_versions

    versions = get_versions(current_hub(), spec)
    versions.slot.is_indexed = True  # the index is made with the first version
    return versions


async def _delete(found: Sequence[Found], open_store: Callable[[SlotSpec], Store]) -> dict[str, int]:
    """Delete what need not be kept, and return how many rows of each context; those that are leased are left out."""
    from backtest_mongo.adapters.pruning import prune_all

    deleted = {}
    for one in found:
        if one.rows.rows:
            count = await prune_all(open_store(one.spec), one.spec, one.rows.key, one.retention)
            if count is not None:
                deleted[one.name] = count
    return deleted


# Output


def _name_value(name: str, value: str | bool) -> str:
    return ("backtest" if value else "live") if name == FLAG else str(value)


def _describe_retention(retention: Retention) -> str:
    if retention.days is not None:
        return f"the last {format_count(retention.days, 'day')}"
    return f"the last {format_count(retention.rows or 0, 'row')}"


def _describe_versions(retention: Retention) -> str:
    if retention.days is not None:
        return f"the last {format_count(retention.days, 'day')}"
    return f"the last {retention.rows or 0:,} of each row"


def _print_found(found: Sequence[Found], versions: Sequence[FoundVersions], series: Sequence[FoundSeries]) -> None:
    # Here, because help does not need it.
    from backtest_mongo.cli.terminal import Terminal, escape_text, print_line, print_table

    console = Terminal()
    if not found and not versions and not series:
        print_line(console, "No rows are stored.")
        return
    if found:
        _print_rows(console, found)
    if series:
        rows = [(escape_text(one.name), one.keep, f"{one.stored:,}", f"{one.prunable:,}") for one in series]
        print_table(console, ("series", "kept", "stored", "to delete"), rows)
    if versions:
        listed = [
            (one.spec.name, _describe_versions(one.retention), f"{one.stored:,}", f"{one.prunable:,}")
            for one in versions
        ]
        print_table(console, ("versions of", "kept", "stored", "to delete"), listed)


def _print_rows(console: Console, found: Sequence[Found]) -> None:
    from backtest_mongo.cli.terminal import escape_text, print_table

    rows: list[tuple[Any, ...]] = [
        (
            escape_text(one.name),
            _describe_retention(one.retention),
            f"{one.rows.stored:,}",
            f"{one.rows.rows:,}",
        )
        for one in found
    ]
    print_table(console, ("rows of", "kept", "stored", "to delete"), rows)


def _print_deleted(
    found: Sequence[Found], deleted: dict[str, int], versions: dict[str, int], series: dict[str, int]
) -> None:
    from backtest_mongo.cli.terminal import Terminal, print_line

    console = Terminal()
    for one in found:
        if one.name in deleted:
            print_line(console, f"{one.name}: {format_count(deleted[one.name], 'row')} deleted")
        elif one.rows.rows:
            print_line(console, f"{one.name}: nothing deleted, as another process has the lease", "yellow")
    for name, count in series.items():
        print_line(console, f"{name}: {format_count(count, 'row')} deleted")
    for name, count in versions.items():
        print_line(console, f"versions of {name}: {count:,} deleted")


def _print_json(
    found: Sequence[Found],
    deleted: dict[str, int],
    versions: Sequence[FoundVersions],
    deleted_versions: dict[str, int],
    series: Sequence[FoundSeries],
    deleted_rows: dict[str, int],
) -> None:
    from backtest_mongo.cli.terminal import print_json

    shown = [
        {
            "slot": one.spec.name,
            "context": dict(one.rows.context),
            "keep": str(one.retention),
            "stored": one.rows.stored,
            "prunable": one.rows.rows,
            "deleted": deleted.get(one.name, 0),
        }
        for one in found
    ]
    of_versions = [
        {
            "slot": one.spec.name,
            "keep": str(one.retention),
            "stored": one.stored,
            "prunable": one.prunable,
            "deleted": deleted_versions.get(one.spec.name, 0),
        }
        for one in versions
    ]
    of_series = [
        {
            "slot": one.spec.name,
            "context": one.values,
            "keep": one.keep,
            "stored": one.stored,
            "prunable": one.prunable,
            "deleted": deleted_rows.get(one.name, 0),
        }
        for one in series
    ]
    print_json(json.dumps({"contexts": shown, "versions": of_versions, "series": of_series}, indent=2))
