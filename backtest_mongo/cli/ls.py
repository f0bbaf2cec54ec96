"""The command ``ls``: what is stored, by slot or by context."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from backtest_mongo.cli.arguments import CONTEXT_HELP, AsJson, complete_from
from backtest_mongo.cli.context_text import SPECS, find_spec, format_context, measure_to_json, parse_filter
from backtest_mongo.cli.databases import Files, Mongo, SQLite, Storage, choose_storage, get_adapter, run_on_database
from backtest_mongo.core.slots import SERIES, SLOTS

if TYPE_CHECKING:
    from rich.text import Text

    from backtest_mongo.core.contexts import Measure
    from backtest_mongo.core.specs import SlotSpec

__all__ = ["list_slots", "ls"]


def ls(
    slot: Annotated[
        str | None,
        typer.Argument(
            metavar="SLOT",
            help="List the contexts of this slot: signal, candle, memory, ...",
            autocompletion=complete_from(SPECS),
        ),
    ] = None,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="VALUE|NAME=VALUE", help=f"Only these contexts. {CONTEXT_HELP}")
    ] = None,
    context: Annotated[
        list[str] | None,
        typer.Option(
            "--context",
            metavar="NAME=VALUE",
            help="Only contexts with this value, as by VALUE|NAME=VALUE; repeatable.",
        ),
    ] = None,
    sqlite: SQLite = None,
    files: Files = None,
    mongo: Mongo = False,
    as_json: AsJson = False,
) -> None:
    """List what is stored: all slots, or the contexts of one, with their rows, sizes, versions and last write.

    Removed rows count, and so do contexts that have no other rows. The size is that of the rows as they are stored,
    without indexes and before compression. For candles, the last write is that of the newest candle. Rows of a series
    with columns that were replaced count until they are merged into blocks.

    It reads all rows, but for candles and other series in MongoDB only the index.
    """
    # Here, because help does not need it.
    from backtest_mongo.cli.terminal import print_json

    if slot is None:
        if context:
            raise typer.BadParameter("it needs a slot", param_hint="'--context'")
        list_slots(choose_storage(sqlite, files, mongo), as_json)
        return
    spec = find_spec(slot)
    where = parse_filter(spec, [*(words or ()), *(context or ())], "'VALUE|NAME=VALUE'")
    storage = choose_storage(sqlite, files, mongo)
    found = run_on_database(lambda: get_adapter(spec)._base_store().measure(where, by_context=True), storage)
    if as_json:
        listed = [measure_to_json(spec, one) for one in found]
        print_json(json.dumps({"slot": spec.name, "contexts": listed}, indent=2, ensure_ascii=False))
    else:
        _print_contexts(spec, found)


def list_slots(storage: Storage, as_json: bool) -> None:
    """Print the slots that hold anything, with how much."""
    from backtest_mongo.cli.terminal import print_json

    slots = run_on_database(_measure_slots, storage)
    if as_json:
        shown = [{"slot": name, **measure_to_json(None, one)} for name, one in slots.items()]
        print_json(json.dumps({"slots": shown}, indent=2, ensure_ascii=False))
    else:
        _print_slots(slots)


async def _measure_slots() -> dict[str, Measure]:
    """Return the measure of each slot that holds anything."""
    found = {}
    for spec in (*SLOTS, *SERIES):
        for measure in await get_adapter(spec)._base_store().measure({}, by_context=False):
            found[spec.name] = measure
    return found


def _print_slots(slots: dict[str, Measure]) -> None:
    from backtest_mongo.cli.terminal import Terminal, escape_text, print_line, print_table

    console = Terminal()
    if not slots:
        print_line(console, "Nothing is stored.")
        return
    versions = any(one.versions for one in slots.values())
    rows: list[tuple[str | Text, ...]] = [
        (escape_text(name), f"{one.contexts:,}", *_format_sizes(one, versions)) for name, one in slots.items()
    ]
    print_table(console, ("slot", "contexts", *_name_sizes(versions)), rows)


def _print_contexts(spec: SlotSpec, found: list[Measure]) -> None:
    from backtest_mongo.cli.terminal import Terminal, escape_text, print_line, print_table

    console = Terminal()
    if not found:
        print_line(console, "Nothing is stored.")
        return
    versions = any(one.versions for one in found)
    rows: list[tuple[str | Text, ...]] = [
        (escape_text(format_context(spec, one)), *_format_sizes(one, versions)) for one in found
    ]
    print_table(console, (spec.name, *_name_sizes(versions)), rows)


def _name_sizes(versions: bool) -> tuple[str, ...]:
    return ("rows", "size", *(("versions",) if versions else ()), "last write (UTC)")


def _format_sizes(measure: Measure, versions: bool) -> tuple[str, ...]:
    from backtest_mongo.cli.formatting import format_bytes, format_iso_time

    kept = (f"{measure.versions:,}",) if versions else ()
    written = "-" if measure.written is None else format_iso_time(measure.written)
    return (f"{measure.rows:,}", format_bytes(measure.bytes), *kept, written)
