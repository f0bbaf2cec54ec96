"""What an import prints at its end."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from backtest_mongo.candles.importing import Imported

__all__ = ["print_imported"]


def print_imported(console: Console, done: Imported, series: str) -> None:
    """Print how many candles are new, what was refused and why, and the first of the lines that are no candles."""
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("new", f"{done.new:,}")
    table.add_row("already there", f"{done.present:,}")
    for reason, count in done.refused.most_common():
        places = done.places[reason]
        more = ", ..." if count > len(places) else ""
        table.add_row("refused", f"{count:,}", f"{reason}: {', '.join(places)}{more}")
    if done.beside:
        table.add_row("off the grid", f"{done.beside:,}", "stored, but not on the grid of their file's first candle")
    table.add_row("bad lines", f"{done.bad_lines:,}")
    if done.unreadable:
        table.add_row("unreadable files", f"{len(done.unreadable):,}")
    files = f"{done.files:,} file{'s' * (done.files != 1)}"
    console.print(f"{series}: {done.rows:,} candles in {files}", highlight=False, markup=False)
    console.print(table, highlight=False, markup=False)
    lines = list(done.bad)
    if done.bad_lines > len(lines):
        lines.append(f"and {done.bad_lines - len(lines):,} bad lines more")
    for line in (*lines, *done.unreadable):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
