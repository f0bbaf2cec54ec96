"""Parsing and formatting times, of files and of people, as milliseconds since the epoch (UTC).

The format of a file's times is found once, from all of them; the times are then read strictly by it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from backtest_mongo.core.candle_headers import named_unit, named_zone
from backtest_mongo.core.columns import UNITS_PER_MS, Unit
from backtest_mongo.core.interval_grid import GRIDS
from backtest_mongo.core.time_zones import FIRST, LAST, NO_TIME, Millis, localize
from backtest_mongo.core.unit_times import find_time_range
from backtest_mongo.errors import InputError
from backtest_mongo.market_data.candle_chunks import ReadOptions
from backtest_mongo.market_data.csv_fields import LONGEST, Column, make_column
from backtest_mongo.market_data.number_formats import NumberFormat, read_numbers, scan_numbers
from backtest_mongo.types import to_millis

__all__ = [
    "FIRST",
    "LAST",
    "NO_TIME",
    "UNITS",
    "Millis",
    "Template",
    "TimeFormat",
    "TimeHints",
    "check_time_zone",
    "compute_times",
    "describe_time",
    "find_strays",
    "find_time_format",
    "find_time_hints",
    "find_unit",
    "find_unit_by_size",
    "find_unit_of_one",
    "find_usual_distance",
    "format_utc",
    "is_clock",
    "is_interval",
    "join_clock",
    "numbers_to_millis",
    "parse_datetime",
    "parse_template",
    "parse_time",
    "read_times",
    "split_templates",
]


#: The units of numeric times, each a thousandth of the one before.
UNITS: Final = ("s", "ms", "us", "ns")
#: The smallest number that is taken for each unit if nothing else decides: 9 September 2001. Each range ends where the
#: next begins.
_FROM: Final = {"s": 10**9, "ms": 10**12, "us": 10**15, "ns": 10**18}
_NUMBER: Final = re.compile(r"[+-]?(\d+)(\.\d*)?([eE][+-]?\d+)?", re.ASCII)
_YEAR_FIRST: Final = re.compile(r"(\d{4})[./](\d{2})[./](\d{2})(?!\d)(.*)")
_DAY_FIRST: Final = re.compile(r"(\d{2})\.(\d{2})\.(\d{4})(?!\d)(.*)")


def numbers_to_millis(values: npt.NDArray[Any], unit: str) -> Millis:
    """Return numbers of one of :data:`UNITS` as milliseconds, :data:`NO_TIME` where a number can't be a time.

    Integers are truncated to whole milliseconds; floats are rounded.
    """
    power = UNITS.index(unit) - 1
    if values.dtype.kind == "f":
        scaled = values * 1000.0 if power < 0 else values / 1000.0**power
        fine = np.isfinite(scaled) & (scaled >= FIRST) & (scaled < LAST + 0.5)
        millis = np.rint(np.where(fine, scaled, 0.0)).astype(np.int64)
    elif power < 0:
        fine = (values >= FIRST // 1000) & (values <= LAST // 1000)
        millis = np.where(fine, values, 0).astype(np.int64) * 1000
    else:
        millis = (values // 1000**power).astype(np.int64)
        fine = (millis >= FIRST) & (millis <= LAST)
    return np.where(fine, millis, NO_TIME)


def find_unit_by_size(values: npt.NDArray[Any]) -> str | None:
    """Return the one unit in which all of these numbers are times since September 2001, or ``None``."""
    sizes = np.abs(values.astype(np.float64))
    for unit, least in _FROM.items():
        if len(sizes) and (sizes >= least).all() and (sizes < least * 1000.0).all():
            return unit
    return None


def parse_time(text: str) -> int:
    """Return a time that a person wrote, in milliseconds: a number, or ISO 8601, which without a zone is UTC.

    ``20240131`` is a day; the unit of other numbers follows from their size. ``2024.01.31``, ``2024/01/31`` and
    ``31.01.2024`` are understood too, with or without a time of day.

    Raises:
        ValueError: it is not a time.
    """
    text = text.strip()
    if _NUMBER.fullmatch(text) and not re.fullmatch(r"(19|20)\d{6}", text, re.ASCII):
        number = np.array([int(text)]) if text.lstrip("+-").isdigit() and len(text) < 19 else np.array([float(text)])
        unit = find_unit_of_one(float(number[0]))
        millis = NO_TIME if unit is None else int(numbers_to_millis(number, unit)[0])
        if millis == NO_TIME:
            raise ValueError(f"{text[:40]!r} is not a time in s, ms, us or ns")
        return millis
    return to_millis(parse_datetime(text))


def parse_datetime(text: str) -> datetime:
    """Return a time that a person wrote other than as a number, as :func:`parse_time`.

    Raises:
        ValueError: it is not a time.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = _parse_other_order(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def find_unit_of_one(number: float) -> str | None:
    """Return the unit of a number that a person typed, by its size; ``None`` if it is too small for a time."""
    # What a person types is a time since 1973; the unit of a file's times is found from all of them.
    return next((unit for unit, least in _FROM.items() if least / 10 <= abs(number) < least * 100), None)


def _parse_other_order(text: str) -> datetime:
    """Return a time that is ISO 8601 but for the notation of its date or its zone."""
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
        raise ValueError(f"{text[:40]!r} is not a time" if text else "the time is empty") from None


def format_utc(millis: int) -> str:
    """Format a time in UTC, such as ``2024-01-31 12:00``, with seconds only if they are not 0.

    A time outside the years 1 to 9999 stays a number.
    """
    if not FIRST <= millis <= LAST:
        return f"{millis} ms"
    time = datetime.fromtimestamp(millis // 1000, UTC)
    return time.strftime("%Y-%m-%d %H:%M:%S" if time.second else "%Y-%m-%d %H:%M")


_POINT: Final = NumberFormat()
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NAMES: Final = (
    *("january", "february", "march", "april", "may", "june", "july", "august", "september", "october"),
    *("november", "december", "sept"),
)


@dataclass(frozen=True)
class TimeFormat:
    """How times are written.

    Attributes:
        kind: ``number``, or how the date is written: ``compact`` (20240131), ``year`` (year first), ``named`` (with the
            month's name), ``month`` (month first), ``day`` (day first), or ``pattern``.
        unit: what a number counts.
        zoned: whether times contain their offset from UTC.
        pattern: the format, as in ``strptime``.
        zone: the time zone of times without an offset; ``None`` for UTC.
    """

    kind: str
    unit: str = ""
    zoned: bool = False
    pattern: str = ""
    zone: tzinfo | None = None

    @property
    def naive(self) -> bool:
        """Whether nothing says in which zone the times are."""
        return self.kind != "number" and not self.zoned and self.zone is None

    @property
    def note(self) -> str:
        """How the times are written, in words; may be empty."""
        words = {
            "number": f"in {self.unit}",
            "month": "the month before the day",
            "day": "the day before the month",
            "pattern": self.pattern,
        }
        return words.get(self.kind, "")


# Reading times in a known format


def read_times(column: Column, form: TimeFormat) -> Millis:
    """Return the times of a column, ``NO_TIME`` where a field is not a time."""
    if form.kind == "number":
        return _read_numbers(column, form.unit)
    read = _read_pattern if form.kind == "pattern" else _read_text
    millis = read(column, form)
    if form.zone is not None and not form.zoned:
        millis = np.where(millis == NO_TIME, NO_TIME, localize(millis, form.zone))
    return millis


def _read_numbers(column: Column, unit: str) -> Millis:
    scan = scan_numbers(column)
    # They must fit in 64 bits with their sign.
    whole = scan.plain & (scan.digits < np.uint64(2**63))
    power = UNITS.index(unit) - 1
    digits = scan.digits.astype(np.int64)
    values = np.where(scan.negative, -digits, digits)
    integral = whole & (scan.decimals == 0)
    millis = np.full(len(column), NO_TIME, np.int64)
    millis[integral] = numbers_to_millis(values[integral], unit)
    rest = np.flatnonzero(~integral & ((scan.decimals > 0) | ~scan.plain) & (column.lengths > 0))
    if len(rest):
        part = column.take(rest)
        if power < 0:
            # As decimals: a float of seconds has too few digits for some milliseconds.
            millis[rest] = [_parse_seconds(text) for text in part.strings()]
        else:
            millis[rest] = numbers_to_millis(read_numbers(part, _POINT), unit)
    return millis


def _parse_seconds(text: str) -> int:
    from decimal import Decimal, InvalidOperation

    if not re.fullmatch(r"[+-]?\d+(\.\d*)?([eE][+-]?\d{1,3})?", text, re.ASCII):
        return NO_TIME
    try:
        millis = round(Decimal(text) * 1000)
    except (InvalidOperation, OverflowError):
        return NO_TIME
    return millis if FIRST <= millis <= LAST else NO_TIME


def _read_pattern(column: Column, form: TimeFormat) -> Millis:
    @lru_cache(maxsize=100_000)
    def read(text: str) -> int:
        try:
            time = datetime.strptime(text, form.pattern)
        except ValueError:
            return NO_TIME
        return to_millis(time if time.tzinfo else time.replace(tzinfo=UTC))

    return np.fromiter(map(read, column.strings()), np.int64, count=len(column))


def _read_text(column: Column, form: TimeFormat) -> Millis:
    millis = np.full(len(column), NO_TIME, np.int64)
    for template, rows in split_templates(column):
        found = parse_template(template)
        if found is not None and found.zoned == form.zoned and form.kind in found.kinds:
            part = column if rows is None else column.take(rows)
            values, _ = compute_times(part.text, found, form.kind)
            if rows is None:
                return values
            millis[rows] = values
    return millis


def split_templates(column: Column) -> list[tuple[str, npt.NDArray[np.int64] | None]]:
    """Return the templates of the fields, which have 0 for each digit, and the rows of each template.

    The rows are ``None`` if all fields have one template, as in nearly every file.
    """
    text = column.text
    template = np.where((text >= 48) & (text <= 57), np.uint8(48), text)
    if not len(column):
        return []
    if (template == template[:, :1]).all() and (column.lengths <= LONGEST).all():
        return [(template[:, 0].tobytes().rstrip(b"\0").decode("latin-1"), None)]
    kinds, places = np.unique(Column(template, column.lengths).bytes(), return_inverse=True)
    places[column.lengths > LONGEST] = -1
    order = np.argsort(places, kind="stable")
    bounds = np.searchsorted(places[order], np.arange(len(kinds) + 1))
    return [
        (kind.decode("latin-1"), order[bounds[number] : bounds[number + 1]])
        for number, kind in enumerate(kinds.tolist())
    ]


_DATES: Final = (
    (("year",), r"(?P<year>0000)(?P<s>[-/.])(?P<month>00?)(?P=s)(?P<day>00?)"),
    (("month", "day"), r"(?P<first>00?)(?P<s>[-/.])(?P<second>00?)(?P=s)(?P<year>0000)"),
    (("compact",), r"(?P<year>0000)(?P<month>00)(?P<day>00)"),
    (("named",), r"(?P<day>00?)(?P<s>[- /.])(?P<name>[A-Za-z]{3,9})\.?(?P=s)(?P<year>0000)"),
    (("named",), r"(?P<name>[A-Za-z]{3,9})\.? (?P<day>00?),? (?P<year>0000)"),
    (("named",), r"(?P<year>0000)-(?P<name>[A-Za-z]{3})-(?P<day>00?)"),
)
_CLOCK: Final = (
    r"(?P<hour>00?):(?P<minute>00)(:(?P<second_>00)([.,](?P<fraction>0+))?)?( ?(?P<half>[AaPp])[Mm])?",
    r"(?P<hour>00)(?P<minute>00)((?P<second_>00)(\.(?P<fraction>0+))?)?",
)
_OFFSET: Final = r"(?P<zone> ?(Z|UTC|GMT)| ?(UTC|GMT)?(?P<sign>[+-])(?P<zone_hour>00)(:?(?P<zone_minute>00))?)?"
_SEPARATOR: Final = r"(T| +|, )"
#: An offset after a day without a time of day; a pattern can't name two groups alike.
_ALONE: Final = _OFFSET.replace("P<", "P<x")
_PATTERNS: Final = [
    *((kinds, re.compile(f"{date}({_SEPARATOR}{_CLOCK[0]}{_OFFSET}|{_ALONE})")) for kinds, date in _DATES),
    *((kinds, re.compile(f"{date} {_CLOCK[1]}{_OFFSET}")) for kinds, date in _DATES),
    *((kinds, re.compile(f"{date}T?{_CLOCK[1]}{_OFFSET}")) for kinds, date in _DATES if kinds == ("compact",)),
]


class Template(NamedTuple):
    """How the times of some rows are written.

    Attributes:
        kinds: how the date is written; month and day are in one of two orders.
        zoned: whether there is an offset from UTC.
        spans: the start and end of each part in the text.
        month: the month, if the text names it.
        half: ``a``, ``p`` or the empty string.
        sign: of the offset.
    """

    kinds: tuple[str, ...]
    zoned: bool
    spans: dict[str, tuple[int, int]]
    month: int
    half: str
    sign: int


@lru_cache(maxsize=4096)
def parse_template(template: str) -> Template | None:
    """Return how the times of a template are written, ``None`` if they are no times."""
    for kinds, pattern in _PATTERNS:
        if found := pattern.fullmatch(template):
            parts = {name.removeprefix("x"): span for name, span in _find_spans(found).items()}
            month = 0
            if "name" in parts:
                name = template[slice(*parts.pop("name"))].lower()
                if name not in _MONTHS and name not in _NAMES:
                    return None
                month = _MONTHS.index(name[:3]) + 1
            half, sign = (template[slice(*parts.pop(name))] if name in parts else "" for name in ("half", "sign"))
            zoned = "zone" in parts
            parts.pop("zone", None)
            parts.pop("s", None)
            return Template(kinds, zoned, parts, month, half.lower(), -1 if sign == "-" else 1)
    return None


def _find_spans(found: re.Match[str]) -> dict[str, tuple[int, int]]:
    return {name: found.span(name) for name, text in found.groupdict().items() if text is not None}


def compute_times(
    text: npt.NDArray[np.uint8], template: Template, kind: str, unit: Unit = "ms"
) -> tuple[Millis, npt.NDArray[np.bool_]]:
    """Return the times of rows that have the same template, and which of them have digits that the unit cuts off.

    Times that don't exist, or are outside of what a row can have, are :data:`NO_TIME`.
    """

    def part(name: str, otherwise: int = 0) -> Any:
        if name not in template.spans:
            return otherwise
        start, end = template.spans[name]
        value = np.zeros(text.shape[1], np.int64)
        for at in range(start, end):
            value = value * 10 + (text[at] - np.uint8(48))
        return value

    year = part("year")
    first, second = ("first", "second") if kind == "month" else ("second", "first")
    if "first" in template.spans:
        month, day = part(first), part(second)
    else:
        month, day = part("month", template.month), part("day")
    hour, minute, seconds = part("hour"), part("minute"), part("second_")
    fine = (month >= 1) & (month <= 12) & (year >= 1) & (day >= 1)
    fine &= (hour <= 23) & (minute <= 59) & (seconds <= 59)
    if template.half:
        fine &= (hour >= 1) & (hour <= 12)
        hour = hour % 12 + 12 * (template.half == "p")
    months = (np.where(fine, year, 1970) - 1970) * 12 + np.where(fine, month, 1) - 1
    begin = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    end = (months + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    fine &= day <= end - begin
    whole = (((begin + day - 1) * 24 + hour) * 60 + minute) * 60 + seconds
    whole = whole - template.sign * (part("zone_hour") * 60 + part("zone_minute")) * 60
    fine &= (part("zone_hour") <= 23) & (part("zone_minute") <= 59)
    factor = 1000 * UNITS_PER_MS[unit]
    earliest, latest = find_time_range(unit)
    fraction = np.zeros(len(whole), np.int64)
    cut = np.zeros(len(whole), np.bool_)
    if "fraction" in template.spans:
        start, stop = template.spans["fraction"]
        digits = min(stop - start, len(str(factor)) - 1)
        template.spans["kept"] = (start, start + digits)
        fraction = part("kept") * (factor // 10**digits)
        cut = (text[start + digits : stop] != ord("0")).any(axis=0)
    fine &= (whole >= -(-earliest // factor)) & (whole <= latest // factor)
    fine &= (whole < latest // factor) | (fraction <= latest % factor)
    return np.where(fine, np.where(fine, whole, 0) * factor + fraction, NO_TIME), cut & fine


# The time of day in a column of its own


_TIME_OF_DAY: Final = [re.compile(clock + _OFFSET) for clock in _CLOCK]


def is_clock(text: str) -> bool:
    """Return whether a text is a time of day."""
    template = re.sub(r"\d", "0", text.strip(), flags=re.ASCII)
    return any(pattern.fullmatch(template) for pattern in _TIME_OF_DAY)


def join_clock(date: Column, clock: Column) -> Column:
    """Join the fields of two columns, with a blank between them."""
    rows = len(date)
    if not rows or (date.lengths != date.lengths[0]).any() or date.lengths[0] > LONGEST:
        return make_column([f"{day} {time}" for day, time in zip(date.strings(), clock.strings(), strict=True)])
    text = np.concatenate((date.text[: date.lengths[0]], np.full((1, rows), ord(" "), np.uint8), clock.text))
    return Column(text, date.lengths + 1 + clock.lengths)


def describe_time(text: str, form: TimeFormat) -> str:
    """Return why a text is not a time of this format."""
    shown = f"{text[:40]!r}"
    if not text:
        return "the time is empty"
    if form.kind == "number":
        return f"{shown} is not a time in {form.unit}"
    ((template, _),) = split_templates(make_column([text]))
    return f"{shown} is {'not a time' if parse_template(template) is None else 'not written like the other times'}"


# Finding the format


#: By what factor the evidence for one format must outweigh that for another, so that damaged lines don't decide.
_WEIGHT: Final = 20
#: By what share the usual distance of times may differ from an interval.
_NEAR: Final = 0.02
_WEEK: Final = 7 * 86_400_000
_TWO_WEEKS: Final = 14 * 86_400_000
_YEAR: Final = 365 * 86_400_000


@dataclass(frozen=True)
class TimeHints:
    """What is known of a file's times before they are read.

    Attributes:
        interval: the interval of the candles, if it is known.
        unit: what a number counts, if the caller or the column's name says it.
        pattern: the format of the times, as in ``strptime``.
        zone: the time zone of times that name none.
        has_interval: whether the rows are on a grid, so that their distance says something.
    """

    interval: str | None = None
    unit: str | None = None
    pattern: str | None = None
    zone: tzinfo | None = None
    has_interval: bool = True


def find_time_hints(name: str | None, options: ReadOptions) -> TimeHints:
    """Return what the caller and the name of the column say about times."""
    unit = options.unit if options.unit != "auto" else named_unit(name or "")
    return TimeHints(options.interval, unit, options.time_format, options.zone)


def check_time_zone(times: TimeFormat, name: str | None, where: str) -> None:
    """Refuse times whose zone only the column's name says.

    Raises:
        InputError: the name says a zone other than UTC.
    """
    zone = named_zone(name or "")
    if times.naive and zone not in (None, "UTC"):
        raise InputError(
            f"{where}: the times of {name!r} are not in UTC", hint="--time-zone names their zone, as in Europe/Berlin"
        )


def find_time_format(column: Column, where: str, hints: TimeHints) -> TimeFormat:
    """Find how a file writes its times, from all of those in ``column``.

    Raises:
        InputError: they can be read in several ways, or in none.
    """
    if hints.pattern is not None:
        zoned = "%z" in hints.pattern
        return TimeFormat("pattern", pattern=hints.pattern, zoned=zoned, zone=None if zoned else hints.zone)
    filled = column.take(column.lengths > 0)
    scan = scan_numbers(filled)
    numeric = np.count_nonzero(scan.simple | _find_scientific(filled))
    if 2 * numeric > len(filled):
        return _find_number_format(filled.take(scan.simple | _find_scientific(filled)), where, hints)
    ways: dict[tuple[str, bool], int] = {}
    for template, rows in split_templates(filled):
        found = parse_template(template)
        if found is not None:
            way = ("month" if "month" in found.kinds else found.kinds[0], found.zoned)
            ways[way] = ways.get(way, 0) + (len(filled) if rows is None else len(rows))
    if not ways:
        text = column.at(0) if len(column) else ""
        raise InputError(
            f"{where}: {text[:40]!r} is not a time" if text else f"{where}: the time is empty",
            hint="--time-format gives their format, as in %d/%m/%Y %H:%M",
        )
    (kind, zoned), count = max(ways.items(), key=lambda item: item[1])
    if count <= _WEIGHT * max((other for way, other in ways.items() if way != (kind, zoned)), default=0):
        raise InputError(f"{where}: its times are in several formats", hint=_FORMAT)
    form = TimeFormat(kind, zoned=zoned, zone=None if zoned else hints.zone)
    return _find_order(filled, where, hints, form) if kind == "month" else form


_FORMAT: Final = "--time-format gives their format, as in %m/%d/%Y %H:%M"


def _find_scientific(column: Column) -> npt.NDArray[np.bool_]:
    exponent: npt.NDArray[np.bool_] = ((column.text == ord("e")) | (column.text == ord("E"))).any(axis=0)
    fields = column.take(exponent).strings()
    found = exponent.copy()
    found[exponent] = [bool(re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", text, re.ASCII)) for text in fields]
    return found


def _find_order(column: Column, where: str, hints: TimeHints, form: TimeFormat) -> TimeFormat:
    """Find whether the month comes before the day: by a number above 12, or by the distance of the times."""
    forms = [replace(form, kind=kind) for kind in ("month", "day")]
    times = [read_times(column, one) for one in forms]
    only_month = np.count_nonzero((times[0] != NO_TIME) & (times[1] == NO_TIME))
    only_day = np.count_nonzero((times[1] != NO_TIME) & (times[0] == NO_TIME))
    if only_month > _WEIGHT * only_day:
        return forms[0]
    if only_day > _WEIGHT * only_month:
        return forms[1]
    if only_day or only_month:
        raise InputError(f"{where}: has days before months and months before days", hint=_FORMAT)
    if split_templates(column)[0][0].lstrip("0").startswith("."):
        return forms[1]  # no country writes the month first with points
    if (times[0] == times[1]).all():
        return forms[0]
    fit = [
        one
        for one, millis in zip(forms, times, strict=True)
        if hints.has_interval and _has_interval(millis[millis != NO_TIME], hints.interval)
    ]
    if len(fit) == 1:
        return fit[0]
    gaps = [int(np.diff(np.unique(millis[millis != NO_TIME])).max(initial=0)) for millis in times]
    if min(gaps) <= _WEEK and max(gaps) >= _TWO_WEEKS:
        # In the wrong order successive days are months apart.
        return forms[gaps.index(min(gaps))]
    raise InputError(
        f"{where}: {column.at(0)!r} can be read with the day first or the month first",
        hint="--time-format decides, as in %d/%m/%Y or %m/%d/%Y",
    )


def _find_number_format(column: Column, where: str, hints: TimeHints) -> TimeFormat:
    if hints.unit is not None:
        return TimeFormat("number", unit=hints.unit)
    # 20240131 is a number too, and so is 20240131093000.
    compact = TimeFormat("compact", zone=hints.zone)
    days = read_times(column, compact)
    recent = (days >= _1900) & (days < _2100)
    is_compact = np.count_nonzero(recent) > _WEIGHT * np.count_nonzero(~recent)
    if is_compact and (not hints.has_interval or _has_interval(days[recent], hints.interval)):
        return compact
    values = read_numbers(column, _POINT)
    unit = find_unit(values, hints.interval) if hints.has_interval else None
    if unit is None and is_compact:
        return compact
    unit = unit or (find_unit_by_size(values) if hints.has_interval else _find_usual_unit(values))
    if unit is None:
        raise InputError(
            f"{where}: can't determine the unit of its times; the first is {column.at(0)!r}",
            hint="--time-unit sets it: s, ms, us or ns; --columns says which column is the time",
        )
    return TimeFormat("number", unit=unit)


def _find_usual_unit(values: npt.NDArray[np.float64]) -> str | None:
    """Return the unit in which nearly all of these numbers are times since September 2001, or ``None``."""
    sizes = np.abs(values)
    counts = {unit: int(np.count_nonzero((sizes >= least) & (sizes < least * 1000.0))) for unit, least in _FROM.items()}
    unit = max(counts, key=counts.__getitem__)
    return unit if counts[unit] > _WEIGHT * (len(sizes) - counts[unit]) else None


_1900: Final = to_millis(datetime(1900, 1, 1, tzinfo=UTC))
_2100: Final = to_millis(datetime(2100, 1, 1, tzinfo=UTC))


def find_unit(values: npt.NDArray[np.float64], interval: str | None) -> str | None:
    """Return the unit in which the usual distance between times is the interval, or any interval; or ``None``."""
    distance = find_usual_distance(np.unique(values))
    if distance is not None:
        # A thousand times 45 minutes is close to a month of 31 days, so exact matches come first.
        for near in (0.0, _NEAR):
            for unit, per_unit in zip(UNITS, (1000.0, 1.0, 1e-3, 1e-6), strict=True):
                if is_interval(distance * per_unit, interval, near):
                    return unit
    return None


def _has_interval(millis: Millis, interval: str | None) -> bool:
    distance = find_usual_distance(np.unique(millis))
    return distance is not None and is_interval(distance, interval)


def is_interval(distance: float, interval: str | None, near: float = _NEAR) -> bool:
    """Return whether a distance in milliseconds is one interval, or any interval; months differ in length."""
    grids = GRIDS.values() if interval is None else (GRIDS[interval],)
    return any(grid.shortest * (1 - near) <= distance <= grid.longest * (1 + near) for grid in grids)


def find_strays(millis: Millis, interval: str | None, known: Sequence[int] = ()) -> npt.NDArray[np.bool_]:
    """Return which times can't be in the unit of the others.

    They are 500 times closer to the epoch than the others, or closer to each other than candles can be. Of two groups
    the larger one is believed.

    Args:
        known: sizes of earlier times, whose unit is certain.
    """
    strays = np.zeros(len(millis), np.bool_)
    valid = millis != NO_TIME
    sizes = np.maximum(np.abs(np.where(valid, millis, 0)), 1)
    trusted = np.concatenate((np.array(known, np.int64), sizes[valid]))
    if not len(trusted) or trusted.max() < 500 * trusted.min():
        return strays
    ordered = np.sort(trusted)
    # A series may begin at the epoch, but then its second candle follows soon.
    grid = None if interval is None else GRIDS[interval]
    far = _YEAR if grid is None else min(100 * grid.longest, _YEAR)
    jumps = np.flatnonzero((ordered[1:] >= 500 * ordered[:-1]) & (ordered[1:] - ordered[:-1] > far))
    if len(jumps):
        edge = ordered[jumps[-1]]
        believe_low = max(known) <= edge if len(known) else 2 * np.count_nonzero(trusted <= edge) >= len(trusted)
        strays |= valid & ((sizes > edge) if believe_low else (sizes <= edge))
    if grid is not None:
        order = np.argsort(millis, kind="stable")
        distances = np.diff(millis[order])
        near = (distances > 0) & (distances <= grid.shortest // 500) & valid[order[:-1]]
        strays[order[:-1][near]] = True
        strays[order[1:][near]] = True
    return strays


def find_usual_distance(times: npt.NDArray[Any]) -> float | None:
    """Return the most frequent distance between successive sorted times, or ``None`` for fewer than two."""
    if len(times) < 2:
        return None
    distances, counts = np.unique(np.diff(times), return_counts=True)
    return float(distances[counts.argmax()])
