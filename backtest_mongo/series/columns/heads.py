"""The document of each series, in ``{name}-series``.

::

    {…the context, bound, edition, announced, blocks, written, change,
     retention,                 what is kept, as text; absent if everything is
     taken,                     ids of groups
     renamedFrom, renamedTo}    while a strategy is being renamed, the name that this series had, or will have

``bound`` is the latest time of a row that is in a block or may soon be. ``edition`` is replaced by whoever changes the
blocks, within the transaction that does: a change that was prepared from another edition is not committed. Whoever is
about to merge rows from outside into blocks adds a token to ``announced``. As long as there is one, a writer who has
stored a row that these may contain, too, replaces the edition, and so does a reader before it returns such a row: they
are merged again, with that row.

``change`` says which rows the last change of blocks, or of a range of the tail, has stored or deleted, with the context
that they have. It is for :meth:`watch`, whose change stream has each version of it; other changes leave it as it is.

Nobody need look at the document for each row. What a process saw a moment ago holds for rows beyond the bound, and so
does that nothing was announced, as whoever raises the bound or announces rows waits for longer than that before it goes
on. Only lengths of time of one process are compared, and no clocks of two. A process that stood still in between may go
on after the wait of another: so the transaction that changes the blocks also compares the bound and the announcement,
and anyone may withdraw an announcement at any time, as whoever made it makes another one then.

``blocks`` is set once blocks were made, so a reader who finds none knows that they are lost.

``taken`` has the ids of the groups that left the tail last. Whoever inserts a group again, because the answer was lost,
finds out by it that the first attempt was applied, though the group is gone: the rows may have been replaced since.

A process that is killed leaves its announcement. Until it is withdrawn, each writer of late rows and each reader of
rows of the tail costs an update of the document. Whoever meets an announcement that is older than
:data:`_ANNOUNCED_SECONDS` by its own clock withdraws it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from bson import Int64, ObjectId
from pymongo import ReturnDocument
from pymongo.read_concern import ReadConcern

from backtest_mongo.connection.hub import Hub
from backtest_mongo.core.columns import MOST_NEGATIVE
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.strategy_names import FIELD
from backtest_mongo.mongo.collection import SlotCollection
from backtest_mongo.mongo.committer import get_committer
from backtest_mongo.mongo.contexts import list_contexts, match_context
from backtest_mongo.mongo.format import note_feature
from backtest_mongo.mongo.indexes import Fields
from backtest_mongo.types import Document, to_millis

__all__ = ["FEATURE", "RENAMED_FROM", "RENAMED_TO", "Basis", "Head", "RangeNote", "SeriesHeads", "name_heads"]

#: The fields of two series whose strategy is being renamed.
RENAMED_FROM: Final = "renamedFrom"
RENAMED_TO: Final = "renamedTo"
#: What a program must know to write to a database with such series.
FEATURE: Final = "series"
#: For how long a look at the document holds, in seconds; and how long raising the bound, or announcing rows, takes.
_FRESH_SECONDS: Final = 0.1
_RAISING_SECONDS: Final = 2 * _FRESH_SECONDS
#: After how long an announcement is taken for one that was left. Whoever made it loses nothing but a wait.
_ANNOUNCED_SECONDS: Final = 120
#: How many of the groups that leave the tail are remembered, and how long before that they were made, in seconds.
_TAKEN: Final = 4_096
_TAKEN_SECONDS: Final = 600


@dataclass(frozen=True, slots=True)
class RangeNote:
    """What a change of blocks did, for those who watch.

    Attributes:
        kind: whether rows were stored or deleted.
        start: the time of the first of them.
        end: the end of the half-open range that has them.
        rows: how many they are.
    """

    kind: Literal["written", "deleted"]
    start: int
    end: int
    rows: int

    def encode(self, key: Document, edition: ObjectId) -> Document:
        """Return the field of the document; the edition makes it differ from the one before."""
        range_ = {"start": Int64(self.start), "end": Int64(self.end), "rows": self.rows}
        return {"kind": self.kind, "context": key, **range_, "edition": edition}


@dataclass(slots=True)
class Head:
    """What is known of a series.

    Attributes:
        bound: no row beyond it is in a block.
        edition: of the blocks.
        announced: the tokens of those who are about to merge rows from outside into blocks.
        is_moving: whether its strategy is being renamed, so that no blocks can be made.
        retention: what is kept, as text; ``None`` if everything is.
        seen: when that was read, by the clock of the event loop.
        raised: when the bound was first seen to be what it is.
        groups: how many groups the tail has, about.
        rows: how many rows it has, about.
        bytes: how many bytes these take, about; all three are counted once, and what this process adds.
        is_counted: whether they are.
    """

    bound: int
    edition: ObjectId
    announced: Sequence[ObjectId]
    is_moving: bool
    retention: str | None
    seen: float
    raised: float
    groups: int = 0
    rows: int = 0
    bytes: int = 0
    is_counted: bool = False

    @property
    def is_fresh(self) -> bool:
        """Whether it was read so short a time ago that what it says of rows beyond the bound holds."""
        return asyncio.get_running_loop().time() - self.seen < _FRESH_SECONDS

    def holds_beyond(self, time: int) -> bool:
        """Return whether a row of this time that is stored by now is in no block, and in none that is being made."""
        return time > self.bound and self.is_fresh


@dataclass(frozen=True, slots=True)
class Basis:
    """What a change of blocks relies on.

    Attributes:
        edition: of the blocks from which it was made.
        bound: the latest time of the rows that it puts there, ``None`` if writers need not know.
        token: its announcement, if it has one.
    """

    edition: ObjectId
    bound: int | None = None
    token: ObjectId | None = None


def name_heads(spec: SlotSpec) -> str:
    """Return the name of the collection of the documents of a slot's series."""
    return f"{spec.name.replace('_', '-')}-series"


class SeriesHeads:
    """The documents of the series of one slot."""

    def __init__(self, hub: Hub, spec: SlotSpec) -> None:
        self._hub = hub
        self._spec = spec
        self._documents = hub.get_database(spec)[name_heads(spec)].with_options(read_concern=hub.durable_read_concern)
        self.slot: SlotCollection = SlotCollection(hub, spec, self._documents, create_indexes=self._create_indexes)
        self._heads: dict[Key, Head] = {}

    def list_indexes(self) -> list[tuple[Fields, bool]]:
        """Return the fields of each index that is needed, and whether it is unique."""
        return [(tuple((name, 1) for name in self._spec.context_key), True)]

    async def _create_indexes(self) -> None:
        for fields, is_unique in self.list_indexes():
            await self._documents.create_index(list(fields), unique=is_unique)

    def get(self, context: Key) -> Head | None:
        """Return what is known, if anything is."""
        return self._heads.get(context)

    async def refresh(self, context: Key) -> Head:
        """Read the document within a request, or make it, and return what is known now."""
        seen = asyncio.get_running_loop().time()
        query = match_context(self._spec, context)
        found = await self.slot.attempt("reading a series", lambda _: self._documents.find_one(query, {"taken": 0}))
        if found is None:
            await note_feature(self._hub, FEATURE)
            await self.slot.ensure_indexes()
            first: Document = {"bound": Int64(MOST_NEGATIVE), "edition": ObjectId(), "written": datetime.now(UTC)}
            if self._spec.keep:
                first["retention"] = self._spec.keep
            with get_committer(self._hub).unblock():
                found = await self.slot.attempt(
                    "making a series",
                    lambda _: self._documents.find_one_and_update(
                        query, {"$setOnInsert": first}, {"taken": 0}, upsert=True, return_document=ReturnDocument.AFTER
                    ),
                )
        return self._take(context, found or {}, seen)

    def _take(self, context: Key, found: Document, seen: float) -> Head:
        is_moving, retention = RENAMED_FROM in found or RENAMED_TO in found, found.get("retention")
        bound, edition, announced = int(found["bound"]), found["edition"], found.get("announced") or ()
        head = self._heads.get(context)
        if head is None:
            now = asyncio.get_running_loop().time()
            head = self._heads[context] = Head(bound, edition, announced, is_moving, retention, seen, now)
            return head
        if head.bound != bound:
            head.raised = asyncio.get_running_loop().time()
        head.bound, head.edition, head.announced, head.seen = bound, edition, announced, seen
        head.is_moving, head.retention = is_moving, retention
        return head

    def drop_cached(self, context: Key) -> None:
        """Forget what is known."""
        self._heads.pop(context, None)

    async def open(self, context: Key) -> Head:
        """Return what is known, by a request of its own if nothing is."""
        return self._heads.get(context) or await self.look(context)

    async def look(self, context: Key) -> Head:
        """Read the document by a request of its own."""
        return await self.slot.read("reading a series", lambda: self.refresh(context))

    async def settle(self, context: Key, head: Head, bound: int) -> None:
        """Raise the bound to a time, unless it is beyond it, and wait until no writer relies on a lower one."""
        clock = asyncio.get_running_loop().time
        if bound > head.bound:
            await self._change(context, {"$max": {"bound": Int64(bound)}})
            head.bound, head.raised = bound, clock()
        await asyncio.sleep(max(0.0, head.raised + _RAISING_SECONDS - clock()))

    @staticmethod
    async def wait_for_writers() -> None:
        """Wait until nobody relies on a bound, or on a lack of announcements, that was seen before."""
        await asyncio.sleep(_RAISING_SECONDS)

    async def announce(self, context: Key, bound: int, token: ObjectId) -> None:
        """Say, by a request of its own, that rows from outside up to a time are about to be merged."""
        await self._change(context, {"$max": {"bound": Int64(bound)}, "$addToSet": {"announced": token}})

    async def withdraw(self, context: Key, tokens: Sequence[ObjectId]) -> None:
        """End announcements, by a request of its own."""
        await self._change(context, {"$pull": {"announced": {"$in": list(tokens)}}})

    async def set_retention(self, context: Key, keep: str | None) -> None:
        """Keep a part of the rows from now on, by requests of their own."""
        head = await self.look(context)
        await self._change(context, {"$unset": {"retention": ""}} if keep is None else {"$set": {"retention": keep}})
        head.retention = keep

    async def read_retention(self, context: Key) -> str | None:
        """Return what is kept, by a request of its own."""
        query = match_context(self._spec, context)
        found = await self.slot.read("reading a series", lambda: self._documents.find_one(query, {"retention": 1}))
        return (found or {}).get("retention")

    async def disturb(self, context: Key, head: Head) -> None:
        """Let those who have announced rows merge them again, by a request of its own."""
        await self._change(context, {"$set": {"edition": ObjectId()}})
        oldest = datetime.now(UTC) - timedelta(seconds=_ANNOUNCED_SECONDS)
        if left := [token for token in head.announced if token.generation_time < oldest]:
            await self.withdraw(context, left)

    async def _change(self, context: Key, update: Document) -> None:
        query = match_context(self._spec, context)
        with get_committer(self._hub).unblock():
            await self.slot.write("writing a series", lambda _: self._documents.update_one(query, update))

    async def advance(
        self,
        context: Key,
        basis: Basis,
        following: ObjectId,
        session: Any,
        *,
        has_blocks: bool,
        note: RangeNote | None = None,
        taken: Collection[ObjectId] = (),
    ) -> bool:
        """Replace the edition in a transaction, and note what was changed, and which groups leave the tail.

        Returns:
            Whether the series still was what the change was made for.
        """
        key = match_context(self._spec, context)
        query = {**key, "edition": basis.edition}
        if basis.bound is not None:
            query["bound"] = {"$gte": Int64(basis.bound)}
        if basis.token is not None:
            query["announced"] = basis.token
        update: Document = {"edition": following, "written": datetime.now(UTC)}
        if has_blocks:
            update["blocks"] = True
        if note is not None:
            update["change"] = note.encode(key, following)
        oldest = datetime.now(UTC) - timedelta(seconds=_TAKEN_SECONDS)
        late = [group for group in taken if group.generation_time > oldest]
        push = {"$push": {"taken": {"$each": late, "$slice": -_TAKEN}}} if late else {}
        changed = await self._documents.update_one(query, {"$set": update, **push}, session=session)
        return changed.matched_count == 1

    async def find_taken(self, groups: Mapping[Key, Sequence[ObjectId]]) -> set[ObjectId]:
        """Return, within a request, which groups of some series have left the tail a short time ago."""
        latest = self._documents.with_options(read_concern=ReadConcern("local"))
        found: set[ObjectId] = set()
        for context, ids in groups.items():
            query = {**match_context(self._spec, context), "taken": {"$in": ids}}
            head = await latest.find_one(query, {"taken": 1})
            found.update(head["taken"] if head is not None else ())
        return found

    async def has_edition(self, context: Key, edition: ObjectId, session: Any) -> bool:
        """Return, within a transaction, whether the edition is this one."""
        query = {**match_context(self._spec, context), "edition": edition}
        return await self._documents.find_one(query, session=session) is not None

    async def has_blocks(self, context: Key) -> bool:
        """Return, by a request of its own, whether blocks were made of the series."""
        query = {**match_context(self._spec, context), "blocks": True}
        found = await self.slot.read("reading a series", lambda: self._documents.find_one(query, {"_id": 1}))
        return found is not None

    def list_contexts(self, where: Mapping[str, Any]) -> AsyncIterator[Key]:
        """Yield the contexts of the series, in the order of the key."""
        return list_contexts(self.slot, where)

    async def read_edition(self, context: Key) -> ObjectId | None:
        """Return the edition by a request of its own, ``None`` if there is no such series."""
        query = match_context(self._spec, context)
        found = await self.slot.read("reading a series", lambda: self._documents.find_one(query, {"edition": 1}))
        return None if found is None else found["edition"]

    async def find_written(self, context: Key) -> int | None:
        """Return when rows were last merged into blocks, or the series was made, in milliseconds since the epoch."""
        query = match_context(self._spec, context)
        found = await self.slot.read("reading a series", lambda: self._documents.find_one(query, {"written": 1}))
        return None if found is None or found.get("written") is None else to_millis(found["written"])

    async def forget(self, context: Key, session: Any) -> None:
        """Delete the document of a series without rows, in a transaction."""
        key = match_context(self._spec, context)
        found = await self._documents.find_one(key, {RENAMED_FROM: 1, RENAMED_TO: 1}, session=session) or {}
        for mark, others in ((RENAMED_FROM, RENAMED_TO), (RENAMED_TO, RENAMED_FROM)):
            if mark in found:  # there is nothing any more that the other one could be renamed to, or from
                await self._documents.update_one({**key, FIELD: found[mark]}, {"$unset": {others: ""}}, session=session)
        await self._documents.delete_one(key, session=session)
        self.drop_cached(context)
