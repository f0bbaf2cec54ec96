"""What is stored of a slot, filtered by parts of its key, and what changes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.table import Table
from rich.text import Text

from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.care.texts import as_json, for_people, iso
from backtest_mongo.changes import Change, Changes
from backtest_mongo.errors import InputError
from backtest_mongo.hub import current_hub
from backtest_mongo.limits import Limit
from backtest_mongo.mongo_rows import MongoRows
from backtest_mongo.specs import FLAG, SlotSpec, camel
from backtest_mongo.types import PRICES, Document, to_millis

__all__ = ["ANY", "Filter", "Found", "Printer", "find", "follow", "key_names"]

#: Stands for a part of the key that may be anything.
ANY: Final = "-"
_FLAGS: Final = {"backtest": True, "true": True, "live": False, "false": False}
_STYLES: Final = {"written": "green", "removed": "yellow", "deleted": "red"}


def key_names(spec: SlotSpec) -> tuple[str, ...]:
    """Return what the parts of a slot's key are called, in the order of the constructor's arguments."""
    return (*spec.context, *((spec.argument,) if spec.item else ()))


@dataclass(frozen=True)
class Filter:
    """Which rows of a slot are meant: ``parts`` are values by document field; any other may be anything."""

    spec: SlotSpec
    parts: dict[str, Any]

    @classmethod
    def of(cls, spec: SlotSpec, words: Sequence[str]) -> Filter:
        """Read the parts of a key as they stand on a command line.

        Raises:
            InputError: there are too many, or one is not what it should be.
        """
        names = key_names(spec)
        if len(words) > len(names):
            known = ", ".join(names) or "none"
            raise InputError(f"{len(words)} parts of a key were given", slot=spec.name, hint=f"it has {known}")
        parts: dict[str, Any] = {}
        for name, word in zip(names, words, strict=False):
            if word != ANY:
                field = str(spec.item) if name == spec.argument and spec.item else camel(name)
                parts[field] = _value(spec, name, word)
        return cls(spec, parts)

    def takes(self, change: Change) -> bool:
        """Tell whether a change is of a row that is meant, or may be."""
        if change.context is None:
            return True
        values: dict[str, Any] = {camel(name): value for name, value in change.context.items()}
        if self.spec.item and change.key is not None:
            values[self.spec.item] = change.key
        return all(values.get(name, wanted) == wanted for name, wanted in self.parts.items())


def _value(spec: SlotSpec, name: str, word: str) -> Any:
    if name == FLAG:
        if word.lower() not in _FLAGS:
            raise InputError(f"backtest must be backtest or live, not {word!r}", slot=spec.name)
        return _FLAGS[word.lower()]
    if spec.shape == "series" and name == spec.argument:
        try:
            return int(word)
        except ValueError:
            raise InputError(f"timestamp must be milliseconds, not {word!r}", slot=spec.name) from None
    return spec.check_key(name, word)


@dataclass(frozen=True)
class Found:
    """Stored documents in the order of their keys, and how many there are in all."""

    documents: list[Document]
    count: int


class _Rows(MongoRows):
    async def find(self, parts: Document, limit: int) -> Found:
        # A candle's last rows are what one looks for; of everything else the keys are names.
        order = -1 if self._spec.shape == "series" else 1

        async def fetch() -> Found:
            sort = [(name, order) for name in self._spec.key]
            documents = await self._collection.find(parts).sort(sort).limit(limit).to_list(limit) if limit else []
            if len(documents) < limit:
                return Found(documents, len(documents))
            count = self._collection.count_documents(parts) if parts else self._collection.estimated_document_count()
            return Found(documents, await count)

        with Limit(self._limit):
            return await self._retried("reading", fetch)


async def find(wanted: Filter, limit: int) -> Found:
    """Return the first ``limit`` documents that are meant; of candles the last ones, newest first.

    Raises:
        StoreUnavailableError, StoreError: MongoDB can't be reached, or refuses it.
    """
    return await _Rows(current_hub(), wanted.spec).find(wanted.parts, limit)


async def follow(wanted: Filter, limit: int, printer: Printer) -> None:
    """Print what is stored, and each change from then on, until it is interrupted."""
    async with ADAPTERS[wanted.spec.name].watch_all() as changes:
        if limit:
            printer.show(await find(wanted, limit))
        printer.start_watching()
        async for change in changes:
            if wanted.takes(change):
                printer.tell(change)


class Printer:
    """Prints documents and changes, for people or one JSON object a line."""

    def __init__(self, console: Console, spec: SlotSpec, as_json: bool) -> None:
        self._console = console
        self._spec = spec
        self._as_json = as_json
        self._highlight = JSONHighlighter()

    def show(self, found: Found) -> None:
        if self._as_json:
            for document in found.documents:
                print(as_json(document), flush=True)
            return
        if not found.documents:
            self._line("Nothing is stored." if not found.count else "")
        elif self._spec.shape == "series":
            self._show_candles(found.documents)
        else:
            for document in found.documents:
                self._show_document(document)
        if len(found.documents) < found.count:
            self._line(f"{len(found.documents):,} of {found.count:,}; --limit shows more", "dim")

    def start_watching(self) -> None:
        if not self._as_json:
            self._line("Watching for changes; Ctrl-C ends it.", "dim")

    def tell(self, change: Change) -> None:
        if self._as_json:
            names = ("kind", "slot", "context", "key", "payload", "when", "time", "token")
            print(as_json({name: getattr(change, name) for name in names}), flush=True)
            return
        heading = Text(iso(change.time), "dim")
        heading.append(f"  {change.kind}  ", _STYLES[change.kind])
        heading.append(self._title(change.context, change.key))
        if change.when is not None:
            heading.append(f"  when {iso(change.when)}", "dim")
        self._console.print(heading, soft_wrap=True)
        if change.kind == "written":
            self._payload(change.payload)

    def _show_document(self, document: Document) -> None:
        # Read as a watch reads it, so that rows of older versions have the same key here as there.
        row = Changes(self._spec, None).row(document)
        by_field = dict(zip(self._spec.key, row.key, strict=True))
        context = {name: by_field[camel(name)] for name in self._spec.context}
        heading = Text(self._title(context, row.key[-1] if self._spec.item else None), "bold")
        if row.removed:
            heading.append("  removed", "yellow")
        self._console.print(heading, soft_wrap=True)
        times = [
            ("when", row.when),
            ("written", _stamp(document, "updatedDate")),
            ("first", _stamp(document, "createDate")),
        ]
        known = [f"{name} {iso(time)}" for name, time in times if time is not None]
        if known:
            self._line("  " + "  ".join(known), "dim")
        self._payload(document.get(self._spec.field))

    def _show_candles(self, documents: list[Document]) -> None:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
        table.add_column("series", overflow="fold")
        table.add_column("time (UTC)", no_wrap=True)
        for name in PRICES:
            table.add_column(name, justify="right", no_wrap=True)
        for document in documents:
            series = " ".join(str(document.get(name)) for name in self._spec.key[:-1])
            prices = (str(document.get(name)) for name in PRICES)
            table.add_row(series, iso(int(document["timestamp"])), *prices)
        self._console.print(table)

    def _payload(self, payload: Any) -> None:
        text = Text("\n".join(f"  {line}" for line in for_people(payload).splitlines()))
        self._highlight.highlight(text)
        self._console.print(text, soft_wrap=True)

    def _title(self, context: dict[str, Any] | None, key: Any) -> str:
        if context is None:
            return f"{self._spec.name}: all rows, or some that are not known one by one"
        values = [("backtest" if value else "live") if name == FLAG else value for name, value in context.items()]
        words = [str(value) if value != "" else '""' for value in (*values, *(() if key is None else (key,)))]
        return " ".join((self._spec.name, *words))

    def _line(self, text: str, style: str = "") -> None:
        self._console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)


def _stamp(document: Document, name: str) -> int | None:
    value = document.get(name)
    try:
        return None if value is None else to_millis(value)
    except (TypeError, ValueError):
        return None
