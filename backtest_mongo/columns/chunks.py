"""Long series are read in parts, so that memory does not grow with them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from typing import Final

from backtest_mongo.columns.arrays import ColumnArrays
from backtest_mongo.columns.store_protocol import ColumnStore
from backtest_mongo.core.specs import Key

__all__ = ["CHUNK_ROWS", "read_chunks"]

#: The rows of a part, about.
CHUNK_ROWS: Final = 500_000


async def read_chunks(
    store: ColumnStore,
    context: Key,
    first: int,
    end: int,
    names: Collection[str] | None = None,
    rows: int = CHUNK_ROWS,
) -> AsyncGenerator[ColumnArrays, None]:
    """Yield the rows of a half-open range of times in order, in parts of so many rows at most.

    A part is longer only if so many rows have one time; all rows of one time are in one part.

    Args:
        store: what has them.
        context: of the series.
        first: the first time, in the slot's unit.
        end: the end of the range.
        names: the columns; ``None`` for all.
        rows: how many rows a part has at most.

    Raises:
        StoreUnavailableError: the database can't be reached.
        StoreError: it answers with an error, or what is stored is damaged.
    """
    covered = await store.cover(context, end)
    if covered.first is None or covered.last is None or covered.last < first:
        return
    position, stop = max(first, covered.first), covered.last + 1
    span = max(1, (stop - covered.first) * rows // (2 * max(covered.rows, 1)))
    while position < stop:
        until = min(stop, position + span)
        # Times alone, as where rows are dense a range may have any number.
        last = await store.read_last(context, rows + 1, until, ())
        count = len(last) - int((last.time < position).sum())
        if count > rows and span > 1:
            span = max(1, min(span, stop - position) // 8)
            continue
        if count:
            yield await store.read_rows(context, position, until, names)
        position = until
        if count < rows // 4:
            span *= 2 if count else 8
