"""Reading series from Parquet and Feather files, a batch of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np

from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.core.time_zones import NO_TIME
from backtest_mongo.core.wording import format_count
from backtest_mongo.errors import InputError
from backtest_mongo.market_data.csv_fields import make_column
from backtest_mongo.market_data.exact_times import (
    ExactTimes,
    convert_counts,
    describe_exact_time,
    localize_units,
    read_exact_times,
)
from backtest_mongo.market_data.number_formats import NumberFormat, find_number_format
from backtest_mongo.market_data.series_chunks import SeriesChunk, SeriesOptions
from backtest_mongo.market_data.series_headers import find_series_columns
from backtest_mongo.market_data.series_reader import SeriesTable, describe_columns, find_hints
from backtest_mongo.market_data.series_values import ArrowCells, list_columns
from backtest_mongo.market_data.table_files import fill_nulls, is_text, open_table, to_texts
from backtest_mongo.market_data.time_formats import TimeFormat, check_time_zone, find_time_format

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["read_series_table"]

_NUMBERS: Final = ("float64", "int64", "int8")


def read_series_table(
    spec: SlotSpec,
    interval: str | None,
    stream: BinaryIO,
    kind: str,
    size: int,
    where: str,
    options: SeriesOptions,
) -> Iterator[SeriesChunk]:
    """Yield the rows of a Parquet or Feather file of ``size`` bytes chunk by chunk.

    Raises:
        InputError: its columns can't be understood, none of its first rows can be read, or all rows are of other
            symbols.
    """
    import pyarrow as pa

    try:
        file = open_table(stream, kind)
        table = _ArrowTable(spec, interval, file.schema, kind, where, options)
        done = 0
        for batch in file.batches(table.wanted):
            if batch.num_rows:
                yield from table.read(batch, done, size * (done + batch.num_rows) // max(file.rows, 1))
                done += batch.num_rows
        table.check()
    except pa.ArrowException as error:
        raise InputError(f"{where}: can't be read as {kind}: {str(error).splitlines()[0]}") from error


class _ArrowTable:
    """Reads the batches of one file, in the formats that the first one shows."""

    def __init__(
        self, spec: SlotSpec, interval: str | None, schema: pa.Schema, kind: str, where: str, options: SeriesOptions
    ) -> None:
        self._spec = spec
        self._interval = interval
        self._kind = kind
        self._where = where
        self._options = options
        self._of = list(schema.names)
        self._names = _name_columns(schema, where, options)
        self._columns = find_series_columns(spec, self._names, where, options.assigned)
        if self._columns.clock is not None:
            raise InputError(f"{where}: has a date and a time in two columns", hint="give one column with both")
        self._type = schema.field(self._columns.time).type
        #: The names of the columns that are read.
        self.wanted = [self._of[index] for index in self._columns.all]
        self._times: TimeFormat | None = None
        self._numbers = NumberFormat()
        self._table = SeriesTable(spec, self._columns, where, options)
        self.check = self._table.check

    def read(self, batch: pa.RecordBatch, done: int, position: int) -> Iterator[SeriesChunk]:
        """Yield the rows of the batch that follows ``done`` rows of the file."""
        values = batch.column(self._of[self._columns.time])
        times = self._read_times(values)
        arrays = {name: batch.column(self._of[at]) for name, at in self._columns.values.items()}
        note = ""
        if not done:
            texts = [
                make_column(to_texts(arrays[column.name]))
                for column in list_columns(self._spec)
                if column.type in _NUMBERS and column.name in arrays and is_text(arrays[column.name])
            ]
            self._numbers = find_number_format(texts, self._where, self._options.decimal)
            note = self._describe()
        lines = np.arange(done + 1, done + 1 + batch.num_rows, dtype=np.int64)
        context = {name: to_texts(batch.column(self._of[at])) for name, at in self._columns.context.items()}

        def describe_time(row: int, is_cut: bool) -> str:
            form = self._times or TimeFormat("pattern")
            return describe_exact_time(_show_time(values, row), form, self._spec.unit, is_cut=is_cut)

        cells = {name: ArrowCells(array) for name, array in arrays.items()}
        yield from self._table.make_chunks(
            times, cells, context, lines, self._numbers, position, note, [], describe_time
        )

    def _describe(self) -> str:
        import pyarrow as pa

        typed = pa.types.is_timestamp(self._type)
        naive = self._type.tz is None if typed else self._times is not None and self._times.naive
        zone = self._options.zone
        about = describe_columns(self._columns, self._names, self._times, is_naive=naive, zone=zone)
        return f"{self._kind}{about}"

    def _read_times(self, values: pa.Array[Any]) -> ExactTimes:
        import pyarrow as pa

        kind, unit = values.type, self._spec.unit
        name = self._names[self._columns.time]
        if pa.types.is_timestamp(kind):
            counts, empty = fill_nulls(values.cast(pa.int64()))
            times = convert_counts(counts, kind.unit, unit)
            data = times.data
            if kind.tz is None:
                form = TimeFormat("year", zone=self._options.zone)
                check_time_zone(form, name, self._where)
                data = localize_units(data, form, unit)
            return _leave_out(ExactTimes(data, times.cut), empty)
        if pa.types.is_date(kind):
            counts, empty = fill_nulls(values.cast(pa.date64()).cast(pa.int64()))
            return _leave_out(convert_counts(counts, "ms", unit), empty)
        texts = make_column(to_texts(values))
        if self._times is None:
            hints = find_hints(name, self._columns, self._options, self._interval)
            self._times = find_time_format(texts, self._where, hints)
            check_time_zone(self._times, name, self._where)
        if pa.types.is_integer(kind) and self._times.kind == "number" and kind.bit_width <= 64:
            counts, empty = fill_nulls(values.cast(pa.int64()))
            return _leave_out(convert_counts(counts, self._times.unit, unit), empty)
        return read_exact_times(texts, self._times, unit)


def _name_columns(schema: pa.Schema, where: str, options: SeriesOptions) -> list[str]:
    import pyarrow as pa

    names = list(schema.names)
    given = options.names
    if given is not None:
        if len(given) > len(names):
            count = format_count(len(names), "column")
            raise InputError(f"{where}: --columns has {len(given)} names, but the file has {count}")
        names = [*("" if name == "-" else name for name in given), *[""] * (len(names) - len(given))]
    # Pandas' name for an unnamed index.
    typed = [index for index, field in enumerate(schema) if pa.types.is_timestamp(field.type)]
    if len(typed) == 1 and names[typed[0]].startswith("__index_level"):
        names[typed[0]] = "timestamp"
    return names


def _leave_out(times: ExactTimes, empty: Any) -> ExactTimes:
    return ExactTimes(np.where(empty, NO_TIME, times.data), times.cut & ~empty)


def _show_time(values: pa.Array[Any], row: int) -> str:
    import pyarrow as pa

    value = values.slice(row, 1)
    if pa.types.is_timestamp(value.type):  # a datetime has no nanoseconds
        value = value.cast(pa.timestamp(value.type.unit)).cast(pa.string())
    shown = value[0].as_py()
    return "" if shown is None else str(shown)
