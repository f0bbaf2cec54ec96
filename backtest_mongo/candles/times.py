"""Times as files write them, in milliseconds since the epoch (UTC)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from backtest_mongo.types import to_millis

__all__ = ["NO_TIME", "UNITS", "Millis", "has_zone", "numbers_to_millis", "text_to_millis", "utc"]

Millis: TypeAlias = npt.NDArray[np.int64]

#: Stands where a value is no time.
NO_TIME: Final = np.iinfo(np.int64).min
#: What a number can count, each a thousandth of the one before.
UNITS: Final = ("s", "ms", "us", "ns")
#: The smallest number that is taken for each unit: all of them are 3 March 1973. They reach to where the next begins,
#: which is the year 5138.
_FROM: Final = {"s": 10**8, "ms": 10**11, "us": 10**14, "ns": 10**17}
#: The first millisecond after the year 9999, the last that a datetime can show.
_END: Final = 253_402_300_800_000
_START: Final = -62_135_596_800_000
_NUMBER: Final = re.compile(r"[+-]?(\d+)(\.\d*)?([eE][+-]?\d+)?", re.ASCII)
#: 20240131, which as a number of seconds would be in August 1970.
_DAYS: Final = (1900_01_01, 2100_12_31)
_YEAR_FIRST: Final = re.compile(r"(\d{4})[./](\d{2})[./](\d{2})(?!\d)(.*)")
_DAY_FIRST: Final = re.compile(r"(\d{2})\.(\d{2})\.(\d{4})(?!\d)(.*)")
_ZONE: Final = re.compile(r"(Z|UTC|GMT|[+-]\d{2}(:?\d{2}){0,2})$", re.IGNORECASE)


def numbers_to_millis(values: npt.NDArray[Any], unit: str = "auto") -> Millis:
    """Return numbers of one of :data:`UNITS` as milliseconds, :data:`NO_TIME` where a number can't be a time.

    With ``auto`` each number is taken by its size, as some vendors change the unit in the middle of a file, and eight
    digits such as ``20240131`` as a day. Times from 1966 to March 1973 need the unit.
    """
    millis = np.full(values.shape, NO_TIME, np.int64)
    # NaN is smaller than nothing and larger than nothing, so no unit takes it.
    size = np.abs(values)
    for index, name in enumerate(UNITS):
        if unit == "auto":
            taken = (size >= _FROM[name]) & (size < _FROM[name] * 1000)
        elif unit == name:
            taken = np.isfinite(values)
        else:
            continue
        if taken.any():
            millis[taken] = _scaled(values[taken], index)
    if unit == "auto":
        for place in np.flatnonzero((values >= _DAYS[0]) & (values <= _DAYS[1])):
            millis[place] = _day(int(values[place]))
    millis[(millis < _START) | (millis >= _END)] = NO_TIME
    return millis


def _scaled(values: npt.NDArray[Any], unit: int) -> Millis:
    divisor = 1000 ** max(unit - 1, 0)
    if values.dtype.kind == "f":
        # Clipped, as what is beyond 64 bits becomes no number at all; the range above refuses it.
        values = np.clip(np.rint(values * 1000.0 if unit == 0 else values / divisor), -(2.0**62), 2.0**62)
    elif unit == 0:
        values = np.clip(values, -(2**52), 2**52) * 1000
    else:
        values = values // divisor
    return values.astype(np.int64)


def _day(number: int) -> int:
    try:
        return to_millis(datetime.strptime(str(number), "%Y%m%d").replace(tzinfo=UTC))
    except ValueError:
        return NO_TIME


def text_to_millis(text: str, unit: str = "auto") -> int:
    """Return a number or an ISO 8601 time as milliseconds; one without a zone is UTC.

    ``2024.01.31``, ``2024/01/31`` and ``31.01.2024`` are understood as well, each with or without a time of day.

    Raises:
        ValueError: it is no time; the message says what it is.
    """
    text = text.strip()
    if _NUMBER.fullmatch(text):
        try:
            number = np.array([int(text)], np.int64) if text.lstrip("+-").isdigit() else np.array([float(text)])
        except OverflowError:
            number = np.array([np.nan])
        millis = int(numbers_to_millis(number, unit)[0])
        if millis == NO_TIME:
            raise ValueError(f"{text[:40]!r} is no time in {'s, ms, us or ns' if unit == 'auto' else unit}")
        return millis
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = _other(text)
    return to_millis(time if time.tzinfo else time.replace(tzinfo=UTC))


def _other(text: str) -> datetime:
    """Return a time that only its date or its zone keeps from being ISO 8601."""
    if found := _YEAR_FIRST.fullmatch(text):
        year, month, day, rest = found.groups()
    elif found := _DAY_FIRST.fullmatch(text):
        day, month, year, rest = found.groups()
    else:
        year, month, day, rest = text[:4], text[5:7], text[8:10], text[10:]
    rest = re.sub(r"\s*(?:UTC|GMT)$", "+00:00" if ":" in rest else "", rest, flags=re.IGNORECASE)
    try:
        return datetime.fromisoformat(f"{year}-{month}-{day}{rest}")
    except ValueError:
        raise ValueError(f"{text[:40]!r} is no time" if text else "there is no time") from None


def has_zone(text: str) -> bool:
    """Return whether a time says where it holds: a number of seconds does, and so does an offset from UTC."""
    return bool(_NUMBER.fullmatch(text)) or bool(_ZONE.search(text[10:]))


def utc(millis: int) -> str:
    """Return a time for people, such as ``2024-01-31 12:00``; seconds only where there are any."""
    time = datetime.fromtimestamp(millis // 1000, UTC)
    return time.strftime("%Y-%m-%d %H:%M:%S" if time.second else "%Y-%m-%d %H:%M")
