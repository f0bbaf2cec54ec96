"""Deletes the rows of a collection in MongoDB that need not be kept, and drops their ids from the id cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import OperationFailure

from backtest_mongo.connection.operation import Attempts
from backtest_mongo.core.changes import name_context
from backtest_mongo.core.log import log
from backtest_mongo.core.pruning import Prunable, Pruner
from backtest_mongo.core.retention import Retention
from backtest_mongo.core.specs import Key
from backtest_mongo.mongo.collection import SlotCollection, aggregate
from backtest_mongo.mongo.indexes import retention_index
from backtest_mongo.types import Document, now_ms

__all__ = ["MongoPruner"]

_BY_TIME: Final = ("updatedDate", "_id")


class MongoPruner(Pruner):
    """The pruner of one slot on one event loop.

    Args:
        slot: the slot's collection.
        forget: is called with the key of each deleted row, which other caches must forget.
    """

    def __init__(self, slot: SlotCollection, forget: Callable[[Key], object]) -> None:
        super().__init__(slot.spec)
        self._slot = slot
        self._documents = slot.documents
        self._forget = forget
        self._is_indexed = False

    async def survey(self, retention: Retention) -> Sequence[Prunable]:
        return await self._slot.read("listing", partial(self._survey, retention))

    async def _survey(self, retention: Retention) -> Sequence[Prunable]:
        spec = self.spec
        fields = spec.key[:-1]
        group = {"$group": {"_id": {name: f"${name}" for name in fields} or None, "rows": {"$sum": 1}}}
        found = []
        for row in await aggregate(self._documents, [group]):
            named = row["_id"] or {}
            context = tuple(named.get(name) for name in fields)
            if not all(isinstance(value, str | bool) for value in context):
                continue  # another program's row, which no adapter finds
            condition = await self._make_condition(context, retention)
            rows = 0 if condition is None else await self._documents.count_documents(condition)
            found.append(Prunable(context=name_context(spec, context), key=context, stored=row["rows"], rows=rows))
        return sorted(found, key=lambda one: one.key)

    async def prune(self, context: Key, retention: Retention, limit: int) -> tuple[int, list[Key]]:
        if not self._is_indexed:
            await self._slot.write("creating an index", self._create_index)
            self._is_indexed = True
        count, keys = await self._slot.write("deleting rows", partial(self._prune, context, retention, limit))
        for key in keys:
            self._forget(key)
        await self._slot.hub.id_cache.drop_many(self.spec, keys)
        return count, keys

    async def _create_index(self, attempts: Attempts) -> None:
        try:
            await self._documents.create_indexes([IndexModel(list(retention_index(self.spec)))])
        except OperationFailure as error:  # without it rows are found more slowly
            log().debug("an index could not be created", slot=self.spec.name, code=error.code)

    async def _prune(self, context: Key, retention: Retention, limit: int, attempts: Attempts) -> tuple[int, list[Key]]:
        condition = await self._make_condition(context, retention)
        if condition is None:
            return 0, []
        order = [(name, ASCENDING) for name in _BY_TIME]
        projection = self._slot.key_projection
        cursor: Any = self._documents.find(condition, projection, sort=order, limit=limit)
        rows: list[Document] = await cursor.to_list(None)
        if not rows:
            return 0, []
        # Under the same condition: a row that was written meanwhile is kept.
        done = await self._documents.delete_many({**condition, "_id": {"$in": [row["_id"] for row in rows]}})
        keys = [tuple(row[name] for name in self.spec.key) for row in rows]
        await self._delete_versions(keys)
        return done.deleted_count, keys

    async def _delete_versions(self, keys: list[Key]) -> None:
        """Delete the versions of rows that are gone. Those of a row that was kept, or is back, stay."""
        kept = await self._slot.find_by_key(keys, self._slot.key_projection)
        gone = [self._slot.key_filter(key) for key in keys if key not in kept]
        if gone:
            await self._slot.hub.database[self.spec.versions].delete_many({"$or": gone})

    async def _make_condition(self, context: Key, retention: Retention) -> Document | None:
        """Return the query for the rows of a context that need not be kept, ``None`` where all are kept."""
        spec = self.spec
        query: Document = dict(zip(spec.key, context, strict=False))
        condition = dict(query)
        cut = retention.find_cut(now_ms())
        if cut is not None:
            condition["updatedDate"] = {"$lt": datetime.fromtimestamp(cut / 1000, UTC)}
        elif retention.rows is not None:
            order = [(name, DESCENDING) for name in _BY_TIME]
            query["updatedDate"] = {"$type": "date"}
            projection = dict.fromkeys(_BY_TIME, 1)
            cursor: Any = self._documents.find(query, projection, sort=order, skip=retention.rows - 1, limit=1)
            kept: list[Document] = await cursor.to_list(None)
            if not kept:
                return None
            written, oid = (kept[0][name] for name in _BY_TIME)
            # One comparison for the index, and the rows of the same millisecond.
            condition["updatedDate"] = {"$lte": written}
            condition["$or"] = [{"updatedDate": {"$lt": written}}, {"_id": {"$lt": oid}}]
        else:
            return None
        if spec.ended:
            path, *values = spec.ended
            name = f"{spec.field}.{path}"
            condition[name] = {"$in": values}
            condition["$expr"] = {"$in": [f"${name}", {"$literal": values}]}  # and no list that has one of them
        return condition
