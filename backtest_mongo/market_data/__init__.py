"""Market data: import candles and other series from files, export them to files, and plot them."""

from backtest_mongo.market_data.candle_chunks import ReadOptions
from backtest_mongo.market_data.exporter import export_candles
from backtest_mongo.market_data.file_output import ExportProgress
from backtest_mongo.market_data.importer import CandleImportReport, import_candles
from backtest_mongo.market_data.importing import ImportProgress
from backtest_mongo.market_data.plot import PlotReport, plot_candles
from backtest_mongo.market_data.plot_series import SeriesPlotReport, plot_series
from backtest_mongo.market_data.series_chunks import SeriesOptions
from backtest_mongo.market_data.series_exporter import export_series
from backtest_mongo.market_data.series_importer import SeriesImportReport, import_series

__all__ = [
    "CandleImportReport",
    "ExportProgress",
    "ImportProgress",
    "PlotReport",
    "ReadOptions",
    "SeriesImportReport",
    "SeriesOptions",
    "SeriesPlotReport",
    "export_candles",
    "export_series",
    "import_candles",
    "import_series",
    "plot_candles",
    "plot_series",
]
