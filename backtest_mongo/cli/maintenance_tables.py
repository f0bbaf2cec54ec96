"""The tables of what was sealed and verified, of candles and of other series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from rich.console import Console
from rich.text import Text

from backtest_mongo.cli.formatting import format_share
from backtest_mongo.cli.terminal import escape_text, print_line, print_table
from backtest_mongo.market_data.time_formats import format_utc
from backtest_mongo.types import SealReport, VerifyReport

__all__ = ["SealedRows", "VerifiedRows", "print_sealed_rows", "print_verified_rows"]

#: Damaged blocks that are printed.
_LISTED: Final = 20


class SealedRows(NamedTuple):
    """What was sealed of a series, how many of its rows are sealed now, and how many it has."""

    name: str
    report: SealReport
    sealed: int
    rows: int


def print_sealed_rows(console: Console, done: Sequence[SealedRows], what: str) -> None:
    """Print what was sealed of each series, and how much of it is sealed now; ``what`` are the rows, in the plural."""
    rows = [
        (
            escape_text(one.name),
            f"{one.report.blocks:,}",
            f"{one.report.rows:,}",
            format_share(one.sealed, one.rows),
        )
        for one in done
    ]
    print_table(console, ("series", "blocks", what, "sealed now"), rows)


class VerifiedRows(NamedTuple):
    """What is wrong with a series."""

    name: str
    report: VerifyReport


def print_verified_rows(
    console: Console,
    done: Sequence[VerifiedRows],
    what: str,
    *,
    can_repair: bool,
    blocks: str = "blocks",
    format_time: Callable[[int], str] = format_utc,
) -> None:
    """Print how many blocks of each series are damaged, and which.

    Args:
        console: where to print.
        done: what was found, by series.
        what: what the rows are, in the plural.
        can_repair: whether damaged blocks can be repaired.
        blocks: what was compared.
        format_time: formats the start of a block.
    """
    rows: list[tuple[str | Text, ...]] = []
    for one in done:
        counts = [one.report.blocks, one.report.rows, len(one.report.damaged)]
        counts += [one.report.repaired] if can_repair else []
        rows.append((escape_text(one.name), *(f"{count:,}" for count in counts)))
    headings = ("series", blocks, what, "damaged", *(("repaired",) if can_repair else ()))
    print_table(console, headings, rows)
    damaged = [
        f"{one.name} {_format_start(start, format_time)}  {reason}"
        for one in done
        for start, reason in one.report.damaged.items()
    ]
    for line in damaged[:_LISTED]:
        print_line(console, line)
    if len(damaged) > _LISTED:
        console.print(f"and {len(damaged) - _LISTED:,} more")


def _format_start(start: int | None, format_time: Callable[[int], str]) -> str:
    # If the start itself is damaged, it may be missing, or outside the years of dates.
    try:
        return "without a start" if start is None else format_time(start)
    except (OverflowError, ValueError, OSError):
        return str(start)
