"""How a text file of candles is laid out: its delimiter, its header and its columns, found out from its first lines."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from backtest_mongo.candles.headers import EXPECTED, Places, find_places
from backtest_mongo.candles.times import has_zone, text_to_millis
from backtest_mongo.errors import InputError
from backtest_mongo.types import PRICES

__all__ = ["SAMPLE", "Layout", "Row", "find_layout", "parse_line", "split_line"]

#: Lines that a layout is found out from.
SAMPLE: Final = 100
#: The least that a row can have: a time and five numbers.
_FIELDS: Final = 1 + len(PRICES)
#: Commas last: they may be decimal ones.
_DELIMITERS: Final = {"\t": "tabs", ";": "semicolons", ",": "commas"}
_CLOCK: Final = re.compile(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?|\d{4}|\d{6}")
_NUMBER: Final = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")

#: Without a header: a time or a date and a time of day, and then the numbers.
_PLAIN: Final = (Places(0, (1, 2, 3, 4, 5)), Places(0, (2, 3, 4, 5, 6), clock=1))


class Row(NamedTuple):
    timestamp: int
    prices: tuple[float, ...]


@dataclass(frozen=True)
class Layout:
    """``head`` is how many lines come before the first row; ``symbol`` is that of the first row, where there is one."""

    delimiter: str
    places: Places
    unit: str
    head: int
    symbol: str | None = None
    note: str = ""


def find_layout(lines: Sequence[str], where: str, columns: Sequence[str] | None = None, unit: str = "auto") -> Layout:
    """Find out how a file is laid out from its first lines.

    Lines before the table, such as the vendor's address, are passed over. ``columns`` are the caller's names for the
    columns, which go before those of a header.

    Raises:
        InputError: no delimiter, header or order of columns makes candles of these lines; the message says why.
    """
    delimiter = max(_DELIMITERS, key=lambda one: sum(line.count(one) >= _FIELDS - 1 for line in lines))
    rows = [split_line(line, delimiter) for line in lines]
    head = next((number for number, row in enumerate(rows) if len(row) >= _FIELDS), None)
    if head is None:
        raise InputError(
            f"{where}: none of the first {len(lines)} lines has {_FIELDS} fields",
            hint=f"expected are {EXPECTED}, between commas, semicolons or tabs",
        )
    names = None if any(_NUMBER.fullmatch(field) for field in rows[head]) else rows[head]
    if columns is not None:
        ways = _ways(find_places(columns, "--columns"))
    else:
        ways = _PLAIN if names is None else _ways(find_places(names, where))
    head += names is not None
    found = _first_row(rows[head:], ways, unit)
    if isinstance(found, str):
        if head == len(rows):  # a header and nothing else
            return Layout(delimiter, ways[0], unit, head)
        raise InputError(f"{where}: line {head + 1} is no candle, nor is any of the next: {found}", hint=_HINT)
    places, fields = found
    if names is None and columns is None:
        _check_order(rows[head:], places, where, unit)
    symbol = None if places.symbol is None else fields[places.symbol]
    return Layout(delimiter, places, unit, head, symbol, _note(delimiter, places, names, fields))


_HINT: Final = "--columns names the columns in their order, --time-unit what a number of a time counts"


def _ways(places: Places) -> Sequence[Places]:
    if places.clock is None:
        return (places,)
    # A date and a time of day, or two columns each of which is a whole time.
    return (
        places,
        Places(places.clock, places.prices, symbol=places.symbol),
        Places(places.time, places.prices, symbol=places.symbol),
    )


def _first_row(rows: Sequence[list[str]], ways: Sequence[Places], unit: str) -> tuple[Places, list[str]] | str:
    """Return the first row that is a candle in one of the ways to take it, or why the first is none."""
    reason = ""
    for fields in rows:
        for places in ways:
            try:
                _parse(fields, places, unit, None)
            except ValueError as error:
                reason = reason or str(error)
            else:
                return places, fields
    return reason


def _check_order(rows: Sequence[list[str]], places: Places, where: str, unit: str) -> None:
    """Refuse rows without a header whose second number is not the highest, or the third not the lowest."""
    sound = count = 0
    for fields in rows:
        try:
            open_, high, low, close, _ = _parse(fields, places, unit, None).prices
        except ValueError:
            continue
        count += 1
        sound += high >= max(open_, close) and low <= min(open_, close)
    if 2 * sound < count:
        raise InputError(
            f"{where}: without a header the columns are taken as a time, open, high, low, close and volume, but in "
            f"{count - sound} of the first {count} rows high is not the highest or low not the lowest",
            hint="--columns names the columns in their order: time,open,close,high,low,volume, for example",
        )


def _note(delimiter: str, places: Places, names: Sequence[str] | None, fields: Sequence[str]) -> str:
    def name(place: int) -> str:
        return f"column {place + 1}" if names is None else repr(names[place].strip())

    time = name(places.time) + ("" if places.clock is None else f" and {name(places.clock)}")
    zone = "" if has_zone(_time(fields, places)) else ", which names no zone: taken as UTC"
    header = "no header" if names is None else "header"
    return f"{_DELIMITERS[delimiter]}, {header}; volume from {name(places.prices[-1])}, time from {time}{zone}"


def split_line(line: str, delimiter: str) -> list[str]:
    """Return the fields of one line; one with quotes in the wrong places is a single field."""
    if '"' not in line:
        return line.split(delimiter)
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return [line]


def parse_line(line: str, layout: Layout) -> Row:
    """Return the candle of one line.

    Raises:
        ValueError: it is none; the message says why.
    """
    return _parse(split_line(line, layout.delimiter), layout.places, layout.unit, layout.symbol)


def _parse(fields: Sequence[str], places: Places, unit: str, symbol: str | None) -> Row:
    needed = max(places.all) + 1
    if len(fields) < needed:
        raise ValueError(f"{len(fields)} field{'s' * (len(fields) != 1)} instead of {needed}")
    if places.clock is not None and not _CLOCK.fullmatch(fields[places.clock].strip()):
        raise ValueError(f"{fields[places.clock][:40]!r} is no time of day")
    millis = text_to_millis(_time(fields, places), unit)
    prices = tuple(_price(fields[place], name) for place, name in zip(places.prices, PRICES, strict=True))
    if symbol is not None and places.symbol is not None and fields[places.symbol] != symbol:
        raise ValueError(f"symbol {fields[places.symbol][:40]!r} instead of {symbol!r} of the first row")
    return Row(millis, prices)


def _time(fields: Sequence[str], places: Places) -> str:
    time = fields[places.time].strip()
    return time if places.clock is None else f"{time} {fields[places.clock].strip()}"


def _price(text: str, name: str) -> float:
    try:
        # float() would take underscores, and digits of other scripts.
        value = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        raise ValueError(
            f"{name} is no number: {text.strip()[:40]!r}" if text.strip() else f"{name} is empty"
        ) from None
    if not math.isfinite(value):
        raise ValueError(f"{name} is not finite: {text.strip()[:40]!r}")
    return value
