"""The coverage of stored series: their range, their gaps on a grid, and how they are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from backtest_mongo.adapters.shapes import ColumnSeriesAdapter
from backtest_mongo.cli.formatting import format_bytes, format_duration, format_share
from backtest_mongo.cli.progress_bar import ProgressBar
from backtest_mongo.cli.series.stored_series import format_series, select_series
from backtest_mongo.cli.terminal import escape_text, print_table
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.market_data.exact_times import format_exact_time
from backtest_mongo.types import Coverage, Gap, SeriesSize

__all__ = ["SeriesCoverage", "coverage_to_json", "measure_coverage", "print_coverage"]


@dataclass(frozen=True)
class SeriesCoverage:
    """One series: what is stored, the gaps between its first and last row, and how it is stored.

    ``gaps`` is ``None`` if it has no grid.
    """

    adapter: ColumnSeriesAdapter
    coverage: Coverage
    gaps: list[Gap] | None
    size: SeriesSize

    @property
    def missing(self) -> int:
        return sum(gap.rows for gap in self.gaps or ())


async def measure_coverage(spec: SlotSpec, context: Mapping[str, Any]) -> list[SeriesCoverage]:
    """Return the coverage of each series whose context has these values, in the order of the unique index.

    Raises:
        InputError: no such series is stored.
        StoreUnavailableError: MongoDB can't be reached.
        StoreError: MongoDB answers with an error, or what is stored is damaged.
    """
    adapters = await select_series(spec, context)
    found = []
    with ProgressBar("series") as bar:
        bar.start(len(adapters))
        for count, adapter in enumerate(adapters):
            bar.update(format_series(adapter), count)
            coverage = await adapter.coverage()
            if coverage.last is not None:
                gaps = await adapter.gaps(end=coverage.last + 1) if spec.grid else None
                found.append(SeriesCoverage(adapter, coverage, gaps, await adapter.size()))
    return found


def coverage_to_json(spec: SlotSpec, found: Sequence[SeriesCoverage]) -> dict[str, Any]:
    """Return everything that is known, with times in the slot's unit; ``oldest`` is in milliseconds."""
    return {
        "slot": spec.name,
        "unit": spec.unit,
        "series": [
            {
                "context": dict(one.adapter.context),
                **asdict(one.coverage),
                **asdict(one.size),
                **({} if one.gaps is None else {"missing": one.missing, "gaps": [gap._asdict() for gap in one.gaps]}),
            }
            for one in found
        ],
    }


def print_coverage(console: Console, spec: SlotSpec, found: Sequence[SeriesCoverage], gaps: int) -> None:
    """Print a table of series, and of those on a grid one of the longest ``gaps`` gaps.

    What is kept of each is shown if one of them has a retention.
    """
    on_grid = ("gaps", "rows\nmissing") if spec.grid else ()
    headings = [spec.name, "first and last\n(UTC)", "rows", *on_grid, "sealed", "tail", "blocks", "bytes\nper row"]
    listed = [_make_row(one) for one in found]
    if any(one.size.keep is not None for one in found):
        headings.append("kept")
        listed = [(*row, _format_kept(one.size)) for row, one in zip(listed, found, strict=True)]
    print_table(console, headings, listed, leading=1)
    every = [(gap, one) for one in found for gap in one.gaps or ()]
    longest = sorted(every, key=lambda pair: (pair[0].start - pair[0].end, pair[0].start))[:gaps]
    if longest:
        title = f"The longest {len(longest):,} of {len(every):,} gaps" if len(longest) < len(every) else "Gaps"
        rows = [
            (
                escape_text(format_series(one.adapter)),
                format_exact_time(gap.start, spec.unit),
                format_exact_time(gap.end, spec.unit),
                format_duration(gap.end - gap.start),
                f"{gap.rows:,}",
            )
            for gap, one in longest
        ]
        print_table(
            console, (spec.name, "first missing\n(UTC)", "next row\n(UTC)", "length", "rows"), rows, title=title
        )


def _make_row(one: SeriesCoverage) -> tuple[str | Text, ...]:
    size, times = one.size, (one.coverage.first, one.coverage.last)
    stored = size.block_rows + size.tail_rows
    return (
        escape_text(format_series(one.adapter)),
        "\n".join(format_exact_time(time, one.adapter.spec.unit) for time in times if time is not None),
        f"{one.coverage.rows:,}",
        *(() if one.gaps is None else (f"{len(one.gaps):,}", f"{one.missing:,}")),
        format_share(size.block_rows, stored),
        format_bytes(size.tail_bytes),
        format_bytes(size.block_bytes),
        f"{(size.block_bytes + size.tail_bytes) / stored:,.1f}" if stored else "-",
    )


def _format_kept(size: SeriesSize) -> str | Text:
    return "all" if size.keep is None else escape_text(str(size.keep))
