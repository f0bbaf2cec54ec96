"""Renames a strategy in series with columns in MongoDB.

The checksums of blocks and groups cover their context, so each document is made again, without decompressing it. The
documents of a series are deleted and inserted under the other name in one transaction, or in several if they are too
large for one: then the documents of both series say so until the last step. As long as they do, neither is sealed: a
block that was made meanwhile could have the rows of one that is yet to come. So a process that is killed in between
leaves every row under one of the names, and the next call goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from bson import Int64, ObjectId
from pymongo.errors import BulkWriteError

from backtest_mongo.connection.driver_errors import DUPLICATE_KEY
from backtest_mongo.connection.hub import Hub
from backtest_mongo.core.columns import MOST_NEGATIVE
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.strategy_names import FIELD, Moved, NewName, make_name_conflict
from backtest_mongo.mongo.committer import get_committer
from backtest_mongo.mongo.contexts import match_context
from backtest_mongo.series.columns.blocks import BEGINNING, END, PLACE, Partition, SeriesBlocks, get_position
from backtest_mongo.series.columns.heads import RENAMED_FROM, RENAMED_TO, RangeNote, SeriesHeads
from backtest_mongo.series.columns.tail import SeriesTail
from backtest_mongo.types import Document

__all__ = ["ColumnRenamer"]

#: Bytes of documents that one transaction takes at most, but for its first one.
_STEP_BYTES: Final = 12 << 20
_RENAMING: Final = "renaming a strategy"
_LISTING: Final = "listing"


class ColumnRenamer:
    """Renames the series of one slot."""

    def __init__(self, hub: Hub, spec: SlotSpec, heads: SeriesHeads, tail: SeriesTail, blocks: SeriesBlocks) -> None:
        self._spec = spec
        self._heads = heads
        self._tail = tail
        self._blocks = blocks
        self._committer = get_committer(hub)

    async def check(self) -> None:
        await self._committer.check()

    async def count(self, context: Key) -> Moved:
        """Return how many rows there are; those that were replaced and not merged yet count."""
        tail = await self._tail.count(context)
        return Moved(tail.rows + (await self._blocks.count(context))[1], 0)

    async def is_moving(self, source: Key, target: Key) -> bool:
        query = {**match_context(self._spec, target), RENAMED_FROM: self._get_name(source)}
        documents = self._heads.slot.documents
        return await self._heads.slot.read(_LISTING, lambda: documents.find_one(query, {"_id": 1})) is not None

    async def move(self, source: Key, target: Key, name: NewName) -> Moved:
        for slot in (self._tail.slot, self._heads.slot, self._blocks.slot):
            await slot.prepare()
        if self._spec.immutable and not await self.is_moving(source, target):
            # Whoever writes under the other name must know that blocks may have its rows.
            await self._run(partial(self._begin, source, target))
            await self._heads.wait_for_writers()
        rows, is_left = 0, True
        while is_left:
            done, is_left = await self._run(partial(self._move_some, source, target))
            rows += done
        for context in (source, target):
            self._heads.drop_cached(context)
        return Moved(rows, 0)

    async def _run(self, work: Callable[[Any], Any]) -> Any:
        return await self._committer.run_plain(_RENAMING, self._spec, work)

    async def count_mentions(self, name: NewName) -> dict[Key, int]:
        return {}  # rows have no payloads

    async def rename_mentions(self, name: NewName) -> int:
        return 0

    # In transactions

    async def _begin(self, source: Key, target: Key, session: Any) -> None:
        """Mark both series; do nothing if they are marked."""
        if await self._has_mark(source, target, session):
            return
        await self._refuse_stored(target, session)
        await self._mark(source, target, session)

    async def _has_mark(self, source: Key, target: Key, session: Any) -> bool:
        query = {**match_context(self._spec, target), RENAMED_FROM: self._get_name(source)}
        return await self._heads.slot.documents.find_one(query, {"_id": 1}, session=session) is not None

    async def _mark(self, source: Key, target: Key, session: Any) -> None:
        documents = self._heads.slot.documents
        await self._make_head(source, target, session)
        for context, mark, other in ((source, RENAMED_TO, target), (target, RENAMED_FROM, source)):
            marked = {mark: self._get_name(other), "edition": ObjectId()}
            update: Document = {"$set": marked, "$max": {"bound": Int64(MOST_NEGATIVE)}}
            await documents.update_one(match_context(self._spec, context), update, upsert=True, session=session)

    async def _make_head(self, source: Key, target: Key, session: Any) -> None:
        """Give the other series what the document of the first one says."""
        documents = self._heads.slot.documents
        found = await documents.find_one(match_context(self._spec, source), session=session) or {}
        made: Document = {"edition": ObjectId(), "written": datetime.now(UTC)}
        if "retention" in found:
            made["retention"] = found["retention"]
        bound = Int64(found.get("bound", MOST_NEGATIVE))
        update: Document = {"$max": {"bound": bound}, "$set": made, "$unset": {"blocks": ""}}
        await documents.update_one(match_context(self._spec, target), update, upsert=True, session=session)

    async def _move_some(self, source: Key, target: Key, session: Any) -> tuple[int, bool]:
        """Move what one transaction takes; return how many rows, and whether any is left."""
        blocks, size, is_left = await self._read_some(self._blocks, source, _STEP_BYTES, session)
        groups: list[Document] = []
        if not is_left:
            groups, _, is_left = await self._read_some(self._tail, source, _STEP_BYTES - size, session)
        moved = [document for document in (*blocks, *groups) if document.get("rows") != 0]
        if not await self._has_mark(source, target, session) and moved:  # none are left where an answer was lost
            await self._refuse_stored(target, session)
            await (self._mark if is_left else self._make_head)(source, target, session)
        if blocks:
            await self._move_blocks(source, target, blocks, is_left, session)
        if groups:
            await self._move_groups(source, target, groups, session)
        if moved:
            has_blocks = any(block in moved for block in blocks)
            await self._note(source, target, moved, has_blocks, session)
        if not is_left:
            await self._finish(source, target, session)
        return sum(document["rows"] for document in moved), is_left

    async def _read_some(
        self, where: SeriesBlocks | SeriesTail, context: Key, size: int, session: Any
    ) -> tuple[list[Document], int, bool]:
        """Return as many documents as one transaction takes, their bytes, and whether there may be more."""
        found: list[Document] = []
        total = 0
        query = match_context(self._spec, context)
        cursor = where.slot.documents.find(query, session=session, batch_size=16).sort(where.order)
        try:
            async for document in cursor:
                length = sum(map(len, (document.get("columns") or {}).values()))
                if total + length > size and (total or size < _STEP_BYTES):
                    return found, total, True
                found.append(document)
                total += length
        finally:
            await cursor.close()
        return found, total, False

    async def _move_blocks(
        self, source: Key, target: Key, blocks: Sequence[Document], is_left: bool, session: Any
    ) -> None:
        """Move the first blocks of a series; those of both series divide the time afterwards, as before."""
        documents = self._blocks.slot.documents
        renamed = [self._blocks.rename(source, target, block, _RENAMING) for block in blocks]
        self._check_place(source, renamed)
        filled = [block for block in renamed if block["rows"]]
        await documents.delete_many({"_id": {"$in": [block["_id"] for block in blocks]}}, session=session)
        if is_left:  # it has others, or groups
            rest = self._blocks.make_empty(source, BEGINNING, self._blocks.get_end(blocks[-1]))
            await documents.insert_one(rest, session=session)
        if not filled:
            return
        query = match_context(self._spec, target)
        position, made = BEGINNING, list[Document]()
        backwards = [(name, -direction) for name, direction in self._blocks.order]
        last = await documents.find_one(query, dict.fromkeys(PLACE, 1), sort=backwards, session=session)
        if last is not None:  # the empty one that stands for all that is yet to come
            position = get_position(last)
            await documents.delete_one({"_id": last["_id"], **query}, session=session)
        for block in filled:
            start = get_position(block)
            if start > position:
                made.append(self._blocks.make_empty(target, position, start))
            made.append(block)
            position = self._blocks.get_end(block)
        if position < END:
            made.append(self._blocks.make_empty(target, position, END))
        await documents.insert_many(made, session=session)

    def _check_place(self, source: Key, blocks: Sequence[Document]) -> None:
        """Refuse blocks between which one is missing.

        Raises:
            StoreError: there are some.
        """
        position = BEGINNING
        for block in blocks:
            start = get_position(block)
            if start != position:
                raise self._blocks.make_part_error(source, Partition(position, start, None))
            position = self._blocks.get_end(block)

    async def _move_groups(self, source: Key, target: Key, groups: Sequence[Document], session: Any) -> None:
        documents = self._tail.slot.documents
        made = [self._tail.rename(source, target, group, _RENAMING) for group in groups]
        query = {"_id": {"$in": [group["_id"] for group in groups]}, **match_context(self._spec, source)}
        await documents.delete_many(query, session=session)
        try:
            await documents.insert_many(made, session=session)
        except BulkWriteError as error:
            details: Any = error.details
            if all(row["code"] != DUPLICATE_KEY for row in details.get("writeErrors", [])):
                raise
            raise make_name_conflict(self._spec, target, "what was renamed before stays renamed") from error

    async def _note(self, source: Key, target: Key, moved: Sequence[Document], has_blocks: bool, session: Any) -> None:
        """Note what has moved, for those who watch one of the two."""
        range_ = (
            min(document["first"] for document in moved),
            max(document["last"] for document in moved) + 1,
            sum(document["rows"] for document in moved),
        )
        for context, note in ((source, RangeNote("deleted", *range_)), (target, RangeNote("written", *range_))):
            key, edition = match_context(self._spec, context), ObjectId()
            changed: Document = {"edition": edition, "change": note.encode(key, edition)}
            if has_blocks:
                changed["blocks"] = True
            await self._heads.slot.documents.update_one(key, {"$set": changed}, session=session)

    async def _finish(self, source: Key, target: Key, session: Any) -> None:
        documents = self._heads.slot.documents
        await documents.delete_one(match_context(self._spec, source), session=session)
        await self._blocks.drop_empty(source, session)
        named = {**match_context(self._spec, target), RENAMED_FROM: self._get_name(source)}
        await documents.update_one(named, {"$unset": {RENAMED_FROM: ""}}, session=session)

    async def _refuse_stored(self, target: Key, session: Any) -> None:
        """Refuse a series that has rows, and delete the blocks of one that has none any more.

        Raises:
            ConflictError: it has rows.
        """
        filled = {**match_context(self._spec, target), "rows": {"$ne": 0}}
        for where in (self._tail, self._blocks):
            if await where.slot.documents.find_one(filled, {"_id": 1}, session=session) is not None:
                raise make_name_conflict(self._spec, target, "what was renamed before stays renamed")
        await self._blocks.drop_empty(target, session)

    def _get_name(self, context: Key) -> str:
        return str(match_context(self._spec, context)[FIELD])
