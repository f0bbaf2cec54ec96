"""The trading rules: a moving-average crossover with limit entries, partial profits, breakeven and pauses.

Nothing here depends on storage, clocks or randomness: the same book and the same candles give the same events.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean
from typing import Any, Literal, TypeAlias, TypedDict

from backtest_mongo.cli.demo.market import EXCHANGE, SYMBOL, day_of
from backtest_mongo.types import INTERVAL_MS, Candle

__all__ = ["STRATEGY", "Book", "Event", "Parameters", "Side", "Trade", "true_range"]

STRATEGY = "crossover-demo"

Side: TypeAlias = Literal["long", "short"]
Kind: TypeAlias = Literal["scheduled", "cancelled", "opened", "level", "breakeven", "closed", "paused"]


class Trade(TypedDict):
    """A trade from its limit order to its end, in the form in which every slot stores it."""

    id: str
    symbol: str
    strategyName: str
    exchangeName: str
    status: Literal["scheduled", "cancelled", "opened", "closed"]
    position: Side
    priceOpen: float
    priceStopLoss: float
    #: What one unit loses if the stop of the beginning is hit.
    risk: float
    size: float
    #: Profit levels reached; at each of them a part of the position is closed.
    levels: int
    profit: float
    minuteEstimatedTime: float
    scheduledAt: int
    pendingAt: int | None
    closedAt: int | None
    closeReason: str | None


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened in a bar, and the trade as it was after that."""

    kind: Kind
    trade: Trade
    text: str


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What can be tuned. Distances are multiples of the average true range, durations are bars."""

    fast: int = 12
    slow: int = 36
    discount: float = 0.25
    pending_hours: int = 6
    stop: float = 2.5
    risk: float = 0.01
    levels: int = 3
    part: float = 0.25
    spread: float = 0.00006
    losses: int = 4
    pause: int = 24


@dataclass(kw_only=True)
class Book:
    """Everything that the strategy knows: its position in time, its averages, its money and its trade.

    Every value can be stored as it is, and none is changed in place, so that a shallow copy keeps an earlier state.
    """

    bar: int = -1
    time: int = 0
    equity: float = 10_000.0
    fast: float = 0.0
    slow: float = 0.0
    trades: int = 0
    losing: int = 0
    paused_until: int = 0
    order: Trade | None = None
    position: Trade | None = None
    last: Trade | None = None
    session: dict[str, Any] = field(default_factory=dict)

    def value(self, price: float) -> float:
        """Return the equity with the open position at ``price``."""
        return self.equity + (_profit(self.position, price, self.position["size"]) if self.position else 0.0)

    def mark(self, candle: Candle) -> dict[str, float]:
        """Return the row of the equity slot after a candle."""
        value, size = self.value(candle["close"]), 0.0
        if self.position:
            size = self.position["size"] if self.position["position"] == "long" else -self.position["size"]
        return {
            "timestamp": self.time,
            "equity": value,
            "cash": self.equity,
            "unrealized_pnl": value - self.equity,
            "position": size,
        }

    def open_bar(self, bar: int, candle: Candle) -> None:
        """Move to a bar; a new day begins a new session."""
        self.bar, self.time = bar, candle["timestamp"]
        day = day_of(self.time)
        if self.session.get("day") != day:
            self.session = {"day": day, "crossings": 0, "closed": 0, "profit": 0.0}

    def manage(self, candle: Candle, rules: Parameters) -> list[Event]:
        """Let a candle fill or cancel the order, stop the position out, or take its profits."""
        events: list[Event] = []
        if self.order:
            events += self._fill(self.order, candle, rules)
        if self.position and _reached(self.position, candle, self.position["priceStopLoss"], against=True):
            # Over a weekend the market may open beyond the stop, and then that is the price.
            worse = min if self.position["position"] == "long" else max
            price = worse(self.position["priceStopLoss"], candle["open"])
            events += self._close(self.position, candle, price, "stop loss", rules)
        # In the bar of the entry nobody knows whether the market was there before or after it.
        if self.position and self.position["pendingAt"] != candle["timestamp"]:
            events += self._take_profits(self.position, candle, rules)
        return events

    def follow(self, window: Sequence[Candle], rules: Parameters) -> Side | None:
        """Carry the averages on by one bar; return the side to which they crossed.

        ``window`` holds the last ``rules.slow`` candles, the bar's own included, or all that there are.
        """
        closes = [candle["close"] for candle in window]
        was_above = self.fast > self.slow
        self.fast = fmean(closes[-rules.fast :])
        self.slow = fmean(closes)
        if self.bar < rules.slow or (self.fast > self.slow) == was_above:
            return None
        self.session = {**self.session, "crossings": self.session["crossings"] + 1}
        return "long" if self.fast > self.slow else "short"

    def turn(self, candle: Candle, side: Side, rules: Parameters) -> list[Event]:
        """Drop the order and leave the position that a crossing to ``side`` contradicts."""
        events: list[Event] = []
        if self.order:
            events += self._cancel(self.order, candle, "the averages crossed")
        if self.position and self.position["position"] != side:
            events += self._close(self.position, candle, candle["close"], "the averages crossed", rules)
        return events

    def enter(self, candle: Candle, side: Side, volatility: float, share: float, rules: Parameters) -> list[Event]:
        """Place a limit order that would lose ``share`` of the usual risk at its stop."""
        if self.position or candle["timestamp"] < self.paused_until:
            return []
        sign = 1 if side == "long" else -1
        price = candle["close"] - sign * rules.discount * volatility
        risk = rules.stop * volatility
        self.trades += 1
        self.order = self.last = Trade(
            id=f"{STRATEGY}-{self.trades:04d}",
            symbol=SYMBOL,
            strategyName=STRATEGY,
            exchangeName=EXCHANGE,
            status="scheduled",
            position=side,
            priceOpen=price,
            priceStopLoss=price - sign * risk,
            risk=risk,
            size=float(round(share * rules.risk * self.equity / risk)),
            levels=0,
            profit=0.0,
            minuteEstimatedTime=math.inf,  # it is held until the market ends it
            scheduledAt=candle["timestamp"],
            pendingAt=None,
            closedAt=None,
            closeReason=None,
        )
        return [Event(kind="scheduled", trade=self.order, text=f"{side} at {price:.5f}")]

    def _fill(self, order: Trade, candle: Candle, rules: Parameters) -> list[Event]:
        if _reached(order, candle, order["priceOpen"], against=True):
            self.order = None
            self.position = {**order, "status": "opened", "pendingAt": candle["timestamp"]}
            return [Event(kind="opened", trade=self.position, text=f"{order['size']:.0f} at {order['priceOpen']:.5f}")]
        if candle["timestamp"] - order["scheduledAt"] >= rules.pending_hours * INTERVAL_MS["1h"]:
            return self._cancel(order, candle, "not filled in time")
        return []

    def _cancel(self, order: Trade, candle: Candle, reason: str) -> list[Event]:
        self.order = None
        ended: Trade = {**order, "status": "cancelled", "closedAt": candle["timestamp"], "closeReason": reason}
        return [Event(kind="cancelled", trade=ended, text=reason)]

    def _take_profits(self, position: Trade, candle: Candle, rules: Parameters) -> list[Event]:
        events: list[Event] = []
        sign = 1 if position["position"] == "long" else -1
        part = float(round(position["size"] * rules.part))
        while position["levels"] < rules.levels:
            level = position["levels"] + 1
            price = position["priceOpen"] + sign * level * position["risk"]
            if not _reached(position, candle, price, against=False):
                break
            gain = self._realise(position, price, part, rules)
            position = {
                **position,
                "levels": level,
                "size": position["size"] - part,
                "profit": position["profit"] + gain,
            }
            events.append(Event(kind="level", trade=position, text=f"profit level {level} at {price:.5f}"))
            if level == 1:
                position = {**position, "priceStopLoss": position["priceOpen"]}
                events.append(Event(kind="breakeven", trade=position, text="the stop is at the entry price"))
        self.position = position
        return events

    def _close(self, position: Trade, candle: Candle, price: float, reason: str, rules: Parameters) -> list[Event]:
        gain = self._realise(position, price, position["size"], rules)
        ended: Trade = {
            **position,
            "status": "closed",
            "size": 0.0,
            "profit": position["profit"] + gain,
            "closedAt": candle["timestamp"],
            "closeReason": reason,
        }
        self.position = None
        self.session = {**self.session, "closed": self.session["closed"] + 1}
        events = [Event(kind="closed", trade=ended, text=f"{reason}, {ended['profit']:+.2f}")]
        self.losing = self.losing + 1 if ended["profit"] < 0 else 0
        if self.losing >= rules.losses:
            self.losing = 0
            self.paused_until = candle["timestamp"] + rules.pause * INTERVAL_MS["1h"]
            events.append(Event(kind="paused", trade=ended, text=f"{rules.losses} losses in a row"))
        return events

    def _realise(self, position: Trade, price: float, size: float, rules: Parameters) -> float:
        gain = _profit(position, price, size) - rules.spread * size
        self.equity += gain
        self.session = {**self.session, "profit": self.session["profit"] + gain}
        return gain


def true_range(candles: Sequence[Candle]) -> float:
    """Return the average true range of candles; the first one only gives the previous close."""
    ranges = [
        max(candle["high"], before["close"]) - min(candle["low"], before["close"])
        for before, candle in pairwise(candles)
    ]
    return fmean(ranges)


def _profit(trade: Trade, price: float, size: float) -> float:
    return (price - trade["priceOpen"]) * size * (1 if trade["position"] == "long" else -1)


def _reached(trade: Trade, candle: Candle, price: float, *, against: bool) -> bool:
    """Return whether a candle touched ``price`` as the market moved against a trade, or with it."""
    down = (trade["position"] == "long") == against
    return candle["low"] <= price if down else candle["high"] >= price
