"""Ticks in vnpy_mongodb, MongoDB's driver of vnpy."""

from __future__ import annotations

import contextlib
import importlib
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pymongo.uri_parser import parse_uri

__all__ = ["VnpyTicks", "import_settings"]


class VnpyTicks:
    """Its database on the same server; calls block the event loop, as they do in vnpy.

    Raises:
        ImportError: vnpy or vnpy_mongodb is not installed.
    """

    def __init__(self, uri: str, database: str) -> None:
        settings = import_settings()
        host, port = parse_uri(uri)["nodelist"][0]
        settings |= {"database.host": host, "database.port": port, "database.database": database}
        self._database: Any = importlib.import_module("vnpy_mongodb").Database()
        self._exchange: Any = importlib.import_module("vnpy.trader.constant").Exchange.LOCAL
        self._make: Any = importlib.import_module("vnpy.trader.object").TickData

    def make(self, symbol: str, frame: Mapping[str, NDArray[Any]]) -> list[Any]:
        """Return vnpy's objects of some ticks."""
        names = [name for name in frame if name != "timestamp"]
        rows = zip(*(frame[name].tolist() for name in names), strict=True)
        times = [_to_datetime(time) for time in frame["timestamp"].tolist()]
        return [
            self._make("bench", symbol, self._exchange, time, **dict(zip(names, row, strict=True)))
            for time, row in zip(times, rows, strict=True)
        ]

    def save(self, ticks: list[Any]) -> None:
        self._database.save_tick_data(ticks)

    def load(self, symbol: str, first: int, last: int) -> list[Any]:
        """Return the ticks of a range, in microseconds, which includes its end."""
        ticks: list[Any] = self._database.load_tick_data(
            symbol, self._exchange, _to_datetime(first), _to_datetime(last)
        )
        return ticks

    def close(self) -> None:
        self._database.client.close()


def import_settings() -> dict[str, Any]:
    """Import vnpy without the directory that it makes in the user's home, and without its log files."""
    with tempfile.TemporaryDirectory(prefix="backtest-mongo-bench-") as name, contextlib.chdir(name):
        (Path(name) / ".vntrader").mkdir()
        settings: dict[str, Any] = importlib.import_module("vnpy.trader.setting").SETTINGS
        settings |= {"log.active": False, "log.console": False, "log.file": False, "database.timezone": "UTC"}
        for module in ("vnpy.trader.object", "vnpy_mongodb"):
            importlib.import_module(module)
    return settings


def _to_datetime(micros: int) -> datetime:
    return datetime.fromtimestamp(micros / 1e6, UTC)
