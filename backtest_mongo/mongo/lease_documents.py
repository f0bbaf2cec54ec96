"""The documents of leases: one for each context that was ever leased, in the collection ``leases``.

::

    {_id: 'signal["BTCUSDT", "s", "binance"]', slot: "signal", context: {...}, owner: "6f1c...", token: 7, seq: 41,
     since: <date>, until: <date>, renewed: <date>, ttl: 30, host: "...", process: 4711, session: <uuid>,
     commit: "d2a9..."}

``owner`` is an id that is made for each time that leases are taken, ``null`` where nobody has it. All times are the
server's. ``token`` counts the owners and ``seq`` the changes; a commit notes its id. A commit fences itself by changing
the first lease of its owner: a check that only reads takes no lock, and a takeover would go through beside it. Whoever
takes one lease of an owner takes all of them, so the first one stands for the others, and a commit needs one round trip
for them however many there are.

An owner that has died, or stands still, may have left a transaction open, which keeps its rows locked for up to 86
seconds. So its successor ends the session that it has noted, which it may if both are the same user.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from bson import Binary
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern

from backtest_mongo.connection.driver_errors import strip_frames
from backtest_mongo.connection.hub import Hub
from backtest_mongo.connection.operation import seconds_left
from backtest_mongo.core.commits import Claim, Holder
from backtest_mongo.core.lease_errors import make_held_error
from backtest_mongo.core.log import log
from backtest_mongo.core.payload import CODEC
from backtest_mongo.errors import LeaseHeldError, StoreUnavailableError
from backtest_mongo.mongo.abandoned import Sessions
from backtest_mongo.mongo.collection import aggregate
from backtest_mongo.mongo.format import check_format, note_feature
from backtest_mongo.mongo.sessions import abort, begin, is_conflict, is_uncertain, open_session
from backtest_mongo.types import Document

__all__ = ["LeaseDocuments"]

_COLLECTION: Final = "leases"
_MAJORITY: Final = ReadConcern("majority")
_DUPLICATE_KEY: Final = 11000
_FIRST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 0.25
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class _FreeAgainError(Exception):
    """Whoever held a lease has just given it back."""


class LeaseDocuments:
    """The leases of one database. Every method is a step of a request: it has a deadline, and raises driver errors."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._documents = hub.database[_COLLECTION]
        #: The sessions of all processes, which are noted beside the leases.
        self.sessions: Sessions = Sessions(hub, self._documents)
        self._durable = self._documents.with_options(read_concern=_MAJORITY)
        #: Documents that are known to exist.
        self._made: set[str] = set()

    async def acquire(self, claim: Claim, ids: Sequence[str]) -> None:
        """Take leases in one transaction, and note the session that commits will use.

        Raises:
            LeaseHeldError: another owner has one of them.
        """
        await check_format(self._hub)
        await note_feature(self._hub, "leases")
        await self._make_documents(claim, ids)
        session = claim.handle if claim.handle is not None else await open_session(self._hub)
        await self.sessions.note(session)
        pause = _FIRST_PAUSE
        while True:
            try:
                # Of owners whose leases have expired, which may be so only now.
                await self._end_sessions(
                    {"_id": {"$in": list(ids)}, "owner": {"$ne": None}, "$expr": {"$lte": ["$until", "$$NOW"]}}
                )
                await self._take(claim, ids, session)
            except _FreeAgainError:
                if pause >= seconds_left():
                    raise self._make_contended_error(claim, ids) from None
            except PyMongoError as error:
                # Another one takes, renews or gives back the same leases just now, or there is no primary for a moment.
                if not is_conflict(error) and not is_uncertain(error):
                    raise
                if pause >= seconds_left():
                    if is_uncertain(error):
                        raise
                    raise self._make_contended_error(claim, ids) from strip_frames(error)
                if pause == _LONGEST_PAUSE:
                    await self.sessions.end_abandoned()
            else:
                break
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # so that rivals don't meet again
            pause = min(2 * pause, _LONGEST_PAUSE)
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

    async def _end_sessions(self, query: Document) -> None:
        """End the sessions of the owners of leases."""
        found: list[Document] = await self._documents.find(query, {"session": 1}).to_list(None)
        sessions = {row["session"] for row in found if row.get("session") is not None}
        if not sessions:
            return
        try:
            # Commands don't take the database's representation of UUIDs.
            await self._hub.database.command("killSessions", [{"id": Binary.from_uuid(one)} for one in sessions])
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
        # Its own ones are those of an attempt whose answer was lost.
        free = {"_id": {"$in": list(ids)}, "owner": {"$in": [None, claim.owner]}}
        await begin(session)
        try:
            await self._evict_expired(ids, session)
            result = await self._documents.update_many(free, [{"$set": _as_literals(taken)}], session=session)
            if result.modified_count != len(ids):
                raise await self._make_held_error(claim, ids)
        except BaseException:
            await abort(session)
            raise
        await session.commit_transaction()

    async def _evict_expired(self, ids: Sequence[str], session: Any) -> None:
        """Take all leases from the owners of these that have expired: one of them fences all commits of an owner."""
        expired = {"_id": {"$in": list(ids)}, "owner": {"$ne": None}, "$expr": {"$lte": ["$until", "$$NOW"]}}
        rows: list[Document] = await self._documents.find(expired, {"owner": 1}, session=session).to_list(None)
        if rows:
            await self._documents.update_many(
                {"owner": {"$in": [row["owner"] for row in rows]}}, _RELEASE, session=session
            )

    async def _make_held_error(self, claim: Claim, ids: Sequence[str]) -> LeaseHeldError:
        held = {"_id": {"$in": list(ids)}, "owner": {"$nin": [None, claim.owner]}}
        row: Document | None = await self._documents.find_one(held, sort=[("until", -1)])
        if row is None:
            raise _FreeAgainError
        since, until = _to_millis(row["since"]), _to_millis(row["until"])
        return make_held_error(claim, row["_id"], row["host"], row["process"], since, until)

    def _make_contended_error(self, claim: Claim, ids: Sequence[str]) -> StoreUnavailableError:
        spec, context = claim.contexts[ids[0]]
        return StoreUnavailableError(
            "taking a lease failed: others were changing it until the time was up",
            slot=spec.name,
            key=dict(zip(spec.key, context, strict=False)),
            hint="nothing was taken; pass wait=seconds to go on trying",
        )

    async def fence(self, claim: Claim, commit: str, session: Any) -> datetime | None:
        """Change the head of an owner's leases within a transaction, which renews it.

        Returns:
            The server's time, which is the stamp of the rows; ``None`` if it is not the owner's.
        """
        changed = {
            "seq": {"$add": ["$seq", 1]},
            "renewed": "$$NOW",
            "until": _add_seconds(claim.ttl),
            "commit": {"$literal": commit},
        }
        reply = await self._hub.database.command(
            {
                "findAndModify": _COLLECTION,
                "query": {"_id": claim.head, "owner": claim.owner},
                "update": [{"$set": changed}],
                "fields": {"renewed": 1},
                "new": True,
            },
            session=session,
            codec_options=CODEC,
        )
        stamp: datetime | None = reply["value"] and reply["value"]["renewed"]
        return stamp

    async def prepare(self, claim: Claim) -> None:
        """Make sure that the documents of a claim's contexts exist, for :meth:`keep_free`."""
        await check_format(self._hub)
        await note_feature(self._hub, "leases")
        await self._make_documents(claim, list(claim.contexts))

    async def keep_free(self, claim: Claim, owners: Collection[str], session: Any) -> bool:
        """Make sure, within a transaction, that nobody but ``owners`` has the leases of a claim, nor takes one.

        Leases that have expired are taken from their owners.

        Returns:
            Whether it is so; otherwise somebody has just taken or given back one of them, and it is to be tried again.

        Raises:
            LeaseHeldError: another owner has one of them.
        """
        ids = list(claim.contexts)
        held = {
            "_id": {"$in": ids},
            "owner": {"$nin": [None, *owners]},
            "$expr": {"$gt": ["$until", "$$NOW"]},
        }
        row: Document | None = await self._documents.find_one(held, session=session)
        if row is not None:
            since, until = _to_millis(row["since"]), _to_millis(row["until"])
            raise make_held_error(claim, row["_id"], row["host"], row["process"], since, until)
        await self._evict_expired(ids, session)
        free = {"_id": {"$in": ids}, "owner": {"$in": [None, *owners]}}
        # A change, as a check that only reads would let a takeover go through beside it.
        changed = await self._documents.update_many(free, {"$inc": {"seq": 1}}, session=session)
        return bool(changed.modified_count == len(ids))

    async def has_commit(self, claim: Claim, commit: str) -> bool:
        """Return whether the last commit under an owner's leases is this one, and the majority has it."""
        return await self._durable.find_one({"_id": claim.head, "commit": commit}, {"_id": 1}) is not None

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
        """Return the leases that are held, by id. Documents of other programs are left out."""
        await check_format(self._hub)
        pipeline: list[Document] = [
            {"$match": {name: {"$type": kind} for name, kind in _HELD.items()}},
            {
                "$project": {
                    **dict.fromkeys(("slot", "context", "host", "process", "owner"), 1),
                    # A driver's dates end with the year 9999.
                    "since": {"$toLong": "$since"},
                    "until": {"$toLong": "$until"},
                    "is_expired": {"$lte": ["$until", "$$NOW"]},
                }
            },
            {"$sort": {"_id": 1}},
        ]
        return [
            Holder(
                id=row["_id"],
                slot=row["slot"],
                context=row["context"],
                host=row["host"],
                process=row["process"],
                since=row["since"],
                until=row["until"],
                is_expired=row["is_expired"],
                owner=row["owner"],
            )
            for row in await aggregate(self._documents, pipeline)
        ]

    async def release_by_force(self, name: str) -> bool:
        """Take a lease from its owner, with all others that it has, and return whether it was held."""
        await check_format(self._hub)
        row: Document | None = await self._documents.find_one({"_id": name, "owner": {"$ne": None}}, {"owner": 1})
        if row is None:
            return False
        # The transaction that its owner has left open would keep the documents locked.
        await self._end_sessions({"owner": row["owner"]})
        return (await self._documents.update_many({"owner": row["owner"]}, _RELEASE)).matched_count > 0


#: The types of what the document of a lease has that is held.
_HELD: Final[dict[str, Any]] = {
    **dict.fromkeys(("_id", "slot", "owner", "host"), "string"),
    "context": "object",
    "process": ["int", "long"],
    **dict.fromkeys(("since", "until"), "date"),
}
#: What gives a lease back. An owner that does not know of it meets another owner, or none, at its next commit.
_RELEASE: Final[list[Document]] = [
    {"$set": {"owner": None, "session": None, "until": "$$NOW", "seq": {"$add": ["$seq", 1]}}}
]


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
