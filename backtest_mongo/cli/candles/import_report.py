"""The report that ``candles import`` prints."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.table import Table

from backtest_mongo.cli.terminal import escape_text, print_line
from backtest_mongo.core.wording import format_count
from backtest_mongo.market_data import CandleImportReport

__all__ = ["print_import_report"]

#: From this width on there is room for a text next to its number.
_BESIDE: Final = 60


def print_import_report(
    console: Console, report: CandleImportReport, symbol: str | None, interval: str, exchange: str
) -> None:
    """Print how many candles are new, what was refused and why, and the first lines that are not candles."""
    counts = [("new", report.new, ""), ("already there", report.present, "")]
    if report.open:
        counts.append(("still open", report.open, "not stored: their interval has not ended yet"))
    if report.others:
        counts.append(("other symbols", report.others, "skipped"))
    for reason, count in report.refused.most_common():
        places = report.places[reason]
        more = ", ..." if count > len(places) else ""
        counts.append(("refused", count, f"{reason}: {', '.join(places)}{more}"))
    if report.off_grid:
        counts.append(("off the grid", report.off_grid, "stored, but not on the grid of their file's first candle"))
    counts.append(("bad lines", report.bad_lines, ""))
    if report.unreadable:
        counts.append(("unreadable files", len(report.unreadable), ""))
    files = format_count(report.files, "file")
    symbols = [symbol] if symbol is not None else sorted(report.series)
    name = symbols[0] if len(symbols) == 1 else format_count(len(symbols), "symbol")
    candles = format_count(report.rows, "candle")
    console.print(escape_text(f"{exchange} {name} {interval}: {candles} in {files}"), highlight=False)
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
