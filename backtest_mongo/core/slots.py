"""The slot table: all that this library stores, one row per slot.

A row's name determines the class (``SignalAdapter``), the collection (``signal-items``), the prefix of the Redis keys
(``signal_cache:``) and the methods (``read_signal_data``); :class:`~backtest_mongo.SlotSpec` explains the columns.
"""

from __future__ import annotations

from typing import Final

from backtest_mongo.core.columns import Column
from backtest_mongo.core.specs import SlotSpec

__all__ = ["SERIES", "SLOTS"]

# fmt: off
SLOTS: Final[tuple[SlotSpec, ...]] = (
    SlotSpec(name="candle", about="the candles of a market, by interval", shape="series",
             context=("symbol", "interval", "exchange_name"), immutable=True,
             key=("exchangeName", "symbol", "interval", "timestamp"), noun="candles", value="candles",
             redis=("exchangeName", "symbol", "interval", "timestamp")),
    SlotSpec(name="signal", about="the signal that a strategy has open on a symbol", shape="document",
             context=("symbol", "strategy_name", "exchange_name"), key=("symbol", "strategyName", "exchangeName"),
             value="row", payload="object|null", redis=("exchangeName", "strategyName", "symbol")),
    SlotSpec(name="schedule", about="the signal that waits for its entry price", shape="document",
             context=("symbol", "strategy_name", "exchange_name"), key=("symbol", "strategyName", "exchangeName"),
             value="row", payload="object|null", redis=("exchangeName", "strategyName", "symbol")),
    SlotSpec(name="strategy", about="the state of a strategy on a symbol", shape="document",
             context=("symbol", "strategy_name", "exchange_name"), key=("symbol", "strategyName", "exchangeName"),
             value="row", payload="object|null", redis=("exchangeName", "strategyName", "symbol")),
    SlotSpec(name="risk", about="the open positions of a risk profile", shape="document",
             context=("risk_name", "exchange_name"), when=True, key=("riskName", "exchangeName"), noun="position",
             value="positions", payload="list", field="positions", redis=("exchangeName", "riskName")),
    SlotSpec(name="partial", about="the levels of profit and loss that a signal has reached", shape="entry",
             context=("symbol", "strategy_name", "exchange_name"), when=True,
             key=("symbol", "strategyName", "exchangeName", "signalId"),
             redis=("exchangeName", "strategyName", "symbol", "signalId")),
    SlotSpec(name="breakeven", about="whether a signal has reached breakeven", shape="entry",
             context=("symbol", "strategy_name", "exchange_name"), when=True,
             key=("symbol", "strategyName", "exchangeName", "signalId"),
             redis=("exchangeName", "strategyName", "symbol", "signalId")),
    SlotSpec(name="storage", about="signals by id, closed ones included", shape="collection", context=("backtest",),
             filters=(("strategy_name", "strategyName"), ("symbol", "symbol")), ended=("status", "closed", "cancelled"),
             key=("backtest", "signalId"), value="signals", redis=("backtest", "signalId"), filter_time="timestamp"),
    SlotSpec(name="notification", about="notifications for whoever watches the engine", shape="collection", newest=200,
             context=("backtest",), key=("backtest", "notificationId"), value="notifications", filter_time="timestamp",
             filters=(("strategy_name", "strategyName"), ("symbol", "symbol")), redis=("backtest", "notificationId")),
    SlotSpec(name="log", about="the engine's log", shape="collection", context=(), newest=200, key=("entryId",),
             value="entries", redis=("entryId",), filter_time="timestamp",
             filters=(("strategy_name", "methodContext.strategyName"), ("symbol", "executionContext.symbol"))),
    SlotSpec(name="measure", about="responses from outside, such as an API's, kept as a cache", shape="bucket",
             context=("bucket",), soft_delete=True, key=("bucket", "entryKey"), argument="key",
             redis=("bucket", "entryKey")),
    SlotSpec(name="interval", about="what is done once per interval, by key", shape="bucket", context=("bucket",),
             soft_delete=True, when=True, key=("bucket", "entryKey"), argument="key", redis=("bucket", "entryKey")),
    SlotSpec(name="memory", about="notes on a signal, each under an id", shape="bucket",
             context=("signal_id", "bucket_name"), soft_delete=True, when=True,
             key=("signalId", "bucketName", "memoryId"), items=True, dispose=True,
             redis=("signalId", "bucketName", "memoryId")),
    SlotSpec(name="recent", about="the latest signal of a strategy on a symbol", shape="document",
             context=("symbol", "strategy_name", "exchange_name", "frame_name", "backtest"), blank=("frame_name",),
             when=True, value="row", key=("symbol", "strategyName", "exchangeName", "frameName", "backtest"),
             redis=("backtest", "exchangeName", "strategyName", "frameName", "symbol")),
    SlotSpec(name="state", about="a value that belongs to a signal", shape="document",
             context=("signal_id", "bucket_name"), when=True, dispose=True, key=("signalId", "bucketName"),
             redis=("signalId", "bucketName")),
    SlotSpec(name="dictionary", about="a dictionary that belongs to a signal", shape="document",
             context=("signal_id", "dictionary_name"), when=True, dispose=True, key=("signalId", "dictionaryName"),
             redis=("signalId", "dictionaryName")),
    SlotSpec(name="session", about="what a run of a strategy keeps from bar to bar", shape="document",
             context=("strategy_name", "exchange_name", "frame_name", "symbol", "backtest"), when=True, dispose=True,
             optional=("symbol", "backtest"), blank=("frame_name",),
             key=("strategyName", "exchangeName", "frameName", "symbol", "backtest"),
             redis=("exchangeName", "strategyName", "frameName", "symbol", "backtest"),
             former=("strategyName", "exchangeName", "frameName")),
)
# fmt: on


def _depth(*sides: str) -> tuple[Column, ...]:
    return tuple(Column(f"{side}_{level}", "float64") for side in sides for level in range(1, 6))


# fmt: off
#: Series of this library alone: the Node package has no counterparts. Frames and rows have these columns.
SERIES: Final[tuple[SlotSpec, ...]] = (
    SlotSpec(name="trade", about="the trades of a market, each with the exchange's id", shape="series", immutable=True,
             context=("symbol", "exchange_name"), key=("exchangeName", "symbol", "timestamp", "trade_id"), unit="us",
             sequence="int64", columns=(Column("price", "float64"), Column("amount", "float64"),
                                        Column("side", "category", nullable=True))),
    SlotSpec(name="quote", about="the best bid and ask of a market, each with the exchange's number of the update",
             shape="series", context=("symbol", "exchange_name"), immutable=True, unit="us", sequence="int64",
             key=("exchangeName", "symbol", "timestamp", "update_id"),
             columns=(Column("bid_price", "float64"), Column("bid_amount", "float64"),
                      Column("ask_price", "float64"), Column("ask_amount", "float64"))),
    SlotSpec(name="tick", about="snapshots of a market with five levels of depth, as vnpy has them", shape="series",
             context=("symbol", "exchange_name"), key=("exchangeName", "symbol", "timestamp"), unit="us",
             columns=(Column("name", "category", nullable=True),
                      *(Column(name, "float64") for name in
                        ("volume", "turnover", "open_interest", "last_price", "last_volume", "limit_up", "limit_down",
                         "open_price", "high_price", "low_price", "pre_close")),
                      *_depth("bid_price", "ask_price", "bid_volume", "ask_volume"),
                      Column("localtime", "int64", nullable=True))),
    SlotSpec(name="funding", about="the funding rates of a perpetual", shape="series", unit="ms",
             context=("symbol", "exchange_name"), key=("exchangeName", "symbol", "timestamp"),
             columns=(Column("rate", "float64"), Column("mark_price", "float64", nullable=True),
                      Column("interval_hours", "int8", nullable=True))),
    SlotSpec(name="equity", about="the equity of a strategy from bar to bar", shape="series", unit="ms",
             context=("strategy_name", "exchange_name", "frame_name", "symbol", "backtest"), blank=("frame_name",),
             optional=("symbol", "backtest"),
             key=("strategyName", "exchangeName", "frameName", "symbol", "backtest", "timestamp"),
             columns=(Column("equity", "float64"), Column("cash", "float64", nullable=True),
                      Column("unrealized_pnl", "float64", nullable=True),
                      Column("position", "float64", nullable=True))),
)
# fmt: on
