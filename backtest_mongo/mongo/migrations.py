"""Databases of older versions of the Node package: what is outdated in them, and its migration.

Their unique index of a slot has fewer fields (``SlotSpec.former``), and their rows lack the others. The order of the
steps keeps a migration safe at any moment, even if it is interrupted and repeated: our index is created first, so that
keys are unique throughout; then the rows get the fields that they lack, while the former index still forbids a second
row that would get the same key; that index is dropped last.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, OperationFailure

from backtest_mongo.connection.driver_errors import DUPLICATE_KEY
from backtest_mongo.connection.hub import Hub
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.connection.operation import Attempts
from backtest_mongo.core.slots import SLOTS
from backtest_mongo.core.specs import FLAG, SlotSpec, camel
from backtest_mongo.mongo.collection import PAGE, SlotCollection
from backtest_mongo.types import Document

__all__ = ["MigrationReport", "Outdated", "migrate"]

#: The server's codes where another program has dropped the index, or the collection, meanwhile.
_GONE: Final = (26, 27)
#: Keys of conflicting rows that are reported.
_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class Outdated:
    """What an older version of the Node package has left in one slot.

    Attributes:
        slot: the slot's name.
        collection: its collection.
        indexes: the names of the unique indexes that conflict with the slot's key.
        rows: how many rows lack fields of the key.
        mended: how many of them were given those fields.
        conflicts: the first hundred keys, with those fields, of rows that were left as they are, as another row
            already has the key.
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
    """What ``migrate()`` found, by slot, and whether it was migrated."""

    applied: bool
    found: tuple[Outdated, ...]

    @property
    def is_clean(self) -> bool:
        """Whether nothing is left to be done."""
        return not self.found or (self.applied and not any(one.left for one in self.found))


async def migrate(apply: bool = False) -> MigrationReport:
    """Find what older versions of the Node package left that conflicts with this one, and with ``apply`` migrate it.

    Versions before 20 of that package created the unique index of session rows on three fields, and rows without
    ``symbol`` and ``backtest``: no read finds such rows, and the index rejects a second session of a strategy. The
    rows get ``""`` and ``False``, and the index is replaced; payloads and times stay as they are.

    Other programs may read and write at the same time. A migration may be interrupted, repeated, and run by several
    processes at once. Stop programs of the older version first: they would create the index again.

    Raises:
        IndexConflictError: several rows have the same key, so the unique index can't be created.
        StoreUnavailableError, StoreError: MongoDB can't be reached, or answers with an error.
    """
    hub = current_hub()
    found = []
    for spec in SLOTS:
        if spec.former:
            slot = _Slot(hub, spec)
            outdated = await slot.find_outdated()
            if outdated is not None:
                found.append(await slot.migrate(outdated) if apply else outdated)
    return MigrationReport(apply, tuple(found))


class _Slot:
    def __init__(self, hub: Hub, spec: SlotSpec) -> None:
        self._spec = spec
        self._slot = SlotCollection(hub, spec)
        self._collection = self._slot.documents

    async def find_outdated(self) -> Outdated | None:
        """Return what is outdated, ``None`` if nothing is."""
        names, rows = await self._former_indexes(), await self._count()
        if not names and not rows:
            return None
        return Outdated(self._spec.name, self._spec.collection, tuple(names), rows, left=rows)

    async def migrate(self, outdated: Outdated) -> Outdated:
        await self._slot.prepare()
        completed, _ = await self._complete_rows()
        for name in outdated.indexes:
            await self._slot.write("dropping an index", partial(self._drop, name))
        # Again, for what a program of the older version has written until then.
        late, conflicts = await self._complete_rows()
        return Outdated(
            outdated.slot,
            outdated.collection,
            outdated.indexes,
            outdated.rows,
            completed + late,
            tuple(conflicts[:_SHOWN]),
            await self._count(),
        )

    @property
    def _lacking(self) -> Document:
        """The query for rows that lack a field of the key; null counts as lacking, as no key of ours is null."""
        return {"$or": [{field: None} for field in self._defaults]}

    @property
    def _defaults(self) -> dict[str, str | bool]:
        return {camel(name): False if name == FLAG else "" for name in self._spec.optional}

    async def _former_indexes(self) -> list[str]:
        found = await self._slot.read("listing the indexes", self._collection.index_information)
        former = {*self._spec.former}
        return [name for name, index in found.items() if index.get("unique") and {*dict(index["key"])} == former]

    async def _count(self) -> int:
        return await self._slot.read("counting", lambda: self._collection.count_documents(self._lacking))

    async def _drop(self, name: str, _: Attempts) -> None:
        try:
            await self._collection.drop_index(name)
        except OperationFailure as error:
            if error.code not in _GONE:
                raise

    async def _complete_rows(self) -> tuple[int, list[Document]]:
        """Give rows the fields that they lack; return how many, and the keys that another row already has."""
        given = [{"$set": {name: {"$ifNull": [f"${name}", value]} for name, value in self._defaults.items()}}]
        completed = 0
        conflicts: list[Document] = []
        async for rows in self._pages():
            # Each row by itself, as others may have completed or removed it meanwhile.
            updates = [UpdateOne({"_id": row["_id"], **self._lacking}, given) for row in rows]
            changed, refused = await self._slot.write("writing what rows lack", partial(self._update, updates))
            completed += changed
            conflicts += [self._key(rows[index]) for index in refused]
        return completed, conflicts

    async def _pages(self) -> AsyncIterator[list[Document]]:
        query = self._lacking
        while True:
            page = await self._slot.read("listing", partial(self._page, query))
            if page:
                yield page
            if len(page) < PAGE:
                return
            query = {**self._lacking, "_id": {"$gt": page[-1]["_id"]}}

    async def _page(self, query: Document) -> list[Document]:
        cursor = self._collection.find(query, dict.fromkeys(self._spec.key, 1))
        return await cursor.sort("_id", 1).limit(PAGE).to_list(PAGE)

    async def _update(self, updates: list[UpdateOne], _: Attempts) -> tuple[int, list[int]]:
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
