"""The changes of one watch: where it is in the log, and what was read ahead of its program."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextvars import Context
from typing import TYPE_CHECKING, Final

from backtest_mongo.core.cancellation import retrieve_exception
from backtest_mongo.core.changes import Change
from backtest_mongo.core.log import log
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.errors import StoreError
from backtest_mongo.sqlite.change_log import (
    Filter,
    Place,
    Row,
    decode_row,
    find_newest,
    make_filter,
    make_lost_error,
    parse_token,
    read_rows,
)
from backtest_mongo.sqlite.database import Connection, Database
from backtest_mongo.sqlite.driver_errors import DRIVER_ERRORS, raise_translated
from backtest_mongo.sqlite.watcher import Arrival, Watched

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future

__all__ = ["ChangeFeed"]

#: What another program may have written in place of a payload.
_UNDECODABLE: Final = (ValueError, RecursionError, TypeError)


class ChangeFeed(Watched):
    """The changes of a slot, or of one context of it, for a watch on the running event loop."""

    def __init__(self, database: Database, spec: SlotSpec, context: Key | None, after: str | None) -> None:
        self._database = database
        self._spec = spec
        self._context = context
        self._after = after
        self.token: str | None = after
        self._loop = asyncio.get_running_loop()
        self.ended: Future[None] = self._loop.create_future()
        self._beginning: asyncio.Task[None] | None = None
        #: Done when something arrives that a step waits for.
        self._arrival: Future[None] | None = None
        self._changes: deque[Change] = deque()
        self._error: Exception | None = None
        self._is_inherited = False
        self._warned: set[bytes] = set()
        # The thread that looks has these, once the feed has begun.
        self._place = Place(0, 0)
        self._filter = Filter("", "")

    # For the watch

    async def begin(self) -> None:
        """Take the place from which on no change is missed; a file that is missing is made.

        If a caller is cancelled, it continues for the next one. After an error the next caller tries again.
        """
        if self._is_inherited:
            return
        if self._beginning is None:
            # In a context of its own, as the first caller's is not that of the others.
            self._beginning = self._loop.create_task(self._begin(), context=Context())
            self._beginning.add_done_callback(retrieve_exception)
        if not self._beginning.done():
            await asyncio.wait([self._beginning, self.ended], return_when=asyncio.FIRST_COMPLETED)
        if self.ended.done():
            return
        try:
            self._beginning.result()
        except DRIVER_ERRORS as error:
            self._beginning = None
            raise_translated(error, "watching", self._database.path, self._spec.name)

    async def _begin(self) -> None:
        after = None if self._after is None else parse_token(self._after, self._spec.name)
        while (found := await self._database.read_in_thread(self._find_place, after)) is None:
            if after is not None:
                raise self._make_lost_error()
            await self._database.write(lambda: lambda connection: None)  # which makes the file and begins its log
        self._place, self._filter = found
        self.token = self._place.token
        if not self.ended.done():
            self._database.watcher.add(self)

    def _find_place(self, connection: Connection, after: Place | None) -> tuple[Place, Filter] | None:
        wanted = make_filter(connection, self._spec, self._context)
        if after is None:
            newest = find_newest(connection)
            return None if newest is None else (newest, wanted)
        if read_rows(connection, after, after._replace(candles=0), wanted) is None:
            raise self._make_lost_error()
        return after, wanted

    def _make_lost_error(self) -> StoreError:
        return make_lost_error(self._spec, self._database.path)

    async def next(self) -> Change | None:
        """Return the next change; ``None`` once the feed is closed. A caller that is cancelled loses nothing."""
        while not self.ended.done() and not self._is_inherited:
            if self._changes:
                change = self._changes.popleft()
                self.token = change.token
                return change
            if self._error is not None:
                error = self._error
                await self.close()
                raise_translated(error, "watching", self._database.path, self._spec.name)
            if self._arrival is None or self._arrival.done():
                self._arrival = self._loop.create_future()
            self._database.watcher.ask(self)
            await asyncio.wait([self._arrival, self.ended], return_when=asyncio.FIRST_COMPLETED)
        return None

    async def close(self) -> None:
        """End it; calls of :meth:`next` return. Closing twice is fine."""
        self.end()

    def end(self) -> None:
        self._database.watcher.discard(self)
        if not self.ended.done():
            self.ended.set_result(None)

    def close_soon(self) -> None:
        """Close it in the background, from any thread, and when the event loop is closed."""
        self._database.watcher.discard(self)
        if not self._loop.is_closed() and not self._is_inherited:
            self._loop.call_soon_threadsafe(self.end)

    def inherit(self) -> None:
        self._is_inherited = True

    # For the thread that looks

    @property
    def loop(self) -> AbstractEventLoop:
        return self._loop

    def look(self, connection: Connection, newest: Place | None) -> Arrival:
        if newest == self._place:
            return Arrival(None)
        found = read_rows(connection, self._place, newest, self._filter)
        if found is None:
            return Arrival(None, error=self._make_lost_error())
        rows, place = found
        if place == self._place:
            return Arrival(None)
        changes = self._decode(rows)
        self._place = place
        return Arrival(place, changes)

    def give_up(self) -> Arrival:
        return Arrival(None, error=self._make_lost_error())

    def _decode(self, rows: Sequence[Row]) -> list[Change]:
        changes: list[Change] = []
        skipped = self._place.candles
        for row in rows:
            try:
                changes += decode_row(self._spec, row, skipped if row[0] == self._place.number else 0)
            except _UNDECODABLE as error:
                self._report(row, error)
        return changes

    def _report(self, row: Row, error: Exception) -> None:
        key = row[2]
        if key not in self._warned:
            self._warned.add(key)
            log().warning(
                "a watch skipped a change of a row that can't be decoded",
                slot=self._spec.name,
                key=key.decode(errors="replace"),
                error=str(error),
            )

    def take(self, arrival: Arrival) -> None:
        """Take what the thread has found, in the event loop."""
        self._changes += arrival.changes
        if arrival.error is not None:
            self._error = arrival.error
        elif not self._changes and arrival.place is not None:
            self.token = arrival.place.token  # so that a watch of a quiet context does not fall behind the log
            return
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)
