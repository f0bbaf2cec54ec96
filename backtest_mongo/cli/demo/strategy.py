"""The strategy: the example to read. It talks to ``persist`` alone and never learns where its rows are.

A bar is one transaction, so a process that is killed leaves the whole bar or nothing of it:

* The *state* slot holds the checkpoint: the whole book. It alone decides what the next bar does.
* *Signal, schedule, strategy, risk, recent* and *session* show parts of the book to others: risk desks, dashboards,
  other engines. They never see one that does not fit the others.
* Every other row is about one trade or one day.
* The *equity* slot has a row per bar. Series are no part of transactions: the row is stored before the bar is
  committed, and if the bar is lost, the next process trades it again and replaces the row by an equal one.

Who runs it leases what is the strategy's own, :attr:`CrossoverStrategy.own`, so that no second process trades beside
it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from copy import copy
from dataclasses import asdict
from typing import Any, Final

from backtest_mongo import EquityAdapter, persist, transaction
from backtest_mongo.cli.demo.market import EXCHANGE, INTERVAL, SYMBOL, day_of, read_bars
from backtest_mongo.cli.demo.rules import STRATEGY, Book, Event, Parameters, Side, Trade, true_range
from backtest_mongo.contracts import (
    BreakevenContract,
    CandleContract,
    DictionaryContract,
    IntervalContract,
    LogContract,
    MeasureContract,
    MemoryContract,
    NotificationContract,
    PartialContract,
    RecentContract,
    RiskContract,
    ScheduleContract,
    SessionContract,
    SignalContract,
    StateContract,
    StorageContract,
    StrategyContract,
)

__all__ = ["CURVE", "CrossoverStrategy"]

FRAME: Final = "2017-hourly"
#: The context of the equity.
CURVE: Final = (STRATEGY, EXCHANGE, FRAME, SYMBOL, True)
#: Notes on closed trades that are kept, and how many of them an entry looks at.
NOTES: Final = 20
NOTES_READ: Final = 4
#: Events that are worth a notification; all of them are logged.
NOTIFIED: Final = ("opened", "closed", "paused")


class CrossoverStrategy:
    """A moving-average crossover on hourly candles, bar by bar.

    Args:
        calendar: the open times of the market's bars, in milliseconds. Prices come from the candle slot.
    """

    def __init__(self, calendar: Sequence[int]) -> None:
        self.calendar = calendar
        self.book: Book = Book()
        self.rules: Parameters = Parameters()
        self.candles: CandleContract = persist.candle(SYMBOL, INTERVAL, EXCHANGE)
        self.state: StateContract = persist.state(STRATEGY, "checkpoint")
        self.signal: SignalContract = persist.signal(SYMBOL, STRATEGY, EXCHANGE)
        self.schedule: ScheduleContract = persist.schedule(SYMBOL, STRATEGY, EXCHANGE)
        self.strategy: StrategyContract = persist.strategy(SYMBOL, STRATEGY, EXCHANGE)
        self.risk: RiskContract = persist.risk(STRATEGY, EXCHANGE)
        self.recent: RecentContract = persist.recent(SYMBOL, STRATEGY, EXCHANGE, FRAME, backtest=True)
        self.session: SessionContract = persist.session(STRATEGY, EXCHANGE, FRAME, SYMBOL, backtest=True)
        self.partial: PartialContract = persist.partial(SYMBOL, STRATEGY, EXCHANGE)
        self.breakeven: BreakevenContract = persist.breakeven(SYMBOL, STRATEGY, EXCHANGE)
        self.trades: StorageContract = persist.storage(backtest=True)
        self.notes: MemoryContract = persist.memory(STRATEGY, "closed-trades")
        self.parameters: DictionaryContract = persist.dictionary(STRATEGY, "parameters")
        self.volatility: MeasureContract = persist.measure(f"volatility-{SYMBOL}")
        self.reports: IntervalContract = persist.interval(f"daily-report-{SYMBOL}")
        self.notifications: NotificationContract = persist.notification(backtest=True)
        self.log: LogContract = persist.log()
        self.curve: EquityAdapter = persist.equity(*CURVE)

    @property
    def own(self) -> tuple[object, ...]:
        """What no other process may write while this strategy trades.

        Others may write the rest: a risk desk positions, an operator parameters.
        """
        return (
            self.state,
            self.signal,
            self.schedule,
            self.strategy,
            self.recent,
            self.session,
            self.partial,
            self.breakeven,
            self.notes,
        )

    async def resume(self) -> list[str]:
        """Go back to the checkpoint; return the slots with rows that don't fit it, of which there are none."""
        checkpoint, parameters = await asyncio.gather(
            self.state.read_state_data(), self.parameters.read_dictionary_data()
        )
        if parameters is None:
            await self.parameters.write_dictionary_data(asdict(self.rules), self.calendar[0])
        else:
            self.rules = Parameters(**parameters)
        if checkpoint is not None:
            self.book = Book(**checkpoint)
        stored = {
            "signal": await self.signal.read_signal_data(),
            "schedule": await self.schedule.read_schedule_data(),
            "strategy": await self.strategy.read_strategy_data(),
            "risk": await self.risk.read_position_data(),
            "recent": await self.recent.read_recent_data(),
            "session": await self.session.read_session_data(),
        }
        torn = [slot for slot, view in self.views(self.book).items() if stored[slot] != view]
        if checkpoint is not None:
            # The curve may be a bar ahead.
            row = await self.curve.read_asof(self.book.time)
            if row is None or (row["timestamp"], row["cash"]) != (self.book.time, self.book.equity):
                torn.append("equity")
        return torn

    async def on_bar(self, bar: int) -> None:
        """Trade a bar that has just closed.

        Unless it returns, nothing of the bar is stored, or it is unknown whether all of it is: resume, then.
        """
        async with transaction(when=self.calendar[bar]):
            await self.trade_bar(bar)

    async def trade_bar(self, bar: int) -> None:
        """Read what the bar depends on, and write all that it changes."""
        now = self.calendar[bar]
        before = copy(self.book)
        if self.book.session.get("day") != day_of(now):
            await self.new_day(bar)
        window = await read_bars(self.candles, self.calendar[max(0, bar + 1 - self.rules.slow) : bar + 1])
        candle = window[-1]
        self.book.open_bar(bar, candle)
        events = self.book.manage(candle, self.rules)
        side = self.book.follow(window, self.rules)
        if side:
            events += self.book.turn(candle, side, self.rules)
            volatility, share = await asyncio.gather(self.daily_volatility(bar), self.share_of_risk(bar, side))
            if volatility is not None and share:
                events += self.book.enter(candle, side, volatility, share, self.rules)
        await self.publish(before, events, bar)
        await asyncio.gather(
            self.state.write_state_data(vars(self.book), now), self.curve.append([self.book.mark(candle)])
        )

    async def new_day(self, bar: int) -> None:
        """Adopt changed parameters, and report once on the day before."""
        now = self.calendar[bar]
        day, yesterday = day_of(now), day_of(self.calendar[max(0, bar - 1)])
        parameters, reported, trades = await asyncio.gather(
            self.parameters.read_dictionary_data(now),
            self.reports.read_interval_data(day, now),
            self.trades.read_storage_data(),
        )
        self.rules = Parameters(**(parameters or {}))
        if bar == 0 or reported:
            return
        closed = [trade for trade in trades if trade["status"] == "closed" and day_of(trade["closedAt"]) == yesterday]
        text = f"{yesterday}: {len(closed)} closed, {sum(trade['profit'] for trade in closed):+.2f}"
        report = {"id": f"report-{yesterday}", "type": "report", "createdAt": now, "message": text}
        await self.notifications.write_notification_data([report])
        await self.reports.write_interval_data({"report": report["id"]}, day, now)

    async def daily_volatility(self, bar: int) -> float | None:
        """Return the average true range before this day; the first caller computes it for every later process."""
        now = self.calendar[bar]
        known = await self.volatility.read_measure_data(day_of(now))
        if known is None:
            first = bar
            while first > 0 and day_of(self.calendar[first - 1]) == day_of(now):
                first -= 1
            history = self.calendar[max(0, first - self.rules.slow) : first]
            enough = len(history) == self.rules.slow
            # Too short a history is an answer too, and null can be stored.
            known = {"averageTrueRange": true_range(await read_bars(self.candles, history)) if enough else None}
            await self.volatility.write_measure_data(known, day_of(now), now)
        value: float | None = known["averageTrueRange"]
        return value

    async def share_of_risk(self, bar: int, side: Side) -> float:
        """Return the share of the usual risk to take.

        It is a half on a side whose latest trades all lost, and 0 if another strategy has a position in the symbol.
        """
        positions, notes = await asyncio.gather(
            self.risk.read_position_data(self.calendar[bar]), self.earlier_notes(bar)
        )
        if any(row["symbol"] == SYMBOL and row["strategyName"] != STRATEGY for row in positions):
            return 0.0
        profits = [note["profit"] for _, note in notes[-NOTES_READ:] if note["position"] == side]
        return 0.5 if profits and max(profits) < 0 else 1.0

    async def earlier_notes(self, bar: int) -> list[tuple[str, dict[str, Any]]]:
        return [row async for row in self.notes.list_memory_data(when=self.calendar[max(0, bar - 1)])]

    def views(self, book: Book) -> dict[str, Any]:
        """Return what others see of a book, by slot."""
        paused = book.paused_until > book.time
        return {
            "signal": book.position,
            "schedule": book.order,
            "strategy": {"status": "paused", "pausedUntil": book.paused_until} if paused else None,
            "risk": [book.position] if book.position else [],
            "recent": book.last,
            "session": book.session or None,
        }

    async def publish(self, before: Book, events: Sequence[Event], bar: int) -> None:
        """Write what a bar has changed. Nobody sees any of it before the end of the transaction."""
        now = self.calendar[bar]
        old, new = self.views(before), self.views(self.book)
        views: dict[str, Any] = {
            "signal": self.signal.write_signal_data,
            "schedule": self.schedule.write_schedule_data,
            "strategy": self.strategy.write_strategy_data,
            "risk": lambda row: self.risk.write_position_data(row, now),
            "recent": lambda row: self.recent.write_recent_data(row, now),
            "session": lambda row: self.session.write_session_data(row, now),
        }
        writes: list[Awaitable[Any]] = [write(new[slot]) for slot, write in views.items() if new[slot] != old[slot]]
        if events:
            # By id: of a trade that changes twice in a bar the last state counts.
            trades = {event.trade["id"]: event.trade for event in events}
            writes += [self.write_progress(trade, events, now) for trade in trades.values()]
            writes.append(self.trades.write_storage_data(list(trades.values())))
            writes.append(self.log.write_log_data([_row(event, now) for event in events]))
            notified = [_row(event, now) for event in events if event.kind in NOTIFIED]
            writes.append(self.notifications.write_notification_data(notified))
        await asyncio.gather(*writes)
        for event in events:
            if event.kind == "closed":
                await self.write_note(event.trade, bar)

    async def write_progress(self, trade: Trade, events: Sequence[Event], now: int) -> None:
        """Store the profit levels that a trade has reached, and that its stop is at breakeven."""
        kinds = {event.kind for event in events if event.trade["id"] == trade["id"]}
        if "level" in kinds:
            await self.partial.write_partial_data({"levels": trade["levels"], "time": now}, trade["id"], now)
        if "breakeven" in kinds:
            await self.breakeven.write_breakeven_data({"reached": True, "time": now}, trade["id"], now)

    async def write_note(self, trade: Trade, bar: int) -> None:
        """Remember a closed trade, with what was stored about its course, and forget the oldest notes."""
        now = self.calendar[bar]
        notes, partial, breakeven = await asyncio.gather(
            self.earlier_notes(bar),
            self.partial.read_partial_data(trade["id"], now),
            self.breakeven.read_breakeven_data(trade["id"], now),
        )
        note = {
            "position": trade["position"],
            "profit": trade["profit"],
            "levels": partial.get("levels", 0),
            "breakeven": breakeven.get("reached", False),
            "reason": trade["closeReason"],
        }
        forgotten = [name for name, _ in notes[: -(NOTES - 1)]]
        await asyncio.gather(
            self.notes.write_memory_data(note, trade["id"], now),
            *(self.notes.remove_memory_data(name) for name in forgotten),
        )

    def dispose(self) -> None:
        """Let the registry forget the instances that belong to this strategy's own buckets."""
        for slot in (self.state, self.parameters, self.notes, self.session):
            slot.dispose()


def _row(event: Event, now: int) -> dict[str, Any]:
    trade = event.trade
    return {
        "id": f"{trade['id']}-{event.kind}-{trade['levels']}",
        "type": event.kind,
        "createdAt": now,
        "message": f"{trade['id']} {event.kind}: {event.text}",
    }
