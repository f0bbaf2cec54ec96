"""Asyncio persistence for trading engines, backtest and live: MongoDB with a Redis cache of ids, or JSON files.

::

    from backtest_mongo import SignalAdapter, setup

    await setup()
    signal = SignalAdapter("BTCUSDT", "my_strategy", "binance")
    await signal.write_signal_data({"id": "s-1", "priceOpen": 50_000.5})
    row = await signal.read_signal_data()

* ``setup()`` sets the configuration, ``wait_for_init()`` reports early that a server is missing, and ``close()`` closes
  the connections.
* Each adapter, such as ``SignalAdapter``, stores one slot. ``SLOTS`` lists the slots, and ``help(SignalAdapter)`` shows
  how to use an adapter.
* ``persist`` does the same without naming the storage: ``persist.signal(...)`` stores in SQLite before ``setup()``, in
  MongoDB after it, or in what ``persist.use()`` names.
* Every error is a ``BacktestMongoError``; ``help(backtest_mongo.errors)`` draws the tree.
* ``embedded.Servers()`` runs a MongoDB and a Redis for the length of a ``with`` block. ``market_data`` imports, exports
  and plots candles. ``contracts`` defines what an implementation of your own must have, ``models`` the payloads of
  the Node engine, ``typed`` the adapters with a model, and ``types`` the candles, reports, times and versions in
  signatures.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from backtest_mongo.adapters import (
        BreakevenAdapter,
        CandleAdapter,
        DictionaryAdapter,
        EquityAdapter,
        FundingAdapter,
        IntervalAdapter,
        LogAdapter,
        MeasureAdapter,
        MemoryAdapter,
        NotificationAdapter,
        PartialAdapter,
        QuoteAdapter,
        RecentAdapter,
        RiskAdapter,
        ScheduleAdapter,
        SessionAdapter,
        SignalAdapter,
        StateAdapter,
        StorageAdapter,
        StrategyAdapter,
        TickAdapter,
        TradeAdapter,
    )
    from backtest_mongo.adapters.lifecycle import close, get_mongo, get_redis, install, setup, wait_for_init
    from backtest_mongo.adapters.past import as_of
    from backtest_mongo.adapters.registry import persist
    from backtest_mongo.adapters.renaming import rename_strategy
    from backtest_mongo.adapters.resets import reset
    from backtest_mongo.adapters.scopes import lease, transaction
    from backtest_mongo.core.changes import Change
    from backtest_mongo.core.columns import Column
    from backtest_mongo.core.config import get_config, set_config
    from backtest_mongo.core.log import set_logger
    from backtest_mongo.core.slots import SERIES, SLOTS
    from backtest_mongo.core.specs import SlotSpec
    from backtest_mongo.dumps.exporter import export_dump
    from backtest_mongo.dumps.importer import import_dump
    from backtest_mongo.errors import (
        BacktestMongoError,
        CommitUnknownError,
        ConfigError,
        ConflictError,
        IndexConflictError,
        InitError,
        InputError,
        InputTypeError,
        LeaseError,
        LeaseHeldError,
        LeaseLostError,
        PayloadError,
        ServerError,
        SlotError,
        StoreError,
        StoreUnavailableError,
    )
    from backtest_mongo.forks.fork import fork
    from backtest_mongo.mongo.migrations import migrate
    from backtest_mongo.telemetry.stats import stats

__version__ = "0.1.0"

__all__ = [
    "SERIES",
    "SLOTS",
    "BacktestMongoError",
    "BreakevenAdapter",
    "CandleAdapter",
    "Change",
    "Column",
    "CommitUnknownError",
    "ConfigError",
    "ConflictError",
    "DictionaryAdapter",
    "EquityAdapter",
    "FundingAdapter",
    "IndexConflictError",
    "InitError",
    "InputError",
    "InputTypeError",
    "IntervalAdapter",
    "LeaseError",
    "LeaseHeldError",
    "LeaseLostError",
    "LogAdapter",
    "MeasureAdapter",
    "MemoryAdapter",
    "NotificationAdapter",
    "PartialAdapter",
    "PayloadError",
    "QuoteAdapter",
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
    "TickAdapter",
    "TradeAdapter",
    "as_of",
    "close",
    "export_dump",
    "fork",
    "get_config",
    "get_mongo",
    "get_redis",
    "import_dump",
    "install",
    "lease",
    "migrate",
    "persist",
    "rename_strategy",
    "reset",
    "set_config",
    "set_logger",
    "setup",
    "stats",
    "transaction",
    "wait_for_init",
]

#: Modules with public names of their own.
_MODULES: Final = ("contracts", "embedded", "errors", "market_data", "models", "testing", "typed", "types")
#: The module of each public name. It is imported when the name is first asked for: commands start without the drivers.
_HOMES: Final = {
    **{name: "adapters" for name in __all__ if name.endswith("Adapter")},
    **{name: "errors" for name in __all__ if name.endswith("Error")},
    **dict.fromkeys(("close", "get_mongo", "get_redis", "install", "setup", "wait_for_init"), "adapters.lifecycle"),
    **dict.fromkeys(("get_config", "set_config"), "core.config"),
    **dict.fromkeys(("lease", "transaction"), "adapters.scopes"),
    "as_of": "adapters.past",
    "Change": "core.changes",
    "Column": "core.columns",
    "SERIES": "core.slots",
    "SLOTS": "core.slots",
    "SlotSpec": "core.specs",
    "export_dump": "dumps.exporter",
    "fork": "forks.fork",
    "import_dump": "dumps.importer",
    "migrate": "mongo.migrations",
    "persist": "adapters.registry",
    "rename_strategy": "adapters.renaming",
    "reset": "adapters.resets",
    "set_logger": "core.log",
    "stats": "telemetry.stats",
}


if not TYPE_CHECKING:  # for which every name would exist

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            return import_module(f"{__name__}.{name}")
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    # Completion and help() otherwise show every module of the package that happens to be imported.
    return sorted((*__all__, *_MODULES, "__version__"))
