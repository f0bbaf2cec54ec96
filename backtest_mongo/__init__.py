"""The state of a trading engine, backtest and live, in MongoDB with a Redis cache of ids in front.

::

    from backtest_mongo import SignalAdapter, setup

    await setup()
    signal = SignalAdapter("BTCUSDT", "my_strategy", "binance")
    await signal.write_signal_data({"id": "s-1", "priceOpen": 50_000.5})
    row = await signal.read_signal_data()

* ``setup()`` connects, ``close()`` ends it, ``wait_for_init()`` tells early that a server is missing.
* ``SignalAdapter`` and its like store one kind of thing each: ``SLOTS`` lists them. ``help(SignalAdapter)`` shows how.
* ``persist`` gives the same without naming the storage, ``persist.signal(...)``: JSON files before ``setup()``,
  MongoDB after it, or what ``persist.use()`` names.
* Errors are a ``BacktestMongoError`` each; ``help(backtest_mongo.errors)`` draws the family.
* ``embedded.Servers()`` runs a MongoDB and a Redis for as long as a block. ``contracts`` says what an implementation of
  your own must have, and ``types`` what candles and reports look like.
"""

from backtest_mongo.adapters import (
    BreakevenAdapter,
    CandleAdapter,
    DictionaryAdapter,
    IntervalAdapter,
    LogAdapter,
    MeasureAdapter,
    MemoryAdapter,
    NotificationAdapter,
    PartialAdapter,
    RecentAdapter,
    RiskAdapter,
    ScheduleAdapter,
    SessionAdapter,
    SignalAdapter,
    StateAdapter,
    StorageAdapter,
    StrategyAdapter,
)
from backtest_mongo.changes import Change
from backtest_mongo.config import get_config, set_config
from backtest_mongo.dumps.exporting import export_dump
from backtest_mongo.dumps.importing import import_dump
from backtest_mongo.errors import (
    BacktestMongoError,
    ConfigError,
    IndexConflictError,
    InitError,
    InputError,
    InputTypeError,
    ServerError,
    SlotError,
    StoreError,
    StoreUnavailableError,
)
from backtest_mongo.lifecycle import close, get_mongo, get_redis, install, setup, wait_for_init
from backtest_mongo.log import set_logger
from backtest_mongo.migrations import migrate
from backtest_mongo.registry import persist
from backtest_mongo.slots import SLOTS
from backtest_mongo.snapshot import stats
from backtest_mongo.specs import SlotSpec

__version__ = "0.1.0"

__all__ = [
    "SLOTS",
    "BacktestMongoError",
    "BreakevenAdapter",
    "CandleAdapter",
    "Change",
    "ConfigError",
    "DictionaryAdapter",
    "IndexConflictError",
    "InitError",
    "InputError",
    "InputTypeError",
    "IntervalAdapter",
    "LogAdapter",
    "MeasureAdapter",
    "MemoryAdapter",
    "NotificationAdapter",
    "PartialAdapter",
    "RecentAdapter",
    "RiskAdapter",
    "ScheduleAdapter",
    "ServerError",
    "SessionAdapter",
    "SignalAdapter",
    "SlotError",
    "SlotSpec",
    "StateAdapter",
    "StorageAdapter",
    "StoreError",
    "StoreUnavailableError",
    "StrategyAdapter",
    "close",
    "export_dump",
    "get_config",
    "get_mongo",
    "get_redis",
    "import_dump",
    "install",
    "migrate",
    "persist",
    "set_config",
    "set_logger",
    "setup",
    "stats",
    "wait_for_init",
]

#: Modules with public names of their own.
_MODULES = ("contracts", "embedded", "errors", "types")


def __dir__() -> list[str]:
    # Completion and help() otherwise show every module of the package that happens to be imported.
    return sorted((*__all__, "__version__", *(name for name in _MODULES if name in globals())))
