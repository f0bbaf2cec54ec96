"""Rows of several groups and blocks become one, each key once; and long ones are split into blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from backtest_mongo.columns.arrays import ColumnArrays, join_columns, sort_rows

__all__ = ["BLOCK_ROWS", "merge_rows", "split_rows"]

#: The rows of a block. Larger blocks hardly compress better, and a short range takes longer to read.
BLOCK_ROWS = 65_536


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


def split_rows(rows: ColumnArrays, most: int | None = None) -> Iterator[ColumnArrays]:
    """Yield rows in parts of about ``most``, so that rows of one time are in one part."""
    most = BLOCK_ROWS if most is None else most
    start = 0
    while len(rows) - start > most:
        end = start + most
        time = rows.time[end]
        if rows.time[end - 1] == time:  # it has rows on both sides of the cut
            end = int(np.searchsorted(rows.time, time))
            if end <= start:
                end = int(np.searchsorted(rows.time, time, "right"))
        yield rows.take(slice(start, end))
        start = end
    if start < len(rows):
        yield rows.take(slice(start, None))
