"""The rows of a run in MongoDB: how they are found and deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any, Final

from backtest_mongo.connection.hub import Hub
from backtest_mongo.connection.hub_registry import forget_ids
from backtest_mongo.connection.operation import Attempts
from backtest_mongo.core.commits import name_lease
from backtest_mongo.core.lease_errors import make_in_use_error
from backtest_mongo.core.runs import SIGNAL, STEP, Deleted, Selection
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.mongo.collection import SlotCollection, aggregate
from backtest_mongo.mongo.committer import MongoCommitter, get_committer
from backtest_mongo.types import Document

__all__ = ["MongoRunRows"]

#: Whether a row has an origin, and has not been written since without one.
_HOLDS: Final[Document] = {
    "$and": [{"$eq": [{"$type": "$updatedDate"}, "date"]}, {"$eq": ["$origin.written", "$updatedDate"]}]
}
_IS_NAMED: Final[Document] = {"$and": [{"$eq": [{"$type": "$origin.run"}, "string"]}, _HOLDS]}
_NAMED: Final[Document] = {"$expr": _IS_NAMED}


class MongoRunRows:
    """The rows of one slot on one event loop."""

    def __init__(self, hub: Hub, spec: SlotSpec) -> None:
        self.spec: SlotSpec = spec
        self._hub = hub
        self._slot = SlotCollection(hub, spec)
        self._versions = hub.database[spec.versions]

    @property
    def committer(self) -> MongoCommitter:
        return get_committer(self._hub)

    async def count(self, selection: Selection) -> int:
        if selection.owner == "none" and selection.signals is None and selection.context is None:
            # All but those with a name, which an index finds.
            equal = selection.list_equal(self.spec)
            return await self._count(equal) - await self._count({**equal, "origin.run": {"$exists": True}, **_NAMED})
        return await self._count(self._make_query(selection))

    async def _count(self, query: Document) -> int:
        documents = self._slot.documents
        count = partial(documents.count_documents, query) if query else documents.estimated_document_count
        return await self._slot.read("counting", count)

    async def list_signals(self, selection: Selection) -> list[str]:
        pipeline: list[Document] = [
            {"$match": self._make_query(selection)},
            {"$match": {SIGNAL: {"$type": "string"}}},
            {"$group": {"_id": f"${SIGNAL}"}},
            {"$sort": {"_id": 1}},
        ]
        rows = await self._slot.read("listing", partial(aggregate, self._slot.documents, pipeline))
        return [row["_id"] for row in rows]

    async def delete(self, selection: Selection) -> AsyncIterator[Deleted]:
        query = self._make_query(selection)
        while True:
            page = await self._slot.read("listing", partial(self._find_page, query))
            if not page:
                return
            keys = [key for key in map(self._get_key, page) if all(isinstance(part, str | bool) for part in key)]
            await self._check_leases(keys)
            await self.committer.end_abandoned()  # such as of the run, if it was killed
            ids = [row["_id"] for row in page]
            yield await self._slot.write("deleting", partial(self._delete_page, query, ids, keys))
            # Afterwards, as a read in between would put them back.
            await forget_ids(self._hub, self.spec, keys)

    def _get_key(self, row: Document) -> Key:
        return tuple(map(row.get, self.spec.key))

    async def _find_page(self, query: Document) -> list[Document]:
        cursor: Any = self._slot.documents.find(query, self._slot.key_projection, limit=STEP, batch_size=STEP + 1)
        return await cursor.to_list(STEP)  # type: ignore[no-any-return]  # a cursor of either driver

    async def _check_leases(self, keys: Sequence[Key]) -> None:
        """Refuse to delete rows whose lease somebody holds.

        Raises:
            LeaseHeldError: somebody does.
        """
        names = {name_lease(self.spec, key[: len(self.spec.context)]) for key in keys}
        for holder in await self.committer.list_leases():
            if holder.id in names and not holder.is_expired:
                raise make_in_use_error(holder)

    async def _delete_page(
        self, query: Document, ids: Sequence[Any], keys: Sequence[Key], attempts: Attempts
    ) -> Deleted:
        # Versions first: whoever is killed in between finds the row again.
        versions = 0
        if keys:
            of_them = {"$or": [self._slot.key_filter(key) for key in keys]}
            versions = (await self._versions.delete_many(of_them)).deleted_count
        rows = (await self._slot.documents.delete_many({"_id": {"$in": list(ids)}, **query})).deleted_count
        if attempts.is_retry:  # an attempt before may have deleted some
            rows = len(ids) - await self._slot.documents.count_documents({"_id": {"$in": list(ids)}})
        return rows, versions

    def _make_query(self, selection: Selection) -> Document:
        query = selection.list_equal(self.spec)
        if selection.signals is not None:
            wanted = query.get(SIGNAL)  # of a context that names one
            query[SIGNAL] = {"$in": [name for name in selection.signals if wanted in (None, name)]}
        if selection.owner == "run":
            query |= {"origin.run": selection.run, "$expr": _HOLDS}
        elif selection.owner == "other":
            query |= {"origin.run": {"$exists": True, "$ne": selection.run}, **_NAMED}
        elif selection.owner == "none":
            query |= {"$expr": {"$not": [_IS_NAMED]}}
        return query
