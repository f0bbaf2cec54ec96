"""What ``fork()`` needs of a database: MongoDB and SQLite implement it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from backtest_mongo.core.fork_marks import ForkMark
from backtest_mongo.core.past_rows import FoundRow, LostRow, PastRow
from backtest_mongo.core.specs import Key, SlotSpec

__all__ = ["Backend", "Copied", "RowReader", "Writer"]


@dataclass(frozen=True, slots=True)
class Copied:
    """Candles that were copied, and series or parts of them that can't be."""

    candles: int = 0
    lost: Sequence[LostRow] = ()


class RowReader(Protocol):
    """Reads the rows of one slot that is no series, as they were at a time.

    What was not there yet or was removed is left out.
    """

    def read_pages(self, until: int) -> AsyncIterator[Sequence[FoundRow]]:
        """Yield all rows, a thousand at a time at most."""
        ...

    async def find(self, keys: Sequence[Key], until: int) -> Sequence[FoundRow]:
        """Return the rows of these keys."""
        ...


class Writer(Protocol):
    """Writes a fork."""

    async def write(self, spec: SlotSpec, rows: Sequence[PastRow]) -> None:
        """Write rows of a slot, each with the version that it is."""
        ...

    def copy_candles(self, spec: SlotSpec) -> AsyncIterator[Copied]:
        """Copy all candles of a slot, and yield what was done after each step."""
        ...


#: A fork that is being written: it is finished at the end of the block, unless that raises.
Writing: TypeAlias = AbstractAsyncContextManager[Writer]


class Backend(Protocol):
    """The databases that are read and written.

    Attributes:
        source: the database that is read: a name, or a path.
        target: the one that is made.
        candles: the one whose candles the source reads.
        path: the path of the file that is made, ``None`` on MongoDB.
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

    async def list_others(self, specs: Sequence[SlotSpec]) -> list[tuple[str, int]]:
        """Return what the source has besides these slots: collections or tables of others, and how many rows."""
        ...

    def make_config(self, candles: str) -> dict[str, Any]:
        """Return the settings to go on with; ``candles`` is the database whose candles are read, empty for its own."""
        ...

    async def close(self) -> None: ...
