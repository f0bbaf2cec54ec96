"""The doctor's findings on a terminal."""

from __future__ import annotations

from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from backtest_mongo.care.findings import SEVERITIES, Diagnosis, Finding, Severity

__all__ = ["print_diagnosis"]

_MARKS: Final[dict[Severity, tuple[str, str]]] = {
    "ok": ("ok", "green"),
    "note": ("note", "cyan"),
    "warning": ("warning", "yellow"),
    "problem": ("problem", "bold red"),
}


def print_diagnosis(console: Console, diagnosis: Diagnosis) -> None:
    """Print findings by area, latencies, sizes, and how many findings there are of each severity."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    areas = list(dict.fromkeys(finding.area for finding in diagnosis.findings))
    for area in areas:
        heading = area
        for finding in diagnosis.findings:
            if finding.area == area:
                word, style = _MARKS[finding.severity]
                table.add_row(heading, Text(word, style), _text(finding))
                heading = ""
    console.print(table)
    _print_steps(console, diagnosis)
    _print_sizes(console, diagnosis)
    counts = [(severity, diagnosis.count(severity)) for severity in reversed(SEVERITIES)]
    words = [Text(f"{count} {_plural(severity, count)}", _MARKS[severity][1]) for severity, count in counts if count]
    console.print(Text(", ").join(words))


def _plural(severity: Severity, count: int) -> str:
    return severity if severity == "ok" or count == 1 else f"{severity}s"


def _text(finding: Finding) -> Text:
    text = Text(finding.text)
    if finding.advice:
        text.append(f"\n-> {finding.advice}", "dim" if finding.severity == "note" else "")
    return text


def _print_steps(console: Console, diagnosis: Diagnosis) -> None:
    if not diagnosis.steps:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("step")
    table.add_column("median", justify="right")
    table.add_column("slowest", justify="right")
    for step in diagnosis.steps:
        table.add_row(step.name, f"{step.median_ms:.2f} ms", f"{step.slowest_ms:.2f} ms")
    console.print(table)


def _print_sizes(console: Console, diagnosis: Diagnosis) -> None:
    if not diagnosis.sizes:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("collection")
    for heading in ("rows", "data", "on disk", "indexes"):
        table.add_column(heading, justify="right")
    for size in diagnosis.sizes:
        amounts = (size.data_bytes, size.disk_bytes, size.index_bytes)
        table.add_row(size.collection, f"{size.rows:,}", *map(_bytes, amounts))
    console.print(table)


def _bytes(amount: int | None) -> str:
    if amount is None:
        return "-"
    value = float(amount)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
