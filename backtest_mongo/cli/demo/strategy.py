"""The demo's strategy, an example of one that is written for the engine: a crossover of two moving averages.

It decides by the candles that it is given and by slots of its own, each used for what it is for:

* *dictionary*: parameters, which an operator may change; every crossing reads them.
* *measure*: a day's volatility, which whoever needs it first computes.
* *interval*: which days were reported, so that each is reported once.
* *memory*: notes on closed trades; the next order looks at the last ones.
* *state*: for how many bars a signal has been losing.
"""

from __future__ import annotations

from asyncio import gather
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING, Any, Final

from backtest_mongo import persist
from backtest_mongo.cli.demo.engine import Bar, Decision, Engine, Order, Strategy
from backtest_mongo.cli.demo.market import EXCHANGE, INTERVAL, SYMBOL, day_of
from backtest_mongo.types import Candle, Payload

if TYPE_CHECKING:
    from backtest_mongo import (
        DictionaryAdapter,
        IntervalAdapter,
        MeasureAdapter,
        MemoryAdapter,
        NotificationAdapter,
        StorageAdapter,
    )

__all__ = ["CURVE", "FRAME", "STRATEGY", "CrossoverStrategy", "Parameters", "make_engine"]

STRATEGY: Final = "crossover-demo"
FRAME: Final = "2017-hourly"
#: The context of the equity.
CURVE: Final = (STRATEGY, EXCHANGE, FRAME, SYMBOL, True)
#: The candles of both averages.
_FAST: Final = 12
_SLOW: Final = 36
#: Notes that are kept, and how many of them a signal looks at.
_NOTES: Final = 20
_NOTES_READ: Final = 4
#: How many bars in a row a position may be losing.
_PATIENCE: Final = 48


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What can be tuned. Distances are multiples of the average true range."""

    discount: float = 0.25
    stop: float = 2.5
    target: float = 5.0
    #: The part of the account that a stop may cost.
    risk: float = 0.01


class CrossoverStrategy(Strategy):
    """Is long while the fast average is above the slow one, and short while it is below."""

    name = STRATEGY
    #: A day, and the slow average before it.
    window = 24 + _SLOW + 1

    def __init__(self) -> None:
        self.parameters: DictionaryAdapter = persist.dictionary(STRATEGY, "parameters")
        self.volatility: MeasureAdapter = persist.measure(f"volatility-{SYMBOL}")
        self.reports: IntervalAdapter = persist.interval(f"daily-report-{SYMBOL}")
        self.notes: MemoryAdapter = persist.memory(STRATEGY, "closed-trades")
        self.notifications: NotificationAdapter = persist.notification(backtest=True)
        self.signals: StorageAdapter = persist.storage(backtest=True)

    async def decide(self, bar: Bar) -> Decision:
        """Follow a crossing of the averages; close a position that has been losing for too long."""
        days = [day_of(candle["timestamp"]) for candle in bar.candles[-2:]]
        if len({*days}) != 1 or len(days) == 1:
            await self.begin_day(bar, days)
        side = _find_crossing(bar.candles)
        if side is None:
            return "close" if bar.signal is not None and await self.is_lost(bar.signal, bar) else None
        order = await self.make_order(bar, side)
        return "close" if order is None else order

    async def make_order(self, bar: Bar, side: str) -> Order | None:
        """Return a limit order that would lose ``risk`` at its stop, half of it if the side's last trades all lost."""
        stored, volatility, notes = await gather(
            self.parameters.read_dictionary_data(bar.now), self.read_volatility(bar), self.list_notes()
        )
        if volatility is None:
            return None
        rules = Parameters(**(stored or {}).get("data", {}))
        sign = 1 if side == "long" else -1
        price = bar.candles[-1]["close"] - sign * rules.discount * volatility
        profits = [note["data"]["profit"] for _, note in notes[-_NOTES_READ:] if note["data"]["position"] == side]
        share = 0.5 if profits and max(profits) < 0 else 1.0
        return Order(
            position="long" if side == "long" else "short",
            priceOpen=price,
            priceStopLoss=price - sign * rules.stop * volatility,
            priceTakeProfit=price + sign * rules.target * volatility,
            cost=round(share * rules.risk * bar.balance * price / (rules.stop * volatility), 2),
            note=f"the averages crossed, at {share:.0%} of the risk",
        )

    async def read_volatility(self, bar: Bar) -> float | None:
        """Return the average true range before this day; the first caller computes it for every later process."""
        day = day_of(bar.candles[-1]["timestamp"])
        known = await self.volatility.read_measure_data(day)
        if known is None:
            before = [candle for candle in bar.candles if day_of(candle["timestamp"]) != day][-_SLOW:]
            # Too short a history is an answer too.
            answer = {"averageTrueRange": _true_range(before) if len(before) == _SLOW else None}
            known = {"id": day, "data": answer, "removed": False}
            await self.volatility.write_measure_data(known, day)
        value: float | None = known["data"]["averageTrueRange"]
        return value

    async def is_lost(self, signal: Payload, bar: Bar) -> bool:
        """Count the bars in a row in which a position has been losing; return whether there were too many."""
        state = persist.state(signal["id"], "losing-bars")
        known = (await state.read_state_data() or {"data": {"bars": 0}})["data"]["bars"]
        ahead = bar.candles[-1]["close"] > signal["priceOpen"]
        bars = 0 if ahead == (signal["position"] == "long") else known + 1
        if bars != known:
            await state.write_state_data({"id": f"{signal['id']}_losing-bars", "data": {"bars": bars}, "when": bar.now})
        return bars >= _PATIENCE

    async def begin_day(self, bar: Bar, days: Sequence[str]) -> None:
        """Store the parameters if there are none, and report on the day before, once."""
        if await self.parameters.read_dictionary_data() is None:
            row = {"id": f"{STRATEGY}_parameters", "data": asdict(Parameters()), "when": bar.now}
            await self.parameters.write_dictionary_data(row)
        yesterday, today = days[0], days[-1]
        if yesterday == today or await self.reports.read_interval_data(today) is not None:
            return
        closed = [
            row["pnl"]["pnlCost"]
            for row in await self.signals.read_storage_data()
            if row["strategyName"] == STRATEGY and row["status"] == "closed" and _closed_on(row, yesterday)
        ]
        text = f"{yesterday}: {len(closed)} closed, {sum(closed):+.2f}"
        whose = {"strategyName": STRATEGY, "exchangeName": EXCHANGE, "symbol": SYMBOL, "backtest": True}
        report = {"id": f"{STRATEGY}-report-{yesterday}", "type": "report", "timestamp": bar.now, **whose}
        await self.notifications.write_notification_data([{**report, "createdAt": bar.now, "message": text}])
        done = {"id": today, "data": {"report": report["id"]}, "when": datetime.fromtimestamp(bar.now / 1000, UTC)}
        await self.reports.write_interval_data({**done, "removed": False}, today, bar.now)

    async def on_closed(self, closed: Payload, now: int) -> None:
        """Take a note of a closed trade, remove the oldest note, and let the registry forget the trade's own slot."""
        data = {"position": closed["position"], "profit": closed["pnl"]["pnlCost"], "reason": closed["closeReason"]}
        note = {"data": data, "priority": now, "removed": False, "index": closed["closeReason"], "when": now}
        await self.notes.write_memory_data(note, closed["id"])
        for name, _ in (await self.list_notes())[:-_NOTES]:
            await self.notes.remove_memory_data(name)
        persist.state(closed["id"], "losing-bars").dispose()

    async def list_notes(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the notes, oldest first: their names end with the time of the signal."""
        return [note async for note in self.notes.list_memory_data()]


def make_engine() -> Engine:
    """Return the engine that trades this strategy on the demo's market."""
    return Engine(CrossoverStrategy(), SYMBOL, INTERVAL, EXCHANGE, FRAME, costs=0.00003, wait_minutes=6 * 60)


def _find_crossing(candles: Sequence[Candle]) -> str | None:
    """Return the side to which the averages have crossed in the last bar."""
    closes = [candle["close"] for candle in candles[-_SLOW - 1 :]]
    if len(closes) <= _SLOW:
        return None
    is_above = [fmean(part[-_FAST:]) > fmean(part[-_SLOW:]) for part in (closes[:-1], closes)]
    return None if is_above[0] == is_above[1] else "long" if is_above[1] else "short"


def _true_range(candles: Sequence[Candle]) -> float:
    """Return the average true range of candles; the first one only gives the previous close."""
    return fmean(
        max(candle["high"], before["close"]) - min(candle["low"], before["close"])
        for before, candle in pairwise(candles)
    )


def _closed_on(row: Payload, day: str) -> bool:
    return day_of(row["closeTimestamp"] - 1) == day
