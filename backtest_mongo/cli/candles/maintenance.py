"""Maintenance of stored series: sealing, verifying and deleting, and what these commands print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from backtest_mongo import CandleAdapter
from backtest_mongo.cli.candles.series_filter import SeriesFilter, format_series, select_series
from backtest_mongo.cli.maintenance_tables import SealedRows, VerifiedRows, print_sealed_rows, print_verified_rows
from backtest_mongo.cli.progress_bar import ProgressBar
from backtest_mongo.cli.terminal import print_line
from backtest_mongo.core.wording import format_count
from backtest_mongo.market_data.time_formats import format_utc
from backtest_mongo.types import Coverage, DeleteReport, SealReport, VerifyReport

__all__ = [
    "DeletableRange",
    "SealedSeries",
    "VerifiedSeries",
    "print_deletable",
    "print_deleted",
    "print_sealed",
    "print_verified",
    "seal_series",
    "survey_range",
    "verify_series",
]

# Seal


@dataclass(frozen=True)
class SealedSeries:
    """What was sealed of a series, and how many of its candles are sealed now."""

    adapter: CandleAdapter
    report: SealReport
    sealed: int
    rows: int


async def seal_series(wanted: SeriesFilter) -> list[SealedSeries]:
    """Seal what can be sealed of each matching series.

    Raises:
        InputError: no such series is stored.
    """
    done = []
    for adapter in await select_series(wanted):
        rows, before = (await adapter.coverage()).rows, await adapter.sealed()
        now = before.rows
        with ProgressBar("candles") as bar:
            bar.start(rows)

            def show(report: SealReport, bar: ProgressBar = bar, adapter: CandleAdapter = adapter) -> None:
                nonlocal now
                now += report.rows
                bar.update(format_series(adapter), now, report.rows)

            report = await adapter.seal(progress=show)
        done.append(SealedSeries(adapter, report, (await adapter.sealed()).rows, rows))
    return done


def print_sealed(console: Console, done: Sequence[SealedSeries]) -> None:
    """Print what was sealed of each series, and how much of it is sealed now."""
    rows = [SealedRows(format_series(one.adapter), one.report, one.sealed, one.rows) for one in done]
    print_sealed_rows(console, rows, "candles")


# Verify


@dataclass(frozen=True)
class VerifiedSeries:
    """What comparing the blocks of a series with its candles found."""

    adapter: CandleAdapter
    report: VerifyReport

    @property
    def is_sound(self) -> bool:
        """Whether no block is still damaged."""
        return self.report.repaired == len(self.report.damaged)


async def verify_series(wanted: SeriesFilter, repair: bool) -> list[VerifiedSeries]:
    """Compare the blocks of each matching series with their candles; ``repair`` seals damaged blocks again.

    Raises:
        InputError: no such series is stored.
    """
    done = []
    for adapter in await select_series(wanted):
        with ProgressBar("blocks") as bar:
            bar.start((await adapter.sealed()).blocks)
            seen = 0

            def show(report: VerifyReport, bar: ProgressBar = bar, adapter: CandleAdapter = adapter) -> None:
                nonlocal seen
                bar.update(format_series(adapter), report.blocks, report.rows - seen)
                seen = report.rows

            done.append(VerifiedSeries(adapter, await adapter.verify(repair, progress=show)))
    return done


def print_verified(console: Console, done: Sequence[VerifiedSeries]) -> None:
    """Print how many blocks of each series are damaged, and which."""
    rows = [VerifiedRows(format_series(one.adapter), one.report) for one in done]
    print_verified_rows(console, rows, "candles", can_repair=True)


# Delete


@dataclass(frozen=True)
class DeletableRange:
    """What is stored in a range, and how many sealed blocks hold some of it."""

    adapter: CandleAdapter
    coverage: Coverage
    blocks: int

    @property
    def is_empty(self) -> bool:
        return not self.coverage.rows


async def survey_range(adapter: CandleAdapter, start: int | None, end: int | None) -> DeletableRange:
    """Return the candles and blocks that deleting a half-open range would delete."""
    return DeletableRange(adapter, *await adapter._survey(start, end))


def print_deletable(console: Console, found: DeletableRange) -> None:
    """Print how many candles there are, the times of the first and the last, and how many blocks."""
    coverage = found.coverage
    first, last = (format_utc(time) for time in (coverage.first, coverage.last) if time is not None)
    blocks = f"in {format_count(found.blocks, 'sealed block')}" if found.blocks else "none of them sealed"
    print_line(console, f"{format_series(found.adapter)}: {format_count(coverage.rows, 'candle')}, {blocks}")
    print_line(console, f"from {first} to {last} (UTC)")


def print_deleted(console: Console, found: DeletableRange, report: DeleteReport) -> None:
    """Print how many candles and blocks were deleted."""
    series = format_series(found.adapter)
    if found.is_empty and not report.rows and not report.blocks:
        print_line(console, f"{series}: no candles are stored there")
    else:
        deleted = f"{format_count(report.rows, 'candle')} and {format_count(report.blocks, 'sealed block')}"
        print_line(console, f"{series}: deleted {deleted}")
