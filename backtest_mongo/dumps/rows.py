"""The rows of a slot in MongoDB, as whole documents: how an import compares and writes them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import bson
from pymongo import InsertOne, UpdateOne
from pymongo.errors import BulkWriteError

from backtest_mongo.faults import DUPLICATE_KEY
from backtest_mongo.limits import Limit
from backtest_mongo.mongo_rows import MongoRows
from backtest_mongo.payload import CODEC
from backtest_mongo.specs import Key
from backtest_mongo.tasks import to_its_end
from backtest_mongo.types import Document

__all__ = ["Replacement", "WholeRows", "id_bytes", "is_same"]


class Replacement(NamedTuple):
    """What takes the place of a row, as long as that is the one that was looked at."""

    key: Key
    document: Document
    seen: Document


class WholeRows(MongoRows):
    """The rows of one slot that is no series."""

    async def stored(self, keys: Sequence[Key]) -> dict[Key, Document]:
        """Return the documents of those keys that are stored."""
        with Limit(self._limit):
            return await self._retried("reading", partial(self._by_key, list(keys)))

    async def used_ids(self, ids: Sequence[Any]) -> set[bytes]:
        """Return those of the ids that documents have, each as :func:`id_bytes`."""

        async def fetch() -> list[Document]:
            return await self._collection.find({"_id": {"$in": list(ids)}}, {"_id": 1}).to_list(None)

        if not ids:
            return set()
        with Limit(self._limit):
            return {id_bytes(row["_id"]) for row in await self._retried("reading", fetch)}

    async def add(self, documents: Sequence[Document]) -> int:
        """Insert documents whose keys are free, and return how many were."""
        return (await self._write([InsertOne(document) for document in documents]))["nInserted"]

    async def replace(self, rows: Sequence[Replacement]) -> int:
        """Replace rows that are still as they were looked at, and return how many were."""
        operations = []
        for row in rows:
            # The date alone would not tell what was written within one millisecond.
            seen = {name: {"$eq": row.seen.get(name)} for name in ("updatedDate", self._spec.field)}
            query = {**self._filter(row.key), **seen}
            operations.append(UpdateOne(query, {"$set": row.document}))
        return (await self._write(operations))["nMatched"]

    async def _write(self, operations: Sequence[InsertOne[Document] | UpdateOne]) -> dict[str, int]:
        if not operations:
            return {"nInserted": 0, "nMatched": 0}
        if not self._indexed:
            await self.ready()
        with Limit(self._limit):
            return await to_its_end(self._retried("writing a batch", partial(self._bulk, operations)))

    async def _bulk(self, operations: Sequence[InsertOne[Document] | UpdateOne]) -> dict[str, int]:
        # An attempt may be repeated: what one has added is free no longer, and what one has replaced is not as it was.
        try:
            done: dict[str, int] = (await self._collection.bulk_write(operations, ordered=False)).bulk_api_result
        except BulkWriteError as error:
            details: Any = error.details
            refused = details.get("writeErrors", [])
            if details.get("writeConcernErrors") or not all(map(self._is_taken, refused)):
                raise
            done = details  # another writer was faster
        return done

    def _is_taken(self, refused: Document) -> bool:
        """Tell whether a row was refused because its own key is there, and not by an index that isn't ours."""
        fields = {*refused.get("keyPattern", self._spec.key)}
        return bool(refused["code"] == DUPLICATE_KEY) and fields in ({*self._spec.key}, {"_id"})


def id_bytes(oid: Any) -> bytes:
    """Return an id, which may be of any type, as something that sets can hold."""
    return bson.encode({"": oid}, codec_options=CODEC)


def is_same(document: Document, stored: Document, fields: Sequence[str]) -> bool:
    """Tell whether two rows say the same. Node writes whole numbers as doubles, which is no difference."""
    said = bson.decode(bson.encode({name: document.get(name) for name in fields}, codec_options=CODEC), CODEC)
    return all(_equal(said[name], stored.get(name)) for name in fields)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, float) and one != one:
        return isinstance(other, float) and other != other
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
