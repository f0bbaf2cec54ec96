"""What ``fork()`` needs of a database: MongoDB and SQLite implement it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from backtest_mongo.columns.store_protocol import ColumnStore
from backtest_mongo.core.fork_marks import ForkMark
from backtest_mongo.core.past_rows import FoundRow, LostRow, PastRow
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.errors import StoreError

__all__ = ["Backend", "Copied", "RowReader", "Writer"]


@dataclass(frozen=True, slots=True)
class Copied:
    """Candles that were copied, and series or parts of them that can't be copied."""

    candles: int = 0
    lost: Sequence[LostRow] = ()


class RowReader(Protocol):
    """Reads the rows of one slot, which is not a series, as they were at a time.

    Rows that did not exist yet or were removed are left out.
    """

    def read_pages(self, until: int) -> AsyncIterator[Sequence[FoundRow]]:
        """Yield all rows, at most a thousand at a time."""
        ...

    async def find(self, keys: Sequence[Key], until: int) -> Sequence[FoundRow]:
        """Return the rows with these keys."""
        ...


class Writer(Protocol):
    """Writes a fork."""

    async def write(self, spec: SlotSpec, rows: Sequence[PastRow]) -> None:
        """Write rows of a slot, each with the version that it is."""
        ...

    def copy_candles(self, spec: SlotSpec) -> AsyncIterator[Copied]:
        """Copy all candles of a slot, and yield what was done after each step."""
        ...

    def copy_series(
        self, spec: SlotSpec, context: Key, copied: Key, end: int
    ) -> AsyncIterator[tuple[int, StoreError | None]]:
        """Copy the rows of a series with columns before a time, in the slot's unit, under a context.

        Yields:
            After each step how many rows were copied, or why some can't be: they are damaged.
        """
        ...


#: A fork that is being written: it is finished at the end of the block, unless that raises.
Writing: TypeAlias = AbstractAsyncContextManager[Writer]


class Backend(Protocol):
    """The databases that are read and written.

    Attributes:
        source: the database that is read: a name, or a path.
        target: the one that is created.
        candles: the one whose candles the source reads.
        path: the path of the file that is created, ``None`` on MongoDB.
    """

    source: str
    target: str
    candles: str
    path: str | None

    async def check(self, mark: ForkMark) -> None:
        """Refuse what can't become the fork.

        Raises:
            InputError: it has content, or is the source itself.
            ConfigError: it can't be a database, or is another program's.
            StoreUnavailableError: a server did not answer.
            StoreError: it can't be read.
        """
        ...

    def open_writer(self, mark: ForkMark) -> Writing:
        """Begin the fork, and finish it at the end of the block."""
        ...

    async def open_reader(self, spec: SlotSpec) -> RowReader: ...

    def open_columns(self, spec: SlotSpec) -> ColumnStore:
        """Return the series with columns of a slot in the source."""
        ...

    async def list_others(self, specs: Sequence[SlotSpec]) -> list[tuple[str, int]]:
        """Return what the source has besides these slots: other collections or tables, and how many rows each has."""
        ...

    def make_config(self, candles: str) -> dict[str, Any]:
        """Return the settings to continue with; ``candles`` is the database of the candles, empty for its own."""
        ...

    async def close(self) -> None: ...
