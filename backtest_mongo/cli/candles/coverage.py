"""The coverage of stored series: their range, their gaps, how much is sealed, and about how many bytes they take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from backtest_mongo import CandleAdapter
from backtest_mongo.cli.candles.series_filter import (
    SeriesFilter,
    format_series,
    get_candle_adapter,
    select_series,
)
from backtest_mongo.cli.formatting import format_bytes, format_duration, format_share
from backtest_mongo.cli.progress_bar import ProgressBar
from backtest_mongo.cli.terminal import escape_text, print_table
from backtest_mongo.connection.driver_errors import DRIVER_ERRORS, strip_frames, translate_error
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.core.config import get_config
from backtest_mongo.market_data.time_formats import format_utc
from backtest_mongo.mongo.collection import aggregate
from backtest_mongo.types import INTERVALS, Coverage, Gap, Sealed

__all__ = ["SeriesCoverage", "coverage_to_json", "measure_coverage", "print_coverage"]

#: The order of the intervals, from short to long.
_ORDER: Final[Mapping[str, int]] = {interval: place for place, interval in enumerate(INTERVALS)}


@dataclass(frozen=True)
class SeriesCoverage:
    """One series: what is stored, the gaps between its first and last candle, and an estimate of its bytes on disk."""

    adapter: CandleAdapter
    coverage: Coverage
    gaps: list[Gap]
    sealed: Sealed
    bytes: int
    #: Whether the storage seals candles in blocks besides their rows.
    has_blocks: bool = True

    @property
    def missing(self) -> int:
        return sum(gap.rows for gap in self.gaps)

    @property
    def longest(self) -> Gap | None:
        return max(self.gaps, key=lambda gap: gap.rows, default=None)


async def measure_coverage(wanted: SeriesFilter) -> list[SeriesCoverage]:
    """Return the coverage of each matching series, in the order of exchange, symbol and interval.

    Raises:
        InputError: no such series is stored.
        StoreUnavailableError: MongoDB can't be reached.
        StoreError: MongoDB answers with an error.
    """
    make = get_candle_adapter()
    has_blocks = make is CandleAdapter
    adapters = await select_series(wanted, make)
    bytes_per_row = await _measure_bytes_per_row() if has_blocks else 0.0
    measures = [] if has_blocks else await make._base_store().measure({}, by_context=True)
    sizes = {one.context: one.bytes for one in measures}
    found = []
    with ProgressBar("series") as bar:
        bar.start(len(adapters))
        for count, adapter in enumerate(adapters):
            bar.update(format_series(adapter), count)
            coverage = await adapter.coverage()
            if coverage.last is not None:
                gaps = await adapter.gaps(end=coverage.last + 1)
                sealed = await adapter.sealed()
                is_copied = await adapter._rows().find_truth(adapter._context) == "rows"
                rows = coverage.rows if is_copied else max(0, coverage.rows - sealed.rows)
                size = round(rows * bytes_per_row) + sealed.bytes if has_blocks else sizes.get(adapter._context, 0)
                found.append(SeriesCoverage(adapter, coverage, gaps, sealed, size, has_blocks))
    return sorted(found, key=_order)


def _order(one: SeriesCoverage) -> tuple[str, str, int]:
    exchange, symbol, interval = (str(one.adapter.context[name]) for name in ("exchange_name", "symbol", "interval"))
    return exchange, symbol, _ORDER[interval]


async def _measure_bytes_per_row() -> float:
    """Return the average bytes of a stored candle, with its share of the indexes.

    Candles of all series are in one collection, whose size the server knows as of its last checkpoint.
    """
    spec = CandleAdapter.spec
    try:
        # A sharded cluster answers once per shard.
        collection = current_hub().get_database(spec)[spec.collection]
        answers = await aggregate(collection, [{"$collStats": {"storageStats": {}}}])
    except DRIVER_ERRORS as error:
        hosts = get_config().CC_MONGO_CONNECTION_STRING.hosts
        level = current_hub().database.read_concern.level or "local"
        raise translate_error(error, "asking for its size", spec, None, hosts, level) from strip_frames(error)
    stats = [answer["storageStats"] for answer in answers]
    size = sum(one["storageSize"] + one["totalIndexSize"] for one in stats)
    rows = sum(one["count"] for one in stats)
    return float(size / max(rows, 1))


def coverage_to_json(found: Sequence[SeriesCoverage]) -> dict[str, Any]:
    """Return everything that is known, with times in milliseconds."""
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


def print_coverage(console: Console, found: Sequence[SeriesCoverage], gaps: int) -> None:
    """Print a table of series, and one of the longest ``gaps`` gaps of all series."""
    headings = ("series", "first and last\n(UTC)", "rows", "gaps", "rows\nmissing", "longest\ngap", "sealed", "on disk")
    print_table(console, headings, [_make_row(one) for one in found], leading=1)
    _print_gaps(console, found, gaps)


def _make_row(one: SeriesCoverage) -> tuple[str | Text, ...]:
    context, longest = one.adapter.context, one.longest
    names = (escape_text(f"{context['symbol']} {context['interval']}"), escape_text(str(context["exchange_name"])))
    return (
        Text("\n").join(names),
        "\n".join(format_utc(time) for time in (one.coverage.first, one.coverage.last) if time is not None),
        f"{one.coverage.rows:,}",
        f"{len(one.gaps):,}",
        f"{one.missing:,}",
        "-" if longest is None else format_duration(longest.end - longest.start),
        format_share(one.sealed.rows, one.coverage.rows) if one.has_blocks else "-",
        format_bytes(one.bytes),
    )


def _print_gaps(console: Console, found: Sequence[SeriesCoverage], count: int) -> None:
    every = [(gap, one) for one in found for gap in one.gaps]
    longest = sorted(every, key=lambda pair: (pair[0].start - pair[0].end, pair[0].start))[:count]
    if not longest:
        return
    title = f"The longest {len(longest):,} of {len(every):,} gaps" if len(longest) < len(every) else "Gaps"
    rows = [
        (
            escape_text(format_series(one.adapter)),
            format_utc(gap.start),
            format_utc(gap.end),
            format_duration(gap.end - gap.start),
            f"{gap.rows:,}",
        )
        for gap, one in longest
    ]
    headings = ("series", "first missing\n(UTC)", "next candle\n(UTC)", "length", "candles")
    print_table(console, headings, rows, title=title)
