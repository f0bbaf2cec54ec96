"""The blocks of series whose truth is in blocks: their collection, and what is wrong if one is damaged.

They have the format of sealed blocks and a collection of their own, which nothing treats as a cache. A block that is
changed gets another ``_id``, so that whoever has read the one before can tell. It is changed in transactions that enter
the document of the series: see :mod:`backtest_mongo.series.layouts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

from bson import ObjectId
from pymongo.errors import BulkWriteError, OperationFailure
from pymongo.read_concern import ReadConcern

from backtest_mongo.connection.driver_errors import DUPLICATE_KEY
from backtest_mongo.connection.hub import Hub
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.errors import StoreError
from backtest_mongo.mongo.collection import SlotCollection, aggregate
from backtest_mongo.mongo.contexts import match_fields
from backtest_mongo.series.block_store import BlockStore, clip, find_start
from backtest_mongo.series.blocks import (
    Block,
    BlockGrid,
    DamagedBlockError,
    parse_block,
    parse_header,
    unpack_places,
)
from backtest_mongo.series.queries import match_any, match_series
from backtest_mongo.types import Document

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["BlockChangedError", "BlockPlaces", "DataBlocks", "free_keys"]

_READING: Final = "reading the blocks"
_UNAUTHORIZED: Final = 13
_FIRST, _LAST = -(2**63), 2**63 - 1
_HEADER: Final = {"start": 1, "format": 1, "rows": 1, "head": 1}
#: Blocks asked for by their starts at a time.
_ASKED: Final = 1_000


class BlockChangedError(Exception):
    """A block or a row is no longer what was read, so what was made of it is void."""


@contextmanager
def free_keys() -> Iterator[None]:
    """Insert documents whose keys were free when they were read.

    Raises:
        BlockChangedError: one is free no longer.
    """
    try:
        yield
    except BulkWriteError as error:
        details: Any = error.details
        if any(row["code"] == DUPLICATE_KEY for row in details.get("writeErrors", ())):
            raise BlockChangedError from error
        raise


@dataclass(frozen=True, slots=True)
class BlockPlaces:
    """Which places of a block have a candle.

    Attributes:
        start: of the block, in milliseconds.
        end: of its stretch.
        rows: how many candles it holds.
        times: of these candles; ``None`` if all places have one.
    """

    start: int
    end: int
    rows: int
    times: NDArray[np.int64] | None

    def count_between(self, grid: BlockGrid, first: int, end: int) -> int:
        """Return how many candles lie in a half-open range."""
        import numpy as np

        if first <= self.start and self.end <= end:
            return self.rows
        low, high = np.searchsorted(self.get_times(grid), (first, end)).tolist()
        return int(high - low)

    def get_times(self, grid: BlockGrid) -> NDArray[np.int64]:
        """Return the times of the candles, ascending."""
        import numpy as np

        if self.times is not None:
            return self.times
        place = grid.first_place(self.start)
        return grid.interval.times_of(np.arange(place, place + self.rows))


class DataBlocks(BlockStore):
    """The blocks that are the truth of one slot's series, on one event loop."""

    kind: ClassVar[str] = "data"

    def __init__(self, hub: Hub, spec: SlotSpec) -> None:
        super().__init__(hub, spec)
        self._spec = spec
        # The latest on the primary, for those that have just written a row.
        self._latest = self._collection.with_options(read_concern=ReadConcern("local"))

    @property
    def slot(self) -> SlotCollection:
        """The collection, with the queues of its requests."""
        return self._slot

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of a series' key."""
        return self._fields

    @property
    def complete_only(self) -> bool:
        """Whether only blocks without gaps are read: never, since others' writes don't change these."""
        return False

    async def prepare(self) -> None:
        """Make sure, within a request, that the collection has its indexes."""
        await self._slot.ensure_indexes()

    # Reading, by requests of its own

    async def find_edge(self, context: Key, grid: BlockGrid, *, before: int | None, since: int | None) -> int | None:
        """Return the time of the last candle before a time, or of the first one since a time.

        Raises:
            StoreError: a block that may hold it is damaged.
        """
        low, high = _FIRST if since is None else since, _LAST if before is None else before
        if before is not None:
            # The last block that begins before may have its candles after.
            query, order = {"start": {"$lt": clip(before)}}, -1
        else:
            query, order = {"start": {"$gte": clip(grid.start(low))}}, 1
        find = partial(self._find_ordered, {**self.make_key(context), **query}, order, 2)
        for document in await self._slot.read(_READING, find):
            times = self._parse_places(document, context, grid).get_times(grid)
            times = times[(times >= low) & (times < high)]
            if len(times):
                return int(times[-1] if before is not None else times[0])
        return None

    async def _find_ordered(self, query: Document, order: int, limit: int) -> list[Document]:
        projection = {**dict.fromkeys(self._fields, 1), **_HEADER, "present": 1}
        found: list[Document] = (
            await self._collection.find(query, projection).sort("start", order).limit(limit).to_list(None)
        )
        return found

    async def read_places(self, context: Key, grid: BlockGrid, first: int, end: int) -> list[BlockPlaces]:
        """Return which places have candles, of the blocks that overlap a half-open range, by time.

        Raises:
            StoreError: a block is damaged.
        """
        key = self.make_key(context)
        query = {**key, "start": {"$gte": clip(grid.start(first)), "$lt": clip(end)}}
        header = {"_id": 0, **dict.fromkeys(key, 1), **_HEADER}
        found = await self._slot.read(_READING, lambda: self._find(query, header))
        partial_starts = []
        places = {}
        for document in found:
            try:
                one = parse_header(document, grid, key)
            except DamagedBlockError as error:
                raise self.make_damage_error(context, grid, document, str(error)) from None
            if one.rows == grid.rows:
                places[one.start] = BlockPlaces(one.start, one.end, one.rows, None)
            else:
                partial_starts.append(one.start)
        whole = {**header, "present": 1}
        for at in range(0, len(partial_starts), _ASKED):
            asked = {**key, "start": {"$in": partial_starts[at : at + _ASKED]}}
            for document in await self._slot.read(_READING, partial(self._find, asked, whole)):
                known = self._parse_places(document, context, grid)
                places[known.start] = known
        return [places[start] for start in sorted(places)]

    def _parse_places(self, document: Document, context: Key, grid: BlockGrid) -> BlockPlaces:
        import numpy as np

        try:
            header = parse_header(document, grid, self.make_key(context))
            if header.rows == grid.rows and "present" not in document:
                return BlockPlaces(header.start, header.end, header.rows, None)
            present = unpack_places(document, header, grid)
        except DamagedBlockError as error:
            raise self.make_damage_error(context, grid, document, str(error)) from None
        times = grid.interval.times_of(np.flatnonzero(present) + header.first_place)
        return BlockPlaces(header.start, header.end, header.rows, times)

    async def read_blocks(
        self, context: Key, grid: BlockGrid, first: int, end: int, known: Sequence[ObjectId] = (), limit: int = 0
    ) -> list[Block]:
        """Return the blocks that start in a half-open range, by time, but for those with ``known`` ids.

        There are at most ``limit`` of them, if that is not 0.

        Raises:
            StoreError: one of them is damaged.
        """
        key = self.make_key(context)
        query = {
            **key,
            "start": {"$gte": clip(first), "$lt": clip(end)},
            **({"_id": {"$nin": list(known)}} if known else {}),
        }
        found = await self._slot.read(_READING, lambda: self._find(query, limit=limit))
        self._slot.counts.blocks += len(found)
        return [self._parse(document, context, grid) for document in found]

    def _parse(self, document: Document, context: Key, grid: BlockGrid) -> Block:
        try:
            return parse_block(document, grid, self.make_key(context))
        except DamagedBlockError as error:
            raise self.make_damage_error(context, grid, document, str(error)) from None

    async def find_outer_starts(self, context: Key, first: int, end: int) -> tuple[int, int] | None:
        """Return the starts of the first and the last block that start in a half-open range."""
        query = {**self.make_key(context), "start": {"$gte": clip(first), "$lt": clip(end)}}

        async def find() -> list[Document]:
            projection = {"_id": 0, "start": 1}
            found: list[Document] = []
            for order in (1, -1):
                found += await self._collection.find(query, projection).sort("start", order).limit(1).to_list(1)
            return found

        starts = [find_start(document) for document in await self._slot.read(_READING, find)]
        known = [start for start in starts if start is not None]
        return (min(known), max(known)) if known else None

    async def list_starts(self, context: Key) -> list[int]:
        """Return the starts of all blocks of a series, by time."""
        projection = {"_id": 0, "start": 1}
        found = await self._slot.read(_READING, lambda: self._find(self.make_key(context), projection))
        return sorted(start for start in map(find_start, found) if start is not None)

    async def measure(self, where: Document) -> list[Document]:
        """Return the candles, the bytes and the latest time of writing of the blocks of each series that matches."""
        by = {name: f"${name}" for name in self._fields}
        sums = {
            "rows": {"$sum": "$rows"},
            "bytes": {"$sum": {"$bsonSize": "$$ROOT"}},
            "written": {"$max": {"$toDate": "$_id"}},
        }
        pipeline: list[Document] = [{"$match": match_fields(self._spec, where)}, {"$group": {"_id": by, **sums}}]

        async def fetch() -> list[Document]:
            try:
                return await aggregate(self._collection, pipeline)
            except OperationFailure as error:
                if error.code != _UNAUTHORIZED:
                    raise
                return []

        return await self._slot.read("listing", fetch)

    # Within a request

    async def find_latest(self, context: Key, starts: Sequence[int]) -> list[Document]:
        """Return the blocks with these starts, as they are on the primary now."""
        query = {**self.make_key(context), "start": {"$in": list(starts)}}
        return await self._slot.attempt("writing a batch", lambda _: self._latest.find(query).to_list(None))

    async def find_latest_places(
        self, wanted: Sequence[tuple[Key, BlockGrid, Sequence[int]]]
    ) -> dict[tuple[Key, int], BlockPlaces]:
        """Return which places have candles of the blocks with some starts, as they are on the primary now.

        However many series there are, one query asks for them.

        Raises:
            StoreError: one of them is damaged.
        """
        asked = match_series(self._fields, "start", [(context, starts) for context, _, starts in wanted])
        grids = {context: grid for context, grid, _ in wanted}
        query = match_any(asked)
        projection = {**dict.fromkeys(self._fields, 1), **_HEADER, "present": 1}
        found = await self._slot.attempt(
            "writing a batch", lambda _: self._latest.find(query, projection).to_list(None)
        )
        places = {}
        for document in found:
            context = tuple(document[name] for name in self._fields)
            block = self._parse_places(document, context, grids[context])
            places[context, block.start] = block
        return places

    # In a transaction that has entered the document of the series

    async def replace(self, session: Any, context: Key, old: Iterable[Document], fresh: Sequence[Document]) -> None:
        """Put blocks in the place of those that were read, which may be none.

        Raises:
            BlockChangedError: one of these is no longer what was read, or there is one where none was.
        """
        ids = [document["_id"] for document in old]
        if ids:
            done = await self._collection.delete_many({**self.make_key(context), "_id": {"$in": ids}}, session=session)
            if done.deleted_count != len(ids):
                raise BlockChangedError
        if fresh:
            key = self.make_key(context)
            query = {**key, "start": {"$in": [document["start"] for document in fresh]}}
            if await self._collection.find_one(query, {"_id": 1}, session=session) is not None:
                raise BlockChangedError
            with free_keys():
                documents = [{"_id": ObjectId(), **document} for document in fresh]
                await self._collection.insert_many(documents, session=session)

    async def delete_all(self, session: Any, context: Key) -> int:
        """Delete whatever there is of a series, and return how many documents."""
        return int((await self._collection.delete_many(self.make_key(context), session=session)).deleted_count)

    # Errors

    def make_damage_error(self, context: Key, grid: BlockGrid, document: Document, problem: str) -> StoreError:
        """Return the error of a damaged block: where it is, and how much is lost."""
        start, rows = find_start(document), document.get("rows")
        is_known = type(rows) is int and 0 < rows <= grid.rows
        lost = f"{rows:,}" if is_known else f"up to {grid.rows:,}"
        return self._make_loss_error(context, grid, start, lost, f"a block is damaged: {problem}")

    def make_lost_error(self, context: Key, grid: BlockGrid, start: int) -> StoreError:
        """Return the error of a block that is not there any more."""
        return self._make_loss_error(context, grid, start, f"up to {grid.rows:,}", "a block is lost")

    def _make_loss_error(self, context: Key, grid: BlockGrid, start: int | None, lost: str, problem: str) -> StoreError:
        place = "" if start is None else f" of the range [{start}, {grid.end(grid.start(start))})"
        return StoreError(
            f"reading candles failed: {problem}: {lost} candles of {':'.join(map(str, context))}{place} are lost",
            slot=self._spec.name,
            collection=self._collection.name,
            key={**self.make_key(context), **({} if start is None else {"start": start})},
            hint="blocks are the only copy of these candles: restore them from a backup, or delete() the whole range "
            "and write it again",
        )
