"""Read-only views of stores as they were at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from backtest_mongo.columns.store_protocol import ColumnStore
from backtest_mongo.core.commits import Committer
from backtest_mongo.core.contexts import EVERYTHING, Measure
from backtest_mongo.core.gaps import GapFinder
from backtest_mongo.core.history import VersionStore, find_row_time
from backtest_mongo.core.interval_grid import GRIDS, IntervalGrid
from backtest_mongo.core.pruning import Pruner
from backtest_mongo.core.selection import EVERY_ROW, PayloadFilter, Selection
from backtest_mongo.core.series_times import find_known_end
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.store_protocols import Counts, SeriesStore, Store, Truth
from backtest_mongo.core.strategy_names import Renamer
from backtest_mongo.errors import InputError
from backtest_mongo.history.revisions import make_no_history_error
from backtest_mongo.history.store import HistoryStore, StrictHistoryStore
from backtest_mongo.types import EARLIEST, Candle, Coverage, Document, Gap, Sealed, Version

if TYPE_CHECKING:
    from backtest_mongo.columns.arrays import ColumnArrays
    from backtest_mongo.core.arrays import CandleArrays

__all__ = ["PastColumns", "PastSeries", "PastStore", "refuse_write"]


def refuse_write(spec: SlotSpec) -> NoReturn:
    """Refuse to write to the past.

    Raises:
        InputError: always.
    """
    raise InputError(
        "the past can't be written to",
        slot=spec.name,
        hint="write with an adapter of persist; to continue from a time, fork() creates a database as it was then",
    )


class LastVersions:
    """The versions of a slot that keeps none: the row itself, as long as it was not written since.

    Args:
        spec: the slot.
        base: the rows as they are.
        versions: what knows the times of rows; versions that were kept in the past don't count.
    """

    def __init__(self, spec: SlotSpec, base: Store, versions: VersionStore) -> None:
        self._spec = spec
        self._base = base
        self._versions = versions

    def __getattr__(self, name: str) -> Any:
        return getattr(self._versions, name)

    async def find_at(self, keys: Sequence[Key], until: int) -> list[Document | None]:
        """Return rows as they were at a time.

        Raises:
            StoreError: one of them was written since, so its past is unknown.
        """
        found = await self._versions.find_at(keys, until)
        unknown = [key for key, row in zip(keys, found, strict=True) if row is None or "written" in row]
        if any(row is not None for row in await self._base.find_many(unknown)):
            raise make_no_history_error(self._spec)
        return [None if row is None or "written" in row else row for row in found]


class PastStore:
    """A slot's rows as they were.

    Args:
        spec: the slot.
        base: the rows as they are.
        until: the time, in milliseconds since the epoch.
        versions: what knows the times of rows where no versions are kept; ``None`` where nothing does.
    """

    has_history: Final = True

    def __init__(self, spec: SlotSpec, base: Store, until: int, versions: VersionStore | None = None) -> None:
        self._spec = spec
        self._base = base
        self._until = until
        self._rows = base
        if base.has_history:
            self._rows = StrictHistoryStore(spec, base, base.versions)
        elif versions is not None:
            self._rows = HistoryStore(spec, base, cast("VersionStore", LastVersions(spec, base, versions)))

    @property
    def committer(self) -> Committer:
        refuse_write(self._spec)

    @property
    def versions(self) -> VersionStore:
        if not self._base.has_history:
            raise make_no_history_error(self._spec)
        return self._base.versions

    async def ready(self) -> None:
        await self._base.ready()

    async def find(self, key: Key) -> Document | None:
        return (await self.find_at((key,), self._until))[0]

    async def find_many(self, keys: Sequence[Key]) -> list[Document | None]:
        return await self.find_at(keys, self._until)

    async def find_at(self, keys: Sequence[Key], until: int) -> list[Document | None]:
        until = min(until, self._until)
        if self._rows.has_history:
            return await self._rows.find_at(keys, until)
        return [self._check(document, until) for document in await self._rows.find_many(keys)]

    def _check(self, document: Document | None, until: int) -> Document | None:
        """Return a row of a slot without versions, if it existed at a time.

        Raises:
            StoreError: it was written since, so its past is unknown.
        """
        if document is not None:
            time = find_row_time(self._spec, document)
            if time is None or time > until:
                raise make_no_history_error(self._spec)
        return document

    async def find_version(self, key: Key) -> tuple[Document | None, Version]:
        raise InputError(
            "a row of the past has no version to compare with",
            slot=self._spec.name,
            hint="read with_version outside as_of()",
        )

    async def scan(
        self, context: Key, until: int | None = None, chosen: Selection = EVERY_ROW
    ) -> AsyncIterator[Document]:
        """Yield the chosen rows of a context by key, as they were."""
        until = self._until if until is None else min(until, self._until)
        has_history = self._rows.has_history
        # Without versions all rows are asked for, since those that were written since make the list unknown.
        rows = self._rows.scan(context, until if has_history else None, chosen)
        async with aclosing(cast("Any", rows)) as found:
            async for document in found:
                yield document if has_history else cast("Document", self._check(document, until))

    async def newest(self, context: Key, limit: int, where: PayloadFilter | None = None) -> list[Document]:
        if self._rows.has_history:
            base = cast("Any", self._rows)
            return await base.newest_at(context, limit, self._until, where)  # type: ignore[no-any-return]
        found = await self._rows.newest(context, limit, where)
        return [cast("Document", self._check(document, self._until)) for document in found]

    @property
    def pruner(self) -> Pruner:
        refuse_write(self._spec)

    # Contexts as a whole

    async def list_contexts(self, where: Mapping[str, Any] = EVERYTHING) -> AsyncIterator[Key]:
        """Yield the contexts that had rows that were not removed, in the order of the key."""
        async with aclosing(cast("Any", self._base.list_contexts(where))) as found:
            async for context in found:
                if await self._was_there(context):
                    yield context

    async def _was_there(self, context: Key) -> bool:
        if self._spec.item is None:
            return await self.find(context) is not None
        async with aclosing(cast("Any", self.scan(context))) as rows:
            return await anext(rows, None) is not None

    async def measure(self, where: Mapping[str, Any], *, by_context: bool) -> list[Measure]:
        return await self._base.measure(where, by_context=by_context)

    async def delete_some(self, context: Key, owners: Collection[str]) -> tuple[int, bool]:
        refuse_write(self._spec)

    @property
    def renamer(self) -> Renamer:
        refuse_write(self._spec)

    async def upsert(self, key: Key, fields: Document) -> None:
        refuse_write(self._spec)

    async def upsert_each(self, rows: Sequence[tuple[Key, Document]]) -> None:
        refuse_write(self._spec)

    async def upsert_many(self, rows: Sequence[tuple[Key, Document]]) -> None:
        refuse_write(self._spec)

    async def replace(self, key: Key, fields: Document, expected: Version | None) -> None:
        refuse_write(self._spec)

    async def remove(self, key: Key, run: str | None = None) -> None:
        refuse_write(self._spec)


class PastColumns:
    """A slot's series with columns as they were: nothing is written, and series that began later are not listed.

    The adapter limits what it reads by the time.
    """

    def __init__(self, spec: SlotSpec, base: ColumnStore, until: int) -> None:
        self._spec = spec
        self._base = base
        self._until = until

    def __getattr__(self, name: str) -> Any:
        return getattr(self._base, name)

    async def insert(self, context: Key, rows: ColumnArrays) -> NoReturn:
        refuse_write(self._spec)

    async def delete_rows(self, context: Key, first: int, end: int) -> NoReturn:
        refuse_write(self._spec)

    async def delete_some(self, context: Key, owners: Collection[str]) -> NoReturn:
        refuse_write(self._spec)

    def seal_rows(self, context: Key, *, is_all: bool = True) -> NoReturn:
        refuse_write(self._spec)

    async def retain(self, context: Key, keep: str | None) -> NoReturn:
        refuse_write(self._spec)

    async def prune_rows(self, context: Key) -> NoReturn:
        refuse_write(self._spec)

    @property
    def renamer(self) -> NoReturn:
        refuse_write(self._spec)

    async def list_contexts(self, where: Mapping[str, Any] = EVERYTHING) -> AsyncIterator[Key]:
        async for context in self._base.list_contexts(where):
            covered = await self._base.cover(context, find_known_end(self._spec, context, self._until))
            if covered.rows:
                yield context


class PastSeries(PastStore):
    """A slot's candles as they were: those that had closed.

    Candles never change, so nothing else is needed; one that was imported later is returned all the same.
    """

    def __init__(self, spec: SlotSpec, base: SeriesStore, until: int) -> None:
        self._spec = spec
        self._base = self._candles = base
        self._until = until

    def _end(self, interval: IntervalGrid, end: int | None = None) -> int:
        """Return the time from which on candles had not closed, or ``end`` if that is earlier."""
        cut = max(interval.closed_before(self._until), EARLIEST)  # wherever they open, off the grid too
        return cut if end is None else min(end, cut)

    async def window(self, context: Key, first: int, interval: IntervalGrid, limit: int) -> list[Candle] | None:
        if interval.shift(first, limit - 1) >= self._end(interval):
            return None
        return await self._candles.window(context, first, interval, limit)

    async def read(self, context: Key, interval: IntervalGrid, first: int, end: int) -> CandleArrays:
        return await self._candles.read(context, interval, first, max(first, self._end(interval, end)))

    async def coverage(self, context: Key, interval: IntervalGrid) -> Coverage:
        return (await self._candles.survey(context, interval, None, self._end(interval)))[0]

    async def survey(
        self, context: Key, interval: IntervalGrid, first: int | None, end: int | None
    ) -> tuple[Coverage, int]:
        return await self._candles.survey(context, interval, first, self._end(interval, end))

    async def find_bounds(self, context: Key) -> tuple[int, int] | None:
        bounds, end = await self._candles.find_bounds(context), self._end(_get_grid(self._spec, context))
        if bounds is None or bounds[0] >= end:
            return None
        if bounds[1] < end:
            return bounds
        last, _ = await self._candles.find_around(context, end, None)
        return None if last is None else (bounds[0], last)

    def gaps(self, context: Key, finder: GapFinder, bounds: tuple[int, int]) -> AsyncIterator[Gap]:
        end = self._end(finder.interval, finder.end)
        return self._candles.gaps(context, GapFinder(finder.interval, finder.first, end, finder.now), bounds)

    async def find_around(self, context: Key, first: int | None, end: int | None) -> tuple[int | None, int | None]:
        cut = self._end(_get_grid(self._spec, context))
        before, after = await self._candles.find_around(context, None if first is None else min(first, cut), end)
        return before, None if after is None or after >= cut else after

    async def _was_there(self, context: Key) -> bool:
        if context[self._spec.key.index("interval")] not in GRIDS:
            return False  # another program's: when its candles close is unknown, and no adapter can have it
        bounds = await self._candles.find_bounds(context)
        return bounds is not None and bounds[0] < self._end(_get_grid(self._spec, context))

    def verify(self, context: Key, interval: IntervalGrid) -> AsyncIterator[tuple[Document, str | None]]:
        return self._candles.verify(context, interval)

    async def count_sealed(self, context: Key, interval: IntervalGrid) -> Sealed:
        return await self._candles.count_sealed(context, interval)

    async def insert_new(self, context: Key, interval: IntervalGrid, rows: Mapping[int, Document]) -> int:
        refuse_write(self._spec)

    async def insert_arrays(self, context: Key, interval: IntervalGrid, candles: CandleArrays) -> int:
        refuse_write(self._spec)

    async def delete(self, context: Key, interval: IntervalGrid, first: int | None, end: int | None) -> Counts:
        refuse_write(self._spec)

    def seal(self, context: Key, interval: IntervalGrid) -> AsyncIterator[Counts]:
        refuse_write(self._spec)

    async def find_truth(self, context: Key) -> Truth:
        return await self._candles.find_truth(context)

    def move_to_blocks(self, context: Key, interval: IntervalGrid) -> AsyncIterator[Counts]:
        refuse_write(self._spec)

    def move_to_rows(self, context: Key, interval: IntervalGrid) -> AsyncIterator[Counts]:
        refuse_write(self._spec)

    async def reseal(self, context: Key, interval: IntervalGrid, damaged: Sequence[Document]) -> Counts:
        refuse_write(self._spec)


def _get_grid(spec: SlotSpec, context: Key) -> IntervalGrid:
    return GRIDS[context[spec.key.index("interval")]]
