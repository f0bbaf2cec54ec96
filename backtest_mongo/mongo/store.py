"""The store of one slot on one event loop: rows are read and written one by one, batched with others, or as lists.

A read goes from the natural key to the id cache, and on to a fetch by ``_id``; on a miss it is one indexed find.

A write is one atomic upsert on the natural key, and the id cache is up to date before it returns.

A write whose answer was lost is sent again until its deadline, unless the row shows that it was already applied. A
retry must not bring back a value that another writer has replaced in the meantime. So the server stamps each row, and a
retry skips a row that was stamped after the first attempt began, by the server's own clock; the caller then learns that
the outcome is unknown.

A conditional write is one atomic command that compares what is stored with what was read. It is not sent again once its
answer was lost, as nothing would show which of two equal writes was applied.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar, cast

import bson
from bson import ObjectId
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo import ReturnDocument, UpdateOne
from pymongo.errors import (
    BulkWriteError,
    DuplicateKeyError,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
    WriteError,
)

from backtest_mongo.connection.batching import MAX_BATCH_BYTES, MAX_BATCH_CALLS, Call
from backtest_mongo.connection.driver_errors import DUPLICATE_KEY, is_transient, strip_frames
from backtest_mongo.connection.hub import Hub
from backtest_mongo.connection.operation import Attempts
from backtest_mongo.core.commits import Committer
from backtest_mongo.core.contexts import EVERYTHING, Measure
from backtest_mongo.core.log import log
from backtest_mongo.core.no_history import NoHistory
from backtest_mongo.core.observation import ObservedOperation
from backtest_mongo.core.payload import CODEC, RAW_CODEC, WRITE_CODEC, make_plain
from backtest_mongo.core.pruning import Pruner
from backtest_mongo.core.selection import EVERY_ROW, LARGEST_LIMIT, PayloadFilter, Selection
from backtest_mongo.core.simulation_time import time_of
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.strategy_names import Renamer
from backtest_mongo.core.versions import ABSENT, is_expected, make_conflict, make_version
from backtest_mongo.errors import BacktestMongoError, ConflictError, InputError, StoreUnavailableError
from backtest_mongo.mongo.collection import PAGE, SlotCollection, split_keys
from backtest_mongo.mongo.committer import get_committer
from backtest_mongo.mongo.contexts import MongoContexts, list_contexts
from backtest_mongo.mongo.filters import ListFilters
from backtest_mongo.mongo.pruning import MongoPruner
from backtest_mongo.mongo.renaming import MongoRenamer
from backtest_mongo.mongo.undecodable import ListPage, UndecodableRows, decode_page
from backtest_mongo.mongo.updates import Update, is_applied, make_removal, make_update, split_origin
from backtest_mongo.types import Document, Version

__all__ = ["MongoStore"]

#: The server retries a lost race for a fresh key by itself since 5.0; older ones leave it to the caller.
_RACE_TRIES: Final = 3
_STAMP: Final = {"updatedDate": 1}
#: Keys whose last stamp is remembered.
_STAMPS: Final = 4_096
#: The fields by which a conditional write recognises a row, besides its payload.
_STATE: Final = ("updatedDate", "when", "removed")
#: The most bytes of the two payloads of a conditional write, which are sent in one command of MongoDB's 16 MiB.
_LARGEST_PAIR: Final = 16 * 1024 * 1024 - 16 * 1024
#: The server's code of a command that it does not carry out in its role.
_ILLEGAL: Final = 20

Upsert = tuple[Key, Document]
T = TypeVar("T")

Read = Call[Key, Document | None]
Write = Call[Document, None]

#: Contexts of one call that are queued one by one, so that concurrent calls with a few share a request.
_FEW: Final = 32


class _Found:
    """What was found of many keys so far: the row of each, ``None`` where there is none, or why it can't be decoded."""

    def __init__(self) -> None:
        self.documents: dict[Key, Document | None] = {}
        self.errors: dict[Key, BSONError] = {}
        #: Keys whose id was not cached.
        self.missed: set[Key] = set()
        self._given: set[Key] = set()

    def select_missing(self, keys: Iterable[Key]) -> list[Key]:
        """Return, once each, the keys of which nothing is known."""
        return [key for key in dict.fromkeys(keys) if key not in self.documents and key not in self.errors]

    def give(self, key: Key) -> Document | None:
        """Return a row, to each caller one of its own, as it may change what it got."""
        document = self.documents[key]
        if key in self._given:
            return deepcopy(document)
        self._given.add(key)
        return document


class _Writing:
    """Rows with different keys that are being written: each is unsettled, then stored or refused.

    With ``is_ordered`` they are sent in their order, and the first one that is refused ends it.
    """

    def __init__(self, doing: str, unsettled: dict[Key, Update], *, is_ordered: bool = False) -> None:
        self.doing: str = doing
        self.unsettled: dict[Key, Update] = unsettled
        self.is_ordered: bool = is_ordered
        self.stored: list[Key] = []
        self.refused: dict[Key, BacktestMongoError] = {}
        #: Ids of stored rows, as far as they are known.
        self.ids: dict[Key, ObjectId] = {}
        #: Races for a fresh key that were lost, by key.
        self.races: dict[Key, int] = {}

    def store(self, keys: Iterable[Key]) -> None:
        for key in keys:
            del self.unsettled[key]
            self.stored.append(key)

    def refuse(self, key: Key, error: BacktestMongoError) -> None:
        self.refused[key] = error
        del self.unsettled[key]
        if self.is_ordered:
            self.unsettled.clear()


class MongoStore(NoHistory):
    """A slot's rows in its MongoDB collection."""

    def __init__(self, hub: Hub, spec: SlotSpec) -> None:
        self._hub = hub
        self._spec = spec
        self._slot = slot = hub.collections[spec.name] = SlotCollection(hub, spec, reads_need_indexes=True)
        self._collection = slot.documents
        self._raw = self._collection.with_options(codec_options=RAW_CODEC)
        self._upserts = self._collection.with_options(codec_options=WRITE_CODEC)
        concern = self._collection.read_concern.document
        #: What a command of our own needs besides its filter, to read one document as the collection does.
        self._reading: Document = {"limit": 1, "singleBatch": True} | ({"readConcern": concern} if concern else {})
        self._projection = dict.fromkeys((*spec.key, spec.field, "when", "removed"), 1)
        self._cache = hub.id_cache
        self._local = hub.id_cache.local
        self._counts = slot.counts
        self._reads = slot.reads
        self._writes = slot.writes
        self._reads.send = self._read_batch
        self._writes.send = self._write_batch
        #: When keys were last written by this process alone, by the server's clock.
        self._stamps: dict[Key, datetime] = {}
        self._undecodable = UndecodableRows(spec, "a list lacks a row that can't be decoded")
        self._filters = ListFilters(slot)
        self.pruner: Pruner = MongoPruner(slot, lambda key: self._stamps.pop(key, None))
        self._contexts = MongoContexts(hub, slot)

    @property
    def committer(self) -> Committer:
        return get_committer(self._hub)

    async def ready(self) -> None:
        """Make sure, once, that the collection has its indexes. After a failure the next operation tries again."""
        await self._slot.prepare()

    # Reading by key

    def find(self, key: Key) -> Coroutine[Any, Any, Document | None]:
        return self._reads.call(key, "reading", key, size=self._slot.mean_size)

    async def find_many(self, keys: Sequence[Key], observed: Sequence[ObservedOperation] = ()) -> list[Document | None]:
        """Find the documents of many keys, those of as many as one request may ask for by one call.

        A few are a call each, which is batched with those of others.
        """
        if len(keys) <= _FEW:
            size = self._slot.mean_size
            reads: list[Read] = [
                Call(key, "reading", key, size=size, observed=observed[place : place + 1])
                for place, key in enumerate(keys)
            ]
            return [_unwrap(outcome) for outcome in await self._reads.call_all(reads)] if reads else []
        rows = min(MAX_BATCH_CALLS, max(1, MAX_BATCH_BYTES // max(1, self._slot.mean_size)))
        calls: list[Call[Any, Any]] = []
        for start in range(0, len(keys), rows):
            some, theirs = keys[start : start + rows], observed[start : start + rows]
            work = partial(self._find_some, some, theirs)
            calls.append(Call(None, "reading", some[0], rows=len(some), work=work, observed=theirs))
        found: list[Document | None] = []
        for outcome in await self._reads.call_all(calls):
            found += cast("list[Document | None]", _unwrap(outcome))
        return found

    async def _find_some(
        self, keys: Sequence[Key], observed: Sequence[ObservedOperation], attempts: Attempts
    ) -> list[Document | None]:
        found = attempts.progress = attempts.progress or _Found()
        await self._fetch(keys, found)
        if found.errors:
            first = next(key for key in keys if key in found.errors)
            raise self._slot.translate("reading", found.errors[first], first)
        misses = sum(map(found.missed.__contains__, keys))
        self._counts.misses += misses
        self._counts.hits += len(keys) - misses
        for key, operation in zip(keys, observed, strict=False):
            operation.hit = key not in found.missed
        if len(found.documents) == len(keys):  # no two callers get the same
            return list(map(found.documents.__getitem__, keys))
        return [found.give(key) for key in keys]

    async def _read_batch(self, calls: list[Read], attempts: Attempts) -> None:
        if len(calls) > 1:
            await self._answer_all(calls, attempts)
            return
        (call,) = calls
        spec, key = self._spec, call.item
        entry = self._local.entry(spec.name, key)
        oid = entry[0] if entry is not None else await self._cache.get(spec, key)
        document = None if oid is None else await self._find_one(key, oid)
        is_hit = document is not None
        if not is_hit:
            if oid is not None:
                self._local.drop(spec.name, key)
            document = await self._find_one(key)
            if document is None and entry is not None:
                # A document that has vanished may have gone with its collection, indexes and all.
                self._slot.forget_indexes()
        if document is not None and (entry is None or not entry[1] or not is_hit):
            await self._cache.put(spec, key, document["_id"])
        if is_hit:
            self._counts.hits += 1
        else:
            self._counts.misses += 1
        for operation in call.observed:
            operation.hit = is_hit
        call.answer(document)

    async def _find_one(self, key: Key, oid: ObjectId | None = None) -> Document | None:
        """Return the document of a key; with an ``oid`` from the cache, only if that is the document's."""
        if oid is None or self._slot.is_sharded:  # by an _id alone every shard would be asked
            query = self._slot.key_filter(key)
            if oid is not None:
                query["_id"] = oid
        else:  # the server is faster if it compares nothing else
            query = {"_id": oid}
        try:
            return await self._fetch_one(query, key)
        except BSONError:
            if oid is not None:
                return None  # whichever key it has: if it is ours, it is found again
            raise

    async def _fetch_one(self, query: Document, key: Key) -> Document | None:
        """Return the document of a query, if it is the one of this key.

        It is a command, because the driver's find_one makes a cursor, and decodes a reply twice with a type registry.
        `attempt` sends it again if the connection is lost, and not the driver.

        Raises:
            BSONError: the document can't be decoded.
        """
        command = {"find": self._spec.collection, "filter": query, **self._reading}
        try:
            reply = await self._hub.database.command(command, codec_options=WRITE_CODEC)
            found = reply["cursor"]["firstBatch"]
            return make_plain(found[0]) if found and self._has_key(found[0], key) else None
        except PyMongoError:
            raise
        except Exception as error:  # bson raises half a dozen kinds, some of its own and some builtin
            log().debug("a document is decoded by itself", slot=self._spec.name, problem=type(error).__name__)
        reply = await self._hub.database.command(command, codec_options=RAW_CODEC)
        found = reply["cursor"]["firstBatch"]
        document = bson.decode(found[0].raw, CODEC) if found else None
        return document if document is not None and self._has_key(document, key) else None

    async def _answer_all(self, calls: list[Read], attempts: Attempts) -> None:
        """Answer many reads, each by its own row or its own error."""
        found = attempts.progress = attempts.progress or _Found()
        try:
            await self._fetch([call.item for call in calls], found)
        finally:
            for call in calls:
                key = call.item
                if call.is_done:
                    continue
                if key in found.errors:
                    call.fail(self._slot.translate("reading", found.errors[key], key))
                elif key in found.documents:
                    call.answer(found.give(key))
                    is_hit = key not in found.missed
                    self._counts.hits += is_hit
                    self._counts.misses += not is_hit
                    for operation in call.observed:
                        operation.hit = is_hit

    async def _fetch(self, keys: Sequence[Key], found: _Found) -> None:
        """Find the rows of many keys: those whose id is known by one query, all others by one more."""
        left = found.select_missing(keys)
        try:
            await self._fetch_by_key(await self._fetch_by_id(left, found), found)
        except BSONError:
            # One row that can't be decoded hides all that came with it: halves lead to the one.
            left = found.select_missing(left)
            if len(left) == 1:
                await self._fetch_alone(left[0], found)
                return
            for half in (left[: len(left) // 2], left[len(left) // 2 :]):
                await self._fetch(half, found)

    async def _fetch_by_id(self, keys: list[Key], found: _Found) -> list[Key]:
        """Find the rows whose id is known, and return the keys of the others."""
        spec = self._spec
        ids = known = self._local.get_many(spec.name, keys)
        if len(known) < len(keys):
            ids = known | await self._cache.get_many(spec, [key for key in keys if key not in known])
        left = [key for key in keys if key not in ids] if len(ids) < len(keys) else []
        rows = await self._find_by_id(ids) if ids else {}
        documents, fields = found.documents, spec.key
        for key, oid in ids.items():
            row = rows.get(oid.binary)
            if row is not None and (*map(row.get, fields),) == key:
                documents[key] = row
                continue
            left.append(key)
            self._local.drop(spec.name, key)
            if row is None and key in known:
                # A document that has vanished may have gone with its collection, indexes and all.
                self._slot.forget_indexes()
        return left

    async def _find_by_id(self, ids: dict[Key, ObjectId]) -> dict[bytes, Document]:
        """Return the documents of these ids by the bytes of their ids, which are hashed and compared in no time."""
        # The documents' own keys are compared afterwards: a thousand comparisons by the server take five times as long.
        queries: list[Document] = [{"_id": {"$in": list(ids.values())}}]
        if self._slot.is_sharded:
            # By an _id alone every shard would be asked.
            queries = [
                {"$or": [{"_id": ids[key], **self._slot.key_filter(key)} for key in some]}
                for some in split_keys(list(ids))
            ]
        rows: dict[bytes, Document] = {}
        for query in queries:
            # Without the fields that nobody asks for. Of a single document they cost less than leaving them out.
            rows |= {row["_id"].binary: row for row in await self._slot.find_all(query, self._projection)}
        return rows

    async def _fetch_by_key(self, keys: list[Key], found: _Found) -> None:
        if not keys:
            return
        rows = await self._slot.find_by_key(keys)
        await self._cache.put_many(self._spec, [(key, row["_id"]) for key, row in rows.items()])
        for key in keys:
            found.documents[key] = rows.get(key)
            found.missed.add(key)

    async def _fetch_alone(self, key: Key, found: _Found) -> None:
        """Find the row of a key by the key alone: what can't be decoded may be another's, whose id was cached."""
        self._local.drop(self._spec.name, key)
        try:
            found.documents[key] = await self._find_one(key)
            found.missed.add(key)
        except BSONError as error:
            found.errors[key] = error

    async def find_version(self, key: Key) -> tuple[Document | None, Version]:
        """Find a row and its version, by the natural key alone."""
        row = await self._reads.run(lambda _: self._find_raw(key), "reading", key)
        self._counts.reads.add(1)
        try:
            document = None if row is None else bson.decode(row.raw, CODEC)
        except BSONError as error:
            raise self._slot.translate("reading", error, key) from error
        return document, make_version(self._spec, row)

    async def _find_raw(self, key: Key) -> RawBSONDocument | None:
        """Return the row of a key as the server sends it."""
        command = {"find": self._spec.collection, "filter": self._slot.key_filter(key), **self._reading}
        reply = await self._hub.database.command(command, codec_options=RAW_CODEC)
        return next(iter(reply["cursor"]["firstBatch"]), None)

    def _has_key(self, document: Document, key: Key) -> bool:
        return (*map(document.get, self._spec.key),) == key

    # Listing

    async def scan(
        self, context: Key, until: int | None = None, chosen: Selection = EVERY_ROW
    ) -> AsyncIterator[Document]:
        """Yield the chosen rows of a context by key, without those that are removed or later than ``until``.

        Each page is a query of its own that continues after the last key, so no cursor stays open while the caller
        works on a row, or after a caller stops early. A row that can't be decoded is left out.
        """
        spec = self._spec
        item = spec.key[-1]
        # Of texts alone, as all of our keys are: the comparison with the last key of a page would end at another type.
        keys: Document = {"$type": "string"}
        if chosen.first:
            keys["$gte"] = chosen.first
        if chosen.end is not None:
            keys["$lt"] = chosen.end
        query: Document = {**dict(zip(spec.key, context, strict=False)), item: keys}
        if chosen.where is not None:
            query |= self._filters.compare(chosen.where)
        if spec.soft_delete:
            query["removed"] = {"$ne": True}
        if until is not None:
            query["when"] = {"$not": {"$gt": until}}
        order, behind = (-1, "$lt") if chosen.newest_first else (1, "$gt")
        left = chosen.limit
        while True:
            rows = PAGE if left is None else min(PAGE, left)
            page = await self._slot.read("listing", partial(self._find_page, dict(query), (item, order), rows))
            self._counts.lists.add(len(page.rows))
            for document in page.rows:
                # The query compares numbers alone: other programs' rows may hold a date, or say their time themselves.
                when = None if until is None else time_of(spec, document)
                if until is None or when is None or when <= until:
                    yield document
                    left = None if left is None else left - 1
            if page.is_last or left == 0:
                return
            query[item] = {**keys, behind: page.last}

    async def _find_page(self, query: Document, order: tuple[str, int], rows: int) -> ListPage:
        """Return a page of a list, or what of it fits into one reply of the server."""
        cursor: Any = self._collection.find_raw_batches(query, sort=[order], limit=rows, batch_size=rows + 1)
        page = decode_page(await anext(cursor, b""), self._undecodable)
        page.is_last = not cursor.alive and page.count < rows
        await cursor.close()
        if page.error is not None and not page.is_last:
            raise page.error
        return page

    async def newest(self, context: Key, limit: int, where: PayloadFilter | None = None) -> list[Document]:
        """Return the ``limit`` rows of a context that were created last, oldest first.

        A row that can't be decoded is left out.
        """
        query = dict(zip(self._spec.key, context, strict=False))
        if where is not None:
            query |= self._filters.compare(where)
        replies = _Replies(partial(self._find_newest, query, limit), self._undecodable)
        while not replies.are_over:
            await self._slot.read("listing", replies.take)
        self._counts.lists.add(len(replies.rows))
        return replies.rows[::-1]

    def _find_newest(self, query: Document, limit: int) -> Any:
        order = [("createDate", -1), ("_id", -1)]
        return self._collection.find_raw_batches(
            query, sort=order, limit=limit, batch_size=min(limit + 1, LARGEST_LIMIT)
        )

    # Contexts as a whole

    def list_contexts(self, where: Mapping[str, Any] = EVERYTHING) -> AsyncIterator[Key]:
        """Yield the contexts that have rows, in the order of the key."""
        return list_contexts(self._slot, where)

    async def measure(self, where: Mapping[str, Any], *, by_context: bool) -> list[Measure]:
        return await self._contexts.measure(where, by_context=by_context)

    async def delete_some(self, context: Key, owners: Collection[str]) -> tuple[int, bool]:
        return await self._contexts.delete_some(context, owners)

    @property
    def renamer(self) -> Renamer:
        return MongoRenamer(self._hub, self._slot)

    # Writing

    def upsert(self, key: Key, fields: Document) -> Coroutine[Any, Any, None]:
        return self._writes.call(fields, "writing", key, (key,), _size(fields[self._spec.field]))

    async def upsert_each(self, rows: Sequence[Upsert], observed: Sequence[ObservedOperation] = ()) -> None:
        """Upsert rows of any keys, those of one key in their order. An error of one is raised once all are done.

        A few are a call each, which is batched with those of others.
        """
        calls: list[Call[Any, Any]] = []
        done = 0
        if len(rows) <= _FEW:
            for place, (key, fields) in enumerate(rows):
                size, theirs = _size(fields[self._spec.field]), observed[place : place + 1]
                calls.append(Call(fields, "writing", key, (key,), size, observed=theirs))
        for some in _split_rows(rows, self._spec.field) if len(rows) > _FEW else ():
            keys, theirs = list(some), observed[done : done + len(some)]
            work = partial(self._write_some, _Writing("writing", some))
            calls.append(Call(None, "writing", keys[0], keys, rows=len(keys), work=work, observed=theirs))
            done += len(keys)
        for outcome in await self._writes.call_all(calls) if calls else ():
            if outcome is not None:
                raise outcome

    async def _write_some(self, writing: _Writing, attempts: Attempts) -> None:
        keys = list(writing.unsettled)
        await self._prepare_runs(writing)
        await self._attempt_rows(writing, attempts)
        if writing.refused:
            raise next(writing.refused[key] for key in keys if key in writing.refused)

    async def _write_batch(self, calls: list[Write], attempts: Attempts) -> None:
        """Write rows with different keys; a row that is refused fails its own caller alone."""
        if not self._slot.has_run_index and any("run" in call.item for call in calls):
            await self._slot.ensure_run_index()
        if len(calls) == 1 and not attempts.is_retry:
            (call,) = calls
            key = call.key
            try:
                oid = await self._upsert_row(key, _update(call.item))
            except DuplicateKeyError:
                pass  # a race for a fresh key that was lost: it is sent again
            else:
                await self._cache.put(self._spec, key, oid)
                call.answer(None)
                return
        if attempts.progress is None:
            attempts.progress = _Writing("writing", {call.key: _update(call.item) for call in calls})
        writing: _Writing = attempts.progress
        try:
            await self._attempt_rows(writing, attempts)
        finally:
            for call in calls:
                key = call.key
                if key in writing.refused:
                    call.fail(writing.refused[key])
                elif key not in writing.unsettled:
                    call.answer(None)

    async def upsert_many(self, rows: Sequence[Upsert]) -> None:
        """Upsert rows with different keys, in their order: those inserted are then the newest in this order.

        Each thousand is a request with a deadline of its own.
        """
        keys = [key for key, _ in rows]
        steps = partial(self._upsert_in_order, rows)
        await self._writes.run_steps(steps, "writing a batch", None, keys, is_long=True)

    async def _upsert_in_order(self, rows: Sequence[Upsert]) -> None:
        for chunk in _split_rows(rows, self._spec.field):
            rows_sent = len(chunk)
            writing = _Writing("writing a batch", chunk, is_ordered=True)
            with self._writes.bound_request():
                await self._slot.ensure_indexes()
                await self._prepare_runs(writing)
                await self._slot.attempt("writing a batch", partial(self._attempt_rows, writing))
            for refusal in writing.refused.values():
                raise refusal
            self._counts.writes.add(rows_sent)

    async def _prepare_runs(self, writing: _Writing) -> None:
        if not self._slot.has_run_index and any(isinstance(update, list) for update in writing.unsettled.values()):
            await self._slot.ensure_run_index()

    async def _attempt_rows(self, writing: _Writing, attempts: Attempts) -> None:
        """Send rows until each is stored or refused, and make the id cache hold the ids.

        Raises:
            PyMongoError, BSONError: what became of the rows in ``writing.unsettled`` is unknown.
        """
        since = None
        if attempts.is_retry:
            applied = await self._find_applied(list(writing.unsettled.items()))
            writing.ids |= applied
            writing.store(applied)
            since = await self._find_start(attempts)
        while writing.unsettled:
            if len(writing.unsettled) == 1 and not writing.is_ordered:
                await self._upsert_one(writing, since)
            else:
                await self._upsert_bulk(writing, since)
        unknown = [key for key in writing.stored if key not in writing.ids]
        if unknown:
            known = self._local.get_many(self._spec.name, unknown)
            writing.ids |= known
            unknown = [key for key in unknown if key not in known]
        if unknown and not writing.is_ordered:  # rows of lists are not read by their keys
            rows = await self._slot.find_by_key(unknown, self._slot.key_projection)
            writing.ids |= {key: row["_id"] for key, row in rows.items()}
        await self._cache.put_many(self._spec, list(writing.ids.items()))

    async def _upsert_one(self, writing: _Writing, since: datetime | None) -> None:
        ((key, update),) = writing.unsettled.items()
        try:
            writing.ids[key] = await self._upsert_row(key, update, since)
        except DuplicateKeyError as error:
            self._take_duplicate(writing, key, error, since)
        else:
            writing.store((key,))

    async def _upsert_row(self, key: Key, update: Update, since: datetime | None = None) -> ObjectId:
        document: Any = await self._upserts.find_one_and_update(
            self._query(key, since), update, projection=_STAMP, upsert=True, return_document=ReturnDocument.AFTER
        )
        return self._note_written(key, document)

    def _note_written(self, key: Key, document: Document) -> ObjectId:
        """Remember the stamp of a row that has just been written, and return its id."""
        if len(self._stamps) >= _STAMPS:
            self._stamps.clear()
        self._stamps[key] = document["updatedDate"]
        oid: ObjectId = document["_id"]
        return oid

    async def _upsert_bulk(self, writing: _Writing, since: datetime | None) -> None:
        keys = list(writing.unsettled)
        operations = [UpdateOne(self._query(key, since), writing.unsettled[key], upsert=True) for key in keys]
        result: Any
        failed: list[Document] = []
        unconfirmed: list[Document] = []
        try:
            result = (await self._collection.bulk_write(operations, ordered=writing.is_ordered)).bulk_api_result
        except BulkWriteError as error:
            result = error.details or {}
            failed, unconfirmed = result.get("writeErrors", []), result.get("writeConcernErrors", [])
        if not unconfirmed:
            # A list ends at the first row that fails; what comes after it was not sent.
            sent = keys[: failed[0]["index"]] if writing.is_ordered and failed else keys
            fails = {keys[row["index"]] for row in failed}
            writing.ids |= {keys[row["index"]]: row["_id"] for row in result.get("upserted", ())}
            writing.store([key for key in sent if key not in fails])
        transient: WriteError | None = None
        for row in failed:
            key, failure = keys[row["index"]], _write_error(row)
            if isinstance(failure, DuplicateKeyError):
                self._take_duplicate(writing, key, failure, since)
            elif is_transient(failure):
                transient = failure
            else:
                writing.refuse(key, self._slot.translate(writing.doing, failure, key))
        if unconfirmed:
            first = unconfirmed[0]
            raise WriteConcernError(str(first.get("errmsg")), first.get("code"), first)
        if transient is not None:
            raise transient

    def _take_duplicate(self, writing: _Writing, key: Key, error: WriteError, since: datetime | None) -> None:
        """Let a row be sent again that has lost a race for a fresh key, up to three times."""
        writing.races[key] = writing.races.get(key, 0) + 1
        if writing.races[key] < _RACE_TRIES:
            return
        refusal = self._slot.translate(writing.doing, error, key) if since is None else self._make_replaced_error(key)
        refusal.__cause__ = strip_frames(error)
        writing.refuse(key, refusal)

    async def replace(self, key: Key, fields: Document, expected: Version | None) -> None:
        """Upsert a row if it has the expected version or, with ``None``, if a read finds nothing.

        Raises:
            ConflictError: it has not.
            InputError: what is stored is too large to be compared in one command.
        """
        work = partial(self._replace, key, fields, expected)
        conflict = await self._slot.write("writing", work, (key,), key)
        self._counts.writes.add(1)
        if conflict is not None:
            raise conflict

    async def _replace(
        self, key: Key, fields: Document, expected: Version | None, attempts: Attempts
    ) -> ConflictError | None:
        if attempts.progress == "sent":
            raise self._make_undecided_error(key)
        if "run" in fields:
            await self._slot.ensure_run_index()
        spec, update = self._spec, _update(fields)
        is_upsert = expected is None or expected == ABSENT
        row = None if is_upsert else await self._find_current(key)
        for _ in range(_RACE_TRIES):
            refusal: DuplicateKeyError | None = None
            version = make_version(spec, row)
            if not is_expected(spec, row, version, expected):
                break
            query = self._slot.key_filter(key) | self._make_condition(fields, row, expected)
            try:
                attempts.progress = "sent"
                document: Any = await self._upserts.find_one_and_update(
                    query, update, projection=_STAMP, upsert=is_upsert, return_document=ReturnDocument.AFTER
                )
            except DuplicateKeyError as error:
                # The condition does not hold, or an index that is not ours refuses the row.
                document, refusal = None, error
            except OperationFailure as error:
                if error.code == _ILLEGAL:  # see is_transient: it was not carried out
                    attempts.progress = None
                raise
            attempts.progress = None
            if document is not None:
                await self._cache.put(spec, key, self._note_written(key, document))
                return None
            row = await self._find_current(key)
        else:
            if refusal is not None:
                raise refusal
        found = None if row is None else bson.decode(row.raw, CODEC)
        return make_conflict(spec, key, found, make_version(spec, row), expected)

    async def _find_current(self, key: Key) -> RawBSONDocument | None:
        """Return a row within a request that writes, as it is on the primary."""
        if self._hub.is_direct:
            await self._slot.check_role("writing")
        row = await self._find_raw(key)
        self._slot.refuse_secondary("writing")
        return row

    def _make_condition(self, fields: Document, row: RawBSONDocument | None, expected: Version | None) -> Document:
        """Return what a conditional write adds to the filter by the natural key."""
        field = self._spec.field
        if expected is None:
            # A list that holds null matches null as well, but has a first element.
            cleared = {field: None, f"{field}.0": {"$exists": False}}
            return {"$or": [cleared, {"removed": True}]}
        if row is None:
            return {"_id": {"$exists": False}}  # no stored row matches, so it is inserted or a duplicate key
        size = _size(row.get(field)) + _size(fields[field])
        if size > _LARGEST_PAIR:
            raise InputError(
                f"{field} is {size:,} bytes with the one that it replaces; a write with expect takes {_LARGEST_PAIR:,}",
                slot=self._spec.name,
                collection=self._spec.collection,
                hint="nothing was written; split the row, or write it without expect",
            )
        # As an expression, by which a list equals nothing but itself, and a field that is missing is null.
        state = [row.get(name) for name in (*_STATE, field)]
        return {"$expr": {"$eq": [[f"${name}" for name in (*_STATE, field)], {"$literal": state}]}}

    async def remove(self, key: Key, run: str | None = None) -> None:
        await self._slot.write("removing", partial(self._mark_removed, key, run), (key,), key)
        self._counts.writes.add(1)

    async def _mark_removed(self, key: Key, run: str | None, attempts: Attempts) -> None:
        if run is not None:
            await self._slot.ensure_run_index()
        update = make_removal(self._spec.field, None if run is None else {"run": run})
        query = self._query(key, await self._find_start(attempts) if attempts.is_retry else None)
        found = (await self._collection.update_one({**query, "removed": {"$ne": True}}, update)).matched_count
        if attempts.is_retry and not found:
            row = await self._collection.find_one(self._slot.key_filter(key), {"removed": 1})
            if row is not None and row.get("removed") is not True:
                raise self._make_replaced_error(key)
            # What an attempt before has removed is durable once this is.
            await self._confirm(self._slot.key_filter(key))

    async def _find_applied(self, rows: Sequence[tuple[Key, Update]]) -> dict[Key, ObjectId]:
        """Return the ids of the rows that are stored exactly as they were sent, and durably."""
        sent = dict(rows)
        found: dict[Key, ObjectId] = {}
        for some in split_keys(list(sent)):
            query = {"$or": [self._slot.key_filter(key) for key in some]}
            for row in await self._raw.find(query).batch_size(PAGE + 1).to_list(None):
                key = tuple(row[name] for name in self._spec.key)
                if is_applied(sent[key], row):
                    found[key] = row["_id"]
        if found:
            await self._confirm(self._slot.key_filter(next(iter(found))))
        return found

    async def _confirm(self, query: Document) -> None:
        """Wait until what has been read is durable: a write that changes nothing waits for all writes before it."""
        await self._collection.update_one(query, {"$setOnInsert": {"__v": 0}})

    def _query(self, key: Key, since: datetime | None) -> Document:
        """Return the filter of a write, which passes over a row stamped ``since`` then.

        Passing over it makes an upsert a duplicate key.
        """
        # The natural key alone: the server retries a lost race for a fresh key only then.
        query: Document = dict(zip(self._spec.key, key, strict=True))
        if since is not None:
            # A row with the stamp of our own last write, which may have been a moment ago, is not passed over.
            stamps = [{"updatedDate": {"$not": {"$gte": since}}}, {"updatedDate": self._stamps.get(key, since)}]
            query["$or"] = stamps
        return query

    async def _find_start(self, attempts: Attempts) -> datetime:
        """Return a time by the server's clock at which the first attempt had not begun yet."""
        hello = await self._collection.database.command("hello")
        began: datetime = hello["localTime"] - timedelta(seconds=attempts.elapsed_seconds, milliseconds=2)
        return began

    def _make_undecided_error(self, key: Key) -> BacktestMongoError:
        """Return the error of a conditional write whose answer was lost."""
        unknown = StoreUnavailableError(
            "writing failed: the connection was lost, and nothing shows whether the condition held",
            slot=self._spec.name,
            collection=self._spec.collection,
            key=self._slot.key_filter(key),
            hint="it may or may not have been applied; read the row with its version before writing it again",
        )
        unknown.may_be_applied = True
        return unknown

    def _make_replaced_error(self, key: Key) -> BacktestMongoError:
        """Return the error of a write after which another writer may have written."""
        unknown = StoreUnavailableError(
            "writing failed: the connection was lost, and another writer has written the row since",
            slot=self._spec.name,
            collection=self._spec.collection,
            key=self._slot.key_filter(key),
            hint="it may or may not have been applied before; read the row before writing it again",
        )
        unknown.may_be_applied = True
        return unknown


class _Replies:
    """The replies of a cursor, each a request of its own; a cursor that is lost begins again."""

    def __init__(self, open_cursor: Callable[[], Any], undecodable: UndecodableRows) -> None:
        self._open_cursor = open_cursor
        self._undecodable = undecodable
        self._cursor: Any = None
        self.rows: list[Document] = []
        self.are_over: bool = False

    async def take(self) -> None:
        """Ask for the next reply."""
        if self._cursor is None:
            self.rows = []
            self._cursor = self._open_cursor()
        cursor, self._cursor = self._cursor, None
        self.rows += decode_page(await anext(cursor, b""), self._undecodable).rows
        self._cursor = cursor
        self.are_over = not cursor.alive


def _unwrap(outcome: T | BaseException) -> T:
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _update(fields: Document) -> Update:
    stored, origin = split_origin(fields)
    return make_update(stored, datetime.now(UTC), origin)


def _write_error(row: Document) -> WriteError:
    """Return what the driver raises for a single command that fails as this row of a bulk write did."""
    error_type = DuplicateKeyError if row.get("code") == DUPLICATE_KEY else WriteError
    return error_type(str(row.get("errmsg")), row.get("code"), row)


def _size(value: Any) -> int:
    return len(value.raw) if isinstance(value, RawBSONDocument) else len(bson.encode({"": value}, codec_options=CODEC))


def _split_rows(rows: Sequence[Upsert], field: str) -> Iterator[dict[Key, Update]]:
    """Yield the rows in their order, as many at a time as one request takes, and of each key one."""
    chunk: dict[Key, Update] = {}
    size = 0
    for key, fields in rows:
        if key in chunk:
            yield chunk
            chunk, size = {}, 0
        chunk[key] = _update(fields)
        size += _size(fields[field])
        if len(chunk) == MAX_BATCH_CALLS or size >= MAX_BATCH_BYTES:
            yield chunk
            chunk, size = {}, 0
    if chunk:
        yield chunk
