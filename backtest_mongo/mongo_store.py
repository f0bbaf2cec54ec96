"""The store of one slot on one event loop: the write path, on top of the read path.

A write is one atomic upsert on the natural key, and the id cache is up to date before it returns.

A write whose answer was lost is sent again while its time lasts, unless the row shows that it has been carried out.
What is sent again must not bring a value back that another writer has replaced meanwhile. The server stamps each row,
and from the second time on a write passes over a row that was stamped after the first attempt began, by the server's
own clock; the caller then learns that the outcome is unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, NoReturn, TypeVar, cast

import bson
from bson import ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo import ReturnDocument, UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from backtest_mongo.crowd import Call, Crowd
from backtest_mongo.errors import StoreUnavailableError
from backtest_mongo.faults import DRIVER_ERRORS, DUPLICATE_KEY, without_frames
from backtest_mongo.hub import Hub
from backtest_mongo.limits import Attempts, Limit, seconds_left
from backtest_mongo.mongo_reads import MongoReads
from backtest_mongo.mongo_rows import PAGE, chunks
from backtest_mongo.payload import CODEC, WRITE_CODEC
from backtest_mongo.specs import Key, SlotSpec
from backtest_mongo.tasks import to_its_end
from backtest_mongo.types import Document

__all__ = ["MongoStore"]

#: The server retries a lost race for a fresh key by itself since 5.0; older ones leave it to the caller.
_RACE_TRIES: Final = 3
#: Rows of a long list that are written within one limit.
_CHUNK: Final = 5_000
_STAMP: Final = {"updatedDate": 1}
#: Keys whose last stamp is remembered.
_STAMPS: Final = 4_096

T = TypeVar("T")
Row = tuple[Key, Document]


class MongoStore(MongoReads):
    """A slot's rows in its MongoDB collection."""

    def __init__(self, hub: Hub, spec: SlotSpec) -> None:
        super().__init__(hub, spec)
        self._encoded = self._collection.with_options(codec_options=CODEC.with_options(document_class=RawBSONDocument))
        self._upserts = self._collection.with_options(codec_options=WRITE_CODEC)
        self._key_projection = dict.fromkeys(spec.key, 1)
        self._writes: Crowd[Row, None] = Crowd(self._upsert_together, self.counts.writes)
        #: The last write of each key that is under way: writes of one key are carried out in the order of their calls.
        self._writing: dict[Key, asyncio.Future[None]] = {}
        #: When keys were last written by this process alone, by the server's clock.
        self._stamps: dict[Key, datetime] = {}

    async def upsert(self, key: Key, fields: Document) -> None:
        with Limit(self._limit):
            if not self._indexed:
                await self.ready()
            # A driver call that is cancelled may still be applied, and then after a later write that was acknowledged.
            await to_its_end(self._in_order([key], partial(self._join, key, fields)))

    async def _join(self, key: Key, fields: Document) -> None:
        await self._writes.call((key, _update(fields)), self._upsert_alone, _size(fields[self._spec.field]))

    async def _in_order(self, keys: Sequence[Key], write: Callable[[], Awaitable[T]]) -> T:
        await self._until_written(keys)
        written = asyncio.get_running_loop().create_future()
        self._writing.update(dict.fromkeys(keys, written))
        try:
            return await write()
        finally:
            for key in keys:
                del self._writing[key]
            written.set_result(None)

    async def _until_written(self, keys: Sequence[Key]) -> None:
        while (busy := next((key for key in keys if key in self._writing), None)) is not None:
            done, _ = await asyncio.wait([self._writing[busy]], timeout=seconds_left())
            if not done:
                raise StoreUnavailableError(
                    "writing failed: the write of the same key before it has not been answered, and time is up",
                    slot=self._spec.name,
                    collection=self._spec.collection,
                    key=self._filter(busy),
                    hint="it was not sent",
                )

    async def _upsert_alone(self, row: Row, lost: Attempts | None = None) -> None:
        """Write a row; ``lost`` are attempts at it whose answer was lost."""
        key, update = row
        attempts, again = lost or Attempts(), lost is not None
        races = _RACE_TRIES
        while True:
            try:
                oid = (await self._landed([row])).get(key) if again else None
                if oid is None:
                    document = await self._upserts.find_one_and_update(
                        self._query(key, await self._began(attempts) if again else None),
                        update,
                        projection=_STAMP,
                        upsert=True,
                        return_document=ReturnDocument.AFTER,
                    )
                    oid = self._stamped(key, cast("Document", document))  # never None: upsert and AFTER
                break
            except DuplicateKeyError as error:
                races -= 1
                if not races and again:
                    self._fail_replaced(key, error)
                if not races:
                    self._fail("writing", error, key)
            except DRIVER_ERRORS as error:
                if not await attempts.another(error):
                    self._fail("writing", error, key)
                again = True
        await self._cache.put(self._spec, key, oid)

    async def _upsert_together(self, calls: list[Call[Row, None]]) -> None:
        """Write many rows with different keys as one bulk write; a row that is refused fails its own caller alone."""
        attempts = Attempts()
        again = False
        try:
            while True:
                try:
                    refused = await self._bulk_upsert(calls, attempts if again else None)
                    break
                except DRIVER_ERRORS as error:
                    if not await attempts.another(error):
                        for call in calls:
                            call.fail(self._fault("writing", error, call.item[0]))
                        return
                    again = True
        except Exception as error:  # nobody may be left waiting
            for call in calls:
                call.fail(error)
            return
        for call in calls:
            if call not in refused:
                call.answer(None)
        # Alone: it meets its own error again, or wins the race for a fresh key that it had lost.
        await asyncio.gather(*(self._settle(call, attempts if again else None) for call in refused))

    async def _settle(self, call: Call[Row, None], lost: Attempts | None) -> None:
        try:
            await self._upsert_alone(call.item, lost)
        except Exception as error:  # nobody may be left waiting
            call.fail(error)
        else:
            call.answer(None)

    async def _bulk_upsert(self, calls: list[Call[Row, None]], lost: Attempts | None) -> set[Call[Row, None]]:
        """Return the calls whose rows were refused, once the id cache knows all others."""
        rows = [call.item for call in calls]
        ids = await self._landed(rows) if lost else {}
        sent = [call for call in calls if call.item[0] not in ids]
        result: Mapping[str, Any] = {}
        refused: set[Call[Row, None]] = set()
        try:
            if sent:
                operations = await self._operations([call.item for call in sent], lost)
                result = (await self._collection.bulk_write(operations, ordered=False)).bulk_api_result
        except BulkWriteError as error:
            result = error.details or {}
            if result.get("writeConcernErrors"):
                raise
            refused = {sent[row["index"]] for row in result.get("writeErrors", ())}
        ids |= {sent[row["index"]].item[0]: row["_id"] for row in result.get("upserted", ())}
        unknown = []
        for call in sent:
            key = call.item[0]
            if key not in ids and call not in refused:
                oid = self._local.get(self._spec.name, key)
                if oid is None:
                    unknown.append(key)
                else:
                    ids[key] = oid
        if unknown:
            ids |= {key: row["_id"] for key, row in (await self._by_key(unknown, self._key_projection)).items()}
        await self._cache.put_many(self._spec, list(ids.items()))
        return refused

    async def _operations(self, rows: Sequence[Row], lost: Attempts | None) -> list[UpdateOne]:
        since = await self._began(lost) if lost else None
        return [UpdateOne(self._query(key, since), update, upsert=True) for key, update in rows]

    async def upsert_many(self, rows: Sequence[Row]) -> None:
        """Upsert rows with different keys, in their order: those inserted are then the newest in this order."""
        for start in range(0, len(rows), _CHUNK):
            chunk = [(key, _update(fields)) for key, fields in rows[start : start + _CHUNK]]
            with Limit(self._limit):
                if not self._indexed:
                    await self.ready()
                keys = [key for key, _ in chunk]
                ids = await to_its_end(self._in_order(keys, partial(self._bulk_in_order, chunk)))
            self.counts.writes.add(len(chunk))
            await self._cache.put_many(self._spec, list(ids.items()))

    async def _bulk_in_order(self, rows: list[Row]) -> dict[Key, ObjectId]:
        """Run upserts in their order, all of them, and return the ids of those that are known to have inserted."""
        ids: dict[Key, ObjectId] = {}
        attempts = Attempts()
        races, again = _RACE_TRIES, False
        while True:
            try:
                if again:
                    landed = await self._landed(rows)
                    ids |= landed
                    rows = [row for row in rows if row[0] not in landed]
                if rows:
                    operations = await self._operations(rows, attempts if again else None)
                    result = await self._collection.bulk_write(operations, ordered=True)
                    ids |= {rows[index][0]: oid for index, oid in (result.upserted_ids or {}).items()}
                return ids
            except DRIVER_ERRORS as error:
                details: Any = getattr(error, "details", None) or {}
                failed = details.get("writeErrors") or [{}]
                if failed[0].get("code") == DUPLICATE_KEY:
                    # A lost race for a fresh key: it and all that come after it are sent again.
                    ids |= {rows[row["index"]][0]: row["_id"] for row in details.get("upserted", ())}
                    races = races - 1 if failed[0]["index"] == 0 else _RACE_TRIES - 1
                    rows = rows[failed[0]["index"] :]
                    if races:
                        continue
                    if again:
                        self._fail_replaced(rows[0][0], error)
                elif await attempts.another(error):
                    again = True
                    continue
                self._fail("writing a batch", error)

    async def remove(self, key: Key) -> None:
        with Limit(self._limit):
            if not self._indexed:
                await self.ready()
            await to_its_end(self._in_order([key], partial(self._mark_removed, key)))
        self.counts.writes.add(1)

    async def _mark_removed(self, key: Key) -> None:
        # A pipeline, because a payload that is null has no `removed` to set. No text of a caller's gets into it.
        payload = f"${self._spec.field}"
        marked = {
            "$cond": [
                {"$eq": [{"$type": payload}, "object"]},
                {"$mergeObjects": [payload, {"removed": True}]},
                payload,
            ]
        }
        update = [{"$set": {"removed": True, self._spec.field: marked, "updatedDate": "$$NOW"}}]
        attempts = Attempts()
        again = False
        while True:
            try:
                query = self._query(key, await self._began(attempts) if again else None)
                found = (await self._collection.update_one({**query, "removed": {"$ne": True}}, update)).matched_count
                row = (
                    await self._collection.find_one(self._filter(key), {"removed": 1}) if again and not found else None
                )
                break
            except DRIVER_ERRORS as error:
                if not await attempts.another(error):
                    self._fail("removing", error, key)
                again = True
        if row is not None and row.get("removed") is not True:
            self._fail_replaced(key)

    async def _landed(self, rows: Sequence[Row]) -> dict[Key, ObjectId]:
        """Return the ids of the rows that are stored, for good, exactly as they were sent."""
        sent = dict(rows)
        found: dict[Key, ObjectId] = {}
        for some in chunks(list(sent)):
            query = {"$or": [self._filter(key) for key in some]}
            for row in await self._encoded.find(query).batch_size(PAGE + 1).to_list(None):
                key = tuple(row[name] for name in self._spec.key)
                if all(_same(row.get(name), value) for name, value in sent[key]["$set"].items()):
                    found[key] = row["_id"]
        if found:
            await self._confirm(self._filter(next(iter(found))))
        return found

    async def _confirm(self, query: Document) -> None:
        """Wait until what has been read is durable: a write that changes nothing waits for all that was before it."""
        await self._collection.update_one(query, {"$setOnInsert": {"__v": 0}})

    def _query(self, key: Key, since: datetime | None) -> Document:
        """Return the filter of a write, which passes over a row stamped ``since`` then.

        Passing over it makes an upsert a duplicate key.
        """
        if since is None:
            # The natural key alone: the server retries a lost race for a fresh key only then.
            return self._filter(key)
        # Or it bears the stamp of our own last write, which may have been a moment ago.
        stamps = [{"updatedDate": {"$not": {"$gte": since}}}, {"updatedDate": self._stamps.get(key, since)}]
        return {**self._filter(key), "$or": stamps}

    def _stamped(self, key: Key, document: Document) -> ObjectId:
        if len(self._stamps) >= _STAMPS:
            self._stamps.clear()
        self._stamps[key] = document["updatedDate"]
        return cast("ObjectId", document["_id"])

    async def _began(self, attempts: Attempts) -> datetime:
        """Return a time by the server's clock at which the first attempt had not begun yet."""
        hello = await self._collection.database.command("hello")
        began: datetime = hello["localTime"] - timedelta(seconds=attempts.seconds, milliseconds=2)
        return began

    def _fail_replaced(self, key: Key, error: Exception | None = None) -> NoReturn:
        """Raise what tells the caller that somebody else has written meanwhile."""
        unknown = StoreUnavailableError(
            "writing failed: the connection was lost, and another writer has written the row since",
            slot=self._spec.name,
            collection=self._spec.collection,
            key=self._filter(key),
            hint="it may have been applied before that or not; read the row before writing it again",
        )
        unknown.may_be_applied = True
        raise unknown from (error and without_frames(error))


def _update(fields: Document) -> Document:
    return {
        "$set": fields,
        "$currentDate": {"updatedDate": True},
        "$setOnInsert": {"createDate": datetime.now(UTC), "__v": 0},
    }


def _size(value: Any) -> int:
    return len(value.raw) if isinstance(value, RawBSONDocument) else len(bson.encode({"": value}, codec_options=CODEC))


def _same(one: Any, other: Any) -> bool:
    # As encoded, in which a NaN equals itself.
    return bson.encode({"": one}, codec_options=CODEC) == bson.encode({"": other}, codec_options=CODEC)
