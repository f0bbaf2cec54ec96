"""Reading candles from text files: CSV with any delimiter."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from backtest_mongo.core.candle_headers import ColumnIndexes
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
from backtest_mongo.market_data.csv_fields import Fields, split_line, split_lines
from backtest_mongo.market_data.csv_layout import Layout, find_layout, has_numbers, read_time_column
from backtest_mongo.market_data.number_formats import parse_number, read_numbers
from backtest_mongo.market_data.text_blocks import read_blocks
from backtest_mongo.market_data.time_formats import NO_TIME, describe_time, find_strays, read_times
from backtest_mongo.types import PRICES

__all__ = ["read_text"]


def read_text(stream: BinaryIO, position: Callable[[], int], where: str, options: ReadOptions) -> Iterator[Chunk]:
    """Yield the candles of a text file chunk by chunk; ``position`` returns how many bytes on disk are read.

    Raises:
        InputError: its first lines can't be understood, none of them is a candle, all rows are of other symbols, or a
            line is too long.
    """
    table: _Table | None = None
    number = 1
    for block in read_blocks(stream, where):
        lines = block.count(b"\n")
        if table is None:
            if not block.strip():
                number += lines
                continue
            table = _Table(find_layout(block, where, options), where, options)
            yield from table.read_first(block, number, position())
        else:
            yield from table.read(block, number, position())
        number += lines
    if table is not None:
        table.selection.check()


class _Table:
    """Reads the blocks of one file by its layout."""

    def __init__(self, layout: Layout, where: str, options: ReadOptions) -> None:
        self.selection = SymbolSelection(where, options)
        self._layout = layout
        self._where = where
        self._options = options
        #: How far the times so far are from the epoch, at least and at most.
        self._known: tuple[int, ...] = ()

    def read_first(self, block: bytes, number: int, position: int) -> Iterator[Chunk]:
        """Yield the candles of the first block, after checking that it has some."""
        layout = self._layout
        head = block.split(b"\n", layout.head)[: layout.head]
        cut = _find_cut_rows([line.decode("utf-8", "replace") for line in head], layout, number)
        rest = block[sum(map(len, head)) + len(head) :]
        fields = split_lines(rest, layout.delimiter, layout.width)
        if len(fields):
            self._check(fields, number + layout.head)
        note = layout.note
        for chunk in self._chunks(fields, number + layout.head, position):
            yield Chunk(chunk.columns, chunk.lines, [*cut, *chunk.bad], position, note, chunk.symbol, chunk.others)
            cut, note = [], ""

    def read(self, block: bytes, number: int, position: int) -> Iterator[Chunk]:
        """Yield the candles of another block, whose first line has the given number."""
        yield from self._chunks(split_lines(block, self._layout.delimiter, self._layout.width), number, position)

    def _check(self, fields: Fields, number: int) -> None:
        """Refuse a file whose first rows are not candles, or whose prices must be in another order."""
        columns = {indexes: self._columns(fields, indexes) for indexes in self._layout.series.values()}
        for one in columns.values():
            check_price_order(one, self._where, self._layout.names is not None)
            if len(find_bad_candles(one)) < len(fields):
                return
        indexes, one = next(iter(columns.items()))
        reason = self._reason(fields, 0, indexes, one)
        raise InputError(
            f"{self._where}: line {number + fields.lines[0]} is not a candle, nor is any of the next: {reason}",
            hint="--columns names the columns in their order, --time-unit what numeric times count",
        )

    def _chunks(self, fields: Fields, number: int, position: int) -> Iterator[Chunk]:
        """Yield a chunk per symbol; the first has the bad lines."""
        width = self._layout.width
        bad = [BadLine(number + line, _describe_width(count, width)) for line, count in fields.ragged]
        chunks: list[Chunk] = []
        for symbol, indexes, rows in self._series(fields):
            chunk = self._chunk(fields if rows is None else fields.take(rows), number, indexes, symbol, position)
            chunks.append(chunk)
        if not chunks:
            chunks.append(Chunk(_make_empty_columns(), np.empty(0, np.int64), position=position))
        taken = sum(len(chunk.lines) + len(chunk.bad) for chunk in chunks)
        others = len(fields) - taken if self._layout.indexes.symbol is not None else 0
        first = chunks[0]
        merged = sorted([*bad, *first.bad]) if bad else first.bad
        yield Chunk(first.columns, first.lines, merged, position, "", first.symbol, others)
        yield from chunks[1:]

    def _series(self, fields: Fields) -> Iterator[tuple[str | None, ColumnIndexes, npt.NDArray[np.bool_] | None]]:
        """Yield each series that is read: its symbol, the indexes of its columns, and its rows."""
        series = self._layout.series
        if None not in series:
            names = cast("dict[str, ColumnIndexes]", series)
            for symbol, spellings in self.selection.choose(list(names)):
                yield symbol, names[spellings[0]], None
            return
        indexes = series[None]
        if indexes.symbol is None:
            yield None, indexes, None
            return
        kinds, first, which = np.unique(fields.column(indexes.symbol).bytes(), return_index=True, return_inverse=True)
        texts = [kind.decode("utf-8", "replace") for kind in kinds.tolist()]
        for symbol, spellings in self.selection.choose([texts[at] for at in np.argsort(first)]):
            rows = np.isin(which, [texts.index(spelling) for spelling in spellings])
            yield symbol, indexes, None if rows.all() else rows

    def _chunk(self, fields: Fields, number: int, indexes: ColumnIndexes, symbol: str | None, position: int) -> Chunk:
        columns = self._columns(fields, indexes)
        refused = find_bad_candles(columns)
        lines = number + fields.lines
        if not refused:
            return Chunk(columns, lines, [], position, symbol=symbol)
        if len(self._layout.series) > 1:
            # If symbols have columns side by side, the fields of one without a candle at a time are empty.
            refused = {row: reason for row, reason in refused.items() if not self._is_empty(fields, row, indexes)}
            kept = np.isfinite(columns["open"]) & np.isfinite(columns["close"])
        else:
            kept = np.ones(len(lines), np.bool_)
        bad = [
            BadLine(int(lines[row]), self._reason(fields, row, indexes, columns) or reason)
            for row, reason in sorted(refused.items())
        ]
        kept[list(refused)] = False
        return Chunk(
            {name: column[kept] for name, column in columns.items()}, lines[kept], bad, position, symbol=symbol
        )

    def _columns(self, fields: Fields, indexes: ColumnIndexes) -> Columns:
        layout = self._layout
        columns: Columns = {"timestamp": read_times(read_time_column(fields, indexes), layout.times)}
        if layout.times.kind == "number":
            strays = find_strays(columns["timestamp"], self._options.interval, self._known)
            columns["timestamp"][strays] = NO_TIME
            known = columns["timestamp"][columns["timestamp"] != NO_TIME]
            if len(known):
                sizes = np.abs([*known[[known.argmin(), known.argmax()]], *self._known])
                self._known = (int(sizes.min()), int(sizes.max()))
        for name, index in zip(PRICES, indexes.prices, strict=False):
            columns[name] = read_numbers(fields.column(index), layout.numbers)
        columns.setdefault("volume", np.zeros(len(fields)))
        return columns

    def _is_empty(self, fields: Fields, row: int, indexes: ColumnIndexes) -> bool:
        return not any(fields.text(row, index) for index in indexes.prices)

    def _reason(self, fields: Fields, row: int, indexes: ColumnIndexes, columns: Columns) -> str:
        """Return why a row can't be read; empty if it can."""
        if columns["timestamp"][row] == NO_TIME:
            text = fields.text(row, indexes.time)
            if indexes.clock is not None:
                text = f"{text} {fields.text(row, indexes.clock)}".strip()
            return describe_time(text, self._layout.times)
        for name, index in zip(PRICES, indexes.prices, strict=False):
            if not math.isfinite(columns[name][row]):
                text = fields.text(row, index)
                if not text:
                    return f"{name} is empty"
                return f"{name} is {'not finite' if self._is_number(text) else 'not a number'}: {text[:40]!r}"
        return ""

    def _is_number(self, text: str) -> bool:
        try:
            parse_number(text, self._layout.numbers)
        except ValueError:
            return text.lower().lstrip("+-") == "nan"
        return True


def _describe_width(count: int, width: int) -> str:
    return f"{format_count(count, 'field')} instead of {width}"


def _make_empty_columns() -> dict[str, npt.NDArray[Any]]:
    return {"timestamp": np.empty(0, np.int64), **{name: np.empty(0) for name in PRICES}}


def _find_cut_rows(lines: list[str], layout: Layout, number: int) -> list[BadLine]:
    """Return the lines before the table that are neither its header nor text: rows with missing fields."""
    counts = [len(split_line(line, layout.delimiter)) for line in lines]
    return [
        BadLine(number + at, _describe_width(count, layout.width))
        for at, (line, count) in enumerate(zip(lines, counts, strict=True))
        if count < layout.width and ((count > 1 and line[:1].isdigit()) or has_numbers(line))
    ]
