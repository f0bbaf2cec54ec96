"""The blocks of a series: compressed rows, which are stored nowhere else.

::

    {…the context, start, format, rows, first, last, head, columns,   see :mod:`backtest_mongo.columns.codec`
     end, tie,                                                        where the next one starts; CRC-32 of head and end
     bytes,                                                           of the columns
     written}

The blocks of a series divide the time: each has the rows from its start to its end, where the next one starts. The
first one starts before all times, the last one ends after all, and those whose rows were deleted stay, without columns.
So a reader finds out if a block is missing. Blocks are replaced and divided, and empty ones are joined; a reader who
meets parts of what has been divided meanwhile takes what is after the rows that it has.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Sequence
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
from backtest_mongo.mongo.indexes import Fields
from backtest_mongo.series.columns.tail import make_projection
from backtest_mongo.types import Document

if TYPE_CHECKING:
    from backtest_mongo.columns.arrays import ColumnArrays

__all__ = ["LATEST", "PAGE", "BlockHead", "Partition", "SeriesBlocks", "name_blocks"]

_READING: Final = "reading rows"
#: Blocks that are read at a time: few megabytes, so that the next ones come while these are decompressed.
PAGE: Final = 8
_HEADER: Final = dict.fromkeys(("start", "end", "format", "rows", "first", "last", "head", "tie", "bytes"), 1)
#: Blocks among which that of a time is looked for, if the starts of some are damaged.
_CANDIDATES: Final = 16
#: How often a block is looked for: while blocks are replaced, a query may see some as before and some as afterwards.
_LOOKS: Final = 4
_PAUSE: Final = 0.01
#: After all times.
LATEST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class BlockHead:
    """What the index says of a block. Times are in the slot's unit; ``first`` and ``last`` are those of its rows.

    A block without rows has its start as both.
    """

    start: int
    end: int
    first: int
    last: int
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Partition:
    """A part of the time, the half-open range from ``start`` to ``end``.

    Attributes:
        start: where it starts.
        end: where it ends.
        head: what its block says of itself, ``None`` if that is missing or damaged.
        blocks: its block without columns, or what there is of it.
    """

    start: int
    end: int
    head: BlockHead | None
    blocks: tuple[Document, ...] = ()

    @property
    def rows(self) -> int:
        return 0 if self.head is None else self.head.rows


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

    def list_indexes(self) -> list[tuple[Fields, bool]]:
        """Return the fields of each index that is needed, and whether it is unique."""
        key: Fields = (*((name, 1) for name in self._context), ("start", 1))
        # What there is of blocks is read out of the second one, without the blocks.
        return [(key, True), ((*key, *((name, 1) for name in _HEADER if name != "start")), False)]

    async def _create_indexes(self) -> None:
        for fields, is_unique in self.list_indexes():
            await self._documents.create_index(list(fields), unique=is_unique)

    async def sample(self, count: int) -> list[Document]:
        """Return ``count`` random blocks of any series."""
        pipeline: list[Document] = [{"$sample": {"size": count}}]
        return await self.slot.read(_READING, partial(aggregate, self._documents, pipeline))

    # Reading

    async def read(
        self,
        context: Key,
        first: int,
        end: int,
        names: Collection[str] | None = None,
        *,
        has_blocks: Callable[[], Awaitable[bool]],
    ) -> AsyncGenerator[list[tuple[Document, int]], None]:
        """Yield the blocks, by time, that have rows in a half-open range; each page is a request of its own.

        Args:
            context: of the series.
            first: the beginning of the range.
            end: of the range.
            names: of the columns that are read.
            has_blocks: returns whether there must be some; asked if there are none.

        Yields:
            Blocks, each with the time from which on its rows are meant.

        Raises:
            StoreError: a block is missing.
        """
        position = first
        start: int | None = await self.slot.read(_READING, partial(self._find_start, context, first))
        looks = 0
        while position < end:
            fetch = partial(self._fetch, context, position if start is None else start, end, names)
            page = await self.slot.read(_READING, fetch)
            whole, damaged = [], None
            for block in page:
                try:
                    head = self._parse(context, block)
                except StoreError as error:
                    damaged = damaged or error
                    continue
                if head.start > position:
                    break
                if head.end > position:
                    whole.append((block, position))
                    position = head.end
            if whole:
                looks = 0
                if filled := [part for part in whole if part[0]["rows"]]:
                    self.slot.counts.blocks += len(filled)
                    yield filled
                start = position
                continue
            if start is None and not page and not await has_blocks():
                return
            looks += 1
            if looks == _LOOKS:
                (part, *_) = await self.list_partitions(context, position, position + 1, _CANDIDATES, is_expected=True)
                raise damaged or self.make_part_error(context, part)
            await asyncio.sleep(_PAUSE)
            sound = await self._find_sound(context, position)
            start = None if sound is None else sound.start

    async def _find_start(self, context: Key, time: int) -> int | None:
        query = {**match_context(self._spec, context), "start": {"$lte": time}}
        cursor = self._documents.find(query, {"_id": 0, "start": 1}).sort("start", -1).limit(1)
        found = await cursor.to_list(None)
        return int(found[0]["start"]) if found else None

    async def _fetch(self, context: Key, first: int, end: int, names: Collection[str] | None) -> list[Document]:
        query = {**match_context(self._spec, context), "start": {"$gte": first, "$lt": end}}
        projection = {**make_projection(self._spec, names), **_HEADER}
        cursor = self._documents.find(query, projection).sort("start", 1).limit(PAGE)
        return await cursor.to_list(None)

    async def read_heads(self, context: Key, end: int, limit: int = 0) -> list[BlockHead]:
        """Return what the index says of the blocks that start before a time, the last ones first.

        Raises:
            StoreError: a header is damaged, or a block is missing.
        """
        looks = 0
        while True:
            found = await self._find_headers(context, {"start": {"$lt": end}}, -1, limit)
            heads, damaged, position = [], None, end
            for header in found:
                head = self._try_parse(context, header)
                if head is None:
                    damaged = damaged or header
                elif head.end < position:
                    break
                else:
                    heads.append(head)
                    position = head.start
            else:
                if not found or len(found) == limit or position == MOST_NEGATIVE:
                    return heads
            looks += 1
            if looks == _LOOKS:
                if damaged is not None:
                    self._parse(context, damaged)
                (part, *_) = await self.list_partitions(context, position - 1, position, _CANDIDATES, is_expected=True)
                raise self.make_part_error(context, part)
            await asyncio.sleep(_PAUSE)

    async def has_rows(self, context: Key) -> int | None:
        """Return the time of a row, ``None`` if no block has one."""
        found = await self._find_headers(context, {"rows": {"$gt": 0}}, -1, 1)
        return self._parse(context, found[0]).first if found else None

    async def _find_headers(self, context: Key, query: Document, direction: int, limit: int) -> list[Document]:
        query = {**match_context(self._spec, context), **query}
        projection = {**dict.fromkeys(self._context, 1), **_HEADER}

        async def fetch() -> list[Document]:
            return await self._documents.find(query, projection).sort("start", direction).limit(limit).to_list(None)

        return await self.slot.read("reading the index", fetch)

    def _parse(self, context: Key, found: Document) -> BlockHead:
        from backtest_mongo.columns.codec import DamagedRowsError, parse_header

        try:
            rows, first, last = parse_header(found, self._make_key(context, found.get("start")))
            if not isinstance(found["start"], int):
                raise DamagedRowsError("its start has changed")
            if not isinstance(found.get("end"), int) or found.get("tie") != _tie(found["head"], found["end"]):
                raise DamagedRowsError("its end has changed")
        except DamagedRowsError as error:
            raise self.make_damage_error(context, found, str(error)) from None
        size = found.get("bytes")
        size = size if isinstance(size, int) else 0
        return BlockHead(int(found["start"]), int(found["end"]), first, last, rows, size)

    def _try_parse(self, context: Key, header: Document) -> BlockHead | None:
        try:
            return self._parse(context, header)
        except StoreError:
            return None

    async def _find_sound(self, context: Key, time: int) -> Partition | None:
        """Return the part that starts last of those that start until a time and whose block is not damaged."""
        for header in await self._find_headers(context, {"start": {"$lte": time}}, -1, _CANDIDATES):
            head = self._try_parse(context, header)
            if head is not None:
                return Partition(head.start, head.end, head, (header,))
        return None

    async def find_partition(self, context: Key, time: int, has_blocks: Callable[[], Awaitable[bool]]) -> Partition:
        """Return the part of the time in which a row belongs, by a request or a few; all if there is no block.

        Raises:
            StoreError: its block is damaged or missing.
        """
        for look in range(_LOOKS):
            if look:
                await asyncio.sleep(_PAUSE)
            found = await self._find_sound(context, time)
            if found is not None and time < found.end:
                return found
            if found is None and not await self._find_headers(context, {}, 1, 1) and not await has_blocks():
                return Partition(MOST_NEGATIVE, LATEST, None)
        (part, *_) = await self.list_partitions(context, time, time + 1, _CANDIDATES, is_expected=True)
        raise self.make_part_error(context, part)

    async def list_partitions(
        self, context: Key, first: int, end: int, limit: int, *, is_expected: bool
    ) -> list[Partition]:
        """Return so many parts of the time that a half-open range touches, by time, also where blocks are missing.

        Args:
            context: of the series.
            first: the beginning of the range.
            end: of the range.
            limit: how many blocks are looked at, about.
            is_expected: whether there must be blocks.
        """
        known = await self._find_sound(context, first)
        position = MOST_NEGATIVE if known is None else known.start if first < known.end else known.end
        headers = await self._find_headers(context, {"start": {"$gte": position, "$lt": end}}, 1, limit)
        has_all = len(headers) < limit
        if has_all:
            headers += await self._find_headers(context, {"start": {"$gte": end}}, 1, _CANDIDATES)
        if not headers and not is_expected:
            return []
        parts: list[Partition] = []
        strays: list[Document] = []
        for header in headers:
            head = self._try_parse(context, header)
            if head is None:
                strays.append(header)
                continue
            if head.start > position:
                parts.append(Partition(position, head.start, None, _pick(strays, position, head.start)))
            if head.end > position:
                parts.append(Partition(head.start, head.end, head, (header,)))
                position = head.end
        if position < LATEST and (has_all or not parts):
            parts.append(Partition(position, LATEST, None, _pick(strays, position, LATEST)))
        return [part for part in parts if part.end > first and part.start < end]

    async def fetch(self, context: Key, partition: Partition) -> Document | None:
        """Return the whole block of a part, by a request of its own; ``None`` if it has been replaced."""
        query = {"_id": partition.blocks[0]["_id"], **match_context(self._spec, context)}
        found: Document | None = await self.slot.read(_READING, lambda: self._documents.find_one(query))
        return found

    def decode(self, context: Key, document: Document, names: Collection[str] | None = None) -> ColumnArrays:
        """Return the rows of a block.

        Raises:
            StoreError: it is damaged.
        """
        from backtest_mongo.columns.arrays import ColumnArrays
        from backtest_mongo.columns.codec import DamagedRowsError, decode, parse_header

        key = self._make_key(context, document.get("start"))
        try:
            if not parse_header(document, key)[0]:
                return ColumnArrays.empty(self._spec, names)
            return decode(self._spec, key, document, names)
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

    def make_part_error(self, context: Key, part: Partition) -> StoreError:
        """Return the error for a part of the time whose block is damaged or missing."""
        for block in part.blocks:
            try:
                self._parse(context, block)
            except StoreError as error:
                return error
        start, end = part.start, part.end
        return StoreError(
            f"reading rows failed: a block is missing or its start has changed; it had the rows from "
            f"{'the first one' if start == MOST_NEGATIVE else start} to "
            f"{'the last one' if end == LATEST else f'before {end}'} ({self._spec.unit} since the epoch)",
            slot=self._spec.name,
            collection=self._documents.name,
            key=dict(zip(self._context, context, strict=True)),
            hint="restore the block from a backup, or delete this range and write it again",
        )

    async def count(self, context: Key) -> tuple[int, int, int]:
        """Return how many blocks there are, their rows and their bytes, out of the index."""
        sums = {"_id": None, "blocks": {"$sum": 1}, "rows": {"$sum": "$rows"}, "bytes": {"$sum": "$bytes"}}
        query = {**match_context(self._spec, context), "rows": {"$ne": 0}}
        pipeline: list[Document] = [{"$match": query}, {"$group": sums}]
        found = await self.slot.read("reading the index", partial(aggregate, self._documents, pipeline))
        return (found[0]["blocks"], found[0]["rows"], found[0]["bytes"]) if found else (0, 0, 0)

    # Writing

    def _make_key(self, context: Key, start: object) -> Document:
        return {**match_context(self._spec, context), "start": start}

    def make(self, context: Key, start: int, rows: ColumnArrays) -> Document:
        """Return the block of some rows; :meth:`link` says where it ends."""
        from backtest_mongo.columns.codec import encode

        document = encode(self._spec, self._make_key(context, Int64(start)), rows, is_compressed=True)
        size = sum(map(len, document["columns"].values()))
        return {"_id": ObjectId(), **document, "bytes": size, "written": datetime.now(UTC)}

    def make_empty(self, context: Key, start: int, end: int) -> Document:
        """Return a block without rows."""
        from backtest_mongo.columns.codec import seal_header

        document = seal_header(self._make_key(context, Int64(start)), 0, start, start)
        block = {"_id": ObjectId(), **document, "columns": {}, "bytes": 0, "written": datetime.now(UTC)}
        return {**block, **_link(block, end)}

    def rename(self, source: Key, target: Key, block: Document, doing: str) -> Document:
        """Return a block of another series with the same content.

        Raises:
            StoreError: it is damaged.
        """
        from backtest_mongo.columns.codec import DamagedRowsError, rename_key

        start, end = block.get("start"), block.get("end")
        try:
            renamed = rename_key(block, self._make_key(source, start), self._make_key(target, start))
            if not isinstance(end, int) or block.get("tie") != _tie(block["head"], end):
                raise DamagedRowsError("its end has changed")
        except DamagedRowsError as error:
            raise self.make_damage_error(source, block, str(error), doing) from None
        return {**block, **renamed, **_link(renamed, end)}

    @staticmethod
    def link(blocks: Sequence[Document], end: int) -> None:
        """Let each block end where the next one starts, and the last one at a time."""
        ends = [*(block["start"] for block in blocks[1:]), end]
        for block, following in zip(blocks, ends, strict=True):
            block.update(_link(block, following))

    async def replace(
        self,
        context: Key,
        removed: Sequence[Document],
        made: Sequence[Document],
        shortened: tuple[Document, int] | None,
        session: Any,
    ) -> bool:
        """Put blocks in the place of others in a transaction; return whether these were still there.

        Args:
            context: of the series.
            removed: the blocks that go.
            made: those that come.
            shortened: a block that stays, and where it ends from now on.
            session: of the transaction.
        """
        if removed:
            ids = [block["_id"] for block in removed]
            deleted = await self._documents.delete_many({"_id": {"$in": ids}}, session=session)
            if deleted.deleted_count != len(ids):
                return False
        if shortened is not None:
            block, end = shortened
            query = {"_id": block["_id"], **match_context(self._spec, context)}
            changed = await self._documents.update_one(query, {"$set": _link(block, end)}, session=session)
            if changed.matched_count != 1:
                return False
        if made:
            await self._documents.insert_many(made, session=session)
        return True

    async def drop_strays(self, context: Key, session: Any) -> None:
        """Delete, in a transaction, blocks whose start is no time any more."""
        query = {**match_context(self._spec, context), "start": {"$not": {"$type": "number"}}}
        await self._documents.delete_many(query, session=session)

    async def has_any(self, context: Key, session: Any) -> bool:
        """Return, in a transaction, whether a series has blocks."""
        query = match_context(self._spec, context)
        return await self._documents.find_one(query, {"_id": 1}, session=session) is not None

    async def drop_empty(self, context: Key, session: Any) -> None:
        """Delete, in a transaction, the blocks of a series without rows."""
        query = {**match_context(self._spec, context), "rows": 0}
        await self._documents.delete_many(query, session=session)


def _tie(head: int, end: int) -> int:
    return zlib.crc32(b"%d %d" % (head, end))


def _link(block: Document, end: int) -> Document:
    return {"end": Int64(end), "tie": _tie(block["head"], end)}


def _pick(strays: Iterable[Document], start: int, end: int) -> tuple[Document, ...]:
    """Return the damaged blocks that start in a part of the time."""
    return tuple(block for block in strays if start <= block["start"] < end)
