"""What is kept of a series with columns: ``90d`` for days, ``1000000`` for rows, ``500MB`` for bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from backtest_mongo.core.columns import MOST_NEGATIVE, UNITS_PER_MS, Unit
from backtest_mongo.core.retention import parse_retention
from backtest_mongo.errors import StoreError

__all__ = ["Piece", "SeriesRetention", "find_cut", "parse_series_retention", "parse_stored_retention"]

_BYTES: Final = re.compile(r"([0-9]+) ?([KMGT]?B)", re.IGNORECASE)
_FACTORS: Final = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_MOST_BYTES: Final = 10**15


@dataclass(frozen=True, slots=True)
class SeriesRetention:
    """What is kept of a series; one of them is set.

    Attributes:
        days: days before its last row.
        rows: how many of the last rows.
        bytes: of the last rows, as they are stored.
    """

    days: int | None = None
    rows: int | None = None
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows that are deleted together: a block, or a group of the tail. Times are in the slot's unit."""

    first: int
    last: int
    rows: int
    bytes: int


def parse_series_retention(text: object) -> SeriesRetention:
    """Return what a text says.

    Raises:
        ValueError: it says nothing of the kind, would keep nothing, or is no text.
    """
    if not isinstance(text, str):
        raise ValueError(f"must be text, not {text!r}")
    size = _BYTES.fullmatch(text.strip())
    if size is None:
        try:
            found = parse_retention(text.strip())
        except ValueError as error:
            if "must be days" not in str(error):
                raise
            raise ValueError(
                f"must be days such as 90d, rows such as 1000000 or bytes such as 5GB, not {text!r}"
            ) from None
        return SeriesRetention(days=found.days, rows=found.rows)
    count = int(size[1]) * _FACTORS[size[2].upper()]
    if not 0 < count <= _MOST_BYTES:
        raise ValueError(f"must be from 1B to {_MOST_BYTES // 10**12:,}TB, not {text}")
    return SeriesRetention(bytes=count)


def parse_stored_retention(text: object, *, slot: str, collection: str, key: dict[str, Any]) -> SeriesRetention:
    """Return what the text that is stored with a series says.

    Args:
        text: what is stored, which is text unless it was written by hand.
        slot: the slot's name, for messages.
        collection: where it is stored.
        key: the fields of the context.

    Raises:
        StoreError: it says nothing of the kind: another program, or a later version, has written it.
    """
    try:
        return parse_series_retention(text)
    except ValueError as error:
        raise StoreError(
            f"deleting old rows failed: the retention of a series {error}",
            slot=slot,
            collection=collection,
            key=key,
            hint="retain() sets it",
        ) from None


def find_cut(retention: SeriesRetention, pieces: Iterable[Piece], unit: Unit, now: int) -> int:
    """Return the time before which whole pieces need not be kept, in the slot's unit.

    Age counts from the last row, or from now if that is in the future: so what is imported later than it happened is
    kept, and a row with an impossible time does not make all others old.

    Args:
        retention: what is kept.
        pieces: all of the series.
        unit: of its times.
        now: milliseconds since the epoch.
    """
    newest_first = sorted(pieces, key=lambda piece: (piece.last, piece.first), reverse=True)
    if not newest_first:
        return MOST_NEGATIVE
    if retention.days is not None:
        age = timedelta(days=retention.days) // timedelta(milliseconds=1) * UNITS_PER_MS[unit]
        return max(MOST_NEGATIVE, min(newest_first[0].last, now * UNITS_PER_MS[unit]) - age)
    left = retention.rows if retention.rows is not None else retention.bytes
    if left is None:
        return MOST_NEGATIVE
    for piece in newest_first:
        left -= piece.rows if retention.rows is not None else piece.bytes
        if left <= 0:
            return piece.last  # and those that end with it stay, too
    return MOST_NEGATIVE
