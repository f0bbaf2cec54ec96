"""A series' candles in their collection: looked up, read as columns, and inserted many at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from bson import ObjectId
from bson.codec_options import CodecOptions
from pymongo.errors import BulkWriteError

from backtest_mongo.faults import DRIVER_ERRORS, DUPLICATE_KEY
from backtest_mongo.hub import Hub
from backtest_mongo.limits import Attempts, Limit
from backtest_mongo.mongo_rows import aggregated
from backtest_mongo.mongo_store import MongoStore
from backtest_mongo.specs import Key, SlotSpec
from backtest_mongo.types import PRICES, Document

if TYPE_CHECKING:
    from backtest_mongo.arrays import CandleArrays

__all__ = ["CandleRows"]

_ROW: Final = {"_id": 0, "timestamp": 1, **dict.fromkeys(PRICES, 1)}
_TIME: Final = {"_id": 0, "timestamp": 1}
#: Rows that the server may put into one reply; it ends each at 16 MB by itself.
_BATCH: Final = 200_000
#: Rows read as columns at a time.
PIECE: Final = 100_000
#: Times asked for one by one at a time, where they lie too far apart for a range.
_ASK: Final = 5_000
#: A range is asked for if it holds at most so many times the rows in question.
_SPARSE: Final = 4


class CandleRows(MongoStore):
    """The rows of a series' slot in their MongoDB collection. Times are in milliseconds."""

    def __init__(self, hub: Hub, spec: SlotSpec) -> None:
        super().__init__(hub, spec)
        # Without the decoder that makes 64-bit integers plain: the one integer of a row is taken from the grid.
        self._rows = self._collection.with_options(
            codec_options=CodecOptions(document_class=dict[str, Any]), read_concern=hub.lasting
        )

    def _series(self, context: Key) -> Document:
        return dict(zip(self._spec.key, context, strict=False))

    async def fetch(self, context: Key, first: int, last: int) -> list[Document]:
        """Return all rows from ``first`` to ``last``, both included, by time."""
        query = {**self._series(context), "timestamp": {"$gte": first, "$lte": last}}

        async def fetch() -> list[Document]:
            return await self._rows.find(query, _ROW).sort("timestamp", 1).batch_size(_BATCH).to_list(None)

        with Limit(self._limit):
            if not self._indexed:
                await self.ready()
            rows = await self._retried("reading a window", fetch)
        self.counts.lists.add(len(rows))
        return rows

    async def pieces(self, context: Key, first: int, end: int) -> AsyncIterator[CandleArrays]:
        """Yield all rows of the half-open range by time, as columns; each piece is a query with a limit of its own."""
        from backtest_mongo.arrays import decode_rows, joined

        async def fetch() -> list[CandleArrays]:
            query = {**self._series(context), "timestamp": {"$gte": first, "$lt": end}}
            cursor = self._rows.find_raw_batches(query, _ROW, sort=[("timestamp", 1)], limit=PIECE, batch_size=_BATCH)
            return [decode_rows(cast("bytes", reply)) async for reply in cursor if reply]

        while first < end:
            with Limit(self._limit):
                if not self._indexed:
                    await self.ready()
                parts = await self._retried("reading a window", fetch)
            piece = joined(parts)
            self.counts.lists.add(len(piece))
            if len(piece):
                yield piece
            if len(piece) < PIECE:
                return
            first = int(piece.timestamp[-1]) + 1

    async def next_time(self, context: Key, since: int | None, order: int = 1) -> int | None:
        """Return the time of the first row from ``since`` on, out of the index alone; with ``order=-1`` of the last."""
        query = self._series(context) if since is None else {**self._series(context), "timestamp": {"$gte": since}}

        async def fetch() -> list[Document]:
            return await self._rows.find(query, _TIME).sort("timestamp", order).limit(1).to_list(1)

        with Limit(self._limit):
            if not self._indexed:
                await self.ready()
            found = await self._retried("reading a window", fetch)
        return int(found[0]["timestamp"]) if found else None

    async def count(self, context: Key, first: int, end: int) -> int:
        """Return the number of rows of a half-open range, out of the index alone."""
        match = {"$match": {**self._series(context), "timestamp": {"$gte": first, "$lt": end}}}
        found = await self.aggregate([match, {"$group": {"_id": None, "rows": {"$sum": 1}}}])
        return int(found[0]["rows"]) if found else 0

    async def aggregate(self, pipeline: list[Document]) -> list[Document]:
        with Limit(self._limit):
            if not self._indexed:
                await self.ready()
            return await self._retried("reading the index", lambda: aggregated(self._rows, pipeline))

    async def stored_times(self, context: Key, times: Sequence[int]) -> set[int]:
        """Return which of these ascending times have a row that is stored for good, out of the index alone."""
        series = self._series(context)
        if len(times) == 1 or times[-1] - times[0] <= _SPARSE * len(times) * (times[1] - times[0]):
            asked: list[Any] = [{"$gte": times[0], "$lte": times[-1]}]
        else:
            asked = [{"$in": times[start : start + _ASK]} for start in range(0, len(times), _ASK)]
        found: set[int] = set()
        for condition in asked:
            with Limit(self._limit):
                if not self._indexed:
                    await self.ready()
                query = {**series, "timestamp": condition}
                found |= await self._retried("writing a batch", partial(self._times, query))
        return found

    async def _times(self, query: Document) -> set[int]:
        cursor = self._rows.find(query, _TIME).batch_size(_BATCH)
        return {int(row["timestamp"]) for row in await cursor.to_list(None)}

    async def _insert(self, series: Document, documents: list[Any]) -> list[Any]:
        """Insert what no other writer has inserted meanwhile, and return it."""
        attempts = Attempts()
        inserted: list[Any] = []
        again = False
        while True:
            try:
                if again:
                    # What an attempt whose answer was lost has inserted bears the ids that it was given here.
                    landed = await self._landed_ids(series, documents)
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

    async def _landed_ids(self, series: Document, documents: list[Any]) -> set[ObjectId]:
        times = [document["timestamp"] for document in documents]
        query = {**series, "timestamp": {"$gte": min(times), "$lte": max(times)}}
        cursor = self._collection.find(query, {"_id": 1}).batch_size(_BATCH)
        ids = {row["_id"] for row in await cursor.to_list(None)}
        await self._confirm({**series, "timestamp": times[0]})
        return ids
