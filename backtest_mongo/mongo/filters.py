"""Lists that are filtered by what payloads hold: the conditions of a query, and the indexes that serve them.

An index costs every write of its slot, so it is created in the background when a list is first filtered by its field.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from pymongo import IndexModel

from backtest_mongo.connection.operation import Attempts
from backtest_mongo.core.background import start_background
from backtest_mongo.core.selection import PayloadFilter
from backtest_mongo.mongo.collection import SlotCollection
from backtest_mongo.mongo.indexes import Fields, filter_indexes
from backtest_mongo.types import Document

__all__ = ["ListFilters", "make_conditions"]

_INFINITY: Final = float("inf")
_NUMBERS: Final = ("int", "long", "double")


class ListFilters:
    """The filters of a slot's lists on one event loop."""

    def __init__(self, slot: SlotCollection) -> None:
        self._slot = slot
        #: Indexes that this process has asked for.
        self._indexed: set[Fields] = set()

    def compare(self, where: PayloadFilter) -> Document:
        """Return the conditions of a filter, and let the indexes that serve them be made, if they are missing."""
        spec = self._slot.spec
        for fields in filter_indexes(spec, (path for path, _ in where.texts), bool(where.time)):
            if fields not in self._indexed:
                self._indexed.add(fields)
                start_background(
                    partial(self._slot.write, "creating an index", partial(self._create_index, fields)),
                    "the index of a filter could not be created, so lists that use the filter are slower",
                    slot=spec.name,
                    collection=spec.collection,
                    fields=", ".join(name for name, _ in fields),
                )
        return make_conditions(where, spec.field)

    async def _create_index(self, fields: Fields, attempts: Attempts) -> None:
        await self._slot.documents.create_indexes([IndexModel(list(fields))])


def make_conditions(where: PayloadFilter, field: str) -> Document:
    """Return the conditions of a filter.

    Args:
        where: the filter.
        field: the document's field that holds the payload.
    """
    conditions: Document = {f"{field}.{path}": text for path, text in where.texts}
    # By itself, a condition holds as well for a list that has such an element.
    exact: list[Document] = [{"$eq": [f"${name}", {"$literal": text}]} for name, text in conditions.items()]
    if where.time:
        name = f"{field}.{where.time}"
        since = {"$gt": -_INFINITY} if where.since is None else {"$gte": where.since}
        until = {"$lt": _INFINITY} if where.until is None else {"$lte": where.until}
        conditions[name] = since | until
        exact.append({"$in": [{"$type": f"${name}"}, list(_NUMBERS)]})
    return conditions | {"$expr": {"$and": exact}}
