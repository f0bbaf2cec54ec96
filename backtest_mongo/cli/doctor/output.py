"""How a diagnosis is printed."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from backtest_mongo.cli.doctor.findings import Diagnosis, Finding, Severity
from backtest_mongo.cli.terminal import escape_text, print_table
from backtest_mongo.core.wording import format_count

__all__ = ["print_diagnosis"]

#: From the best to the worst.
_MARKS: Final[dict[Severity, tuple[str, str]]] = {
    "ok": ("ok", "green"),
    "note": ("note", "cyan"),
    "warning": ("warning", "yellow"),
    "problem": ("problem", "bold red"),
}

#: From this width on areas have a column next to their findings; below it, a line above them.
_BESIDE: Final = 60


def print_diagnosis(console: Console, diagnosis: Diagnosis) -> None:
    """Print findings by area, latencies, sizes, and how many findings there are of each severity."""
    beside = console.width >= _BESIDE
    table = _make_findings_table(beside)
    areas = list(dict.fromkeys(finding.area for finding in diagnosis.findings))
    for area in areas:
        heading = area
        if not beside:
            console.print(table)
            table = _make_findings_table(beside)
            console.print(escape_text(area, "bold"), highlight=False)
        for finding in diagnosis.findings:
            if finding.area == area:
                word, style = _MARKS[finding.severity]
                table.add_row(*([heading] if beside else []), Text(word, style), _format_finding(finding))
                heading = ""
    console.print(table)
    _print_steps(console, diagnosis)
    _print_sizes(console, diagnosis)
    counts = [(severity, diagnosis.count(severity)) for severity in reversed(_MARKS)]
    words = [Text(_count_findings(severity, count), _MARKS[severity][1]) for severity, count in counts if count]
    console.print(Text(", ").join(words))


def _make_findings_table(beside: bool) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for _ in range(1 + beside):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _count_findings(severity: Severity, count: int) -> str:
    return format_count(count, severity, "ok" if severity == "ok" else None)


def _format_finding(finding: Finding) -> Text:
    text = escape_text(finding.text)
    if finding.advice:
        text.append("\n").append_text(escape_text(f"-> {finding.advice}", "dim" if finding.severity == "note" else ""))
    return text


def _print_steps(console: Console, diagnosis: Diagnosis) -> None:
    if not diagnosis.steps:
        return
    rows = [(step.name, f"{step.median_ms:.2f} ms", f"{step.slowest_ms:.2f} ms") for step in diagnosis.steps]
    print_table(console, ("step", "median", "slowest"), rows)


def _print_sizes(console: Console, diagnosis: Diagnosis) -> None:
    if not diagnosis.sizes:
        return
    rows: list[tuple[str | Text, ...]] = []
    for size in diagnosis.sizes:
        amounts = (size.data_bytes, size.disk_bytes, size.index_bytes)
        rows.append((escape_text(size.collection), f"{size.rows:,}", *map(_format_bytes, amounts)))
    print_table(console, ("collection", "rows", "data", "on disk", "indexes"), rows)


def _format_bytes(amount: int | None) -> str:
    if amount is None:
        return "-"
    value = float(amount)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
