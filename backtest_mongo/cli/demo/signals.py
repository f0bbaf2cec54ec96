"""A signal's row, from its order to its end, and the rows about it, with the fields that the Node engine gives them.

Nothing here depends on storage, clocks or randomness. ``costs`` is what each side of a trade costs, as a part of its
price. "What the engine needs to resume" in the documentation shows rows that the Node engine wrote.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypedDict

from backtest_mongo.types import Candle, Payload

__all__ = [
    "IDLE",
    "MINUTE",
    "Order",
    "describe",
    "find_exit",
    "find_levels",
    "get_stop",
    "is_filled",
    "make_equity",
    "make_log_entry",
    "make_notification",
    "make_pnl",
    "make_point",
    "make_position",
    "make_rejection",
    "make_signal",
    "make_stored",
    "name_position",
    "take_half",
]

MINUTE: Final = 60_000
#: No profit or loss yet.
_NOTHING: Final = {"pnlPercentage": 0.0, "pnlCost": 0.0, "priceClose": 0.0, "priceOpen": 0.0, "pnlEntries": 0.0}
#: The row of a strategy that has nothing pending; the last two fields are this engine's own.
IDLE: Final[Mapping[str, Any]] = {
    "pendingSignalId": None,
    "lastPendingId": None,
    "createdSignal": None,
    "commitQueue": [],
    "closedSignal": None,
    "cancelledSignal": None,
    "activatedSignal": None,
    "takeProfitSignal": None,
    "stopLossSignal": None,
    "retryOpenSignal": None,
    "retryOpenCount": 0,
    "retryCloseCount": 0,
    "isPaused": False,
    "losses": 0,
    "pausedUntil": 0,
}


class _Prices(TypedDict):
    position: Literal["long", "short"]
    priceTakeProfit: float
    priceStopLoss: float


class Order(_Prices, total=False):
    """What a strategy wants: a side, a target and a stop.

    Without ``priceOpen`` it is opened at the close of the bar, otherwise once the market gets to that price.
    ``minuteEstimatedTime`` is how long the position is held at most; ``cost`` is the money in it, 100 by default.
    """

    priceOpen: float
    minuteEstimatedTime: float
    cost: float
    note: str


def make_signal(order: Order, context: Mapping[str, str], now: int, close: float) -> Payload:
    """Return the row of a signal, which waits for its price if the order names one.

    Raises:
        ValueError: stop, price and target are not in the order that the side needs.
    """
    price, is_scheduled = order.get("priceOpen", close), "priceOpen" in order
    sides = (order["priceStopLoss"], price, order["priceTakeProfit"])
    if not (sides[0] < sides[1] < sides[2] if order["position"] == "long" else sides[0] > sides[1] > sides[2]):
        raise ValueError(
            f"a {order['position']} signal at {price} can't have its stop at {sides[0]} and its target at {sides[2]}"
        )
    cost, nothing = order.get("cost", 100.0), {"price": price, "timestamp": now, **_NOTHING}
    return {
        "id": f"{context['strategyName']}-{context['symbol']}-{now}",
        **context,
        "position": order["position"],
        "note": order.get("note", ""),
        "priceOpen": price,
        "priceTakeProfit": order["priceTakeProfit"],
        "priceStopLoss": order["priceStopLoss"],
        "minuteEstimatedTime": order.get("minuteEstimatedTime", math.inf),
        "cost": cost,
        "multiplier": 1,
        "isolated": True,
        "scheduledAt": now,
        "pendingAt": 0 if is_scheduled else now,
        "timestamp": now,
        "_isScheduled": is_scheduled,
        "_entry": [{"price": price, "cost": cost, "timestamp": now}],
        "_peak": nothing,
        "_fall": nothing,
    }


def is_filled(signal: Payload, candle: Candle) -> bool:
    """Return whether a candle gets to the price that a signal waits for."""
    price = signal["priceOpen"]
    return bool(candle["low"] <= price if signal["position"] == "long" else candle["high"] >= price)


def find_exit(signal: Payload, candle: Candle, now: int, *, is_entry_bar: bool = False) -> tuple[str, float] | None:
    """Return why and at what price a closed candle ends a position, ``None`` if it does not.

    A candle does not tell in which order its prices came, so the worst order counts: the stop comes before the target,
    and in the bar of a limit order's entry the target does not count. If the market opens beyond the stop, after a gap,
    the position ends at that price.
    """
    is_long, stop, target = signal["position"] == "long", get_stop(signal), signal["priceTakeProfit"]
    if candle["low"] <= stop if is_long else candle["high"] >= stop:
        return "stop_loss", min(stop, candle["open"]) if is_long else max(stop, candle["open"])
    if not is_entry_bar and (candle["high"] >= target if is_long else candle["low"] <= target):
        return "take_profit", target
    if now - signal["pendingAt"] >= signal["minuteEstimatedTime"] * MINUTE:
        return "time_expired", candle["close"]
    return None


def get_stop(signal: Payload) -> float:
    """Return where the stop is now."""
    return float(signal.get("_trailingPriceStopLoss", signal["priceStopLoss"]))


def find_levels(signal: Payload, candle: Candle, known: Payload | None) -> dict[str, list[int]]:
    """Return how far a position went on its way to the target and to the first stop, in whole tens of a percent.

    ``known`` is how far it went before this candle.
    """
    ends = {"profitLevels": ("high", "low", "priceTakeProfit"), "lossLevels": ("low", "high", "priceStopLoss")}
    levels = {}
    for name, (side_of_long, side_of_short, end) in ends.items():
        price = candle[side_of_long] if signal["position"] == "long" else candle[side_of_short]  # type: ignore[literal-required]
        way = (price - signal["priceOpen"]) / (signal[end] - signal["priceOpen"])
        passed = [level for level in range(10, 100, 10) if way * 100 >= level]
        levels[name] = max(passed, known[name] if known else [], key=len)
    return levels


def take_half(signal: Payload, now: int) -> dict[str, Any]:
    """Return the fields of a position of which a half is closed halfway to its target, with its stop at the entry."""
    price = (signal["priceOpen"] + signal["priceTakeProfit"]) / 2
    part = {"type": "profit", "percent": 50, "entryCountAtClose": 1, "currentPrice": price}
    parts = [{**part, "costBasisAtClose": signal["cost"], "timestamp": now}]
    return {"_partial": parts, "_trailingPriceStopLoss": signal["priceOpen"]}


def make_pnl(signal: Payload, price: float, costs: float, *, only_closed: bool = False) -> dict[str, float]:
    """Return what a position has made if what is left of it ends at ``price``, or the part alone that has ended."""
    sign = 1 if signal["position"] == "long" else -1
    entry = signal["priceOpen"] * (1 + sign * costs)

    def percent(at: float) -> float:
        return float(sign * (at * (1 - sign * costs) / entry - 1) * 100)

    parts = signal.get("_partial", [])
    ended = sum(part["percent"] * percent(part["currentPrice"]) for part in parts) / 100
    left = 0.0 if only_closed else 1 - sum(part["percent"] for part in parts) / 100
    total = ended + left * percent(price)
    return {
        "pnlPercentage": total,
        "pnlCost": total * signal["cost"] / 100,
        "priceClose": price,
        "priceOpen": signal["priceOpen"],
        "pnlEntries": signal["cost"],
    }


def make_point(signal: Payload, price: float, now: int, costs: float) -> dict[str, Any]:
    """Return a point of a position's course, as its peak and its fall are stored."""
    return {"price": price, "timestamp": now, **make_pnl(signal, price, costs)}


def describe(signal: Payload, price: float, costs: float) -> Payload:
    """Return what others are shown of a signal."""
    is_open = signal["pendingAt"] > 0
    parts = signal.get("_partial", [])
    return {
        **signal,
        "priceStopLoss": get_stop(signal),
        "originalPriceOpen": signal["priceOpen"],
        "originalPriceStopLoss": signal["priceStopLoss"],
        "originalPriceTakeProfit": signal["priceTakeProfit"],
        "maxDrawdown": signal["_fall"] if is_open else _NOTHING,
        "peakProfit": signal["_peak"] if is_open else _NOTHING,
        "partialExecuted": sum(part["percent"] for part in parts),
        "totalEntries": 1,
        "totalPartials": len(parts),
        "pnl": make_pnl(signal, price, costs) if is_open else _NOTHING,
    }


def make_stored(shown: Payload, status: str, price: float, now: int, reason: str | None = None) -> Payload:
    """Return the row of a signal among all signals."""
    ended = {"closeReason": reason, "closeTimestamp": now} if status == "closed" else {}
    times = {"priority": now, "createdAt": shown["scheduledAt"], "updatedAt": now}
    return {**shown, "status": status, "currentPrice": price, **times, **ended}


def name_position(context: Mapping[str, Any]) -> str:
    """Return the name that a risk profile gives to the position of a strategy in a symbol."""
    return f"{context['strategyName']}_{context['exchangeName']}_{context['symbol']}"


def make_position(signal: Payload) -> list[Any]:
    """Return what a risk profile knows of an open position: a pair of its name and a row."""
    names = ("strategyName", "exchangeName", "frameName", "symbol", "position")
    numbers = ("priceOpen", "priceStopLoss", "priceTakeProfit", "minuteEstimatedTime")
    row = {name: signal[name] for name in (*names, *numbers)}
    return [name_position(signal), {**row, "openTimestamp": signal["pendingAt"]}]


def make_equity(signal: Payload | None, balance: float, price: float, now: int, costs: float) -> dict[str, float]:
    """Return the row of the equity at the close of a bar: money, and the open position at its price."""
    if signal is None:
        return {"timestamp": now, "equity": balance, "cash": balance, "unrealized_pnl": 0.0, "position": 0.0}
    total = make_pnl(signal, price, costs)["pnlCost"]
    realized = make_pnl(signal, price, costs, only_closed=True)["pnlCost"]
    left = 1 - sum(part["percent"] for part in signal.get("_partial", [])) / 100
    return {
        "timestamp": now,
        "equity": balance + total,
        "cash": balance + realized,
        "unrealized_pnl": total - realized,
        "position": (1 if signal["position"] == "long" else -1) * left * signal["cost"] / signal["priceOpen"],
    }


def make_notification(kind: str, shown: Payload, price: float, now: int, *, backtest: bool, **more: Any) -> Payload:
    """Return the notification of an event: what is shown of the signal, and all its points as fields of their own."""
    points = {
        f"{name}{field.removeprefix('pnl')[0].upper()}{field.removeprefix('pnl')[1:]}": shown[point].get(field)
        for name, point in (("pnl", "pnl"), ("peakProfit", "peakProfit"), ("maxDrawdown", "maxDrawdown"))
        for field in _NOTHING
    }
    left_out = ("id", "frameName", "timestamp", "minuteEstimatedTime", "partialExecuted")
    row = {name: value for name, value in shown.items() if name[0] != "_" and name not in left_out}
    own = {"type": kind, "id": f"{shown['id']}-{kind}-{now}", "signalId": shown["id"], "backtest": backtest}
    return {**row, **points, **own, "timestamp": now, "createdAt": now, "currentPrice": price, **more}


def make_rejection(signal: Payload, note: str, count: int, price: float, now: int, *, backtest: bool) -> Payload:
    """Return the notification of a signal that was refused while others had ``count`` positions open."""
    names = ("symbol", "strategyName", "exchangeName", "position", "priceTakeProfit", "priceStopLoss")
    row = {name: signal[name] for name in (*names, "minuteEstimatedTime", "multiplier", "isolated")}
    own = {"type": "risk.rejection", "id": f"{signal['id']}-rejection-{now}", "backtest": backtest}
    why = {"rejectionNote": note, "rejectionId": None, "activePositionCount": count, "signalNote": signal["note"]}
    return {**row, **own, **why, "timestamp": now, "createdAt": now, "currentPrice": price}


def make_log_entry(topic: str, signal: Payload, price: float, now: int, *, backtest: bool) -> Payload:
    """Return the log entry of an event."""
    time = datetime.fromtimestamp(now / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "id": f"{signal['id']}-{topic}-{now}",
        "type": "info",
        "priority": now,
        "timestamp": now,
        "createdAt": time,
        "methodContext": {name: signal[name] for name in ("exchangeName", "strategyName", "frameName")},
        "executionContext": {"symbol": signal["symbol"], "when": time, "backtest": backtest},
        "topic": topic,
        "args": [{"signalId": signal["id"], "symbol": signal["symbol"], "currentPrice": price}],
    }
