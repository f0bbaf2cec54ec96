"""What is stored, what is missing, and how much room it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from backtest_mongo import CandleAdapter
from backtest_mongo.candles.disk import bytes_of_a_row
from backtest_mongo.candles.lengths import length, share, size
from backtest_mongo.candles.progress import Bar
from backtest_mongo.candles.session import Filter, chosen, title
from backtest_mongo.candles.times import utc
from backtest_mongo.types import INTERVAL_MS, Coverage, Gap, Sealed

__all__ = ["Covered", "as_json", "cover", "print_covered"]


@dataclass(frozen=True)
class Covered:
    """One series: what is stored, the gaps between its first and its last candle, and about how many bytes it takes."""

    adapter: CandleAdapter
    coverage: Coverage
    gaps: list[Gap]
    sealed: Sealed
    bytes: int

    @property
    def missing(self) -> int:
        return sum(gap.rows for gap in self.gaps)

    @property
    def longest(self) -> Gap | None:
        return max(self.gaps, key=lambda gap: gap.rows, default=None)


async def cover(wanted: Filter) -> list[Covered]:
    """Return what is stored of each series that is meant, by exchange, symbol and interval.

    Raises:
        InputError: no such series is stored.
    """
    adapters = await chosen(wanted)
    each = await bytes_of_a_row()
    found = []
    with Bar(len(adapters), "series") as bar:
        for count, adapter in enumerate(adapters):
            bar.show(title(adapter), count)
            coverage = await adapter.coverage()
            if coverage.last is not None:
                gaps = await adapter.gaps(end=coverage.last + 1)
                sealed = await adapter.sealed()
                found.append(Covered(adapter, coverage, gaps, sealed, round(coverage.rows * each) + sealed.bytes))
    return sorted(found, key=_order)


def _order(one: Covered) -> tuple[str, str, int]:
    exchange, symbol, interval = (str(one.adapter.context[name]) for name in ("exchange_name", "symbol", "interval"))
    return exchange, symbol, INTERVAL_MS[interval]


def as_json(found: Sequence[Covered]) -> dict[str, Any]:
    """Return all there is to say, with times in milliseconds."""
    return {
        "series": [
            {
                "exchange": one.adapter.context["exchange_name"],
                "symbol": one.adapter.context["symbol"],
                "interval": one.adapter.context["interval"],
                "first": one.coverage.first,
                "last": one.coverage.last,
                "rows": one.coverage.rows,
                "missing": one.missing,
                "sealed_blocks": one.sealed.blocks,
                "sealed_rows": one.sealed.rows,
                "sealed_bytes": one.sealed.bytes,
                "bytes": one.bytes,
                "gaps": [gap._asdict() for gap in one.gaps],
            }
            for one in found
        ]
    }


def print_covered(console: Console, found: Sequence[Covered], gaps: int) -> None:
    """Print a table of series, and one of the longest gaps of all of them."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), leading=1)
    table.add_column("series", overflow="fold")
    table.add_column("first and last\n(UTC)", no_wrap=True)
    for heading in ("rows", "gaps", "rows\nmissing", "longest\ngap", "sealed", "on disk"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in found:
        context, longest = one.adapter.context, one.longest
        table.add_row(
            f"{context['symbol']} {context['interval']}\n{context['exchange_name']}",
            "\n".join(utc(time) for time in (one.coverage.first, one.coverage.last) if time is not None),
            f"{one.coverage.rows:,}",
            f"{len(one.gaps):,}",
            f"{one.missing:,}",
            "-" if longest is None else length(longest.end - longest.start),
            share(one.sealed.rows, one.coverage.rows),
            size(one.bytes),
        )
    console.print(table)
    _print_gaps(console, found, gaps)


def _print_gaps(console: Console, found: Sequence[Covered], count: int) -> None:
    every = [(gap, one) for one in found for gap in one.gaps]
    longest = sorted(every, key=lambda pair: (pair[0].start - pair[0].end, pair[0].start))[:count]
    if not longest:
        return
    of = f"The longest {len(longest):,} of {len(every):,} gaps" if len(longest) < len(every) else "Gaps"
    table = Table(title=of, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("series", overflow="fold")
    table.add_column("first missing (UTC)", no_wrap=True)
    table.add_column("next candle (UTC)", no_wrap=True)
    for heading in ("length", "candles"):
        table.add_column(heading, justify="right", no_wrap=True)
    for gap, one in longest:
        table.add_row(title(one.adapter), utc(gap.start), utc(gap.end), length(gap.end - gap.start), f"{gap.rows:,}")
    console.print(table)
