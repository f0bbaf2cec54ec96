"""The rows of a slot in MongoDB as whole documents: an import compares and writes them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import bson
from pymongo import InsertOne, UpdateOne
from pymongo.errors import BulkWriteError

from backtest_mongo.connection.driver_errors import DUPLICATE_KEY
from backtest_mongo.connection.hub import Hub
from backtest_mongo.connection.operation import Attempts
from backtest_mongo.core.payload import CODEC
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.mongo.collection import SlotCollection
from backtest_mongo.types import Document

__all__ = ["Replacement", "WholeDocuments", "encode_id", "has_same_values"]


class Replacement(NamedTuple):
    """A document that replaces another one, provided that the other has not changed since it was read.

    Attributes:
        key: the row's key.
        document: what replaces it.
        seen: the document that was read.
    """

    key: Key
    document: Document
    seen: Document


class WholeDocuments:
    """The documents of one slot."""

    def __init__(self, hub: Hub, spec: SlotSpec) -> None:
        self._spec = spec
        self._slot = SlotCollection(hub, spec)
        self._collection = self._slot.documents

    async def find_by_key(self, keys: Sequence[Key]) -> dict[Key, Document]:
        """Return the stored documents of these keys."""
        return await self._slot.read("reading", partial(self._slot.find_by_key, list(keys)))

    async def find_used_ids(self, ids: Sequence[Any]) -> set[bytes]:
        """Return those of the ids that stored documents have, each encoded by :func:`encode_id`."""

        async def fetch() -> list[Document]:
            return await self._collection.find({"_id": {"$in": list(ids)}}, {"_id": 1}).to_list(None)

        if not ids:
            return set()
        return {encode_id(row["_id"]) for row in await self._slot.read("reading", fetch)}

    async def insert_new(self, documents: Sequence[Document]) -> int:
        """Insert the documents whose keys are free, and return how many were inserted."""
        return (await self._write_documents([InsertOne(document) for document in documents]))["nInserted"]

    async def replace_unchanged(self, rows: Sequence[Replacement]) -> int:
        """Replace the rows that have not changed since they were read, and return how many were replaced."""
        operations = []
        for row in rows:
            # The date alone does not show a write within the same millisecond.
            seen = {name: {"$eq": row.seen.get(name)} for name in ("updatedDate", self._spec.field)}
            query = {**self._slot.key_filter(row.key), **seen}
            operations.append(UpdateOne(query, {"$set": row.document}))
        return (await self._write_documents(operations))["nMatched"]

    async def _write_documents(self, operations: Sequence[InsertOne[Document] | UpdateOne]) -> dict[str, int]:
        if not operations:
            return {"nInserted": 0, "nMatched": 0}
        return await self._slot.write("writing a batch", partial(self._bulk, operations))

    async def _bulk(self, operations: Sequence[InsertOne[Document] | UpdateOne], _: Attempts) -> dict[str, int]:
        # An attempt may be repeated: what the first one inserted is free no longer, and what it replaced has changed.
        try:
            done: dict[str, int] = (await self._collection.bulk_write(operations, ordered=False)).bulk_api_result
        except BulkWriteError as error:
            details: Any = error.details
            refused = details.get("writeErrors", [])
            if details.get("writeConcernErrors") or not all(map(self._is_taken, refused)):
                raise
            done = details  # another writer inserted them first
        return done

    def _is_taken(self, refused: Document) -> bool:
        """Return whether a row was refused because its key or id is taken, and not by an index of another program."""
        fields = {*refused.get("keyPattern", self._spec.key)}
        return bool(refused["code"] == DUPLICATE_KEY) and fields in ({*self._spec.key}, {"_id"})


def encode_id(oid: Any) -> bytes:
    """Encode an id, which may be of any type, so that a set can hold it."""
    return bson.encode({"": oid}, codec_options=CODEC)


def has_same_values(document: Document, stored: Document, fields: Sequence[str]) -> bool:
    """Return whether two documents have the same values. A whole number equals its double, as Node writes it."""
    values = bson.decode(bson.encode({name: document.get(name) for name in fields}, codec_options=CODEC), CODEC)
    return all(_equal(values[name], stored.get(name)) for name in fields)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, float) and one != one:
        return isinstance(other, float) and other != other
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
