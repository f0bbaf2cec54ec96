"""The layout of a text file of candles: delimiter, header, columns, and formats, found once from its first block."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

import numpy as np

from backtest_mongo.core.candle_headers import EXPECTED, ColumnIndexes, find_columns, named_zone, read_wide
from backtest_mongo.core.wording import format_count
from backtest_mongo.errors import InputError
from backtest_mongo.market_data.candle_chunks import ReadOptions
from backtest_mongo.market_data.csv_fields import Column, Fields, count_fields, split_line, split_lines
from backtest_mongo.market_data.number_formats import NumberFormat, find_number_format, read_numbers
from backtest_mongo.market_data.time_formats import (
    TimeFormat,
    check_time_zone,
    find_time_format,
    find_time_hints,
    is_clock,
    join_clock,
)
from backtest_mongo.types import PRICES

__all__ = ["DELIMITERS", "Layout", "find_layout", "has_numbers", "is_clock_column", "is_number", "read_time_column"]

#: Lines in which the delimiter and the header are searched.
_SAMPLE: Final = 100
#: A row has at least a time and four prices, and usually a volume.
_LEAST: Final = 5
_PLAIN: Final = 1 + len(PRICES)
#: Commas last: they may be decimal marks.
DELIMITERS: Final = {"\t": "tabs", ";": "semicolons", "|": "bars", ",": "commas"}
_NUMBER: Final = re.compile(r"\s*[+-]?[$€£¥₹]?\d[\d.,' \u00a0\u202f]*([eE][+-]?\d+)?[KMBT]?\s*", re.ASCII)
_HINT: Final = (
    "--columns names the columns in their order, --time-unit what numeric times count, --time-format how else "
    "times are written"
)


@dataclass(frozen=True)
class Layout:
    """How the rows of a file are written.

    Attributes:
        delimiter: what separates the fields.
        width: how many fields each row has.
        head: how many lines come before the first row.
        series: the indexes of each symbol's columns if the header names symbols, otherwise those of all rows under
            ``None``.
        names: the names of the columns, if there are any.
        numbers: how numbers are written.
        times: how times are written.
        note: all of this in words.
    """

    delimiter: str
    width: int
    head: int
    series: dict[str | None, ColumnIndexes]
    names: Sequence[str] | None = None
    numbers: NumberFormat = field(default_factory=NumberFormat)
    times: TimeFormat = field(default_factory=lambda: TimeFormat("number", "ms"))
    note: str = ""

    @property
    def indexes(self) -> ColumnIndexes:
        """The column indexes of the first series; the time has the same index in all."""
        return next(iter(self.series.values()))


def find_layout(block: bytes, where: str, options: ReadOptions) -> Layout:
    """Find the layout of a file from its first block of lines.

    Lines before the table, such as the vendor's address, are skipped. The caller's column names override those of a
    header.

    Raises:
        InputError: the lines can be read as candles in no way, or in several; the message says why, and what to do.
    """
    lines = [line.decode("utf-8", "replace") for line in block.split(b"\n", _SAMPLE)[:_SAMPLE]]
    layout = _find_table(lines, where, options)
    fields = split_lines(_skip_lines(block, layout.head), layout.delimiter, layout.width)
    if not len(fields):
        if not fields.ragged:
            return layout
        line, count = fields.ragged[0]
        raise InputError(
            f"{where}: no line has {layout.width} fields like its header: line {layout.head + line + 1} has {count}",
            hint="perhaps numbers hold the delimiter as a decimal comma or between thousands, or a column lacks a "
            "name; --columns names the columns in their order, - for one that is not used",
        )
    layout = _choose_clock(fields, layout, where, options)
    if layout.names is None or options.columns is not None:
        _check_unnamed(fields, layout, where, options)
    numbers = find_number_format(
        [fields.column(index) for indexes in layout.series.values() for index in indexes.prices], where, options.decimal
    )
    name = None if layout.names is None else layout.names[layout.indexes.time]
    times = find_time_format(read_time_column(fields, layout.indexes), where, find_time_hints(name, options))
    check_time_zone(times, name, where)
    layout = replace(layout, numbers=numbers, times=times)
    if layout.names is None and options.columns is None and layout.width > _PLAIN:
        _check_volume(fields, layout, where)
    return replace(layout, note=_describe(layout))


def read_time_column(fields: Fields, indexes: ColumnIndexes) -> Column:
    """Return the times of all rows as text."""
    date = fields.column(indexes.time)
    return date if indexes.clock is None else join_clock(date, fields.column(indexes.clock))


def _skip_lines(block: bytes, lines: int) -> bytes:
    at = 0
    for _ in range(lines):
        at = block.index(b"\n", at) + 1
    return block[at:]


# The delimiter, the header and the columns


def _find_table(lines: Sequence[str], where: str, options: ReadOptions) -> Layout:
    counts = {delimiter: count_fields(list(lines), delimiter) for delimiter in DELIMITERS}
    delimiter = max(DELIMITERS, key=lambda one: sum(count >= _LEAST for count in counts[one]))
    rows = [split_line(line, delimiter) for line in lines]
    start = next((number for number, row in enumerate(rows) if len(row) >= _LEAST), None)
    if start is None:
        raise InputError(
            f"{where}: none of the first {sum(map(bool, lines))} lines has {_PLAIN} fields",
            hint=f"expected: {EXPECTED}, between commas, semicolons, tabs or bars",
        )
    wide = read_wide(rows[start:], where, options.volume) if options.columns is None else None
    if wide is not None:
        found, head = wide
        series: dict[str | None, ColumnIndexes] = dict(found.symbols.items())
        return Layout(delimiter, len(rows[start]), start + head, series, ["time", *rows[start][1:]])
    data = next((number for number, row in enumerate(rows) if number >= start and _is_data(row)), len(rows))
    if data == start:
        width = Counter(len(row) for row in rows[start:] if len(row) >= _LEAST).most_common(1)[0][0]
        return _lay_out_without_header(delimiter, width, start, where, options)
    if options.columns is not None:
        header = rows[data - 1] if len(rows[data - 1]) >= _LEAST else rows[start]
        # A header may lack names, such as that of the times; then the caller's names count the columns.
        return _lay_out_by_names(delimiter, max(len(header), len(options.columns)), data, where, options, header)
    failed: InputError | None = None
    for number in range(start, data):
        if len(rows[number]) >= _LEAST:
            try:
                indexes = find_columns(rows[number], where, options.volume)
            except InputError as error:
                failed = failed or error
            else:
                names = [name.strip() for name in rows[number]]
                return Layout(delimiter, len(names), number + 1, {None: indexes}, names)
    assert failed is not None
    raise failed


def has_numbers(line: str) -> bool:
    """Return whether a line has the prices of a candle, with any delimiter."""
    return sum(bool(_NUMBER.fullmatch(part)) for part in re.split(r"[,;|\t]", line)) >= _LEAST - 1


def is_number(text: str) -> bool:
    """Return whether a text is a number, however it is written."""
    return _NUMBER.fullmatch(text) is not None


def _is_data(row: Sequence[str]) -> bool:
    return any(map(is_number, row))


def _lay_out_without_header(delimiter: str, width: int, head: int, where: str, options: ReadOptions) -> Layout:
    if options.columns is not None:
        return _lay_out_by_names(delimiter, width, head, where, options, None)
    needed = _PLAIN if options.volume else _LEAST
    if width < needed:
        raise InputError(
            f"{where}: has no header and {width} fields a line, too few for a time, open, high, low, close and volume",
            hint="--no-volume stores 0 as the volume of files without one",
        )
    return Layout(delimiter, width, head, {None: ColumnIndexes(0, tuple(range(1, needed)))})


def _lay_out_by_names(
    delimiter: str, width: int, head: int, where: str, options: ReadOptions, header: Sequence[str] | None
) -> Layout:
    names = list(options.columns or ())
    if len(names) > width:
        raise InputError(
            f"{where}: --columns has {format_count(len(names), 'name')}, but lines have {format_count(width, 'field')}"
        )
    indexes = find_columns(names, "--columns", options.volume)
    return Layout(delimiter, width, head, {None: indexes}, None if header is None else [*names, *header[len(names) :]])


def _choose_clock(fields: Fields, layout: Layout, where: str, options: ReadOptions) -> Layout:
    """Return the layout after deciding, by the rows, which columns are date and time of day."""
    indexes = layout.indexes
    if layout.names is None and options.columns is None:
        # Without a header the time of day may be a column of its own.
        second = fields.column(1)
        if layout.width > len(indexes.prices) + 1 and is_clock_column(second):
            moved = tuple(index + 1 for index in indexes.prices)
            return replace(layout, series={None: replace(indexes, clock=1, prices=moved)})
        return layout
    if indexes.clock is None or is_clock_column(fields.column(indexes.clock)):
        return layout
    # One of the two columns is a whole time.
    hints = find_time_hints(None, options)
    for index in (indexes.clock, indexes.time):
        try:
            find_time_format(fields.column(index), where, hints)
        except InputError:
            continue
        return replace(layout, series={None: replace(indexes, time=index, clock=None)})
    return layout


def is_clock_column(column: Column) -> bool:
    """Return whether most fields of a column are times of day."""
    texts = column.strings()[:_SAMPLE]
    return 2 * sum(map(is_clock, texts)) > len(texts)


# What only the numbers show


def _check_unnamed(fields: Fields, layout: Layout, where: str, options: ReadOptions) -> None:
    """Refuse rows with unnamed columns, if these may be parts of numbers that contain the delimiter."""
    named = 1 + max(layout.indexes.all) if options.columns is None else len(options.columns)
    if layout.width <= named:
        return
    columns = [fields.column(index) for index in range(layout.width)]
    points = [(column.text == ord(".")).any() for column in (columns[index] for index in layout.indexes.prices[:4])]
    split = any(_is_split(first, second) for first, second in pairwise(columns))
    if split or not all(points):
        raise InputError(
            f"{where}: lines have {layout.width} fields, and nothing names more than {named}: numbers may hold the "
            f"delimiter, as decimal commas or between thousands",
            hint="--columns names all columns in their order, - for one that is not used",
        )


def _is_split(first: Column, second: Column) -> bool:
    """Return whether two fields of each row can be one number with a thousands separator."""
    digits = (second.text >= 48) & (second.text <= 57)
    group = (second.lengths >= 3) & digits[:3].all(axis=0) if len(digits) >= 3 else np.zeros(len(second), np.bool_)
    if len(digits) > 3:
        group &= (second.lengths == 3) | (second.text[3] == ord("."))
    head = (first.lengths >= 1) & (first.lengths <= 3)
    head &= ((first.text >= 48) & (first.text <= 57) | (first.text == 0)).all(axis=0)
    return bool((head & group).all())


def _check_volume(fields: Fields, layout: Layout, where: str) -> None:
    """Refuse rows without a header whose sixth column is an average price, as in responses of Kraken's API."""
    indexes = layout.indexes.prices
    if len(indexes) < len(PRICES):
        return
    high, low, volume = (read_numbers(fields.column(indexes[at]), layout.numbers) for at in (1, 2, 4))
    with np.errstate(invalid="ignore"):
        inside = (volume >= low) & (volume <= high)
    if len(inside) > 1 and inside.all() and (high > low).any():
        raise InputError(
            f"{where}: without a header column {indexes[4] + 1} is the volume, but its values lie between low and high",
            hint="--columns names the columns in their order, - for one that is not used",
        )


def _describe(layout: Layout) -> str:
    indexes, names = layout.indexes, layout.names

    def name(index: int) -> str:
        return f"column {index + 1}" if names is None else repr(names[index].strip())

    time = name(indexes.time) + ("" if indexes.clock is None else f" and {name(indexes.clock)}")
    zone = ""
    if layout.times.naive and (names is None or named_zone(names[indexes.time]) is None):
        zone = ", which names no zone: taken as UTC"
    elif layout.times.zone is not None:
        zone = f", which is in {layout.times.zone}"
    written = f" {layout.times.note}" if layout.times.kind == "number" else ""
    if layout.times.kind in ("month", "day", "pattern"):
        written = f" ({layout.times.note})"
    header = "no header" if names is None else "header"
    numbers = f", {layout.numbers.note}" if layout.numbers.note else ""
    volume = f"volume from {name(indexes.prices[4])}" if len(indexes.prices) > 4 else "no volume"
    return f"{DELIMITERS[layout.delimiter]}, {header}{numbers}; {volume}, time from {time}{written}{zone}"
