"""The Node package's layout: where each slot's files are, and which of them hold signals.

It is no part of the slot table, as only files have it, and a slot that isn't named here needs nothing said: its files
are in a directory per field of its key, below ``data/{name}``.

In a path, fields of the key are in braces and directories end in slashes; ``.json`` comes after it. A part in brackets
is left out where its field is empty. What is joined by ``_`` can be told apart because one of the fields, marked ``*``,
alone keeps its own ``_``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from backtest_mongo.specs import SlotSpec

__all__ = ["holds_signals", "path_of"]

_PATHS: Final[Mapping[str, str]] = {
    "signal": "data/signal/{symbol}_{strategyName*}_{exchangeName}/{symbol}",
    "schedule": "data/schedule/{symbol}_{strategyName*}_{exchangeName}/{symbol}",
    "strategy": "data/strategy/{symbol}_{strategyName*}_{exchangeName}/strategy",
    "risk": "data/risk/{riskName*}_{exchangeName}/positions",
    "partial": "data/partial/{symbol}_{strategyName*}_{exchangeName}/{signalId}",
    "breakeven": "data/breakeven/{symbol}_{strategyName*}_{exchangeName}/{signalId}",
    "log": "data/log/log/{entryId}",
    "memory": "memory/{signalId}/{bucketName}/{memoryId}",
    "recent": "data/recent/{symbol}_{strategyName*}_{exchangeName}[_{frameName}]_{backtest}/{symbol}",
    "state": "state/{signalId}/{bucketName}/{bucketName}",
    "dictionary": "dictionary/{signalId}/{dictionaryName}/{dictionaryName}",
    "session": "session/{strategyName}/{exchangeName}[/{frameName}]/{symbol*}_{backtest}",
}

#: In these a ``minuteEstimatedTime`` of null means infinity, as JSON has none and Node writes null.
_SIGNALS: Final = frozenset({"signal", "schedule", "storage", "recent", "risk"})


def path_of(spec: SlotSpec) -> str:
    """Return where a slot's files are below the root, with the fields of its key in braces."""
    return _PATHS.get(spec.name) or "/".join(("data", spec.name, *(f"{{{name}}}" for name in spec.key)))


def holds_signals(spec: SlotSpec) -> bool:
    return spec.name in _SIGNALS
