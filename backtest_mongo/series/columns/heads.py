"""The document of each series, ``{…the context, bound, edition, announced, written}``, in ``{name}-series``.

``bound`` is the latest time of a row that is in a block or may soon be. ``edition`` is replaced by whoever changes the
blocks, within the transaction that does: a change that was prepared from another edition is not committed. While rows
from outside are about to be merged into blocks, ``announced`` is set, and whoever stores a row that these may contain,
too, replaces the edition as well, so that they are merged again.

A writer need not look at the document for each row. What it saw a moment ago holds for rows beyond the bound, as
whoever raises the bound waits for longer than that before it goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from bson import Int64, ObjectId
from pymongo import ReturnDocument

from backtest_mongo.connection.hub import Hub
from backtest_mongo.core.columns import MOST_NEGATIVE
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.mongo.collection import SlotCollection
from backtest_mongo.mongo.contexts import list_contexts, match_context
from backtest_mongo.mongo.format import note_feature
from backtest_mongo.types import Document, to_millis

__all__ = ["FEATURE", "Head", "SeriesHeads"]

#: What a program must know to write to a database with such series.
FEATURE: Final = "series"
#: For how long a look at the document holds for rows beyond the bound, in seconds; and how long raising it takes.
_FRESH_SECONDS: Final = 0.25
_RAISING_SECONDS: Final = 2 * _FRESH_SECONDS


@dataclass(slots=True)
class Head:
    """What is known of a series.

    Attributes:
        bound: no row beyond it is in a block.
        edition: of the blocks.
        announced: whether rows from outside are about to be merged into blocks.
        seen: when that was read, by the clock of the event loop.
        groups: how many groups the tail has, about.
        rows: how many rows it has, about; both are counted once, and what this process adds.
        is_counted: whether they are.
    """

    bound: int
    edition: ObjectId
    announced: bool
    seen: float
    groups: int = 0
    rows: int = 0
    is_counted: bool = False

    def holds_beyond(self, time: int) -> bool:
        """Return whether a row of this time that is stored by now is in no block, and in none that is being made."""
        age = asyncio.get_running_loop().time() - self.seen
        return time > self.bound and age < _FRESH_SECONDS


class SeriesHeads:
    """The documents of the series of one slot."""

    def __init__(self, hub: Hub, spec: SlotSpec) -> None:
        name = f"{spec.name.replace('_', '-')}-series"
        self._hub = hub
        self._spec = spec
        self._documents = hub.get_database(spec)[name].with_options(read_concern=hub.durable_read_concern)
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
        bound, edition, announced = int(found["bound"]), found["edition"], found.get("announced") is not None
        head = self._heads.get(context)
        if head is None:
            head = self._heads[context] = Head(bound, edition, announced, seen)
        else:
            head.bound, head.edition, head.announced, head.seen = bound, edition, announced, seen
        return head

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

    async def advance(self, context: Key, edition: ObjectId, following: ObjectId, session: Any) -> bool:
        """Replace the edition in a transaction; return whether it was still this one."""
        query = {**match_context(self._spec, context), "edition": edition}
        update = {"$set": {"edition": following, "written": datetime.now(UTC)}}
        changed = await self._documents.update_one(query, update, session=session)
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
        await self.slot.attempt(
            "deleting a series", lambda _: self._documents.delete_one(match_context(self._spec, context))
        )
        self._heads.pop(context, None)
