"""The contexts of a slot in MongoDB: listed, measured and deleted.

A list reads some keys from the unique index, and continues after the last context among them, skipping its remaining
rows. How many keys it reads at a time follows from how many contexts the last ones had, so neither a context with a
million rows nor a million contexts with one each takes long.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from functools import partial
from typing import Any, Final

from pymongo.errors import OperationFailure

from backtest_mongo.connection.driver_errors import DRIVER_ERRORS
from backtest_mongo.connection.hub import Hub
from backtest_mongo.connection.operation import Attempts
from backtest_mongo.core.commits import make_claim
from backtest_mongo.core.contexts import EVERYTHING, MAX_STEP_ROWS, Measure
from backtest_mongo.core.specs import FLAG, Key, SlotSpec
from backtest_mongo.errors import StoreError
from backtest_mongo.mongo.collection import PAGE, SlotCollection, aggregate
from backtest_mongo.mongo.committer import get_committer
from backtest_mongo.types import Document, to_millis

__all__ = ["MongoContexts", "list_contexts", "match_context", "match_fields"]

#: Keys that are read at first, and at least.
_FIRST_KEYS: Final = 64
_LEAST_KEYS: Final = 4
_UNAUTHORIZED: Final = 13
_DELETING: Final = "deleting a context"


async def list_contexts(slot: SlotCollection, where: Mapping[str, Any] = EVERYTHING) -> AsyncIterator[Key]:
    """Yield the contexts of a slot that match a filter, in the order of the unique index.

    Each page is a query of its own, so no cursor stays open while the caller works on a context.
    """
    fields = _list_fields(slot.spec)
    if not fields:
        if await slot.read("listing", lambda: slot.documents.find_one({}, {"_id": 1})) is not None:
            yield ()
        return
    free = [at for at, field in enumerate(fields) if field not in where]
    query: Document = match_fields(slot.spec, where)
    limit = _FIRST_KEYS
    while True:
        page = await slot.read("listing", partial(_find_page, slot, fields, query, limit))
        # A list in a document of another program matches as what it holds.
        contexts = [context for context in page if all(isinstance(value, str | bool) for value in context)]
        for context in dict.fromkeys(contexts):
            yield context
        if len(page) < limit or not free:
            return
        if not contexts:
            limit *= 4
            continue
        # The documents of other contexts than the last one, by the first field in which they come behind it.
        last, base = contexts[-1], match_fields(slot.spec, where)
        behind = [
            {**base, **dict(zip(fields[:at], last, strict=False)), fields[at]: {"$gt": last[at]}} for at in free[::-1]
        ]
        query = behind[0] if len(behind) == 1 else {"$or": behind}
        share = len(set(contexts)) / len(contexts)
        limit = min(PAGE, 4 * limit) if share > 1 / 2 else max(_LEAST_KEYS, limit // 4) if share < 1 / 8 else limit


async def _find_page(slot: SlotCollection, fields: tuple[str, ...], query: Document, limit: int) -> list[Key]:
    cursor = slot.documents.find(query, {"_id": 0, **dict.fromkeys(fields, 1)}, batch_size=limit + 1)
    order = [(field, 1) for field in fields]
    return [tuple(row[field] for field in fields) for row in await cursor.sort(order).limit(limit).to_list(None)]


def _list_fields(spec: SlotSpec) -> tuple[str, ...]:
    """Return the fields of a context, in the order of the unique index."""
    return spec.key[: len(spec.context)]


def match_fields(spec: SlotSpec, where: Mapping[str, Any] = EVERYTHING) -> Document:
    """Return the query for the documents of contexts that match a filter and that an adapter can have.

    Their values are texts, or a flag: a comparison finds values of its own type alone.
    """
    return {field: where.get(field, {"$gte": False if field == FLAG else ""}) for field in _list_fields(spec)}


def match_context(spec: SlotSpec, context: Key) -> Document:
    """Return the query for the documents of a context."""
    return dict(zip(spec.key, context, strict=False))


class MongoContexts:
    """The contexts of a slot that is no series."""

    def __init__(self, hub: Hub, slot: SlotCollection) -> None:
        self._hub = hub
        self._slot = slot
        self._spec = slot.spec
        self._versions = hub.database[slot.spec.versions]

    # Measuring

    async def measure(self, where: Mapping[str, Any], *, by_context: bool) -> list[Measure]:
        """Measure the rows of each context, in the order of the key, or of all contexts together.

        It reads the whole collection, however long that takes.
        """
        spec, fields = self._spec, _list_fields(self._spec)
        match = {"$match": match_fields(spec, where)}
        by = {field: f"${field}" for field in fields}
        if spec.is_candles:
            # Out of the index alone, as there may be millions. Of each series one document is read.
            grouped: list[Document] = [match, {"$group": {"_id": by, "rows": {"$sum": 1}}}]
        else:
            sums = {
                "rows": {"$sum": 1},
                "bytes": {"$sum": {"$bsonSize": "$$ROOT"}},
                "written": {"$max": "$updatedDate"},
            }
            grouped = [match, {"$group": {"_id": by, **sums}}]
        versions = await self._count_versions(where, by, by_context)
        if by_context:
            found = await self._aggregate([*grouped, {"$sort": {f"_id.{field}": 1 for field in fields} or {"_id": 1}}])
            contexts = [tuple(row["_id"][field] for field in fields) for row in found]
            return [
                await self._make_measure(context, row, versions)
                for context, row in zip(contexts, found, strict=True)
                if all(isinstance(value, str | bool) for value in context)
            ]
        total = {
            "_id": None,
            "contexts": {"$sum": 1},
            **{name: {"$sum": f"${name}"} for name in ("rows", "bytes")},
            "written": {"$max": "$written"},
        }
        found = await self._aggregate([*grouped, {"$group": total}])
        return [await self._make_measure((), row, versions) for row in found]

    async def _make_measure(self, context: Key, row: Document, versions: dict[Key, int]) -> Measure:
        size, written = row.get("bytes"), row.get("written")
        if self._spec.is_candles:
            newest = await self._find_newest(context)
            size = row["rows"] * newest.get("bytes", 0)
            written = newest.get("updatedDate")
        return Measure(
            context=context,
            contexts=row.get("contexts", 1),
            rows=row["rows"],
            bytes=int(size or 0),
            versions=versions.get(context, 0),
            written=_to_millis(written),
        )

    async def _find_newest(self, context: Key) -> Document:
        """Return the size, and the date, of the newest document of a series, or of all."""
        order: Document = {"timestamp": -1} if context else {"_id": -1}
        pipeline: list[Document] = [
            {"$match": match_context(self._spec, context)},
            {"$sort": order},
            {"$limit": 1},
            {"$project": {"updatedDate": 1, "bytes": {"$bsonSize": "$$ROOT"}}},
        ]
        found = await self._aggregate(pipeline)
        return found[0] if found else {}

    async def _count_versions(self, where: Mapping[str, Any], by: Document, by_context: bool) -> dict[Key, int]:
        fields = _list_fields(self._spec)
        pipeline: list[Document] = [
            {"$match": match_fields(self._spec, where)},
            {"$group": {"_id": by if by_context else None, "rows": {"$sum": 1}}},
        ]
        found = await self._aggregate(pipeline, self._versions)
        if by_context:
            return {tuple(row["_id"][field] for field in fields): row["rows"] for row in found}
        return {(): found[0]["rows"]} if found else {}

    async def _aggregate(self, pipeline: list[Document], collection: Any = None) -> list[Document]:
        try:
            return await aggregate(self._slot.documents if collection is None else collection, pipeline)
        except OperationFailure as error:
            if collection is not None and error.code == _UNAUTHORIZED:  # this user has no versions
                return []
            raise self._slot.translate("listing", error) from error
        except DRIVER_ERRORS as error:
            raise self._slot.translate("listing", error) from error

    # Deleting

    async def delete_some(self, context: Key, owners: Collection[str]) -> tuple[int, bool]:
        """Delete some rows of a context, or some of their versions; return how many rows, and whether any may be left.

        More or fewer values than a context's are the beginning of the keys whose rows are deleted. Versions go first:
        those that a killed process has left belong to rows that are found again.

        Raises:
            LeaseHeldError: another owner has the lease.
        """
        if await self._has_transactions():
            claim = make_claim((self._spec, context[: len(self._spec.context)]))
            committer = get_committer(self._hub)
            keys, versions = await self._slot.read("reading", partial(self._find_some, context))
            if not keys and not versions:
                return 0, False
            await self._forget(keys)
            work = partial(self._delete, context, keys, versions)
            await committer.run_free(_DELETING, claim, owners, work)
        else:
            keys, versions = await self._slot.read("reading", partial(self._find_some, context))
            if not keys and not versions:
                return 0, False
            await self._forget(keys)
            await self._slot.write(_DELETING, partial(self._delete_plainly, context, keys, versions))
        await self._forget(keys)
        return len(keys), True

    async def _has_transactions(self) -> bool:
        try:
            await get_committer(self._hub).check()
        except StoreError as error:
            if error.code is not None:
                raise
            return False  # a standalone has neither transactions nor leases
        return True

    async def _find_some(self, context: Key) -> tuple[dict[Any, Key], list[Any]]:
        """Return the ids of some rows of a context with their keys or, as long as there are any, of versions."""
        query = match_context(self._spec, context)
        try:
            found = await self._versions.find(query, {"_id": 1}).limit(MAX_STEP_ROWS).to_list(None)
        except OperationFailure as error:
            if error.code != _UNAUTHORIZED:
                raise
            found = []
        if found:
            return {}, [row["_id"] for row in found]
        rows = await self._slot.documents.find(query, self._slot.key_projection).limit(MAX_STEP_ROWS).to_list(None)
        return {row["_id"]: tuple(row.get(field) for field in self._spec.key) for row in rows}, []

    async def _delete(self, context: Key, keys: Collection[Any], versions: Collection[Any], session: Any) -> None:
        await self._delete_in(session, context, keys, versions)

    async def _delete_plainly(
        self, context: Key, keys: Collection[Any], versions: Collection[Any], _: Attempts
    ) -> None:
        await self._delete_in(None, context, keys, versions)

    async def _delete_in(self, session: Any, context: Key, keys: Collection[Any], versions: Collection[Any]) -> None:
        query = match_context(self._spec, context)
        for collection, ids in ((self._versions, versions), (self._slot.documents, keys)):
            if ids:
                await collection.delete_many({"_id": {"$in": list(ids)}, **query}, session=session)

    async def _forget(self, keys: Mapping[Any, Key]) -> None:
        """Drop the ids of rows, before they are deleted and afterwards.

        A process that is killed in between would leave ids that belong to no row; and others may look the rows up.
        """
        texts = [key for key in keys.values() if all(isinstance(part, str | bool) for part in key)]
        await self._hub.id_cache.drop_many(self._spec, texts)


def _to_millis(date: Any) -> int | None:
    try:
        return None if date is None else to_millis(date)
    except (TypeError, ValueError):
        return None  # whatever another program has put there
