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

__all__ = ["CandleCache", "SeriesCache"]

#: Rows of a chunk.
CHUNK: Final = 1024
#: One byte for presence and five floats per row, and the overhead of Python's objects.
CHUNK_BYTES: Final = CHUNK * (1 + 5 * 8) + 1024

_ABSENT: Final = b"\0"

_AHEAD_LEAST: Final = 64
_AHEAD_GROWTH: Final = 4
_AHEAD_MOST: Final = 8192


class _Chunk:
    __slots__ = ("close", "high", "low", "open", "present", "volume")

    def __init__(self) -> None:
        self.present = bytearray(CHUNK)
        self.open, self.high, self.low, self.close, self.volume = (array("d", bytes(8 * CHUNK)) for _ in range(5))


class CandleCache:
    """The chunks of every series on one event loop. When they are full, the least recently used are dropped."""

    def __init__(self, max_bytes: int) -> None:
        self._max_chunks = max_bytes // CHUNK_BYTES
        #: How many rows there is room for.
        self.rows: int = self._max_chunks * CHUNK
        self._chunks: OrderedDict[tuple[Key, int], _Chunk] = OrderedDict()
        self._series: dict[Key, SeriesCache] = {}

    @property
    def bytes(self) -> int:
        """The memory of the chunks."""
        return len(self._chunks) * CHUNK_BYTES

    def series(self, context: Key, interval: IntervalGrid) -> SeriesCache:
        """Return the cache of one series."""
        series = self._series.get(context)
        if series is None:
            series = self._series[context] = SeriesCache(self, context, interval)
        return series

    def forget(self, context: Key) -> None:
        """Drop all rows of one series; rows that are being read now are not kept either."""
        series = self._series.pop(context, None)
        if series is not None:
            series.is_forgotten = True
        for known in [known for known in self._chunks if known[0] == context]:
            del self._chunks[known]

    def clear(self) -> None:
        self._chunks.clear()
        self._series.clear()

    def _get(self, context: Key, number: int) -> _Chunk | None:
        chunk = self._chunks.get((context, number))
        if chunk is not None:
            self._chunks.move_to_end((context, number))
        return chunk

    def _make(self, context: Key, number: int) -> _Chunk:
        chunk = self._get(context, number)
        if chunk is None:
            while len(self._chunks) >= self._max_chunks:
                self._chunks.popitem(last=False)
            chunk = self._chunks[context, number] = _Chunk()
        return chunk


class SeriesCache:
    """The cached candles of one series. Positions are places of its interval's grid."""

    def __init__(self, cache: CandleCache, context: Key, interval: IntervalGrid) -> None:
        self._cache = cache
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
        self._ahead = min(max(_AHEAD_GROWTH * self._ahead, _AHEAD_LEAST), self._cache.rows // 4, _AHEAD_MOST)
        self._covered = range(missing, window.stop + self._ahead)
        return self._ahead

    def get(self, first: int, limit: int) -> tuple[list[Candle], int]:
        """Return the rows from ``first`` on, up to ``limit`` or the first that is not kept, and their number."""
        rows: list[Candle] = []
        position, end = first, first + limit
        while position < end:
            number, start = divmod(position, CHUNK)
            chunk = self._cache._get(self._context, number)
            if chunk is None:
                break
            stop = min(start + end - position, CHUNK)
            absent = chunk.present.find(_ABSENT, start, stop)
            if absent >= 0:
                stop = absent
            rows += _rows(chunk, start, stop, self._interval.times(self._interval.time(position), stop - start))
            position += stop - start
            if absent >= 0:
                break
        return rows, position - first

    def _has(self, position: int) -> bool:
        number, offset = divmod(position, CHUNK)
        chunk = self._cache._get(self._context, number)
        return chunk is not None and bool(chunk.present[offset])

    def put(self, rows: Sequence[Document]) -> None:
        """Keep rows as they come from the store, except for off-grid ones."""
        if self.is_forgotten:
            return
        locate, number, chunk = self._interval.locate, None, None
        for row in rows:
            position, off_grid = locate(int(row["timestamp"]))
            if off_grid:
                continue
            wanted, offset = divmod(position, CHUNK)
            if chunk is None or wanted != number:
                number, chunk = wanted, self._cache._make(self._context, wanted)
            chunk.open[offset] = row["open"]
            chunk.high[offset] = row["high"]
            chunk.low[offset] = row["low"]
            chunk.close[offset] = row["close"]
            chunk.volume[offset] = row["volume"]
            chunk.present[offset] = 1

    def put_arrays(self, candles: CandleArrays) -> None:
        """Keep rows that were read as columns."""
        import numpy as np

        if self.is_forgotten:
            return
        positions, off_grid = self._interval.locate_all(candles.timestamp)
        if off_grid.any():
            candles, positions = candles.take(off_grid == 0), positions[off_grid == 0]
        numbers, offsets = np.divmod(positions, CHUNK)
        edges = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
        for start, stop in pairwise(edges):
            if start == stop:
                continue
            chunk = self._cache._make(self._context, int(numbers[start]))
            places = offsets[start:stop]
            columns = (chunk.open, chunk.high, chunk.low, chunk.close, chunk.volume)
            for kept, column in zip(columns, candles.prices, strict=True):
                np.frombuffer(kept)[places] = column[start:stop]
            np.frombuffer(chunk.present, np.uint8)[places] = 1


def _rows(chunk: _Chunk, start: int, stop: int, times: Iterable[int]) -> list[Candle]:
    return [
        {"timestamp": time, "open": open_, "high": high, "low": low, "close": close, "volume": volume}
        for time, open_, high, low, close, volume in zip(
            times,
            chunk.open[start:stop],
            chunk.high[start:stop],
            chunk.low[start:stop],
            chunk.close[start:stop],
            chunk.volume[start:stop],
            strict=True,
        )
    ]
