"""The change stream of a slot. If its connection is lost, it resumes where it was."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import bson
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo.errors import OperationFailure
from pymongo.read_concern import ReadConcern

from backtest_mongo.connection.driver_errors import DRIVER_ERRORS, translate_error
from backtest_mongo.connection.hub import Hub
from backtest_mongo.connection.operation import Attempts, Deadline, caller_seconds_left
from backtest_mongo.core.cancellation import retrieve_exception, shield
from backtest_mongo.core.changes import HISTORY_LOST, Change
from backtest_mongo.core.payload import CODEC, RAW_CODEC
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.errors import BacktestMongoError, InputError, StoreError
from backtest_mongo.mongo.change_decoder import REMEMBERED, ChangeDecoder
from backtest_mongo.mongo.collection import SlotCollection
from backtest_mongo.mongo.undecodable import UndecodableRows
from backtest_mongo.mongo.updates import ORIGIN
from backtest_mongo.types import Document

if TYPE_CHECKING:
    from asyncio import Future

__all__ = ["ChangeStream"]

#: How long the server waits for changes before it answers that there are none, so how long closing may take.
_WAIT_MS: Final = 500
_UNSUPPORTED: Final = 40573
_TOO_LARGE: Final = 10334
#: The oplog no longer holds what comes after the token, or the server can't resume for another reason.
_LOST: Final = (280, HISTORY_LOST)
#: Errors that have nothing to do with a caller's token: a missing right, a refused login.
_REFUSED: Final = (13, 18)

T = TypeVar("T")


class ChangeStream:
    """The change stream of one slot on one event loop; :meth:`begin` opens it and :meth:`close` ends it."""

    def __init__(self, hub: Hub, spec: SlotSpec, context: Key | None, after: str | None) -> None:
        self._hub = hub
        self._spec = spec
        self._slot = SlotCollection(hub, spec, translate=self._translate)
        self._collection = self._slot.documents
        # The only read concern that change streams take; and raw events, as one that can't be decoded must not hide
        # those that come with it.
        watched = self._get_watched()
        self._watched: Any = watched.with_options(codec_options=RAW_CODEC, read_concern=ReadConcern("majority"))
        self._context = context
        self._query: Document = dict(zip(spec.key, context, strict=False)) if context is not None else {}
        self._decoder: ChangeDecoder = self._make_decoder()
        self._undecodable = UndecodableRows(spec, "a watch skipped a change of a row that can't be decoded")
        # Only `start_after` takes every kind of token, those that end a dropped collection's stream included.
        self._place: dict[str, Any] = {"start_after": {"_data": after}} if after is not None else {}
        #: The place behind the last change that was returned, at which another stream can resume.
        self.token: str | None = after
        #: Whether the server has not accepted the caller's token yet.
        self._is_unproved = after is not None
        self._cursor: Any = None
        self._beginning: asyncio.Future[None] | None = None
        self._fetching: asyncio.Future[Change | None] | None = None
        self._closing: asyncio.Task[None] | None = None
        #: Done once the stream is closed.
        self.ended: Future[None] = hub.loop.create_future()
        self._wait_ms = int(min(_WAIT_MS, hub.operation_seconds * 250))

    def _get_watched(self) -> Any:
        """Return the collection or the database whose change stream it is."""
        return self._collection

    def _make_decoder(self) -> ChangeDecoder:
        return ChangeDecoder(self._spec, self._context)

    async def begin(self) -> None:
        """Open the stream, after which no change is missed, and read which rows are stored.

        If a caller is cancelled, it continues for the next one. After an error the next caller tries again.
        """
        if self._beginning is None:
            self._hub.streams.add(self)
            self._beginning = self._start(self._begin())
        await self._wait_for(self._beginning, caller_seconds_left())
        if self.ended.done():
            return
        if not self._beginning.done():
            raise self._slot.make_unanswered_error("watching", None, "the caller's own timeout has expired", True)
        try:
            self._beginning.result()
        except BaseException:
            self._beginning = None
            self._hub.streams.discard(self)
            await self._drop_cursor()
            raise

    async def _begin(self) -> None:
        async with self._hub.stream_turns:
            with Deadline(self._hub.operation_seconds):
                if self._hub.is_direct:
                    await self._slot.check_role("watching")
                await self._take_place()
                self._decoder.remember(await self._slot.attempt("watching", lambda _: self._stored()))

    async def _take_place(self) -> None:
        while True:
            await self._slot.attempt("watching", lambda _: self._open())
            if self._place or self._cursor is None:  # which it is once the stream is closed
                return
            token = self._cursor.resume_token
            if token is not None:
                self._move_to(token)
                return
            # An answer that brings changes has no token. The caller doesn't know yet that the stream has begun.
            await self._drop_cursor()

    def _start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        # In a context of its own, as a caller's timeout is not the stream's.
        task = asyncio.get_running_loop().create_task(work, context=Context())
        task.add_done_callback(retrieve_exception)
        return task

    async def _wait_for(self, work: Future[Any], seconds: float | None = None) -> None:
        """Wait until ``work`` is done, the stream is closed or the time is up."""
        timeout = None if seconds is None else max(0.0, seconds)
        await asyncio.wait([work, self.ended], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)

    async def _stored(self) -> list[Document | None]:
        """Return the fields to remember of each stored row; ``None`` for a row whose key can't be decoded."""
        projection: Document = {**dict.fromkeys(self._spec.key, 1), "when": 1, "removed": 1}
        if not self._spec.is_candles:
            # Of rows with an origin, whose changes are told by the parts of their payloads.
            has_none = {"$eq": [{"$type": f"${ORIGIN}"}, "missing"]}
            for name in (self._spec.field, "updatedDate"):
                projection[name] = {"$cond": [has_none, "$$REMOVE", f"${name}"]}
        # One more, to know whether there are more.
        cursor: Any = self._collection.find_raw_batches(self._query, projection, limit=REMEMBERED + 1)
        rows: list[Document | None] = []
        async for reply in cursor:
            try:
                rows += bson.decode_all(reply, CODEC)
            except BSONError:
                rows += [_decode_or_none(raw) for raw in bson.decode_all(reply, RAW_CODEC)]
        return rows

    async def next(self) -> Change | None:
        """Return the next change; ``None`` once the stream is closed.

        A caller that is cancelled loses nothing: the next call returns what this one would have.
        """
        if self.ended.done():
            return None
        if self._fetching is None:
            self._fetching = self._start(self._fetch())
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
        """End the stream; calls of :meth:`next` return. Closing twice is fine."""
        if not self.ended.done():
            self.ended.set_result(None)
        await shield(self._close())

    def close_soon(self) -> None:
        """Close it in the background. It may be called from any thread, and when the event loop is closed."""
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
            async with self._hub.stream_turns:
                if self.ended.done():
                    return None
                with Deadline(self._hub.operation_seconds):
                    raw = await self._slot.attempt("watching", self._next_event)
                    if self._hub.is_direct:
                        await self._slot.check_role("watching")
            if raw is None:
                continue
            # First of all, so that this event is not read again whatever happens next.
            self._place = {"start_after": raw["_id"]}
            try:
                event = bson.decode(raw.raw, CODEC)
            except BSONError as error:
                document = raw.get("fullDocument")  # absent if the row has been deleted since
                self._undecodable.report(document.raw if document else b"", error)
                self._decoder.forget(raw["documentKey"]["_id"])
                continue
            if event["operationType"] == "invalidate":
                await self._drop_cursor()
                continue
            change = self._decoder.decode(event)
            if change is not None:
                return change
        return None

    async def _next_event(self, _: Attempts) -> RawBSONDocument | None:
        try:
            if self._cursor is None:
                await self._open()
            event: RawBSONDocument | None = await self._cursor.try_next()
        except DRIVER_ERRORS:
            await self._drop_cursor()
            if self.ended.done():
                return None
            raise
        self._is_unproved = False
        token = self._cursor.resume_token
        if event is None and token is not None:
            # So that an idle stream does not fall behind the oplog.
            self._move_to(token)
        return event

    def _move_to(self, token: Document) -> None:
        """Move to a place before which every change was returned."""
        self._place = {"start_after": token}
        self.token = token["_data"]

    async def _open(self) -> None:
        options = {"full_document": "updateLookup", "max_await_time_ms": self._wait_ms, **self._place}
        cursor = self._watched.watch(self._pipeline(), **options)
        if inspect.isawaitable(cursor):  # PyMongo's; Motor gives the stream itself, and opens it on entering it
            cursor = await cursor
        self._cursor = await cursor.__aenter__()
        if self.ended.done():
            await self._drop_cursor()

    def _pipeline(self) -> list[Document]:
        if self._context is None:
            return []
        # Deletions have no document, nor have updates of what was deleted since.
        own = {f"fullDocument.{name}": value for name, value in self._query.items()}
        return [{"$match": {"$or": [own, {"fullDocument": None}]}}]

    async def _drop_cursor(self) -> None:
        cursor, self._cursor = self._cursor, None
        if cursor is not None:
            try:
                with Deadline(self._hub.operation_seconds):
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

    def _translate(self, error: Exception, doing: str) -> BacktestMongoError | None:
        """Return the error of a watch for one of the driver's, where a watch has one of its own."""
        code = error.code if isinstance(error, OperationFailure) else None
        where: dict[str, Any] = {"slot": self._spec.name, "collection": self._spec.collection}
        if code == _UNSUPPORTED:
            self._refuse_standalone()
        if code in (_TOO_LARGE, *_LOST):
            lost = StoreError(
                "watching failed: changes were missed, because the oplog no longer has them"
                if code in _LOST
                else "watching failed: a row is too large for a change stream, about 8 MB or more",
                **where,
                hint="read what is stored, and start a new watch",
            )
            lost.code = code
            return lost
        hosts = self._hub.config.CC_MONGO_CONNECTION_STRING.hosts
        if (
            self._is_unproved
            and code not in _REFUSED
            and type(translate_error(error, doing, self._spec, None, hosts)) is StoreError
        ):
            return InputError(
                f"watching failed: after is not a token of a change (str, {code})",
                slot=self._spec.name,
                hint="use the token of a change on these servers; one of SQLite is no position in an oplog",
            )
        return None


def _decode_or_none(raw: RawBSONDocument) -> Document | None:
    try:
        return bson.decode(raw.raw, CODEC)
    except BSONError:
        return None
