"""The payloads of the slots as the Node engine (``backtest-kit`` 19.5) stores them, as pydantic models.

::

    from backtest_mongo import models, persist

    signal = persist.signal("BTCUSDT", "my_strategy", "binance", model=models.Signal)
    row = await signal.read_signal_data()
    if row is not None:
        print(row.price_open, row.position)

``MODELS`` has the model of each slot. Fields are in snake case here and in camel case in the payload; both are
accepted. Required fields are those that every row of the engine has; ``ENGINE_NEEDS`` of a model names those without
which the engine doesn't resume. Fields that a model doesn't list are kept, and fields that were never set are not
written, so a payload that is read and written again stays what it was.

The engine has no dictionary slot in this version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel

from backtest_mongo.models.base import EngineModel
from backtest_mongo.models.entries import (
    Breakeven,
    BreakevenReached,
    Candle,
    ExecutionContext,
    IntervalEntry,
    LevelsReached,
    LogEntry,
    MeasureEntry,
    MemoryEntry,
    MethodContext,
    Notification,
    Partial,
    SessionEntry,
    StateEntry,
)
from backtest_mongo.models.signals import (
    Entry,
    Extreme,
    OpenPosition,
    PartialClose,
    Pnl,
    Position,
    PublicSignal,
    Signal,
    StorageSignal,
    StrategySignal,
    StrategyState,
)

__all__ = [
    "MODELS",
    "Breakeven",
    "BreakevenReached",
    "Candle",
    "EngineModel",
    "Entry",
    "ExecutionContext",
    "Extreme",
    "IntervalEntry",
    "LevelsReached",
    "LogEntry",
    "MeasureEntry",
    "MemoryEntry",
    "MethodContext",
    "Notification",
    "OpenPosition",
    "Partial",
    "PartialClose",
    "Pnl",
    "Position",
    "PublicSignal",
    "SessionEntry",
    "Signal",
    "StateEntry",
    "StorageSignal",
    "StrategySignal",
    "StrategyState",
]

#: The model of each slot, by the slot's name; of risk, that of an item of its list.
MODELS: Final[Mapping[str, type[BaseModel]]] = {
    "candle": Candle,
    "signal": Signal,
    "schedule": Signal,
    "strategy": StrategyState,
    "risk": OpenPosition,
    "partial": Partial,
    "breakeven": Breakeven,
    "storage": StorageSignal,
    "notification": Notification,
    "log": LogEntry,
    "measure": MeasureEntry,
    "interval": IntervalEntry,
    "memory": MemoryEntry,
    "recent": PublicSignal,
    "state": StateEntry,
    "session": SessionEntry,
}
