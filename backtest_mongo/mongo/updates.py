"""Updates of rows that more than one module sends.

A row that belongs to a run, or whose versions are kept, has an ``origin``: ``{run, when, written, ...}``. It holds as
long as ``written`` equals the row's ``updatedDate``: whoever writes the row without one, as the Node package does, sets
``updatedDate`` alone. The server gives both the same time in an update that is a pipeline, which it does not in other
ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, TypeAlias

import bson
from bson import ObjectId

from backtest_mongo.core.payload import CODEC
from backtest_mongo.types import Document

__all__ = [
    "ORIGIN",
    "ROW_TIME",
    "Update",
    "is_applied",
    "make_removal",
    "make_update",
    "make_versioned_update",
    "read_origin",
    "split_origin",
    "stamp_origin",
]

#: The field of a row that says where it comes from.
ORIGIN: Final = "origin"

#: An update, or one that is a pipeline.
Update: TypeAlias = Document | list[Document]

_NOW: Final = {"updatedDate": True}
_CLOCK: Final[Document] = {"$toLong": "$$NOW"}
#: Whether there is a row, and its last write stored no version.
_UNVERSIONED: Final[Document] = {
    "$and": [
        {"$ne": [{"$type": "$_id"}, "missing"]},
        {"$or": [{"$ne": [f"${ORIGIN}.written", "$updatedDate"]}, {"$eq": [{"$type": f"${ORIGIN}.when"}, "missing"]}]},
    ]
}
#: The time of a row itself, which other programs may have stored as any number or as a date.
ROW_TIME: Final[Document] = {"$convert": {"input": "$when", "to": "long", "onError": _CLOCK, "onNull": _CLOCK}}


def split_origin(fields: Document) -> tuple[Document, Document | None]:
    """Return the fields of a row as they are stored, and its origin without the time, ``None`` if it has none."""
    if "run" not in fields:
        return fields, None
    stored = fields.copy()
    return stored, {"run": stored.pop("run")}


def make_update(fields: Document, now: datetime, origin: Document | None = None) -> Update:
    """Return the upsert of a row.

    Args:
        fields: what is stored besides the key.
        now: when it is created, if it is.
        origin: where it comes from, without the time.
    """
    if origin is None:
        return {"$set": fields, "$currentDate": _NOW, "$setOnInsert": {"createDate": now, "__v": 0}}
    return _make_pipeline(fields, _make_origin(origin), now)


def make_versioned_update(
    fields: Document, origin: Document | None, at: int | None, commit: ObjectId
) -> list[Document]:
    """Return the upsert of a row whose version is stored, too.

    A row that it creates has one time of creation and of writing, which is also its version's: by it the first version
    of a row is known.

    Args:
        fields: what is stored besides the key.
        origin: where it comes from, without the time.
        at: the simulation time of the version, in milliseconds since the epoch; ``None`` for the server's time.
        commit: what tells afterwards whether the row was written.
    """
    return _make_pipeline(fields, _make_version_origin(origin, at, commit), "$$NOW")


def _make_pipeline(fields: Document, origin: Document, created: Any) -> list[Document]:
    return [
        {
            "$set": {
                **_quote(fields),
                "updatedDate": "$$NOW",
                ORIGIN: origin,
                "createDate": {"$ifNull": ["$createDate", created]},
                "__v": {"$ifNull": ["$__v", 0]},
            }
        }
    ]


def _make_version_origin(origin: Document | None, at: int | Document | None, commit: ObjectId) -> Document:
    time: Any = _CLOCK if at is None else at
    # The time of the version before says whether there may be later ones, unless the row had none of its last write.
    noted = {
        "when": time,
        "previous": f"${ORIGIN}.when",
        "replaced": _UNVERSIONED,
        "commit": commit,
        "written": "$$NOW",
    }
    return {"$mergeObjects": [{**_quote(origin or {}), **noted}]}


def make_removal(
    field: str,
    origin: Document | None = None,
    *,
    at: int | Document | None = None,
    commit: ObjectId | None = None,
    stamp: datetime | None = None,
) -> list[Document]:
    """Return the update that marks a row as removed, and its payload if that is an object.

    Args:
        field: the field of the payload.
        origin: where the removal comes from, without the time.
        at: the simulation time of its version, or what gives it; ``None`` for the server's time.
        commit: what tells afterwards whether it was removed, if its version is stored, too.
        stamp: when it is written; ``None`` for the server's time.
    """
    # A pipeline, because a payload that is null has no `removed` to set. No text of a caller's gets into it unquoted.
    payload = f"${field}"
    marked = {
        "$cond": [
            {"$eq": [{"$type": payload}, "object"]},
            {"$mergeObjects": [payload, {"removed": True}]},
            payload,
        ]
    }
    stage: Document = {"removed": True, field: marked, "updatedDate": stamp or "$$NOW"}
    if stamp is not None and origin is not None:
        stage[ORIGIN] = {"$mergeObjects": [{**_quote(origin), "written": stamp}]}
    elif commit is not None:
        stage[ORIGIN] = _make_version_origin(origin, at, commit)
    elif origin is not None:
        stage[ORIGIN] = _make_origin(origin)
    return [{"$set": stage}]


def stamp_origin(fields: Document, stamp: datetime, origin: Document | None) -> Document:
    """Return the fields of a row that is written with a known time."""
    stamped = {**fields, "updatedDate": stamp}
    if origin is not None:
        stamped[ORIGIN] = {**origin, "written": stamp}
    return stamped


def is_applied(update: Update, row: Any) -> bool:
    """Return whether a row, which need not be decoded, is as an update of :func:`make_update` leaves it."""
    if isinstance(update, list):
        stage = update[0]["$set"]
        fields = _unquote(stage)
        origin = _unquote(stage[ORIGIN]["$mergeObjects"][0])
    else:
        fields, origin = update["$set"], None
    return _is_same(read_origin(row), origin) and all(_is_same(row.get(name), value) for name, value in fields.items())


def read_origin(row: Any) -> Document | None:
    """Return where a row comes from, without the time; ``None`` if it has been written since without saying so."""
    origin = row.get(ORIGIN)
    if not isinstance(origin, Mapping) or origin.get("written") is None:
        return None
    if origin["written"] != row.get("updatedDate"):
        return None
    return {name: value for name, value in origin.items() if name != "written"}


def _make_origin(origin: Document) -> Document:
    # Merged with nothing, because a plain document would be merged with what the row has.
    return {"$mergeObjects": [{**_quote(origin), "written": "$$NOW"}]}


def _quote(fields: Document) -> Document:
    """Return expressions of values, which would be expressions themselves if they begin with a dollar."""
    return {name: {"$literal": value} for name, value in fields.items()}


def _unquote(fields: Document) -> Document:
    return {
        name: value["$literal"] for name, value in fields.items() if isinstance(value, dict) and "$literal" in value
    }


def _is_same(one: Any, other: Any) -> bool:
    # As encoded, in which a NaN equals itself.
    return bson.encode({"": one}, codec_options=CODEC) == bson.encode({"": other}, codec_options=CODEC)
