"""The store of one slot on one event loop: the read path and the write path.

A read goes natural key -> id cache -> fetch by ``_id``, and on a miss one indexed find. A write is one atomic upsert on
the natural key, and the id cache is up to date before it returns.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NoReturn, Protocol, cast

from bson import ObjectId
from bson.errors import BSONError
from pymongo import ReturnDocument, UpdateOne
from pymongo.errors import (
    ConfigurationError,
    ConnectionFailure,
    DocumentTooLarge,
    DuplicateKeyError,
    ExecutionTimeout,
    InvalidOperation,
    OperationFailure,
    PyMongoError,
    WaitQueueTimeoutError,
)

from backtest_mongo.errors import BacktestMongoError, InputError, StoreError, StoreUnavailableError
from backtest_mongo.hub import Hub
from backtest_mongo.indexes import ensure_indexes
from backtest_mongo.specs import Key, SlotSpec
from backtest_mongo.tasks import to_its_end
from backtest_mongo.types import Candle, Document

__all__ = ["DRIVER_ERRORS", "DUPLICATE_KEY", "MongoStore", "SeriesRows", "Store"]

DUPLICATE_KEY: Final = 11000
_TOO_LARGE: Final = (17419, 17420, 10334)
#: The server retries a lost race for a fresh key by itself since 5.0; older ones leave it to the caller.
_RACE_TRIES: Final = 3
#: Rows fetched at a time by a list. Each page is a query of its own that carries on after the last key, so a list
#: holds no cursor open while its caller works on a row, and none is left behind by a caller who stops early.
_PAGE: Final = 1000
_ID_ONLY: Final = {"_id": 1}
_GUARDS: Final = ("when", "removed")
_UNREACHABLE: Final = (ConnectionFailure, ConfigurationError, ExecutionTimeout, WaitQueueTimeoutError)
DRIVER_ERRORS: Final = (PyMongoError, BSONError)


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
        spec = self._spec
        try:
            oid = self._local.get(spec.name, key) or await self._cache.get(spec, key)
            if oid is not None:
                document = await self._collection.find_one({"_id": oid}, self._projection)
                if document is not None and self._carries(document, key):
                    self.hits += 1
                    return document
                self._local.drop(spec.name, key)
                # A document that has vanished may have gone with its collection, indexes and all.
                self._indexed = self._indexed and document is not None
            self.misses += 1
            document = await self._collection.find_one(self._filter(key), self._projection)
        except DRIVER_ERRORS as error:
            self._fail("reading", error, key)
        if document is not None:
            await self._cache.put(spec, key, document["_id"])
        return document

    async def upsert(self, key: Key, fields: Document) -> None:
        if not self._indexed:
            await self.ready()
        # A driver call that is cancelled may still be applied, and then after a later write that was acknowledged.
        document = await to_its_end(self._find_one_and_upsert(key, _update(fields)))
        await self._cache.put(self._spec, key, document["_id"])

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
            cursor = self._collection.find(query, self._projection).sort(item, 1).limit(_PAGE)
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
        cursor = self._collection.find(query, self._projection).sort([("createDate", -1), ("_id", -1)]).limit(limit)
        try:
            rows = await cursor.to_list(limit)
        except DRIVER_ERRORS as error:
            self._fail("listing", error)
        return rows[::-1]

    def _filter(self, key: Key) -> Document:
        # Nothing but the natural key: the server retries a lost race for a fresh key only then.
        return dict(zip(self._spec.key, key, strict=True))

    def _carries(self, document: Document, key: Key) -> bool:
        return all(document.get(name) == value for name, value in zip(self._spec.key, key, strict=True))

    def _fail(self, doing: str, error: Exception, key: Key | None = None) -> NoReturn:
        raise _translated(error, doing, self._spec, None if key is None else self._filter(key)) from error


def _update(fields: Document) -> Document:
    now = datetime.now(UTC)
    return {"$set": {**fields, "updatedDate": now}, "$setOnInsert": {"createDate": now, "__v": 0}}


def _translated(error: Exception, doing: str, spec: SlotSpec, key: Document | None) -> BacktestMongoError:
    where: dict[str, Any] = {"slot": spec.name, "collection": spec.collection, "key": key}
    kind = type(error).__name__
    details = (error.details or {}) if isinstance(error, OperationFailure) else {}
    failed = details.get("writeErrors") or [{}]
    code = failed[0].get("code") or getattr(error, "code", None)
    if isinstance(error, DocumentTooLarge) or code in _TOO_LARGE:
        return InputError(f"{doing} failed: the document is over MongoDB's limit of 16 MiB", **where)
    if isinstance(error, BSONError):
        hint = "another program has written what Python can't hold"
        return StoreError(f"{doing} failed: a stored document can't be decoded ({kind})", **where, hint=hint)
    if isinstance(error, InvalidOperation):
        return StoreUnavailableError(f"{doing} failed: the connections were closed meanwhile", **where)
    unconfirmed = bool(details.get("writeConcernErrors")) and not failed[0]
    if unconfirmed or getattr(error, "timeout", False) or isinstance(error, _UNREACHABLE):
        return StoreUnavailableError(
            f"{doing} failed: MongoDB is unavailable ({kind})",
            **where,
            hint="is it running, and the address right?"
            if doing.startswith(("reading", "listing", "preparing"))
            else "it may have been applied or not, and doing the same again is safe",
        )
    advice: str | None = None
    if code == DUPLICATE_KEY:
        advice = "a unique index that is not ours is in the way: compare the collection's indexes with the slot's key"
    elif code == 13:
        advice = "the user lacks the right to do this"
    refused = StoreError(f"{doing} failed: MongoDB answered with error {code or kind}", **where, hint=advice)
    refused.code = code
    return refused
