"""What the demo prints: progress while it runs, and at the end the calls of each slot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from backtest_mongo import SLOTS, EquityAdapter
from backtest_mongo.cli.demo.databases import ROLES
from backtest_mongo.cli.demo.market import SYMBOL
from backtest_mongo.cli.demo.results import Result, Tally
from backtest_mongo.cli.terminal import can_redraw, escape_text, print_line, print_table
from backtest_mongo.core.wording import format_count

__all__ = ["Screen", "print_result"]

#: Differences that are printed; there can be thousands, most of them alike.
_SHOWN: Final = 20


class Screen:
    """Progress bars on a terminal, and a line for each kill everywhere."""

    def __init__(self, console: Console, bars: int, kills: int) -> None:
        self._bars = bars
        self._kills = kills
        self._seen = 0
        self._progress = Progress(
            TextColumn("{task.description:>13}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("bars"),
            TimeElapsedColumn(),
            console=console,
            refresh_per_second=5,
            disable=not can_redraw(console),
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {role: self._progress.add_task(role, total=bars) for role in ROLES}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, role: str, tally: Tally) -> None:
        """Show how far a run has come, and new kills."""
        self._progress.update(self._tasks[role], completed=tally.bar + 1)
        for kill in tally.kills[self._seen :] if role == "interrupted" else ():
            self._seen += 1
            bar = "after the last bar" if kill.bar + 1 == self._bars else f"in bar {kill.bar + 1}"
            writes = f"; nothing is left of its writes to {', '.join(kill.dropped)}" if kill.dropped else ""
            self._progress.console.print(
                escape_text(f"kill {self._seen} of {self._kills}: {bar}{writes}"), highlight=False
            )


def print_result(console: Console, result: Result) -> None:
    """Print the table of slots, and whether the two end states are equal."""
    tally = result.tallies["interrupted"]
    _print_slots(console, result, tally)
    cut = sum(bool(kill.dropped) for kill in tally.kills)
    end = tally.end
    facts = {
        "bars": f"{result.bars:,} of {SYMBOL}, twice at the same time, in {result.seconds:.1f} s",
        "speed": f"{result.speed:,.0f} bars a second, each committed as a whole",
        "kills": f"{len(tally.kills)} by SIGKILL, {cut} of them between a bar's writes and its commit"
        if tally.kills
        else "none",
        "trades": f"{end['trades']} closed; balance {end['balance']:,.2f}, equity {result.equity:,.2f}",
        "logged last": end["logged"],
        "notified last": end["notified"],
    }
    for name, fact in facts.items():
        console.print(escape_text(f"{name + ':':<15}{fact}"), highlight=False)
    problems = result.problems
    if problems:
        differences = format_count(len(problems), "difference")
        console.print(f"end state equal: no, {differences}", style="bold red", highlight=False)
    else:
        rows = sum(result.comparison.documents.values())
        console.print(f"end state equal: yes, all {rows:,} rows", style="bold green", highlight=False)
    for problem in problems[:_SHOWN]:
        print_line(console, f"  {problem}")
    if len(problems) > _SHOWN:
        console.print(f"  and {len(problems) - _SHOWN} more")


def _print_slots(console: Console, result: Result, tally: Tally) -> None:
    headings = ("rows", "reads", "cached\nids", "writes", "read\nmedian", "\n99 %", "write\nmedian", "\n99 %")
    rows = []
    for spec in (*SLOTS, EquityAdapter.spec):
        reads, writes = tally.calls[spec.name, "read"], tally.calls[spec.name, "write"]
        cells = (
            spec.name,
            f"{result.comparison.documents[spec.name]:,}",
            f"{len(reads):,}",
            # Lists and windows are queries that need no id.
            f"{tally.hits[spec.name]:,}" if spec.shape not in ("series", "collection") else "-",
            f"{len(writes):,}",
            *_format_times(reads),
            *_format_times(writes),
        )
        rows.append(cells)
    title = f"The interrupted run, by slot (processes: {tally.processes}; times in milliseconds)"
    print_table(console, ("slot", *headings), rows, title=title)


def _format_times(microseconds: Sequence[int]) -> Iterable[str]:
    ordered = sorted(microseconds)
    for part in (0.5, 0.99):
        if not ordered:
            yield "-"
            continue
        milliseconds = ordered[int(part * (len(ordered) - 1))] / 1000
        yield f"{milliseconds:.{2 if milliseconds < 10 else 1 if milliseconds < 100 else 0}f}"
