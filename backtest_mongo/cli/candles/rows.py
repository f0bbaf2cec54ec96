"""How series are kept, in rows or in blocks alone: shown and changed, and what these commands print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console

from backtest_mongo import CandleAdapter
from backtest_mongo.cli.candles.series_filter import SeriesFilter, format_series, get_candle_adapter, select_series
from backtest_mongo.cli.progress_bar import ProgressBar
from backtest_mongo.cli.terminal import escape_text, print_line, print_table
from backtest_mongo.core.wording import format_count
from backtest_mongo.types import SealReport

__all__ = ["KeptSeries", "MovedSeries", "find_kept", "move_series", "print_kept", "print_moved"]

#: How a series is kept, for people.
_TRUTHS: Final = {"rows": "rows", "blocks": "blocks", "restoring": "blocks, being restored"}


@dataclass(frozen=True)
class KeptSeries:
    """How a series is kept.

    Attributes:
        adapter: of the series.
        truth: ``rows``, ``blocks``, or ``restoring`` if rows are being written again.
        candles: how many there are.
        blocks: how many of these are in blocks.
    """

    adapter: CandleAdapter
    truth: str
    candles: int
    blocks: int

    def is_movable(self, seal: bool) -> bool:
        """Return whether there is anything to do."""
        return self.truth != ("blocks" if seal else "rows") or (seal and self.blocks < self.candles)


@dataclass(frozen=True)
class MovedSeries:
    """What was moved of a series, and how it is kept now."""

    kept: KeptSeries
    report: SealReport


async def find_kept(wanted: SeriesFilter) -> list[KeptSeries]:
    """Return how each matching series is kept.

    Raises:
        InputError: no such series is stored.
    """
    return [await _find_kept(series) for series in await select_series(wanted, get_candle_adapter())]


async def _find_kept(series: CandleAdapter) -> KeptSeries:
    truth = await series._rows().find_truth(series._context)
    candles = (await series.coverage()).rows
    return KeptSeries(series, truth, candles, (await series.sealed()).rows if truth != "rows" else 0)


async def move_series(chosen: Sequence[CandleAdapter], seal: bool) -> list[MovedSeries]:
    """Move the candles of series into blocks, or back into rows."""
    moved = []
    for series in chosen:
        with ProgressBar("candles") as bar:
            bar.start((await series.coverage()).rows)
            count = 0

            def show(report: SealReport, bar: ProgressBar = bar, series: CandleAdapter = series) -> None:
                nonlocal count
                count += report.rows
                bar.update(format_series(series), count, report.rows)

            report = await (series.move_to_blocks(show) if seal else series.move_to_rows(show))
        moved.append(MovedSeries(await _find_kept(series), report))
    return moved


def print_kept(console: Console, found: Sequence[KeptSeries]) -> None:
    """Print how each series is kept."""
    rows = [
        (
            escape_text(format_series(one.adapter)),
            _TRUTHS[one.truth],
            f"{one.candles:,}",
            f"{one.candles - one.blocks:,}",
            f"{one.blocks:,}",
        )
        for one in found
    ]
    print_table(console, ("series", "kept in", "candles", "in rows", "in blocks"), rows)


def print_moved(console: Console, moved: Sequence[MovedSeries], seal: bool) -> None:
    """Print what was moved of each series, and what is left."""
    for one in moved:
        series, report = format_series(one.kept.adapter), one.report
        if seal:
            text = f"{format_count(report.rows, 'row')} moved into {format_count(report.blocks, 'block')}"
            left = one.kept.candles - one.kept.blocks
            if left:
                text += f"; {format_count(left, 'candle')} stay in rows"
        else:
            text = f"{format_count(report.rows, 'row')} written from {format_count(report.blocks, 'block')}"
        print_line(console, f"{series}: {text}")
