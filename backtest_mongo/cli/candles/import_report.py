"""The report that ``candles import`` prints."""

from __future__ import annotations

from rich.console import Console

from backtest_mongo.cli.import_report import print_import_report
from backtest_mongo.core.wording import format_count
from backtest_mongo.market_data import CandleImportReport

__all__ = ["print_candle_import"]


def print_candle_import(
    console: Console, report: CandleImportReport, symbol: str | None, interval: str, exchange: str
) -> None:
    """Print how many candles are new, what was refused and why, and the first lines that are not candles."""
    symbols = [symbol] if symbol is not None else sorted(report.series)
    name = symbols[0] if len(symbols) == 1 else format_count(len(symbols), "symbol")
    off_grid = ("off the grid", report.off_grid, "stored, but not on the grid of their file's first candle")
    more = [off_grid] if report.off_grid else []
    print_import_report(console, report, f"{exchange} {name} {interval}", "candle", more=more)
