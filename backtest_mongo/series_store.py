"""The store of a series: rows that never change, written in bulk and read in windows."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from bson import ObjectId
from bson.codec_options import CodecOptions
from pymongo.errors import BulkWriteError

from backtest_mongo.faults import DRIVER_ERRORS, DUPLICATE_KEY
from backtest_mongo.guard import Patience
from backtest_mongo.hub import Hub
from backtest_mongo.limits import Attempts, Limit
from backtest_mongo.mongo_store import MongoStore
from backtest_mongo.specs import Key, SlotSpec
from backtest_mongo.tasks import to_its_end
from backtest_mongo.types import Candle, Document

__all__ = ["SeriesStore"]

_ROW: Final = {"_id": 0, "timestamp": 1, "open": 1, "high": 1, "low": 1, "close": 1, "volume": 1}
#: Rows that the server may put into one reply; it ends each at 16 MB by itself.
_BATCH: Final = 200_000
#: Rows inserted at a time.
_INSERT: Final = 10_000
#: Times asked for one by one at a time, where they lie too far apart for a range.
_ASK: Final = 5_000
#: A range is asked for if it holds at most so many times the rows in question.
_SPARSE: Final = 4


class SeriesStore(MongoStore):
    """A series' rows in its MongoDB collection, and those that were read in memory."""

    def __init__(self, hub: Hub, spec: SlotSpec) -> None:
        super().__init__(hub, spec)
        # Without the decoder that makes 64-bit integers plain: the one integer of a row is taken from the grid.
        self._rows = self._collection.with_options(
            codec_options=CodecOptions(document_class=dict[str, Any]), read_concern=hub.lasting
        )
        self._columns = hub.candles
        self._cache_ids = hub.config.CC_CANDLE_ID_CACHE

    async def window(self, context: Key, first: int, step: int, limit: int) -> list[Candle] | None:
        """Return ``limit`` rows from ``first`` on, one each ``step``, or ``None`` if one is not stored."""
        position, beside = divmod(first, step)
        if beside or 4 * limit > self._columns.rows:
            return _on_grid(await self._fetch(context, first, first + (limit - 1) * step), first, step, limit)
        series = self._columns.series(context, step)
        candles, found = series.get(position, limit)
        if found == limit:
            self.hits += 1
            return candles
        self.misses += 1
        missing, end = position + found, position + limit
        ahead = series.rows_ahead(missing, range(position, end))
        rows = await self._fetch(context, missing * step, (end - 1 + ahead) * step)
        series.put(rows)
        rest = _on_grid(rows, missing * step, step, limit - found)
        return None if rest is None else candles + rest

    async def insert_new(self, context: Key, rows: Mapping[int, Document]) -> int:
        """Insert the rows whose times are free, leave all others as they are, and return how many were inserted."""
        if not rows:
            return 0
        with Patience():
            return await self._insert_new(context, rows)

    async def _insert_new(self, context: Key, rows: Mapping[int, Document]) -> int:
        key = dict(zip(self._spec.key, context, strict=False))
        # Asked first, because a refused insert costs the server and the driver far more than a look into the index.
        stored = await self._stored_times(key, rows)
        now = datetime.now(UTC)
        stamps = {"createDate": now, "updatedDate": now, "__v": 0}
        fresh = [{"_id": ObjectId(), **key, **row, **stamps} for time, row in rows.items() if time not in stored]
        inserted = 0
        publishing: asyncio.Future[None] | None = None
        for start in range(0, len(fresh), _INSERT):
            with Limit(self._limit):
                new = await to_its_end(self._insert(key, fresh[start : start + _INSERT]))
            inserted += len(new)
            if publishing is not None:
                await publishing
            if self._cache_ids:
                # Windows never look an id up, so the process has no use for these; the Node package has. They go to
                # Redis while MongoDB works on the next rows.
                ids = [((*context, row["timestamp"]), row["_id"]) for row in new]
                publishing = asyncio.ensure_future(self._cache.put_many(self._spec, ids, local=False))
        if publishing is not None:
            await publishing
        return inserted

    async def _insert(self, key: Document, documents: list[Document]) -> list[Document]:
        """Insert what no other writer has inserted meanwhile, and return it."""
        attempts = Attempts()
        inserted: list[Document] = []
        again = False
        while True:
            try:
                if again:
                    # What an attempt whose answer was lost has inserted bears the ids that it was given here.
                    landed = await self._landed_ids(key, documents)
                    inserted += [document for document in documents if document["_id"] in landed]
                    documents = [document for document in documents if document["_id"] not in landed]
                if documents:
                    await self._collection.insert_many(documents, ordered=False)
                return inserted + documents
            except BulkWriteError as error:
                details = error.details or {}
                failed = details.get("writeErrors", [])
                if not details.get("writeConcernErrors") and all(row["code"] == DUPLICATE_KEY for row in failed):
                    lost = {row["index"] for row in failed if list(row.get("keyPattern", ())) != ["_id"]}
                    return inserted + [document for index, document in enumerate(documents) if index not in lost]
                if not await attempts.another(error):
                    self._fail("writing a batch", error)
            except DRIVER_ERRORS as error:
                if not await attempts.another(error):
                    self._fail("writing a batch", error)
            again = True

    async def _landed_ids(self, key: Document, documents: list[Document]) -> set[ObjectId]:
        times = [document["timestamp"] for document in documents]
        query = {**key, "timestamp": {"$gte": min(times), "$lte": max(times)}}
        cursor = self._collection.find(query, {"_id": 1}).batch_size(_BATCH)
        ids = {row["_id"] for row in await cursor.to_list(None)}
        await self._confirm({**key, "timestamp": times[0]})
        return ids

    async def _stored_times(self, key: Document, rows: Mapping[int, Document]) -> set[int]:
        """Return which of the rows' times are stored for good, out of the index alone."""
        times = sorted(rows)
        if len(times) == 1 or times[-1] - times[0] <= _SPARSE * len(times) * (times[1] - times[0]):
            asked: list[Any] = [{"$gte": times[0], "$lte": times[-1]}]
        else:
            asked = [{"$in": times[start : start + _ASK]} for start in range(0, len(times), _ASK)]
        found: set[int] = set()
        for condition in asked:
            with Limit(self._limit):
                if not self._indexed:
                    await self.ready()
                found |= await self._retried("writing a batch", partial(self._times, {**key, "timestamp": condition}))
        return found

    async def _times(self, query: Document) -> set[int]:
        cursor = self._rows.find(query, {"_id": 0, "timestamp": 1}).batch_size(_BATCH)
        return {int(row["timestamp"]) for row in await cursor.to_list(None)}

    async def _fetch(self, context: Key, first: int, last: int) -> list[Document]:
        """Return all rows from ``first`` to ``last``, both included, by time."""
        key = dict(zip(self._spec.key, context, strict=False))

        async def fetch() -> list[Document]:
            cursor = self._rows.find({**key, "timestamp": {"$gte": first, "$lte": last}}, _ROW)
            return await cursor.sort("timestamp", 1).batch_size(_BATCH).to_list(None)

        with Limit(self._limit):
            if not self._indexed:
                await self.ready()
            return await self._retried("reading a window", fetch)


def _on_grid(rows: Sequence[Document], first: int, step: int, limit: int) -> list[Candle] | None:
    """Return the rows at ``first`` and each ``step`` after it, passing over others; ``None`` if one is missing."""
    candles: list[Candle] = []
    expected = first
    for row in rows:
        time = row["timestamp"]
        if time != expected:
            if time > expected:
                return None
            continue
        # The time is taken from the grid: Node stores it as a double.
        candles.append(
            {
                "timestamp": expected,
                "open": row["open"],
                "high": row["high"],
                "low": row["low"],
                "close": row["close"],
                "volume": row["volume"],
            }
        )
        if len(candles) == limit:
            return candles
        expected += step
    return None
