"""The slot table: all that this library stores, one row a slot.

A row's name gives the class (``SignalAdapter``), the collection (``signal-items``), the prefix of the Redis keys
(``signal_cache:``) and the methods (``read_signal_data``); :class:`~backtest_mongo.SlotSpec` explains the columns.
"""

from __future__ import annotations

from typing import Final

from backtest_mongo.specs import SlotSpec

__all__ = ["SLOTS"]

# fmt: off
SLOTS: Final[tuple[SlotSpec, ...]] = (
    SlotSpec(name="candle", shape="series", context=("symbol", "interval", "exchange_name"), immutable=True,
             key=("exchangeName", "symbol", "interval", "timestamp"), noun="candles", value="candles",
             redis=("exchangeName", "symbol", "interval", "timestamp")),
    SlotSpec(name="signal", shape="document", context=("symbol", "strategy_name", "exchange_name"),
             key=("symbol", "strategyName", "exchangeName"), value="row", payload="object|null",
             redis=("exchangeName", "strategyName", "symbol")),
    SlotSpec(name="schedule", shape="document", context=("symbol", "strategy_name", "exchange_name"),
             key=("symbol", "strategyName", "exchangeName"), value="row", payload="object|null",
             redis=("exchangeName", "strategyName", "symbol")),
    SlotSpec(name="strategy", shape="document", context=("symbol", "strategy_name", "exchange_name"),
             key=("symbol", "strategyName", "exchangeName"), value="row", payload="object|null",
             redis=("exchangeName", "strategyName", "symbol")),
    SlotSpec(name="risk", shape="document", context=("risk_name", "exchange_name"), when=True,
             key=("riskName", "exchangeName"), noun="position", value="positions", payload="list", field="positions",
             redis=("exchangeName", "riskName")),
    SlotSpec(name="partial", shape="entry", context=("symbol", "strategy_name", "exchange_name"), when=True,
             key=("symbol", "strategyName", "exchangeName", "signalId"),
             redis=("exchangeName", "strategyName", "symbol", "signalId")),
    SlotSpec(name="breakeven", shape="entry", context=("symbol", "strategy_name", "exchange_name"), when=True,
             key=("symbol", "strategyName", "exchangeName", "signalId"),
             redis=("exchangeName", "strategyName", "symbol", "signalId")),
    SlotSpec(name="storage", shape="collection", context=("backtest",),
             key=("backtest", "signalId"), value="signals", redis=("backtest", "signalId")),
    SlotSpec(name="notification", shape="collection", context=("backtest",), newest=200,
             key=("backtest", "notificationId"), value="notifications", redis=("backtest", "notificationId")),
    SlotSpec(name="log", shape="collection", context=(), newest=200,
             key=("entryId",), value="entries", redis=("entryId",)),
    SlotSpec(name="measure", shape="bucket", context=("bucket",), soft_delete=True,
             key=("bucket", "entryKey"), argument="key", redis=("bucket", "entryKey")),
    SlotSpec(name="interval", shape="bucket", context=("bucket",), soft_delete=True, when=True,
             key=("bucket", "entryKey"), argument="key", redis=("bucket", "entryKey")),
    SlotSpec(name="memory", shape="bucket", context=("signal_id", "bucket_name"), soft_delete=True, when=True,
             key=("signalId", "bucketName", "memoryId"), items=True, dispose=True,
             redis=("signalId", "bucketName", "memoryId")),
    SlotSpec(name="recent", shape="document", when=True, value="row",
             context=("symbol", "strategy_name", "exchange_name", "frame_name", "backtest"),
             key=("symbol", "strategyName", "exchangeName", "frameName", "backtest"),
             redis=("backtest", "exchangeName", "strategyName", "frameName", "symbol")),
    SlotSpec(name="state", shape="document", context=("signal_id", "bucket_name"), when=True, dispose=True,
             key=("signalId", "bucketName"), redis=("signalId", "bucketName")),
    SlotSpec(name="dictionary", shape="document", context=("signal_id", "dictionary_name"), when=True, dispose=True,
             key=("signalId", "dictionaryName"), redis=("signalId", "dictionaryName")),
    SlotSpec(name="session", shape="document", when=True, dispose=True, optional=("symbol", "backtest"),
             context=("strategy_name", "exchange_name", "frame_name", "symbol", "backtest"),
             key=("strategyName", "exchangeName", "frameName", "symbol", "backtest"),
             redis=("exchangeName", "strategyName", "frameName", "symbol", "backtest"),
             former=("strategyName", "exchangeName", "frameName")),
)
# fmt: on
