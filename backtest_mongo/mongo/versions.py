"""The versions of a slot's rows in MongoDB: a collection of its own, beside the rows.

::

    {_id: ..., signalId: "s-1", bucketName: "plan", when: 1733043600000, payload: {...}, written: <date>,
     created: <date>}

A version and its row are written in one transaction: see ``committer.py``. A read as of a time is one aggregation: the
row by its key, and the latest version that is not later.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import bson
from bson.errors import BSONError
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import PyMongoError

from backtest_mongo.connection.batching import Call
from backtest_mongo.connection.hub import Hub
from backtest_mongo.connection.operation import Attempts
from backtest_mongo.core.background import start_background
from backtest_mongo.core.commits import RowWrite
from backtest_mongo.core.history import find_history, find_row_time
from backtest_mongo.core.log import log
from backtest_mongo.core.payload import CODEC, RAW_CODEC, WRITE_CODEC, make_plain
from backtest_mongo.core.retention import Retention, find_due
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.errors import BacktestMongoError
from backtest_mongo.mongo.collection import SlotCollection, aggregate, split_keys
from backtest_mongo.mongo.stored_keys import find_keys
from backtest_mongo.mongo.undecodable import UndecodableRows
from backtest_mongo.types import Document, now_ms, to_millis

__all__ = ["MongoVersions", "get_versions", "make_row_version", "make_version_update"]

#: Keys of one aggregation: each is a stage, of which the server takes a thousand.
_KEYS: Final = 200
#: Versions that are deleted at a time.
_STEP: Final = 500

#: A key, and the time as of which it is read.
Moment = tuple[Key, int]


class MongoVersions:
    """The versions of one slot on one event loop."""

    def __init__(self, hub: Hub, spec: SlotSpec) -> None:
        self._hub = hub
        self._spec = spec
        self._rows = hub.database[spec.collection]
        documents = hub.database[spec.versions]
        self.slot: SlotCollection = SlotCollection(
            hub, spec, documents, create_indexes=self._create_indexes, reads_need_indexes=True
        )
        self._documents = documents
        concern = documents.read_concern.document
        self._reading: Document = {"readConcern": concern} if concern else {}
        self.slot.reads.send = self._read_batch
        self._undecodable = UndecodableRows(spec, "a list as of a time lacks a row that can't be decoded")
        self._writes = 0

    async def _create_indexes(self) -> None:
        fields = [(name, ASCENDING) for name in (*self._spec.key, "when")]
        await self._documents.create_indexes([IndexModel(fields, unique=True)])

    # Reading as of a time

    async def find_at(self, keys: Sequence[Key], until: int) -> list[Document | None]:
        size = self.slot.mean_size
        if len(keys) == 1:
            (key,) = keys
            item: Any = (key, until)
            return [await self.slot.reads.call(item, "reading", key, size=size)]
        calls: list[Call[Any, Any]] = [Call((key, until), "reading", key, size=size) for key in keys]
        found = await self.slot.reads.call_all(calls)
        for outcome in found:
            if isinstance(outcome, BaseException):
                raise outcome
        return found  # type: ignore[return-value]  # no errors

    async def _read_batch(self, calls: list[Call[Moment, Document | None]], attempts: Attempts) -> None:
        """Answer reads, each by its own row or its own error."""
        for start in range(0, len(calls), _KEYS):
            some = calls[start : start + _KEYS]
            try:
                found = await self._find([call.item for call in some])
            except PyMongoError:
                raise
            except Exception as error:
                if len(some) > 1:  # what can't be decoded hides what came with it
                    for call in some:
                        await self._read_batch([call], attempts)
                    continue
                some[0].fail(self.slot.translate("reading", error, some[0].key))
                continue
            for call, document in zip(some, found, strict=True):
                call.answer(document)

    async def _find(self, moments: Sequence[Moment]) -> list[Document | None]:
        keys = [self.slot.key_filter(key) for key, _ in moments]
        pipeline: list[Document] = [{"$match": keys[0] if len(keys) == 1 else {"$or": keys}}]
        for query, (_, until) in zip(keys, moments, strict=True):
            latest = [{"$match": {**query, "when": {"$lte": until}}}, {"$sort": {"when": -1}}, {"$limit": 1}]
            pipeline.append({"$unionWith": {"coll": self._spec.versions, "pipeline": latest}})
        found = await self._aggregate(pipeline, 2 * len(moments) + 1)  # as a full reply leaves a cursor
        self.slot.counts.reads.add(len(moments))
        self.slot.counts.as_of += len(moments)
        if len(moments) == 1:
            return [self._choose_alone(found, moments[0][1])]
        rows: dict[Key, Document] = {}
        versions: dict[Key, dict[int, Document]] = {}
        for document in found:
            key = tuple(document[name] for name in self._spec.key)
            if "written" in document:
                versions.setdefault(key, {})[document["when"]] = document
            else:
                rows[key] = document
        chosen: list[Document | None] = []
        given: set[int] = set()
        for key, until in moments:
            then = self._choose(rows.get(key), versions.get(key, {}), until)
            # To each caller one of its own, as it may change what it got.
            chosen.append(deepcopy(then) if id(then) in given else then)
            given.add(id(then))
        return chosen

    def _choose_alone(self, found: list[Document], until: int) -> Document | None:
        """Return what was true at a time, of a row and its latest version that is not later."""
        version: Document | None = None
        for document in found:
            if "written" in document:
                version = document
                continue
            time = find_row_time(self._spec, document)
            if time is None or time <= until:
                return document
        return version

    async def _aggregate(self, pipeline: list[Document], rows: int) -> list[Document]:
        # A command, as for a lone row: the driver's cursor takes half as long again.
        command = {"aggregate": self._rows.name, "pipeline": pipeline, "cursor": {"batchSize": rows}, **self._reading}
        reply = await self._hub.database.command(command, codec_options=WRITE_CODEC)
        if reply["cursor"]["id"]:  # larger than one reply
            return await aggregate(self._rows, pipeline)
        return [make_plain(document) for document in reply["cursor"]["firstBatch"]]

    def _choose(self, row: Document | None, versions: dict[int, Document], until: int) -> Document | None:
        """Return what was true at a time: whoever wrote the row last has said what is from its time on."""
        if row is not None:
            time = find_row_time(self._spec, row)
            if time is None or time <= until:
                return row
        latest = max((when for when in versions if when <= until), default=None)
        return None if latest is None else versions[latest]

    # Listing

    async def list_rows(self, context: Key, after: Any, limit: int, *, newest: bool) -> tuple[list[Document], Any]:
        spec = self._spec
        item = spec.key[-1]
        query: Document = dict(zip(spec.key, context, strict=False))
        if newest:
            order = [("createDate", DESCENDING), ("_id", DESCENDING)]
            if after is not None:
                created, oid = after
                query["$or"] = [{"createDate": {"$lt": created}}, {"createDate": created, "_id": {"$lt": oid}}]
        else:
            order = [(item, ASCENDING)]
            query[item] = {"$type": "string"} if after is None else {"$type": "string", "$gt": after}
        found, count, last = await self.slot.read("listing", partial(self._find_page, query, order, limit))
        self.slot.counts.lists.add(len(found))
        for document in found:
            document["when"] = find_row_time(spec, document)
        if count < limit:
            return found, None
        return found, (last.get("createDate"), last["_id"]) if newest else last[item]

    async def _find_page(
        self, query: Document, order: Sequence[tuple[str, int]], limit: int
    ) -> tuple[list[Document], int, Document]:
        """Return rows that can be decoded, how many there are with the others, and the last of all."""
        try:
            found = await self._find_all(self._rows, query, order, limit)
        except BSONError:
            pass
        else:
            return found, len(found), found[-1] if found else {}
        found, last = [], {}
        raw = await self._find_all(self._rows.with_options(codec_options=RAW_CODEC), query, order, limit)
        for document in raw:
            try:
                last = bson.decode(document.raw, CODEC)
            except BSONError as error:
                last = self._undecodable.report(document.raw, error)
            else:
                found.append(last)
        return found, len(raw), last

    async def list_versions(
        self, key: Key, since: int | None, until: int | None, limit: int, *, newest_first: bool
    ) -> list[Document]:
        query = self.slot.key_filter(key)
        bounds = {name: time for name, time in (("$gte", since), ("$lte", until)) if time is not None}
        if bounds:
            query["when"] = bounds
        order = [("when", DESCENDING if newest_first else ASCENDING)]
        found = await self.slot.read("listing", partial(self._find_all, self._documents, query, order, limit))
        self.slot.counts.lists.add(len(found))
        return found

    async def find_unversioned(self, key: Key) -> Document | None:
        query = self.slot.key_filter(key)
        find = partial(self._find_all, self._rows, query, [("_id", ASCENDING)], 1)
        rows = await self.slot.read("reading", find)
        if not rows:
            return None
        row: Document = rows[0]
        latest = await self.list_versions(key, None, None, 1, newest_first=True)
        if latest and latest[0]["written"] == row.get("updatedDate"):
            return None
        row["when"], row["written"] = find_row_time(self._spec, row), row.get("updatedDate")
        return row

    async def find_first_writes(self, keys: Sequence[Key]) -> list[datetime | None]:
        """Return when the earliest version of each key was written first, ``None`` where there is none."""
        found: dict[Key, datetime] = {}
        for start in range(0, len(keys), _KEYS):
            pipelines: list[list[Document]] = [
                [{"$match": self.slot.key_filter(key)}, {"$sort": {"when": 1}}, {"$limit": 1}]
                for key in keys[start : start + _KEYS]
            ]
            first, *others = pipelines
            whole = [*first, *({"$unionWith": {"coll": self._spec.versions, "pipeline": one}} for one in others)]
            for version in await self.slot.read("reading", partial(aggregate, self._documents, whole)):
                found[tuple(version[name] for name in self._spec.key)] = version["created"]
        return [found.get(key) for key in keys]

    async def are_complete(self, keys: Sequence[Key]) -> list[bool]:
        rows = await self.slot.read("reading", partial(self._find_created, keys))
        first = await self.find_first_writes(keys)
        return [key not in rows or rows[key] == written for key, written in zip(keys, first, strict=True)]

    async def _find_created(self, keys: Sequence[Key]) -> dict[Key, Any]:
        fields = self._spec.key
        found: dict[Key, Any] = {}
        for some in split_keys(list(keys)):
            query = {"$or": [self.slot.key_filter(key) for key in some]}
            for row in await self._rows.find(query, dict.fromkeys((*fields, "createDate"), 1)).to_list(None):
                found[tuple(row[name] for name in fields)] = row.get("createDate")
        return found

    async def _find_all(
        self, collection: Any, query: Document, order: Sequence[tuple[str, int]], limit: int
    ) -> list[Any]:
        return await collection.find(query, sort=order, limit=limit).to_list(None)  # type: ignore[no-any-return]

    async def list_keys(self, after: Key | None, limit: int) -> list[Key]:
        return await self.slot.read("listing", partial(self._list_keys, after, limit))

    async def _list_keys(self, after: Key | None, limit: int) -> list[Key]:
        found: list[Key] = []
        # One seek in the index for each key, however many versions it has.
        while len(found) < limit and (keys := await find_keys(self._documents, self._spec, {}, after, 1)):
            found += keys
            (after,) = keys
        return found

    # Retention

    def note_writes(self, keys: Sequence[Key]) -> None:
        """Now and then, look in the background at what of a key that was written need not be kept.

        Args:
            keys: the key of each version that was written.
        """
        due = find_due(self._writes, len(keys))
        self._writes += len(keys)
        if due is None:
            return
        retention = find_history(self._spec)
        if retention is not None and retention.is_limited:
            work = partial(self._prune_behind, keys[due], retention)
            start_background(work, "versions were not pruned", slot=self._spec.name)

    async def _prune_behind(self, key: Key, retention: Retention) -> None:
        try:
            await self.prune(key, retention)
        except BacktestMongoError as error:  # a later write tries again
            log().debug("versions were not pruned", slot=self._spec.name, error=type(error).__name__)

    async def count_prunable(self, retention: Retention) -> tuple[int, int]:
        cut = retention.find_cut(now_ms())
        of_key: Document = {"_id": {name: f"${name}" for name in self._spec.key}, "stored": {"$sum": 1}}
        prunable: Any = {"$subtract": ["$stored", retention.rows]} if retention.rows is not None else 0
        if cut is not None:
            # Of those that were written before the cut the last one stays.
            is_old = {"$lt": ["$written", datetime.fromtimestamp(cut / 1000, UTC)]}
            of_key["old"] = {"$sum": {"$cond": [is_old, 1, 0]}}
            prunable = {"$subtract": ["$old", 1]}
        total: Document = {
            "_id": None,
            "stored": {"$sum": "$stored"},
            "prunable": {"$sum": {"$max": [0, prunable]}},
        }
        pipeline: list[Document] = [{"$group": of_key}, {"$group": total}]
        found = await self.slot.read("listing", partial(aggregate, self._documents, pipeline))
        return (found[0]["stored"], found[0]["prunable"]) if found else (0, 0)

    async def prune(self, key: Key, retention: Retention) -> int:
        return await self.slot.write("deleting versions", partial(self._prune, key, retention))

    async def _prune(self, key: Key, retention: Retention, attempts: Attempts) -> int:
        query = self.slot.key_filter(key)
        projection = {"when": 1, "written": 1}
        last: int | None = None
        if retention.rows is not None:
            order = [("when", DESCENDING)]
            found = await self._documents.find(query, projection, sort=order, skip=retention.rows, limit=1).to_list(1)
            last = found[0]["when"] if found else None
        cut = retention.find_cut(now_ms())
        if cut is not None:
            order = [("when", ASCENDING)]
            rows = await self._documents.find(query, projection, sort=order, limit=_STEP + 1).to_list(None)
            # Later versions were written later: a write deletes those after it.
            expired = [row["when"] for row in rows if to_millis(row["written"]) < cut]
            last = expired[-2] if len(expired) > 1 else None
        if last is None:
            return 0
        some = await self._documents.find(
            {**query, "when": {"$lte": last}}, {"_id": 1}, sort=[("when", ASCENDING)], limit=_STEP
        ).to_list(None)
        result = await self._documents.delete_many({"_id": {"$in": [row["_id"] for row in some]}})
        self.slot.counts.pruned += result.deleted_count
        return int(result.deleted_count)


def make_version_update(row: RowWrite, written: datetime) -> Document:
    """Return the upsert of a version, by its key and time.

    Args:
        row: what is written.
        written: when the row was written. It stays as ``created`` when the version is written again, as a run does that
            is repeated: so the first version of a row is still known as what created it.
    """
    is_removed = row.fields.get("removed") is True
    fields: Document = {row.spec.field: None if is_removed else row.fields[row.spec.field], "written": written}
    if row.spec.soft_delete:
        fields["removed"] = is_removed
    return {"$set": fields, "$setOnInsert": {"created": written}}


def make_row_version(spec: SlotSpec, document: Document) -> Document:
    """Return the upsert of the version of a stored row that has none."""
    is_removed = document.get("removed") is True
    written = document.get("updatedDate")
    fields: Document = {spec.field: None if is_removed else document.get(spec.field), "written": written}
    if spec.soft_delete:
        fields["removed"] = is_removed
    return {"$set": fields, "$setOnInsert": {"created": written}}


def get_versions(hub: Hub, spec: SlotSpec) -> MongoVersions:
    """Return the versions of a slot on an event loop's connections."""
    versions: MongoVersions | None = hub.versions.get(spec.name)
    if versions is None:
        versions = hub.versions[spec.name] = MongoVersions(hub, spec)
    return versions
