"""The commands ``leases`` and ``leases release``."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Final

import typer

from backtest_mongo.cli.arguments import AsJson, add_command, complete_from
from backtest_mongo.cli.command_runner import exit_cleanly, print_output, run_command
from backtest_mongo.cli.databases import DATABASES, Files, Mongo, SQLite, StorageOptions, choose_storage
from backtest_mongo.cli.lease_text import (
    LEASED,
    describe_holder,
    describe_until,
    format_lease,
    holder_to_json,
    parse_lease,
)
from backtest_mongo.errors import InputError

if TYPE_CHECKING:
    from rich.text import Text

    from backtest_mongo.core.commits import Holder

__all__ = ["build_leases_app"]

_SUMMARY: Final = "List the leases that are held, and by which processes."
_HELP: Final = f"""{_SUMMARY}

A lease that has expired is free: the next process that asks for it takes it."""


def build_leases_app() -> typer.Typer:
    """Build the application that ``backtest-mongo`` mounts as ``leases``."""
    app = typer.Typer(rich_markup_mode=None)
    app.callback(help=_HELP, short_help=_SUMMARY, invoke_without_command=True)(list_leases)
    add_command(app, release)
    return app


def list_leases(
    context: typer.Context,
    sqlite: SQLite = None,
    files: Files = None,
    mongo: Mongo = False,
    as_json: AsJson = False,
) -> None:
    """List the leases that are held, unless a subcommand follows, which takes over the options of the storage."""
    if context.invoked_subcommand is not None:
        if as_json:
            raise typer.BadParameter("it is for the list alone", param_hint="'--json'")
        context.obj = (sqlite, files, mongo)
        return
    storage = choose_storage(sqlite, files, mongo, DATABASES)
    if storage.sqlite is None:
        held = run_command(_list_on_server)
    else:
        with exit_cleanly():
            held = _list_in_file(os.path.realpath(storage.sqlite))
    if as_json:
        from backtest_mongo.cli.terminal import print_json

        print_json(json.dumps({"leases": [holder_to_json(one) for one in held]}, indent=2))
    else:
        _print_leases(held)


def release(
    context: typer.Context,
    lease: Annotated[
        str,
        typer.Argument(
            metavar="LEASE",
            help="A slot, such as signal, with the values of its context; or the id of a lease.",
            autocompletion=complete_from(LEASED),
        ),
    ],
    values: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="VALUE|NAME=VALUE",
            help="The values of the context, in the order of the adapter's arguments or as NAME=VALUE. The backtest "
            "flag is backtest or live.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Take the lease from its owner.")] = False,
    sqlite: SQLite = None,
    files: Files = None,
    mongo: Mongo = False,
) -> None:
    """Show who holds a lease, and with --force take it away, with all others of the same owner.

    The leases of a process that has died end by themselves. An owner that still runs can't write their contexts any
    more: its next commit fails with LeaseLostError.

    Exits with status 1 if the lease was not released.
    """
    try:
        name = parse_lease(lease, values or [])
    except InputError as error:
        raise typer.BadParameter(str(error), param_hint="'LEASE'") from None
    above: StorageOptions = context.obj
    storage = choose_storage(sqlite or above[0], files or above[1], mongo or above[2], DATABASES)
    if storage.sqlite is None:
        released = run_command(lambda: _release_on_server(name, force))
    else:
        path, option = os.path.realpath(storage.sqlite), f" {storage.option}"
        released = run_command(lambda: _release_in_file(path, option, name, force), connect=False)
    raise typer.Exit(0 if released else 1)


# MongoDB


async def _list_on_server() -> list[Holder]:
    from backtest_mongo.connection.hub_registry import current_hub
    from backtest_mongo.mongo.committer import get_committer

    return await get_committer(current_hub()).list_leases()


async def _release_on_server(name: str, force: bool) -> bool:
    from backtest_mongo.connection.hub_registry import current_hub
    from backtest_mongo.mongo.committer import get_committer

    committer = get_committer(current_hub())
    taken = _find_leases(await committer.list_leases(), name)
    if not force:
        _print_holder(taken, "")
        return False
    return _print_released(taken, await committer.release_by_force(name))


# SQLite


def _list_in_file(path: str) -> list[Holder]:
    """Return the leases of a file, which is not upgraded to be read."""
    from backtest_mongo.sqlite.backup import connect_to_existing
    from backtest_mongo.sqlite.driver_errors import DRIVER_ERRORS, raise_translated
    from backtest_mongo.sqlite.lease_rows import list_held
    from backtest_mongo.sqlite.row_codec import now

    with closing(connect_to_existing(path)) as connection:
        try:
            return list_held(connection, now())
        except DRIVER_ERRORS as error:
            raise_translated(error, "listing the leases", path, None)


async def _release_in_file(path: str, option: str, name: str, force: bool) -> bool:
    from backtest_mongo.sqlite.committer import SQLiteCommitter
    from backtest_mongo.sqlite.database import close_databases, get_database

    taken = _find_leases(_list_in_file(path), name)
    if not force:
        _print_holder(taken, option)
        return False
    try:
        was_held = await SQLiteCommitter(get_database(path)).release_by_force(name)
    finally:
        await close_databases()
    return _print_released(taken, was_held)


# Output


def _find_leases(held: Sequence[Holder], name: str) -> list[Holder]:
    """Return a lease, and after it the others of its owner.

    Raises:
        InputError: nobody holds it.
    """
    for holder in held:
        if holder.id == name:
            return [holder, *(one for one in held if one.owner == holder.owner and one is not holder)]
    raise InputError(f"nobody holds the lease {name}", hint="`backtest-mongo leases` lists those that are held")


def _print_holder(taken: Sequence[Holder], option: str) -> None:
    holder, *others = taken
    lease = format_lease(holder)
    until = describe_until(holder)
    end = f"{until}: the next owner just takes it" if holder.is_expired else f"until {until} unless it is renewed"
    print_output(f"{lease}: held by {describe_holder(holder)}, {end}")
    for other in others:
        print_output(f"{format_lease(other)}: held by the same owner, and would be released with it")
    print_output(
        "Nothing was changed. See what that process does, and stop it if you can. Then release the lease: "
        f"backtest-mongo leases release {lease}{option} --force"
    )


def _print_released(taken: Sequence[Holder], was_held: bool) -> bool:
    for one in taken:
        done = "released; it was held" if was_held else "given back meanwhile; it was held"
        print_output(f"{format_lease(one)}: {done} by {describe_holder(one)}")
    return True


def _print_leases(held: Sequence[Holder]) -> None:
    # Here, as help needs nothing of Rich.
    from backtest_mongo.cli.formatting import format_iso_time
    from backtest_mongo.cli.terminal import Terminal, escape_text, print_line, print_table

    console = Terminal()
    if not held:
        print_line(console, "Nobody holds a lease.")
        return
    rows: list[tuple[str | Text, ...]] = [
        (
            escape_text(format_lease(one)),
            escape_text(one.host),
            str(one.process),
            format_iso_time(one.since),
            escape_text(describe_until(one), "yellow" if one.is_expired else ""),
        )
        for one in held
    ]
    print_table(console, ("lease", "host", "process", "since (UTC)", "until (UTC)"), rows)
