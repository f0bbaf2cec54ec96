"""The change stream of a slot, which carries on where it was after whatever happens to its connection."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from pymongo.errors import OperationFailure
from pymongo.read_concern import ReadConcern

from backtest_mongo.changes import REMEMBERED, Change, Changes
from backtest_mongo.errors import BacktestMongoError, InputError, StoreError
from backtest_mongo.faults import DRIVER_ERRORS
from backtest_mongo.hub import Hub
from backtest_mongo.limits import Attempts, Limit
from backtest_mongo.mongo_rows import MongoRows
from backtest_mongo.specs import Key, SlotSpec
from backtest_mongo.tasks import apart, to_its_end
from backtest_mongo.types import Document

if TYPE_CHECKING:
    from asyncio import Future

__all__ = ["Stream"]

#: How long the server keeps a question for changes that finds none, so how long closing may take.
_WAIT_MS: Final = 500
_UNSUPPORTED: Final = 40573
_TOO_LARGE: Final = 10334
#: The oplog has no longer what comes after the token, or the server can't carry on for another reason.
_LOST: Final = (280, 286)
#: What has nothing to do with the token that a caller has given: a missing right, a refused login.
_REFUSED: Final = (13, 18)

T = TypeVar("T")


class Stream(MongoRows):
    """The change stream of one slot on one event loop; opened by :meth:`begin`, ended by :meth:`close`."""

    def __init__(self, hub: Hub, spec: SlotSpec, context: Key | None, after: str | None) -> None:
        super().__init__(hub, spec)
        # The only read concern that change streams take.
        self._watched = self._collection.with_options(read_concern=ReadConcern("majority"))
        self._context = context
        self._query: Document = dict(zip(spec.key, context, strict=False)) if context is not None else {}
        self._changes = Changes(spec, context)
        # Of both kinds of token, and of those that end a dropped collection's stream: only this one takes them all.
        self._place: dict[str, Any] = {"start_after": {"_data": after}} if after is not None else {}
        #: Where what was given ends, so that another stream carries on behind it.
        self.token: str | None = after
        #: A token of the caller's that the server has not taken yet.
        self._is_unproved = after is not None
        self._cursor: Any = None
        self._beginning: asyncio.Future[None] | None = None
        self._fetching: asyncio.Future[Change | None] | None = None
        self._closing: asyncio.Task[None] | None = None
        #: Done once the stream is closed, by whomever.
        self.ended: Future[None] = hub.loop.create_future()
        self._wait_ms = int(min(_WAIT_MS, hub.operation_seconds * 250))

    async def begin(self) -> None:
        """Take the place from which on no change is missed, and look at what is stored.

        A caller that is cancelled leaves it going on for the next. What failed is tried again by the next.
        """
        if self._beginning is None:
            self._hub.streams.add(self)
            self._beginning = self._going_on(self._begin())
        await self._wait_for(self._beginning)
        if self.ended.done():
            return
        try:
            self._beginning.result()
        except BaseException:
            self._beginning = None
            self._hub.streams.discard(self)
            await self._drop_cursor()
            raise

    async def _begin(self) -> None:
        with Limit(self._limit):
            await self._take_place()
            self._changes.remember(await self._retried("watching", self._stored))

    async def _take_place(self) -> None:
        while True:
            await self._retried("watching", self._open)
            if self._place or self._cursor is None:  # which it is once the stream is closed
                return
            token = self._cursor.resume_token
            if token is not None:
                self._move_to(token)
                return
            # Changes that come with the answer leave it without one. Nobody has been told yet that it has begun.
            await self._drop_cursor()

    def _going_on(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        task = asyncio.ensure_future(work)
        task.add_done_callback(_retrieve)
        return task

    async def _wait_for(self, work: Future[Any]) -> None:
        """Wait until ``work`` is done, or the stream closed."""
        await asyncio.wait([work, self.ended], return_when=asyncio.FIRST_COMPLETED)

    async def _stored(self) -> list[Document]:
        projection = {**dict.fromkeys(self._spec.key, 1), "when": 1, "removed": 1}
        # One more, so that it is known that there are more.
        cursor = self._collection.find(self._query, projection).limit(REMEMBERED + 1)
        return await cursor.to_list(REMEMBERED + 1)

    async def next(self) -> Change | None:
        """Return the next change; ``None`` once the stream is closed.

        A caller that is cancelled loses nothing: the next call returns what this one would have.
        """
        if self.ended.done():
            return None
        if self._fetching is None:
            self._fetching = self._going_on(self._fetch())
        await self._wait_for(self._fetching)
        if self.ended.done():
            return None
        fetched, self._fetching = self._fetching, None
        try:
            change = fetched.result()
        except BaseException:
            await self.close()
            raise
        if change is not None:
            self.token = change.token
        return change

    async def close(self) -> None:
        """End the stream, and the waiting of whoever is in :meth:`next`. Closing twice is fine."""
        if not self.ended.done():
            self.ended.set_result(None)
        await to_its_end(self._close())

    def close_soon(self) -> None:
        """Close it in the background, for who can't wait: from any thread, and of a loop that may be closed."""
        if not self._hub.loop.is_closed():
            self._hub.loop.call_soon_threadsafe(self._close_in_background)

    def _close_in_background(self) -> None:
        self._closing = self._hub.loop.create_task(self.close())

    async def _close(self) -> None:
        # Not cancelled: PyMongo would leave a socket unclosed. They end with the server's wait.
        works: tuple[Future[Any] | None, ...] = (self._beginning, self._fetching)
        pending = {work for work in works if work is not None and not work.done()}
        if pending:
            _, pending = await asyncio.wait(pending, timeout=4 * self._wait_ms / 1000)
        if not pending:
            await self._drop_cursor()
        self._hub.streams.discard(self)

    async def _fetch(self) -> Change | None:
        while not self.ended.done():
            with Limit(self._limit):
                event = await self._next_event()
            if event is None:
                continue
            # Kept before anything else: whatever happens next, this event is not read again.
            self._place = {"start_after": event["_id"]}
            if event["operationType"] == "invalidate":
                await self._drop_cursor()
                continue
            change = self._changes.of(event)
            if change is not None:
                return change
        return None

    async def _next_event(self) -> Document | None:
        attempts = Attempts()
        while True:
            try:
                if self._cursor is None:
                    await self._open()
                event: Document | None = await (apart(self._ask()) if self._apart else self._ask())
                self._is_unproved = False
                token = self._cursor.resume_token
                if event is None and token is not None:
                    # So that a stream on which nothing happens does not fall behind the oplog.
                    self._move_to(token)
                return event
            except DRIVER_ERRORS as error:
                await self._drop_cursor()
                if self.ended.done():
                    return None
                if not await attempts.another(error):
                    self._fail("watching", error)

    def _move_to(self, token: Document) -> None:
        """Take a place behind which nothing is left to be given."""
        self._place = {"start_after": token}
        self.token = token["_data"]

    async def _open(self) -> None:
        options = {"full_document": "updateLookup", "max_await_time_ms": self._wait_ms, **self._place}
        cursor: Any = self._watched.watch(self._pipeline(), **options)
        if inspect.isawaitable(cursor):  # PyMongo's; Motor gives the stream itself, and opens it on entering it
            cursor = await cursor
        self._cursor = await cursor.__aenter__()
        if self.ended.done():
            await self._drop_cursor()

    async def _ask(self) -> Any:
        return await self._cursor.try_next()

    def _pipeline(self) -> list[Document]:
        if self._context is None:
            return []
        # Without a document are deletions, and updates of what has been deleted since.
        own = {f"fullDocument.{name}": value for name, value in self._query.items()}
        return [{"$match": {"$or": [own, {"fullDocument": None}]}}]

    async def _drop_cursor(self) -> None:
        cursor, self._cursor = self._cursor, None
        if cursor is not None:
            try:
                with Limit(self._limit):
                    await cursor.close()
            except DRIVER_ERRORS:
                pass  # the server forgets it by itself

    def _refuse_standalone(self) -> NoReturn:
        raise StoreError(
            "watching failed: MongoDB is a standalone, which has no change streams",
            slot=self._spec.name,
            collection=self._spec.collection,
            hint="make it a replica set, of one member if you like: start mongod with --replSet and run rs.initiate()",
        )

    def _fault(self, doing: str, error: Exception, key: Key | None = None) -> BacktestMongoError:
        code = error.code if isinstance(error, OperationFailure) else None
        if code == _UNSUPPORTED:
            self._refuse_standalone()
        if code not in (_TOO_LARGE, *_LOST):
            fault = super()._fault(doing, error, key)
            if self._is_unproved and code not in _REFUSED and type(fault) is StoreError:
                return InputError(f"watching failed: after is no token of a change (str, {code})", slot=self._spec.name)
            return fault
        lost = StoreError(
            "watching failed: changes have been missed, as the server's oplog no longer has them"
            if code in _LOST
            else "watching failed: a row is too large to be told of, about 8 MB or more",
            slot=self._spec.name,
            collection=self._spec.collection,
            hint="read what is stored, and watch anew",
        )
        lost.code = code
        return lost


def _retrieve(task: Future[Any]) -> None:
    if not task.cancelled():
        task.exception()  # nobody else will ask for it
