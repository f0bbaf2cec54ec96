"""Sealing series into blocks, and comparing blocks with the candles that they were made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from backtest_mongo import CandleAdapter
from backtest_mongo.candles.lengths import share
from backtest_mongo.candles.progress import Bar
from backtest_mongo.candles.session import Filter, chosen, title
from backtest_mongo.candles.times import utc
from backtest_mongo.types import SealReport, VerifyReport

__all__ = ["SealedNow", "Verified", "print_sealed", "print_verified", "seal", "verify"]

#: Damaged blocks that are printed.
_SHOWN = 20


@dataclass(frozen=True)
class SealedNow:
    adapter: CandleAdapter
    report: SealReport
    sealed: int
    rows: int


@dataclass(frozen=True)
class Verified:
    adapter: CandleAdapter
    report: VerifyReport

    @property
    def sound(self) -> bool:
        """Whether no block is damaged now."""
        return self.report.repaired == len(self.report.damaged)


async def seal(wanted: Filter) -> list[SealedNow]:
    """Seal what can be sealed of each series that is meant.

    Raises:
        InputError: no such series is stored.
    """
    done = []
    for adapter in await chosen(wanted):
        rows, before = (await adapter.coverage()).rows, await adapter.sealed()
        now = before.rows
        with Bar(rows, "candles") as bar:

            def show(report: SealReport, bar: Bar = bar, adapter: CandleAdapter = adapter) -> None:
                nonlocal now
                now += report.rows
                bar.show(title(adapter), now, report.rows)

            report = await adapter.seal(progress=show)
        done.append(SealedNow(adapter, report, (await adapter.sealed()).rows, rows))
    return done


async def verify(wanted: Filter, repair: bool) -> list[Verified]:
    """Compare the blocks of each series that is meant with their candles; ``repair`` seals damaged ones again.

    Raises:
        InputError: no such series is stored.
    """
    done = []
    for adapter in await chosen(wanted):
        with Bar((await adapter.sealed()).blocks, "blocks") as bar:
            seen = 0

            def show(report: VerifyReport, bar: Bar = bar, adapter: CandleAdapter = adapter) -> None:
                nonlocal seen
                bar.show(title(adapter), report.blocks, report.rows - seen)
                seen = report.rows

            done.append(Verified(adapter, await adapter.verify(repair, progress=show)))
    return done


def print_sealed(console: Console, done: Sequence[SealedNow]) -> None:
    """Print what was sealed of each series, and how much of it is sealed now."""
    table = _table("blocks", "candles", "sealed now")
    for one in done:
        blocks, rows = one.report.blocks, one.report.rows
        table.add_row(title(one.adapter), f"{blocks:,}", f"{rows:,}", share(one.sealed, one.rows))
    console.print(table)


def print_verified(console: Console, done: Sequence[Verified]) -> None:
    """Print how many blocks of each series are damaged, and which."""
    table = _table("blocks", "candles", "damaged", "repaired")
    for one in done:
        counts = one.report.blocks, one.report.rows, len(one.report.damaged), one.report.repaired
        table.add_row(title(one.adapter), *(f"{count:,}" for count in counts))
    console.print(table)
    damaged = [
        f"{title(one.adapter)} {utc(start)}  {reason}"
        for one in done
        for start, reason in sorted(one.report.damaged.items())
    ]
    for line in damaged[:_SHOWN]:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if len(damaged) > _SHOWN:
        console.print(f"and {len(damaged) - _SHOWN:,} more")


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("series", overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table
