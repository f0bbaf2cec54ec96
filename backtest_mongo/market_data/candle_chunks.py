"""The options of a reader of candle files, and what it yields: chunks of checked candles, and the bad lines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from backtest_mongo.core.candle_headers import plain_symbol
from backtest_mongo.core.candle_rules import explain_problem, find_impossible_rows
from backtest_mongo.errors import InputError
from backtest_mongo.market_data.importing import BadLine
from backtest_mongo.types import PRICES

__all__ = [
    "DEFAULT",
    "ROWS",
    "BadLine",
    "Chunk",
    "Columns",
    "Lines",
    "ReadOptions",
    "SymbolSelection",
    "count_unordered_prices",
    "find_bad_candles",
]


_LISTED: Final = 10


@dataclass(frozen=True)
class ReadOptions:
    """How to read a candle file, where the file itself does not say.

    Attributes:
        columns: the names of its columns, in their order; ``None`` to find them.
        unit: what numeric times count: ``s``, ``ms``, ``us``, ``ns``, or ``auto`` to find it.
        interval: the interval of its candles, which helps to find the unit and the order of day and month; ``None`` for
            any.
        symbol: the symbol whose rows are read if a file names symbols; ``None`` for all.
        force: read a file that names one other symbol.
        volume: ``False`` to store 0 instead of a volume.
        decimal: the decimal mark, ``.`` or ``,``; ``None`` to find it.
        time_format: how times are written, as in ``strptime``; ``None`` to find it.
        zone: the time zone of times that name none; ``None`` for UTC.
    """

    columns: Sequence[str] | None = None
    unit: str = "auto"
    interval: str | None = None
    symbol: str | None = None
    force: bool = False
    volume: bool = True
    decimal: str | None = None
    time_format: str | None = None
    zone: tzinfo | None = None


DEFAULT: Final = ReadOptions()


class SymbolSelection:
    """Selects the symbols of a file that are read. Spellings that differ in case and punctuation are one symbol.

    Args:
        where: the file's name.
        options: which symbol is wanted.
        option: what names it on the command line.
    """

    def __init__(self, where: str, options: ReadOptions, option: str = "--symbol") -> None:
        self._where = where
        self._option = option
        self._wanted = options.symbol
        self._force = options.force
        self._names: dict[str, str] = {}
        self._taken: str | None = None if options.symbol is None else plain_symbol(options.symbol)
        self._found = False

    def choose(self, symbols: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
        """Yield each symbol that is read, in its first spelling, with all its spellings among ``symbols``."""
        groups: dict[str, list[str]] = {}
        for symbol in symbols:
            plain = plain_symbol(symbol)
            self._names.setdefault(plain, symbol.strip())
            groups.setdefault(plain, []).append(symbol)
        if self._wanted is None:
            for plain, spellings in groups.items():
                self._found = True
                yield self._names[plain], spellings
            return
        if self._force and not self._found and self._taken not in groups and len(self._names) == 1:
            self._taken = next(iter(self._names))
        if self._taken in groups:
            self._found = True
            yield self._names[self._taken], groups[self._taken]

    def check(self) -> None:
        """Check, at the end of a file, that some row was read.

        Raises:
            InputError: all rows are of other symbols.
        """
        if self._names and not self._found:
            names = sorted(self._names.values())
            more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
            advice = "--force stores it all the same" if len(names) == 1 else f"{self._option} takes one of them"
            raise InputError(
                f"{self._where}: is of {', '.join(names[:_LISTED])}{more}, not of {self._wanted}", hint=advice
            )


#: About how many rows a chunk has.
ROWS: Final = 50_000
#: By what share open and close may exceed high and low: adjusted prices are rounded one by one.
_TOLERANCE: Final = 1e-9

Columns: TypeAlias = dict[str, npt.NDArray[Any]]
Lines: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Chunk:
    """About 50,000 candles of one symbol at most, in the order of the file.

    Attributes:
        columns: ``timestamp`` (int64, milliseconds, UTC) and ``open``, ``high``, ``low``, ``close`` and ``volume``
            (float64, finite).
        lines: the number of each row's line in the file, from 1; in a table, of its row.
        bad: the lines that are not candles.
        position: how many bytes of the file are read so far.
        note: how the file was understood; only in its first chunk.
        symbol: the file's name for the series, if it has one.
        others: how many rows of other symbols were skipped.
    """

    columns: Columns
    lines: Lines
    bad: list[BadLine] = field(default_factory=list)
    position: int = 0
    note: str = ""
    symbol: str | None = None
    others: int = 0


def find_bad_candles(columns: Mapping[str, npt.NDArray[Any]]) -> dict[int, str]:
    """Return the rows that can't be stored, with the reasons.

    Candles of every file format are checked here before anything is written.
    """
    refused: dict[int, str] = {}
    for reason, rows in find_impossible_rows(columns).items():
        refused |= {row: _explain(columns, row) or reason for row in rows.tolist()}
    return refused


def _explain(columns: Mapping[str, npt.NDArray[Any]], row: int) -> str | None:
    candle = {name: columns[name][row].item() for name in ("timestamp", *PRICES)}
    return explain_problem(candle) if all(map(math.isfinite, candle.values())) else None


def count_unordered_prices(columns: Mapping[str, npt.NDArray[Any]]) -> tuple[int, int]:
    """Return in how many rows high is not the highest price or low not the lowest, and how many rows have prices."""
    top = np.maximum(columns["open"], columns["close"])
    bottom = np.minimum(columns["open"], columns["close"])
    with np.errstate(invalid="ignore"):
        room = _TOLERANCE * np.maximum(np.abs(top), np.abs(bottom))
        unsound = (columns["high"] < top - room) | (columns["low"] > bottom + room)
    known = np.isfinite(top) & np.isfinite(bottom) & np.isfinite(columns["high"]) & np.isfinite(columns["low"])
    return int(np.count_nonzero(unsound & known)), int(np.count_nonzero(known))


def check_price_order(columns: Columns, where: str, header: bool) -> None:
    """Check that in most rows high is the highest price and low the lowest.

    Raises:
        InputError: they aren't, so the columns must be in another order.
    """
    unsound, rows = count_unordered_prices(columns)
    if 2 * unsound > rows:
        taken = (
            ""
            if header
            else "without a header the columns are taken as a time, open, high, low, close and volume, but "
        )
        raise InputError(
            f"{where}: {taken}in {unsound:,} of the first {rows:,} rows high is not the highest or low not the lowest",
            hint="--columns names the columns in their order: time,open,close,high,low,volume, for example",
        )
