"""Payloads of the other slots, as the engine stores them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from pydantic import RootModel

from backtest_mongo.models.base import EngineModel, Number

__all__ = [
    "Breakeven",
    "BreakevenReached",
    "Candle",
    "ExecutionContext",
    "IntervalEntry",
    "LevelsReached",
    "LogEntry",
    "MeasureEntry",
    "MemoryEntry",
    "MethodContext",
    "Notification",
    "Partial",
    "SessionEntry",
    "StateEntry",
]


class Candle(EngineModel):
    """A candle. ``timestamp`` is its open time, in milliseconds since the epoch (UTC)."""

    ENGINE_NEEDS: ClassVar[frozenset[str]] = frozenset(("timestamp", "open", "high", "low", "close", "volume"))

    timestamp: int
    open: Number
    high: Number
    low: Number
    close: Number
    volume: Number


class LevelsReached(EngineModel):
    """The levels of profit and loss, in per cent, that a signal has reached."""

    profit_levels: list[Number]
    loss_levels: list[Number]


class Partial(RootModel[dict[str, LevelsReached]]):
    """The slot partial: the levels that were reached, by the signal's id."""


class BreakevenReached(EngineModel):
    """Whether a signal has reached breakeven."""

    reached: bool


class Breakeven(RootModel[dict[str, BreakevenReached]]):
    """The slot breakeven: whether it was reached, by the signal's id."""


class Notification(EngineModel):
    """A notification: the slot notification. Times are in milliseconds since the epoch (UTC).

    ``type`` says which other fields there are, such as ``signal.opened`` or ``risk.rejection``; they are kept, and are
    attributes by the names that the payload has.
    """

    ENGINE_NEEDS: ClassVar[frozenset[str]] = frozenset(("id",))

    id: str
    type: str
    timestamp: int | None = None
    created_at: int | None = None
    backtest: bool | None = None
    symbol: str | None = None
    strategy_name: str | None = None
    exchange_name: str | None = None
    signal_id: str | None = None
    minute_estimated_time: Number | None = None


class MethodContext(EngineModel):
    """The strategy that a line of the log belongs to."""

    exchange_name: str
    strategy_name: str
    frame_name: str


class ExecutionContext(EngineModel):
    """The market and the bar that a line of the log belongs to."""

    symbol: str
    when: str | datetime
    backtest: bool


class LogEntry(EngineModel):
    """A line of the engine's log: the slot log. ``timestamp`` is in milliseconds since the epoch (UTC)."""

    ENGINE_NEEDS: ClassVar[frozenset[str]] = frozenset(("id",))

    id: str
    type: str
    priority: Number
    timestamp: int
    created_at: str
    topic: str
    args: list[Any]
    method_context: MethodContext | None = None
    execution_context: ExecutionContext | None = None


class MeasureEntry(EngineModel):
    """A cached answer from outside: the slot measure."""

    id: str
    data: Any
    removed: bool


class IntervalEntry(EngineModel):
    """What was done in an interval: the slot interval. ``when`` is an aware ``datetime``."""

    ENGINE_NEEDS: ClassVar[frozenset[str]] = frozenset(("when",))

    id: str
    data: Any
    when: datetime
    removed: bool


class MemoryEntry(EngineModel):
    """A note on a signal: the slot memory. ``when`` is in milliseconds since the epoch (UTC)."""

    data: Any
    priority: Number
    removed: bool
    index: str
    when: int


class StateEntry(EngineModel):
    """A value of a signal: the slot state. ``id`` is ``{signalId}_{bucketName}``, ``when`` is in milliseconds (UTC)."""

    ENGINE_NEEDS: ClassVar[frozenset[str]] = frozenset(("id",))

    id: str
    data: Any
    when: int


class SessionEntry(EngineModel):
    """What a run keeps from bar to bar: the slot session.

    ``id`` is ``SYMBOL:strategy:exchange[:frame]:live`` or ``...:backtest``, ``when`` is in milliseconds (UTC).
    """

    ENGINE_NEEDS: ClassVar[frozenset[str]] = frozenset(("id",))

    id: str
    data: Any
    when: int
