"""The slots of Nautilus' ticks, with nanoseconds and text ids. They don't need Nautilus, so commands and programs
without it find them, too::

backtest-mongo series coverage nautilus_trade --module backtest_mongo.integrations.nautilus_ticks
"""

from __future__ import annotations

from typing import Any, Final

from backtest_mongo.adapters.registry import persist
from backtest_mongo.core.columns import Column
from backtest_mongo.core.specs import SlotSpec

__all__ = ["QUOTES", "TRADES", "NautilusQuoteAdapter", "NautilusTradeAdapter"]

TRADES: Final = SlotSpec(
    name="nautilus_trade",
    about="the trades of a market as Nautilus has them, each with the venue's id",
    shape="series",
    context=("symbol", "exchange_name"),
    key=("exchangeName", "symbol", "timestamp", "trade_id"),
    unit="ns",
    sequence="str",
    immutable=True,
    columns=(
        Column("price", "float64"),
        Column("amount", "float64"),
        Column("side", "category", nullable=True),
        # The order of trades of one time, which text ids don't have.
        Column("place", "int64"),
        Column("ts_init", "int64"),
    ),
)
QUOTES: Final = SlotSpec(
    name="nautilus_quote",
    about="the best bid and ask of a market as Nautilus has them",
    shape="series",
    context=("symbol", "exchange_name"),
    key=("exchangeName", "symbol", "timestamp", "update_id"),
    unit="ns",
    sequence="int64",
    immutable=True,
    columns=(
        *(Column(name, "float64") for name in ("bid_price", "bid_amount", "ask_price", "ask_amount")),
        Column("ts_init", "int64"),
    ),
)
NautilusTradeAdapter: Any = persist.register(TRADES)
NautilusQuoteAdapter: Any = persist.register(QUOTES)
