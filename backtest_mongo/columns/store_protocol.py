"""What the adapter of a series with columns needs of a store: the protocol of MongoDB, SQLite and the dummy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from typing import TYPE_CHECKING, Protocol

from backtest_mongo.core.specs import Key
from backtest_mongo.core.store_protocols import Counts, Store
from backtest_mongo.types import Coverage, SeriesSize

if TYPE_CHECKING:
    from backtest_mongo.columns.arrays import ColumnArrays

__all__ = ["ColumnStore"]


class ColumnStore(Store, Protocol):
    """The rows of a series with columns. Times are in the slot's unit since the epoch; rows are in order of their keys.

    All methods raise ``StoreUnavailableError`` if the database does not answer, and ``StoreError`` if it refuses, or if
    what is stored is damaged: the message says which rows are lost.
    """

    @property
    def row_bytes(self) -> int:
        """How many bytes a row can have: see :func:`~backtest_mongo.columns.sizes.find_oversized`."""
        ...

    async def insert(self, context: Key, rows: ColumnArrays) -> int:
        """Store rows, each key once and in order, and return how many were new.

        None of them has more than :attr:`row_bytes`.
        Where the slot is immutable a row whose key is stored stays as it is, and is not new; otherwise it is replaced,
        and all rows count. The call may be repeated.
        """
        ...

    async def read_rows(self, context: Key, first: int, end: int, names: Collection[str] | None = None) -> ColumnArrays:
        """Return the rows of a half-open range of times, with all columns or those of these names."""
        ...

    async def read_last(self, context: Key, count: int, end: int, names: Collection[str] | None = None) -> ColumnArrays:
        """Return the last rows of those before a time: so many, or all if there are fewer."""
        ...

    async def cover(self, context: Key, end: int) -> Coverage:
        """Return the first and the last time of the rows before ``end``, and their number."""
        ...

    async def delete_rows(self, context: Key, first: int, end: int) -> int:
        """Delete the rows of a half-open range of times, and return how many were deleted."""
        ...

    def seal_rows(self, context: Key, *, is_all: bool = True) -> AsyncIterator[Counts]:
        """Merge the tail into blocks, whole blocks alone unless ``is_all``; yield blocks and rows after each step."""
        ...

    def verify_rows(self, context: Key) -> AsyncIterator[tuple[Coverage, str | None]]:
        """Read each block and each group of the tail; yield what it covers, and what is wrong with it."""
        ...

    async def size(self, context: Key) -> SeriesSize:
        """Return how the series is stored."""
        ...

    async def retain(self, context: Key, keep: str | None) -> None:
        """Keep the part of a series from now on that a text names, or all; what need not be kept is deleted."""
        ...

    async def prune_rows(self, context: Key) -> int:
        """Delete the blocks and groups that need not be kept; return how many rows."""
        ...

    async def count_prunable(self, context: Key) -> int:
        """Return how many rows need not be kept."""
        ...
