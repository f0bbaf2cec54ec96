"""The names of this API, and where each comes from."""

from __future__ import annotations

from typing import Final

from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.adapters.typed import TYPED_ADAPTERS
from backtest_mongo.errors import __all__ as all_errors

__all__ = ["CLASSES", "FUNCTIONS", "NAMES", "OWN", "SAME"]

#: The module of each function that is carried out on the event loop.
FUNCTIONS: Final = {
    "export_candles": "market_data.exporter",
    "export_dump": "dumps.exporter",
    "export_series": "market_data.series_exporter",
    "fork": "forks.fork",
    "import_candles": "market_data.importer",
    "import_dump": "dumps.importer",
    "import_series": "market_data.series_importer",
    "migrate": "mongo.migrations",
    "plot_candles": "market_data.plot",
    "plot_series": "market_data.plot_series",
    "rename_strategy": "adapters.renaming",
    "reset": "adapters.resets",
    "stats": "telemetry.stats",
    "wait_for_init": "adapters.lifecycle",
}
#: The module here of each name that is written for it.
OWN: Final = {
    **dict.fromkeys(("as_of", "close", "lease", "setup", "transaction"), "scopes"),
    **dict.fromkeys(("get_mongo", "get_redis"), "clients"),
    "CommitUnknownError": "errors",
    "persist": "registry",
}
#: The module of each name that is the same in both.
SAME: Final = {
    **dict.fromkeys((name for name in all_errors if name not in OWN), "errors"),
    "Change": "core.changes",
    "Column": "core.columns",
    "SERIES": "core.slots",
    "SLOTS": "core.slots",
    "SlotSpec": "core.specs",
    "get_config": "core.config",
    "install": "adapters.lifecycle",
    "set_config": "core.config",
    "set_logger": "core.log",
}
#: The asynchronous adapter of each name.
CLASSES: Final = {adapter.__name__: adapter for adapter in (*ADAPTERS.values(), *TYPED_ADAPTERS.values())}
NAMES: Final = sorted((*CLASSES, *FUNCTIONS, *OWN, *SAME))
