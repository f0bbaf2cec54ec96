"""The command ``delete``: contexts with all of their rows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from backtest_mongo.cli.arguments import CONTEXT_HELP, complete_from
from backtest_mongo.cli.command_runner import print_output
from backtest_mongo.cli.context_text import (
    SPECS,
    find_spec,
    format_context,
    measure_to_json,
    name_context,
    parse_filter,
)
from backtest_mongo.cli.databases import (
    Files,
    Mongo,
    SQLite,
    choose_storage,
    confirm,
    get_adapter,
    run_on_database,
)
from backtest_mongo.core.wording import format_count
from backtest_mongo.errors import BacktestMongoError

if TYPE_CHECKING:
    from backtest_mongo.core.contexts import Measure
    from backtest_mongo.core.specs import SlotSpec

__all__ = ["delete"]

#: How many contexts are printed.
_LISTED: Final = 20


def delete(
    slot: Annotated[
        str,
        typer.Argument(
            metavar="SLOT", help="The slot's name: signal, memory, ...", autocompletion=complete_from(SPECS)
        ),
    ],
    values: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="VALUE|NAME=VALUE",
            help=f"Only these contexts. {CONTEXT_HELP}",
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Delete all contexts of the slot.")] = False,
    sqlite: SQLite = None,
    files: Files = None,
    mongo: Mongo = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON and don't ask; without --yes, nothing is deleted.")
    ] = False,
) -> None:
    """Delete contexts for good: their rows, removed ones included, and their versions.

    A context is what an adapter is made with, such as a symbol, a strategy and an exchange; `backtest-mongo ls SLOT`
    lists those that are stored.

    Shows what it would delete, and asks. It stops with an error at a context whose lease somebody holds. The command
    can be interrupted, and run again to delete the rest.

    Exits with status 0 if everything is deleted or nothing matches, 1 if the answer is no or a context could not be
    deleted, 2 for a mistake in the arguments, or if there is no terminal to ask on and --yes is not given.
    """
    from backtest_mongo.cli.terminal import print_json

    spec = find_spec(slot)
    where = parse_filter(spec, values or [], "'VALUE|NAME=VALUE'")
    if everything == bool(where):
        problem = "--all and values exclude each other" if where else "give a value or NAME=VALUE, or pass --all"
        raise typer.BadParameter(problem, param_hint="'--all'")
    storage = choose_storage(sqlite, files, mongo)
    found = run_on_database(lambda: get_adapter(spec)._base_store().measure(where, by_context=True), storage)
    if as_json:
        deleted = run_on_database(lambda: _delete_all(spec, found), storage) if yes and found else None
        listed = [measure_to_json(spec, one) for one in found]
        report = {"slot": spec.name, "applied": yes, "deleted": deleted or 0, "contexts": listed}
        print_json(json.dumps(report, indent=2, ensure_ascii=False))
        return
    if not found:
        print_output(f"{spec.name}: nothing is stored there")
        return
    _print_plan(spec, found)
    confirm("Delete them?", "nothing deleted", yes)
    deleted = run_on_database(lambda: _delete_all(spec, found), storage)
    print_output(f"{spec.name}: deleted {_count_rows(deleted)} of {format_count(len(found), 'context')}")


async def _delete_all(spec: SlotSpec, found: list[Measure]) -> int:
    deleted = 0
    adapter: Any = get_adapter(spec)
    for at, one in enumerate(found):
        try:
            done = await adapter(**name_context(spec, one)).delete()
        except BacktestMongoError as error:
            error.message = f"{error.message}; {format_count(at, 'context')} before it, with {_count_rows(deleted)}, "
            error.message += "are deleted"
            raise
        deleted += done if isinstance(done, int) else done.rows
    return deleted


def _print_plan(spec: SlotSpec, found: list[Measure]) -> None:
    from backtest_mongo.cli.terminal import Terminal, escape_text, print_line, print_table

    console = Terminal()
    listed = found[:_LISTED]
    versions = any(one.versions for one in found)
    headings = (spec.name, "rows", *(("versions",) if versions else ()))
    rows = [
        (escape_text(format_context(spec, one)), f"{one.rows:,}", *((f"{one.versions:,}",) if versions else ()))
        for one in listed
    ]
    print_table(console, headings, rows)
    if len(found) > len(listed):
        print_line(console, f"and {len(found) - len(listed):,} more")
    print_line(console, f"{format_count(len(found), 'context')}, {_count_rows(sum(one.rows for one in found))}")


def _count_rows(count: int) -> str:
    return format_count(count, "row")
