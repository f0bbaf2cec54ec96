"""Reading candles from Parquet and Feather files, a batch of rows at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from backtest_mongo.core.candle_headers import ColumnIndexes, find_columns, named_zone
from backtest_mongo.core.time_zones import FIRST, LAST, NO_TIME, Millis, localize
from backtest_mongo.core.wording import format_count
from backtest_mongo.errors import InputError
from backtest_mongo.market_data.candle_chunks import (
    BadLine,
    Chunk,
    Columns,
    ReadOptions,
    SymbolSelection,
    check_price_order,
    find_bad_candles,
)
from backtest_mongo.market_data.csv_fields import make_column
from backtest_mongo.market_data.number_formats import NumberFormat, find_number_format, read_numbers
from backtest_mongo.market_data.table_files import fill_nulls, is_text, open_table, to_texts
from backtest_mongo.market_data.time_formats import (
    TimeFormat,
    TimeHints,
    check_time_zone,
    describe_time,
    find_strays,
    find_time_format,
    find_time_hints,
    numbers_to_millis,
    read_times,
)
from backtest_mongo.types import PRICES

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["read_table"]

#: How many units of Arrow's times make a millisecond.
_PARTS: Final = {"s": 1, "ms": 1, "us": 1000, "ns": 1_000_000}


def read_table(stream: BinaryIO, kind: str, size: int, where: str, options: ReadOptions) -> Iterator[Chunk]:
    """Yield the candles of a Parquet or Feather file of ``size`` bytes chunk by chunk.

    Raises:
        InputError: its columns can't be understood, none of its first rows is a candle, or all rows are of other
            symbols.
    """
    import pyarrow as pa

    try:
        file = open_table(stream, kind)
        table = _Table(file.schema, kind, where, options)
        done = 0
        for batch in file.batches(table.wanted):
            if batch.num_rows:
                position = size * (done + batch.num_rows) // max(file.rows, 1)
                yield from table.read(batch, done, position)
                done += batch.num_rows
        table.selection.check()
    except pa.ArrowException as error:
        raise InputError(f"{where}: can't be read as {kind}: {str(error).splitlines()[0]}") from error


def _find(schema: pa.Schema, where: str, options: ReadOptions) -> tuple[list[str], ColumnIndexes]:
    """Return the names of the columns, and the indexes of those that are needed."""
    import pyarrow as pa

    names = list(options.columns or schema.names)
    if len(names) > len(schema.names):
        raise InputError(
            f"{where}: --columns has {len(names)} names, but the file has {format_count(len(schema.names), 'column')}"
        )
    # Pandas' name for an unnamed index.
    typed = [index for index, field in enumerate(schema) if pa.types.is_timestamp(field.type)]
    if len(typed) == 1 and len(names) > typed[0] and names[typed[0]].startswith("__index_level"):
        names[typed[0]] = "timestamp"
    indexes = find_columns(names, where, options.volume)
    if indexes.clock is not None:
        raise InputError(f"{where}: has a date and a time in two columns", hint="give one column with both")
    return names, indexes


class _Table:
    """Reads the batches of one file, in the formats that the first one shows."""

    def __init__(self, schema: pa.Schema, kind: str, where: str, options: ReadOptions) -> None:
        self.selection = SymbolSelection(where, options)
        self._names, self._indexes = _find(schema, where, options)
        self._kind = kind
        self._where = where
        self._options = options
        #: The names of the columns that are read.
        self.wanted = [schema.names[index] for index in self._indexes.all]
        self._of = schema.names
        self._type = schema.field(self._indexes.time).type
        self._times: TimeFormat | None = None
        self._numbers = NumberFormat()
        self._known: tuple[int, ...] = ()

    def read(self, batch: pa.RecordBatch, done: int, position: int) -> Iterator[Chunk]:
        """Yield the candles of the batch that follows ``done`` rows of the file."""
        first = done == 0
        columns: Columns = {"timestamp": self._read_times(batch.column(self._of[self._indexes.time]))}
        prices = [batch.column(self._of[index]) for index in self._indexes.prices]
        if first:
            texts = [make_column(to_texts(part)) for part in prices if is_text(part)]
            self._numbers = find_number_format(texts, self._where, self._options.decimal)
        for name, part in zip(PRICES, prices, strict=False):
            columns[name] = self._read_numbers(part)
        columns.setdefault("volume", np.zeros(batch.num_rows))
        refused = find_bad_candles(columns)
        if first:
            check_price_order(columns, self._where, True)
            if len(refused) == batch.num_rows:
                raise InputError(
                    f"{self._where}: row 1 is not a candle, nor is any of the next: {self._reason(batch, 0, columns)}"
                )
        kept = np.ones(batch.num_rows, np.bool_)
        kept[list(refused)] = False
        lines = np.arange(done + 1, done + 1 + batch.num_rows, dtype=np.int64)
        note = self._note() if first else ""
        chosen = list(self._choose(batch))
        taken = np.zeros(batch.num_rows, np.bool_)
        for _, rows in chosen:
            taken |= rows
        others = int(np.count_nonzero(~taken))
        for symbol, rows in chosen or [(None, taken)]:
            bad = [
                BadLine(int(lines[row]), self._reason(batch, row, columns) or reason)
                for row, reason in sorted(refused.items())
                if rows[row]
            ]
            good = rows & kept
            yield Chunk(
                {name: column[good] for name, column in columns.items()},
                lines[good],
                bad,
                position,
                note,
                symbol,
                others,
            )
            note, others = "", 0

    def _choose(self, batch: pa.RecordBatch) -> Iterator[tuple[str | None, npt.NDArray[np.bool_]]]:
        """Yield each symbol that is read, with its rows."""
        if self._indexes.symbol is None:
            yield None, np.ones(batch.num_rows, np.bool_)
            return
        values = np.array(to_texts(batch.column(self._of[self._indexes.symbol])), np.str_)
        for symbol, spellings in self.selection.choose(list(dict.fromkeys(values.tolist()))):
            yield symbol, np.isin(values, spellings)

    def _note(self) -> str:
        import pyarrow as pa

        typed = pa.types.is_timestamp(self._type)
        naive = self._type.tz is None if typed else self._times is not None and self._times.naive
        name = self._names[self._indexes.time]
        zone = ""
        if naive and self._options.zone is not None:
            zone = f", which is in {self._options.zone}"
        elif naive and named_zone(name) is None:
            zone = ", which names no zone: taken as UTC"
        written = f" {self._times.note}" if self._times is not None and self._times.note else ""
        prices = self._indexes.prices
        volume = f"volume from {self._names[prices[4]]!r}" if len(prices) > 4 else "no volume"
        return f"{self._kind}; {volume}, time from {name!r}{written}{zone}"

    def _reason(self, batch: pa.RecordBatch, row: int, columns: Columns) -> str:
        """Return why a row can't be read; empty if it can."""
        if columns["timestamp"][row] == NO_TIME:
            value = batch.column(self._of[self._indexes.time])[row].as_py()
            form = self._times or TimeFormat("pattern")
            return describe_time("" if value is None else str(value), form)
        for name, index in zip(PRICES, self._indexes.prices, strict=False):
            if not math.isfinite(columns[name][row]):
                value = batch.column(self._of[index])[row].as_py()
                if value is None:
                    return f"{name} is empty"
                return f"{name} is {'not a number' if isinstance(value, str) else 'not finite'}: {str(value)[:40]!r}"
        return ""

    # Times and numbers

    def _read_times(self, values: pa.Array[Any]) -> Millis:
        import pyarrow as pa

        kind = values.type
        if pa.types.is_timestamp(kind):
            numbers, empty = fill_nulls(values.cast(pa.int64()))
            seconds = kind.unit == "s"
            fine = (numbers >= FIRST // 1000) & (numbers <= LAST // 1000) if seconds else np.True_
            millis = np.where(fine, numbers, 0) * 1000 if seconds else numbers // _PARTS[kind.unit]
            millis = np.where(empty | ~fine | (millis < FIRST) | (millis > LAST), NO_TIME, millis)
            if kind.tz is None:
                check_time_zone(TimeFormat("year", zone=self._options.zone), self._name, self._where)
                if self._options.zone is not None:
                    millis = np.where(millis == NO_TIME, NO_TIME, localize(millis, self._options.zone))
            return millis
        if pa.types.is_date(kind):
            numbers, empty = fill_nulls(values.cast(pa.date64()).cast(pa.int64()))
            return np.where(empty | (numbers < FIRST) | (numbers > LAST), NO_TIME, numbers)
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            return self._read_counted(values)
        texts = make_column(to_texts(values))
        if self._times is None:
            self._times = find_time_format(texts, self._where, self._hints)
            check_time_zone(self._times, self._name, self._where)
        return read_times(texts, self._times)

    def _read_counted(self, values: pa.Array[Any]) -> Millis:
        import pyarrow as pa

        if self._times is None:
            texts = [str(value) for value in values.to_pylist() if value is not None]
            self._times = find_time_format(make_column(texts), self._where, self._hints)
        if self._times.kind != "number":  # days such as 20240131
            return read_times(make_column(to_texts(values)), self._times)
        if pa.types.is_integer(values.type):
            numbers, empty = fill_nulls(values.cast(pa.int64()))
            millis = np.where(empty, NO_TIME, numbers_to_millis(numbers, self._times.unit))
        else:
            floats = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
            millis = numbers_to_millis(floats, self._times.unit)
        millis = np.where(find_strays(millis, self._options.interval, self._known), NO_TIME, millis)
        found = millis[millis != NO_TIME]
        if len(found):
            sizes = np.abs([*found[[found.argmin(), found.argmax()]], *self._known])
            self._known = (int(sizes.min()), int(sizes.max()))
        return millis

    @property
    def _name(self) -> str:
        return self._names[self._indexes.time]

    @property
    def _hints(self) -> TimeHints:
        return find_time_hints(self._name, self._options)

    def _read_numbers(self, values: pa.Array[Any]) -> npt.NDArray[Any]:
        """Return the numbers of a column, NaN for what is not a number."""
        import pyarrow as pa

        if is_text(values):
            return read_numbers(make_column(to_texts(values)), self._numbers)
        try:
            column = values.cast(pa.float64(), safe=False)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return np.array([_to_number(value) for value in values.to_pylist()], np.float64)
        # Copied: Arrow's arrays are read-only and keep their batch alive.
        return np.array(column.to_numpy(zero_copy_only=False), np.float64)


def _to_number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]  # what is not a number is caught
    except (TypeError, ValueError, OverflowError):
        return math.nan
