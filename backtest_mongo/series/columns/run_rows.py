"""Series with columns where a run is reset: their rows carry no run's name, so they are counted, and stay."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from backtest_mongo.connection.hub import Hub
from backtest_mongo.core.runs import Deleted, Selection
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.mongo.collection import SlotCollection, aggregate
from backtest_mongo.mongo.committer import MongoCommitter, get_committer
from backtest_mongo.series.columns.blocks import name_blocks
from backtest_mongo.types import Document

__all__ = ["MongoRunColumns"]


class MongoRunColumns:
    """The rows of one slot with columns on one event loop, none of which belongs to a run."""

    def __init__(self, hub: Hub, spec: SlotSpec) -> None:
        self.spec: SlotSpec = spec
        self._hub = hub
        self._slot = SlotCollection(hub, spec)
        self._blocks = hub.get_database(spec)[name_blocks(spec)]

    @property
    def committer(self) -> MongoCommitter:
        return get_committer(self._hub)

    async def count(self, selection: Selection) -> int:
        if selection.owner in ("run", "other") or selection.signals is not None:
            return 0
        match = {"$match": selection.list_equal(self.spec)}
        pipeline: list[Document] = [match, {"$group": {"_id": None, "rows": {"$sum": "$rows"}}}]
        count = 0
        for collection in (self._slot.documents, self._blocks):
            found = await self._slot.read("counting", partial(aggregate, collection, pipeline))
            count += sum(int(row["rows"]) for row in found)
        return count

    async def list_signals(self, selection: Selection) -> list[str]:
        return []

    async def delete(self, selection: Selection) -> AsyncIterator[Deleted]:
        nothing: tuple[Deleted, ...] = ()
        for step in nothing:
            yield step
