"""A progress bar on standard error, if that is a terminal."""

from __future__ import annotations

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from backtest_mongo.cli.terminal import Terminal, can_redraw, print_line
from backtest_mongo.core.control_characters import escape_controls

__all__ = ["ProgressBar"]


class _RowsPerSecond(ProgressColumn):
    def render(self, task: Task) -> Text:
        rows, seconds = task.fields["rows"], task.elapsed or 0.0
        return Text(f"{rows / seconds:,.0f} rows/s" if rows and seconds else "", style="progress.data.speed")


class ProgressBar:
    """A bar for one piece of work, shown inside its ``with`` block and removed at the end.

    Args:
        unit: what is counted; bytes of files by default.
    """

    def __init__(self, unit: str | None = None) -> None:
        console = Terminal(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn() if unit is None else MofNCompleteColumn(),
            TextColumn(unit or ""),
            _RowsPerSecond(),
            TimeRemainingColumn(),
            console=console,
            disable=not can_redraw(console),
            transient=True,
        )
        self._task = self._progress.add_task("", total=None, rows=0)
        self._rows = 0

    def __enter__(self) -> ProgressBar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def start(self, total: int) -> None:
        """Begin the work, of which there is ``total``."""
        self._progress.reset(self._task, total=total)

    def update(self, description: str, done: int, rows: int = 0) -> None:
        """Show what is being worked on, how much is done in all, and how many more rows that were."""
        self._rows += rows
        self._progress.update(self._task, description=escape_controls(description), completed=done, rows=self._rows)

    def note(self, text: str) -> None:
        """Print one line to standard error, above the bar."""
        print_line(self._progress.console, text)
