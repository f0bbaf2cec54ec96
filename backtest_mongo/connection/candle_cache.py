"""The candle cache: candles that this process has read, as columns in bounded memory.

A stored candle never changes, so what was read once is returned again without asking. Absence is never cached. Off-grid
rows are not kept. When candles are deleted, this process drops all that it keeps of their series; other processes may
return the deleted candles until they close.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from backtest_mongo.core.interval_grid import IntervalGrid
from backtest_mongo.core.specs import Key
from backtest_mongo.types import Candle, Document

if TYPE_CHECKING:
    from backtest_mongo.core.arrays import CandleArrays

__all__ = ["CandleColumns", "Series"]

#: Rows of a block.
BLOCK: Final = 1024
#: One byte for presence and five floats per row, and the overhead of Python's objects.
BLOCK_BYTES: Final = BLOCK * (1 + 5 * 8) + 1024

_ABSENT: Final = b"\0"

_AHEAD_LEAST: Final = 64
_AHEAD_GROWTH: Final = 4
_AHEAD_MOST: Final = 8192


class _Block:
    __slots__ = ("close", "high", "low", "open", "present", "volume")

    def __init__(self) -> None:
        self.present = bytearray(BLOCK)
        self.open, self.high, self.low, self.close, self.volume = (array("d", bytes(8 * BLOCK)) for _ in range(5))


class CandleColumns:
    """The blocks of every series on one event loop. When they are full, the least recently used are dropped."""

    def __init__(self, max_bytes: int) -> None:
        self._max_blocks = max_bytes // BLOCK_BYTES
        #: How many rows there is room for.
        self.rows: int = self._max_blocks * BLOCK
        self._blocks: OrderedDict[tuple[Key, int], _Block] = OrderedDict()
        self._series: dict[Key, Series] = {}

    @property
    def bytes(self) -> int:
        """The memory of the blocks."""
        return len(self._blocks) * BLOCK_BYTES

    def series(self, context: Key, interval: IntervalGrid) -> Series:
        """Return the cache of one series."""
        series = self._series.get(context)
        if series is None:
            series = self._series[context] = Series(self, context, interval)
        return series

    def forget(self, context: Key) -> None:
        """Drop all rows of one series; rows that are being read now are not kept either."""
        series = self._series.pop(context, None)
        if series is not None:
            series.is_forgotten = True
        for known in [known for known in self._blocks if known[0] == context]:
            del self._blocks[known]

    def clear(self) -> None:
        self._blocks.clear()
        self._series.clear()

    def _get(self, context: Key, number: int) -> _Block | None:
        block = self._blocks.get((context, number))
        if block is not None:
            self._blocks.move_to_end((context, number))
        return block

    def _make(self, context: Key, number: int) -> _Block:
        block = self._get(context, number)
        if block is None:
            while len(self._blocks) >= self._max_blocks:
                self._blocks.popitem(last=False)
            block = self._blocks[context, number] = _Block()
        return block


class Series:
    """One series. Positions are places of its interval's grid."""

    def __init__(self, columns: CandleColumns, context: Key, interval: IntervalGrid) -> None:
        self._columns = columns
        self._context = context
        self._interval = interval
        #: How many rows were last read ahead, and the positions that this covered: a row that is missing there was not
        #: stored then, and is read without look-ahead.
        self._ahead = 0
        self._covered = range(0)
        #: Whether candles of it were deleted since: rows that were read before are not kept.
        self.is_forgotten: bool = False

    def rows_ahead(self, missing: int, window: range) -> int:
        """Return the look-ahead: how many rows to fetch beyond a window of which ``missing`` is the first not kept.

        It is zero for a lone window, and grows each time that a window continues where another ended.
        """
        continues = missing > window.start or self._has(missing - 1)
        if not continues or missing in self._covered:
            return 0
        self._ahead = min(max(_AHEAD_GROWTH * self._ahead, _AHEAD_LEAST), self._columns.rows // 4, _AHEAD_MOST)
        self._covered = range(missing, window.stop + self._ahead)
        return self._ahead

    def get(self, first: int, limit: int) -> tuple[list[Candle], int]:
        """Return the rows from ``first`` on, up to ``limit`` or the first that is not kept, and their number."""
        rows: list[Candle] = []
        position, end = first, first + limit
        while position < end:
            number, start = divmod(position, BLOCK)
            block = self._columns._get(self._context, number)
            if block is None:
                break
            stop = min(start + end - position, BLOCK)
            absent = block.present.find(_ABSENT, start, stop)
            if absent >= 0:
                stop = absent
            rows += _rows(block, start, stop, self._interval.times(self._interval.time(position), stop - start))
            position += stop - start
            if absent >= 0:
                break
        return rows, position - first

    def _has(self, position: int) -> bool:
        number, offset = divmod(position, BLOCK)
        block = self._columns._get(self._context, number)
        return block is not None and bool(block.present[offset])

    def put(self, rows: Sequence[Document]) -> None:
        """Keep rows as they come from the store, except for off-grid ones."""
        if self.is_forgotten:
            return
        locate, number, block = self._interval.locate, None, None
        for row in rows:
            position, off_grid = locate(int(row["timestamp"]))
            if off_grid:
                continue
            wanted, offset = divmod(position, BLOCK)
            if block is None or wanted != number:
                number, block = wanted, self._columns._make(self._context, wanted)
            block.open[offset] = row["open"]
            block.high[offset] = row["high"]
            block.low[offset] = row["low"]
            block.close[offset] = row["close"]
            block.volume[offset] = row["volume"]
            block.present[offset] = 1

    def put_arrays(self, candles: CandleArrays) -> None:
        """Keep rows that were read as columns."""
        import numpy as np

        if self.is_forgotten:
            return
        positions, off_grid = self._interval.locate_all(candles.timestamp)
        if off_grid.any():
            candles, positions = candles.take(off_grid == 0), positions[off_grid == 0]
        numbers, offsets = np.divmod(positions, BLOCK)
        edges = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
        for start, stop in pairwise(edges):
            if start == stop:
                continue
            block = self._columns._make(self._context, int(numbers[start]))
            places = offsets[start:stop]
            columns = (block.open, block.high, block.low, block.close, block.volume)
            for kept, column in zip(columns, candles.prices, strict=True):
                np.frombuffer(kept)[places] = column[start:stop]
            np.frombuffer(block.present, np.uint8)[places] = 1


def _rows(block: _Block, start: int, stop: int, times: Iterable[int]) -> list[Candle]:
    return [
        {"timestamp": time, "open": open_, "high": high, "low": low, "close": close, "volume": volume}
        for time, open_, high, low, close, volume in zip(
            times,
            block.open[start:stop],
            block.high[start:stop],
            block.low[start:stop],
            block.close[start:stop],
            block.volume[start:stop],
            strict=True,
        )
    ]
