"""Updates of rows that more than one module sends."""

from __future__ import annotations

from backtest_mongo.types import Document

__all__ = ["make_removal"]


def make_removal(field: str) -> list[Document]:
    """Return the update that marks a row as removed, and its payload if that is an object."""
    # A pipeline, because a payload that is null has no `removed` to set. No text of a caller's gets into it.
    payload = f"${field}"
    marked = {
        "$cond": [
            {"$eq": [{"$type": payload}, "object"]},
            {"$mergeObjects": [payload, {"removed": True}]},
            payload,
        ]
    }
    return [{"$set": {"removed": True, field: marked, "updatedDate": "$$NOW"}}]
