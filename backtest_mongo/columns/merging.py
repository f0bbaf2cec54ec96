"""Rows of several groups and blocks become one, each key once; and long ones are split into blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from backtest_mongo.columns.arrays import ColumnArrays, join_columns, sort_rows
from backtest_mongo.columns.sizes import RowSizes, measure_rows

__all__ = ["BLOCK_BYTES", "BLOCK_ROWS", "count_block_rows", "merge_rows", "split_rows"]

#: The rows of a block. Larger blocks hardly compress better, and a short range takes longer to read.
BLOCK_ROWS = 65_536
#: The bytes of a block before compression, unless a single row has more. So MongoDB's limit holds for text, too, that
#: can't be compressed.
BLOCK_BYTES = 12_000_000


def merge_rows(parts: Sequence[ColumnArrays], *, keeps_first: bool) -> ColumnArrays:
    """Return the rows of one or more parts in order, each of which is in order itself.

    Of rows with the same key, that of the first part which has it is kept or, otherwise, that of the last.
    """
    filled = [part for part in parts if len(part)] or [parts[0]]
    if len(filled) == 1:
        return filled[0]
    head, rest = _cut_head(filled)
    merged = sort_rows(join_columns(rest), keeps_first=keeps_first)
    return merged if head is None else join_columns([head, merged])


def _cut_head(parts: list[ColumnArrays]) -> tuple[ColumnArrays | None, list[ColumnArrays]]:
    """Split off the rows of the first part that come before all others: usually nearly all, and in order already."""
    first = min(int(part.time[0]) for part in parts[1:])
    at = int(np.searchsorted(parts[0].time, first))
    if not at:
        return None, parts
    return parts[0].take(slice(0, at)), [parts[0].take(slice(at, None)), *parts[1:]]


def count_block_rows(rows: ColumnArrays) -> int:
    """Return how many rows a block has at most if all are as large as some are on average."""
    return max(1, min(BLOCK_ROWS, BLOCK_BYTES * len(rows) // measure_rows(rows).count()))


def split_rows(
    rows: ColumnArrays, most: int | None = None, *, is_even: bool = False, cuts_times: bool = True
) -> Iterator[ColumnArrays]:
    """Yield rows, which are in order, in parts of about :data:`BLOCK_ROWS` rows, and of :data:`BLOCK_BYTES` at most.

    Rows of one time are in one part, unless they have more bytes than that. A row that has more is alone in its part.

    Args:
        rows: the rows.
        most: how many rows a part has at most, about; ``None`` for those of a block.
        is_even: whether the parts are to be of about equal length, instead of all but the last being as long as can be.
        cuts_times: whether rows of one time may be in several parts at all.
    """
    sizes, start = measure_rows(rows), 0
    while start < len(rows):
        end = _find_end(rows, sizes, start, BLOCK_ROWS if most is None else most, is_even, cuts_times)
        yield rows if end - start == len(rows) else rows.take(slice(start, end))
        start = end


def _find_end(rows: ColumnArrays, sizes: RowSizes, start: int, most: int, is_even: bool, cuts_times: bool) -> int:
    """Return the end of the part that begins with a row."""
    end = min(start + most, sizes.find_end(start, BLOCK_BYTES))
    if end == len(rows):
        return end
    if is_even:
        left, size = len(rows) - start, sizes.count(start)
        share = start + -(-left // -(-left // most))
        # With the row that makes it more than its share, so that the last part is no remnant.
        end = min(end, share, sizes.find_end(start, -(-size // -(-size // BLOCK_BYTES))) + (size > BLOCK_BYTES))
    time = rows.time[end]
    if rows.time[end - 1] != time:
        return end
    first = int(np.searchsorted(rows.time, time))
    if first > start:
        return first
    after = int(np.searchsorted(rows.time, time, "right"))
    return end if cuts_times and sizes.count(start, after) > BLOCK_BYTES else after
