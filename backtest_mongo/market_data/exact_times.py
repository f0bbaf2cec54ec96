"""Times of files in the unit of a series, to its last digit: what the unit would cut off is refused."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from backtest_mongo.core.columns import UNITS_PER_MS, Unit
from backtest_mongo.core.time_zones import FIRST, LAST, NO_TIME, localize
from backtest_mongo.core.unit_times import UNIT_NAMES, find_time_range, to_units
from backtest_mongo.market_data.csv_fields import Column
from backtest_mongo.market_data.number_formats import scan_numbers
from backtest_mongo.market_data.time_formats import (
    UNITS,
    TimeFormat,
    compute_times,
    describe_time,
    find_unit_of_one,
    format_utc,
    parse_datetime,
    parse_template,
    split_templates,
)

__all__ = [
    "ExactTimes",
    "convert_counts",
    "describe_exact_time",
    "format_exact_time",
    "localize_units",
    "parse_exact_time",
    "read_exact_times",
]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d{1,3})?", re.ASCII)
_POWERS: Final = 10 ** np.arange(19, dtype=np.int64)
_MOST: Final = 2**63 - 1
_ISO: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_DAY: Final = 86_400_000
_NO_NUMBER: Final = "is not a time in s, ms, us or ns"

Mask = npt.NDArray[np.bool_]


class ExactTimes(NamedTuple):
    """Times in a series' unit, :data:`NO_TIME` where there is none, and which of these are finer than the unit."""

    data: npt.NDArray[np.int64]
    cut: Mask


def read_exact_times(column: Column, form: TimeFormat, unit: Unit) -> ExactTimes:
    """Return the times of a column in a unit."""
    if form.kind == "number":
        return _read_numbers(column, form.unit, unit)
    read = _read_pattern if form.kind == "pattern" else _read_text
    times = read(column, form, unit)
    if form.zone is None or form.zoned:
        return times
    return ExactTimes(localize_units(times.data, form, unit), times.cut)


def describe_exact_time(text: str, form: TimeFormat, unit: Unit, *, is_cut: bool) -> str:
    """Return why a text is not a time of a series."""
    if is_cut:
        return f"{text[:40]!r} has digits that are lost in {UNIT_NAMES[unit]}"
    return describe_time(text, form)


def localize_units(times: npt.NDArray[np.int64], form: TimeFormat, unit: Unit) -> npt.NDArray[np.int64]:
    """Convert local times of the format's zone to UTC; those that are skipped or repeated become :data:`NO_TIME`."""
    if form.zone is None:
        return times
    factor = UNITS_PER_MS[unit]
    first, last = find_time_range(unit)
    is_near = (times >= first + _DAY * factor) & (times <= last - _DAY * factor)
    millis, rests = np.divmod(np.where(is_near, times, 0), factor)
    found = localize(millis, form.zone)
    is_known = is_near & (found != NO_TIME)
    return np.where(is_known, np.where(is_known, found, 0) * factor + rests, NO_TIME)


def convert_counts(values: npt.NDArray[np.int64], source: str, unit: Unit) -> ExactTimes:
    """Return counts of ``s``, ``ms``, ``us`` or ``ns`` since the epoch as times in a unit."""
    return _scale(values, np.full(len(values), _find_power(source, unit), np.int64), unit)


def _find_power(source: str, unit: Unit) -> int:
    return 3 * (UNITS.index(unit) - UNITS.index(source))


def _scale(values: npt.NDArray[np.int64], powers: npt.NDArray[np.int64], unit: Unit) -> ExactTimes:
    """Return values times ten to the power."""
    first, last = find_time_range(unit)
    factors = _POWERS[np.clip(np.abs(powers), 0, len(_POWERS) - 1)]
    fine = np.abs(powers) < len(_POWERS)
    up = powers >= 0
    fine &= ~up | ((values >= -(_MOST // factors)) & (values <= _MOST // factors))
    wholes, rests = np.divmod(values, factors)
    times = np.where(up, np.where(fine, values, 0) * np.where(up & fine, factors, 1), wholes)
    cut = fine & ~up & (rests != 0)
    fine &= (times >= first) & (times <= last)
    return ExactTimes(np.where(fine & ~cut, times, NO_TIME), cut)


def _read_numbers(column: Column, source: str, unit: Unit) -> ExactTimes:
    scan = scan_numbers(column)
    plain = scan.plain & (scan.digits <= np.uint64(_MOST))
    digits = np.where(plain, scan.digits, np.uint64(0)).astype(np.int64)
    power = _find_power(source, unit)
    times, cut = _scale(np.where(scan.negative, -digits, digits), power - np.where(plain, scan.decimals, 0), unit)
    times[~plain], cut[~plain] = NO_TIME, False
    for row in np.flatnonzero(~plain & (column.lengths > 0)).tolist():
        times[row], cut[row] = _parse_number(column.at(row), power, unit)
    return ExactTimes(times, cut)


def _parse_number(text: str, power: int, unit: Unit) -> tuple[int, bool]:
    if not _NUMBER.fullmatch(text):
        return NO_TIME, False
    units = Fraction(text) * Fraction(10) ** power
    first, last = find_time_range(unit)
    if not first <= units <= last:
        return NO_TIME, False
    return (units.numerator, False) if units.denominator == 1 else (NO_TIME, True)


def _read_pattern(column: Column, form: TimeFormat, unit: Unit) -> ExactTimes:
    nanos = {"ms": 1_000_000, "us": 1_000, "ns": 1}[unit]
    first, last = find_time_range(unit)

    @lru_cache(maxsize=100_000)
    def read(text: str) -> tuple[int, bool]:
        try:
            time = datetime.strptime(text, form.pattern)
        except ValueError:
            return NO_TIME, False
        micros = ((time if time.tzinfo else time.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND
        units, rest = divmod(micros * 1_000, nanos)
        if rest:
            return NO_TIME, True
        return (units if first <= units <= last else NO_TIME), False

    found = [read(text) for text in column.strings()]
    return ExactTimes(np.array([time for time, _ in found], np.int64), np.array([cut for _, cut in found], np.bool_))


def _read_text(column: Column, form: TimeFormat, unit: Unit) -> ExactTimes:
    times = np.full(len(column), NO_TIME, np.int64)
    cut = np.zeros(len(column), np.bool_)
    for template, rows in split_templates(column):
        found = parse_template(template)
        if found is not None and found.zoned == form.zoned and form.kind in found.kinds:
            at = slice(None) if rows is None else rows
            times[at], cut[at] = compute_times(column.take(at).text, found, form.kind, unit)  # type: ignore[arg-type]  # NumPy takes a slice as well
    times[cut] = NO_TIME
    return ExactTimes(times, cut)


# Times of people


def parse_exact_time(text: str, unit: Unit) -> int:
    """Return a time that a person wrote, as ``parse_time`` does, in a unit.

    Raises:
        ValueError: it is not a time, or has digits that the unit cuts off.
    """
    text = text.strip()
    if _NUMBER.fullmatch(text) and not re.fullmatch(r"(19|20)\d{6}", text, re.ASCII):
        source = find_unit_of_one(float(text))
        found = (NO_TIME, False) if source is None else _parse_number(text, _find_power(source, unit), unit)
        if found[0] == NO_TIME:
            problem = f"has digits that are lost in {UNIT_NAMES[unit]}" if found[1] else _NO_NUMBER
            raise ValueError(f"{text[:40]!r} {problem}")
        return found[0]
    # Other notations than that of ISO 8601 have at most microseconds.
    return to_units(text if _ISO.match(text) else parse_datetime(text), unit)


def format_exact_time(time: int, unit: Unit) -> str:
    """Format a time in UTC, such as ``2024-01-31 12:00:00.000001``, with no more digits than it needs."""
    seconds, rest = divmod(time, 1_000 * UNITS_PER_MS[unit])
    if not FIRST <= seconds * 1_000 <= LAST:
        return f"{time} {unit}"
    text = format_utc(seconds * 1_000)
    if not rest:
        return text
    digits = f"{rest:0{len(str(UNITS_PER_MS[unit])) + 2}}".rstrip("0")
    return f"{text if text.count(':') == 2 else f'{text}:00'}.{digits}"
