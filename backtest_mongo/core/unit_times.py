"""Times in the unit of a series. Those of rows are exact: what the unit would lose is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any, Final

from backtest_mongo.core.candle_rules import END, START
from backtest_mongo.core.columns import MOST_NEGATIVE, UNITS_PER_MS, Unit
from backtest_mongo.types import since_epoch, to_millis, to_series_millis

__all__ = [
    "NANOSECONDS",
    "UNIT_NAMES",
    "TimeRangeError",
    "find_time_range",
    "is_missing_time",
    "round_to_units",
    "to_units",
]

UNIT_NAMES: Final[Mapping[Unit, str]] = {"ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
#: The lengths of NumPy's units of time, without months and years, whose lengths vary.
NANOSECONDS: Final[Mapping[str, Fraction]] = {
    "W": Fraction(7 * 86_400 * 10**9),
    "D": Fraction(86_400 * 10**9),
    "h": Fraction(3_600 * 10**9),
    "m": Fraction(60 * 10**9),
    **{name: Fraction(10**9, 1_000**power) for power, name in enumerate(("s", "ms", "us", "ns", "ps", "fs", "as"))},
}

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
#: Text of a time: what comes before the fraction of its second, the fraction's digits, and the rest.
_FRACTION: Final = re.compile(r"(\d[\dW-]+[^\d+-][\d:]+)[.,](\d+)([^.,]*)")


class TimeRangeError(ValueError):
    """A time is outside of what a row can have."""


def find_time_range(unit: Unit) -> tuple[int, int]:
    """Return the first and the last time that a row can have: of the years 1 to 9999, and between the ends of 64 bits.

    The last one is followed by another, which is the end of every half-open range.
    """
    return _RANGES[unit]


_RANGES: Final[Mapping[Unit, tuple[int, int]]] = {
    unit: (max(START * factor, MOST_NEGATIVE + 1), min(END * factor - 1, 2**63 - 2))
    for unit, factor in UNITS_PER_MS.items()
}


def is_missing_time(value: object) -> bool:
    """Return whether a value is ``None``, or NaT of pandas or NumPy."""
    kind = type(value).__name__
    return value is None or kind == "NaTType" or (kind == "datetime64" and value != value)


def to_units(value: object, unit: Unit) -> int:
    """Return a time as a count of units since the epoch.

    Args:
        value: an integer, which is the count, an aware datetime, NumPy's ``datetime64``, which is in UTC, or ISO
            8601 text, which is in UTC if it has no offset.
        unit: of the series.

    Raises:
        TypeError: it is none of these.
        ValueError: it is a naive datetime or text that is not ISO 8601, the unit would lose some of its digits, or it
            is outside of the years 1 to 9999, or at or beyond an end of 64 bits, which is a :class:`TimeRangeError`.
    """
    exact = _count(value, unit)
    if exact.denominator != 1:
        shown = value[:40] if isinstance(value, str) else value
        raise ValueError(f"has digits that are lost in {UNIT_NAMES[unit]}: {shown}")
    units = exact.numerator
    first, last = find_time_range(unit)
    if not first <= units <= last:
        span = "must be between -2**63 and 2**63 - 1" if unit == "ns" else "must be of the years 1 to 9999"
        raise TimeRangeError(f"{span}: {units} {unit}")
    return units


def round_to_units(value: object, unit: Unit, round_: Callable[[int | Fraction], int]) -> int:
    """Return a time as a count of units since the epoch, rounded if it is finer.

    Args:
        value: as for :func:`to_units`.
        unit: of the series.
        round_: ``math.ceil`` for the bound of a half-open range, ``math.floor`` for the last time that counts.

    Raises:
        TypeError: it is none of these.
        ValueError: it is a naive datetime or text that is not ISO 8601, or doesn't fit in 64 bits.
    """
    units = round_(_count(value, unit))
    if not MOST_NEGATIVE < units < 2**63 - 1:
        raise ValueError("must fit in 64 bits (int)")
    return units


def _count(value: object, unit: Unit) -> int | Fraction:
    if type(value) is int:
        return value
    if isinstance(value, str):
        nanoseconds = _parse_nanoseconds(value)
    elif isinstance(value, datetime):
        since_epoch(value, UNIT_NAMES[unit])  # which refuses what is no point in time
        # The datetimes of pandas have nanoseconds, which their differences round.
        more = getattr(value, "nanosecond", 0)
        plain = value.to_pydatetime(warn=False) if hasattr(value, "to_pydatetime") else value
        nanoseconds = Fraction((plain - _EPOCH) // _MICROSECOND * 1_000 + more)
    elif getattr(getattr(value, "dtype", None), "kind", "") == "M":
        nanoseconds = _read_datetime64(value)
    else:
        try:
            return to_millis(value)  # type: ignore[arg-type]  # which refuses what is no integer, either
        except TypeError:
            kind = type(value).__name__
            raise TypeError(f"must be {UNIT_NAMES[unit]} (int) or an aware datetime, not {kind}") from None
    return nanoseconds * UNITS_PER_MS[unit] / 1_000_000


def _parse_nanoseconds(text: str) -> Fraction:
    millis = to_series_millis(text)
    if "." not in text and "," not in text:
        return Fraction(millis * 1_000_000)
    found = _FRACTION.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"must have a fraction of seconds only, not {text[:40]!r}")
    # The standard library keeps six digits of the fraction.
    before, digits, after = found.groups()
    return Fraction(to_series_millis(before + after) * 1_000_000) + Fraction(int(digits) * 10**9, 10 ** len(digits))


def _read_datetime64(value: Any) -> Fraction:
    import numpy as np

    unit, step = np.datetime_data(value.dtype)
    if unit in ("Y", "M"):
        value, unit, step = value.astype("M8[D]"), "D", 1
    if np.isnat(value):
        raise ValueError(f"must not be missing ({type(value).__name__})")
    if unit not in NANOSECONDS:
        raise ValueError(f"must be a point in time, not {value}")
    return int(value.astype(np.int64)) * step * NANOSECONDS[unit]
