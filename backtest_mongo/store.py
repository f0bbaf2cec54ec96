"""The store of one slot on one event loop: the read path and the write path.

A read goes natural key -> id cache -> fetch by ``_id``, and on a miss one indexed find. A write is one atomic upsert on
the natural key, and the id cache is up to date before it returns.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any, Final, NoReturn, Protocol, cast

import bson
from bson import ObjectId
from pymongo import ReturnDocument, UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from backtest_mongo.crowd import Call, Crowd
from backtest_mongo.errors import BacktestMongoError
from backtest_mongo.faults import DRIVER_ERRORS, DUPLICATE_KEY, translated
from backtest_mongo.hub import Hub
from backtest_mongo.indexes import ensure_indexes
from backtest_mongo.payload import CODEC
from backtest_mongo.specs import Key, SlotSpec
from backtest_mongo.tasks import to_its_end
from backtest_mongo.types import Candle, Document

__all__ = ["MongoStore", "SeriesRows", "Store"]

#: The server retries a lost race for a fresh key by itself since 5.0; older ones leave it to the caller.
_RACE_TRIES: Final = 3
#: Rows fetched at a time by a list. Each page is a query of its own that carries on after the last key, so a list
#: holds no cursor open while its caller works on a row, and none is left behind by a caller who stops early.
_PAGE: Final = 1000
_ID_ONLY: Final = {"_id": 1}
_GUARDS: Final = ("when", "removed")


class Store(Protocol):
    """What an adapter needs of the place where its rows are. Keys are in the order of ``SlotSpec.key``."""

    async def ready(self) -> None: ...
    async def find(self, key: Key) -> Document | None: ...
    async def upsert(self, key: Key, fields: Document) -> None: ...
    async def upsert_many(self, rows: Sequence[tuple[Key, Document]]) -> None: ...
    async def remove(self, key: Key) -> None: ...
    def scan(self, context: Key, until: int | None = None) -> AsyncIterator[Document]: ...
    async def newest(self, context: Key, limit: int) -> list[Document]: ...


class SeriesRows(Store, Protocol):
    """What the adapter of a series needs beyond that."""

    async def insert_new(self, context: Key, rows: Mapping[int, Document]) -> int: ...
    async def window(self, context: Key, first: int, step: int, limit: int) -> list[Candle] | None: ...


class MongoStore:
    """A slot's rows in its MongoDB collection."""

    def __init__(self, hub: Hub, spec: SlotSpec) -> None:
        self._spec = spec
        self._collection = hub.database[spec.collection]
        self._cache = hub.cache
        self._local = hub.cache.local
        self._indexed = False
        self._lock = asyncio.Lock()
        self._projection = dict.fromkeys((*spec.key, spec.field, *_GUARDS), 1)
        self._key_projection = dict.fromkeys(spec.key, 1)
        self._reads: Crowd[Key, Document | None] = Crowd(self._find_together)
        self._writes: Crowd[tuple[Key, Document], None] = Crowd(self._upsert_together)
        #: The last write of each key that is under way: writes of one key are carried out in the order of their calls.
        self._writing: dict[Key, asyncio.Future[None]] = {}
        #: Reads by whether the id cache knew the key.
        self.hits = self.misses = 0

    async def ready(self) -> None:
        """Make sure, once, that the collection has its indexes. A failure leaves it to the next operation."""
        if self._indexed:
            return
        async with self._lock:
            if self._indexed:
                return
            try:
                await ensure_indexes(self._collection, self._spec)
            except DRIVER_ERRORS as error:
                self._fail("preparing the indexes", error)
            self._indexed = True

    async def find(self, key: Key) -> Document | None:
        if not self._indexed:
            await self.ready()
        return await self._reads.call(key, self._find_alone)

    async def _find_alone(self, key: Key) -> Document | None:
        spec = self._spec
        try:
            oid = self._local.get(spec.name, key) or await self._cache.get(spec, key)
            if oid is not None:
                document = await self._collection.find_one({"_id": oid})
                if self._carries(document, key):
                    self.hits += 1
                    return document
                self._forget(key, document)
            self.misses += 1
            document = await self._collection.find_one(self._filter(key))
        except DRIVER_ERRORS as error:
            self._fail("reading", error, key)
        if document is not None:
            await self._cache.put(spec, key, document["_id"])
        return document

    async def _find_together(self, calls: list[Call[Key, Document | None]]) -> None:
        """Answer many reads: those whose id is known by one query, all others by one more."""
        waiting: dict[Key, list[Call[Key, Document | None]]] = {}
        for call in calls:
            waiting.setdefault(call.item, []).append(call)
        try:
            await self._answer_by_id(waiting)
            await self._answer_by_key(waiting)
        except DRIVER_ERRORS as error:
            for call in calls:
                call.fail(self._fault("reading", error, call.item))
        except Exception as error:  # nobody may be left waiting
            for call in calls:
                call.fail(error)

    async def _answer_by_id(self, waiting: dict[Key, list[Call[Key, Document | None]]]) -> None:
        spec = self._spec
        ids = {key: oid for key in waiting if (oid := self._local.get(spec.name, key)) is not None}
        if len(ids) < len(waiting):
            ids |= await self._cache.get_many(spec, [key for key in waiting if key not in ids])
        if not ids:
            return
        # Without the fields that nobody asks for. Of a single document they cost less than leaving them out.
        cursor = self._collection.find({"_id": {"$in": list(ids.values())}}, self._projection)
        found = {document["_id"]: document for document in await cursor.batch_size(_PAGE + 1).to_list(None)}
        for key, oid in ids.items():
            document = found.get(oid)
            if self._carries(document, key):
                self.hits += 1
                _answer(waiting.pop(key), document)
            else:
                self._forget(key, document)

    async def _answer_by_key(self, waiting: dict[Key, list[Call[Key, Document | None]]]) -> None:
        if not waiting:
            return
        self.misses += len(waiting)
        found = await self._by_key(list(waiting))
        await self._cache.put_many(self._spec, [(key, document["_id"]) for key, document in found.items()])
        for key, calls in waiting.items():
            _answer(calls, found.get(key))

    async def _by_key(self, keys: list[Key], projection: Document | None = None) -> dict[Key, Document]:
        """Return the documents of natural keys, each found by the unique index."""
        cursor = self._collection.find({"$or": [self._filter(key) for key in keys]}, projection)
        rows = await cursor.batch_size(_PAGE + 1).to_list(None)
        return {tuple(row[name] for name in self._spec.key): row for row in rows}

    async def upsert(self, key: Key, fields: Document) -> None:
        if not self._indexed:
            await self.ready()
        # A driver call that is cancelled may still be applied, and then after a later write that was acknowledged.
        await to_its_end(self._upsert_in_order(key, fields))

    async def _upsert_in_order(self, key: Key, fields: Document) -> None:
        await self._until_written(key)
        written = self._writing[key] = asyncio.get_running_loop().create_future()
        try:
            await self._writes.call((key, fields), self._upsert_alone, len(bson.encode(fields, codec_options=CODEC)))
        finally:
            del self._writing[key]
            written.set_result(None)

    async def _until_written(self, key: Key) -> None:
        while (earlier := self._writing.get(key)) is not None:
            await asyncio.wait([earlier])

    async def _upsert_alone(self, row: tuple[Key, Document]) -> None:
        key, fields = row
        document = await self._find_one_and_upsert(key, _update(fields))
        await self._cache.put(self._spec, key, document["_id"])

    async def _upsert_together(self, calls: list[Call[tuple[Key, Document], None]]) -> None:
        """Write many rows with different keys as one bulk write; a row that is refused fails its own caller alone."""
        try:
            refused = await self._bulk_upsert(calls)
        except DRIVER_ERRORS as error:
            for call in calls:
                call.fail(self._fault("writing", error, call.item[0]))
            return
        except Exception as error:  # nobody may be left waiting
            for call in calls:
                call.fail(error)
            return
        for index, call in enumerate(calls):
            if index not in refused:
                call.answer(None)
        for index in refused:
            # Alone: it meets its own error again, or wins the race for a fresh key that it had lost.
            try:
                await self._upsert_alone(calls[index].item)
            except Exception as error:  # nobody may be left waiting
                calls[index].fail(error)
            else:
                calls[index].answer(None)

    async def _bulk_upsert(self, calls: list[Call[tuple[Key, Document], None]]) -> set[int]:
        """Return the indexes of the rows that were refused, once the id cache knows all others."""
        operations = [
            UpdateOne(self._filter(key), _update(fields), upsert=True) for key, fields in (call.item for call in calls)
        ]
        refused: set[int] = set()
        result: Mapping[str, Any]
        try:
            result = (await self._collection.bulk_write(operations, ordered=False)).bulk_api_result
        except BulkWriteError as error:
            result = error.details or {}
            if result.get("writeConcernErrors"):
                raise
            refused = {row["index"] for row in result.get("writeErrors", ())}
        ids = {calls[row["index"]].item[0]: row["_id"] for row in result.get("upserted", ())}
        unknown = []
        for index, call in enumerate(calls):
            key = call.item[0]
            if key not in ids and index not in refused:
                oid = self._local.get(self._spec.name, key)
                if oid is None:
                    unknown.append(key)
                else:
                    ids[key] = oid
        if unknown:
            ids |= {key: row["_id"] for key, row in (await self._by_key(unknown, self._key_projection)).items()}
        await self._cache.put_many(self._spec, list(ids.items()))
        return refused

    async def _find_one_and_upsert(self, key: Key, update: Document) -> Document:
        for attempts_left in reversed(range(_RACE_TRIES)):
            try:
                document = await self._collection.find_one_and_update(
                    self._filter(key),
                    update,
                    projection=_ID_ONLY,
                    upsert=True,
                    return_document=ReturnDocument.AFTER,
                )
            except DRIVER_ERRORS as error:
                if attempts_left and isinstance(error, DuplicateKeyError):
                    continue
                self._fail("writing", error, key)
            return cast("Document", document)  # never None: upsert and AFTER
        raise AssertionError("unreachable")  # for type checkers: the last attempt returns or raises

    async def upsert_many(self, rows: Sequence[tuple[Key, Document]]) -> None:
        """Upsert rows with different keys, in their order: those inserted are then the newest in this order."""
        if not rows:
            return
        if not self._indexed:
            await self.ready()
        operations = [UpdateOne(self._filter(key), _update(fields), upsert=True) for key, fields in rows]
        upserted = await to_its_end(self._bulk(operations))
        await self._cache.put_many(self._spec, [(rows[index][0], oid) for index, oid in upserted])

    async def _bulk(self, operations: list[UpdateOne]) -> list[tuple[int, ObjectId]]:
        """Run upserts in their order, all of them, and return the index and ``_id`` of those that inserted."""
        upserted: list[tuple[int, ObjectId]] = []
        done = 0
        for attempts_left in reversed(range(_RACE_TRIES)):
            try:
                result = await self._collection.bulk_write(operations[done:], ordered=True)
            except DRIVER_ERRORS as error:
                details: Any = getattr(error, "details", None) or {}
                failed = details.get("writeErrors") or [{}]
                if not attempts_left or failed[0].get("code") != DUPLICATE_KEY:
                    self._fail("writing a batch", error)
                # A lost race for a fresh key: it and all that come after it are sent again.
                upserted += [(done + row["index"], row["_id"]) for row in details.get("upserted", ())]
                done += failed[0]["index"]
            else:
                return upserted + [(done + index, oid) for index, oid in (result.upserted_ids or {}).items()]
        raise AssertionError("unreachable")  # for type checkers: the last attempt returns or raises

    async def remove(self, key: Key) -> None:
        if not self._indexed:
            await self.ready()
        # A pipeline, because a payload that is null has no `removed` to set. No text of a caller's gets into it.
        payload = f"${self._spec.field}"
        marked = {
            "$cond": [
                {"$eq": [{"$type": payload}, "object"]},
                {"$mergeObjects": [payload, {"removed": True}]},
                payload,
            ]
        }
        update = [{"$set": {"removed": True, self._spec.field: marked, "updatedDate": datetime.now(UTC)}}]
        await to_its_end(self._update_one({**self._filter(key), "removed": {"$ne": True}}, update, key))

    async def _update_one(self, query: Document, update: list[Document], key: Key) -> None:
        await self._until_written(key)
        try:
            await self._collection.update_one(query, update)
        except DRIVER_ERRORS as error:
            self._fail("removing", error, key)

    async def scan(self, context: Key, until: int | None = None) -> AsyncIterator[Document]:
        """Yield every row of a context that is not removed, in the order of its key, and not later than ``until``."""
        if not self._indexed:
            await self.ready()
        spec = self._spec
        item = spec.key[-1]
        # Of texts alone, as all of our keys are: the comparison with the last key of a page would end at another type.
        query: Document = {**dict(zip(spec.key, context, strict=False)), item: {"$type": "string"}}
        if spec.soft_delete:
            query["removed"] = {"$ne": True}
        if until is not None:
            query["when"] = {"$not": {"$gt": until}}
        while True:
            cursor = self._collection.find(query).sort(item, 1).limit(_PAGE)
            try:
                page = await cursor.to_list(_PAGE)
            except DRIVER_ERRORS as error:
                self._fail("listing", error)
            for document in page:
                yield document
            if len(page) < _PAGE:
                return
            query[item] = {"$type": "string", "$gt": page[-1][item]}

    async def newest(self, context: Key, limit: int) -> list[Document]:
        """Return the ``limit`` rows of a context that were created last, oldest first."""
        if not self._indexed:
            await self.ready()
        query = dict(zip(self._spec.key, context, strict=False))
        cursor = self._collection.find(query).sort([("createDate", -1), ("_id", -1)]).limit(limit)
        try:
            rows = await cursor.to_list(limit)
        except DRIVER_ERRORS as error:
            self._fail("listing", error)
        return rows[::-1]

    def _filter(self, key: Key) -> Document:
        # Nothing but the natural key: the server retries a lost race for a fresh key only then.
        return dict(zip(self._spec.key, key, strict=True))

    def _carries(self, document: Document | None, key: Key) -> bool:
        if document is None:
            return False
        for name, value in zip(self._spec.key, key, strict=True):  # noqa: SIM110  # a generator costs twice as much
            if document.get(name) != value:
                return False
        return True

    def _forget(self, key: Key, document: Document | None) -> None:
        """Drop an id that led to another document, or to none."""
        self._local.drop(self._spec.name, key)
        # A document that has vanished may have gone with its collection, indexes and all.
        self._indexed = self._indexed and document is not None

    def _fault(self, doing: str, error: Exception, key: Key | None = None) -> BacktestMongoError:
        return translated(error, doing, self._spec, None if key is None else self._filter(key))

    def _fail(self, doing: str, error: Exception, key: Key | None = None) -> NoReturn:
        raise self._fault(doing, error, key) from error


def _update(fields: Document) -> Document:
    now = datetime.now(UTC)
    return {"$set": {**fields, "updatedDate": now}, "$setOnInsert": {"createDate": now, "__v": 0}}


def _answer(calls: list[Call[Key, Document | None]], document: Document | None) -> None:
    """Give each caller a document of its own: it may change what it got."""
    first, *others = calls
    for call in others:
        call.answer(deepcopy(document))
    first.answer(document)
