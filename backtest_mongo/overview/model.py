"""What an overview holds. What nothing stored says is ``None``; times are in milliseconds since the epoch, UTC."""

from __future__ import annotations

from dataclasses import dataclass

from backtest_mongo.core.commits import Holder

__all__ = ["Notice", "OpenSignal", "Overview", "Price", "Profit", "RunKey", "RunStatus", "Seen", "Unrealised"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunKey:
    """What names a run of a strategy on a symbol.

    Attributes:
        strategy_name: the strategy.
        exchange_name: the exchange.
        symbol: the symbol; empty for a session of all symbols.
        frame_name: the frame of a backtest, empty in live trading.
        backtest: whether it is a backtest.
    """

    strategy_name: str
    exchange_name: str
    symbol: str
    frame_name: str | None
    backtest: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSignal:
    """A signal that is open, or that waits for its price.

    Attributes:
        slot: the slot that it was found in: ``signal``, ``schedule`` or ``storage``.
        id: its id.
        side: ``long`` or ``short``.
        entry: the price at which it was opened, or waits to be.
        stop: the price of its stop loss.
        target: the price of its take profit.
        size: how many units it holds.
        since: when it was opened, or scheduled.
    """

    slot: str
    id: str | None
    side: str | None
    entry: float | None
    stop: float | None
    target: float | None
    size: float | None
    since: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Profit:
    """What closed signals have brought.

    Attributes:
        amount: the sum of what they say, in the engine's unit of money.
        trades: how many signals were closed.
        unknown: how many of these do not say what they have brought, or may be of another run.
        is_cut: whether there may be more: only the newest rows are read.
    """

    amount: float
    trades: int
    unknown: int
    is_cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """The last stored candle of the shortest interval that is stored of a symbol on an exchange.

    Attributes:
        interval: the interval.
        time: when the candle opened.
        close: its last price.
    """

    interval: str
    time: int
    close: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Unrealised:
    """What an open signal would bring at the last price, before costs.

    Attributes:
        percent: how far the price has moved in the signal's direction, in percent of its entry.
        amount: that times the signal's size, where the signal says its size.
    """

    percent: float
    amount: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The latest simulation time that is stored of a run, and the slot that has it."""

    time: int
    slot: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A notification.

    Attributes:
        id: its id.
        type: what it is about, such as ``signal.opened``.
        time: the simulation time that it names.
        text: its message, if it has one.
    """

    id: str | None
    type: str | None
    time: int | None
    text: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """A run of a strategy on a symbol.

    Attributes:
        key: what names it.
        signal: the open signal.
        waiting: the signal that waits for its price.
        realised: what closed signals have brought; ``None`` if it is unknown whether the run is a backtest.
        price: the last price; ``None`` if no candles are stored.
        unrealised: what the open signal would bring at that price.
        last_bar: the latest simulation time that is stored of it.
        leases: the leases of its contexts, expired ones included; ``None`` where there are no leases.
        notice: the last notification that names the strategy and the symbol, among the newest 200.
    """

    key: RunKey
    signal: OpenSignal | None
    waiting: OpenSignal | None
    realised: Profit | None
    price: Price | None
    unrealised: Unrealised | None
    last_bar: Seen | None
    leases: tuple[Holder, ...] | None
    notice: Notice | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All runs of all strategies.

    Attributes:
        runs: the runs, by strategy, exchange, live trading before backtests, frame and symbol.
        more: how many runs there are beyond these.
        live: the last notification of live trading.
        backtest: the last notification of backtests.
        problems: what could not be read, and why.
    """

    runs: tuple[RunStatus, ...]
    more: int
    live: Notice | None
    backtest: Notice | None
    problems: tuple[str, ...]
