"""The adapter classes, expanded from the slot table at import time. ``__init__.pyi`` spells them out."""

from __future__ import annotations

from backtest_mongo.adapters.expansion import expand
from backtest_mongo.adapters.shapes import Adapter
from backtest_mongo.core.slots import SERIES, SLOTS
from backtest_mongo.core.specs import check_table

check_table((*SLOTS, *SERIES))

ADAPTERS: dict[str, type[Adapter]] = {spec.name: expand(spec, __name__) for spec in (*SLOTS, *SERIES)}
globals().update({adapter.__name__: adapter for adapter in ADAPTERS.values()})

__all__ = ["ADAPTERS", *(adapter.__name__ for adapter in ADAPTERS.values())]
