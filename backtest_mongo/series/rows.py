"""The candles of a series in their collection: read as documents and as columns, inserted, and deleted."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Container, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from bson import ObjectId
from bson.codec_options import CodecOptions
from pymongo.errors import BulkWriteError, WriteConcernError, WriteError
from pymongo.read_concern import ReadConcern

from backtest_mongo.connection.batching import Queue
from backtest_mongo.connection.driver_errors import DUPLICATE_KEY, is_transient
from backtest_mongo.connection.hub import Hub
from backtest_mongo.connection.operation import Attempts
from backtest_mongo.core.contexts import Measure
from backtest_mongo.core.counters import SlotCounts
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.errors import BacktestMongoError
from backtest_mongo.mongo.collection import SlotCollection, aggregate
from backtest_mongo.mongo.contexts import MongoContexts, list_contexts
from backtest_mongo.series.queries import match_any, match_series
from backtest_mongo.types import PRICES, Document

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from backtest_mongo.core.arrays import CandleArrays

__all__ = ["DELETING", "WRITING", "CandleRows", "Insertion"]

#: What is being done, as errors say it.
WRITING: Final = "writing a batch"
DELETING: Final = "deleting candles"
_READING: Final = "reading a window"

_ROW: Final = {"_id": 0, "timestamp": 1, **dict.fromkeys(PRICES, 1)}
_TIME: Final = {"_id": 0, "timestamp": 1}
#: Rows that the server may put into one reply; it ends each at 16 MB by itself.
_REPLY: Final = 200_000
#: Rows read as columns at a time.
PIECE: Final = 100_000
#: Times asked for one by one in a query, where they are too far apart for a range.
_LISTED: Final = 5_000
#: A range is asked for if it holds at most so many times the rows in question.
_SPARSE: Final = 4


class CandleRows:
    """The candles of one slot's series in their MongoDB collection. Times are in milliseconds."""

    #: From so many on candles are handled as columns, and may be in blocks.
    many: int = 512

    def __init__(self, hub: Hub, spec: SlotSpec) -> None:
        self.spec: SlotSpec = spec
        self._fields = spec.key[:-1]
        self._hub = hub
        self._slot = SlotCollection(hub, spec, reads_need_indexes=True)
        self._collection = self._slot.documents
        self._cache = hub.id_cache
        self.counts: SlotCounts = self._slot.counts
        #: The queue of the slot's writes.
        self.writes: Queue[Any, Any] = self._slot.writes
        # Without the decoder that makes 64-bit integers plain: the one integer of a row is taken from the grid.
        self._plain = self._collection.with_options(
            codec_options=CodecOptions(document_class=dict[str, Any]), read_concern=hub.durable_read_concern
        )

    async def ready(self) -> None:
        """Make sure that the rows have their indexes."""
        await self._slot.prepare()

    async def prepare(self) -> None:
        """Do the same within a request."""
        await self._slot.ensure_indexes()

    def make_query(self, context: Key) -> Document:
        """Return the fields that the documents of a series have in common."""
        return dict(zip(self.spec.key, context, strict=False))

    # Reading, each method by requests of its own

    def list_contexts(self, where: Mapping[str, Any]) -> AsyncIterator[Key]:
        """Yield the context of each series, in the order of the key."""
        return list_contexts(self._slot, where)

    async def measure(self, where: Mapping[str, Any], *, by_context: bool) -> list[Measure]:
        """Measure the rows of each series, in the order of the key, or of all series together."""
        return await MongoContexts(self._hub, self._slot).measure(where, by_context=by_context)

    async def fetch(self, context: Key, first: int, last: int) -> list[Document]:
        """Return all rows from ``first`` to ``last``, both included, by time."""
        query = {**self.make_query(context), "timestamp": {"$gte": first, "$lte": last}}

        async def fetch() -> list[Document]:
            return await self._plain.find(query, _ROW).sort("timestamp", 1).batch_size(_REPLY).to_list(None)

        rows = await self._slot.read(_READING, fetch)
        self.counts.lists.add(len(rows))
        return rows

    async def fetch_arrays(self, context: Key, first: int, end: int) -> AsyncGenerator[CandleArrays, None]:
        """Yield all rows of the half-open range by time, as columns; each piece is a query with its own deadline."""
        from backtest_mongo.core.arrays import decode_rows, join_arrays

        async def fetch() -> list[CandleArrays]:
            query = {**self.make_query(context), "timestamp": {"$gte": first, "$lt": end}}
            cursor = self._plain.find_raw_batches(query, _ROW, sort=[("timestamp", 1)], limit=PIECE, batch_size=_REPLY)
            return [decode_rows(cast("bytes", reply)) async for reply in cursor if reply]

        while first < end:
            piece = join_arrays(await self._slot.read(_READING, fetch))
            self.counts.lists.add(len(piece))
            if len(piece):
                yield piece
            if len(piece) < PIECE:
                return
            first = int(piece.timestamp[-1]) + 1

    async def fetch_times(self, context: Key, first: int, end: int) -> NDArray[np.int64]:
        """Return the times of all rows of the half-open range, out of the index alone."""
        import numpy as np

        pieces = [np.empty(0, np.int64)]
        series = self.make_query(context)

        async def fetch() -> list[Document]:
            query = {**series, "timestamp": {"$gte": first, "$lt": end}}
            cursor = self._plain.find(query, _TIME).sort("timestamp", 1).limit(PIECE).batch_size(_REPLY)
            return await cursor.to_list(None)

        while first < end:
            found = await self._slot.read(_READING, fetch)
            pieces.append(np.fromiter((int(row["timestamp"]) for row in found), np.int64, len(found)))
            if len(found) < PIECE:
                break
            first = int(pieces[-1][-1]) + 1
        return np.concatenate(pieces)

    async def fetch_documents(self, context: Key, first: int, end: int) -> list[Document]:
        """Return, within a request, the rows of a half-open range by time, with their ids, as they are stored."""
        query = {**self.make_query(context), "timestamp": {"$gte": first, "$lt": end}}

        async def fetch(_: Attempts) -> list[Document]:
            cursor = self._plain.find(query, {**_ROW, "_id": 1}).sort("timestamp", 1).batch_size(_REPLY)
            return await cursor.to_list(None)

        return await self._slot.attempt(_READING, fetch)

    async def delete_doubles(self, context: Key, ids: Sequence[Any]) -> None:
        """Delete, within a request, rows of a series whose candles are in blocks."""
        await self._slot.attempt(WRITING, lambda _: self.delete_documents(None, context, ids))

    async def delete_documents(self, session: Any, context: Key, ids: Sequence[Any]) -> int:
        """Delete rows of a series, in a transaction if there is a session, and return how many."""
        query = {**self.make_query(context), "_id": {"$in": list(ids)}}
        return int((await self._collection.delete_many(query, session=session)).deleted_count)

    async def find_existing(self, context: Key, ids: Sequence[Any]) -> set[Any]:
        """Return, within a request, which of these ids rows of a series have on the primary now."""
        query = {**self.make_query(context), "_id": {"$in": list(ids)}}
        latest = self._collection.with_options(read_concern=ReadConcern("local"))
        found = await self._slot.attempt(WRITING, lambda _: latest.find(query, {"_id": 1}).to_list(None))
        return {row["_id"] for row in found}

    async def find_ids(self, session: Any, context: Key, first: int, end: int) -> dict[int, Any]:
        """Return the ids of the rows of a half-open range by their times, as a transaction sees them."""
        query = {**self.make_query(context), "timestamp": {"$gte": first, "$lt": end}}
        found = await self._collection.find(query, {"timestamp": 1}, session=session).to_list(None)
        return {int(row["timestamp"]): row["_id"] for row in found}

    async def insert_documents(self, session: Any, documents: Sequence[Any]) -> None:
        """Insert rows in a transaction."""
        await self._collection.insert_many(documents, session=session)

    async def find_first_time(self, context: Key, since: int | None = None) -> int | None:
        """Return the time of the first row, or of the first one from ``since`` on, out of the index alone."""
        return await self._find_time(context, since, None, 1)

    async def find_last_time(self, context: Key, end: int | None = None) -> int | None:
        """Return the time of the last row, or of the last one before ``end``, out of the index alone."""
        return await self._find_time(context, None, end, -1)

    async def count_between(self, context: Key, first: int, end: int) -> int:
        """Return how many rows a half-open range has, out of the index alone."""
        query = {**self.make_query(context), **_make_bounds(first, end)}
        found = await self.aggregate([{"$match": query}, {"$count": "rows"}])
        return int(found[0]["rows"]) if found else 0

    async def _find_time(self, context: Key, since: int | None, end: int | None, order: int) -> int | None:
        query = {**self.make_query(context), **_make_bounds(since, end)}

        async def fetch() -> list[Document]:
            return await self._plain.find(query, _TIME).sort("timestamp", order).limit(1).to_list(1)

        found = await self._slot.read(_READING, fetch)
        return int(found[0]["timestamp"]) if found else None

    async def aggregate(self, pipeline: list[Document]) -> list[Document]:
        """Return the result of an aggregation on the index."""
        return await self._slot.read("reading the index", lambda: aggregate(self._plain, pipeline))

    # Writing: steps of the requests that :mod:`backtest_mongo.series.writing` queues

    async def find_stored(self, wanted: Sequence[tuple[Key, list[int]]]) -> set[Key]:
        """Return, within a request, which of the ascending times of some series have a row that is stored for good.

        They are natural keys; of several series there is one query.
        """
        if len(wanted) > 1:
            query = match_any(match_series(self._fields, "timestamp", wanted))
            return await self._slot.attempt(WRITING, lambda _: self._find_keys(query))
        ((context, times),) = wanted
        found: set[Key] = set()
        for query in self._make_queries(context, times):
            some = await self._slot.attempt(WRITING, partial(self._find_times, query))
            found |= {(*context, time) for time in some}
        return found

    async def look_up_stored(self, context: Key, times: Sequence[int]) -> set[int]:
        """Return the same by requests of its own, for a write that has reserved its place in the queue."""
        found: set[int] = set()
        for query in self._make_queries(context, times):
            found |= await self._slot.read(WRITING, partial(self._find_times, query))
            self.writes.note_answer()  # so those that wait behind that write know that the server answers
        return found

    def _make_queries(self, context: Key, times: Sequence[int]) -> list[Document]:
        series = self.make_query(context)
        if len(times) == 1 or times[-1] - times[0] <= _SPARSE * len(times) * (times[1] - times[0]):
            return [{**series, "timestamp": {"$gte": times[0], "$lte": times[-1]}}]
        parts = (times[start : start + _LISTED] for start in range(0, len(times), _LISTED))
        return [{**series, "timestamp": {"$in": part}} for part in parts]

    async def _find_times(self, query: Document, _: Attempts | None = None) -> set[int]:
        # Out of the index alone.
        cursor = self._plain.find(query, _TIME).batch_size(_REPLY)
        return {int(row["timestamp"]) for row in await cursor.to_list(None)}

    async def _find_keys(self, query: Document) -> set[Key]:
        # Out of the index alone.
        projection = {"_id": 0, **dict.fromkeys(self.spec.key, 1)}
        rows = await self._plain.find(query, projection).batch_size(_REPLY).to_list(None)
        return {(*(row[name] for name in self._fields), int(row["timestamp"])) for row in rows}

    async def insert(self, insertion: Insertion) -> None:
        """Insert, within a request, what no other writer has inserted meanwhile."""
        if not insertion.left:
            return
        await self._slot.ensure_indexes()
        await self._slot.attempt(WRITING, partial(self._attempt_insert, insertion))
        self.counts.writes.add(len(insertion.inserted))

    async def _attempt_insert(self, insertion: Insertion, attempts: Attempts) -> None:
        if attempts.is_retry:
            # What an attempt whose answer was lost has inserted bears the ids that it was given here.
            insertion.take(await self._find_applied_ids(insertion.left))
        documents = insertion.left
        if not documents:
            return
        failed: list[Document] = []
        unconfirmed: list[Document] = []
        try:
            await self._send(documents)
        except BulkWriteError as error:
            details = error.details or {}
            failed, unconfirmed = details.get("writeErrors", []), details.get("writeConcernErrors", [])
            refusals = [row for row in failed if row["code"] != DUPLICATE_KEY]
            if any(is_transient(_make_write_error(row)) for row in refusals):
                raise
            for row in refusals:
                refusal = self._slot.translate(WRITING, _make_write_error(row))
                insertion.refused[documents[row["index"]]["_id"]] = refusal
        if insertion.refused:
            insertion.drop(insertion.refused)
        if unconfirmed:
            first = unconfirmed[0]
            raise WriteConcernError(str(first.get("errmsg")), first.get("code"), first)
        # A duplicate id is that of an attempt before.
        lost = {documents[row["index"]]["_id"] for row in failed if list(row.get("keyPattern", ())) != ["_id"]}
        if lost:
            insertion.drop(lost)
        insertion.inserted += insertion.left
        insertion.left = []

    async def _send(self, documents: list[Any]) -> None:
        if len(documents) == 1:
            # Costs less, and says less of what it refuses.
            with suppress(WriteError):
                await self._collection.insert_one(documents[0])
                return
        await self._collection.insert_many(documents, ordered=False)

    async def _find_applied_ids(self, documents: list[Any]) -> set[ObjectId]:
        times: dict[Key, list[int]] = {}
        for document in documents:
            times.setdefault(tuple(document[name] for name in self._fields), []).append(document["timestamp"])
        if len(times) > 1:
            query = match_any(match_series(self._fields, "timestamp", times.items()))
        else:
            ((context, some),) = times.items()
            query = {**self.make_query(context), "timestamp": {"$gte": min(some), "$lte": max(some)}}
        cursor = self._collection.find(query, {"_id": 1}).batch_size(_REPLY)
        ids = {row["_id"] for row in await cursor.to_list(None)}
        # A write that changes nothing waits until what was read is durable.
        key = {name: documents[0][name] for name in self.spec.key}
        await self._collection.update_one(key, {"$setOnInsert": {"__v": 0}})
        return ids

    async def find_first_times(self, context: Key, first: int | None, end: int | None, limit: int) -> list[int]:
        """Return, within a request, the first times of a half-open range that have a row."""
        query = {**self.make_query(context), **_make_bounds(first, end)}

        async def find(_: Attempts) -> list[int]:
            found = await self._plain.find(query, _TIME).sort("timestamp", 1).limit(limit).to_list(None)
            return [int(row["timestamp"]) for row in found]

        return await self._slot.attempt(DELETING, find)

    async def delete(self, context: Key, first: int, end: int, known: int) -> int:
        """Delete, within a request, the rows of a half-open range, ``known`` of them at least, and return how many."""
        query = {**self.make_query(context), **_make_bounds(first, end)}

        async def delete(attempts: Attempts) -> int:
            deleted = (await self._collection.delete_many(query)).deleted_count
            # An attempt whose answer was lost has deleted those that were there.
            return known if attempts.is_retry else int(deleted)

        return await self._slot.attempt(DELETING, delete)

    # Their ids in Redis

    async def publish_ids(self, context: Key, times: Sequence[int], ids: Sequence[bytes]) -> None:
        """Make the ids of a series' rows known to Redis: windows never look one up, and the Node package does.

        Args:
            ids: their bytes.
        """
        # No name holds a NUL.
        before, after = self.spec.redis_key((*context, "\0")).split("\0")
        keys = [f"{before}{time}{after}".encode() for time in times]
        await self._cache.publish(keys, [oid.hex().encode() for oid in ids])

    async def publish_rows(self, documents: Sequence[Document]) -> None:
        """Do the same for documents of any series."""
        keys = [self.spec.redis_key(tuple([row[name] for name in self.spec.key])).encode() for row in documents]
        await self._cache.publish(keys, [str(row["_id"]).encode() for row in documents])

    async def forget_ids(self, context: Key, times: Sequence[int]) -> None:
        """Drop the ids of rows from Redis."""
        await self._cache.drop_many(self.spec, [(*context, time) for time in times])


class Insertion:
    """Documents that are being inserted: what is left of them, those that are inserted, and those that are refused.

    Those that others had stored before are none of these. Errors are kept by the id of the document.
    """

    def __init__(self, documents: list[Any]) -> None:
        self.left: list[Any] = documents
        self.inserted: list[Any] = []
        self.refused: dict[ObjectId, BacktestMongoError] = {}

    def take(self, ids: set[ObjectId]) -> None:
        """Take the ids of documents that were inserted, though the answer was lost."""
        self.inserted += [document for document in self.left if document["_id"] in ids]
        self.left = [document for document in self.left if document["_id"] not in ids]

    def drop(self, ids: Container[ObjectId]) -> None:
        """Drop documents that can't be inserted."""
        self.left = [document for document in self.left if document["_id"] not in ids]


def _make_write_error(row: Document) -> WriteError:
    """Return what the driver raises for a single command that fails as this row of a bulk write did."""
    return WriteError(str(row.get("errmsg")), row.get("code"), row)


def _make_bounds(first: int | None, end: int | None) -> Document:
    """Return the condition of a half-open range of times; ``None`` leaves an end open."""
    bounds = {name: time for name, time in (("$gte", first), ("$lt", end)) if time is not None}
    return {"timestamp": bounds} if bounds else {}
