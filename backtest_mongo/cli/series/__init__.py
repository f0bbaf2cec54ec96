"""The commands of ``backtest-mongo series``."""
