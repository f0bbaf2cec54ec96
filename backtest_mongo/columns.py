"""Candles that this process has read, as columns in bounded memory.

A stored candle never changes, so what was read once can be given again without asking. That a candle is absent is never
remembered: it is asked for again. Rows beside their interval's grid are not kept.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from backtest_mongo.specs import Key
from backtest_mongo.types import Candle, Document

if TYPE_CHECKING:
    from backtest_mongo.arrays import CandleArrays

__all__ = ["CandleColumns", "Series"]

#: Rows of a block.
BLOCK: Final = 1024
#: One byte for the presence and five floats for each row, and what Python needs to hold them together.
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
    """The blocks of every series on one event loop; the least recently used go first when the bound is reached."""

    def __init__(self, max_bytes: int) -> None:
        self._max_blocks = max_bytes // BLOCK_BYTES
        self._blocks: OrderedDict[tuple[Key, int], _Block] = OrderedDict()
        self._series: dict[Key, Series] = {}

    @property
    def bytes(self) -> int:
        """The memory that the blocks take."""
        return len(self._blocks) * BLOCK_BYTES

    @property
    def rows(self) -> int:
        """How many rows there is room for."""
        return self._max_blocks * BLOCK

    def series(self, context: Key, step: int) -> Series:
        """Return what is kept of one series; ``step`` is its interval in milliseconds."""
        series = self._series.get(context)
        if series is None:
            series = self._series[context] = Series(self, context, step)
        return series

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
    """One series. Positions are timestamps divided by its interval."""

    def __init__(self, columns: CandleColumns, context: Key, step: int) -> None:
        self._columns = columns
        self._context = context
        self.step = step
        #: How many rows were last read ahead, and the positions that this covered: what is absent there was not stored
        #: then, and is asked for alone.
        self._ahead = 0
        self._covered = range(0)

    def rows_ahead(self, missing: int, window: range) -> int:
        """Return how many rows to fetch beyond a window of which the row at ``missing`` is the first that is not kept.

        None for a window that stands alone; for one that goes on where another ended, more each time.
        """
        goes_on = missing > window.start or self._has(missing - 1)
        if not goes_on or missing in self._covered:
            return 0
        self._ahead = min(max(_AHEAD_GROWTH * self._ahead, _AHEAD_LEAST), self._columns.rows // 4, _AHEAD_MOST)
        self._covered = range(missing, window.stop + self._ahead)
        return self._ahead

    def get(self, first: int, limit: int) -> tuple[list[Candle], int]:
        """Return the rows from position ``first`` on, up to ``limit`` or the first that is not kept, and how many."""
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
            rows += _rows(block, start, stop, position * self.step, self.step)
            position += stop - start
            if absent >= 0:
                break
        return rows, position - first

    def _has(self, position: int) -> bool:
        number, offset = divmod(position, BLOCK)
        block = self._columns._get(self._context, number)
        return block is not None and bool(block.present[offset])

    def put(self, rows: Sequence[Document]) -> None:
        """Keep rows of the grid, as they come from the store; those beside it are passed over."""
        step, number, block = self.step, None, None
        for row in rows:
            position, beside = divmod(int(row["timestamp"]), step)
            if beside:
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

        positions, beside = np.divmod(candles.timestamp, self.step)
        if beside.any():
            candles, positions = candles.take(beside == 0), positions[beside == 0]
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


def _rows(block: _Block, start: int, stop: int, timestamp: int, step: int) -> list[Candle]:
    return [
        {"timestamp": time, "open": open_, "high": high, "low": low, "close": close, "volume": volume}
        for time, open_, high, low, close, volume in zip(
            range(timestamp, timestamp + (stop - start) * step, step),
            block.open[start:stop],
            block.high[start:stop],
            block.low[start:stop],
            block.close[start:stop],
            block.volume[start:stop],
            strict=True,
        )
    ]
