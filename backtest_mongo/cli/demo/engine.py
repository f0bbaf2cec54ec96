"""A trading engine on this store: "Write your own engine on this store" in the documentation explains it.

It trades closed candles, one transaction per bar, and keeps all its state in slots. A killed process leaves only whole
bars, and the next one resumes with the bar after them. The end state is that of an undisturbed run, provided that the
strategy decides only by what it is given and what it has stored.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from backtest_mongo import ConflictError, as_of, lease, persist, transaction
from backtest_mongo.cli.demo.broker import Broker
from backtest_mongo.cli.demo.signals import Order, make_equity, make_signal
from backtest_mongo.cli.demo.windows import read_candles, read_last
from backtest_mongo.types import INTERVAL_MS, Candle, Interval, Payload

if TYPE_CHECKING:
    from backtest_mongo import CandleAdapter, EquityAdapter, SessionAdapter

__all__ = ["Bar", "Decision", "Engine", "Order", "Strategy"]

#: How many candles the clock reads at a time.
_PAGE: Final = 1000


@dataclass(frozen=True, kw_only=True)
class Bar:
    """What a strategy knows when a bar has closed, and nothing of what comes after.

    Attributes:
        now: when the bar closed, in milliseconds since the epoch: the simulation time.
        candles: the last closed candles in the order of time, the bar's own last. Missing ones are left out.
        signal: the open position.
        waiting: the signal that waits for its price.
        balance: the money in the account, without what an open position has made.
    """

    now: int
    candles: Sequence[Candle]
    signal: Payload | None
    waiting: Payload | None
    balance: float


#: An order replaces what is open and what waits, ``close`` ends both, ``None`` leaves them.
Decision: TypeAlias = Order | Literal["close"] | None


class Strategy(ABC):
    """What decides. Slots of its own that it writes are part of the bar's transaction.

    Attributes:
        name: its name, which is part of the context of most slots.
        window: how many candles it is given at most.
    """

    name: str
    window: int

    @abstractmethod
    async def decide(self, bar: Bar) -> Decision:
        """Decide what to do at the close of a bar."""

    async def on_closed(self, closed: Payload, now: int) -> None:  # noqa: B027  # most strategies take no note
        """Take note of a position that was closed; ``closed`` is its row in the storage slot."""


class Engine:
    """Trades one strategy on the stored candles of one symbol.

    Args:
        strategy: what decides.
        symbol: the market's symbol, such as ``BTCUSDT``.
        interval: the interval of the candles, one of ``backtest_mongo.types.INTERVAL_MS``.
        exchange: the name of the exchange.
        frame: the name of the backtest; a live run has none.
        backtest: whether this is a backtest.
        balance: the money at the beginning.
        rules: the arguments of :class:`~backtest_mongo.cli.demo.broker.Broker`: costs, risk, pauses.
    """

    def __init__(
        self,
        strategy: Strategy,
        symbol: str,
        interval: Interval,
        exchange: str,
        frame: str = "",
        *,
        backtest: bool = True,
        balance: float = 10_000.0,
        **rules: Any,
    ) -> None:
        names = {"symbol": symbol, "exchangeName": exchange, "strategyName": strategy.name, "frameName": frame}
        self.strategy: Strategy = strategy
        self.symbol: str = symbol
        self.interval: Interval = interval
        self.length: int = INTERVAL_MS[interval]
        self.context: dict[str, str] = names
        self.run_context: tuple[str, str, str, str, bool] = (strategy.name, exchange, frame, symbol, backtest)
        self.broker: Broker = Broker(self.context, backtest=backtest, **rules)
        self.initial_balance: float = balance
        self.candles: CandleAdapter = persist.candle(symbol, interval, exchange)
        self.session: SessionAdapter = persist.session(*self.run_context)
        self.equity: EquityAdapter = persist.equity(*self.run_context)
        #: The data of the session: the open time of the last bar, the number of bars, the money.
        self.progress: dict[str, Any] = {"time": None, "bars": 0, "balance": balance}
        self.window: deque[Candle] = deque(maxlen=strategy.window)

    @property
    def session_id(self) -> str:
        """The ``id`` of the session's row, in the form that the Node engine gives it."""
        kind = "backtest" if self.run_context[-1] else "live"
        names = (self.symbol, self.strategy.name, self.context["exchangeName"], self.context["frameName"], kind)
        return ":".join(name for name in names if name)

    @property
    def owned(self) -> tuple[Any, ...]:
        """What no other process may write while this one trades; the risk profile and the lists are shared."""
        broker = self.broker
        return (
            *(self.session, broker.signal, broker.schedule, broker.control),
            *(broker.partial, broker.breakeven, broker.recent),
        )

    async def run(self, *, ttl: float = 30.0, wait: float = 0.0) -> None:
        """Trade the stored candles from the bar after the last one on, as the only process that does.

        Raises:
            LeaseHeldError: another process still trades after ``wait`` seconds.
            LeaseLostError: another process has taken over; what is stored is whole.
        """
        async with lease(*self.owned, ttl=ttl, wait=wait):
            await self.resume()
            async for candle in self.clock():
                await self.step(candle)

    async def resume(self) -> None:
        """Go on from what is stored: the session has the last bar, and the candles up to it are the window."""
        self.window.clear()
        session = await self.session.read_session_data()
        if session is not None:
            self.progress = session["data"]
            end = self.progress["time"] + self.length
            self.window.extend(await read_last(self.candles, self.strategy.window, end, self.length))

    async def clock(self) -> AsyncGenerator[Candle, None]:
        """Yield the candles that are stored now, after the last bar, in the order of time. Gaps are passed over."""
        bounds, last = await self.candles.bounds(), self.progress["time"]
        if bounds is None:
            return
        for start in range(bounds[0] if last is None else last + self.length, bounds[1] + 1, _PAGE * self.length):
            for candle in await read_candles(self.candles, start, start + _PAGE * self.length):
                yield candle

    async def step(self, candle: Candle) -> None:
        """Trade a closed bar. Unless this returns, nothing of it is stored, or it is unknown whether all of it is."""
        self.window.append(candle)
        while True:
            try:
                async with transaction(when=candle["timestamp"] + self.length):
                    progress = await self.trade(candle)
            except ConflictError as conflict:
                if conflict.slot != "risk":
                    raise
                # Another strategy has changed the risk profile, and nothing of the bar is stored: trade it again.
            else:
                self.progress = progress
                return

    async def trade(self, candle: Candle) -> dict[str, Any]:
        """Let the candle fill and close signals, carry out what the strategy decides, and store how far the run is."""
        broker, now = self.broker, candle["timestamp"] + self.length
        balance = await self.book(self.progress["balance"], await broker.on_candle(candle, now), now)
        bar = Bar(
            now=now,
            candles=tuple(self.window),
            signal=await broker.signal.read_signal_data(),
            waiting=await broker.schedule.read_schedule_data(),
            balance=balance,
        )
        balance = await self.book(balance, await self.execute(await self.strategy.decide(bar), bar), now)
        await broker.update_risk(now)
        signal = await broker.signal.read_signal_data()
        progress = {"time": candle["timestamp"], "bars": self.progress["bars"] + 1, "balance": balance}
        await self.session.write_session_data({"id": self.session_id, "data": progress, "when": now})
        await self.equity.append([make_equity(signal, balance, candle["close"], now, broker.costs)])
        return progress

    async def execute(self, decision: Decision, bar: Bar) -> Payload | None:
        """Carry out a decision at the close of a bar; return what is stored of a position that this has closed."""
        broker, price, closed = self.broker, bar.candles[-1]["close"], None
        if decision is None:
            return None
        if bar.waiting is not None:
            await broker.cancel(bar.waiting, price, bar.now)
        if bar.signal is not None:
            closed = await broker.close(bar.signal, "closed", price, bar.now)
        if decision != "close":
            signal = make_signal(decision, self.context, bar.now, price)
            place = broker.schedule_signal if signal["_isScheduled"] else broker.open
            await place(signal, price, bar.now)
        return closed

    async def book(self, balance: float, closed: Payload | None, now: int) -> float:
        """Tell the strategy about a position that was closed; return the money after it."""
        if closed is None:
            return balance
        await self.strategy.on_closed(closed, now)
        return balance + float(closed["pnl"]["pnlCost"])

    async def look_back(self, when: int) -> Bar:
        """Return what was known at a past time, once the last bar that had closed by then was traded.

        Raises:
            LookupError: no bar was traded by then.
            StoreError: ``CC_HISTORY`` does not name the slots session, signal and schedule.
        """
        own = (self.symbol, self.strategy.name, self.context["exchangeName"])
        async with as_of(when) as past:
            session = await past.session(*self.run_context).read_session_data()
            if session is None:
                raise LookupError(f"no bar was traded by {when}")
            candles = past.candle(self.symbol, self.interval, self.context["exchangeName"])
            return Bar(
                now=session["when"],
                candles=await read_last(candles, self.strategy.window, session["when"], self.length),
                signal=await past.signal(*own).read_signal_data(),
                waiting=await past.schedule(*own).read_schedule_data(),
                balance=session["data"]["balance"],
            )
