"""Plots of stored candles, with the trades of a strategy. Needs the extra ``plot``."""

from __future__ import annotations

import asyncio
import importlib.util
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backtest_mongo.adapters import CandleAdapter, SignalAdapter, StorageAdapter
from backtest_mongo.core.control_characters import escape_controls
from backtest_mongo.core.wording import format_count, suggest_extra
from backtest_mongo.errors import InputError
from backtest_mongo.market_data.plot_bars import Bars, merge_bars
from backtest_mongo.market_data.plot_trades import Overlay, Trade, build_overlay, read_trades
from backtest_mongo.market_data.time_formats import format_utc
from backtest_mongo.types import Interval, SeriesTime

__all__ = ["FORMATS", "PlotReport", "check_plot", "plot_candles"]

FORMATS: Final = (".png", ".html")
#: The smallest sizes; of what is counted it is 2.
_LEAST: Final = {"width": 200, "height": 100}


@dataclass(frozen=True)
class PlotReport:
    """What a plot shows.

    Attributes:
        path: the file.
        interval: the interval of the bars.
        bars: how many bars there are.
        candles: how many stored candles they are made of.
        trades: how many trades are drawn.
        left_out: how many signals are not drawn, by reason.
    """

    path: Path
    interval: str
    bars: int
    candles: int
    trades: int
    left_out: dict[str, int]


async def plot_candles(
    symbol: str,
    interval: Interval,
    exchange_name: str,
    path: str | Path,
    *,
    start: SeriesTime | None = None,
    end: SeriesTime | None = None,
    strategy_name: str | None = None,
    backtest: bool = True,
    title: str | None = None,
    width: int = 1200,
    height: int = 640,
    max_candles: int = 5000,
) -> PlotReport:
    """Draw candles with their volume as a PNG or an HTML page.

    The page needs no network: it zooms, pans, and shows the numbers under the pointer. Times are UTC. Breaks in trading
    take no space; a dotted line marks each. An existing file is replaced.

    Args:
        symbol: the symbol of the series.
        interval: the interval of the series, such as ``1m``.
        exchange_name: the exchange of the series.
        path: the file to write; its ending, ``.png`` or ``.html``, chooses the format.
        start: the first open time; ``None`` for the first that is stored.
        end: the time before which the last candle opens; ``None`` for the last that is stored.
        strategy_name: draw this strategy's entries, exits, stops and targets too, from the storage slot and from the
            position in the signal slot. Signals without a time or a price are left out, and counted in the subtitle.
        backtest: draw the trades of its backtests; ``False`` for those of live trading.
        title: the title; ``None`` for the name of the series and its range.
        width: the width of the plotting area; a PNG has two pixels per unit.
        height: the height of the plotting area.
        max_candles: merge more candles than this into a coarser interval; the subtitle says so.

    Returns:
        What the plot shows.

    Raises:
        InputError: no candle is stored in the range, an argument is wrong, or the extra is not installed.
        StoreUnavailableError: MongoDB can't be reached.
        StoreError: MongoDB answers with an error.
        OSError: ``path`` can't be written to.
    """
    target = Path(path)
    check_plot("plot_candles", target, width=width, height=height, max_candles=max_candles)
    candles = CandleAdapter(symbol, interval, exchange_name)
    stored = Bars.from_frame(await candles.read_frame(start, end, as_="numpy"), interval)
    if not len(stored):
        raise await _explain_nothing(candles, f"{symbol} {interval} of {exchange_name}")
    left_out: Counter[str] = Counter()
    trades: list[Trade] = []
    if strategy_name is not None:
        rows = await StorageAdapter(backtest).read_storage_data()
        pending = await SignalAdapter(symbol, strategy_name, exchange_name).read_signal_data()
        context = {"symbol": symbol, "strategyName": strategy_name, "exchangeName": exchange_name}
        trades = list(read_trades(rows, pending, stored, left_out, **context))
    bars = merge_bars(stored, max_candles)
    over = build_overlay(trades, stored, bars, left_out)
    heading = (
        title
        or f"{symbol}, {exchange_name}, {interval}, {format_utc(int(stored.times[0]))} to {format_utc(stored.end)} UTC"
    )
    subtitle = _write_subtitle(stored, bars, over, strategy_name)

    def draw() -> None:
        from backtest_mongo.market_data.plot_chart import build_chart, save_chart

        lines = [escape_controls(line) for line in subtitle]
        live = target.suffix.lower() == ".html"
        save_chart(build_chart(bars, over, escape_controls(heading), lines, width, height, live=live), target)

    # Drawing takes seconds, and other tasks of this loop must not wait.
    await asyncio.to_thread(draw)
    return PlotReport(target, bars.interval, len(bars), len(stored), len(over.trades), dict(left_out))


def check_plot(call: str, path: Path, **sizes: int) -> None:
    """Check the file and the sizes of a plot, and that what draws it is installed.

    Raises:
        InputError: something is wrong.
    """
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"path must end with {' or '.join(FORMATS)}, not {path.name!r}")
    for name, value in sizes.items():
        least = _LEAST.get(name, 2)
        if value < least:
            raise InputError(f"{name} must be {least} or more, not {value}")
    missing = [name for name in ("altair", "vl_convert") if importlib.util.find_spec(name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        needed = " and ".join(missing)
        raise InputError(f"{call} needs {needed}, which {verb} not installed", hint=suggest_extra("plot"))


async def _explain_nothing(candles: CandleAdapter, series: str) -> InputError:
    bounds = await candles.bounds()
    if bounds is None:
        return InputError(f"no candle of {series} is stored", slot="candle")
    hint = f"stored are {format_utc(bounds[0])} to {format_utc(bounds[1])} UTC"
    return InputError(f"no candle of {series} is stored in this range", slot="candle", hint=hint)


def _write_subtitle(stored: Bars, bars: Bars, over: Overlay, strategy_name: str | None) -> list[str]:
    merged = f" merged into {len(bars):,} of {bars.interval}" if bars is not stored else ""
    breaks = len(bars.breaks())
    closed = f"; {format_count(breaks, 'break')} in trading left out (dotted)" if breaks else ""
    lines = [f"{format_count(len(stored), 'candle')}{merged}{closed}"]
    return lines if strategy_name is None else [*lines, f"{strategy_name}: {over.summarize()}"]
