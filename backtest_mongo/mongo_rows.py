"""A slot's collection: its indexes, its natural keys, and how its operations fail."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from pymongo.errors import ExecutionTimeout

from backtest_mongo.counts import SlotCounts
from backtest_mongo.errors import BacktestMongoError
from backtest_mongo.faults import DRIVER_ERRORS, translated, without_frames
from backtest_mongo.hub import Hub
from backtest_mongo.indexes import ensure_indexes
from backtest_mongo.limits import Attempts, Limit, seconds_left
from backtest_mongo.specs import Key, SlotSpec
from backtest_mongo.tasks import apart
from backtest_mongo.types import Document

if TYPE_CHECKING:
    from pymongo.asynchronous.collection import AsyncCollection

__all__ = ["PAGE", "MongoRows", "aggregated", "chunks"]

#: Rows asked for at a time, and the length of their keys.
PAGE: Final = 1000
_QUERY_BYTES: Final = 8 * 1024 * 1024

T = TypeVar("T")


class MongoRows:
    """What reading and writing a slot's rows have in common."""

    def __init__(self, hub: Hub, spec: SlotSpec) -> None:
        self._hub = hub
        self._spec = spec
        self._collection = hub.database[spec.collection]
        self._cache = hub.cache
        self._local = hub.cache.local
        self.counts: SlotCounts = hub.counts[spec.name]
        self._limit = hub.operation_seconds
        # Motor's calls are in threads, which no cancellation reaches.
        self._apart = hub.config.CC_MONGO_DRIVER == "pymongo"
        self._indexed = False
        self._indexing: asyncio.Future[None] | None = None

    async def ready(self) -> None:
        """Make sure, once, that the collection has its indexes. A failure leaves it to the next operation."""
        with Limit(self._limit):
            while not self._indexed:
                if self._indexing is not None:
                    # All who wait go on in the same turn, and so together.
                    await asyncio.wait([self._indexing], timeout=seconds_left())
                if self._indexing is None and not self._indexed:
                    await self._make_indexes()
                elif not seconds_left():
                    self._fail("preparing the indexes", ExecutionTimeout("others are at it, and time is up"))

    async def _make_indexes(self) -> None:
        self._indexing = asyncio.get_running_loop().create_future()
        try:
            await self._retried("preparing the indexes", self._index)
            self._indexed = True
        finally:
            self._indexing.set_result(None)
            self._indexing = None

    async def _index(self) -> None:
        await ensure_indexes(self._collection, self._spec)

    async def _retried(self, doing: str, work: Callable[[], Awaitable[T]], key: Key | None = None) -> T:
        """Carry out what may be done any number of times, again as long as the connection is lost and time is left."""
        attempts = Attempts()
        while True:
            try:
                return await (apart(work()) if self._apart else work())
            except DRIVER_ERRORS as error:
                if not await attempts.another(error):
                    self._fail(doing, error, key)

    async def _by_key(self, keys: list[Key], projection: Document | None = None) -> dict[Key, Document]:
        """Return the documents of natural keys, each found by the unique index."""
        found: dict[Key, Document] = {}
        for some in chunks(keys):
            cursor = self._collection.find({"$or": [self._filter(key) for key in some]}, projection)
            for row in await cursor.batch_size(PAGE + 1).to_list(None):
                found[tuple(row[name] for name in self._spec.key)] = row
        return found

    def _filter(self, key: Key) -> Document:
        # Nothing but the natural key: the server retries a lost race for a fresh key only then, and a sharded cluster
        # sends it to one shard.
        return dict(zip(self._spec.key, key, strict=True))

    def _fault(self, doing: str, error: Exception, key: Key | None = None) -> BacktestMongoError:
        return translated(error, doing, self._spec, None if key is None else self._filter(key))

    def _fail(self, doing: str, error: Exception, key: Key | None = None) -> NoReturn:
        raise self._fault(doing, error, key) from without_frames(error)


async def aggregated(collection: AsyncCollection[Document], pipeline: list[Document]) -> list[Document]:
    """Return all that an aggregation gives."""
    cursor: Any = collection.aggregate(pipeline)
    if inspect.isawaitable(cursor):  # PyMongo's; Motor gives the cursor itself
        cursor = await cursor
    return await cursor.to_list(None)  # type: ignore[no-any-return]  # a cursor of either driver


def chunks(keys: list[Key]) -> Iterator[list[Key]]:
    """Yield as many keys at a time as one query may name, which must not be larger than a document."""
    some: list[Key] = []
    size = 0
    for key in keys:
        length = 4 * sum(len(part) for part in key if isinstance(part, str))  # UTF-8 takes four bytes at most
        if some and (size + length > _QUERY_BYTES or len(some) == PAGE):
            yield some
            some, size = [], 0
        some.append(key)
        size += length
    if some:
        yield some
