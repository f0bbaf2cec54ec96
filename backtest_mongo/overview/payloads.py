"""Reading signals, profits and notifications out of payloads, whatever their shape is.

Fields are found by the names that the Node engine, this library's demo and most other engines use. What has none of
them, or something else there, is unknown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from backtest_mongo.core.payload_fields import read_number, read_time
from backtest_mongo.overview.model import Notice, OpenSignal, Price, Unrealised

__all__ = ["is_closed", "is_open", "read_amount", "read_notice", "read_signal", "read_text", "shorten", "value_signal"]

_OPENED: Final = ("pendingAt", "openedAt", "openTimestamp", "timestamp", "createdAt")
_SCHEDULED: Final = ("scheduledAt", "timestamp", "createdAt")
_CLOSED: Final = ("closedAt", "closeTimestamp", "closedTimestamp", "priceClose", "closePrice")
_NOTIFIED: Final = ("timestamp", "createdAt")
_AMOUNTS: Final = ("pnlCost", "profit", "pnl")
_SIDES: Final = ("long", "short")
_READ: Final = dict.fromkeys(
    (
        *("symbol", "strategyName", "exchangeName", "frameName", "id", "signalId", "status", "type", "message"),
        *("position", "priceOpen", "priceStopLoss", "priceTakeProfit", "size"),
        *(*_OPENED, *_SCHEDULED, *_CLOSED, *_NOTIFIED, *_AMOUNTS),
    )
)


def shorten(payload: Any) -> Any:
    """Return the fields of a payload that these functions read: of a thousand rows, all of each take megabytes."""
    if not isinstance(payload, Mapping):
        return None
    return {name: value for name in _READ if (value := payload.get(name)) is not None or name in payload}


def read_text(payload: Any, name: str) -> str | None:
    """Return a text; ``None`` if there is none."""
    value = payload.get(name) if isinstance(payload, Mapping) else None
    return value if isinstance(value, str) else None


def read_signal(payload: Any, slot: str) -> OpenSignal | None:
    """Return the signal that a payload holds; ``None`` if it holds none.

    Args:
        payload: the payload.
        slot: the slot that it is in.
    """
    if not isinstance(payload, Mapping):
        return None
    side = read_text(payload, "position")
    times = _SCHEDULED if slot == "schedule" else _OPENED
    return OpenSignal(
        slot=slot,
        id=read_text(payload, "id"),
        side=side if side in _SIDES else None,
        entry=read_number(payload, "priceOpen"),
        stop=read_number(payload, "priceStopLoss"),
        target=read_number(payload, "priceTakeProfit"),
        size=read_number(payload, "size"),
        # Engines write 0 for what has not happened.
        since=next((time for name in times if (time := read_time(payload, name))), None),
    )


def is_open(payload: Any) -> bool:
    """Return whether a row of the storage slot is a signal that is open."""
    return read_text(payload, "status") == "opened"


def is_closed(payload: Any) -> bool:
    """Return whether a row of the storage slot is a signal that was open and is closed.

    A row without a status is if it says when, or at which price.
    """
    if not isinstance(payload, Mapping):
        return False
    if "status" in payload:
        return read_text(payload, "status") == "closed"
    return any(payload.get(name) is not None for name in _CLOSED)


def read_amount(payload: Mapping[str, Any]) -> float | None:
    """Return what a closed signal has brought, in the engine's unit of money; ``None`` if it does not say."""
    nested = payload.get("pnl")
    if isinstance(nested, Mapping):
        found = read_number(nested, "pnlCost")
        if found is not None:
            return found
    return next((found for name in _AMOUNTS if (found := read_number(payload, name)) is not None), None)


def read_notice(payload: Any) -> Notice:
    """Return a notification; all of it is unknown if the payload is no object."""
    row = payload if isinstance(payload, Mapping) else {}
    return Notice(
        id=read_text(row, "id"),
        type=read_text(row, "type"),
        time=read_time(row, *_NOTIFIED),
        text=read_text(row, "message"),
    )


def value_signal(signal: OpenSignal | None, price: Price | None) -> Unrealised | None:
    """Return what an open signal would bring at a price; ``None`` if the signal or the price does not say."""
    if signal is None or price is None or signal.side is None or not signal.entry:
        return None
    move = (price.close - signal.entry) * (1 if signal.side == "long" else -1)
    percent = 100 * move / abs(signal.entry)
    amount = None if signal.size is None else move * signal.size
    if not math.isfinite(percent):
        return None
    return Unrealised(percent=percent, amount=amount if amount is not None and math.isfinite(amount) else None)
