"""Candles in text: CSV with commas, semicolons or tabs."""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, BinaryIO, Final

import numpy as np

from backtest_mongo.candles.chunk import ROWS, BadLine, Chunk, Columns, Lines, wrong_rows
from backtest_mongo.candles.layout import SAMPLE, Layout, find_layout, parse_line, split_line
from backtest_mongo.candles.times import Millis, numbers_to_millis, text_to_millis
from backtest_mongo.errors import InputError
from backtest_mongo.types import PRICES

__all__ = ["read_text"]

#: Characters read at a time, and the most that a line may have.
_BLOCK: Final = 1 << 18
_LONGEST: Final = 1 << 20
#: What so few lines hold is read line by line where it can't be read at once.
_FEW: Final = 256


def read_text(
    stream: BinaryIO, position: Callable[[], int], where: str, columns: Sequence[str] | None, unit: str
) -> Iterator[Chunk]:
    """Yield the candles of a text file chunk by chunk; ``position`` tells how many bytes were read.

    Raises:
        InputError: its first lines can't be understood, or a line has no end.
    """
    layout: Layout | None = None
    number = 1
    for lines in _groups(stream, where):
        bad: list[BadLine] = []
        note, skipped = "", 0
        if layout is None:
            layout = find_layout(lines[:SAMPLE], where, columns, unit)
            note, skipped = layout.note, layout.head
            bad = _cut_off(lines[:skipped], layout)
        numbers = np.arange(number + skipped, number + len(lines), dtype=np.int64)
        number += len(lines)
        table, kept = _convert(lines[skipped:], numbers, layout, bad)
        yield Chunk(table, kept, bad, position(), note)


def _cut_off(lines: Sequence[str], layout: Layout) -> list[BadLine]:
    """Return the lines before the table that are neither its header nor text: rows that something is missing of."""
    parts = [len(split_line(line, layout.delimiter)) for line in lines]
    needed = max(layout.places.all) + 1
    return [
        BadLine(number, f"{count} fields instead of {needed}")
        for number, count in enumerate(parts, 1)
        if 1 < count < needed
    ]


def _groups(stream: BinaryIO, where: str) -> Iterator[list[str]]:
    """Yield all lines of a file, about as many at a time as a chunk has rows."""
    lines: list[str] = []
    rest = ""
    number = 1
    with _decoded(stream) as text:
        while block := text.read(_BLOCK):
            *whole, rest = (rest + block).split("\n")
            lines += whole
            if len(rest) > _LONGEST:
                raise InputError(f"{where}: line {number + len(lines)} has more than {_LONGEST:,} characters")
            if len(lines) >= ROWS:
                yield lines
                number += len(lines)
                lines = []
        if rest:
            lines.append(rest)
        # Without any line that has something on it there is nothing to understand.
        if any(line.strip() for line in lines):
            yield lines


def _decoded(stream: BinaryIO) -> io.TextIOWrapper:
    buffered = io.BufferedReader(stream)  # type: ignore[arg-type, type-var, unused-ignore]  # it reads, and that does
    start = buffered.peek(4)
    # MetaTrader writes UTF-16. What is no text at all becomes lines that are no candles.
    utf16 = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return io.TextIOWrapper(buffered, "utf-16" if utf16 else "utf-8-sig", errors="replace")


def _convert(lines: list[str], numbers: Lines, layout: Layout, bad: list[BadLine]) -> tuple[Columns, Lines]:
    """Return the columns of ``lines``, and the numbers of those that are candles; add the others to ``bad``."""
    if "" in lines:
        full = [place for place, line in enumerate(lines) if line]
        lines, numbers = [lines[place] for place in full], numbers[full]
    if not lines:
        return _one_by_one([], numbers, layout, bad)
    try:
        table, wrong = _at_once(lines, layout)
    except (ValueError, OverflowError):
        if len(lines) <= _FEW:
            return _one_by_one(lines, numbers, layout, bad)
        # One bad line need not make all the others slow.
        half = len(lines) // 2
        first = _convert(lines[:half], numbers[:half], layout, bad)
        return _joined(first, _convert(lines[half:], numbers[half:], layout, bad))
    if wrong.any():
        # Each once more for the reason; what turns out to be a candle after all takes its place.
        places = np.flatnonzero(wrong)
        rest = _one_by_one([lines[place] for place in places], numbers[places], layout, bad)
        table, numbers = _joined(({name: column[~wrong] for name, column in table.items()}, numbers[~wrong]), rest)
        order = np.argsort(numbers)
        return {name: column[order] for name, column in table.items()}, numbers[order]
    return table, numbers


def _joined(first: tuple[Columns, Lines], second: tuple[Columns, Lines]) -> tuple[Columns, Lines]:
    columns = {name: np.concatenate((first[0][name], second[0][name])) for name in first[0]}
    return columns, np.concatenate((first[1], second[1]))


def _at_once(lines: list[str], layout: Layout) -> tuple[Columns, Any]:
    """Return all columns of ``lines``, and where they are no candles.

    Raises:
        ValueError: a line has too few fields, or one that is no number.
    """
    places = layout.places
    kinds: list[tuple[str, str]] = [("time", "U48")]
    kinds += [] if places.clock is None else [("clock", "U24")]
    kinds += [(name, "f8") for name in PRICES]
    kinds += [] if places.symbol is None else [("symbol", "U64")]
    rows = np.loadtxt(
        lines, kinds, comments=None, delimiter=layout.delimiter, usecols=places.all, quotechar='"', ndmin=1
    )
    if len(rows) != len(lines):  # a quote that spans lines
        raise ValueError
    columns: Columns = {"timestamp": _times(rows, layout)}
    columns |= {name: np.ascontiguousarray(rows[name]) for name in PRICES}
    wrong = wrong_rows(columns)
    if places.symbol is not None:
        wrong |= rows["symbol"] != layout.symbol
    return columns, wrong


def _times(rows: Any, layout: Layout) -> Millis:
    if layout.places.clock is not None:
        times = zip(rows["time"].tolist(), rows["clock"].tolist(), strict=True)
        return np.array([text_to_millis(f"{day} {clock}", layout.unit) for day, clock in times], np.int64)
    for kind in (np.int64, np.float64):
        with suppress(ValueError, OverflowError):
            return numbers_to_millis(rows["time"].astype(kind), layout.unit)
    return np.array([text_to_millis(text, layout.unit) for text in rows["time"].tolist()], np.int64)


def _one_by_one(lines: list[str], numbers: Lines, layout: Layout, bad: list[BadLine]) -> tuple[Columns, Lines]:
    times: list[int] = []
    prices: list[tuple[float, ...]] = []
    kept: list[int] = []
    for line, number in zip(lines, numbers.tolist(), strict=True):
        if not line.strip():
            continue
        try:
            row = parse_line(line, layout)
        except ValueError as error:
            bad.append(BadLine(number, str(error)))
        else:
            times.append(row.timestamp)
            prices.append(row.prices)
            kept.append(number)
    table = np.array(prices, np.float64).reshape(-1, len(PRICES))
    columns: Columns = {"timestamp": np.array(times, np.int64)}
    columns |= {name: np.ascontiguousarray(table[:, place]) for place, name in enumerate(PRICES)}
    return columns, np.array(kept, np.int64)
