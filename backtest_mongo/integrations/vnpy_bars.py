"""The slot of VeighNa's bars. It doesn't need vnpy, so commands and programs without it find the bars, too::

backtest-mongo series coverage vnpy_bar --module backtest_mongo.integrations.vnpy_bars
"""

from __future__ import annotations

from typing import Any, Final

from backtest_mongo.adapters.registry import persist
from backtest_mongo.core.columns import Column
from backtest_mongo.core.specs import SlotSpec

__all__ = ["BARS", "VnpyBarAdapter"]

#: Not the slot of candles: a bar that is saved again replaces the stored one, as everywhere in vnpy.
BARS: Final = SlotSpec(
    name="vnpy_bar",
    about="bars as vnpy has them, by interval",
    shape="series",
    context=("symbol", "interval", "exchange_name"),
    key=("exchangeName", "symbol", "interval", "timestamp"),
    unit="us",
    columns=tuple(
        Column(name, "float64") for name in ("open", "high", "low", "close", "volume", "turnover", "open_interest")
    ),
)
VnpyBarAdapter: Any = persist.register(BARS)
