"""Renames a strategy in MongoDB: its contexts, one by one, and the payloads that name it.

The rows of a context are deleted and inserted under the other name in one transaction, with their ids, dates and
places among the newest rows; their versions are changed in it as well. A context with more than one transaction takes
is moved in steps, versions first. Until its last step, the lease of the other name notes where the rows come from, so
that a process that is killed in between is told from somebody else's rows.

Payloads are encoded anew only if they hold the name, with the types that they have: Node's numbers stay doubles.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import bson
from bson import CodecOptions, DatetimeConversion
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo.errors import OperationFailure

from backtest_mongo.connection.hub import Hub
from backtest_mongo.core.commits import make_claim, name_lease
from backtest_mongo.core.contexts import MAX_STEP_ROWS
from backtest_mongo.core.log import log
from backtest_mongo.core.payload import RAW_CODEC
from backtest_mongo.core.specs import POINTS, Key
from backtest_mongo.core.strategy_names import FIELD, MENTIONS, Moved, NewName, make_name_conflict
from backtest_mongo.mongo.collection import SlotCollection, aggregate
from backtest_mongo.mongo.committer import get_committer
from backtest_mongo.mongo.contexts import match_context, match_fields
from backtest_mongo.types import Document

__all__ = ["MongoRenamer"]

_LEASES: Final = "leases"
#: The field of a lease that says where the rows of its context come from.
_ORIGIN: Final = "renamedFrom"
#: Bytes of rows that one transaction takes at most, but for its first row.
_STEP_BYTES: Final = 12 << 20
_UNAUTHORIZED: Final = 13
_RENAMING: Final = "renaming a strategy"
#: Every type comes back as it was.
_LOSSLESS: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO
)


class MongoRenamer:
    """Renames rows of one slot in its collection."""

    def __init__(self, hub: Hub, slot: SlotCollection) -> None:
        self._hub = hub
        self._slot = slot
        self._spec = slot.spec
        self._rows = slot.documents.with_options(codec_options=RAW_CODEC)
        self._versions = hub.database.get_collection(slot.spec.versions, codec_options=RAW_CODEC)
        self._leases = hub.database[_LEASES]
        self._committer = get_committer(hub)

    async def check(self) -> None:
        await self._committer.check()

    # Contexts

    async def count(self, context: Key) -> Moved:
        query = match_context(self._spec, context)

        async def count() -> Moved:
            rows = await self._rows.count_documents(query)
            return Moved(rows, await self._count_versions(query))

        return await self._slot.read("listing", count)

    async def _count_versions(self, query: Document) -> int:
        try:
            return int(await self._versions.count_documents(query))
        except OperationFailure as error:
            if error.code != _UNAUTHORIZED:
                raise
            return 0  # this user has no versions

    async def is_moving(self, source: Key, target: Key) -> bool:
        named = {"_id": name_lease(self._spec, target), _ORIGIN: self._get_name(source)}
        return await self._slot.read("listing", lambda: self._leases.find_one(named, {"_id": 1})) is not None

    async def move(self, source: Key, target: Key, name: NewName) -> Moved:
        await self._slot.prepare()
        claim = make_claim((self._spec, source), (self._spec, target))
        keys = await self._slot.read("listing", partial(self._find_keys, source))
        rows = versions = 0
        try:
            is_left = True
            while is_left:
                work = partial(self._move_some, source, target, name)
                done, is_left = await self._committer.run_free(_RENAMING, claim, (), work)
                rows, versions = rows + done.rows, versions + done.versions
        finally:
            # Those of the rows that had the old name: no read asks for them by it any more.
            await self._hub.id_cache.drop_many(self._spec, keys)
        return Moved(rows, versions)

    async def _find_keys(self, context: Key) -> list[Key]:
        query = match_context(self._spec, context)
        if self._spec.item is not None:
            query[self._spec.item] = {"$type": "string"}
        found = await self._slot.documents.find(query, self._slot.key_projection).to_list(None)
        return [tuple(row[field] for field in self._spec.key) for row in found]

    async def _move_some(self, source: Key, target: Key, name: NewName, session: Any) -> tuple[Moved, bool]:
        """Move what one transaction takes, versions first; return how much, and whether any is left."""
        query = match_context(self._spec, source)
        noted = await self._leases.find_one({"_id": name_lease(self._spec, target)}, {_ORIGIN: 1}, session=session)
        is_moving = noted is not None and noted.get(_ORIGIN) == self._get_name(source)
        found, size, is_full = await self._read_some(self._versions, query, MAX_STEP_ROWS, _STEP_BYTES, session)
        rows: list[Any] = []
        if not is_full:
            left = MAX_STEP_ROWS - len(found)
            rows, _, is_full = await self._read_some(self._rows, query, left, _STEP_BYTES - size, session)
        if not is_moving and (rows or found):  # none are left where an answer was lost
            await self._refuse_stored(target, session)
        if found:
            await self._update(self._versions, found, name, session)
        if rows:
            await self._replace(rows, query, name, session)
        if is_full or is_moving:
            origin: Document = {"$set" if is_full else "$unset": {_ORIGIN: self._get_name(source)}}
            await self._leases.update_one({"_id": name_lease(self._spec, target)}, origin, session=session)
        return Moved(len(rows), len(found)), is_full

    async def _refuse_stored(self, target: Key, session: Any) -> None:
        for collection in (self._slot.documents, self._versions):
            if await collection.find_one(match_context(self._spec, target), {"_id": 1}, session=session) is not None:
                raise make_name_conflict(self._spec, target)

    async def _read_some(
        self, collection: Any, query: Document, limit: int, size: int, session: Any
    ) -> tuple[list[Any], int, bool]:
        """Return documents that are not decoded, as many as one transaction takes, and whether there may be more."""
        found: list[Any] = []
        total = 0
        if limit <= 0 or size <= 0:
            return found, total, True
        cursor = collection.find(query, session=session, batch_size=128)
        try:
            async for document in cursor:
                if found and (len(found) == limit or total + len(document.raw) > size):
                    return found, total, True
                found.append(document)
                total += len(document.raw)
        finally:
            await cursor.close()
        return found, total, False

    async def _replace(self, rows: list[Any], query: Document, name: NewName, session: Any) -> None:
        """Delete rows and insert them under the other name, so that watches of both see it."""
        ids = [row["_id"] for row in rows]
        await self._slot.documents.delete_many({"_id": {"$in": ids}, **query}, session=session)
        renamed = [{**row, **self._rename(row, name)} for row in rows]
        await self._slot.documents.insert_many(renamed, session=session)

    async def _update(self, collection: Any, found: list[Any], name: NewName, session: Any) -> None:
        updates = []
        for row in found:
            # With the whole key, by which a sharded cluster finds the row.
            named = {field: row[field] for field in ("_id", *self._spec.key, "when") if field in row}
            updates.append({"q": named, "u": {"$set": self._rename(row, name)}})
        body = {"update": collection.name, "updates": updates}
        reply = await self._hub.database.command(body, session=session, codec_options=RAW_CODEC)
        for failed in reply.get("writeErrors", ())[:1]:
            raise OperationFailure(str(failed.get("errmsg")), failed.get("code"), failed)

    def _rename(self, row: Any, name: NewName) -> Document:
        """Return the fields of a document that the other name changes."""
        spec = self._spec
        changed: Document = {FIELD: name.new} if row.get(FIELD) == name.old and FIELD in spec.key else {}
        if spec.field in row:
            payload = row[spec.field]
            renamed = self._rename_payload(tuple(row.get(field) for field in spec.key), payload, name)
            if renamed is not payload:
                changed[spec.field] = renamed
        return changed

    def _rename_payload(self, key: Key, payload: Any, name: NewName) -> Any:
        if not isinstance(payload, RawBSONDocument | list):
            return payload
        encoded = bson.encode({"": payload}, codec_options=RAW_CODEC)
        if name.old.encode() not in encoded:
            return payload
        try:
            decoded = bson.decode(encoded, _LOSSLESS)[""]
        except BSONError:
            log().warning("a payload that can't be decoded keeps its names", slot=self._spec.name, key=repr(key))
            return payload
        changed = name.change_payload(self._spec, key, decoded)
        return payload if changed is decoded else changed

    def _get_name(self, context: Key) -> str:
        return str(dict(zip(self._spec.key, context, strict=False))[FIELD])

    # Payloads that name a strategy

    async def count_mentions(self, name: NewName) -> dict[Key, int]:
        fields = self._spec.key[: len(self._spec.context)]
        pipeline: list[Document] = [
            {"$match": self._match_mentions(name)},
            {"$group": {"_id": {field: f"${field}" for field in fields}, "rows": {"$sum": 1}}},
        ]

        async def count() -> dict[Key, int]:
            found = await aggregate(self._slot.documents, pipeline)
            return {tuple(row["_id"].get(field) for field in fields): row["rows"] for row in found}

        return await self._slot.read("listing", count)

    async def rename_mentions(self, name: NewName) -> int:
        if self._spec.shape in POINTS:
            await self._rename_mentions(self._versions, name)
        return await self._rename_mentions(self._rows, name)

    async def _rename_mentions(self, collection: Any, name: NewName) -> int:
        """Change payloads in steps, each a transaction; what it has changed does not match any more."""
        query, renamed = self._match_mentions(name), 0
        while True:
            page = await self._slot.read("listing", partial(self._find_mentions, collection, query))
            if not page:
                return renamed
            contexts = {tuple(row[field] for field in self._spec.key[: len(self._spec.context)]) for row in page}
            claim = make_claim(*((self._spec, context) for context in contexts))
            ids = [row["_id"] for row in page]
            work = partial(self._rename_some, collection, {"_id": {"$in": ids}, **query}, name)
            renamed += await self._committer.run_free(_RENAMING, claim, (), work)
            query = {**query, "_id": {"$gt": ids[-1]}}

    async def _find_mentions(self, collection: Any, query: Document) -> list[Any]:
        cursor = collection.find(query, self._slot.key_projection).sort("_id", 1)
        try:
            found: list[Any] = await cursor.limit(MAX_STEP_ROWS).to_list(None)
        except OperationFailure as error:
            if collection is not self._versions or error.code != _UNAUTHORIZED:
                raise
            return []
        return found

    async def _rename_some(self, collection: Any, query: Document, name: NewName, session: Any) -> int:
        renamed, size = 0, 0
        page: list[Any] = []
        async for row in collection.find(query, session=session, batch_size=128):
            page.append(row)
            size += len(row.raw)
            if size > _STEP_BYTES:
                await self._update(collection, page, name, session)
                renamed, size, page = renamed + len(page), 0, []
        if page:
            await self._update(collection, page, name, session)
        return renamed + len(page)

    def _match_mentions(self, name: NewName) -> Document:
        paths = [_match_path(self._spec.field, path, name.old) for path in MENTIONS[self._spec.name]]
        return {**match_fields(self._spec), **(paths[0] if len(paths) == 1 else {"$or": paths})}


def _match_path(field: str, path: tuple[str, ...], value: str) -> Document:
    """Return the query for documents that have a value at a path, on which each ``*`` is any item of a list."""
    lists = path.count("*")
    if not lists:
        return {".".join((field, *path)): value}
    condition: Document = {".".join(path[lists:]): value}
    for _ in range(lists):
        condition = {"$elemMatch": condition}
    return {field: condition}
