"""The commands of ``backtest-mongo candles``."""
