"""The rows of a slot in MongoDB as whole documents: an import compares and writes them, an export reads them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import bson
from bson import DatetimeMS, ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo import InsertOne, UpdateOne
from pymongo.errors import BulkWriteError

from backtest_mongo.connection.driver_errors import DUPLICATE_KEY
from backtest_mongo.connection.hub import Hub
from backtest_mongo.connection.operation import Attempts
from backtest_mongo.core.candle_rules import END, START
from backtest_mongo.core.interval_grid import GRIDS, IntervalGrid
from backtest_mongo.core.payload import CODEC
from backtest_mongo.core.specs import FLAG, Key, SlotSpec
from backtest_mongo.dumps.reports import DumpProblem
from backtest_mongo.mongo.collection import PAGE, SlotCollection
from backtest_mongo.mongo.updates import ORIGIN
from backtest_mongo.series.rows import CandleRows
from backtest_mongo.series.store import MongoSeriesStore
from backtest_mongo.types import PRICES, Document, to_millis

if TYPE_CHECKING:
    from backtest_mongo.core.arrays import CandleArrays

__all__ = [
    "IncompleteDocumentError",
    "Replacement",
    "WholeDocuments",
    "encode_id",
    "explain_incomplete",
    "find_key",
    "get_millis",
    "has_same_values",
]


#: Places of a series that are read at a time where rows and blocks are joined.
_JOINED: Final = 500_000


class IncompleteDocumentError(Exception):
    """A document that can't be a row of its slot; the message says why."""


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
        self._hub = hub
        self._spec = spec
        self._slot = SlotCollection(hub, spec)
        self._collection = self._slot.documents
        self._series = MongoSeriesStore(hub, spec) if spec.is_candles else None

    async def read_pages(self) -> AsyncIterator[list[RawBSONDocument]]:
        """Yield all documents by id, a page at a time, as BSON."""
        last: Any = None
        while True:
            page = await self._slot.read("reading", partial(self._fetch_page, last))
            # Compared as BSON, in which a NaN equals itself.
            if last is not None and page and encode_id(_get_id(page[0])) == encode_id(last):
                page = page[1:]
            if not page:
                return
            yield page
            last = _get_id(page[-1])

    async def read_block_pages(self) -> AsyncIterator[list[RawBSONDocument]]:
        """Yield the candles that are in blocks alone, each as the document that it would be as a row."""
        from backtest_mongo.core.arrays import encode_rows

        if self._series is None:
            return
        for context in sorted(await self._series.list_in_blocks()):
            fields = dict(zip(self._spec.key, context, strict=False))
            async for candles in self._read_joined(context, START, END):
                documents, _ = encode_rows(fields, candles)
                for at in range(0, len(documents), PAGE):
                    yield documents[at : at + PAGE]

    async def _read_joined(self, context: Key, first: int, end: int) -> AsyncIterator[CandleArrays]:
        """Yield the candles of a series whose truth is in blocks, a stretch at a time."""
        assert self._series is not None
        interval = self._find_interval(context)
        bounds = await self._series.find_bounds(context)
        if bounds is None:
            return
        position, last = max(first, bounds[0]), min(end, bounds[1] + 1)
        while position < last:
            following = min(interval.shift(position, _JOINED), last)
            candles = await self._series.read(context, interval, position, following)
            if len(candles):
                yield candles
            position = following

    def _find_interval(self, context: Key) -> IntervalGrid:
        return GRIDS[context[self._spec.key.index("interval")]]

    async def _is_joined(self, context: Key) -> bool:
        return self._series is not None and await self._series.find_truth(context) != "rows"

    async def keep_as(self, source: WholeDocuments, context: Key) -> None:
        """Keep a series that is not stored yet in blocks, if another database does."""
        if await source._is_joined(context):
            assert self._series is not None
            await self._series.begin_blocks(context)

    async def _fetch_page(self, last: Any) -> list[Any]:
        codec: Any = CODEC.with_options(document_class=RawBSONDocument)
        cursor: Any = self._collection.with_options(codec_options=codec).find({}).sort("_id", 1).hint([("_id", 1)])
        if last is not None:
            # A bound of the index and not a condition, which would match ids of one type only.
            cursor = cursor.min([("_id", last)])
        found: list[Any] = await cursor.limit(PAGE + 1).to_list(PAGE + 1)
        return found

    async def find_by_key(self, keys: Sequence[Key]) -> dict[Key, Document]:
        """Return the stored documents of these keys; of candles in blocks, what their documents would be."""
        found = await self._slot.read("reading", partial(self._slot.find_by_key, list(keys)))
        if self._series is not None:
            for context in {key[:-1] for key in keys}:
                if await self._is_joined(context):
                    times = {key[-1] for key in keys if key[:-1] == context}
                    async for candles in self._read_joined(context, min(times), max(times) + 1):
                        rows = (row for row in candles.candles() if row["timestamp"] in times)
                        found |= {(*context, row["timestamp"]): dict(row) for row in rows}
        return found

    async def count(self) -> int:
        """Return how many documents there are, without what is in blocks."""
        return await self._slot.read("counting", lambda: self._collection.count_documents({}))

    async def _find_used_ids(self, ids: Sequence[Any]) -> set[bytes]:
        """Return those of the ids that stored documents have, each encoded by :func:`encode_id`."""

        async def fetch() -> list[Document]:
            return await self._collection.find({"_id": {"$in": list(ids)}}, {"_id": 1}).to_list(None)

        if not ids:
            return set()
        return {encode_id(row["_id"]) for row in await self._slot.read("reading", fetch)}

    async def insert_new(self, documents: Sequence[Document]) -> int:
        """Insert the documents whose keys are free, and return how many were inserted.

        A document without an id, or with one that is taken, gets another one.
        """
        free = await self._with_free_ids(documents)
        has_runs = any(ORIGIN in document for document in free)
        return (await self._write_documents([InsertOne(document) for document in free], has_runs))["nInserted"]

    async def _with_free_ids(self, documents: Sequence[Document]) -> list[Document]:
        used = await self._find_used_ids([document["_id"] for document in documents if "_id" in document])
        found = []
        for document in documents:
            free = {"_id": ObjectId(), **document}
            if encode_id(free["_id"]) in used:
                free["_id"] = ObjectId()
            used.add(encode_id(free["_id"]))  # two rows of the dump may have the same id
            found.append(free)
        return found

    async def replace_unchanged(self, rows: Sequence[Replacement]) -> int:
        """Replace the rows that have not changed since they were read, and return how many were replaced."""
        operations = []
        for row in rows:
            # The date alone does not show a write within the same millisecond.
            seen = {name: {"$eq": row.seen.get(name)} for name in ("updatedDate", self._spec.field)}
            query = {**self._slot.key_filter(row.key), **seen}
            operations.append(UpdateOne(query, {"$set": row.document}))
        has_runs = any(ORIGIN in row.document for row in rows)
        return (await self._write_documents(operations, has_runs))["nMatched"]

    async def _write_documents(
        self, operations: Sequence[InsertOne[Document] | UpdateOne], has_runs: bool
    ) -> dict[str, int]:
        if not operations:
            return {"nInserted": 0, "nMatched": 0}
        return await self._slot.write("writing a batch", partial(self._bulk, operations, has_runs))

    async def _bulk(
        self, operations: Sequence[InsertOne[Document] | UpdateOne], has_runs: bool, _: Attempts
    ) -> dict[str, int]:
        if has_runs:
            await self._slot.ensure_run_index()
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

    # Candles

    async def restore_candles(self, context: Key, interval: IntervalGrid, documents: Sequence[Document]) -> int:
        """Insert the documents of candles whose times are free, as they are, and return how many were inserted."""
        assert self._series is not None
        return await self._series.restore(context, interval, await self._with_free_ids(documents))

    async def insert_candles(self, context: Key, interval: IntervalGrid, candles: CandleArrays) -> int:
        """Insert the candles whose times are free, and return how many were inserted."""
        assert self._series is not None
        return await self._series.insert_arrays(context, interval, candles)

    async def read_candles(self, context: Key, first: int, end: int) -> AsyncIterator[CandleArrays]:
        """Yield the candles of a half-open range of times, by time.

        Raises:
            IncompleteDocumentError: a document has no number where a candle has one.
        """
        if await self._is_joined(context):
            async for candles in self._read_joined(context, first, end):
                yield candles
            return
        rows = CandleRows(self._hub, self._spec)
        try:
            async for candles in rows.fetch_arrays(context, first, end):
                yield candles
        except (KeyError, TypeError, ValueError) as error:
            raise IncompleteDocumentError(f"a document lacks one of {', '.join(PRICES)}, or it is no number") from error

    async def list_contexts(self) -> list[Key]:
        """Return the contexts of all series."""
        assert self._series is not None
        return [context async for context in self._series.list_contexts()]


def _get_id(document: RawBSONDocument) -> Any:
    return bson.decode(document.raw, CODEC)["_id"]


def find_key(spec: SlotSpec, document: Document) -> Key:
    """Return the key of a document.

    Raises:
        IncompleteDocumentError: it lacks a part of its key, or its payload.
    """
    required = PRICES if spec.is_candles else (spec.field,)
    try:
        key = tuple(_check(spec, name, document[name]) for name in spec.key)
        missing = [name for name in required if name not in document]
    except (KeyError, TypeError, ValueError):
        missing = [name for name in spec.key if name not in document] or ["a key of its slot"]
    if missing:
        raise IncompleteDocumentError(f"the document lacks {', '.join(missing)}")
    return key


def explain_incomplete(spec: SlotSpec, document: Document, error: IncompleteDocumentError) -> DumpProblem:
    """Return the report of a document that can't be exported."""
    shown = f"{spec.collection}: {document['_id']}"
    return DumpProblem(shown, spec.name, str(error), "run `backtest-mongo migrate`, or repair it")


def _check(spec: SlotSpec, name: str, value: Any) -> Any:
    if name == FLAG:
        return spec.check_flag(name, value)
    if spec.is_candles and name == spec.key[-1]:
        return int(value)
    return spec.check_key(name, value)


def encode_id(oid: Any) -> bytes:
    """Encode an id, which may be of any type, so that a set can hold it."""
    return bson.encode({"": oid}, codec_options=CODEC)


def get_millis(date: Any) -> int | None:
    """Return a document's date in milliseconds, also one that Python's dates can't hold, or ``None`` if it is none."""
    if isinstance(date, DatetimeMS):
        return int(date)
    return to_millis(date) if isinstance(date, datetime) and date.tzinfo else None


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
