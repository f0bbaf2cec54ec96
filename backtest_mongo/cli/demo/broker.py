"""The engine's broker: fills, stops, targets and risk on closed candles, and the slots that show them to others.

Its methods are called within a bar's transaction: they read back what they have written, and nobody else sees it before
the bar is committed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from backtest_mongo import persist
from backtest_mongo.cli.demo.signals import (
    IDLE,
    MINUTE,
    describe,
    find_exit,
    find_levels,
    is_filled,
    make_log_entry,
    make_notification,
    make_point,
    make_position,
    make_rejection,
    make_stored,
    name_position,
    take_half,
)
from backtest_mongo.types import LATEST, Candle, Payload, Versioned

if TYPE_CHECKING:
    from backtest_mongo import (
        BreakevenAdapter,
        LogAdapter,
        NotificationAdapter,
        PartialAdapter,
        RecentAdapter,
        RiskAdapter,
        ScheduleAdapter,
        SignalAdapter,
        StorageAdapter,
        StrategyAdapter,
    )

__all__ = ["Broker"]

#: What a signal is after an event; after all others it is open.
_STATUS: Final = {"signal.scheduled": "scheduled", "signal.cancelled": "cancelled", "signal.closed": "closed"}


class Broker:
    """Keeps the signal of one strategy in one symbol.

    Args:
        context: the names that every signal carries: symbol, exchange, strategy and frame.
        backtest: whether this is a backtest.
        costs: what each side of a trade costs, as a part of its price.
        wait_minutes: how long a signal waits for its price.
        risk: the name of the risk profile, which strategies may share; the strategy's own by default.
        positions: how many positions the risk profile may have open.
        losses: after so many losing trades in a row nothing is opened for a while.
        pause_minutes: how long that is.
    """

    def __init__(
        self,
        context: Mapping[str, str],
        *,
        backtest: bool = True,
        costs: float = 0.002,
        wait_minutes: int = 120,
        risk: str | None = None,
        positions: int = 1,
        losses: int = 4,
        pause_minutes: int = 1440,
    ) -> None:
        symbol, exchange = context["symbol"], context["exchangeName"]
        strategy, frame = context["strategyName"], context["frameName"]
        self.context: Mapping[str, str] = context
        self.backtest: bool = backtest
        self.costs: float = costs
        self.wait_minutes: int = wait_minutes
        self.positions: int = positions
        self.losses: int = losses
        self.pause_minutes: int = pause_minutes
        self.signal: SignalAdapter = persist.signal(symbol, strategy, exchange)
        self.schedule: ScheduleAdapter = persist.schedule(symbol, strategy, exchange)
        self.control: StrategyAdapter = persist.strategy(symbol, strategy, exchange)
        self.partial: PartialAdapter = persist.partial(symbol, strategy, exchange)
        self.breakeven: BreakevenAdapter = persist.breakeven(symbol, strategy, exchange)
        self.recent: RecentAdapter = persist.recent(symbol, strategy, exchange, frame, backtest)
        self.risk: RiskAdapter = persist.risk(risk or strategy, exchange)
        self.signals: StorageAdapter = persist.storage(backtest)
        self.notifications: NotificationAdapter = persist.notification(backtest)
        self.log: LogAdapter = persist.log()
        #: The positions of the risk profile as this bar has read them, and whether it has changed its own.
        self.known_risk: Versioned[list[Any]] | None = None
        self.is_changed: bool = False

    # What a candle does

    async def on_candle(self, candle: Candle, now: int) -> Payload | None:
        """Let a closed candle fill and close signals; return what is stored of a position that it has closed."""
        self.known_risk, self.is_changed = None, False
        is_entry_bar = await self.fill(candle, now)
        signal = await self.signal.read_signal_data()
        if signal is None:
            return None
        if (end := find_exit(signal, candle, now, is_entry_bar=is_entry_bar)) is not None:
            return await self.close(signal, *end, now)
        if not is_entry_bar:
            await self.follow(signal, candle, now)
        return None

    async def fill(self, candle: Candle, now: int) -> bool:
        """Open the waiting signal if the candle reaches its price, or cancel it; return whether it was opened."""
        waiting = await self.schedule.read_schedule_data()
        if waiting is None:
            return False
        is_due, opened = is_filled(waiting, candle), {**waiting, "pendingAt": now, "_isScheduled": False}
        if is_due and await self.open(opened, waiting["priceOpen"], now):
            await self.schedule.write_schedule_data(None)
            return True
        if is_due or now - waiting["scheduledAt"] >= self.wait_minutes * MINUTE:
            await self.cancel(waiting, candle["close"], now)
        return False

    async def follow(self, signal: Payload, candle: Candle, now: int) -> None:
        """Store how far a position got. Halfway to the target, half of it is closed and the stop moves to the entry."""
        name, changed = signal["id"], dict(signal)
        known = (await self.partial.read_partial_data(name)).get(name)
        levels = find_levels(signal, candle, known)
        if levels != known:
            await self.partial.write_partial_data({name: levels}, name)
        if 50 in levels["profitLevels"] and not await self.breakeven.read_breakeven_data(name):
            changed |= take_half(signal, now)
            price = changed["_partial"][0]["currentPrice"]
            await self.breakeven.write_breakeven_data({name: {"reached": True}}, name)
            await self.publish("partial_profit.commit", changed, price, now, percentToClose=50)
            await self.publish("breakeven.commit", changed, price, now)
        point = make_point(changed, candle["close"], now, self.costs)
        if point["pnlCost"] > signal["_peak"]["pnlCost"]:
            changed["_peak"] = point
        if point["pnlCost"] < signal["_fall"]["pnlCost"]:
            changed["_fall"] = point
        if changed != signal:
            await self.signal.write_signal_data(changed)

    # What a decision does

    async def schedule_signal(self, signal: Payload, price: float, now: int) -> None:
        """Let a signal wait for its price, unless it is refused."""
        if not await self.refuse(signal, price, now):
            await self.schedule.write_schedule_data(signal)
            await self.publish("signal.scheduled", signal, price, now)

    async def open(self, signal: Payload, price: float, now: int) -> bool:
        """Open a position unless it is refused; return whether it is open."""
        if await self.refuse(signal, price, now):
            return False
        opened = {**signal, "_fall": make_point(signal, price, now, self.costs)}
        self.is_changed = True
        await self.signal.write_signal_data(opened)
        await self.change_control(pendingSignalId=signal["id"], lastPendingId=signal["id"])
        await self.publish("signal.opened", opened, price, now)
        return True

    async def close(self, signal: Payload, reason: str, price: float, now: int) -> Payload:
        """Close a position; return what is stored of it. Too many losses in a row pause the strategy."""
        self.is_changed = True
        await self.signal.write_signal_data(None)
        facts = {"closeReason": reason, "priceClose": price, "duration": (now - signal["pendingAt"]) // MINUTE}
        closed = await self.publish("signal.closed", signal, price, now, **facts)
        losses = (await self.read_control())["losses"] + 1 if closed["pnl"]["pnlCost"] < 0 else 0
        await self.change_control(pendingSignalId=None, losses=losses)
        if losses >= self.losses:
            await self.change_control(losses=0, isPaused=True, pausedUntil=now + self.pause_minutes * MINUTE)
        return closed

    async def cancel(self, waiting: Payload, price: float, now: int) -> None:
        """Cancel a waiting signal."""
        await self.schedule.write_schedule_data(None)
        await self.publish("signal.cancelled", waiting, price, now)

    # Risk

    async def refuse(self, signal: Payload, price: float, now: int) -> bool:
        """Return whether a signal can't be opened now, and say why: a pause, or a risk profile that is full."""
        control = await self.read_control()
        if control["isPaused"] and 0 < control["pausedUntil"] <= now:
            control = await self.change_control(isPaused=False, pausedUntil=0)
        others = [row for _, row in await self.read_other_positions() if row["openTimestamp"] <= now]
        if not control["isPaused"] and len(others) < self.positions:
            return False
        note = "the strategy is paused" if control["isPaused"] else "the risk profile is full"
        rejection = make_rejection(signal, note, len(others), price, now, backtest=self.backtest)
        await self.notifications.write_notification_data([rejection])
        await self.log.write_log_data([make_log_entry("risk.rejection", signal, price, now, backtest=self.backtest)])
        return True

    async def read_other_positions(self) -> list[Any]:
        """Return the positions of other strategies, or of this one in other symbols, as this bar has found them."""
        if self.known_risk is None:
            # Of any time: the position of a strategy that is ahead in simulation time must not be overwritten.
            self.known_risk = await self.risk.read_position_data(LATEST, with_version=True)
        return [pair for pair in self.known_risk.value if pair[0] != name_position(self.context)]

    async def update_risk(self, now: int) -> None:
        """Tell the risk profile about a position that this bar has opened or closed.

        The write expects what the bar has read. If another strategy has written meanwhile, the commit of the bar raises
        ``ConflictError``.
        """
        if self.is_changed:
            signal = await self.signal.read_signal_data()
            positions = await self.read_other_positions() + ([make_position(signal)] if signal else [])
            assert self.known_risk is not None  # for the type checker: it was just read
            await self.risk.write_position_data(positions, now, expect=self.known_risk.version)

    # What others see

    async def read_control(self) -> Payload:
        return await self.control.read_strategy_data() or IDLE

    async def change_control(self, **changes: Any) -> Payload:
        row = {**await self.read_control(), **changes}
        await self.control.write_strategy_data(row)
        return row

    async def publish(self, event: str, signal: Payload, price: float, now: int, **facts: Any) -> Payload:
        """Store a signal among all signals, notify of the event and log it; return the row of the signal."""
        shown = describe(signal, price, self.costs)
        row = make_stored(shown, _STATUS.get(event, "opened"), price, now, facts.get("closeReason"))
        await self.signals.write_storage_data([row])
        if signal["pendingAt"]:
            await self.recent.write_recent_data(shown, now)
        if event != "signal.cancelled":
            notification = make_notification(event, shown, price, now, backtest=self.backtest, **facts)
            await self.notifications.write_notification_data([notification])
        await self.log.write_log_data([make_log_entry(event, signal, price, now, backtest=self.backtest)])
        return row
