"""A slot's collection on one event loop: its indexes, its keys, the queues of its requests, and their errors."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import bson
from pymongo.errors import ExecutionTimeout

from backtest_mongo.connection.batching import Queue
from backtest_mongo.connection.driver_errors import (
    DRIVER_ERRORS,
    make_not_primary_error,
    make_unanswered_error,
    strip_frames,
    translate_error,
)
from backtest_mongo.connection.hub import Hub
from backtest_mongo.connection.operation import Attempts, attempt, seconds_left
from backtest_mongo.core.counters import SlotCounts
from backtest_mongo.core.payload import CODEC
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.errors import BacktestMongoError, StoreUnavailableError
from backtest_mongo.mongo.format import check_format
from backtest_mongo.mongo.indexes import ensure_indexes, ensure_run_index
from backtest_mongo.types import Document

if TYPE_CHECKING:
    from pymongo.asynchronous.collection import AsyncCollection
    from pymongo.asynchronous.database import AsyncDatabase

__all__ = ["PAGE", "SlotCollection", "aggregate", "aggregate_raw", "split_keys"]

#: Rows asked for at a time, and the bytes of their keys.
PAGE: Final = 1000
_QUERY_BYTES: Final = 8 * 1024 * 1024

T = TypeVar("T")

#: ``(error, doing)`` to an error of its own, or ``None`` for the usual one.
Translate = Callable[[Exception, str], BacktestMongoError | None]


class SlotCollection:
    """One slot's collection on one event loop, and the requests to it.

    Every request goes through :meth:`read` or :meth:`write`, or with others through the same queues, :attr:`reads` and
    :attr:`writes`.

    Args:
        hub: the connections of the event loop.
        spec: the slot.
        documents: the driver's collection; the slot's own if left out.
        create_indexes: creates the indexes, any number of times; those of the slot if left out.
        translate: replaces the usual translation of some of the driver's errors.
        reads_need_indexes: whether the indexes must exist before the collection is read.
    """

    def __init__(
        self,
        hub: Hub,
        spec: SlotSpec,
        documents: AsyncCollection[Document] | None = None,
        *,
        create_indexes: Callable[[], Awaitable[None]] | None = None,
        translate: Translate | None = None,
        reads_need_indexes: bool = False,
    ) -> None:
        self.hub = hub
        self.spec = spec
        self.documents: AsyncCollection[Document] = (
            hub.get_database(spec)[spec.collection] if documents is None else documents
        )
        self.counts: SlotCounts = hub.counts[spec.name]
        #: Whether the indexes are known to exist.
        self.is_indexed: bool = False
        #: Whether the index of the rows of runs is known to exist.
        self.has_run_index: bool = False
        #: Whether the servers are known to be routers of a sharded cluster, as of the first request.
        self.is_sharded: bool = False
        #: Projects documents to their natural keys.
        self.key_projection: Document = dict.fromkeys(spec.key, 1)
        #: Bytes of a document, by those that were read last.
        self.mean_size: int = 0
        self._create_indexes = create_indexes or (lambda: ensure_indexes(self.documents, spec))
        self._translate = translate
        self._reads_need_indexes = reads_need_indexes
        self._indexing: asyncio.Future[None] | None = None
        errors = (self.make_unanswered_error, self.translate)
        self.reads: Queue[Key, Document | None] = Queue(
            hub.reads,
            hub.operation_seconds,
            self._prepare_read,
            *errors,
            is_write=False,
            trips=self.counts.reads,
            confirm=self.refuse_secondary if hub.is_direct else None,
        )
        self.writes: Queue[Document, None] = Queue(
            hub.writes, hub.operation_seconds, self._prepare_write, *errors, is_write=True, trips=self.counts.writes
        )

    # Requests

    async def read(self, doing: str, work: Callable[[], Awaitable[T]]) -> T:
        """Carry out a request that reads; ``work`` may be carried out any number of times."""
        return await self.reads.run(lambda _: work(), doing)

    async def write(
        self,
        doing: str,
        work: Callable[[Attempts], Awaitable[T]],
        keys: Sequence[Hashable] = (),
        key: Key | None = None,
    ) -> T:
        """Carry out a request that writes, after all writes of its keys that were called before."""
        return await self.writes.run(work, doing, key, keys)

    async def attempt(self, doing: str, work: Callable[[Attempts], Awaitable[T]], key: Key | None = None) -> T:
        """Carry out one step of a request: see :func:`~backtest_mongo.connection.operation.attempt`.

        Raises:
            BacktestMongoError: what the driver raises, translated.
        """
        try:
            return await attempt(work)
        except DRIVER_ERRORS as error:
            raise self.translate(doing, error, key) from error

    # Indexes and roles

    async def prepare(self) -> None:
        """Make sure, by a request of its own, that the collection has its indexes."""
        await self.reads.run_steps(self.ensure_indexes, "preparing the indexes")

    async def ensure_indexes(self) -> None:
        """Make sure, within a request, that the collection has its indexes.

        After an error the next request tries again.
        """
        while not self.is_indexed:
            if self._indexing is not None:
                # All that wait go on in the same turn.
                await asyncio.wait([self._indexing], timeout=seconds_left())
            if self._indexing is None and not self.is_indexed:
                await self._index()
            elif not seconds_left():
                late = ExecutionTimeout("another operation is still creating the indexes, and the time is up")
                raise self.translate("preparing the indexes", late)

    async def ensure_run_index(self) -> None:
        """Make sure, within a request, that the rows of a run are found by an index."""
        if not self.has_run_index:
            await self.attempt("preparing the indexes", lambda _: ensure_run_index(self.documents))
            self.has_run_index = True

    def forget_indexes(self) -> None:
        """Let the next request check the indexes again."""
        self.is_indexed = self.has_run_index = self.reads.is_prepared = self.writes.is_prepared = False

    async def _index(self) -> None:
        self._indexing = asyncio.get_running_loop().create_future()
        try:
            await self.attempt("preparing the indexes", lambda _: self._create_indexes())
            self.is_indexed = True
        finally:
            self._indexing.set_result(None)
            self._indexing = None

    async def _prepare_read(self) -> bool:
        if self.hub.is_direct:
            await self.check_role()
        await self._check_format()
        if self._reads_need_indexes:
            await self.ensure_indexes()
        self.is_sharded = self.hub.is_sharded
        return not self.hub.is_direct  # whose server's role may change

    async def _prepare_write(self) -> bool:
        await self._check_format()
        await self.ensure_indexes()
        return True

    async def _check_format(self) -> None:
        if not self.hub.is_format_checked:
            await self.attempt("checking the format", lambda _: check_format(self.hub))

    async def check_role(self, doing: str = "reading") -> None:
        """Refuse, within a request on a direct connection, a server that is not the primary.

        Raises:
            StoreUnavailableError: it is not.
        """
        await self.attempt(doing, lambda _: self.hub.discover_role())
        self.refuse_secondary(doing)

    def refuse_secondary(self, doing: str = "reading") -> None:
        """Refuse a server that is known not to be the primary.

        Raises:
            StoreUnavailableError: it is not.
        """
        if self.hub.is_secondary:
            raise make_not_primary_error(doing, self.spec, self.hub.config.CC_MONGO_CONNECTION_STRING.hosts)

    # Rows

    def key_filter(self, key: Key) -> Document:
        """Return the query for the row of a natural key."""
        # Nothing but the natural key: the server retries a lost race for a fresh key only then, and a sharded cluster
        # sends it to one shard.
        return dict(zip(self.spec.key, key, strict=True))

    async def find_by_key(self, keys: list[Key], projection: Document | None = None) -> dict[Key, Document]:
        """Return, within a request, the documents of natural keys, each found by the unique index."""
        found: dict[Key, Document] = {}
        for some in split_keys(keys):
            for row in await self.find_all({"$or": [self.key_filter(key) for key in some]}, projection):
                found[tuple(row[name] for name in self.spec.key)] = row
        return found

    async def find_all(self, query: Document, projection: Document | None) -> list[Document]:
        """Return, within a request, all documents of a query."""
        rows: list[Document] = []
        size = 0
        cursor: Any = self.documents.find_raw_batches(query, projection, batch_size=PAGE + 1)
        async for reply in cursor:
            size += len(reply)
            rows += bson.decode_all(reply, CODEC)
        if rows and projection is not self.key_projection:
            self.mean_size = size // len(rows)
        return rows

    # Errors

    def translate(self, doing: str, error: Exception, key: Key | None = None) -> BacktestMongoError:
        """Return the error to raise for one of the driver's, which is its cause."""
        translated = None if self._translate is None else self._translate(error, doing)
        if translated is None:
            hosts = self.hub.config.CC_MONGO_CONNECTION_STRING.hosts
            level = self.documents.read_concern.level or "local"
            row = None if key is None else self.key_filter(key)
            translated = translate_error(error, doing, self.spec, row, hosts, level)
            translated.collection = self.documents.name
        translated.__cause__ = strip_frames(error)
        return translated

    def make_unanswered_error(self, doing: str, key: Key | None, reason: str, was_sent: bool) -> StoreUnavailableError:
        """Return the error of a call that has no answer."""
        hosts = self.hub.config.CC_MONGO_CONNECTION_STRING.hosts
        row = None if key is None else self.key_filter(key)
        return make_unanswered_error(doing, self.spec, row, hosts, reason, was_sent)


async def aggregate(
    collection: AsyncCollection[Document] | AsyncDatabase[Document], pipeline: list[Document]
) -> list[Document]:
    """Return all documents of an aggregation."""
    cursor: Any = collection.aggregate(pipeline)
    if inspect.isawaitable(cursor):  # PyMongo's; Motor gives the cursor itself
        cursor = await cursor
    return await cursor.to_list(None)  # type: ignore[no-any-return]  # a cursor of either driver


async def aggregate_raw(collection: AsyncCollection[Document], pipeline: list[Document]) -> list[bytes]:
    """Return all documents of an aggregation, as the server sends them."""
    cursor: Any = collection.aggregate_raw_batches(pipeline)
    if inspect.isawaitable(cursor):  # PyMongo's; Motor gives the cursor itself
        cursor = await cursor
    return [reply async for reply in cursor if reply]


def split_keys(keys: list[Key]) -> Iterator[list[Key]]:
    """Yield as many keys at a time as one query may name, as it must not be larger than a document."""
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
