"""The collection of sealed blocks: what readers find there, what writers drop, and how a block gets in.

Candles are the truth and blocks are derived from them: any block may be dropped at any time without changing an answer.
What must never be there is a block that lacks a stored candle. Sealing goes in three steps, announce, read the candles,
finish; the last one does nothing where the announcement is gone. Whoever has inserted a candle drops, before that write
returns, each block and each announcement that lacks it. So a candle that a sealer has not read is stored after the
announcement, and its writer drops that, or the finished block. A sealer that is killed leaves an announcement, which
nobody reads; of two at once the later one finishes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from bson import ObjectId
from bson.codec_options import CodecOptions
from pymongo import DeleteOne, ReplaceOne, UpdateOne

from backtest_mongo.block_grid import FORMAT, Grid
from backtest_mongo.errors import BacktestMongoError
from backtest_mongo.hub import Hub
from backtest_mongo.limits import Limit
from backtest_mongo.mongo_rows import MongoRows, aggregated
from backtest_mongo.specs import Key, SlotSpec
from backtest_mongo.types import Document

__all__ = ["PAGE_BLOCKS", "MongoBlocks"]

#: Blocks read at a time: some megabytes.
PAGE_BLOCKS: Final = 64
_SIZES: Final = 100_000
_HEAD: Final = {"start": 1, "format": 1, "rows": 1}


class MongoBlocks(MongoRows):
    """The blocks of one slot's series on one event loop."""

    def __init__(self, hub: Hub, spec: SlotSpec) -> None:
        super().__init__(hub, spec)
        # No slot can have this name: those of slots end in -items.
        self._name = f"{spec.name.replace('_', '-')}-blocks"
        self._collection = hub.database[self._name].with_options(
            codec_options=CodecOptions(document_class=dict[str, Any]), read_concern=hub.lasting
        )
        self._fields = spec.key[:-1]
        self._config = hub.config

    async def _index(self) -> None:
        key = [*((name, 1) for name in self._fields), ("start", 1)]
        await self._collection.create_index(key, unique=True)
        # What there is of blocks is read out of this one, without the blocks.
        await self._collection.create_index([*key, ("format", 1), ("rows", 1)])

    def _fault(self, doing: str, error: Exception, key: Key | None = None) -> BacktestMongoError:
        fault = super()._fault(doing, error, key)
        fault.collection = self._name
        return fault

    @property
    def complete_only(self) -> bool:
        """Whether only blocks without gaps are sealed and read, as others write candles too, and drop nothing."""
        return self._config.CC_CANDLE_SHARED_WRITERS

    def _readable(self, context: Key, grid: Grid, first: int, end: int) -> Document:
        rows = grid.rows if self.complete_only else {"$gt": 0, "$lte": grid.rows}
        return {**self.key(context), "start": {"$gte": first, "$lt": end}, "format": FORMAT, "rows": rows}

    async def sizes(self, context: Key, grid: Grid, first: int, end: int) -> list[tuple[int, int]]:
        """Return start and number of rows of all blocks that start in a half-open range, out of the index alone."""
        query = self._readable(context, grid, first, end)

        async def fetch() -> list[Document]:
            cursor = self._collection.find(query, {"_id": 0, "start": 1, "rows": 1}).sort("start", 1)
            return await cursor.batch_size(_SIZES).to_list(None)

        with Limit(self._limit):
            found = await self._retried("reading the index", fetch)
        return [(int(block["start"]), int(block["rows"])) for block in found]

    async def page(self, context: Key, grid: Grid, first: int, end: int) -> list[Document]:
        """Return the first blocks, up to :data:`PAGE_BLOCKS`, that start at ``first`` or later and before ``end``."""
        query = self._readable(context, grid, first, end)

        async def fetch() -> list[Document]:
            cursor = self._collection.find(query).sort("start", 1).limit(PAGE_BLOCKS)
            return await cursor.batch_size(PAGE_BLOCKS + 1).to_list(None)

        with Limit(self._limit):
            blocks = await self._retried("reading a window", fetch)
        self.counts.blocks += len(blocks)
        return blocks

    async def sample(self, count: int) -> list[Document]:
        """Return so many blocks of any series, taken at random, or less."""
        # In this order the server jumps to some, instead of going through all.
        sealed = {"format": FORMAT, "rows": {"$gt": 0}}
        pipeline: list[Document] = [{"$sample": {"size": 2 * count}}, {"$match": sealed}, {"$limit": count}]

        async def fetch() -> list[Document]:
            return await aggregated(self._collection, pipeline)

        with Limit(self._limit):
            return await self._retried("reading the blocks", fetch)

    async def heads(self, context: Key, starts: Sequence[int]) -> list[Document]:
        """Return start, format and number of rows of the blocks that there are; of an announcement it is 0."""

        async def fetch() -> list[Document]:
            query = {**self.key(context), "start": _among(starts)}
            return await self._collection.find(query, _HEAD).batch_size(len(starts) + 1).to_list(None)

        with Limit(self._limit):
            return await self._retried("sealing", fetch)

    async def has(self, block: Document) -> bool:
        """Tell whether a block that was read is still there, as it was."""
        query = {name: block.get(name) for name in ("_id", *self._fields, "start", "rows", "checksum")}
        with Limit(self._limit):
            return await self._retried("sealing", lambda: self._collection.find_one(query, {"_id": 1})) is not None

    async def drop_lacking(self, context: Key, grid: Grid, times: Sequence[int]) -> None:
        """Drop each block and each announcement that lacks a candle at one of these times, which is stored."""
        starts = grid.starts(times)
        query = {**self.key(context), "start": _among(starts)}
        if not any(time % grid.step for time in times):
            query["$or"] = [{"rows": {"$ne": grid.rows}}, {"format": {"$ne": FORMAT}}]
        found = await self._retried("writing a batch", lambda: self._gaps(query))
        if not found:
            return
        from backtest_mongo.blocks import lacks

        by_start: dict[int, list[int]] = {}
        for time in times:
            by_start.setdefault(grid.start(time), []).append(time)
        lacking = [
            block
            for block in found
            if block["format"] != FORMAT or lacks(block, grid, by_start.get(block["start"], ()))
        ]
        if lacking:
            await self._drop("writing a batch", context, lacking)

    async def _gaps(self, query: Document) -> list[Document]:
        return await self._collection.find(query, {**_HEAD, "present": 1}).batch_size(PAGE_BLOCKS).to_list(None)

    async def drop_of(self, context: Key, starts: Sequence[int]) -> None:
        """Drop the blocks and announcements of these stretches."""
        query = {**self.key(context), "start": _among(starts)}
        if await self._retried("writing a batch", lambda: self._collection.find_one(query, {"_id": 1})) is not None:
            await self._retried("writing a batch", lambda: self._collection.delete_many(query))

    async def drop(self, context: Key, blocks: Sequence[Document]) -> None:
        """Drop blocks that were read: they are damaged."""
        with Limit(self._limit):
            await self._drop("sealing", context, blocks)

    async def _drop(self, doing: str, context: Key, blocks: Sequence[Document]) -> None:
        # With the key, which leads to one shard.
        query = {**self.key(context), "start": _among([block["start"] for block in blocks])}
        query["_id"] = {"$in": [block["_id"] for block in blocks]}
        await self._retried(doing, lambda: self._collection.delete_many(query))

    async def announce(self, context: Key, starts: Sequence[int]) -> ObjectId:
        """Announce that these blocks are to be sealed, and return the token that finishes them."""
        token = ObjectId()
        keys = [{**self.key(context), "start": start} for start in starts]
        announced = [ReplaceOne(key, {**key, "format": FORMAT, "rows": 0, "token": token}, upsert=True) for key in keys]
        await self._write(announced)
        return token

    async def finish(self, context: Key, token: ObjectId, sealed: Sequence[Document], given_up: Sequence[int]) -> int:
        """Store the blocks whose announcement is still there, take back those given up, and return how many are in."""
        key = self.key(context)
        finished: list[Any] = [
            UpdateOne({**key, "start": fields["start"], "token": token}, {"$set": fields, "$unset": {"token": ""}})
            for fields in sealed
        ]
        finished += [DeleteOne({**key, "start": start, "token": token}) for start in given_up]
        return int((await self._write(finished)).get("nModified", 0))

    async def _write(self, operations: list[Any]) -> Document:
        async def write() -> Document:
            return (await self._collection.bulk_write(operations, ordered=False)).bulk_api_result

        with Limit(self._limit):
            if not self._indexed:
                await self.ready()
            return await self._retried("sealing", write)

    async def totals(self, context: Key) -> Document:
        """Return the number of blocks that are read, their candles and their bytes."""
        match = {**self.key(context), "format": FORMAT, "rows": {"$gt": 0}}
        counted = {"blocks": {"$sum": 1}, "rows": {"$sum": "$rows"}, "bytes": {"$sum": {"$bsonSize": "$$ROOT"}}}
        pipeline: list[Document] = [{"$match": match}, {"$group": {"_id": None, **counted}}]

        async def fetch() -> list[Document]:
            return await aggregated(self._collection, pipeline)

        with Limit(self._limit):
            found = await self._retried("reading the blocks", fetch)
        return {name: int(found[0][name]) if found else 0 for name in counted}

    def key(self, context: Key) -> Document:
        """Return what the documents of a series have in common."""
        return dict(zip(self._fields, context, strict=True))


def _among(starts: Sequence[int]) -> Document:
    return {"$in": list(starts)}
