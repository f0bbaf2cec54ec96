"""Which candles are missing between those that are stored, or around them. Pure arithmetic, in milliseconds.

Between two candles that are 1.5 intervals apart or more ``round(distance / interval) - 1`` candles are missing, an
interval each from the one before. Before the first candle they are counted back from it, after the last one on from it,
and of a series without candles from the beginning of the range.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from backtest_mongo.core.interval_grid import IntervalGrid
from backtest_mongo.types import Gap

__all__ = ["GapFinder", "find_missing"]

_EVER: Final = 2**63


def find_missing(
    interval: IntervalGrid, before: int | None, after: int | None, first: int | None, end: int | None
) -> tuple[int, range]:
    """Return what is missing between two gap edges: a candle's time, and the steps from it to the missing candles.

    Args:
        before: the time of the candle before; ``None`` if there is none.
        after: that of the one after; ``None`` if there is none.
        first: only candles from here on.
        end: only candles before this.
    """
    until = (_EVER if end is None else end) - 1
    if before is not None:
        start = 1 if first is None else max(1, interval.steps(before, first - 1) + 1)
        stop = interval.steps(before, until)
        return before, range(start, 1 + (stop if after is None else min(stop, interval.missing(before, after))))
    if first is None:
        return 0, range(0)
    if after is not None:
        return after, range(interval.steps(after, first - 1) + 1, min(0, interval.steps(after, until) + 1))
    return first, range(interval.steps(first, until) + 1)


@dataclass(frozen=True, slots=True)
class GapFinder:
    """Finds gaps within a half-open range, of candles that have closed by ``now``.

    Attributes:
        interval: of the candles.
        first: where the range begins; ``None`` for the first candle.
        end: where it ends; ``None`` for ``now``.
        now: what has not closed by then is not missing.
    """

    interval: IntervalGrid
    first: int | None
    end: int | None
    now: int

    def overlaps(self, lowest: int, highest: int) -> bool:
        """Return whether the range overlaps that from the first to the last candle."""
        return (self.first is None or self.first <= highest) and (self.end is None or self.end > lowest)

    def find_all(self, times: Sequence[int]) -> Iterator[Gap]:
        """Yield the gaps of a series that consists of these times, ascending."""
        if not times:
            yield from self._find(None, None, self.end)
            return
        yield from self.find_before(times[0])
        if self.overlaps(times[0], times[-1]):
            for before, after in pairwise(times):
                yield from self.find_between(before, after)
        yield from self.find_after(times[-1])

    def find_before(self, lowest: int) -> Iterator[Gap]:
        """Yield the gap before the first candle, if there is one."""
        if self.first is not None and self.first < lowest:
            yield from self._find(None, lowest, lowest if self.end is None else min(self.end, lowest))

    def find_between(self, before: int, after: int) -> Iterator[Gap]:
        """Yield the gap between two candles next to each other, if there is one."""
        if after - before >= self.interval.suspect:
            yield from self._find(before, after, self.end)

    def find_after(self, highest: int) -> Iterator[Gap]:
        """Yield the gap after the last candle, if there is one."""
        yield from self._find(highest, None, self.end)

    def _find(self, before: int | None, after: int | None, end: int | None) -> Iterator[Gap]:
        interval, first = self.interval, self.first
        at, missing = find_missing(interval, before, after, first, end)
        closed = range(missing.start, min(missing.stop, interval.steps(at, self.now)))
        if not closed:
            return
        start, stop = interval.shift(at, closed.start), interval.shift(at, closed.stop)
        if before is not None and after is not None:
            whole = interval.missing(before, after)
            if closed.start == 1:
                # Where the grid has moved, the first may lie as many steps before the candle after as are missing.
                start = min(start, interval.shift(after, -whole))
                start = start if first is None else max(start, first)
            if closed.stop == whole + 1:
                stop = after
        elif before is None and after is None and end is not None:
            stop = min(stop, end)
        yield Gap(start, stop, len(closed))
