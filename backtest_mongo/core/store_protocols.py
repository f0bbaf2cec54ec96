"""What an adapter needs of a store: the protocols that MongoDB, SQLite, files and the dummy implement."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from backtest_mongo.core.commits import Committer
from backtest_mongo.core.contexts import EVERYTHING, Measure
from backtest_mongo.core.gaps import GapFinder
from backtest_mongo.core.history import VersionStore
from backtest_mongo.core.interval_grid import IntervalGrid
from backtest_mongo.core.pruning import Pruner
from backtest_mongo.core.selection import EVERY_ROW, PayloadFilter, Selection
from backtest_mongo.core.specs import Key
from backtest_mongo.core.strategy_names import Renamer
from backtest_mongo.types import Candle, Coverage, Document, Gap, Sealed, Version

if TYPE_CHECKING:
    from backtest_mongo.core.arrays import CandleArrays

__all__ = ["Counts", "SeriesStore", "Store", "Truth"]

#: A number of blocks and of the candles in them, or of candles and of the blocks that held them.
Counts: TypeAlias = tuple[int, int]
#: Where the candles of a series are kept; what is not there is a copy.
Truth: TypeAlias = Literal["rows", "blocks", "restoring"]


class Store(Protocol):
    """The rows of one slot. Keys are in the order of ``SlotSpec.key``.

    Besides what a method says, each one that reads or writes raises ``StoreUnavailableError`` if the database does not
    answer or another process keeps it locked, ``StoreError`` if the database or the disk answers with an error or a
    stored row can't be decoded, and ``ConfigError`` if an SQLite file can't be opened. Of a write that raises
    ``StoreUnavailableError``, ``may_be_applied`` says whether it may be stored.
    """

    #: Whether versions of the rows are kept, by their time.
    @property
    def has_history(self) -> bool: ...

    @property
    def versions(self) -> VersionStore:
        """The versions, only if :attr:`has_history`."""
        ...

    @property
    def committer(self) -> Committer:
        """What commits rows of this database as a whole; without transactions there it raises ``StoreError``."""
        ...

    @property
    def pruner(self) -> Pruner:
        """What deletes rows that need not be kept; of collections alone."""
        ...

    async def ready(self) -> None: ...
    async def find(self, key: Key) -> Document | None: ...
    async def find_many(self, keys: Sequence[Key]) -> list[Document | None]: ...
    async def find_at(self, keys: Sequence[Key], until: int) -> list[Document | None]:
        """Return each row as it was at a time, ``None`` where there was nothing yet; only if :attr:`has_history`."""
        ...

    async def find_version(self, key: Key) -> tuple[Document | None, Version]: ...
    async def upsert(self, key: Key, fields: Document) -> None: ...
    async def upsert_each(self, rows: Sequence[tuple[Key, Document]]) -> None: ...
    async def upsert_many(self, rows: Sequence[tuple[Key, Document]]) -> None: ...
    async def replace(self, key: Key, fields: Document, expected: Version | None) -> None:
        """Upsert the row if it has the expected version or, with ``None``, if a read finds nothing.

        Raises:
            ConflictError: it has not.
        """

    async def remove(self, key: Key, run: str | None = None) -> None:
        """Mark the row as removed, by the run of that name, if there is one that is not."""

    def scan(
        self, context: Key, until: int | None = None, chosen: Selection = EVERY_ROW
    ) -> AsyncIterator[Document]: ...
    async def newest(self, context: Key, limit: int, where: PayloadFilter | None = None) -> list[Document]: ...

    # Contexts as a whole; a filter has the values of some of their fields.

    def list_contexts(self, where: Mapping[str, Any] = EVERYTHING) -> AsyncIterator[Key]:
        """Yield the contexts that have rows, removed ones included, in the order of the key."""
        ...

    async def measure(self, where: Mapping[str, Any], *, by_context: bool) -> list[Measure]:
        """Measure the rows of each context, in the order of the key, or of all contexts together."""
        ...

    async def delete_some(self, context: Key, owners: Collection[str]) -> tuple[int, bool]:
        """Delete some rows of a context, or some of their versions.

        Args:
            context: the context; in MongoDB and SQLite also fewer or more values, with which the keys begin.
            owners: who may hold its lease.

        Returns:
            How many rows were deleted, and whether any may be left.

        Raises:
            LeaseHeldError: another owner holds the lease.
        """
        ...

    @property
    def renamer(self) -> Renamer:
        """What renames rows; without transactions, as files are, it raises ``StoreError``."""
        ...


class SeriesStore(Store, Protocol):
    """The rows of a series. Times are in milliseconds since the epoch; errors are those of :class:`Store`."""

    async def insert_new(self, context: Key, interval: IntervalGrid, rows: Mapping[int, Document]) -> int: ...
    async def window(self, context: Key, first: int, interval: IntervalGrid, limit: int) -> list[Candle] | None: ...
    async def insert_arrays(self, context: Key, interval: IntervalGrid, candles: CandleArrays) -> int: ...
    async def read(self, context: Key, interval: IntervalGrid, first: int, end: int) -> CandleArrays: ...
    async def coverage(self, context: Key, interval: IntervalGrid) -> Coverage: ...
    async def survey(
        self, context: Key, interval: IntervalGrid, first: int | None, end: int | None
    ) -> tuple[Coverage, int]: ...
    async def delete(self, context: Key, interval: IntervalGrid, first: int | None, end: int | None) -> Counts: ...
    async def find_bounds(self, context: Key) -> tuple[int, int] | None: ...
    def gaps(self, context: Key, finder: GapFinder, bounds: tuple[int, int]) -> AsyncIterator[Gap]: ...
    async def find_around(self, context: Key, first: int | None, end: int | None) -> tuple[int | None, int | None]: ...
    def seal(self, context: Key, interval: IntervalGrid) -> AsyncIterator[Counts]: ...
    def verify(self, context: Key, interval: IntervalGrid) -> AsyncIterator[tuple[Document, str | None]]: ...
    async def reseal(self, context: Key, interval: IntervalGrid, damaged: Sequence[Document]) -> Counts: ...
    async def find_truth(self, context: Key) -> Truth:
        """Return where the truth of a series is; "restoring" while rows are being written again."""
        ...

    def move_to_blocks(self, context: Key, interval: IntervalGrid) -> AsyncIterator[Counts]:
        """Make blocks the truth of a series; yield after each step how many were written, and rows were deleted."""
        ...

    def move_to_rows(self, context: Key, interval: IntervalGrid) -> AsyncIterator[Counts]:
        """Make rows the truth of a series; yield after each step how many blocks are gone, and rows were written."""
        ...

    async def count_sealed(self, context: Key, interval: IntervalGrid) -> Sealed: ...
