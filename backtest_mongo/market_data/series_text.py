"""Reading series from text files: CSV with any delimiter."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO, Final

import numpy as np

from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.core.time_zones import NO_TIME
from backtest_mongo.core.wording import format_count
from backtest_mongo.errors import InputError
from backtest_mongo.market_data.csv_fields import Column, Fields, count_fields, split_line, split_lines
from backtest_mongo.market_data.csv_layout import DELIMITERS, is_clock_column, is_number
from backtest_mongo.market_data.exact_times import ExactTimes, describe_exact_time, read_exact_times
from backtest_mongo.market_data.importing import BadLine
from backtest_mongo.market_data.number_formats import NumberFormat, find_number_format
from backtest_mongo.market_data.series_chunks import SeriesChunk, SeriesOptions
from backtest_mongo.market_data.series_headers import (
    SeriesColumns,
    find_series_columns,
    list_series_names,
    name_vendor_columns,
)
from backtest_mongo.market_data.series_reader import SeriesTable, describe_columns, find_hints
from backtest_mongo.market_data.series_values import TextCells, list_columns
from backtest_mongo.market_data.text_blocks import read_blocks
from backtest_mongo.market_data.time_formats import (
    TimeFormat,
    check_time_zone,
    find_strays,
    find_time_format,
    join_clock,
    parse_template,
)

__all__ = ["read_series_text"]

#: Lines in which the delimiter and the header are searched.
_SAMPLE: Final = 100


@dataclass(frozen=True)
class _Layout:
    """How the rows of a file are written: between which delimiters, in how many fields, after how many other lines."""

    delimiter: str
    width: int
    head: int
    columns: SeriesColumns
    names: list[str] | None


def read_series_text(
    spec: SlotSpec,
    interval: str | None,
    stream: BinaryIO,
    position: Callable[[], int],
    where: str,
    options: SeriesOptions,
) -> Iterator[SeriesChunk]:
    """Yield the rows of a text file chunk by chunk.

    Args:
        spec: of the slot.
        interval: of the slot's grid, if it has one.
        stream: the file.
        position: returns how many bytes on disk are read so far.
        where: the file's name.
        options: what the file leaves open.

    Raises:
        InputError: its first lines can't be understood, none of them is a row, all rows are of other symbols, or a line
            is too long.
    """
    table: _TextTable | None = None
    number = 1
    for block in read_blocks(stream, where):
        lines = block.count(b"\n")
        if table is None:
            if block.strip():
                table = _TextTable(spec, interval, _find_layout(spec, block, where, options), where, options)
                yield from table.read_first(block, number, position())
        else:
            yield from table.read(block, number, position())
        number += lines
    if table is not None:
        table.check()


class _TextTable:
    """Reads the blocks of one file by its layout."""

    def __init__(
        self, spec: SlotSpec, interval: str | None, layout: _Layout, where: str, options: SeriesOptions
    ) -> None:
        self._spec = spec
        self._interval = interval
        self._layout = layout
        self._columns = layout.columns
        self._where = where
        self._options = options
        self._table = SeriesTable(spec, layout.columns, where, options)
        self._times = TimeFormat("number", "ms")
        self._numbers = NumberFormat()
        #: Whether only the size of times says what they count.
        self._is_unit_guessed = False
        self._known: tuple[int, ...] = ()
        self.check = self._table.check

    def read_first(self, block: bytes, number: int, position: int) -> Iterator[SeriesChunk]:
        """Yield the rows of the first block, which shows the formats."""
        layout = self._layout
        rest = block.split(b"\n", layout.head)[-1] if layout.head else block
        fields = self._split(rest)
        if not len(fields):
            if fields.ragged:
                line, count = fields.ragged[0]
                raise InputError(
                    f"{self._where}: no line has {layout.width} fields like its header: "
                    f"line {number + layout.head + line} has {count}"
                )
            return
        self._find_formats(fields)
        naive = self._times.kind != "number" and not self._times.zoned
        header = "header" if layout.names is not None else "no header"
        written = f", {self._numbers.note}" if self._numbers.note else ""
        about = describe_columns(self._columns, layout.names, self._times, is_naive=naive, zone=self._times.zone)
        yield from self._read(
            fields, number + layout.head, position, f"{DELIMITERS[layout.delimiter]}, {header}{written}{about}"
        )

    def read(self, block: bytes, number: int, position: int) -> Iterator[SeriesChunk]:
        """Yield the rows of another block, whose first line has the given number."""
        yield from self._read(self._split(block), number, position, "")

    def _split(self, block: bytes) -> Fields:
        has_text = any(column.type in ("category", "str") for column in list_columns(self._spec))
        return split_lines(block, self._layout.delimiter, self._layout.width, keep_quotes=has_text)

    def _find_formats(self, fields: Fields) -> None:
        columns, options, where = self._columns, self._options, self._where
        if columns.clock is not None and not is_clock_column(fields.column(columns.clock)):
            # One of the two columns is a whole time.
            columns = self._columns = replace(columns, time=columns.clock, clock=None)
        numeric = [
            fields.column(columns.values[column.name])
            for column in list_columns(self._spec)
            if column.type in ("float64", "int64", "int8")
            and column.name in columns.values
            and columns.meanings.get(column.name) is None
        ]
        self._numbers = find_number_format(numeric, where, options.decimal)
        name = None if self._layout.names is None else self._layout.names[columns.time]
        hints = find_hints(name, columns, options, self._interval)
        self._times = find_time_format(self._read_time_column(fields), where, hints)
        self._is_unit_guessed = self._times.kind == "number" and hints.unit is None
        check_time_zone(self._times, name, where)

    def _read_time_column(self, fields: Fields) -> Column:
        date = fields.column(self._columns.time)
        return date if self._columns.clock is None else join_clock(date, fields.column(self._columns.clock))

    def _read(self, fields: Fields, number: int, position: int, note: str) -> Iterator[SeriesChunk]:
        width = self._layout.width
        bad = [
            BadLine(number + line, f"{format_count(count, 'field')} instead of {width}")
            for line, count in fields.ragged
        ]
        texts = self._read_time_column(fields)
        times = self._leave_out_strays(read_exact_times(texts, self._times, self._spec.unit))

        def describe_time(row: int, is_cut: bool) -> str:
            return describe_exact_time(texts.at(row), self._times, self._spec.unit, is_cut=is_cut)

        cells = {name: TextCells(fields, at) for name, at in self._columns.values.items()}
        context = {
            name: [text.decode("utf-8", "replace") for text in fields.contents(at)]
            for name, at in self._columns.context.items()
        }
        yield from self._table.make_chunks(
            times, cells, context, number + fields.lines, self._numbers, position, note, bad, describe_time
        )

    def _leave_out_strays(self, times: ExactTimes) -> ExactTimes:
        """Leave out times that are in another unit than the others, if only their size says what it is."""
        if not self._is_unit_guessed:
            return times
        strays = find_strays(times.data, None, self._known)
        times.data[strays] = NO_TIME
        known = times.data[times.data != NO_TIME]
        if len(known):
            sizes = np.abs([*known[[known.argmin(), known.argmax()]], *self._known])
            self._known = (int(sizes.min()), int(sizes.max()))
        return times


# The delimiter, the header and the columns


def _find_layout(spec: SlotSpec, block: bytes, where: str, options: SeriesOptions) -> _Layout:
    lines = [line.decode("utf-8", "replace") for line in block.split(b"\n", _SAMPLE)[:_SAMPLE]]
    expected = ", ".join(list_series_names(spec))
    counts = {delimiter: count_fields(lines, delimiter) for delimiter in DELIMITERS}
    delimiter = max(DELIMITERS, key=lambda one: sum(count > 1 for count in counts[one]))
    rows = [split_line(line, delimiter) for line in lines]
    start = next((number for number, row in enumerate(rows) if len(row) > 1), None)
    if start is None:
        raise InputError(
            f"{where}: none of the first {sum(map(bool, lines))} lines has several fields",
            hint=f"expected: {expected}, between commas, semicolons, tabs or bars",
        )
    names = options.names
    data = next((number for number, row in enumerate(rows) if number >= start and _is_data(row)), len(rows))
    if data == start:
        width = _find_width(rows[start:])
        typical = next(row for row in rows[start:] if len(row) == width)
        known = name_vendor_columns(spec, typical) if names is None else tuple(names)
        if known is None:
            raise InputError(
                f"{where}: has no header",
                hint=f"--columns names the columns in their order; expected: {expected}",
            )
        return _Layout(delimiter, width, start, _find(spec, _fill(known, width, where), where, options), None)
    if names is not None:
        # A header may lack names, such as that of the times.
        width = _find_width(rows[data:]) if data < len(rows) else max(len(rows[start]), len(names))
        return _Layout(delimiter, width, data, _find(spec, _fill(names, width, where), where, options), None)
    failed: InputError | None = None
    for number in range(start, data):
        if len(rows[number]) > 1:
            try:
                columns = _find(spec, rows[number], where, options)
            except InputError as error:
                failed = failed or error
            else:
                return _Layout(
                    delimiter, len(rows[number]), number + 1, columns, [name.strip() for name in rows[number]]
                )
    assert failed is not None
    raise failed


def _find(spec: SlotSpec, names: Sequence[str], where: str, options: SeriesOptions) -> SeriesColumns:
    return find_series_columns(spec, names, where, options.assigned)


def _fill(names: Sequence[str], width: int, where: str) -> list[str]:
    if len(names) > width:
        raise InputError(
            f"{where}: --columns has {format_count(len(names), 'name')}, but lines have {format_count(width, 'field')}"
        )
    # What is not used has no name that anything is found by.
    return [*("" if name == "-" else name for name in names), *[""] * (width - len(names))]


def _find_width(rows: Sequence[Sequence[str]]) -> int:
    return Counter(len(row) for row in rows if len(row) > 1).most_common(1)[0][0]


def _is_data(row: Sequence[str]) -> bool:
    return any(is_number(field) or parse_template(re.sub(r"\d", "0", field.strip(), flags=re.ASCII)) for field in row)
