"""The iterator of changes under its former import path, for programs that annotate with it."""

from backtest_mongo.core.watch import Watch

__all__ = ["Watch"]
