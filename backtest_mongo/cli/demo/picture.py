"""The picture: the price, the equity that both runs have stored, and where the kills were."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from matplotlib import rc_context
from matplotlib.figure import Figure

from backtest_mongo.cli.demo.market import INTERVAL, SYMBOL, load_candles
from backtest_mongo.cli.demo.results import Result
from backtest_mongo.types import INTERVAL_MS

__all__ = ["draw"]

# The first line is broad and pale, so that it shows on both sides of the second where they are equal.
_STYLES: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("uninterrupted", {"color": "#9ecae1", "linewidth": 5.0}),
    ("interrupted", {"color": "#08519c", "linewidth": 1.2}),
)


@rc_context({"date.converter": "concise", "timezone": "UTC"})
def draw(result: Result, path: Path) -> None:
    """Draw a result as a PNG. A bare figure renders with Agg, so no window system is needed."""
    candles = load_candles(result.bars)
    closes = [candle["timestamp"] + INTERVAL_MS[INTERVAL] for candle in candles]
    dates = [datetime.fromtimestamp(time / 1000, UTC) for time in closes]
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    price, equity = figure.subplots(2, 1, sharex=True, height_ratios=(2, 3))
    price.plot(dates, [candle["close"] for candle in candles], color="0.35", linewidth=0.8)
    price.set_ylabel(f"{SYMBOL}, hourly close")
    for role, style in _STYLES:
        curve = result.comparison.equity[role]
        times = [datetime.fromtimestamp(time / 1000, UTC) for time in curve]
        equity.plot(times, [*curve.values()], label=role, **style)
    kills = result.tallies["interrupted"].kills
    values = result.comparison.equity["uninterrupted"]
    points = [(dates[kill.bar], values[closes[kill.bar]]) for kill in kills if kill.bar >= 0]
    for date, _ in points:
        price.axvline(date, color="#cb181d", linewidth=0.8, linestyle=":")
        equity.axvline(date, color="#cb181d", linewidth=0.8, linestyle=":")
    if points:
        equity.plot(*zip(*points, strict=True), "X", color="#cb181d", markersize=9, label="SIGKILL")
    equity.set_ylabel("equity, USD")
    equity.yaxis.set_major_formatter("{x:,.0f}")
    equity.set_xlabel(f"{dates[0]:%d %B %Y} to {dates[-1]:%d %B %Y}, UTC")
    equity.legend(loc="best")
    for axes in (price, equity):
        axes.grid(alpha=0.25)
        axes.margins(x=0.01)
    outcome = "different end states" if result.problems else "equal end states"
    figure.suptitle(f"Moving-average crossover, {result.bars:,} bars; kills: {len(kills)}; {outcome}")
    figure.savefig(path, dpi=120)
