"""The read path of one slot on one event loop.

A read goes natural key -> id cache -> fetch by ``_id``, and on a miss one indexed find.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from copy import deepcopy
from functools import partial
from typing import Final

from bson import ObjectId

from backtest_mongo.counts import seen
from backtest_mongo.crowd import Call, Crowd
from backtest_mongo.faults import DRIVER_ERRORS
from backtest_mongo.hub import Hub
from backtest_mongo.limits import Attempts, Limit
from backtest_mongo.mongo_rows import PAGE, MongoRows, chunks
from backtest_mongo.specs import Key, SlotSpec
from backtest_mongo.types import Document

__all__ = ["MongoReads"]

_GUARDS: Final = ("when", "removed")

Waiting = dict[Key, list[Call[Key, Document | None]]]


class MongoReads(MongoRows):
    """Points, read one by one or together, and lists."""

    def __init__(self, hub: Hub, spec: SlotSpec) -> None:
        super().__init__(hub, spec)
        self._projection = dict.fromkeys((*spec.key, spec.field, *_GUARDS), 1)
        self._reads: Crowd[Key, Document | None] = Crowd(self._find_together, self.counts.reads)

    async def find(self, key: Key) -> Document | None:
        with Limit(self._limit):
            if not self._indexed:
                await self.ready()
            return await self._reads.call(key, self._find_alone)

    async def _find_alone(self, key: Key) -> Document | None:
        document = await self._retried("reading", partial(self._look_up, key), key)
        if document is not None:
            await self._cache.put(self._spec, key, document["_id"])
        return document

    async def _look_up(self, key: Key) -> Document | None:
        spec = self._spec
        known = self._local.get(spec.name, key)
        oid = known or await self._cache.get(spec, key)
        if oid is not None:
            document = await self._collection.find_one({"_id": oid, **self._filter(key)})
            if document is not None:
                self._note(True)
                return document
            self._local.drop(spec.name, key)
        self._note(False)
        document = await self._collection.find_one(self._filter(key))
        if known is not None and document is None:
            self._indexed = False  # a document that has vanished may have gone with its collection, indexes and all
        return document

    def _note(self, hit: bool) -> None:
        if hit:
            self.counts.hits += 1
        else:
            self.counts.misses += 1
        noted = seen.get()
        if noted is not None:
            noted.hit = hit

    async def _find_together(self, calls: list[Call[Key, Document | None]]) -> None:
        """Answer many reads: those whose id is known by one query, all others by one more."""
        waiting: Waiting = {}
        for call in calls:
            waiting.setdefault(call.item, []).append(call)
        attempts = Attempts()
        try:
            while True:
                try:
                    # What has been answered waits no more, so another attempt asks for the rest alone.
                    await self._answer_by_id(waiting)
                    await self._answer_by_key(waiting)
                    return
                except DRIVER_ERRORS as error:
                    if not await attempts.another(error):
                        for call in calls:
                            call.fail(self._fault("reading", error, call.item))
                        return
        except Exception as error:  # nobody may be left waiting
            for call in calls:
                call.fail(error)

    async def _answer_by_id(self, waiting: Waiting) -> None:
        spec = self._spec
        ids = known = {key: oid for key in waiting if (oid := self._local.get(spec.name, key)) is not None}
        if len(known) < len(waiting):
            ids = known | await self._cache.get_many(spec, [key for key in waiting if key not in known])
        if not ids:
            return
        found = await self._of_ids(ids)
        for key, oid in ids.items():
            document = found.get(oid)
            if self._carries(document, key):
                self.counts.hits += _answer(waiting.pop(key), document, hit=True)
                continue
            self._local.drop(spec.name, key)
            # A document that has vanished may have gone with its collection, indexes and all.
            self._indexed = self._indexed and (document is not None or key not in known)

    async def _of_ids(self, ids: dict[Key, ObjectId]) -> dict[ObjectId, Document]:
        # The documents' own keys are compared afterwards: a thousand comparisons by the server take five times as long.
        queries: list[Document] = [{"_id": {"$in": list(ids.values())}}]
        if self._hub.is_sharded:
            # By an _id alone every shard would be asked.
            queries = [{"$or": [{"_id": ids[key], **self._filter(key)} for key in some]} for some in chunks(list(ids))]
        found: dict[ObjectId, Document] = {}
        for query in queries:
            # Without the fields that nobody asks for. Of a single document they cost less than leaving them out.
            cursor = self._collection.find(query, self._projection)
            found |= {document["_id"]: document for document in await cursor.batch_size(PAGE + 1).to_list(None)}
        return found

    async def _answer_by_key(self, waiting: Waiting) -> None:
        if not waiting:
            return
        found = await self._by_key(list(waiting))
        await self._cache.put_many(self._spec, [(key, document["_id"]) for key, document in found.items()])
        for key, calls in waiting.items():
            self.counts.misses += _answer(calls, found.get(key), hit=False)

    async def scan(self, context: Key, until: int | None = None) -> AsyncIterator[Document]:
        """Yield every row of a context that is not removed, in the order of its key, and not later than ``until``.

        Each page is a query of its own that carries on after the last key, so a list holds no cursor open while its
        caller works on a row, and none is left behind by a caller who stops early.
        """
        spec = self._spec
        item = spec.key[-1]
        # Of texts alone, as all of our keys are: the comparison with the last key of a page would end at another type.
        query: Document = {**dict(zip(spec.key, context, strict=False)), item: {"$type": "string"}}
        if spec.soft_delete:
            query["removed"] = {"$ne": True}
        if until is not None:
            query["when"] = {"$not": {"$gt": until}}
        while True:
            page = await self._list(query, [(item, 1)], PAGE)
            for document in page:
                yield document
            if len(page) < PAGE:
                return
            query[item] = {"$type": "string", "$gt": page[-1][item]}

    async def newest(self, context: Key, limit: int) -> list[Document]:
        """Return the ``limit`` rows of a context that were created last, oldest first."""
        query = dict(zip(self._spec.key, context, strict=False))
        return (await self._list(query, [("createDate", -1), ("_id", -1)], limit))[::-1]

    async def _list(self, query: Document, order: list[tuple[str, int]], limit: int) -> list[Document]:
        async def fetch() -> list[Document]:
            return await self._collection.find(query).sort(order).limit(limit).to_list(limit)

        with Limit(self._limit):
            if not self._indexed:
                await self.ready()
            rows = await self._retried("listing", fetch)
        self.counts.lists.add(len(rows))
        return rows

    def _carries(self, document: Document | None, key: Key) -> bool:
        if document is None:
            return False
        for name, value in zip(self._spec.key, key, strict=True):  # noqa: SIM110  # a generator costs twice as much
            if document.get(name) != value:
                return False
        return True


def _answer(calls: list[Call[Key, Document | None]], document: Document | None, *, hit: bool) -> int:
    """Give each caller a document of its own, as it may change what it got, and return how many there are."""
    first, *others = calls
    for call in others:
        call.answer(deepcopy(document))
    first.answer(document)
    for call in calls:
        if call.seen is not None:
            call.seen.hit = hit
    return len(calls)
