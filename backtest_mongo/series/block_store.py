"""The collection of sealed blocks: what readers find there, what writers drop, and how a block is stored.

Candles are the truth and blocks are derived from them: any block may be dropped at any time without changing an answer.
What must never be there is a block that lacks a stored candle. Sealing takes three steps: announce, read the candles,
finish; the last one does nothing if the announcement is gone. Before a write that has inserted a candle returns, it
drops each block and each announcement that lacks the candle. So a candle that a sealer has not read was stored after
the announcement, and its writer drops that, or the finished block. A sealer that is killed leaves an announcement,
which nobody reads; of two at once the later one finishes. A deletion drops the blocks and announcements of its
stretches after the candles: a sealer that announces itself later finds them gone.

A write that fills stretches without rows does not read its candles back: it announces before it inserts, spares its own
announcement, and counts the rows of the stretch. If there are as many as it has inserted, they are these: other rows
were counted, or are stored by writers who withdraw the announcement, as whoever deletes one of these does.

Queries don't judge what a block is, so that damage hides none: :mod:`backtest_mongo.series.blocks` does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, ClassVar, Final, NamedTuple, cast

from bson import Decimal128, ObjectId
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import DeleteOne, ReplaceOne, UpdateOne
from pymongo.errors import PyMongoError

from backtest_mongo.connection.hub import Hub
from backtest_mongo.connection.operation import Attempts
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.mongo.collection import SlotCollection, aggregate_raw
from backtest_mongo.series.blocks import (
    CODEC,
    FORMAT,
    UNREADABLE,
    Block,
    BlockGrid,
    BlockHeader,
    DamagedBlock,
    DamagedBlockError,
    decode_documents,
    is_block,
    lacks_any,
    parse_blocks,
    parse_header,
)
from backtest_mongo.series.queries import match_any, match_series
from backtest_mongo.types import Document, Sealed

__all__ = ["BlockStore", "Page", "Written", "clip", "find_start", "find_stretches"]

#: Blocks read at a time: some megabytes.
_PAGE: Final = 64
_HEADERS: Final = 100_000
_HEADER: Final = {"start": 1, "format": 1, "rows": 1, "head": 1}
_RAW: Final[CodecOptions[RawBSONDocument]] = CodecOptions(document_class=RawBSONDocument)
#: Before and after all times.
_FIRST, _LAST = -(2**63), 2**63 - 1


class Written(NamedTuple):
    """Candles of a series that are stored.

    Attributes:
        starts: of the blocks that they lie in.
        times: of the candles, ascending.
        inserted: those of these times whose candles were just inserted; the same object if all were.
    """

    context: Key
    grid: BlockGrid
    starts: Sequence[int]
    times: Sequence[int]
    inserted: Sequence[int]


class Page(NamedTuple):
    """Blocks by their start, and from where on there may be more; ``None`` if there are none."""

    blocks: list[Block | DamagedBlock]
    following: int | None


class BlockStore:
    """The blocks of one slot's series on one event loop."""

    #: The end of the collection's name. No slot can have it: those of slots end in -items.
    kind: ClassVar[str] = "blocks"

    def __init__(self, hub: Hub, spec: SlotSpec) -> None:
        name = f"{spec.name.replace('_', '-')}-{self.kind}"
        self._collection = hub.get_database(spec)[name].with_options(
            codec_options=CODEC, read_concern=hub.durable_read_concern
        )
        self._slot = SlotCollection(hub, spec, self._collection, create_indexes=self._create_indexes)
        self._fields = spec.key[:-1]
        self._config = hub.config

    async def _create_indexes(self) -> None:
        key = [*((name, 1) for name in self._fields), ("start", 1)]
        await self._collection.create_index(key, unique=True)
        # What there is of blocks is read out of this one, without the blocks.
        await self._collection.create_index([*key, ("format", 1), ("rows", 1), ("head", 1)])

    @property
    def complete_only(self) -> bool:
        """Whether only blocks without gaps are sealed and read, as others write candles too, and drop nothing."""
        return self._config.CC_CANDLE_SHARED_WRITERS

    async def _find(self, query: Document, projection: Document | None = None, limit: int = 0) -> list[Document]:
        """Return documents by their start, whatever they contain."""
        options = {"sort": [("start", 1)], "limit": limit, "batch_size": _HEADERS}
        try:
            # The driver's own decoder copies a reply once, and raw batches are copied three times on their way here.
            return await self._collection.find(query, projection, **options).to_list(None)
        except PyMongoError:
            raise
        except Exception:  # bson raises half a dozen kinds, some of its own and some builtin
            cursor = self._collection.find_raw_batches(query, projection, **options)
            return [document async for reply in cursor if reply for document in decode_documents(cast("bytes", reply))]

    async def _find_at_once(self, query: Document, projection: Document) -> list[Document]:
        """Return documents in any order, whatever is in them.

        It is one command: the driver's cursor takes longer than the server does, and mostly there is nothing.
        """
        command = {"find": self._collection.name, "filter": query, "projection": projection, "batchSize": _HEADERS}
        concern = self._collection.read_concern.document
        reply = await self._collection.database.command(
            {**command, "readConcern": concern} if concern else command, codec_options=_RAW
        )
        cursor = reply["cursor"]
        if cursor["id"]:  # they don't fit in one reply
            await self._collection.database.command({"killCursors": command["find"], "cursors": [cursor["id"]]})
            return await self._find(query, projection)
        return [row for document in cursor["firstBatch"] for row in decode_documents(document.raw)]

    async def read_headers(self, context: Key, grid: BlockGrid, first: int, end: int) -> list[BlockHeader]:
        """Return the headers of the blocks that are read and start in a half-open range, out of the index alone."""
        key = self.make_key(context)
        # Rows of others may lie so far out that a block there would not fit in 64 bits.
        within = {"$gte": clip(first), "$lt": clip(end)}
        query = {**key, "start": within, "format": FORMAT}
        projection = {"_id": 0, **dict.fromkeys(key, 1), **_HEADER}
        found = await self._slot.read("reading the index", lambda: self._find(query, projection))
        headers = [self._parse_header(document, grid, key) for document in found]
        return [header for header in headers if header is not None]

    def _parse_header(self, document: Document, grid: BlockGrid, key: Document) -> BlockHeader | None:
        """Return the header of a block that is read, and ``None`` of any other document."""
        try:
            header = parse_header(document, grid, key)
        except DamagedBlockError:
            return None
        return header if header.rows == grid.rows or not self.complete_only else None

    def examine(self, documents: Iterable[Document], grid: BlockGrid, key: Document) -> list[Block | DamagedBlock]:
        """Return the blocks that documents hold, damaged or not, without those that are not read."""
        return self._choose(parse_blocks(documents, grid, key), grid)

    def _choose(self, blocks: list[Block | DamagedBlock], grid: BlockGrid) -> list[Block | DamagedBlock]:
        if not self.complete_only:
            return blocks
        return [block for block in blocks if isinstance(block, DamagedBlock) or block.rows == grid.rows]

    async def read_page(self, context: Key, grid: BlockGrid, first: int, end: int) -> Page:
        """Return the first blocks, damaged or not, that start at ``first`` or later and before ``end``.

        A page may be empty though others follow.
        """
        key = self.make_key(context)
        query = {**key, "start": {"$gte": first, "$lt": end, "$not": {"$type": "array"}}}
        found = await self._slot.read("reading a window", partial(self._find, query, limit=_PAGE))
        blocks = parse_blocks(found, grid, key)
        self._slot.counts.blocks += len(blocks)
        return Page(self._choose(blocks, grid), _find_following(found) if len(found) == _PAGE else None)

    async def find_strays(self, context: Key) -> list[Document]:
        """Return the documents of the series whose start is no time, so that they are in no range."""
        somewhere = {"start": {"$gte": _FIRST, "$lt": _LAST, "$not": {"$type": "array"}}}
        query = {**self.make_key(context), "$nor": [somewhere]}
        return await self._slot.read("reading the blocks", lambda: self._find(query))

    async def sample(self, count: int) -> list[Document]:
        """Return up to so many blocks of any series, taken at random."""
        # With ``$sample`` first the server jumps to some, instead of going through all.
        pipeline: list[Document] = [{"$sample": {"size": 2 * count}}]

        async def fetch() -> list[Document]:
            replies = await aggregate_raw(self._collection, pipeline)
            return [document for reply in replies for document in decode_documents(reply)]

        found = await self._slot.read("reading the blocks", fetch)
        return list(filter(is_block, found))[:count]

    async def find_headers(self, context: Key, starts: Sequence[int]) -> list[Document]:
        """Return the unparsed headers of what is stored of these blocks: announcements and damaged ones too."""
        query = {**self.make_key(context), "start": _among(starts)}
        projection = {**dict.fromkeys(self._fields, 1), **_HEADER}
        return await self._slot.read("sealing", lambda: self._find(query, projection))

    async def is_unchanged(self, context: Key, block: Document) -> bool:
        """Return whether a document that was read is still stored as it was."""
        query = {**self.make_key(context), "_id": block.get("_id")}
        found = await self._slot.read("sealing", lambda: self._find(query))
        # As text, in which a NaN equals itself.
        return repr(block) in map(repr, found)

    async def drop_stale(self, written: Sequence[Written], spared: ObjectId | None = None) -> None:
        """Drop, within a request, each block and announcement that lacks one of the candles that were written.

        The announcements with the token ``spared`` stay.

        A block whose stretch a candle was just inserted into is stale whatever it holds: it lacks that candle, or has
        outlived rows that were deleted. However many series there are, one query asks for what may be stale.
        """
        entered: list[tuple[Key, Sequence[int]]] = []
        others: list[tuple[Key, Sequence[int]]] = []
        for one in written:
            starts = one.starts
            fresh = starts if one.inserted is one.times else one.grid.starts(one.inserted)
            if len(fresh) < len(starts) and one.grid.are_on_grid(one.times):
                others.append((one.context, [start for start in starts if start not in fresh]))
                starts = fresh
            if starts:
                entered.append((one.context, starts))
        places = match_series(self._fields, "start", entered)
        asked = list(places)
        for place in match_series(self._fields, "start", others):
            places.append(place)
            # A complete block has every place of the grid.
            asked.append({**place, "$or": [{"rows": {"$ne": written[0].grid.rows}}, {"format": {"$ne": FORMAT}}]})
        projection = {**dict.fromkeys(self._fields, 1), **_HEADER, "present": 1, "token": 1}
        query = match_any(asked)
        found = await self._slot.attempt("writing a batch", lambda _: self._find_at_once(query, projection))
        if spared is not None:
            found = [document for document in found if document.get("token") != spared]
        stale = _choose_stale(found, self._fields, written) if found else []
        if stale:
            await self._delete("writing a batch", match_any(places), stale)

    async def drop_between(self, context: Key, grid: BlockGrid, first: int | None, end: int | None) -> int:
        """Drop, within a request, blocks and announcements that overlap a half-open range, and return how many blocks.

        Damaged blocks and those of newer formats are dropped too; with the whole series also those whose start is no
        time.
        """
        query = self._overlapping(context, grid, first, end)
        # Announcements first, so that only blocks are counted.
        await self._slot.attempt("deleting candles", lambda _: self._collection.delete_many({**query, "rows": 0}))
        dropped = await self._slot.attempt("deleting candles", lambda _: self._collection.delete_many(query))
        return int(dropped.deleted_count)

    async def count_between(self, context: Key, grid: BlockGrid, first: int | None, end: int | None) -> int:
        """Return how many blocks overlap a half-open range."""
        query = {**self._overlapping(context, grid, first, end), "rows": {"$ne": 0}}
        return await self._slot.read("reading the blocks", lambda: self._collection.count_documents(query))

    def _overlapping(self, context: Key, grid: BlockGrid, first: int | None, end: int | None) -> Document:
        bounds = {"$gte": None if first is None else max(grid.start(first), _FIRST), "$lt": end}
        known = {name: time for name, time in bounds.items() if time is not None}
        return {**self.make_key(context), **({"start": known} if known else {})}

    async def drop(self, context: Key, blocks: Sequence[Document]) -> None:
        """Drop blocks that were read: they are damaged."""
        key = self.make_key(context)
        await self._slot.writes.run_steps(lambda: self._delete("sealing", key, blocks), "sealing")

    async def _delete(self, doing: str, query: Document, blocks: Sequence[Document]) -> None:
        # With the key, which routes to one shard.
        ids = [block["_id"] for block in blocks if block.get("_id") is not UNREADABLE]
        await self._slot.attempt(doing, lambda _: self._collection.delete_many({**query, "_id": {"$in": ids}}))

    async def announce(self, context: Key, starts: Sequence[int]) -> ObjectId:
        """Announce that these blocks are to be sealed, and return the token that finishes them."""
        token = ObjectId()
        await self._write_blocks(self._make_announcements(context, starts, token))
        return token

    def _make_announcements(self, context: Key, starts: Sequence[int], token: ObjectId) -> list[Any]:
        keys = [{**self.make_key(context), "start": start} for start in starts]
        return [ReplaceOne(key, {**key, "format": FORMAT, "rows": 0, "token": token}, upsert=True) for key in keys]

    async def announce_within(self, context: Key, starts: Sequence[int]) -> ObjectId:
        """Announce, within a request, that candles of these stretches are to be written, and return the token."""
        token = ObjectId()
        announced = self._make_announcements(context, starts, token)
        await self._slot.ensure_indexes()
        await self._slot.attempt("sealing", lambda _: self._collection.bulk_write(announced, ordered=False))
        return token

    async def withdraw(self, session: Any, context: Key, starts: Sequence[int], token: ObjectId) -> bool:
        """Withdraw announcements in a transaction, and return whether all of them were still there."""
        query = {**self.make_key(context), "start": _among(starts), "token": token}
        return bool((await self._collection.delete_many(query, session=session)).deleted_count == len(starts))

    async def finish(self, context: Key, token: ObjectId, sealed: Sequence[Document], given_up: Sequence[int]) -> int:
        """Store the blocks whose announcement is still there, withdraw those given up, and return how many got in."""
        key = self.make_key(context)
        finished: list[Any] = [
            UpdateOne({**key, "start": fields["start"], "token": token}, {"$set": fields, "$unset": {"token": ""}})
            for fields in sealed
        ]
        finished += [DeleteOne({**key, "start": start, "token": token}) for start in given_up]
        return int((await self._write_blocks(finished)).get("nModified", 0))

    async def _write_blocks(self, operations: list[Any]) -> Document:
        async def write(_: Attempts) -> Document:
            return (await self._collection.bulk_write(operations, ordered=False)).bulk_api_result

        return await self._slot.write("sealing", write)

    async def count_sealed(self, context: Key, grid: BlockGrid) -> Sealed:
        """Count the blocks that are read, their candles and their bytes."""
        key = self.make_key(context)
        projection = {"_id": 0, **dict.fromkeys(key, 1), **_HEADER, "bytes": {"$bsonSize": "$$ROOT"}}
        found = await self._slot.read("reading the blocks", lambda: self._find(key, projection))
        sizes = [int(document.pop("bytes")) for document in found]
        headers = [(self._parse_header(document, grid, key), size) for document, size in zip(found, sizes, strict=True)]
        read = [(header.rows, size) for header, size in headers if header is not None]
        return Sealed(len(read), sum(rows for rows, _ in read), sum(size for _, size in read))

    def make_key(self, context: Key) -> Document:
        """Return the fields that the documents of a series have in common."""
        return dict(zip(self._fields, context, strict=True))


def clip(time: int) -> int:
    """Return a time within those that the server can compare."""
    return min(max(time, _FIRST), _LAST)


def _find_following(documents: Sequence[Document]) -> int:
    return max((start for start in map(find_start, documents) if start is not None), default=_LAST) + 1


def find_start(document: Document) -> int | None:
    """Return the start of a document that may be damaged, in milliseconds, or ``None`` if it is no time."""
    start = document.get("start")
    if isinstance(start, Decimal128):
        start = start.to_decimal()
    if isinstance(start, int | float | Decimal) and not isinstance(start, bool) and _FIRST <= start < _LAST:
        return math.floor(start)
    return None


def find_stretches(damaged: Iterable[Document], grid: BlockGrid) -> list[int]:
    """Return the starts of the stretches that damaged blocks lie in, as far as their own starts are times."""
    times = [time for time in map(find_start, damaged) if time is not None]
    return sorted({grid.start(time) for time in times})


def _choose_stale(found: Sequence[Document], fields: Sequence[str], written: Sequence[Written]) -> list[Document]:
    """Return those of the documents in the stretches of what was written that lack one of its candles."""
    times: dict[tuple[Key, int], list[int]] = {}
    fresh: set[tuple[Key, int]] = set()
    for one in written:
        for time in one.times:
            times.setdefault((one.context, one.grid.start(time)), []).append(time)
        fresh.update((one.context, start) for start in one.grid.starts(one.inserted))
    grids = {one.context: one.grid for one in written}
    stale = []
    for document in found:
        # What is damaged lacks all, and may be of any key and of any start.
        key = tuple(document.get(name) for name in fields)
        grid = grids.get(key) if all(isinstance(part, str | bool) for part in key) else None
        place = key, find_start(document) or 0
        if grid is None or place in fresh or lacks_any(document, grid, times.get(place, ())):
            stale.append(document)
    return stale


def _among(starts: Sequence[int]) -> Document:
    return {"$in": list(starts)}
