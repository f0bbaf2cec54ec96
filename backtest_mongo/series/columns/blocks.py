"""The blocks of a series: compressed rows, which are stored nowhere else.

::

    {…the context, start, format, rows, first, last, head, columns,   see :mod:`backtest_mongo.columns.codec`
     bytes,                                                           of the columns
     written}

The starts of a series' blocks divide the time: a row belongs to the block with the latest start that is not after it,
and the start of the first block is before all times. Blocks are replaced and divided, and deleted when all of their
rows are, but never joined: so a reader who has found the block of a time finds all later rows from its start on,
whatever happens in between.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from bson import Int64, ObjectId

from backtest_mongo.connection.hub import Hub
from backtest_mongo.core.columns import MOST_NEGATIVE
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.errors import StoreError
from backtest_mongo.mongo.collection import SlotCollection, aggregate
from backtest_mongo.mongo.contexts import match_context
from backtest_mongo.series.columns.tail import make_projection
from backtest_mongo.types import Document

if TYPE_CHECKING:
    from backtest_mongo.columns.arrays import ColumnArrays

__all__ = ["LATEST", "PAGE", "BlockHead", "Partition", "SeriesBlocks", "name_blocks"]

_READING: Final = "reading rows"
#: Blocks that are read at a time: few megabytes, so that the next ones come while these are decompressed.
PAGE: Final = 8
_HEADER: Final = dict.fromkeys(("start", "format", "rows", "first", "last", "head", "bytes"), 1)
#: After all times.
LATEST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class BlockHead:
    """What the index says of a block. Times are in the slot's unit; ``first`` and ``last`` are those of its rows."""

    start: int
    first: int
    last: int
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Partition:
    """A part of the time, from ``start`` to the start of the next block, and its block without columns, if any."""

    start: int
    end: int
    block: Document | None

    def find_bounds(self) -> tuple[int, int]:
        """Return the times of the first and the last row of the block; if they are damaged, those of the part."""
        block = self.block or {}
        first, last = block.get("first"), block.get("last")
        if isinstance(first, int) and isinstance(last, int) and self.start <= first <= last < self.end:
            return int(first), int(last)
        return self.start, self.end - 1

    def count_rows(self) -> int:
        rows = (self.block or {}).get("rows")
        return int(rows) if isinstance(rows, int) else 0


def name_blocks(spec: SlotSpec) -> str:
    """Return the name of the collection of a slot's blocks, which no slot has: those of slots end in ``-items``."""
    return f"{spec.name.replace('_', '-')}-blocks"


class SeriesBlocks:
    """The blocks of one slot's series."""

    def __init__(self, hub: Hub, spec: SlotSpec) -> None:
        self._spec = spec
        self._context = spec.key[: len(spec.context)]
        self._documents = hub.get_database(spec)[name_blocks(spec)].with_options(read_concern=hub.durable_read_concern)
        self.slot: SlotCollection = SlotCollection(hub, spec, self._documents, create_indexes=self._create_indexes)

    async def _create_indexes(self) -> None:
        key = [*((name, 1) for name in self._context), ("start", 1)]
        await self._documents.create_index(key, unique=True)
        # What there is of blocks is read out of this one, without the blocks.
        await self._documents.create_index([*key, *((name, 1) for name in _HEADER if name != "start")])

    # Reading

    async def read(
        self, context: Key, first: int, end: int, names: Collection[str] | None = None
    ) -> AsyncGenerator[list[Document], None]:
        """Yield the blocks, by time, that may have rows in a half-open range; each page is a request of its own."""
        found = await self.slot.read(_READING, partial(self._find_start, context, first))
        position: int | None = first if found is None else found
        while position is not None and position < end:
            fetch = partial(self._fetch, context, position, end, names)
            page = await self.slot.read(_READING, fetch)
            self.slot.counts.blocks += len(page)
            if page:
                yield page
            position = page[-1]["start"] + 1 if len(page) == PAGE else None

    async def _find_start(self, context: Key, time: int) -> int | None:
        query = {**match_context(self._spec, context), "start": {"$lte": time}}
        cursor = self._documents.find(query, {"_id": 0, "start": 1}).sort("start", -1).limit(1)
        found = await cursor.to_list(None)
        return int(found[0]["start"]) if found else None

    async def _fetch(self, context: Key, first: int, end: int, names: Collection[str] | None) -> list[Document]:
        query = {**match_context(self._spec, context), "start": {"$gte": first, "$lt": end}}
        cursor = self._documents.find(query, make_projection(self._spec, names)).sort("start", 1).limit(PAGE)
        return await cursor.to_list(None)

    async def read_heads(self, context: Key, end: int, limit: int = 0) -> list[BlockHead]:
        """Return what the index says of the blocks that start before a time, the last ones first.

        Raises:
            StoreError: a header is damaged.
        """
        query = {**match_context(self._spec, context), "start": {"$lt": end}}
        projection = {"_id": 0, **dict.fromkeys(self._context, 1), **_HEADER}

        async def fetch() -> list[Document]:
            return await self._documents.find(query, projection).sort("start", -1).limit(limit).to_list(None)

        return [self._parse(context, found) for found in await self.slot.read("reading the index", fetch)]

    def _parse(self, context: Key, found: Document) -> BlockHead:
        from backtest_mongo.columns.codec import DamagedRowsError, parse_header

        try:
            rows, first, last = parse_header(found, self._make_key(context, found.get("start")))
        except DamagedRowsError as error:
            raise self.make_damage_error(context, found, str(error)) from None
        return BlockHead(int(found["start"]), first, last, rows, int(found.get("bytes", 0)))

    async def find_partition(self, context: Key, time: int) -> Partition:
        """Return the part of the time in which a row belongs, by a request of its own."""
        key = match_context(self._spec, context)
        header = dict.fromkeys(_HEADER, 1)

        async def fetch() -> tuple[list[Document], list[Document]]:
            before = self._documents.find({**key, "start": {"$lte": time}}, header).sort("start", -1).limit(1)
            after = self._documents.find({**key, "start": {"$gt": time}}, {"start": 1}).sort("start", 1).limit(1)
            return await before.to_list(None), await after.to_list(None)

        before, after = await self.slot.read(_READING, fetch)
        end = int(after[0]["start"]) if after else LATEST
        if not before:
            return Partition(MOST_NEGATIVE, end, None)
        return Partition(int(before[0]["start"]), end, before[0])

    async def list_partitions(self, context: Key, first: int, end: int, limit: int) -> list[Partition]:
        """Return so many parts of the time whose blocks may have rows in a half-open range, by time."""
        start = await self.slot.read(_READING, partial(self._find_start, context, first))
        query = {
            **match_context(self._spec, context),
            "start": {"$gte": first if start is None else start, "$lt": end},
        }

        async def fetch() -> list[Document]:
            cursor = self._documents.find(query, dict.fromkeys(_HEADER, 1)).sort("start", 1).limit(limit + 1)
            return await cursor.to_list(None)

        found = await self.slot.read(_READING, fetch)
        ends = [int(block["start"]) for block in found[1:]]
        if len(found) <= limit and found:
            ends.append((await self.find_partition(context, int(found[-1]["start"]))).end)
        return [Partition(int(block["start"]), end, block) for block, end in zip(found, ends, strict=False)]

    async def fetch(self, context: Key, header: Document) -> Document | None:
        """Return the whole block of a header, by a request of its own; ``None`` if it has been replaced."""
        query = {"_id": header["_id"], **match_context(self._spec, context)}
        found: Document | None = await self.slot.read(_READING, lambda: self._documents.find_one(query))
        return found

    def decode(self, context: Key, document: Document, names: Collection[str] | None = None) -> ColumnArrays:
        """Return the rows of a block.

        Raises:
            StoreError: it is damaged.
        """
        from backtest_mongo.columns.codec import DamagedRowsError, decode

        try:
            return decode(self._spec, self._make_key(context, document.get("start")), document, names)
        except DamagedRowsError as error:
            raise self.make_damage_error(context, document, str(error)) from None

    def make_damage_error(self, context: Key, document: Document, problem: str, doing: str = _READING) -> StoreError:
        """Return the error for a damaged block, which says what is lost."""
        rows, first, last = (document.get(name) for name in ("rows", "first", "last"))
        return StoreError(
            f"{doing} failed: a block is damaged, {problem}; it had {rows} rows from {first} to {last} "
            f"({self._spec.unit} since the epoch)",
            slot=self._spec.name,
            collection=self._documents.name,
            key=dict(zip(self._context, context, strict=True)),
            hint="restore the block from a backup, or delete this range and write it again",
        )

    async def count(self, context: Key) -> tuple[int, int, int]:
        """Return how many blocks there are, their rows and their bytes, out of the index."""
        sums = {"_id": None, "blocks": {"$sum": 1}, "rows": {"$sum": "$rows"}, "bytes": {"$sum": "$bytes"}}
        pipeline: list[Document] = [{"$match": match_context(self._spec, context)}, {"$group": sums}]
        found = await self.slot.read("reading the index", partial(aggregate, self._documents, pipeline))
        return (found[0]["blocks"], found[0]["rows"], found[0]["bytes"]) if found else (0, 0, 0)

    # Writing

    def _make_key(self, context: Key, start: object) -> Document:
        return {**match_context(self._spec, context), "start": start}

    def make(self, context: Key, start: int, rows: ColumnArrays) -> Document:
        """Return the block of some rows."""
        from backtest_mongo.columns.codec import encode

        document = encode(self._spec, self._make_key(context, Int64(start)), rows, is_compressed=True)
        size = sum(map(len, document["columns"].values()))
        return {"_id": ObjectId(), **document, "bytes": size, "written": datetime.now(UTC)}

    async def replace(self, removed: Sequence[Document], made: Sequence[Document], session: Any) -> bool:
        """Put blocks in the place of others in a transaction; return whether these were still there."""
        if removed:
            ids = [block["_id"] for block in removed]
            deleted = await self._documents.delete_many({"_id": {"$in": ids}}, session=session)
            if deleted.deleted_count != len(ids):
                return False
        if made:
            await self._documents.insert_many(made, session=session)
        return True

    async def drop_all(self, context: Key) -> None:
        """Delete all blocks without a transaction, within a request."""
        query = match_context(self._spec, context)
        await self.slot.attempt("deleting rows", lambda _: self._documents.delete_many(query))
