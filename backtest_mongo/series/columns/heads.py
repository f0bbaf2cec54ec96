"""The document of each series, in ``{name}-series``.

::

    {…the context, bound, edition, announced, written, change,
     renamedFrom, renamedTo}    while a strategy is being renamed, the name that this series had, or will have

``bound`` is the latest time of a row that is in a block or may soon be. ``edition`` is replaced by whoever changes the
blocks, within the transaction that does: a change that was prepared from another edition is not committed. While rows
from outside are about to be merged into blocks, ``announced`` is set, and whoever stores a row that these may contain,
too, replaces the edition as well, so that they are merged again.

``change`` says which rows the last change of blocks, or of a range of the tail, has stored or deleted, with the context
that they have. It is for :meth:`watch`, whose change stream has each version of it; other changes leave it as it is.

A writer need not look at the document for each row. What it saw a moment ago holds for rows beyond the bound, as
whoever raises the bound waits for longer than that before it goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from bson import Int64, ObjectId
from pymongo import ReturnDocument

from backtest_mongo.connection.hub import Hub
from backtest_mongo.core.columns import MOST_NEGATIVE
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.strategy_names import FIELD
from backtest_mongo.mongo.collection import SlotCollection
from backtest_mongo.mongo.contexts import list_contexts, match_context
from backtest_mongo.mongo.format import note_feature
from backtest_mongo.types import Document, to_millis

__all__ = ["FEATURE", "RENAMED_FROM", "RENAMED_TO", "Head", "RangeNote", "SeriesHeads", "name_heads"]

#: The fields of two series whose strategy is being renamed.
RENAMED_FROM: Final = "renamedFrom"
RENAMED_TO: Final = "renamedTo"
#: What a program must know to write to a database with such series.
FEATURE: Final = "series"
#: For how long a look at the document holds for rows beyond the bound, in seconds; and how long raising it takes.
_FRESH_SECONDS: Final = 0.25
_RAISING_SECONDS: Final = 2 * _FRESH_SECONDS


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
        announced: whether rows from outside are about to be merged into blocks.
        is_moving: whether its strategy is being renamed, so that no blocks can be made.
        seen: when that was read, by the clock of the event loop.
        groups: how many groups the tail has, about.
        rows: how many rows it has, about; both are counted once, and what this process adds.
        is_counted: whether they are.
    """

    bound: int
    edition: ObjectId
    announced: bool
    is_moving: bool
    seen: float
    groups: int = 0
    rows: int = 0
    is_counted: bool = False

    @property
    def is_fresh(self) -> bool:
        """Whether it was read so short a time ago that what it says of rows beyond the bound holds."""
        return asyncio.get_running_loop().time() - self.seen < _FRESH_SECONDS

    def holds_beyond(self, time: int) -> bool:
        """Return whether a row of this time that is stored by now is in no block, and in none that is being made."""
        return time > self.bound and self.is_fresh


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

    async def _create_indexes(self) -> None:
        context = self._spec.key[: len(self._spec.context)]
        await self._documents.create_index([(name, 1) for name in context], unique=True)

    def get(self, context: Key) -> Head | None:
        """Return what is known, if anything is."""
        return self._heads.get(context)

    async def refresh(self, context: Key) -> Head:
        """Read the document within a request, or make it, and return what is known now."""
        seen = asyncio.get_running_loop().time()
        query = match_context(self._spec, context)
        found = await self.slot.attempt("reading a series", lambda _: self._documents.find_one(query))
        if found is None:
            await note_feature(self._hub, FEATURE)
            await self.slot.ensure_indexes()
            first = {"bound": Int64(MOST_NEGATIVE), "edition": ObjectId(), "written": datetime.now(UTC)}
            found = await self.slot.attempt(
                "making a series",
                lambda _: self._documents.find_one_and_update(
                    query, {"$setOnInsert": first}, upsert=True, return_document=ReturnDocument.AFTER
                ),
            )
        return self._take(context, found or {}, seen)

    def _take(self, context: Key, found: Document, seen: float) -> Head:
        is_moving = RENAMED_FROM in found or RENAMED_TO in found
        bound, edition, announced = int(found["bound"]), found["edition"], found.get("announced") is not None
        head = self._heads.get(context)
        if head is None:
            head = self._heads[context] = Head(bound, edition, announced, is_moving, seen)
        else:
            head.bound, head.edition, head.announced, head.seen = bound, edition, announced, seen
            head.is_moving = is_moving
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

    async def raise_bound(self, context: Key, bound: int) -> None:
        """Raise the bound within a request; :meth:`wait_for_writers` before anything relies on it."""
        await self._update(context, {"$max": {"bound": Int64(bound)}})

    @staticmethod
    async def wait_for_writers() -> None:
        """Wait until no writer relies on a bound that it saw before."""
        await asyncio.sleep(_RAISING_SECONDS)

    async def announce(self, context: Key, bound: int) -> ObjectId:
        """Say, within a request, that rows from outside up to a time are about to be merged; return the token."""
        token = ObjectId()
        await self._update(context, {"$max": {"bound": Int64(bound)}, "$set": {"announced": token}})
        return token

    async def withdraw_own(self, context: Key, token: ObjectId) -> None:
        """End an announcement of one's own, within a request."""
        await self._update(context, {"$unset": {"announced": ""}}, {"announced": token})

    async def disturb(self, context: Key) -> None:
        """Let those who have announced rows merge them again, by a request of its own."""
        await self.slot.write("writing", lambda _: self._change(context, {"$set": {"edition": ObjectId()}}, {}))

    async def _update(self, context: Key, update: Document, more: Mapping[str, Any] | None = None) -> None:
        await self.slot.attempt("writing a series", lambda _: self._change(context, update, more or {}))

    async def _change(self, context: Key, update: Document, more: Mapping[str, Any]) -> None:
        await self._documents.update_one({**match_context(self._spec, context), **more}, update)

    async def advance(
        self, context: Key, edition: ObjectId, following: ObjectId, note: RangeNote | None, session: Any
    ) -> bool:
        """Replace the edition in a transaction, and note what it changes; return whether it was still this one."""
        key = match_context(self._spec, context)
        update: Document = {"edition": following, "written": datetime.now(UTC)}
        if note is not None:
            update["change"] = note.encode(key, following)
        changed = await self._documents.update_one({**key, "edition": edition}, {"$set": update}, session=session)
        return changed.matched_count == 1

    async def has_edition(self, context: Key, edition: ObjectId, session: Any) -> bool:
        """Return, within a transaction, whether the edition is this one."""
        query = {**match_context(self._spec, context), "edition": edition}
        return await self._documents.find_one(query, session=session) is not None

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

    async def forget(self, context: Key) -> None:
        """Delete the document of a series without rows, within a request."""
        await self.slot.attempt("deleting a series", lambda _: self._forget(context))
        self.drop_cached(context)

    async def _forget(self, context: Key) -> None:
        key = match_context(self._spec, context)
        found = await self._documents.find_one(key, {RENAMED_FROM: 1, RENAMED_TO: 1}) or {}
        for mark, others in ((RENAMED_FROM, RENAMED_TO), (RENAMED_TO, RENAMED_FROM)):
            if mark in found:  # there is nothing any more that the other one could be renamed to, or from
                await self._documents.update_one({**key, FIELD: found[mark]}, {"$unset": {others: ""}})
        await self._documents.delete_one(key)
