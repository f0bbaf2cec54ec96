"""The blocks of a series: compressed rows, which are stored nowhere else.

::

    {…the context, start, format, rows, first, last, head, columns,   see :mod:`backtest_mongo.columns.codec`
     end, tie,                                                        where the next one starts; CRC-32 of head and end
     startSequence, endSequence,                                      the sequence of the first row of the block, or of
                                                                      the next one, if earlier rows have the same time
     bytes,                                                           of the columns
     written}

The blocks of a series divide the time: each has the rows from its start to its end, where the next one starts. The
first one starts before all times, the last one ends after all, and those whose rows were deleted stay, without columns.
So a reader finds out if a block is missing. Blocks are replaced and divided, and empty ones are joined; a reader who
meets parts of what has been divided meanwhile takes what is after the rows that it has.

Rows of one time are in one block, unless there are too many of them for a document: then several blocks have the same
start, and all but the first one begin at a sequence.
"""

from __future__ import annotations

import asyncio
import zlib
from bisect import bisect_left
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

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

__all__ = [
    "BEGINNING",
    "END",
    "LATEST",
    "PAGE",
    "PLACE",
    "BlockHead",
    "Partition",
    "Position",
    "SeriesBlocks",
    "get_position",
    "name_blocks",
]

_READING: Final = "reading rows"
#: Blocks that are read at a time: few megabytes, so that the next ones come while these are decompressed.
PAGE: Final = 8
_START_SEQUENCE: Final = "startSequence"
_END_SEQUENCE: Final = "endSequence"
#: The fields that say where a block starts, by which blocks are in order.
PLACE: Final = ("start", _START_SEQUENCE)
_HEADER: Final = dict.fromkeys(
    (*PLACE, "end", _END_SEQUENCE, "format", "rows", "first", "last", "head", "tie", "bytes"), 1
)
_BACKWARDS: Final = [(name, -1) for name in PLACE]
#: Blocks among which that of a time is looked for, if the starts of some are damaged.
_CANDIDATES: Final = 16
#: How often a block is looked for: while blocks are replaced, a query may see some as before and some as afterwards.
_LOOKS: Final = 4
_PAUSE: Final = 0.01
#: Blocks whose headers are read at a time, to find those of some rows.
_LISTED: Final = 4_096
#: After all times.
LATEST: Final = 2**63 - 1

#: A place in the order of rows: that of :data:`~backtest_mongo.columns.arrays.Position`.
Position: TypeAlias = tuple[int] | tuple[int, Any]
#: Before all rows, and after all.
BEGINNING: Final[Position] = (MOST_NEGATIVE,)
END: Final[Position] = (LATEST,)


@dataclass(frozen=True, slots=True)
class BlockHead:
    """What the index says of a block. Times are in the slot's unit; ``first`` and ``last`` are those of its rows.

    A block without rows has the time of its start as both.
    """

    start: Position
    end: Position
    first: int
    last: int
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Partition:
    """A part of the time, the half-open range from ``start`` to ``end``, for which one block is responsible.

    Attributes:
        start: where it starts.
        end: where it ends.
        head: what its block says of itself, ``None`` if that is missing or damaged.
        blocks: its block without columns, or what there is of it.
    """

    start: Position
    end: Position
    head: BlockHead | None
    blocks: tuple[Document, ...] = ()

    @property
    def rows(self) -> int:
        return 0 if self.head is None else self.head.rows

    @property
    def times(self) -> tuple[int, int]:
        """The half-open range of the times that rows there can have."""
        return self.start[0], self.end[0] + (len(self.end) > 1)


def get_position(block: Document) -> Position:
    """Return where a block starts."""
    sequence = block.get(_START_SEQUENCE)
    return (int(block["start"]),) if sequence is None else (int(block["start"]), sequence)


def name_blocks(spec: SlotSpec) -> str:
    """Return the name of the collection of a slot's blocks, which no slot has: those of slots end in ``-items``."""
    return f"{spec.name.replace('_', '-')}-blocks"


class SeriesBlocks:
    """The blocks of one slot's series."""

    #: How they are sorted.
    order: Final = [(name, 1) for name in PLACE]

    def __init__(self, hub: Hub, spec: SlotSpec) -> None:
        self._spec = spec
        self._context = spec.key[: len(spec.context)]
        self._documents = hub.get_database(spec)[name_blocks(spec)].with_options(read_concern=hub.durable_read_concern)
        self.slot: SlotCollection = SlotCollection(hub, spec, self._documents, create_indexes=self._create_indexes)

    def list_indexes(self) -> list[tuple[Fields, bool]]:
        """Return the fields of each index that is needed, and whether it is unique."""
        key: Fields = (*((name, 1) for name in self._context), *((name, 1) for name in PLACE))
        # What there is of blocks is read out of the second one, without the blocks.
        return [(key, True), ((*key, *((name, 1) for name in _HEADER if name not in PLACE), ("_id", 1)), False)]

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
        first: Position,
        end: int,
        names: Collection[str] | None = None,
        *,
        has_blocks: Callable[[], Awaitable[bool]],
    ) -> AsyncGenerator[list[tuple[Document, Position]], None]:
        """Yield the blocks, by time, that have rows in a half-open range; each page is a request of its own.

        Args:
            context: of the series.
            first: the beginning of the range.
            end: of the range.
            names: of the columns that are read.
            has_blocks: returns whether there must be some; asked if there are none.

        Yields:
            Blocks, each with the position from which on its rows are meant.

        Raises:
            StoreError: a block is missing.
        """
        position = first
        start = await self._find_start(context, first)
        looks = 0
        while position < (end,):
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
                raise damaged or await self._find_error(context, position)
            await asyncio.sleep(_PAUSE)
            sound = await self._find_sound(context, position)
            start = None if sound is None else sound.start

    async def _find_start(self, context: Key, position: Position) -> Position | None:
        """Return where the block starts that has the rows from a position on, as far as is known."""
        query = {**match_context(self._spec, context), "start": {"$lte": position[0]}}
        projection = {"_id": 0, **dict.fromkeys(PLACE, 1)}

        async def fetch() -> list[Document]:
            return await self._documents.find(query, projection).sort(_BACKWARDS).limit(1).to_list(None)

        found = await self.slot.read(_READING, fetch)
        if found and _is_after(found[0], position):
            found = await self._find_back(context, position, 1, is_closed=True)
        return get_position(found[0]) if found else None

    async def _fetch(self, context: Key, first: Position, end: int, names: Collection[str] | None) -> list[Document]:
        query = {**match_context(self._spec, context), **_match_range(first, end)}
        projection = {**make_projection(self._spec, names), **_HEADER}
        cursor = self._documents.find(query, projection).sort(self.order).limit(PAGE)
        return await cursor.to_list(None)

    async def read_holding(
        self,
        context: Key,
        rows: ColumnArrays,
        names: Collection[str] | None,
        *,
        has_blocks: Callable[[], Awaitable[bool]],
    ) -> AsyncGenerator[ColumnArrays, None]:
        """Yield the rows of each block that may have the key of one of some rows, whatever is between these.

        Args:
            context: of the series.
            rows: in order; their keys matter.
            names: of the columns that are read.
            has_blocks: returns whether there must be blocks; asked if there are none.

        Raises:
            StoreError: one of these blocks is damaged or missing.
        """
        import numpy as np

        looks = 0
        while len(rows):
            parts = await self._list_holding(context, rows, has_blocks)
            lost = next((part for part in parts if part.head is None), None)
            if lost is not None:
                looks += 1
                if looks == _LOOKS:
                    raise self.make_part_error(context, lost)
                await asyncio.sleep(_PAUSE)
                continue
            are_left = np.zeros(len(rows), bool)
            for at in range(0, len(parts), PAGE):
                page = {part.blocks[0]["_id"]: part for part in parts[at : at + PAGE]}
                found = await self.slot.read(_READING, partial(self._fetch_all, context, [*page], names))
                self.slot.counts.blocks += len(found)
                for block in found:
                    yield await asyncio.to_thread(self.decode, context, block, names)
                for part in (part for name, part in page.items() if name not in {block["_id"] for block in found}):
                    are_left[rows.find_rows(part.start, part.end)] = True  # it has been replaced by others
            rows = rows.take(are_left)

    async def _list_holding(
        self, context: Key, rows: ColumnArrays, has_blocks: Callable[[], Awaitable[bool]]
    ) -> list[Partition]:
        """Return the parts that may have the key of one of some rows, but for those that are known not to."""
        position, end = rows.get_position(0), int(rows.time[-1]) + 1
        found: list[Partition] = []
        while position < (end,):
            parts = await self.list_partitions(context, position, end, _LISTED, is_expected=False)
            if not parts:
                if not await has_blocks():
                    break
                parts = await self.list_partitions(context, position, end, _LISTED, is_expected=True)
            found += parts
            position = parts[-1].end
        times: list[int] = rows.time.tolist()
        return [part for part in found if _holds(part, rows, times)]

    async def _fetch_all(self, context: Key, ids: Sequence[Any], names: Collection[str] | None) -> list[Document]:
        query = {"_id": {"$in": ids}, **match_context(self._spec, context)}
        return await self._documents.find(query, {**make_projection(self._spec, names), **_HEADER}).to_list(None)

    async def read_heads(self, context: Key, end: Position, limit: int = 0) -> list[BlockHead]:
        """Return what the index says of the blocks that start before a position, the last ones first.

        Raises:
            StoreError: a header is damaged, or a block is missing.
        """
        looks = 0
        while True:
            found = await self._find_back(context, end, limit)
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
                if not found or len(found) == limit or position == BEGINNING:
                    return heads
            looks += 1
            if looks == _LOOKS:
                if damaged is not None:
                    self._parse(context, damaged)
                raise await self._find_error(context, position, is_before=True)
            await asyncio.sleep(_PAUSE)

    async def _find_back(self, context: Key, end: Position, limit: int, *, is_closed: bool = False) -> list[Document]:
        """Return so many headers of blocks that start before a position, the last ones first.

        Args:
            context: of the series.
            end: the position.
            limit: how many, or 0 for all.
            is_closed: whether one that starts there is one of them, too. Then there may be fewer.
        """
        time, *rest = end
        if not rest and not is_closed:
            return await self._find_headers(context, {"start": {"$lt": time}}, -1, limit)
        if is_closed:
            found = await self._find_headers(context, {"start": {"$lte": time}}, -1, limit)
            before = [header for header in found if not _is_after(header, end)]
            if before or len(found) < limit or not limit:
                return before
        # Many blocks have this time. A query for the one without a sequence could not be answered by the index alone.
        found = []
        if rest:
            at_time = {"start": time, _START_SEQUENCE: {"$lte" if is_closed else "$lt": rest[0]}}
            found = await self._find_headers(context, at_time, -1, limit)
        if not limit or len(found) < limit:
            found += [
                header
                for header in await self._find_headers(context, {"start": time}, 1, 1)
                if header.get(_START_SEQUENCE) is None
            ]
        if not limit or len(found) < limit:
            found += await self._find_headers(context, {"start": {"$lt": time}}, -1, limit and limit - len(found))
        return found

    async def has_rows(self, context: Key) -> int | None:
        """Return the time of a row, ``None`` if no block has one."""
        found = await self._find_headers(context, {"rows": {"$gt": 0}}, -1, 1)
        return self._parse(context, found[0]).first if found else None

    async def _find_headers(self, context: Key, query: Document, direction: int, limit: int) -> list[Document]:
        query = {**match_context(self._spec, context), **query}
        projection = {**dict.fromkeys(self._context, 1), **_HEADER}
        order = [(name, direction) for name in PLACE]

        async def fetch() -> list[Document]:
            return await self._documents.find(query, projection).sort(order).limit(limit).to_list(None)

        return await self.slot.read("reading the index", fetch)

    def _parse(self, context: Key, found: Document) -> BlockHead:
        from backtest_mongo.columns.codec import DamagedRowsError, parse_header

        try:
            rows, first, last = parse_header(found, self._get_key(context, found))
            if not self._is_position(found["start"], found.get(_START_SEQUENCE)):
                raise DamagedRowsError("its start has changed")
            end = self.get_end(found)
        except DamagedRowsError as error:
            raise self.make_damage_error(context, found, str(error)) from None
        size = found.get("bytes")
        size = size if isinstance(size, int) else 0
        return BlockHead(get_position(found), end, first, last, rows, size)

    def _is_position(self, time: object, sequence: object) -> bool:
        is_sequence = isinstance(sequence, str if self._spec.sequence == "str" else int)
        return isinstance(time, int) and (sequence is None or is_sequence)

    def get_end(self, block: Document) -> Position:
        """Return where a block ends, whose header is sound.

        Raises:
            DamagedRowsError: that is not what was stored.
        """
        from backtest_mongo.columns.codec import DamagedRowsError

        time, sequence = block.get("end"), block.get(_END_SEQUENCE)
        if not self._is_position(time, sequence):
            raise DamagedRowsError("its end has changed")
        end: Position = (int(block["end"]),) if sequence is None else (int(block["end"]), sequence)
        if block.get("tie") != _tie(block["head"], end):
            raise DamagedRowsError("its end has changed")
        return end

    def _try_parse(self, context: Key, header: Document) -> BlockHead | None:
        try:
            return self._parse(context, header)
        except StoreError:
            return None

    async def _find_sound(self, context: Key, position: Position) -> Partition | None:
        """Return the part that starts last of those that start until a position and whose block is not damaged."""
        for header in await self._find_back(context, position, _CANDIDATES, is_closed=True):
            head = self._try_parse(context, header)
            if head is not None:
                return Partition(head.start, head.end, head, (header,))
        return None

    async def find_partition(
        self, context: Key, position: Position, has_blocks: Callable[[], Awaitable[bool]]
    ) -> Partition:
        """Return the part of the time in which a row belongs, by a request or a few; all if there is no block.

        Raises:
            StoreError: its block is damaged or missing.
        """
        for look in range(_LOOKS):
            if look:
                await asyncio.sleep(_PAUSE)
            found = await self._find_sound(context, position)
            if found is not None and position < found.end:
                return found
            if found is None and not await self._find_headers(context, {}, 1, 1) and not await has_blocks():
                return Partition(BEGINNING, END, None)
        raise await self._find_error(context, position)

    async def list_partitions(
        self, context: Key, first: Position, end: int, limit: int, *, is_expected: bool
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
        position = BEGINNING if known is None else known.start if first < known.end else known.end
        headers = await self._find_headers(context, _match_range(position, end), 1, limit)
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
        if position < END and (has_all or not parts):
            parts.append(Partition(position, END, None, _pick(strays, position, END)))
        return [part for part in parts if part.end > first and part.start < (end,)]

    async def _find_error(self, context: Key, position: Position, *, is_before: bool = False) -> StoreError:
        """Return the error for the part that has a position or, with ``is_before``, that ends there."""
        time, *rest = position
        first: Position = (time,) if rest or not is_before else (time - 1,)
        while True:
            end = min(time + 1, LATEST)
            parts = await self.list_partitions(context, first, end, _CANDIDATES, is_expected=True)
            for part in parts:
                if part.end >= position if is_before else part.end > position:
                    return self.make_part_error(context, part)
            first = parts[-1].end

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

        key = self._get_key(context, document)
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
        start, end = part.times
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

    def _get_key(self, context: Key, block: Document) -> Document:
        """Return what the checksum of a block's header covers besides the header."""
        key = {**match_context(self._spec, context), "start": block.get("start")}
        sequence = block.get(_START_SEQUENCE)
        return key if sequence is None else {**key, _START_SEQUENCE: sequence}

    def _make_key(self, context: Key, start: Position) -> Document:
        return self._get_key(context, _name(start, PLACE))

    def make(self, context: Key, start: Position, rows: ColumnArrays) -> Document:
        """Return the block of some rows; :meth:`link` says where it ends."""
        from backtest_mongo.columns.codec import encode

        document = encode(self._spec, self._make_key(context, start), rows, is_compressed=True)
        size = sum(map(len, document["columns"].values()))
        return {"_id": ObjectId(), **document, "bytes": size, "written": datetime.now(UTC)}

    def make_empty(self, context: Key, start: Position, end: Position) -> Document:
        """Return a block without rows."""
        from backtest_mongo.columns.codec import seal_header

        document = seal_header(self._make_key(context, start), 0, start[0], start[0])
        block = {"_id": ObjectId(), **document, "columns": {}, "bytes": 0, "written": datetime.now(UTC)}
        return {**block, **_link(block, end)}

    def rename(self, source: Key, target: Key, block: Document, doing: str) -> Document:
        """Return a block of another series with the same content.

        Raises:
            StoreError: it is damaged.
        """
        from backtest_mongo.columns.codec import DamagedRowsError, rename_key

        try:
            renamed = rename_key(block, self._get_key(source, block), self._get_key(target, block))
            end = self.get_end(block)
        except DamagedRowsError as error:
            raise self.make_damage_error(source, block, str(error), doing) from None
        return {**block, **renamed, **_link(renamed, end)}

    @staticmethod
    def link(blocks: Sequence[Document], end: Position) -> None:
        """Let each block end where the next one starts, and the last one at a position."""
        ends = [*map(get_position, blocks[1:]), end]
        for block, following in zip(blocks, ends, strict=True):
            block.update(_link(block, following))

    async def replace(
        self,
        context: Key,
        removed: Sequence[Document],
        made: Sequence[Document],
        shortened: tuple[Document, Position] | None,
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
            update: Document = {"$set": _link(block, end)}
            if _END_SEQUENCE in block and len(end) == 1:
                update["$unset"] = {_END_SEQUENCE: ""}
            changed = await self._documents.update_one(query, update, session=session)
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


def _tie(head: int, end: Position) -> int:
    return zlib.crc32(" ".join([str(head), *map(str, end)]).encode())


def _link(block: Document, end: Position) -> Document:
    return {**_name(end, ("end", _END_SEQUENCE)), "tie": _tie(block["head"], end)}


def _name(position: Position, names: tuple[str, str]) -> Document:
    """Return a position as the fields of a document."""
    fields = {names[0]: Int64(position[0])}
    if len(position) > 1:
        sequence = position[1]
        fields[names[1]] = Int64(sequence) if isinstance(sequence, int) else sequence
    return fields


def _match_range(first: Position, end: int) -> Document:
    """Return the query for blocks that start from a position to a time, without the latter."""
    if len(first) == 1:
        return {"start": {"$gte": first[0], "$lt": end}}
    return {"$or": [{"start": first[0], _START_SEQUENCE: {"$gte": first[1]}}, {"start": {"$gt": first[0], "$lt": end}}]}


def _is_after(block: Document, position: Position) -> bool:
    """Return whether a block that starts at the time of a position or before it, starts behind the position."""
    time, *rest = position
    sequence = block.get(_START_SEQUENCE)
    if sequence is None or block["start"] != time:
        return False
    try:
        is_after: bool = not rest or sequence > rest[0]
    except TypeError:  # it is damaged
        return False
    return is_after


def _pick(strays: list[Document], start: Position, end: Position) -> tuple[Document, ...]:
    """Take the damaged blocks out of a list that start in a part of the time."""
    picked = tuple(block for block in strays if start[0] <= block["start"] and (block["start"],) < end)
    strays[:] = [block for block in strays if block not in picked]
    return picked


def _holds(part: Partition, rows: ColumnArrays, times: Sequence[int]) -> bool:
    """Return whether a part may have the key of one of some rows, which have these times."""
    first, last = part.times[0], part.times[1] - 1
    if part.head is not None:
        if not part.head.rows:
            return False
        first, last = part.head.first, part.head.last
    at = bisect_left(times, first)
    if at == len(times) or times[at] > last:
        return False
    if len(part.start) == len(part.end) == 1:
        return True
    found = rows.find_rows(part.start, part.end)
    return bool(found.start < found.stop)
