"""Progress on a terminal, which is standard error's; anywhere else there is none."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

__all__ = ["Bar", "note", "notes"]

#: Notes of a kind that are printed; a directory can hold thousands of other files.
_SHOWN = 20


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        rows, seconds = task.fields["rows"], task.elapsed or 0.0
        return Text(f"{rows / seconds:,.0f} rows/s" if rows and seconds else "", style="progress.data.speed")


class Bar:
    """A bar for one piece of work, measured in bytes of files or in what ``unit`` says. Use it with ``with``."""

    def __init__(self, total: int | None, unit: str | None = None) -> None:
        console = Console(stderr=True)
        counted = DownloadColumn() if unit is None else MofNCompleteColumn()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            counted,
            TextColumn(unit or ""),
            _Rate(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task: TaskID = self._progress.add_task("", total=total, rows=0)
        self._rows = 0

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, description: str, done: int, rows: int = 0) -> None:
        """Show what is being worked on, how much is done, and how many more rows that were."""
        self._rows += rows
        self._progress.update(self._task, description=description, completed=done, rows=self._rows)

    def note(self, text: str) -> None:
        """Print one line to standard error, above the bar."""
        note(text, self._progress.console)


def note(text: str, console: Console | None = None) -> None:
    """Print one line to standard error."""
    (console or Console(stderr=True)).print(text, highlight=False, markup=False, soft_wrap=True)


def notes(texts: list[str]) -> None:
    """Print lines to standard error, the first of them if they are many."""
    for text in texts[:_SHOWN]:
        note(text)
    if len(texts) > _SHOWN:
        note(f"... and {len(texts) - _SHOWN:,} more")
