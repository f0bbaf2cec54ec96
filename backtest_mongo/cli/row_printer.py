"""How rows and changes of a slot are printed, for people or as JSON."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.text import Text

from backtest_mongo.cli.command_runner import print_error
from backtest_mongo.cli.formatting import format_extended_json, format_iso_time, format_payload
from backtest_mongo.cli.stored_rows import FoundRows
from backtest_mongo.cli.terminal import escape_text, print_json, print_line, print_table
from backtest_mongo.core.specs import FLAG, SlotSpec, camel
from backtest_mongo.core.wording import format_count
from backtest_mongo.market_data.exact_times import format_exact_time
from backtest_mongo.types import PRICES, Document, to_millis

if TYPE_CHECKING:
    from backtest_mongo.core.changes import Change

__all__ = ["RowPrinter"]

_STYLES: Final = {"written": "green", "removed": "yellow", "deleted": "red"}


class RowPrinter:
    """Prints documents and changes, for people or as one JSON object per line."""

    def __init__(self, console: Console, spec: SlotSpec, as_json: bool) -> None:
        self._console = console
        self._spec = spec
        self._as_json = as_json
        self._highlight = JSONHighlighter()

    def print_rows(self, found: FoundRows, at: int | None = None) -> None:
        """Print rows.

        Args:
            found: the rows.
            at: the simulation time as of which they are, of series with columns in the slot's unit, of others in
                milliseconds; ``None`` for what is stored now.
        """
        self._report_unread(found)
        if self._as_json:
            for document in found.documents:
                print_json(format_extended_json(document))
            return
        if not found.documents:
            nothing = "Nothing is stored." if at is None else f"Nothing was stored at {self._format_time(at)}."
            print_line(self._console, "" if found.count or found.unknown or found.older else nothing)
        elif self._spec.columns:
            self._print_columns(found.documents)
        elif self._spec.is_candles:
            self._print_candles(found.documents)
        else:
            for document in found.documents:
                self._print_document(document)
        if found.count is None:
            print_line(self._console, f"the first {len(found.documents):,}; --limit shows more", "dim")
        elif len(found.documents) < found.count:
            print_line(self._console, f"{len(found.documents):,} of {found.count:,}; --limit shows more", "dim")

    def _format_time(self, at: int) -> str:
        return format_exact_time(at, self._spec.unit) if self._spec.columns else format_iso_time(at)

    def _report_unread(self, found: FoundRows) -> None:
        """Say on standard error what is left out."""
        if found.unknown:
            print_error(
                f"backtest-mongo: {format_count(found.unknown, 'row')} left out, written since: their past is "
                f"unknown, because {self._spec.name} keeps no versions (CC_HISTORY={self._spec.name} keeps those of "
                "later writes)"
            )
        if found.older:
            print_error(
                f"backtest-mongo: {format_count(found.older, 'row')} left out: their past is unknown, because it is "
                f"older than the versions of {self._spec.name} that are kept"
            )
        for problem in found.problems:
            print_error(f"backtest-mongo: {problem}")

    def print_watching(self) -> None:
        if not self._as_json:
            print_line(self._console, "Watching for changes; Ctrl-C stops.", "dim")

    def print_change(self, change: Change) -> None:
        if self._as_json:
            names = ("kind", "slot", "context", "key", "payload", "when", "time", "token")
            print_json(format_extended_json({name: getattr(change, name) for name in names}))
            return
        heading = Text(format_iso_time(change.time), "dim")
        heading.append(f"  {change.kind}  ", _STYLES[change.kind])
        heading.append_text(escape_text(self._make_title(change.context, change.key)))
        if change.when is not None:
            heading.append(f"  when {format_iso_time(change.when)}", "dim")
        self._console.print(heading, soft_wrap=True)
        if change.kind == "written" or change.payload is not None:
            self._print_payload(change.payload)

    def _print_document(self, document: Document) -> None:
        from backtest_mongo.mongo.change_decoder import ChangeDecoder

        # Decoded like a change, so that rows of older versions have the same key here as there.
        row = ChangeDecoder(self._spec, None).row(document)
        by_field = dict(zip(self._spec.key, row.key, strict=True))
        context = {name: by_field[camel(name)] for name in self._spec.context}
        heading = escape_text(self._make_title(context, row.key[-1] if self._spec.item else None), "bold")
        if row.removed:
            heading.append("  removed", "yellow")
        self._console.print(heading, soft_wrap=True)
        times = [
            ("when", row.when),
            ("written", _read_stamp(document, "updatedDate")),
            ("first", _read_stamp(document, "createDate")),
        ]
        known = [f"{name} {format_iso_time(time)}" for name, time in times if time is not None]
        if known:
            print_line(self._console, "  " + "  ".join(known), "dim")
        self._print_payload(document.get(self._spec.field))

    def _print_candles(self, documents: list[Document]) -> None:
        def series(document: Document) -> str:
            return " ".join(str(document.get(name)) for name in self._spec.key[:-1])

        for name, candles in groupby(documents, series):
            rows: list[tuple[str | Text, ...]] = [
                (format_iso_time(int(candle["timestamp"])), *(escape_text(str(candle.get(price))) for price in PRICES))
                for candle in candles
            ]
            self._console.print(escape_text(name, "bold"), highlight=False, overflow="fold")
            print_table(self._console, ("time (UTC)", *PRICES), rows, names=False)

    def _print_columns(self, documents: list[Document]) -> None:
        fields = self._spec.context_key

        def series(document: Document) -> Text:
            context = {name: document[camel(name)] for name in self._spec.context}
            return escape_text(self._make_title(context, None), "bold")

        for _, some in groupby(documents, lambda document: [document[name] for name in fields]):
            rows = list(some)
            names = [name for name in rows[0] if name not in (*fields, "timestamp")]
            cells: list[tuple[str | Text, ...]] = [
                (
                    format_exact_time(row["timestamp"], self._spec.unit),
                    *("" if row[name] is None else escape_text(str(row[name])) for name in names),
                )
                for row in rows
            ]
            self._console.print(series(rows[0]), highlight=False, overflow="fold")
            print_table(self._console, ("time (UTC)", *names), cells, names=False)

    def _print_payload(self, payload: Any) -> None:
        text = Text("\n".join([f"  {line}" for line in format_payload(payload).splitlines()]))
        self._highlight.highlight(text)
        self._console.print(text, soft_wrap=True)

    def _make_title(self, context: dict[str, Any] | None, key: Any) -> str:
        if context is None:
            return f"{self._spec.name}: all rows, or some whose keys are unknown"
        values = [("backtest" if value else "live") if name == FLAG else value for name, value in context.items()]
        words = [str(value) if value != "" else '""' for value in (*values, *(() if key is None else (key,)))]
        return " ".join((self._spec.name, *words))


def _read_stamp(document: Document, name: str) -> int | None:
    value = document.get(name)
    try:
        return None if value is None else to_millis(value)
    except (TypeError, ValueError):
        return None
