"""Measuring how long each operation takes, as the strategy sees it.

Subclasses of the adapters, registered with ``persist.use(...)``, time the methods and call the originals.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import AsyncIterator, Callable
from time import perf_counter_ns
from typing import Any, Literal, TypeAlias

from backtest_mongo import persist
from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.adapters.contracts import list_contract_methods
from backtest_mongo.adapters.shapes import Adapter
from backtest_mongo.connection.hub_registry import current_hub

__all__ = ["Call", "Meter"]

Kind: TypeAlias = Literal["read", "write"]
#: Slot, kind, microseconds.
Call: TypeAlias = tuple[str, Kind, int]

_READS = ("read_", "list_", "has_")
_WRITES = ("write_", "remove_", "append")
#: What is measured of every series, of which contracts have no more than candles' windows.
_SERIES_METHODS = ("append", "read_frame", "read_last", "read_asof")


class Meter:
    """Collects the calls of this process until they are taken.

    Args:
        on_write: called with a slot's name whenever a write to it has returned; a transaction is yet to commit it.
    """

    def __init__(self, on_write: Callable[[str], None]) -> None:
        self._on_write = on_write
        self._calls: list[Call] = []
        self._hits: Counter[str] = Counter()

    def install(self) -> None:
        """Measure every slot of the registry from now on."""
        measured: dict[str, Any] = {name: self._measured(adapter) for name, adapter in ADAPTERS.items()}
        persist.use(**measured)

    def take(self) -> tuple[list[Call], dict[str, int]]:
        """Return the calls since the last time, and how many of their reads found the id in the cache, by slot."""
        calls, self._calls = self._calls, []
        hits = Counter({name: counts.hits for name, counts in current_hub().counts.items()})
        new, self._hits = hits - self._hits, hits
        return calls, dict(new)

    def _measured(self, adapter: type[Adapter]) -> type[Adapter]:
        name = adapter.spec.name
        methods: dict[str, Any] = {}
        known = list_contract_methods(adapter)
        if adapter.spec.shape == "series":
            known |= {method: getattr(adapter, method) for method in _SERIES_METHODS if hasattr(adapter, method)}
        for method_name, method in known.items():
            if method_name.startswith(_READS):
                methods[method_name] = self._timed(name, "read", method)
            elif method_name.startswith(_WRITES):
                methods[method_name] = self._timed(name, "write", method)
        return type(f"Measured{adapter.__name__}", (adapter,), methods)

    def _timed(self, slot: str, kind: Kind, method: Callable[..., Any]) -> Callable[..., Any]:
        def record(start: int) -> None:
            self._calls.append((slot, kind, (perf_counter_ns() - start) // 1000))
            if kind == "write":
                self._on_write(slot)

        async def call(*args: Any, **kwargs: Any) -> Any:
            start = perf_counter_ns()
            result = await method(*args, **kwargs)
            record(start)
            return result

        async def iterate(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            start = perf_counter_ns()
            async for row in method(*args, **kwargs):
                yield row
            record(start)

        return call if inspect.iscoroutinefunction(method) else iterate
