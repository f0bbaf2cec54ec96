"""Signals, as the engine stores them in the slots signal, schedule, storage, recent, strategy and risk."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, RootModel

from backtest_mongo.models.base import EngineModel, Number

__all__ = [
    "Entry",
    "Extreme",
    "OpenPosition",
    "PartialClose",
    "Pnl",
    "Position",
    "PublicSignal",
    "Signal",
    "StorageSignal",
    "StrategySignal",
    "StrategyState",
]


class Pnl(EngineModel):
    """A profit or loss, with the prices that it is computed from."""

    pnl_percentage: Number
    pnl_cost: Number
    pnl_entries: Number
    price_open: Number
    price_close: Number


class Extreme(Pnl):
    """The best or the worst profit of a position so far. Times are in milliseconds since the epoch (UTC)."""

    price: Number | None = None
    timestamp: int | None = None


class Entry(EngineModel):
    """One purchase of a position."""

    price: Number
    cost: Number
    timestamp: int


class PartialClose(EngineModel):
    """A part of a position that was closed."""

    type: Literal["profit", "loss"]
    percent: Number
    entry_count_at_close: int
    current_price: Number
    cost_basis_at_close: Number
    timestamp: int


class Signal(EngineModel):
    """An open position, or an order that waits for its price: the slots signal and schedule.

    The engine ignores a row whose ``symbol``, ``exchangeName``, ``strategyName`` and ``frameName`` are not those of its
    context; ``frameName`` is empty in a live run. It drops one whose ``minuteEstimatedTime`` is neither a number nor
    null; infinity is a position without a time limit. Times are in milliseconds since the epoch (UTC).
    """

    ENGINE_NEEDS: ClassVar[frozenset[str]] = frozenset(("symbol", "exchangeName", "strategyName", "frameName"))

    id: str
    symbol: str
    exchange_name: str
    strategy_name: str
    frame_name: str
    position: Literal["long", "short"]
    price_open: Number
    price_take_profit: Number
    price_stop_loss: Number
    minute_estimated_time: Number | None
    scheduled_at: int
    pending_at: int
    timestamp: int
    cost: Number | None = None
    multiplier: Number | None = None
    isolated: bool | None = None
    note: str | None = None
    is_scheduled: bool | None = Field(None, validation_alias="_isScheduled", serialization_alias="_isScheduled")
    entry: list[Entry] | None = Field(None, validation_alias="_entry", serialization_alias="_entry")
    peak: Extreme | None = Field(None, validation_alias="_peak", serialization_alias="_peak")
    fall: Extreme | None = Field(None, validation_alias="_fall", serialization_alias="_fall")
    partial: list[PartialClose] | None = Field(None, validation_alias="_partial", serialization_alias="_partial")
    trailing_price_stop_loss: Number | None = Field(
        None, validation_alias="_trailingPriceStopLoss", serialization_alias="_trailingPriceStopLoss"
    )
    trailing_price_take_profit: Number | None = Field(
        None, validation_alias="_trailingPriceTakeProfit", serialization_alias="_trailingPriceTakeProfit"
    )


class PublicSignal(Signal):
    """A signal as the engine shows it to others, with its profit so far: the slot recent."""

    ENGINE_NEEDS: ClassVar[frozenset[str]] = frozenset()

    original_price_open: Number
    original_price_take_profit: Number
    original_price_stop_loss: Number
    partial_executed: Number
    total_entries: int
    total_partials: int
    pnl: Pnl
    peak_profit: Extreme
    max_drawdown: Extreme


class StorageSignal(PublicSignal):
    """A signal with what became of it: the slot storage."""

    ENGINE_NEEDS: ClassVar[frozenset[str]] = frozenset(("id",))

    status: Literal["opened", "scheduled", "closed", "cancelled"]
    priority: Number
    created_at: int
    updated_at: int
    current_price: Number | None = None
    close_reason: str | None = None
    close_timestamp: int | None = None


class StrategySignal(Signal):
    """A signal that a strategy has yet to close, cancel, activate or send again, with who asked for it and why."""

    close_id: str | None = None
    close_note: str | None = None
    cancel_id: str | None = None
    cancel_note: str | None = None
    activate_id: str | None = None
    activate_note: str | None = None


class StrategyState(EngineModel):
    """What a live strategy resumes from: the slot strategy.

    The engine needs no field of its own, and all that it has written to come back as it was.
    """

    pending_signal_id: str | None = None
    last_pending_id: str | None = None
    created_signal: dict[str, Any] | None = None
    commit_queue: list[dict[str, Any]] = Field(default_factory=list)
    closed_signal: StrategySignal | None = None
    cancelled_signal: StrategySignal | None = None
    activated_signal: StrategySignal | None = None
    take_profit_signal: StrategySignal | None = None
    stop_loss_signal: StrategySignal | None = None
    retry_open_signal: StrategySignal | None = None
    retry_open_count: int = 0
    retry_close_count: int = 0
    is_paused: bool = False


class Position(EngineModel):
    """An open position, as a risk profile counts it. ``openTimestamp`` is in milliseconds since the epoch (UTC)."""

    strategy_name: str
    exchange_name: str
    frame_name: str
    symbol: str
    position: Literal["long", "short"]
    price_open: Number
    price_stop_loss: Number
    price_take_profit: Number
    minute_estimated_time: Number | None
    open_timestamp: int


class OpenPosition(RootModel[tuple[str, Position]]):
    """An item of the slot risk: the position's name, ``{strategyName}_{exchangeName}_{symbol}``, and the position."""

    @property
    def name(self) -> str:
        """The position's name."""
        return self.root[0]

    @property
    def position(self) -> Position:
        """The position."""
        return self.root[1]
