"""Reading numbers and times from stored payloads, whatever an engine has put there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from numbers import Real
from typing import Any, Final

from backtest_mongo.types import to_millis

__all__ = ["read_number", "read_time"]

#: Times from here on can't be told apart as doubles.
_END: Final = 2**53


def read_number(row: Mapping[str, Any], name: str) -> float | None:
    """Return a finite number, which some engines store as a text; ``None`` if there is none."""
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, Real | Decimal | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def read_time(row: Mapping[str, Any], *names: str) -> int | None:
    """Return the first time among fields, in milliseconds since the epoch: a number or an aware ``datetime``."""
    for name in names:
        value = row.get(name)
        if isinstance(value, datetime) and value.tzinfo is not None:
            return to_millis(value)
        if not isinstance(value, datetime) and (number := read_number(row, name)) is not None and abs(number) < _END:
            return int(number)
    return None
