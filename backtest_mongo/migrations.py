"""Databases that older versions of the Node package have made: what of them is in the way, and mending it.

Their unique index of a slot has fewer fields (``SlotSpec.former``), and their rows lack the others. The order of the
steps makes it safe at any moment, also when it is broken off and begun again: our index is made first, so that keys
are unique throughout; then the rows get what they lack, while the former index still forbids a second row that would
then have the same key; that index goes last.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, OperationFailure

from backtest_mongo.faults import DUPLICATE_KEY
from backtest_mongo.hub import current_hub
from backtest_mongo.limits import Limit
from backtest_mongo.mongo_rows import PAGE, MongoRows
from backtest_mongo.slots import SLOTS
from backtest_mongo.specs import FLAG, camel
from backtest_mongo.types import Document

__all__ = ["MigrationReport", "Outdated", "migrate"]

#: What the server answers where somebody else has dropped the index, or the collection, meanwhile.
_GONE: Final = (26, 27)
#: Keys of conflicting rows that are reported.
_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class Outdated:
    """What of one slot an older version of the Node package has made.

    Attributes:
        slot: the slot's name.
        collection: its collection.
        indexes: the names of the unique indexes that are in the way.
        rows: how many rows lack fields of the key.
        mended: how many of them were given those fields.
        conflicts: the keys, with those fields, of rows that were left as they are, as another row has the key already:
            the first hundred.
        left: how many rows lack fields now.
    """

    slot: str
    collection: str
    indexes: tuple[str, ...]
    rows: int
    mended: int = 0
    conflicts: tuple[Document, ...] = ()
    left: int = 0


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """What ``migrate()`` found, by slot, and whether it was mended."""

    applied: bool
    found: tuple[Outdated, ...]

    @property
    def is_clean(self) -> bool:
        """Whether nothing is left to be done."""
        return not self.found or (self.applied and not any(one.left for one in self.found))


async def migrate(apply: bool = False) -> MigrationReport:
    """Find what older versions of the Node package left that is in the way, and with ``apply`` mend it.

    Versions before 20 of that package made the unique index of session rows over three fields, and rows without
    ``symbol`` and ``backtest``: such rows are never found, and a second session of a strategy is refused. Mending gives
    the rows ``""`` and ``False``, and replaces the index; payloads and times stay as they are.

    Others may read and write meanwhile. It may be broken off, run again, and run by several at once. Stop programs of
    the older version before: they would make the index again.

    Raises:
        IndexConflictError: rows share one key, so that they can't be made unique.
        StoreUnavailableError, StoreError: MongoDB can't be reached, or refuses it.
    """
    hub = current_hub()
    found = []
    for spec in SLOTS:
        if spec.former:
            slot = _Slot(hub, spec)
            outdated = await slot.find_outdated()
            if outdated is not None:
                found.append(await slot.mend(outdated) if apply else outdated)
    return MigrationReport(apply, tuple(found))


class _Slot(MongoRows):
    async def find_outdated(self) -> Outdated | None:
        """Return what is in the way, ``None`` if nothing is."""
        names, rows = await self._former_indexes(), await self._count()
        if not names and not rows:
            return None
        return Outdated(self._spec.name, self._spec.collection, tuple(names), rows, left=rows)

    async def mend(self, outdated: Outdated) -> Outdated:
        await self.ready()
        mended, _ = await self._mend_rows()
        for name in outdated.indexes:
            with Limit(self._limit):
                await self._retried("dropping an index", partial(self._drop, name))
        # Once more, for what a program of the older version has written until then.
        late, conflicts = await self._mend_rows()
        return Outdated(
            outdated.slot,
            outdated.collection,
            outdated.indexes,
            outdated.rows,
            mended + late,
            tuple(conflicts[:_SHOWN]),
            await self._count(),
        )

    @property
    def _lacking(self) -> Document:
        """The query for rows that lack a field of the key; one that is null counts, for no key of ours is."""
        return {"$or": [{field: None} for field in self._defaults]}

    @property
    def _defaults(self) -> dict[str, str | bool]:
        return {camel(name): False if name == FLAG else "" for name in self._spec.optional}

    async def _former_indexes(self) -> list[str]:
        with Limit(self._limit):
            found = await self._retried("listing the indexes", self._collection.index_information)
        former = {*self._spec.former}
        return [name for name, index in found.items() if index.get("unique") and {*dict(index["key"])} == former]

    async def _count(self) -> int:
        with Limit(self._limit):
            return await self._retried("counting", lambda: self._collection.count_documents(self._lacking))

    async def _drop(self, name: str) -> None:
        try:
            await self._collection.drop_index(name)
        except OperationFailure as error:
            if error.code not in _GONE:
                raise

    async def _mend_rows(self) -> tuple[int, list[Document]]:
        """Return how many rows were mended, and the keys of those that could not be."""
        given = [{"$set": {name: {"$ifNull": [f"${name}", value]} for name, value in self._defaults.items()}}]
        mended = 0
        conflicts: list[Document] = []
        async for rows in self._pages():
            # Of each row by itself: others may have mended or removed it meanwhile.
            updates = [UpdateOne({"_id": row["_id"], **self._lacking}, given) for row in rows]
            with Limit(self._limit):
                changed, refused = await self._retried("writing what rows lack", partial(self._write, updates))
            mended += changed
            conflicts += [self._key(rows[index]) for index in refused]
        return mended, conflicts

    async def _pages(self) -> AsyncIterator[list[Document]]:
        query = self._lacking
        while True:
            with Limit(self._limit):
                page = await self._retried("listing", partial(self._page, query))
            if page:
                yield page
            if len(page) < PAGE:
                return
            query = {**self._lacking, "_id": {"$gt": page[-1]["_id"]}}

    async def _page(self, query: Document) -> list[Document]:
        cursor = self._collection.find(query, dict.fromkeys(self._spec.key, 1))
        return await cursor.sort("_id", 1).limit(PAGE).to_list(PAGE)

    async def _write(self, updates: list[UpdateOne]) -> tuple[int, list[int]]:
        try:
            return (await self._collection.bulk_write(updates, ordered=False)).modified_count, []
        except BulkWriteError as error:
            details: Any = error.details
            failed = details.get("writeErrors", [])
            if details.get("writeConcernErrors") or any(row["code"] != DUPLICATE_KEY for row in failed):
                raise
            return details.get("nModified", 0), [row["index"] for row in failed]

    def _key(self, row: Document) -> Document:
        defaults = self._defaults
        return {name: defaults.get(name) if row.get(name) is None else row[name] for name in self._spec.key}
