"""The rows that are measured with, as the library stores them."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from typing import Any, Final, TypeAlias

from backtest_mongo import CandleAdapter, SignalAdapter

__all__ = [
    "BLOCK",
    "CANDLES",
    "MINUTE",
    "PAYLOAD",
    "SIGNALS",
    "SignalContext",
    "make_candle",
    "make_candle_document",
    "make_candles",
    "make_contexts",
    "make_exchange",
    "make_key",
    "make_payload",
    "make_signal_document",
]

#: Symbol, strategy and exchange.
SignalContext: TypeAlias = tuple[str, str, str]

SIGNALS: Final = SignalAdapter.spec.collection
CANDLES: Final = CandleAdapter.spec.collection
MINUTE: Final = 60_000
#: Candles of a sealed block.
BLOCK: Final = 4_096
#: Where a block begins, in 2020.
_START: Final = 1_600_000_000_000 // (BLOCK * MINUTE) * (BLOCK * MINUTE)
#: About 300 bytes, the size of a signal.
PAYLOAD: Final = {
    "id": "signal-1",
    "position": "long",
    "priceOpen": 50_000.5,
    "priceTakeProfit": 51_000.0,
    "priceStopLoss": 49_000.0,
    "minuteEstimatedTime": float("inf"),
    "timestamp": 1_700_000_000_000,
    "note": "a moving-average crossover on the hourly candles of the last two weeks",
    "nested": {"levels": [10, 20, 30], "reached": []},
}

_serial = count()


def make_payload() -> dict[str, Any]:
    """Return a payload that no other write has: one that changes nothing costs the server half."""
    return {**PAYLOAD, "priceOpen": 50_000.5 + next(_serial)}


def make_contexts(size: int) -> list[SignalContext]:
    """Return contexts that nothing was measured with."""
    run = next(_serial)
    return [(f"SYMBOL{number}", f"strategy-{run}", "binance") for number in range(size)]


def make_key(context: SignalContext) -> dict[str, Any]:
    symbol, strategy, exchange = context
    return {"symbol": symbol, "strategyName": strategy, "exchangeName": exchange}


def make_signal_document(context: SignalContext) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {**make_key(context), "payload": make_payload(), "createDate": now, "updatedDate": now, "__v": 0}


def make_exchange() -> str:
    """Return an exchange that nothing was measured with."""
    return f"exchange-{next(_serial)}"


def make_candle(number: int) -> Any:
    price = 1.25 + number % 100 / 100
    return {
        "timestamp": _START + number * MINUTE,
        "open": 1.5,
        "high": 2.5,
        "low": 0.5,
        "close": price,
        "volume": 10.0,
    }


def make_candles(size: int, first: int = 0) -> list[Any]:
    return [make_candle(number) for number in range(first, first + size)]


def make_candle_document(exchange: str, number: int, symbol: str = "BTCUSDT") -> dict[str, Any]:
    now = datetime.now(UTC)
    key = {"exchangeName": exchange, "symbol": symbol, "interval": "1m"}
    return {**key, **make_candle(number), "createDate": now, "updatedDate": now, "__v": 0}
