"""Commits of many rows in one transaction of MongoDB, fenced by leases.

A commit first changes the leases that it touches, then writes one bulk a collection, and then commits with
``w: "majority"``. Its answer may be lost: then the commit alone is sent again, on the same session, until it is known.
What tells afterwards whether it was applied is its id, in the documents of the leases or, where there are none, in a
document of its own.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

import bson
from bson import ObjectId
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo import ReturnDocument
from pymongo.errors import ConnectionFailure, DuplicateKeyError, OperationFailure
from pymongo.read_concern import ReadConcern

from backtest_mongo.connection.batching import Call, Queue
from backtest_mongo.connection.driver_errors import (
    DRIVER_ERRORS,
    DUPLICATE_KEY,
    is_transient,
    make_unanswered_error,
    strip_frames,
    translate_error,
)
from backtest_mongo.connection.hub import Hub
from backtest_mongo.connection.operation import Attempts, Deadline, attempt, seconds_left
from backtest_mongo.core.commits import ABSENT_ROW, UNKNOWN_ROW, Claim, Commit, Holder, RowWrite, State
from backtest_mongo.core.history import find_row_time
from backtest_mongo.core.lease_errors import make_fenced_error, make_foreign_error
from backtest_mongo.core.log import log
from backtest_mongo.core.payload import CODEC, RAW_CODEC
from backtest_mongo.core.simulation_time import to_time
from backtest_mongo.core.slots import SLOTS
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.versions import is_expected, make_conflict, make_version
from backtest_mongo.errors import (
    BacktestMongoError,
    CommitUnknownError,
    ConflictError,
    LeaseLostError,
    StoreError,
    StoreUnavailableError,
)
from backtest_mongo.mongo.abandoned import Unblocking
from backtest_mongo.mongo.collection import SlotCollection
from backtest_mongo.mongo.format import check_format
from backtest_mongo.mongo.lease_documents import LeaseDocuments
from backtest_mongo.mongo.sessions import abort, begin, commit_again, is_conflict, is_uncertain, open_session
from backtest_mongo.mongo.updates import (
    ORIGIN,
    ROW_TIME,
    make_removal,
    make_update,
    make_versioned_update,
    read_origin,
    split_origin,
    stamp_origin,
)
from backtest_mongo.mongo.versions import get_versions, make_row_version, make_version_update
from backtest_mongo.types import Document, to_millis

__all__ = ["MongoCommitter", "get_committer"]

#: Where commits without leases note their ids, for a day.
_COMMITS: Final = "commits"
_KEPT_SECONDS: Final = 24 * 3_600
#: Payloads up to this size are compared by the server, larger ones here.
_COMPARED_BYTES: Final = 256 << 10
#: What one command takes of the server's 100,000 statements and 48 MB.
_COMMAND_ROWS: Final = 1_000
_COMMAND_BYTES: Final = 16 << 20
#: A race for a fresh key that a plain upsert has won.
_RACE_TRIES: Final = 3
_FIRST_PAUSE: Final = 0.002
_LONGEST_PAUSE: Final = 0.25
_MAJORITY: Final = ReadConcern("majority")
_INFINITY: Final = float("inf")
#: What the update of a row whose version is stored, too, returns of it.
_VERSION_FIELDS: Final = {"updatedDate": 1, ORIGIN: 1}

T = TypeVar("T")


class _State(NamedTuple):
    """What tells a stored row from every other: its stamp, and what it holds."""

    stamp: Any
    payload: Any
    when: Any
    removed: Any

    @classmethod
    def of_document(cls, spec: SlotSpec, document: Any) -> _State:
        """Return the state of a document that is not decoded."""
        return cls(*map(document.get, ("updatedDate", spec.field, "when", "removed")))

    @classmethod
    def of_fields(cls, spec: SlotSpec, fields: Document, stamp: datetime) -> _State:
        """Return the state of a row that was written with a stamp."""
        return cls(stamp, *map(fields.get, (spec.field, "when", "removed")))

    @property
    def is_large(self) -> bool:
        """Whether the payload is compared here, and not by the server."""
        return type(self.payload) is RawBSONDocument and len(self.payload.raw) > _COMPARED_BYTES

    def make_filter(self, spec: SlotSpec) -> Document:
        """Return a query for a row in this state, besides its key."""
        query: Document = {"updatedDate": self.stamp}
        if isinstance(self.payload, list):  # as an expression, by which a list equals nothing but itself
            query["$expr"] = {"$eq": [f"${spec.field}", {"$literal": self.payload}]}
        elif not self.is_large:
            query[spec.field] = {"$eq": self.payload}
        if spec.when:
            query["when"] = self.when
        if spec.soft_delete:
            query["removed"] = self.removed
        return query

    def is_of(self, spec: SlotSpec, document: Any) -> bool:
        """Return whether a document that is not decoded is in this state."""
        other = self.of_document(spec, document)
        return other.stamp == self.stamp and _encode([*other[1:]]) == _encode([*self[1:]])


class _Written:
    """What an attempt has written, to be known once it is committed."""

    def __init__(self, session: Any, states: list[State]) -> None:
        self.session: Any = session
        self.states: list[State] = states
        #: Rows that turned out to need no change.
        self.skipped: list[RowWrite] = []
        #: The times of versions that the rows themselves give.
        self.times: dict[RowWrite, int] = {}
        #: What tells whether a row that was committed alone is written, and when that was, by the server's clock.
        self.commit: ObjectId | None = None
        self.stamp: Any = None
        #: Ids of rows by slot, with their keys.
        self.ids: dict[str, list[tuple[Key, ObjectId]]] = {}

    def find_time(self, row: RowWrite, stamp: datetime) -> int:
        """Return the simulation time of the version of a row, in milliseconds since the epoch."""
        if row.at != _INFINITY:
            return int(row.at)
        return self.times.get(row, to_millis(stamp))

    def note_id(self, slot: str, key: Key, oid: ObjectId) -> None:
        self.ids.setdefault(slot, []).append((key, oid))


class _ForeignRowError(Exception):
    """A row is not in the state that it is known to have: the one of this index, or one of all."""

    def __init__(self, index: int | None = None) -> None:
        super().__init__()
        self.index: int | None = index


class _LostRaceError(DuplicateKeyError):
    """An upsert in a transaction has met a row that another writer has just made."""


class MongoCommitter:
    """The transactions and leases of one event loop's connections."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._leases = LeaseDocuments(hub)
        self._commits = hub.database[_COMMITS]
        self._is_checked = False
        self._keeps_commits = False
        self._queue: Queue[Any, Any] = Queue(
            hub.writes, hub.operation_seconds, _do_nothing, self._make_unanswered, self._translate, is_write=True
        )
        #: Rows whose versions are stored, too, which are committed with those that are written at the same time.
        self._rows: Queue[RowWrite, None] = Queue(
            hub.writes,
            hub.operation_seconds,
            self._check_once,
            self._make_unanswered_row,
            self._translate_row,
            is_write=True,
        )
        self._rows.send = self._write_batch
        #: Sessions that are noted and have no transaction.
        self._idle: list[Any] = []

    @property
    def name(self) -> str:
        return f"the database {self._hub.database.name} of MongoDB at {self._hosts}"

    @property
    def seconds(self) -> float:
        return self._hub.operation_seconds

    @property
    def _hosts(self) -> str:
        return self._hub.config.CC_MONGO_CONNECTION_STRING.hosts

    async def check(self) -> None:
        """Make sure that the server has transactions.

        Raises:
            StoreError: it is a standalone.
        """
        if not self._is_checked:
            await self._run("asking for transactions", self._check)

    async def check_within(self) -> None:
        """Make sure of the same within a request."""
        await self._check_once()

    async def note_session(self, session: Any) -> None:
        """Note, within a request, a session that is to have transactions, so that others can end what it leaves."""
        await self._leases.sessions.note(session)

    async def end_abandoned_within(self) -> None:
        """End, within a request, transactions that nobody goes on with."""
        await self._leases.sessions.end_abandoned()

    def unblock(self) -> Unblocking:
        """Return a block for a write outside of transactions, which may have to wait for the rows of abandoned ones."""
        return Unblocking(self._leases.sessions, self.seconds)

    async def _check_once(self) -> bool:
        if not self._is_checked:
            await self._check()
        return True

    async def _check(self) -> None:
        await check_format(self._hub)
        reply = await self._hub.database.command("hello")
        if "setName" not in reply and reply.get("msg") != "isdbgrid":
            raise StoreError(
                f"MongoDB at {self._hosts} is a standalone, which has no transactions and no leases",
                hint="make it a replica set of one: start mongod with --replSet rs0, and call rs.initiate() once in "
                "mongosh; nothing else changes, and what is stored stays",
            )
        await self._leases.sessions.end_abandoned()  # such as of the process that this one follows
        self._is_checked = True

    # Committing

    async def commit(self, commit: Commit) -> Sequence[State]:
        return await self._run_observed(commit, partial(self._commit, commit), commit.seconds)

    async def settle(self, commit: Commit) -> Sequence[State] | None:
        return await self._run_observed(commit, partial(self._settle, commit))

    def write(self, row: RowWrite) -> Coroutine[Any, Any, None]:
        return self._rows.call(row, "writing", (row.spec, row.key), ((row.spec.name, row.key),), row.size)

    async def write_all(self, rows: Sequence[RowWrite]) -> None:
        keys = [(row.spec.name, row.key) for row in rows]
        steps = partial(self._write_in_turn, rows)
        await self._rows.run_steps(steps, "writing a batch", (rows[0].spec, None), keys, is_long=True)

    async def _write_in_turn(self, rows: Sequence[RowWrite]) -> None:
        for first in range(0, len(rows), _COMMAND_ROWS):
            with self._rows.bound_request():
                await self._check_once()
                await self._commit_rows(rows[first : first + _COMMAND_ROWS])

    async def _commit_rows(self, rows: Sequence[RowWrite]) -> None:
        try:
            await self._commit(Commit(rows, (), self.seconds))
        except CommitUnknownError as error:
            unknown = StoreUnavailableError(str(error.args[0]).replace("committing", "writing"))
            unknown.may_be_applied = True
            raise unknown from error

    async def _write_batch(self, calls: list[Call[RowWrite, None]], attempts: Attempts) -> None:
        """Commit rows together; a row that is refused fails its own caller alone."""
        try:
            await self._commit_rows([call.item for call in calls])
        except (*DRIVER_ERRORS, ConflictError) as error:
            if len(calls) == 1 or is_transient(error):
                raise
            for call in calls:
                try:
                    await self._write_batch([call], attempts)
                except DRIVER_ERRORS as refusal:
                    call.fail(self._translate_row(call.doing, refusal, call.key))
                except BacktestMongoError as refusal:
                    call.fail(refusal)
            return
        for call in calls:
            call.answer(None)

    async def _run_observed(self, commit: Commit, steps: Callable[[], Awaitable[T]], seconds: float | None = None) -> T:
        work = partial(self._run, "committing", steps, commit.rows[0].spec, seconds)
        observe = self._hub.observe_commit
        return await (work() if observe is None else observe(commit, work))

    async def _commit(self, commit: Commit) -> Sequence[State]:
        if commit.in_doubt is not None:
            states = await self._settle(commit)
            if states is not None:
                return states
        await self._prepare(commit)
        pause, races = _FIRST_PAUSE, 0
        while True:
            try:
                states = await self._attempt(commit)
            except _ForeignRowError as error:
                lost = await self._find_foreign(commit, error.index)
                if lost is not None:
                    raise lost from None
            except _LostRaceError:
                races += 1
                if races == _RACE_TRIES:
                    raise
            except DRIVER_ERRORS as error:
                if not is_conflict(error):
                    raise
                if pause >= seconds_left():
                    if isinstance(error, ConnectionFailure):  # which says what is wrong
                        raise
                    raise self._make_contended_error(commit.rows[0].spec) from strip_frames(error)
            else:
                if states is not None:
                    return states
            commit.conflicts += 1
            if pause == _LONGEST_PAUSE:
                await self._leases.sessions.end_abandoned()
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # so that rivals don't meet again
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _prepare(self, commit: Commit) -> None:
        """Make sure that all collections and indexes exist: to create them waits for transactions, and fails in one."""
        for name in {row.spec.name for row in commit.rows}:
            await self._slot(name).ensure_indexes()
        for name in {row.spec.name for row in commit.rows if "run" in row.fields}:
            await self._slot(name).ensure_run_index()
        for spec in {row.spec.name: row.spec for row in commit.rows if row.is_kept}.values():
            await get_versions(self._hub, spec).slot.ensure_indexes()
        if not commit.claims and not self._keeps_commits:
            await self._commits.create_index("at", expireAfterSeconds=_KEPT_SECONDS)
            self._keeps_commits = True

    async def _attempt(self, commit: Commit) -> Sequence[State] | None:
        """Send everything, and commit it: return the states of the rows, ``None`` if it has to be sent again.

        Raises:
            PyMongoError, BSONError: nothing of it is applied.
            CommitUnknownError: that is not known.
        """
        if commit.claims:
            return await self._attempt_with(commit, commit.claims[0].handle)
        session = self._idle.pop() if self._idle else await open_session(self._hub)
        try:
            await self._leases.sessions.note(session)
            states = await self._attempt_with(commit, session)
        except BaseException:
            if commit.in_doubt is None:
                await session.end_session()
            raise
        self._idle.append(session)
        return states

    async def _attempt_with(self, commit: Commit, session: Any) -> Sequence[State] | None:
        written = _Written(session, [UNKNOWN_ROW] * len(commit.rows))
        await begin(session)
        try:
            stamp = None
            for claim in commit.claims:
                stamp = await self._leases.fence(claim, commit.id, session)
                if stamp is None:
                    raise make_fenced_error(claim)
            kept = [row for row in commit.rows if row.is_kept]
            if kept and len(commit.rows) == 1 and not commit.claims:
                await self._write_versioned(commit, written)
            else:
                if kept and stamp is None:
                    stamp = await self._note_time(commit, session)
                for name, rows in _group_by_slot(commit.rows).items():
                    await self._write_rows(name, rows, stamp, written)
                if kept:
                    assert stamp is not None
                    await self._write_versions([row for row in kept if row not in written.skipped], written, stamp)
                elif not commit.claims:
                    noted = {"$currentDate": {"at": True}}
                    await self._commits.update_one({"_id": commit.id}, noted, upsert=True, session=session)
        except BaseException:
            await abort(session)
            raise
        commit.in_doubt = written
        return await self._finish(commit)

    async def _finish(self, commit: Commit) -> Sequence[State] | None:
        """Commit the transaction of the last attempt, again until the outcome is known.

        Returns:
            The states of the rows; ``None`` if it is not applied and never will be.

        Raises:
            CommitUnknownError: the time is up, and it is not known.
        """
        written: _Written = commit.in_doubt
        pause = _FIRST_PAUSE
        while True:
            try:
                await written.session.commit_transaction()
            except DRIVER_ERRORS as error:
                if not is_uncertain(error):
                    # It lost against another one, or a failover has lost it, unless an attempt before was heard.
                    has_landed = await self._has_landed(commit)
                    if has_landed:
                        break
                    if has_landed is not None:
                        commit.in_doubt = None
                        if is_conflict(error):
                            return None
                        await abort(written.session)
                        raise
                if pause >= seconds_left():
                    raise self._make_unknown_error(error) from strip_frames(error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                break
        commit.in_doubt = None
        for name, ids in written.ids.items():
            slot = self._slot(name)
            await self._hub.id_cache.put_many(slot.spec, ids)
        for name, rows in _group_by_slot(commit.rows).items():
            self._slot(name).counts.writes.add(len(rows))
            if rows[0][1].is_kept:
                kept = [row for _, row in rows if row not in written.skipped]
                self._slot(name).counts.versions += sum(1 + len(row.earlier) for row in kept)
                keys = [one.key for row in kept for one in (*row.earlier, row)]
                get_versions(self._hub, rows[0][1].spec).note_writes(keys)
        return written.states

    async def _settle(self, commit: Commit) -> Sequence[State] | None:
        written: _Written | None = commit.in_doubt
        if written is None:
            return None
        states = await self._finish(commit)
        if not commit.claims:
            await written.session.end_session()
        return states

    async def _has_landed(self, commit: Commit) -> bool | None:
        """Return whether a commit is applied, by its id where the majority has it; ``None`` without an answer."""
        written: _Written = commit.in_doubt
        try:
            if commit.claims:
                return await self._leases.has_commit(commit.claims[0], commit.id)
            if written.commit is not None:
                return await self._has_written(commit.rows[0], written)
            durable = self._commits.with_options(read_concern=_MAJORITY)
            return await durable.find_one({"_id": commit.id}) is not None
        except DRIVER_ERRORS as error:
            log().debug("the outcome of a commit is not known yet", error=type(error).__name__)
            return None

    def _make_contended_error(self, spec: SlotSpec) -> StoreUnavailableError:
        return StoreUnavailableError(
            "committing failed: others wrote the same rows until the time was up",
            slot=spec.name,
            collection=spec.collection,
            hint="nothing of it is stored; write it again, or let one lease() own rows that many write",
        )

    def _make_unknown_error(self, error: Exception) -> CommitUnknownError:
        unknown = CommitUnknownError(
            f"committing failed: MongoDB at {self._hosts} is unavailable ({type(error).__name__})",
            hint="all of it may be applied, or nothing; `await error.commit_again()` settles it",
        )
        unknown.may_be_applied = True
        return unknown

    # Versions

    async def _note_time(self, commit: Commit, session: Any) -> datetime:
        """Note the id of a commit, and return the time by the server's clock."""
        noted: Any = await self._commits.find_one_and_update(
            {"_id": commit.id},
            [{"$set": {"at": "$$NOW"}}],
            upsert=True,
            return_document=ReturnDocument.AFTER,
            session=session,
        )
        stamp: datetime = noted["at"]
        return stamp

    async def _write_versioned(self, commit: Commit, written: _Written) -> None:
        """Write the row of a commit that has no other, and its version: two round trips."""
        (row,) = commit.rows
        slot, session = self._slot(row.spec.name), written.session
        if row.is_conditional:
            await self._compare(slot, row, session)
        at = None if row.at == _INFINITY else int(row.at)
        stored, origin = split_origin(row.fields)
        written.commit = oid = ObjectId()
        query = slot.key_filter(row.key)
        if row.is_removal:
            query["removed"] = {"$ne": True}
            update = make_removal(
                row.spec.field, origin, at=ROW_TIME if at is None and row.spec.when else at, commit=oid
            )
        else:
            update = make_versioned_update(stored, origin, at, oid)
        body = {
            "findAndModify": slot.documents.name,
            "query": query,
            "update": update,
            "upsert": not row.is_removal,
            "new": True,
            "fields": _VERSION_FIELDS,
        }
        try:
            reply = await self._hub.database.command(body, session=session, codec_options=CODEC)
        except OperationFailure as error:
            pattern = (error.details or {}).get("keyPattern")
            if error.code == DUPLICATE_KEY and pattern is not None and [*pattern] == [*row.spec.key]:
                raise _LostRaceError(str(error), DUPLICATE_KEY, error.details) from None
            raise
        document = reply["value"]
        if document is None:  # there is nothing to be removed
            written.skipped.append(row)
            return
        written.stamp = document["updatedDate"]
        if row.is_removal and isinstance(document[ORIGIN].get("when"), int):
            written.times[row] = document[ORIGIN]["when"]
        written.note_id(row.spec.name, row.key, document["_id"])
        previous = document[ORIGIN].get("previous")
        if document[ORIGIN].get("replaced"):
            # As it is committed, which nobody can change before this transaction ends.
            before = await slot.documents.find_one(slot.key_filter(row.key))
            await self._keep_unversioned(slot.spec, [before] if before is not None else [], session)
            previous = None
        await self._write_versions([row], written, written.stamp, previous)

    async def _find_unversioned(self, rows: Sequence[tuple[int, RowWrite]], slot: SlotCollection, session: Any) -> None:
        """Keep, as versions, rows of one slot that are about to be written and whose last write stored none.

        What is read is part of the transaction, which fails if it changes.
        """
        spec = slot.spec
        keys = [slot.key_filter(row.key) for _, row in rows]
        for start in range(0, len(keys), _COMMAND_ROWS):
            query = {"$or": keys[start : start + _COMMAND_ROWS]}
            marks = await slot.documents.find(query, _VERSION_FIELDS, session=session).to_list(None)
            ids = [mark["_id"] for mark in marks if "when" not in (read_origin(mark) or {})]
            if ids:
                found = await slot.documents.find({"_id": {"$in": ids}}, session=session).to_list(None)
                await self._keep_unversioned(spec, found, session)

    async def _keep_unversioned(self, spec: SlotSpec, documents: Sequence[Document], session: Any) -> None:
        """Keep rows as versions that others have written, or this library without the setting.

        Each says what is true from its own time on, so later versions go.
        """
        slot = get_versions(self._hub, spec).slot
        deletes: list[Document] = []
        updates: list[Document] = []
        for document in documents:
            time = find_row_time(spec, document)
            if time is None:
                continue
            query = {name: document[name] for name in spec.key}
            deletes.append({"q": {**query, "when": {"$gt": time}}, "limit": 0})
            update = make_row_version(spec, document)
            updates.append({"q": {**query, "when": time}, "u": update, "upsert": True})
        await self._send_versions(slot, deletes, updates, session)

    async def _write_versions(
        self, rows: Sequence[RowWrite], written: _Written, stamp: datetime, previous: float | None = None
    ) -> None:
        """Write the versions of rows, and delete later ones.

        Args:
            rows: the rows, which are written in the same transaction.
            written: what the attempt has written.
            stamp: when they are written.
            previous: the time of the latest version there is, if it is known.
        """
        by_slot: dict[str, list[RowWrite]] = {}
        for row in rows:
            by_slot.setdefault(row.spec.name, []).append(row)
        for some in by_slot.values():
            slot = get_versions(self._hub, some[0].spec).slot
            deletes: list[Document] = []
            updates: list[Document] = []
            for row in some:
                query = slot.key_filter(row.key)
                times = [written.find_time(one, stamp) for one in (*row.earlier, row)]
                first = min(times[-1], row.first)
                if previous is None or previous > first:
                    deletes.append({"q": {**query, "when": {"$gt": first}}, "limit": 0})
                for one, time in zip((*row.earlier, row), times, strict=True):
                    if time > times[-1]:
                        continue  # the last write, whose time is the clock's, has removed it
                    update = make_version_update(one, stamp)
                    updates.append({"q": {**query, "when": time}, "u": update, "upsert": True})
            await self._send_versions(slot, deletes, updates, written.session)

    async def _send_versions(
        self, slot: SlotCollection, deletes: Sequence[Document], updates: Sequence[Document], session: Any
    ) -> None:
        for command, field, items in (("delete", "deletes", deletes), ("update", "updates", updates)):
            for _, part in _split(items):
                body = {command: slot.documents.name, field: part}
                reply = await self._hub.database.command(body, session=session, codec_options=CODEC)
                for failed in reply.get("writeErrors", ())[:1]:
                    raise OperationFailure(str(failed.get("errmsg")), failed.get("code"), failed)

    async def _has_written(self, row: RowWrite, written: _Written) -> bool | None:
        """Return whether the row of a commit that has no other is written; ``None`` if others wrote it since."""
        slot = self._slot(row.spec.name)
        durable = slot.documents.with_options(read_concern=_MAJORITY)
        document = await durable.find_one(slot.key_filter(row.key), _VERSION_FIELDS)
        if document is None or written.stamp is None:
            return False
        if (document.get(ORIGIN) or {}).get("commit") == written.commit:
            return True
        return None if document["updatedDate"] >= written.stamp else False

    # Rows

    async def _write_rows(
        self, name: str, rows: Sequence[tuple[int, RowWrite]], stamp: datetime | None, written: _Written
    ) -> None:
        """Write the rows of one slot, and note their states and ids.

        Raises:
            _ForeignRowError: one of them is not in the state that it is known to have.
            ConflictError: a compare-and-set has found something else.
        """
        slot, session = self._slot(name), written.session
        updates: list[Document] = []
        inserts: list[Document] = []
        indexes: list[int] = []
        inserted: list[int] = []
        by_index = dict(rows)
        if rows[0][1].is_kept:
            await self._find_unversioned(rows, slot, session)
        now = stamp or datetime.now(UTC)
        for index, row in rows:
            if row.is_conditional:
                await self._compare(slot, row, session)
            query, known = slot.key_filter(row.key), row.known
            if row.is_removal and row.is_kept and row.at == _INFINITY and slot.spec.when:
                found = await slot.documents.find_one(query, {"when": 1}, session=session)
                when = to_time((found or {}).get("when"))
                if when is not None:
                    written.times[row] = when
            stored, origin = split_origin(row.fields)
            if row.is_kept:
                assert stamp is not None
                origin = {**(origin or {}), "when": written.find_time(row, stamp)}
            if stamp is not None:
                written.states[index] = _State.of_fields(slot.spec, stored, stamp)
                stored = stamp_origin(stored, stamp, origin)
            if known is ABSENT_ROW:
                stored = stamp_origin(stored, now, origin)
                document = {"_id": ObjectId(), **query, **stored, "createDate": now, "__v": 0}
                written.note_id(name, row.key, document["_id"])
                inserts.append(document)
                inserted.append(index)
                continue
            indexes.append(index)
            if known is not UNKNOWN_ROW:
                if known.is_large:
                    await self._compare_large(slot, index, row, session)
                updates.append({"q": {**query, **known.make_filter(slot.spec)}, "u": {"$set": stored}})
            elif row.is_removal:
                written.states[index] = UNKNOWN_ROW
                unremoved = {**query, "removed": {"$ne": True}}
                removal = make_removal(slot.spec.field, origin, stamp=stamp if row.is_kept else None)
                result = await slot.documents.update_one(unremoved, removal, session=session)
                if not result.matched_count:
                    written.skipped.append(row)
                indexes.pop()
            elif stamp is None:
                updates.append({"q": query, "u": make_update(stored, now, origin), "upsert": True})
            else:
                update = {"$set": stored, "$setOnInsert": {"createDate": now, "__v": 0}}
                updates.append({"q": query, "u": update, "upsert": True})
        if inserts:
            await self._send(slot, "insert", "documents", inserts, inserted, session)
        for place, oid in (await self._send(slot, "update", "updates", updates, indexes, session)).items():
            written.note_id(name, by_index[indexes[place]].key, oid)

    async def _send(
        self,
        slot: SlotCollection,
        command: str,
        field: str,
        items: Sequence[Document],
        indexes: Sequence[int],
        session: Any,
    ) -> dict[int, ObjectId]:
        """Send the statements of one command, as many at a time as the server takes.

        They are commands, because the driver's bulk write takes twice the time for a few rows.

        Returns:
            The ids of rows that were upserted, by place.

        Raises:
            _ForeignRowError: one of them has found nothing, or a row that is known to be absent.
            DuplicateKeyError: an upsert has lost a race for a fresh key.
            OperationFailure: the server refuses one.
        """
        upserted: dict[int, ObjectId] = {}
        for first, some in _split(items):
            body = {command: slot.documents.name, field: some}
            reply = await self._hub.database.command(body, session=session, codec_options=CODEC)
            for failed in reply.get("writeErrors", ())[:1]:
                index = indexes[first + failed["index"]]
                if failed.get("code") != DUPLICATE_KEY:
                    raise OperationFailure(str(failed.get("errmsg")), failed.get("code"), failed)
                pattern = failed.get("keyPattern")
                if command == "insert" and (pattern is None or [*pattern] == [*slot.spec.key]):
                    raise _ForeignRowError(index)
                if pattern is None or [*pattern] == [*slot.spec.key]:
                    raise _LostRaceError(str(failed.get("errmsg")), DUPLICATE_KEY, failed)
                raise DuplicateKeyError(str(failed.get("errmsg")), DUPLICATE_KEY, failed)
            if reply["n"] != len(some):
                raise _ForeignRowError
            upserted |= {first + row["index"]: row["_id"] for row in reply.get("upserted", ())}
        return upserted

    async def _compare(self, slot: SlotCollection, row: RowWrite, session: Any) -> None:
        """Refuse a compare-and-set that does not find what it expects.

        Raises:
            ConflictError: it does not. What is read is part of the transaction, which fails if it changes.
        """
        spec = slot.spec
        raw = slot.documents.with_options(codec_options=RAW_CODEC)
        found: Any = await raw.find_one(slot.key_filter(row.key), session=session)
        version = make_version(spec, found)
        if not is_expected(spec, found, version, row.expected):
            document = None if found is None else bson.decode(found.raw, CODEC)
            raise make_conflict(spec, row.key, document, version, row.expected)

    async def _compare_large(self, slot: SlotCollection, index: int, row: RowWrite, session: Any) -> None:
        """Compare a payload that is too large to be sent for comparison."""
        raw = slot.documents.with_options(codec_options=RAW_CODEC)
        document = await raw.find_one(slot.key_filter(row.key), session=session)
        if document is None or not row.known.is_of(slot.spec, document):
            raise _ForeignRowError(index)

    async def _find_foreign(self, commit: Commit, index: int | None) -> LeaseLostError | None:
        """Return the error of a leased row that somebody else has written, ``None`` if there is none."""
        for at, row in enumerate(commit.rows):
            if row.known is UNKNOWN_ROW or (index is not None and at != index):
                continue
            slot = self._slot(row.spec.name)
            raw = slot.documents.with_options(codec_options=RAW_CODEC)
            document = await raw.find_one(slot.key_filter(row.key))
            if row.known is ABSENT_ROW:
                if document is None:
                    continue
            elif document is not None and row.known.is_of(row.spec, document):
                continue
            stamps = [
                None if row.known is ABSENT_ROW else row.known.stamp,
                None if document is None else document.get("updatedDate"),
            ]
            known, found = (stamp if isinstance(stamp, datetime) else None for stamp in stamps)
            return make_foreign_error(commit, row, known, found)
        return None

    async def read(self, spec: SlotSpec, key: Key) -> tuple[Document | None, State]:
        slot = self._slot(spec.name)
        raw = slot.documents.with_options(codec_options=RAW_CODEC)
        document: Any = await slot.read("reading", lambda: raw.find_one(slot.key_filter(key)))
        slot.counts.reads.add(1)
        if document is None:
            return None, ABSENT_ROW
        try:
            decoded = bson.decode(document.raw, CODEC)
        except BSONError as error:
            raise slot.translate("reading", error, key) from None
        await self._hub.id_cache.put(spec, key, document["_id"])
        return decoded, _State.of_document(spec, document)

    def _slot(self, name: str) -> SlotCollection:
        return self._hub.collections[name]  # type: ignore[no-any-return]  # of the store that the rows came from

    # Leases

    async def acquire(self, claim: Claim, ids: Sequence[str]) -> None:
        await self._run("taking a lease", partial(self._leases.acquire, claim, ids), _spec_of(claim))

    async def renew(self, claim: Claim) -> bool:
        seconds = claim.ttl / 3
        return await self._run("renewing a lease", partial(self._leases.renew, claim), _spec_of(claim), seconds)

    async def release(self, claim: Claim) -> None:
        await self._run("giving a lease back", partial(self._leases.release, claim), _spec_of(claim), claim.ttl / 3)

    async def end_abandoned(self) -> None:
        """End abandoned transactions, which keep their rows locked."""
        await self._run("ending abandoned transactions", self._leases.sessions.end_abandoned)

    async def list_leases(self) -> list[Holder]:
        return await self._run("listing the leases", self._leases.list_held)

    async def release_by_force(self, name: str) -> bool:
        return await self._run("releasing a lease", partial(self._leases.release_by_force, name))

    # Requests

    async def run_free(
        self,
        doing: str,
        claim: Claim,
        owners: Collection[str],
        work: Callable[[Any], Awaitable[T]],
    ) -> T:
        """Carry out a transaction on contexts whose leases only ``owners`` may hold; retry it until it is committed.

        Args:
            doing: what it does.
            claim: the contexts; it has no owner.
            owners: the owners of leases that may be held.
            work: the steps of the transaction, given its session. They may be carried out any number of times, also
                after they were committed without an answer, and must then change nothing.

        Raises:
            LeaseHeldError: another owner has one of the leases.
            StoreUnavailableError: its outcome is unknown, or others wrote the same rows until the time was up.
        """
        spec, keep_free = _spec_of(claim), partial(self._leases.keep_free, claim, owners)
        prepare = partial(self._leases.prepare, claim)
        return await self._run(doing, partial(self._repeat, prepare, keep_free, work, spec), spec)

    async def run_plain(self, doing: str, spec: SlotSpec, work: Callable[[Any], Awaitable[T]]) -> T:
        """Carry out a transaction that no lease concerns, as :meth:`run_free` does.

        Raises:
            StoreError: the server has no transactions, or refuses one of the steps.
            StoreUnavailableError: its outcome is unknown, or others wrote the same rows until the time was up.
        """
        return await self._run(doing, partial(self._repeat, self._check_once, _is_free, work, spec), spec)

    async def _repeat(
        self,
        prepare: Callable[[], Awaitable[object]],
        keep_free: Callable[[Any], Awaitable[bool]],
        work: Callable[[Any], Awaitable[T]],
        spec: SlotSpec,
    ) -> T:
        await attempt(lambda _: prepare())
        session = await open_session(self._hub)
        pause = _FIRST_PAUSE
        try:
            await attempt(lambda _: self._leases.sessions.note(session))
            while True:
                try:
                    await begin(session)
                    try:
                        if await keep_free(session):
                            result = await work(session)
                            await commit_again(session)
                            return result
                    except BaseException:
                        await abort(session)
                        raise
                    await abort(session)
                except DRIVER_ERRORS as error:
                    if not is_conflict(error) or pause >= seconds_left():
                        raise
                if pause >= seconds_left():
                    raise self._make_contended_error(spec)
                if pause == _LONGEST_PAUSE:
                    await self._leases.sessions.end_abandoned()
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # so that rivals don't meet again
                pause = min(2 * pause, _LONGEST_PAUSE)
        finally:
            await session.end_session()

    async def _run(
        self, doing: str, work: Callable[[], Awaitable[T]], spec: SlotSpec | None = None, seconds: float | None = None
    ) -> T:
        """Carry out steps within one deadline, as a request of its own that is not cancelled."""

        async def steps() -> T:
            with Deadline(min(self.seconds, seconds or self.seconds), (self._queue, self._hub.writes)):
                try:
                    result = await work()
                except DRIVER_ERRORS as error:
                    raise self._translate(doing, error, spec) from strip_frames(error)
                self._queue.note_answer()
                return result

        return await self._queue.run_steps(steps, doing, spec, is_long=True)

    def _translate(self, doing: str, error: Exception, spec: SlotSpec | None) -> BacktestMongoError:
        translated = translate_error(error, doing, spec or SLOTS[0], None, self._hosts)
        if spec is None:
            translated.slot = translated.collection = None
        return translated

    def _translate_row(self, doing: str, error: Exception, row: tuple[SlotSpec, Key | None]) -> BacktestMongoError:
        spec, key = row
        return self._slot(spec.name).translate(doing, error, key)

    def _make_unanswered_row(
        self, doing: str, row: tuple[SlotSpec, Key | None], reason: str, was_sent: bool
    ) -> StoreUnavailableError:
        spec, key = row
        return self._slot(spec.name).make_unanswered_error(doing, key, reason, was_sent)

    def _make_unanswered(self, doing: str, spec: SlotSpec | None, reason: str, was_sent: bool) -> StoreUnavailableError:
        return make_unanswered_error(doing, spec or SLOTS[0], None, self._hosts, reason, was_sent)


def get_committer(hub: Hub) -> MongoCommitter:
    """Return the committer of an event loop's connections."""
    if hub.committer is None:
        hub.committer = MongoCommitter(hub)
    return hub.committer  # type: ignore[no-any-return]


async def _do_nothing() -> bool:
    return True


async def _is_free(_: Any) -> bool:
    return True


def _spec_of(claim: Claim) -> SlotSpec:
    return next(iter(claim.contexts.values()))[0]


def _group_by_slot(rows: Sequence[RowWrite]) -> dict[str, list[tuple[int, RowWrite]]]:
    groups: dict[str, list[tuple[int, RowWrite]]] = {}
    for index, row in enumerate(rows):
        groups.setdefault(row.spec.name, []).append((index, row))
    return groups


def _split(items: Sequence[Document]) -> Iterator[tuple[int, Sequence[Document]]]:
    """Yield as many statements at a time as one command takes, with the place of the first."""
    first = size = 0
    for place, item in enumerate(items):
        length = _estimate(item)
        if place > first and (size + length > _COMMAND_BYTES or place - first == _COMMAND_ROWS):
            yield first, items[first:place]
            first, size = place, 0
        size += length
    if items:
        yield first, items[first:]


def _estimate(item: Any) -> int:
    """Return how many bytes a statement takes, about."""
    if isinstance(item, RawBSONDocument):
        return len(item.raw)
    if isinstance(item, dict):
        return 64 + sum(map(_estimate, item.values()))
    if isinstance(item, str):
        return 4 * len(item)
    return 64 if not isinstance(item, list) else len(_encode(item))


def _encode(value: Any) -> bytes:
    return bson.encode({"": value}, codec_options=CODEC)
