"""Adapters whose payloads are objects of a model: one generic class per slot, such as ``TypedSignalAdapter``.

``persist.signal(..., model=Signal)`` returns them.
"""

from backtest_mongo.adapters.typed import *  # noqa: F403
from backtest_mongo.adapters.typed import __all__ as __all__
