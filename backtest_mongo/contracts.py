"""What an implementation of each slot must have: one ``Protocol`` per slot, such as :class:`SignalContract`."""

from backtest_mongo.adapters.contracts import *  # noqa: F403
from backtest_mongo.adapters.contracts import __all__ as __all__
