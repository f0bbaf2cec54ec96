"""The command ``history``: the versions of rows by simulation time, and what changed from one to the next."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from backtest_mongo.cli.arguments import ROW_HELP, complete_from, parse_moment
from backtest_mongo.cli.command_runner import print_error
from backtest_mongo.cli.context_text import parse_row
from backtest_mongo.cli.databases import DATABASES, Files, Mongo, SQLite, choose_storage, run_on_database
from backtest_mongo.core.slots import SERIES, SLOTS
from backtest_mongo.core.specs import FLAG, Key, SlotSpec, camel
from backtest_mongo.core.suggestions import suggest
from backtest_mongo.core.wording import format_count
from backtest_mongo.errors import InputError

if TYPE_CHECKING:
    from backtest_mongo.types import Document

__all__ = ["show_history"]

#: The slots whose rows change.
_SPECS: Final = {spec.name: spec for spec in SLOTS if not spec.immutable}
#: How many rows one call shows the versions of.
_MOST_ROWS: Final = 20
#: How many changed fields of a version are shown.
_MOST_CHANGES: Final = 8


@dataclass(frozen=True)
class _Range:
    """Which versions of a row are shown."""

    since: int | None
    until: int | None
    newest_first: bool
    limit: int


@dataclass(frozen=True)
class _Version:
    """A version, what the row was before it (``None`` if that is not shown), and whether it was anything."""

    document: Document
    before: Document | None


def show_history(
    slot: Annotated[
        str,
        typer.Argument(
            metavar="SLOT", help="The slot's name: signal, memory, ...", autocompletion=complete_from(_SPECS)
        ),
    ],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="VALUE|NAME=VALUE",
            help=f"{ROW_HELP} Up to 20 matching rows are shown.",
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="Show versions from this time on: ISO 8601, or milliseconds."),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Show versions up to this time, inclusive.")
    ] = None,
    newest_first: Annotated[bool, typer.Option("--newest-first", help="Show the latest version first.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Show at most this many versions of each row.")] = 20,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print MongoDB's extended JSON, one version per line.")
    ] = False,
    sqlite: SQLite = None,
    files: Files = None,
    mongo: Mongo = False,
) -> None:
    """Show the versions of a row by simulation time: when each was written, and what changed.

    CC_HISTORY names the slots whose versions are kept. A version's time is the simulation time from which on it was
    true; the newest version is the row as it is now.

    Exits with status 0 if versions are shown, 1 if the slot has no versions or no row matches, 2 for a mistake in the
    arguments.
    """
    spec = _SPECS.get(slot)
    if spec is None:
        hint = "candles never change" if slot in {one.name for one in SLOTS} else suggest(slot, _SPECS)
        hint = "rows of series have none" if slot in {one.name for one in SERIES} else hint
        raise typer.BadParameter(f"{slot!r} has no versions: {hint}", param_hint="'SLOT'")
    where = parse_row(spec, words or [], "'VALUE|NAME=VALUE'")
    first, last = parse_moment(since, "--since"), parse_moment(until, "--until")
    if first is not None and last is not None and first > last:
        raise typer.BadParameter("must not be before --since", param_hint="'--until'")
    shown = _Range(first, last, newest_first, limit)
    storage = choose_storage(sqlite, files, mongo, DATABASES)
    run_on_database(lambda: _show(spec, where, shown, as_json), storage)


async def _show(spec: SlotSpec, where: dict[str, Any], shown: _Range, as_json: bool) -> None:
    # Here, because help needs no driver.
    from backtest_mongo.cli.stored_past import StoredPast, list_keys

    past = await StoredPast.open(spec)
    if not past.has_versions(spec):
        raise InputError(
            f"no versions of {spec.name} are stored",
            hint=f"CC_HISTORY={spec.name} keeps those of later writes",
        )
    printer = _JsonPrinter(spec) if as_json else _TextPrinter(spec)
    keys = await list_keys(spec, where, None, _MOST_ROWS + 1)
    if not keys:
        raise InputError(f"no row of {spec.name} matches", hint=f"`backtest-mongo inspect {spec.name}` shows its rows")
    for key in keys[:_MOST_ROWS]:
        printer.begin(key)
        count = 0
        is_cut = False
        async with aclosing(_list_versions(past, spec, key, shown)) as versions:
            async for version in versions:
                if count == shown.limit:
                    is_cut = True
                    break
                printer.print_version(version)
                count += 1
        printer.end(count, is_cut)
    if len(keys) > _MOST_ROWS:
        print_error(f"backtest-mongo: more rows match; these are the first {_MOST_ROWS}: give more of the context")


async def _list_versions(past: Any, spec: SlotSpec, key: Key, shown: _Range) -> AsyncGenerator[_Version]:
    """Yield the versions of a row in the range, each with the one before it, which may lie outside."""
    range_ = (shown.since, shown.until)
    listed = past.list_versions(spec, key, *range_, newest_first=shown.newest_first)
    earlier = None
    async with aclosing(listed) as documents:
        if not shown.newest_first:
            if shown.since is not None:
                earlier = await _find_before(past, spec, key, shown.since)
            async for document in documents:
                yield _Version(document, earlier)
                earlier = document
            return
        later = None
        async for document in documents:
            if later is not None:
                yield _Version(later, document)
            later = document
    if later is not None:
        yield _Version(later, await _find_before(past, spec, key, int(later["when"])))


async def _find_before(past: Any, spec: SlotSpec, key: Key, when: int) -> Document | None:
    async with aclosing(past.list_versions(spec, key, None, when - 1, newest_first=True)) as documents:
        async for document in documents:
            return document  # type: ignore[no-any-return]
    return None


class _JsonPrinter:
    def __init__(self, spec: SlotSpec) -> None:
        self._spec = spec
        self._named: dict[str, Any] = {}

    def begin(self, key: Key) -> None:
        by_field = dict(zip(self._spec.key, key, strict=True))
        context = {name: by_field[camel(name)] for name in self._spec.context}
        self._named = {"slot": self._spec.name, "context": context, "key": key[-1] if self._spec.item else None}

    def print_version(self, version: _Version) -> None:
        from backtest_mongo.cli.formatting import format_extended_json
        from backtest_mongo.cli.stored_past import read_written
        from backtest_mongo.cli.terminal import print_json

        document = version.document
        is_removed = document.get("removed") is True
        print_json(
            format_extended_json(
                {
                    **self._named,
                    "when": int(document["when"]),
                    "written": read_written(document),
                    "removed": is_removed,
                    "value": None if is_removed else document.get(self._spec.field),
                }
            )
        )

    def end(self, count: int, is_cut: bool) -> None:
        if is_cut:
            print_error(f"backtest-mongo: there are more versions than {count:,}; --limit shows more")


class _TextPrinter:
    def __init__(self, spec: SlotSpec) -> None:
        from backtest_mongo.cli.terminal import Terminal

        self._spec = spec
        self._console = Terminal()

    def begin(self, key: Key) -> None:
        from backtest_mongo.cli.terminal import escape_text

        values = dict(zip(self._spec.key, key, strict=True))
        ordered = [values[camel(name)] for name in self._spec.context] + ([key[-1]] if self._spec.item else [])
        names = [*self._spec.context, *([self._spec.argument] if self._spec.item else [])]
        words = [
            ("backtest" if value else "live") if name == FLAG else str(value) or '""'
            for name, value in zip(names, ordered, strict=True)
        ]
        self._console.print(escape_text(" ".join((self._spec.name, *words)), "bold"), soft_wrap=True)

    def print_version(self, version: _Version) -> None:
        from rich.text import Text

        from backtest_mongo.cli.formatting import format_iso_time
        from backtest_mongo.cli.stored_past import read_written

        document = version.document
        heading = Text(f"  {format_iso_time(int(document['when']))}")
        if document.get("removed") is True:
            heading.append("  removed", "yellow")
        elif document.get(self._spec.field) is None:
            heading.append("  cleared", "yellow")
        written = read_written(document)
        if written is not None:
            heading.append(f"  written {format_iso_time(written)}", "dim")
        self._console.print(heading, soft_wrap=True)
        self._print_content(version)

    def _print_content(self, version: _Version) -> None:
        from backtest_mongo.cli.formatting import format_payload
        from backtest_mongo.cli.payload_changes import list_changes
        from backtest_mongo.cli.terminal import escape_text, print_line

        document, before = version.document, version.before
        value = document.get(self._spec.field)
        if document.get("removed") is True or value is None:
            return
        old = None if before is None or before.get("removed") is True else before.get(self._spec.field)
        if old is None:
            for line in format_payload(value).splitlines():
                print_line(self._console, f"    {line}")
            return
        changes = list_changes(old, value)
        if not changes:
            print_line(self._console, "    as before", "dim")
        for change in changes[:_MOST_CHANGES]:
            self._console.print(escape_text(f"    {change}"), soft_wrap=not self._console.is_terminal, overflow="fold")
        if len(changes) > _MOST_CHANGES:
            more = format_count(len(changes) - _MOST_CHANGES, "field")
            print_line(self._console, f"    and {more} more; --json shows all of the payload", "dim")

    def end(self, count: int, is_cut: bool) -> None:
        from backtest_mongo.cli.terminal import print_line

        if not count:
            print_line(self._console, "  no versions in this range", "dim")
        if is_cut:
            print_line(self._console, f"  the first {count:,}; --limit shows more", "dim")
