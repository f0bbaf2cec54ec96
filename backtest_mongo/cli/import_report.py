"""The report of an import of files, as it is printed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.table import Table

from backtest_mongo.cli.terminal import escape_text, print_line
from backtest_mongo.core.wording import format_count
from backtest_mongo.market_data.importing import ImportReport

__all__ = ["print_import_report"]

#: From this width on there is room for a text next to its number.
_BESIDE: Final = 60


def print_import_report(
    console: Console,
    report: ImportReport,
    name: str,
    what: str,
    *,
    words: tuple[str, str] = ("new", "already there"),
    more: Sequence[tuple[str, int, str]] = (),
) -> None:
    """Print how many rows are new, what was refused and why, and the first lines that are no rows.

    Args:
        console: where to print.
        report: what became of every line.
        name: what the rows were stored under.
        what: what a row is.
        words: what the rows are called that were stored, and those that were there.
        more: further counts, each with its name and a text.
    """
    counts = [(words[0], report.new, ""), (words[1], report.present, "")]
    if report.open:
        counts.append(("still open", report.open, "not stored: their interval has not ended yet"))
    if report.others:
        counts.append(("other symbols", report.others, "skipped"))
    for reason, count in report.refused.most_common():
        places = report.places[reason]
        others = ", ..." if count > len(places) else ""
        counts.append(("refused", count, f"{reason}: {', '.join(places)}{others}"))
    counts += more
    counts.append(("bad lines", report.bad_lines, ""))
    if report.unreadable:
        counts.append(("unreadable files", len(report.unreadable), ""))
    rows, files = format_count(report.rows, what), format_count(report.files, "file")
    console.print(escape_text(f"{name}: {rows} in {files}"), highlight=False)
    _print_counts(console, counts)
    lines = list(report.bad)
    if report.bad_lines > len(lines):
        lines.append(f"and {format_count(report.bad_lines - len(lines), 'more bad line')}")
    for line in (*lines, *report.unreadable):
        print_line(console, line)


def _print_counts(console: Console, counts: list[tuple[str, int, str]]) -> None:
    """Print counts with their texts: next to the number, or below all numbers on a narrow terminal."""
    beside = console.width >= _BESIDE
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    if beside:
        table.add_column(overflow="fold")
    for name, count, text in counts:
        table.add_row(name, f"{count:,}", *([escape_text(text)] if beside else []))
    console.print(table, highlight=False)
    for name, _, text in () if beside else counts:
        if text:
            console.print(escape_text(f"{name}: {text}"), highlight=False, overflow="fold")
