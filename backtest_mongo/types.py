"""Times, intervals and the names of the types in public signatures."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from numbers import Integral
from typing import Any, Final, Literal, NamedTuple, TypeAlias, TypedDict

__all__ = [
    "INTERVAL_MS",
    "PRICES",
    "Candle",
    "Context",
    "Coverage",
    "Document",
    "Gap",
    "Interval",
    "Payload",
    "Rows",
    "SealReport",
    "Sealed",
    "VerifyReport",
    "When",
    "WriteReport",
    "now_ms",
    "to_millis",
]

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

#: A point in time, as whole milliseconds since the epoch or as a timezone-aware datetime.
When: TypeAlias = int | datetime
#: What a row holds, as names and whatever BSON holds.
Payload: TypeAlias = Mapping[str, Any]
#: Payloads with an ``id`` each, or candles.
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


class Gap(NamedTuple):
    """A half-open range of times, in milliseconds, in which no candle of the grid is stored."""

    #: Where it begins.
    start: int
    #: The first time that is not in it any more.
    end: int
    #: How many candles are missing.
    rows: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """What is stored of a series: the open times of the first and the last candle, in milliseconds, and how many."""

    first: int | None
    last: int | None
    rows: int


@dataclass(frozen=True, slots=True)
class WriteReport:
    """What became of the rows of a frame.

    Attributes:
        new: rows that were stored.
        present: rows whose time was stored already; what is stored stays.
        refused: for each reason the numbers of the rows that were not stored for it, from 0 on.
    """

    new: int
    present: int
    refused: dict[str, list[int]]


@dataclass(frozen=True, slots=True)
class Sealed:
    """How much of a series is in sealed blocks: how many there are, their candles, and the bytes of their documents."""

    blocks: int
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class SealReport:
    """What a call sealed: blocks, and the candles in them."""

    blocks: int
    rows: int


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What the comparison of blocks with their rows found.

    Attributes:
        blocks: blocks that were compared.
        rows: candles in them.
        damaged: what is wrong, by the start of the block in milliseconds.
        repaired: blocks that were sealed again.
    """

    blocks: int
    rows: int
    damaged: dict[int, str]
    repaired: int


#: A candle's numbers, beside its time.
PRICES: Final = ("open", "high", "low", "close", "volume")


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
            raise ValueError("must fit in 64 bits (int)")
        return millis
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise ValueError(
                "must not be a naive datetime: give it a timezone, as in datetime.now(UTC), or give milliseconds"
            )
        return (value - _EPOCH) // _MILLISECOND
    raise TypeError(f"must be milliseconds (int) or an aware datetime, not {type(value).__name__}")


def now_ms() -> int:
    return time.time_ns() // 1_000_000
