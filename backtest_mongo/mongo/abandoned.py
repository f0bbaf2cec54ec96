"""Transactions that nobody goes on with: a process that was killed, or stands still, has left them open.

The server keeps their rows locked for up to 86 seconds, and neither a closed connection nor a new client ends that.
So every session of this library that has transactions is noted, in a document of its own in the collection of leases,
and whoever meets a conflict, or begins, ends those that have been idle within a transaction. The library sends the
statements of one without a pause, so an owner that is alive loses nothing: it sends its transaction again.

A write outside of transactions meets no conflict: the server lets it wait until the row is free. :class:`Unblocking` is
for those that may need a row of somebody else's transaction.

``$currentOp`` shows a user its own operations, and ``killSessions`` ends its own sessions, without further rights.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from types import TracebackType
from typing import Any, Final
from uuid import UUID

from bson import Binary
from pymongo.errors import OperationFailure, PyMongoError

from backtest_mongo.connection.hub import Hub
from backtest_mongo.connection.operation import Deadline
from backtest_mongo.core.background import start_background
from backtest_mongo.core.log import log
from backtest_mongo.mongo.collection import aggregate
from backtest_mongo.types import Document

__all__ = ["Sessions", "Unblocking"]

#: How long a transaction is idle before it is taken for abandoned.
IDLE_SECONDS: Final = 2.0
#: How often this process looks for such ones.
_LOOK_SECONDS: Final = 1.0
#: How long the note of a session is kept; the server forgets unused sessions after half an hour.
_KEPT_SECONDS: Final = 30 * 24 * 3_600
_PREFIX: Final = "session:"
_UNAUTHORIZED: Final = 13


class Sessions:
    """The sessions of this library that have transactions in one database, those of other processes included."""

    def __init__(self, hub: Hub, documents: Any) -> None:
        self._hub = hub
        self._documents = documents
        self._noted: set[UUID] = set()
        self._looked = float("-inf")

    async def note(self, session: Any) -> None:
        """Note a session before its first transaction. A user who may not do so has to wait for abandoned ones."""
        name: UUID = session.session_id["id"].as_uuid()
        if name in self._noted:
            return
        note = {"$currentDate": {"noted": True}}
        try:
            if not self._noted:
                await self._documents.create_index("noted", expireAfterSeconds=_KEPT_SECONDS)
            await self._documents.update_one({"_id": f"{_PREFIX}{name.hex}"}, note, upsert=True)
        except OperationFailure as error:
            if error.code != _UNAUTHORIZED:
                raise
        self._noted.add(name)

    async def end_abandoned(self) -> None:
        """End the transactions of noted sessions that have been idle, unless this process has looked just before."""
        if monotonic() - self._looked < _LOOK_SECONDS:
            return
        self._looked = monotonic()
        try:
            idle = await self._find_idle()
            query = {"_id": {"$in": [f"{_PREFIX}{name.hex}" for name in idle]}}
            ours = await self._documents.find(query, {"_id": 1}).to_list(None) if idle else []
            if ours:
                names = [UUID(hex=row["_id"].removeprefix(_PREFIX)) for row in ours]
                # Commands don't take the database's representation of UUIDs.
                await self._hub.database.command("killSessions", [{"id": Binary.from_uuid(name)} for name in names])
                log().info("transactions that nobody goes on with were ended", sessions=len(names))
        except PyMongoError as error:
            # They end by themselves.
            code = error.code if isinstance(error, OperationFailure) else None
            log().debug("looking for abandoned transactions failed", error=type(error).__name__, code=code)

    async def _find_idle(self) -> list[UUID]:
        pipeline: list[Document] = [
            {"$currentOp": {"allUsers": False, "idleSessions": True}},
            {"$match": {"transaction.timeInactiveMicros": {"$gte": int(IDLE_SECONDS * 1e6)}}},
            {"$project": {"lsid": 1}},
        ]
        rows = await aggregate(self._hub.mongo.admin, pipeline)
        names = (row.get("lsid", {}).get("id") for row in rows)
        return [name if isinstance(name, UUID) else name.as_uuid() for name in names if name is not None]


class Unblocking:
    """Ends transactions that nobody goes on with, for as long as the block takes, if it takes long.

    Args:
        sessions: the sessions of the database.
        seconds: the deadline of a look.
    """

    __slots__ = ("_seconds", "_sessions", "_timer")

    def __init__(self, sessions: Sessions, seconds: float) -> None:
        self._sessions = sessions
        self._seconds = seconds

    def __enter__(self) -> None:
        self._wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look)

    def _look(self) -> None:
        # Not by way of a queue, whose lanes may all be taken by what waits.
        start_background(self._end, "abandoned transactions could not be ended")
        self._wait()

    async def _end(self) -> None:
        with Deadline(self._seconds):
            await self._sessions.end_abandoned()
