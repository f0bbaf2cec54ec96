"""Reading trades from stored signals, and what a chart shows of them: entries, exits, stops and targets.

Engines choose their own fields. Fields are found by the names that the Node package, the demo and most other engines
use; a row that lacks a time, a price or a side is left out and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from backtest_mongo.core.control_characters import escape_controls
from backtest_mongo.core.payload_fields import read_number, read_time
from backtest_mongo.core.wording import format_count
from backtest_mongo.market_data.plot_bars import Bars
from backtest_mongo.market_data.time_formats import format_utc
from backtest_mongo.types import Payload

__all__ = ["EVEN", "EXITS", "LOSS", "PROFIT", "Line", "Mark", "Overlay", "Trade", "build_overlay", "read_trades"]

PROFIT, LOSS, EVEN = EXITS = ("profit", "loss", "break-even")

_OPENED: Final = ("pendingAt", "openedAt", "openTimestamp", "scheduledAt", "timestamp", "createdAt")
_CLOSED: Final = ("closedAt", "closeTimestamp", "closedTimestamp")
#: ``currentPrice`` of a closed signal is the price at its close; ``pnl.priceClose`` includes costs.
_EXIT_PRICES: Final = ("priceClose", "closePrice", "currentPrice")
_RESULTS: Final = ("pnl", "profit", "pnlCost", "pnlPercentage")
_UNFILLED: Final = ("scheduled", "cancelled")


@dataclass(frozen=True, kw_only=True)
class Trade:
    """One position, open or closed. Times are milliseconds; ``result`` is in the engine's unit."""

    name: str
    side: str
    opened: int
    entry: float
    stop: float | None = None
    target: float | None = None
    closed: int | None = None
    exit: float | None = None
    result: float | None = None
    percent: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Mark:
    """A mark at a bar and a price: ``kind`` is ``long``, ``short`` or one of :data:`EXITS`."""

    bar: int
    price: float
    kind: str
    trade: Trade

    def row(self, digits: int) -> dict[str, Any]:
        """Return the data of a chart: the mark's position, and the details of its trade."""
        trade = self.trade
        details = {
            "signal": escape_controls(trade.name),
            "side": trade.side,
            "time": format_utc(trade.opened if self.kind == trade.side else trade.closed or 0),
            "stop": "" if trade.stop is None else f"{trade.stop:,.{digits}f}",
            "target": "" if trade.target is None else f"{trade.target:,.{digits}f}",
            "result": "" if trade.result is None else f"{trade.result:+,.2f}{' %' if trade.percent else ''}",
            "reason": escape_controls(trade.reason),
        }
        tip = {"long": 1, "short": -1}.get(self.kind, 0)
        return {"bar": self.bar, "price": self.price, "kind": self.kind, "tip": tip, **details}


@dataclass(frozen=True)
class Line:
    """A line between two bars: ``kind`` is ``stop``, ``target``, or ``entry to exit``."""

    kind: str
    bar: int
    price: float
    last_bar: int
    last_price: float


@dataclass
class Overlay:
    """Everything drawn over the candles; ``left_out`` counts the rows that are not drawn, by reason."""

    trades: list[Trade] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    #: How many exits are drawn at a price that their row does not have.
    assumed: int = 0

    def summarize(self) -> str:
        """Return one line about what is drawn, and what is not."""
        sides = Counter(trade.side for trade in self.trades)
        exits = Counter(mark.kind for mark in self.marks)
        counts = [f"{sides[side]} {side}" for side in ("long", "short")]
        counts += [f"{exits[kind]} closed {'at' if kind == EVEN else 'with'} {kind}" for kind in EXITS if exits[kind]]
        parts = [", ".join(counts)]
        if self.left_out:
            parts.append("left out: " + ", ".join(f"{count} {why}" for why, count in sorted(self.left_out.items())))
        if self.assumed:
            exits_drawn = format_count(self.assumed, "exit")
            parts.append(f"{exits_drawn} without a price, drawn at the stop, the target or the candle's close")
        return "; ".join(parts)


def read_trades(
    rows: Iterable[Payload], pending: Payload | None, bars: Bars, left_out: Counter[str], **context: str
) -> Iterator[Trade]:
    """Yield the trades in the range of ``bars``, from stored rows whose fields don't contradict ``context``.

    Args:
        rows: the rows of the storage slot.
        pending: the open position in the signal slot, which counts if it is not among the rows.
        bars: the bars of the chart.
        left_out: receives the number of rows that are not trades, by reason.
        context: fields that a row must not contradict.
    """
    known = set()
    for row in rows:
        if all(row.get(name, value) == value for name, value in context.items()):
            known.add(str(row.get("id")))
            yield from _trade(row, bars, left_out)
    if pending is not None and ("id" not in pending or str(pending["id"]) not in known):
        yield from _trade(pending, bars, left_out)


def _trade(row: Payload, bars: Bars, left_out: Counter[str]) -> Iterator[Trade]:
    status, side = str(row.get("status", "")), row.get("position")
    opened, entry = read_time(row, *_OPENED), read_number(row, "priceOpen")
    closed = read_time(row, *_CLOSED) or (read_time(row, "updatedAt") if status in ("closed", "cancelled") else None)
    if opened is not None and (opened >= bars.end or (closed is not None and closed < bars.times[0])):
        return
    if status in _UNFILLED:
        left_out["not filled"] += 1
    elif side not in ("long", "short"):
        left_out["without a side"] += 1
    elif opened is None:
        left_out["without a time"] += 1
    elif entry is None:
        left_out["without a price"] += 1
    else:
        more: dict[str, Any] = {}
        if status == "closed" and closed is None:
            # Without an end, stop and target can't be drawn either.
            left_out["exit without a time"] += 1
        else:
            more = {"stop": read_number(row, "priceStopLoss"), "target": read_number(row, "priceTakeProfit")}
        if closed is not None and status != "opened":
            result, percent = _result(row)
            reason = str(row.get("closeReason") or "")
            more |= {"closed": closed, "exit": _exit(row), "result": result, "percent": percent, "reason": reason}
        yield Trade(name=str(row.get("id", "")), side=str(side), opened=opened, entry=entry, **more)


def build_overlay(trades: Iterable[Trade], stored: Bars, bars: Bars, left_out: Counter[str]) -> Overlay:
    """Return what to draw over ``bars``, which are the ``stored`` candles or merged from them.

    An exit whose price is unknown is drawn at the stop or the target if that is its reason, otherwise at the candle's
    close.
    """
    found = Overlay(left_out=left_out)
    for trade in sorted(trades, key=lambda trade: trade.opened):
        found.trades.append(trade)
        start, stop = bars.at(trade.opened), None if trade.closed is None else bars.at(trade.closed)
        first, last = (0 if start is None else start), (len(bars) - 1 if stop is None else stop)
        if start is not None:
            found.marks.append(Mark(start, trade.entry, trade.side, trade))
        if stop is not None:
            price = trade.exit
            if price is None:
                price = _assumed(trade, stored)
                found.assumed += 1
            found.marks.append(Mark(stop, price, _outcome(trade, price), trade))
            if start is not None:
                found.lines.append(Line("entry to exit", start, trade.entry, stop, price))
        for kind, level in (("stop", trade.stop), ("target", trade.target)):
            if level is not None:
                found.lines.append(Line(kind, first, level, last, level))
    return found


def _assumed(trade: Trade, stored: Bars) -> float:
    for word, level in (("stop", trade.stop), ("take", trade.target), ("target", trade.target)):
        if word in trade.reason.lower() and level is not None:
            return level
    candle = stored.at(trade.closed or 0)
    return float(stored.columns["close"][-1 if candle is None else candle])


def _outcome(trade: Trade, price: float) -> str:
    gain = trade.result
    if gain is None:
        gain = (price - trade.entry) * (1 if trade.side == "long" else -1)
    return PROFIT if gain > 0 else LOSS if gain < 0 else EVEN


def _exit(row: Payload) -> float | None:
    for name in _EXIT_PRICES:
        if (price := read_number(row, name)) is not None:
            return price
    result = row.get("pnl")
    return read_number(result, "priceClose") if isinstance(result, Mapping) else None


def _result(row: Payload) -> tuple[float | None, bool]:
    nested = row.get("pnl")
    for source in (nested, row) if isinstance(nested, Mapping) else (row,):
        for name in _RESULTS:
            if (value := read_number(source, name)) is not None:
                return value, name == "pnlPercentage"
    return None, False
