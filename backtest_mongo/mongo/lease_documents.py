"""The documents of leases: one for each context that was ever leased, in the collection ``leases``.

::

    {_id: 'signal["BTCUSDT", "s", "binance"]', slot: "signal", context: {...}, owner: "6f1c...", token: 7, seq: 41,
     since: <date>, until: <date>, renewed: <date>, ttl: 30, host: "...", process: 4711, session: <uuid>,
     commit: "d2a9..."}

``owner`` is an id that is made for each time that leases are taken, ``null`` where nobody has it. All times are the
server's. ``token`` counts the owners and ``seq`` the commits; a commit notes its id. A commit fences itself by changing
the documents of the leases that it touches: a check that only reads takes no lock, and a takeover would go through
beside it.

An owner that has died, or stands still, may have left a transaction open, which keeps its rows locked for up to 86
seconds. So its successor ends the session that it has noted, which it may if both are the same user.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from bson import Binary
from pymongo import ReturnDocument, UpdateOne
from pymongo.errors import BulkWriteError, OperationFailure
from pymongo.read_concern import ReadConcern

from backtest_mongo.connection.hub import Hub
from backtest_mongo.core.commits import Claim, Holder
from backtest_mongo.core.log import log
from backtest_mongo.errors import LeaseHeldError, LeaseLostError
from backtest_mongo.mongo.collection import aggregate
from backtest_mongo.mongo.format import note_leases
from backtest_mongo.mongo.sessions import abort, begin, is_conflict, open_session
from backtest_mongo.types import Document

__all__ = ["LeaseDocuments", "make_fenced_error"]

_COLLECTION: Final = "leases"
_MAJORITY: Final = ReadConcern("majority")
_DUPLICATE_KEY: Final = 11000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class LeaseDocuments:
    """The leases of one database. Every method is a step of a request: it has a deadline, and raises driver errors."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._documents = hub.database[_COLLECTION]
        self._durable = self._documents.with_options(read_concern=_MAJORITY)
        #: Documents that are known to exist.
        self._made: set[str] = set()

    async def acquire(self, claim: Claim, ids: Sequence[str]) -> None:
        """Take leases in one transaction, and note the session that commits will use.

        Raises:
            LeaseHeldError: another owner has one of them.
        """
        await note_leases(self._hub)
        await self._make_documents(claim, ids)
        await self._end_sessions(ids)
        session = claim.handle if claim.handle is not None else await open_session(self._hub)
        try:
            await self._take(claim, ids, session)
        except OperationFailure as error:
            if is_conflict(error):  # somebody else takes or renews them just now
                raise await self._make_held_error(claim, ids) from None
            raise
        claim.handle = session

    async def _make_documents(self, claim: Claim, ids: Sequence[str]) -> None:
        missing = [name for name in ids if name not in self._made]
        if not missing:
            return
        updates = []
        for name in missing:
            spec, context = claim.contexts[name]
            named = dict(zip(spec.key, context, strict=False))
            empty = {"slot": spec.name, "context": named, "owner": None, "token": 0, "seq": 0, "until": _EPOCH}
            updates.append(UpdateOne({"_id": name}, {"$setOnInsert": empty}, upsert=True))
        try:
            await self._documents.bulk_write(updates, ordered=False)
        except BulkWriteError as error:
            failed = (error.details or {}).get("writeErrors", ())
            if not failed or any(row.get("code") != _DUPLICATE_KEY for row in failed):
                raise
        self._made.update(missing)

    async def _end_sessions(self, ids: Sequence[str]) -> None:
        """End the sessions of owners whose leases have expired."""
        expired = {"_id": {"$in": list(ids)}, "owner": {"$ne": None}, "$expr": {"$lte": ["$until", "$$NOW"]}}
        found: list[Document] = await self._documents.find(expired, {"session": 1}).to_list(None)
        sessions = {bytes(row["session"].bytes): row["session"] for row in found if row.get("session") is not None}
        if not sessions:
            return
        try:
            # Commands don't take the database's representation of UUIDs.
            await self._hub.database.command(
                "killSessions", [{"id": Binary.from_uuid(one)} for one in sessions.values()]
            )
        except OperationFailure as error:
            # Its transaction, if there is one, ends by itself.
            log().warning("the session of a lease's last owner could not be ended", code=error.code)

    async def _take(self, claim: Claim, ids: Sequence[str], session: Any) -> None:
        taken = {
            "owner": claim.owner,
            "session": session.session_id["id"].as_uuid(),
            "host": socket.gethostname(),
            "process": os.getpid(),
            "ttl": claim.ttl,
            "since": "$$NOW",
            "renewed": "$$NOW",
            "until": _add_seconds(claim.ttl),
            "token": {"$add": ["$token", 1]},
            "seq": {"$add": ["$seq", 1]},
        }
        free = {
            "_id": {"$in": list(ids)},
            "$expr": {"$or": [{"$eq": ["$owner", None]}, {"$lte": ["$until", "$$NOW"]}]},
        }
        await begin(session)
        try:
            result = await self._documents.update_many(free, [{"$set": _as_literals(taken)}], session=session)
            if result.modified_count != len(ids):
                raise await self._make_held_error(claim, ids)
        except BaseException:
            await abort(session)
            raise
        await session.commit_transaction()

    async def _make_held_error(self, claim: Claim, ids: Sequence[str]) -> LeaseHeldError:
        held = {"_id": {"$in": list(ids)}, "owner": {"$nin": [None, claim.owner]}}
        row: Document = await self._documents.find_one(held, sort=[("until", -1)]) or {}
        name = row.get("_id", ids[0])
        spec, context = claim.contexts[name]
        host, process = row.get("host", "another machine"), row.get("process", 0)
        until: datetime = row.get("until", _EPOCH)
        since: datetime = row.get("since", _EPOCH)
        error = LeaseHeldError(
            f"the lease of {name} is held by process {process} on {host} since {since:%Y-%m-%d %H:%M:%S} UTC, "
            f"until {until:%Y-%m-%d %H:%M:%S} UTC unless it is renewed",
            slot=spec.name,
            key=dict(zip(spec.key, context, strict=False)),
            hint="stop that process, or pass wait=seconds; once it is dead, its lease ends by itself",
        )
        error.host, error.process = host, process
        error.since, error.until = _to_millis(since), _to_millis(until)
        return error

    async def fence(self, claim: Claim, ids: Sequence[str], commit: str, session: Any) -> datetime | None:
        """Change the documents of leases within a transaction, which renews them.

        Returns:
            The server's time, which is the stamp of the rows; ``None`` if one of them is not the owner's.
        """
        changed = {
            "seq": {"$add": ["$seq", 1]},
            "renewed": "$$NOW",
            "until": _add_seconds(claim.ttl),
            "commit": commit,
        }
        first, *others = ids
        update = [{"$set": _as_literals(changed)}]
        document: Any = await self._documents.find_one_and_update(
            {"_id": first, "owner": claim.owner},
            update,
            projection={"renewed": 1},
            return_document=ReturnDocument.AFTER,
            session=session,
        )
        if document is None:
            return None
        if others:
            query = {"_id": {"$in": others}, "owner": claim.owner}
            result = await self._documents.update_many(query, update, session=session)
            if result.modified_count != len(others):
                return None
        stamp: datetime = document["renewed"]
        return stamp

    async def has_commit(self, claim: Claim, name: str, commit: str) -> bool:
        """Return whether the last commit under a lease is this one, and the majority has it."""
        return await self._durable.find_one({"_id": name, "commit": commit}, {"_id": 1}) is not None

    async def renew(self, claim: Claim) -> bool:
        query = {"_id": {"$in": list(claim.contexts)}, "owner": claim.owner}
        changed = {"renewed": "$$NOW", "until": _add_seconds(claim.ttl)}
        result = await self._documents.update_many(query, [{"$set": changed}])
        return result.matched_count == len(claim.contexts)

    async def release(self, claim: Claim) -> None:
        query = {"_id": {"$in": list(claim.contexts)}, "owner": claim.owner}
        await self._documents.update_many(query, _RELEASE)
        if claim.handle is not None:
            await claim.handle.end_session()

    async def list_held(self) -> list[Holder]:
        """Return the leases that are held, by id."""
        pipeline: list[Document] = [
            {"$match": {"owner": {"$ne": None}}},
            {"$set": {"is_expired": {"$lte": ["$until", "$$NOW"]}}},
            {"$sort": {"_id": 1}},
        ]
        return [
            Holder(
                id=row["_id"],
                slot=row["slot"],
                context=row["context"],
                host=row["host"],
                process=row["process"],
                since=_to_millis(row["since"]),
                until=_to_millis(row["until"]),
                is_expired=row["is_expired"],
            )
            for row in await aggregate(self._documents, pipeline)
        ]

    async def release_by_force(self, name: str) -> bool:
        result = await self._documents.update_one({"_id": name, "owner": {"$ne": None}}, _RELEASE)
        return result.matched_count == 1


#: What gives a lease back. An owner that does not know of it meets another owner, or none, at its next commit.
_RELEASE: Final[list[Document]] = [
    {"$set": {"owner": None, "session": None, "until": "$$NOW", "seq": {"$add": ["$seq", 1]}}}
]


def make_fenced_error(claim: Claim) -> LeaseLostError:
    """Return the error of a commit whose leases are not its owner's."""
    error = LeaseLostError(
        "the lease was lost: another owner has taken it, or it was released by force",
        hint="nothing of the transaction is stored; leave the block, and take the lease again",
    )
    error.owner = claim.owner
    return error


def _add_seconds(seconds: float) -> Document:
    return {"$add": ["$$NOW", int(seconds * 1000)]}


def _as_literals(fields: Document) -> Document:
    """Return fields for a pipeline, in which texts that are not the server's variables stand for themselves."""
    return {
        name: {"$literal": value} if isinstance(value, str) and not value.startswith("$$") else value
        for name, value in fields.items()
    }


def _to_millis(time: datetime) -> int:
    return round(time.timestamp() * 1000)
