"""What ``backtest-mongo candles fetch`` does and says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from backtest_mongo.adapters.registry import persist
from backtest_mongo.cli.terminal import Terminal, print_line
from backtest_mongo.core.wording import format_count
from backtest_mongo.integrations.ccxt import FetchProgress, FetchReport, fetch_missing, open_exchange
from backtest_mongo.types import Interval, SeriesTime

if TYPE_CHECKING:
    from backtest_mongo.cli.progress_bar import ProgressBar

__all__ = ["Fetched", "fetch_candles", "print_fetched"]


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was fetched.

    Attributes:
        series: the name of the series.
        report: what became of the missing candles; ``None`` if the exchange did not answer.
        stored: how many candles were stored, in any case.
        problem: what the exchange said when it refused, if it did.
    """

    series: str
    report: FetchReport | None
    stored: int
    problem: str = ""


async def fetch_candles(
    exchange_name: str,
    market: str,
    interval: str,
    symbol: str | None,
    since: SeriesTime | None,
    until: SeriesTime | None,
    *,
    concurrency: int,
    days: float,
    bar: ProgressBar,
) -> Fetched:
    """Fetch what a series lacks.

    Args:
        exchange_name: the exchange's id in ccxt.
        market: as ccxt names it.
        interval: of the candles.
        symbol: that the series is stored under; ``None`` for the exchange's own.
        since: the beginning; ``None`` for the first stored candle.
        until: the end, exclusive; ``None`` for now.
        concurrency: pages that are fetched at once.
        days: after which the exchange is asked again for what it does not have.
        bar: shows the progress.
    """
    import ccxt

    name = market.split(":")[0].replace("/", "") if symbol is None else symbol
    candles: Any = persist.candle(name, cast("Interval", interval), exchange_name)
    series = f"{exchange_name} {name} {interval}"
    stored, started = 0, False

    def show(progress: FetchProgress) -> None:
        nonlocal stored, started
        if not started:
            bar.start(progress.missing)
            started = True
        bar.update(series, progress.asked, progress.stored - stored)
        stored = progress.stored

    exchange = open_exchange(exchange_name)
    try:
        report = await fetch_missing(
            candles,
            exchange,
            symbol=market,
            since=since,
            until=until,
            concurrency=concurrency,
            retry_absent_after=timedelta(days=days),
            progress=show,
        )
    except ccxt.BaseError as error:
        return Fetched(series, None, stored, f"{type(error).__name__}: {error}")
    finally:
        await exchange.close()
    return Fetched(series, report, report.stored)


def print_fetched(console: Terminal, done: Fetched) -> int:
    """Print what was fetched, and return the exit status."""
    stored = f"{format_count(done.stored, 'candle')} stored"
    if done.report is None:
        print_line(console, f"{done.series}: {stored}, then the exchange refused or did not answer: {done.problem}")
        return 1
    report = done.report
    if not report.missing:
        print_line(console, f"{done.series}: nothing is missing that the exchange has")
        return 0
    absent = f", {report.absent:,} that the exchange does not have" if report.absent else ""
    print_line(console, f"{done.series}: {stored} of {report.missing:,} that were missing{absent}")
    for reason, count in sorted(report.refused.items()):
        print_line(console, f"  {format_count(count, 'row')} refused: {reason}")
    return 0
