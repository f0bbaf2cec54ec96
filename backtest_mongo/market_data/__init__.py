"""Market data: import candles from files, export them to files, and plot them."""

from backtest_mongo.market_data.candle_chunks import ReadOptions
from backtest_mongo.market_data.exporter import export_candles
from backtest_mongo.market_data.file_output import ExportProgress
from backtest_mongo.market_data.importer import CandleImportReport, import_candles
from backtest_mongo.market_data.importing import ImportProgress
from backtest_mongo.market_data.plot import PlotReport, plot_candles

__all__ = [
    "CandleImportReport",
    "ExportProgress",
    "ImportProgress",
    "PlotReport",
    "ReadOptions",
    "export_candles",
    "import_candles",
    "plot_candles",
]
