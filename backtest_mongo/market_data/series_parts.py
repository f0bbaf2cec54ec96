"""Reading a long series part by part, in bounded memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Final

from backtest_mongo.adapters.shapes import ColumnSeriesAdapter
from backtest_mongo.errors import InputError
from backtest_mongo.market_data.candle_chunks import ROWS
from backtest_mongo.types import Coverage, SeriesTime

if TYPE_CHECKING:
    from backtest_mongo.columns.arrays import ColumnArrays

__all__ = ["SeriesRange", "find_range", "read_parts"]

#: By what factor the length of a part may grow from one to the next: rows may come in bursts.
_GROWTH: Final = 2


class SeriesRange:
    """A half-open range of stored times, and how many rows the series has."""

    def __init__(self, first: int, end: int, coverage: Coverage) -> None:
        self.first = first
        self.end = end
        self.coverage = coverage


async def find_range(adapter: ColumnSeriesAdapter, start: SeriesTime | None, end: SeriesTime | None) -> SeriesRange:
    """Return the part of a range in which rows are stored.

    Raises:
        InputError: a time is wrong, or no row is stored in the range.
    """
    first, stop = adapter._range(start, end)
    coverage = await adapter.coverage()
    if coverage.first is None or coverage.last is None:
        raise InputError("no row of this series is stored", slot=adapter.spec.name)
    first, stop = max(first, coverage.first), min(stop, coverage.last + 1)
    if first >= stop:
        raise InputError("no row of this series is stored in that range", slot=adapter.spec.name)
    return SeriesRange(first, stop, coverage)


async def read_parts(
    adapter: ColumnSeriesAdapter, within: SeriesRange, columns: Sequence[str] | None = None
) -> AsyncIterator[tuple[int, ColumnArrays]]:
    """Yield the rows of a range in parts of about 50,000, each with the time at which it ends.

    The length of a part follows from how many rows the one before had.
    """
    covered = within.coverage
    span = (covered.last or 0) - (covered.first or 0) + 1
    width = max(span * ROWS // max(covered.rows, 1) // _GROWTH, 1)
    at = within.first
    while at < within.end:
        until = min(at + width, within.end)
        rows = await adapter._rows().read_rows(adapter._context, at, until, columns)
        yield until, rows
        # A part without rows says nothing of how dense the next is but that it may be as sparse.
        fitting = width * ROWS // len(rows) if len(rows) else width * _GROWTH
        width = max(min(fitting, width * _GROWTH), 1)
        at = until
