"""Merges the tail of a series with columns into blocks.

A run takes the oldest groups of the tail, and merges them block by block: what is merged and compressed is read before
the transaction, which finds out whether the groups and the block are still the same, and only then replaces the block.
That of the last block deletes the groups. If a process is killed in between, some rows are both in blocks and in the
tail, and reads find each once.

This module imports NumPy: import it in the functions that need it, not at the top of a module.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from backtest_mongo.columns.arrays import ColumnArrays
from backtest_mongo.columns.merging import BLOCK_BYTES, count_block_rows
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.store_protocols import Counts
from backtest_mongo.errors import StoreError
from backtest_mongo.sqlite.column_documents import BLOCK_ROWS, Encoded, Part, encode_block, find_unfit, merge, split
from backtest_mongo.sqlite.column_layout import ColumnTable
from backtest_mongo.sqlite.column_parts import PartReader

__all__ = ["SMALL_ROWS", "ColumnSealer", "Run", "Step", "count_large", "is_block"]

#: A group with fewer rows and bytes is small, and is merged with other small ones before it is sealed.
SMALL_ROWS: Final = 512
_SMALL_BYTES: Final = 250_000
#: About how many rows and bytes a run takes at most.
_RUN_ROWS: Final = 4 * BLOCK_ROWS
_RUN_BYTES: Final = 4 * BLOCK_BYTES

#: Number, rows and bytes of a group of the tail.
GroupSize: TypeAlias = tuple[int, int, int]


def count_large(groups: Sequence[GroupSize]) -> int:
    """Return how many groups come before the small ones at the end of a tail."""
    count = len(groups)
    while count and groups[count - 1][1] < SMALL_ROWS and groups[count - 1][2] < _SMALL_BYTES:
        count -= 1
    return count


def is_block(groups: Sequence[GroupSize]) -> bool:
    """Return whether groups have the rows or the bytes of a block."""
    return sum(rows for _, rows, _ in groups) >= BLOCK_ROWS or sum(size for *_, size in groups) >= BLOCK_BYTES


@dataclass(frozen=True, slots=True)
class Run:
    """Groups of the tail that are merged into blocks.

    Attributes:
        groups: number and rows of each: the oldest of the tail.
        rows: their rows, each key once and in order.
    """

    groups: Sequence[tuple[int, int]]
    rows: ColumnArrays


@dataclass(frozen=True, slots=True)
class Step:
    """What one transaction of a run does.

    Attributes:
        time: the first time that it merges.
        block: the number of the block that is responsible for it; ``None`` if there is no block.
        next_start: the start of the block behind that one; ``None`` if there is none.
        is_replaced: whether the block is replaced.
        blocks: those that are written.
        end: how many rows of the run are in blocks after it.
        rows: how many of these it merges.
    """

    time: int
    block: int | None
    next_start: int | None
    is_replaced: bool
    blocks: Sequence[Encoded]
    end: int
    rows: int


class ColumnSealer:
    """What merges the tail of one slot's series.

    Args:
        spec: the slot.
        table: its tables.
        reader: reads their parts.
    """

    def __init__(self, spec: SlotSpec, table: ColumnTable, reader: PartReader) -> None:
        self._spec = spec
        self._table = table
        self._reader = reader

    def start(self, connection: sqlite3.Connection, context: Key, until: int | None) -> Run | None:
        """Return the groups of the next run, ``None`` if nothing is to be merged.

        Args:
            connection: of one moment.
            context: the series.
            until: the number of the last group to merge, or ``None`` if only whole blocks are to be written.

        Raises:
            StoreError: one of the groups is damaged.
        """
        sizes = connection.execute(self._table.group_sizes, context).fetchall()
        if until is None:
            sizes = sizes[: count_large(sizes)]
            if not is_block(sizes):
                return None
        else:
            sizes = [one for one in sizes if one[0] <= until]
        if not sizes:
            return None
        groups = self._reader.list_groups(connection, context)[: _count_run(sizes)]
        rows = merge([self._reader.load(connection, context, group) for group in groups])
        return Run([(group.number, group.rows) for group in groups], rows)

    def find_newest(self, connection: sqlite3.Connection, context: Key) -> int | None:
        """Return the number of the newest group."""
        groups = self._reader.list_groups(connection, context)
        return groups[-1].number if groups else None

    def prepare(self, connection: sqlite3.Connection, context: Key, run: Run, at: int) -> Step:
        """Merge and compress what the next transaction writes.

        Args:
            connection: of one moment.
            context: the series.
            run: the run.
            at: how many of its rows are in blocks already.

        Raises:
            StoreError: the block is damaged.
        """
        time = int(run.rows.time[at])
        block, next_start = self._find_block(connection, context, time)
        end = len(run.rows)
        if next_start is not None:
            end = int(np.searchsorted(run.rows.time, np.int64(next_start), "left"))
        rows = run.rows.take(slice(at, end))
        is_replaced = block is not None and not _is_full(block, rows)
        start = time
        if block is not None and is_replaced:
            rows = merge([self._reader.load(connection, context, block), rows])
            start = min(start, block.start if block.start is not None else start)
        pieces = split(rows)
        self._refuse_unfit(context, pieces)
        starts = [start, *(int(piece.time[0]) for piece in pieces[1:])]
        blocks = [encode_block(self._spec, first, piece) for first, piece in zip(starts, pieces, strict=True)]
        number = None if block is None else block.number
        return Step(time, number, next_start, is_replaced, blocks, end, end - at)

    def _refuse_unfit(self, context: Key, pieces: Sequence[ColumnArrays]) -> None:
        unfit = find_unfit(pieces)
        if unfit is not None:
            raise StoreError(
                f"sealing failed: the {len(unfit):,} rows of the time {unfit.time[0]} ({self._spec.unit}) have too "
                "many bytes for a block, so they stay in the tail, with those that were written after them",
                slot=self._spec.name,
                collection=self._spec.collection,
                key=dict(zip(self._spec.key, context, strict=False)),
                hint="store them at several times",
            )

    def apply(self, connection: sqlite3.Connection, context: Key, run: Run, step: Step) -> Counts | None:
        """Write what was prepared, in a transaction.

        Returns:
            How many blocks were written and how many rows were merged; ``None`` if the series was changed meanwhile,
            and nothing was written.
        """
        newest = run.groups[-1][0]
        sizes = connection.execute(self._table.group_sizes, context)
        groups = [(number, rows) for number, rows, _ in sizes if number <= newest]
        block, next_start = self._find_block(connection, context, step.time)
        if groups != list(run.groups) or next_start != step.next_start:
            return None
        if (None if block is None else block.number) != step.block:
            return None
        (written,) = connection.execute(self._table.written_until, (*context, newest)).fetchone()
        if step.is_replaced:
            (before,) = connection.execute(self._table.block_written, (step.block,)).fetchone()
            written = max(before, written)
            connection.execute(self._table.delete[True], (step.block,))
        for encoded in step.blocks:
            connection.execute(self._table.insert_block, encoded.make_parameters(context, written, written))
        if step.end == len(run.rows):
            connection.executemany(self._table.delete[False], [(number,) for number, _ in run.groups])
        return len(step.blocks), step.rows

    def _find_block(self, connection: sqlite3.Connection, context: Key, time: int) -> tuple[Part | None, int | None]:
        """Return the block that is responsible for a time, and the start of the next one."""
        row = connection.execute(self._table.blocks_before, (*context, time, 1)).fetchone()
        row = row or connection.execute(self._table.first_block, context).fetchone()
        if row is None:
            return None, None
        block = Part(*row)
        (next_start,) = connection.execute(self._table.next_start, (*context, block.start)).fetchone()
        return block, next_start


def _count_run(groups: Sequence[GroupSize]) -> int:
    """Return how many groups, from the first one on, a run takes."""
    rows = size = 0
    for count, (_, more_rows, more_bytes) in enumerate(groups):
        if rows > _RUN_ROWS or size > _RUN_BYTES:
            return count
        rows, size = rows + more_rows, size + more_bytes
    return len(groups)


def _is_full(block: Part, rows: ColumnArrays) -> bool:
    """Return whether rows behind a block are so many that they get blocks of their own."""
    if int(rows.time[0]) <= block.last:
        return False
    most = min(BLOCK_ROWS, count_block_rows(rows))
    return 2 * len(rows) >= most and 2 * (block.rows + len(rows)) >= 3 * most
