"""The natural keys of a collection, page by page in the order of its unique index: of rows, or of their versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pymongo import ASCENDING

from backtest_mongo.core.specs import FLAG, Key, SlotSpec
from backtest_mongo.types import Document

__all__ = ["find_keys"]


async def find_keys(
    documents: Any, spec: SlotSpec, where: Mapping[str, Any], after: Key | None, limit: int
) -> list[Key]:
    """Return the keys of documents, ``limit`` at most, as often as there are documents of them.

    Documents that lack a part of their key, as those of older versions of the Node package do, are left out.

    Args:
        documents: the driver's collection.
        spec: its slot.
        where: values of fields of the key.
        after: the key after which to begin, ``None`` for the first page.
        limit: how many documents to look at.
    """
    # Equal values, a range, and any values: what an index with the fields of the key finds in its order.
    query: Document = _match(spec, where, spec.key)
    if after is not None:
        steps: list[Document] = []
        for place, name in enumerate(spec.key):
            if name not in where:
                equal = dict(zip(spec.key[:place], after, strict=False))
                steps.append({**equal, name: {"$gt": after[place]}, **_match(spec, where, spec.key[place + 1 :])})
        query = {"$or": steps}
        if not steps:  # the whole key is given
            return []
    projection = {"_id": 0, **dict.fromkeys(spec.key, 1)}
    order = [(name, ASCENDING) for name in spec.key]
    found: list[Document] = await documents.find(query, projection, sort=order, limit=limit).to_list(None)
    return [tuple(document[name] for name in spec.key) for document in found]


def _match(spec: SlotSpec, where: Mapping[str, Any], fields: Sequence[str]) -> Document:
    """Return a condition on fields of the key: the given values, and in other fields any of the right type."""
    return {name: where.get(name, {"$type": "bool" if name == FLAG else "string"}) for name in fields}
