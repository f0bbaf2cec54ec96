"""Times, intervals and the names of the types in public signatures."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from numbers import Integral
from typing import Any, Final, Literal, TypeAlias, TypedDict

__all__ = ["INTERVAL_MS", "Candle", "Context", "Document", "Interval", "Payload", "Rows", "When", "now_ms", "to_millis"]

Interval: TypeAlias = Literal["1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "1d"]

_MINUTE = 60_000

#: Length of each interval in milliseconds.
INTERVAL_MS: Final[Mapping[str, int]] = {
    "1m": _MINUTE,
    "3m": 3 * _MINUTE,
    "5m": 5 * _MINUTE,
    "15m": 15 * _MINUTE,
    "30m": 30 * _MINUTE,
    "1h": 60 * _MINUTE,
    "2h": 120 * _MINUTE,
    "4h": 240 * _MINUTE,
    "6h": 360 * _MINUTE,
    "8h": 480 * _MINUTE,
    "1d": 1440 * _MINUTE,
}

#: A point in time: whole milliseconds since the epoch, or a timezone-aware datetime.
When: TypeAlias = int | datetime
Payload: TypeAlias = Mapping[str, Any]
Rows: TypeAlias = Sequence[Payload]
Document: TypeAlias = dict[str, Any]
#: A constructor's arguments, in its order or by name.
Context: TypeAlias = Sequence[Any] | Mapping[str, Any]


class Candle(TypedDict):
    """One closed candle. ``timestamp`` is its open time in milliseconds since the epoch, UTC."""

    timestamp: int
    open: float
    high: float
    low: float
    close: float
    volume: float


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_INT64_MAX = 2**63 - 1


def to_millis(value: When) -> int:
    """Return ``value`` as whole milliseconds since the epoch; a fraction of a millisecond is cut off.

    Raises:
        TypeError: neither an integer nor a datetime.
        ValueError: a naive datetime, or beyond 64 bits.
    """
    if type(value) is int or (isinstance(value, Integral) and not isinstance(value, bool)):
        millis = int(value)
        if not -_INT64_MAX - 1 <= millis <= _INT64_MAX:
            raise ValueError("must fit in 64 bits")
        return millis
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise ValueError("must not be a naive datetime: give it a timezone, or milliseconds since the epoch")
        return (value - _EPOCH) // _MILLISECOND
    raise TypeError(f"must be milliseconds (int) or an aware datetime, not {type(value).__name__}")


def now_ms() -> int:
    return time.time_ns() // 1_000_000
