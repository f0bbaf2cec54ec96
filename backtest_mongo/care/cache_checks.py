"""The ids in Redis against the documents, on a sample."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from bson import ObjectId
from bson.errors import InvalidId

from backtest_mongo.care.data_checks import collection_names
from backtest_mongo.care.findings import Finding
from backtest_mongo.care.patient import Patient
from backtest_mongo.mongo_rows import aggregated
from backtest_mongo.redis_clients import get_all
from backtest_mongo.slots import SLOTS
from backtest_mongo.specs import FLAG, Key, SlotSpec

__all__ = ["ids"]

#: Rows of each slot that are looked up.
_SAMPLE: Final = 25
#: From this share of wrong ids on Redis holds those of another database.
_MANY: Final = 0.25


async def ids(patient: Patient) -> AsyncIterator[Finding]:
    """Look up the cached id of some rows of each slot."""
    there = await collection_names(patient)
    counts = dict.fromkeys(("right", "absent", "wrong", "shared"), 0)
    for spec in SLOTS:
        if spec.collection in there:
            await _sample(patient, spec, counts)
    looked_up = sum(counts.values())
    if not looked_up:
        return
    cached = looked_up - counts["absent"]
    text = f"of {looked_up:,} rows taken at random {cached:,} have an id in Redis, and {counts['right']:,} are right"
    patient.facts["cached_ids"] = counts
    if counts["shared"]:
        text += f"; {counts['shared']:,} belong to another row with the same Redis key"
    if not counts["wrong"]:
        yield Finding("cache", "ok", text)
    elif counts["wrong"] < _MANY * cached or counts["wrong"] < 5:
        text += f"; {counts['wrong']:,} lead to no document"
        yield Finding("cache", "note", text, "nothing: each costs one query, once, and no answer is wrong")
    else:
        text += f"; {counts['wrong']:,} lead to no document, as if Redis were of another database"
        yield Finding("cache", "warning", text, "delete the keys *_cache:* of this Redis, or let each cost one query")


async def _sample(patient: Patient, spec: SlotSpec, counts: dict[str, int]) -> None:
    collection = patient.hub.database[spec.collection]
    rows = await aggregated(collection, [{"$sample": {"size": _SAMPLE}}, {"$project": dict.fromkeys(spec.key, 1)}])
    by_key = {key: row for row in rows if (key := _key(spec, row)) is not None}
    values = await get_all(patient.redis, [spec.redis_key(key) for key in by_key])
    for row, value in zip(by_key.values(), values, strict=True):
        if value is None:
            counts["absent"] += 1
        elif (oid := _oid(value)) == row["_id"]:
            counts["right"] += 1
        elif oid is not None and await collection.find_one({"_id": oid}, {"_id": 1}) is not None:
            counts["shared"] += 1
        else:
            counts["wrong"] += 1


def _key(spec: SlotSpec, row: dict[str, Any]) -> Key | None:
    key = []
    for name in spec.key:
        value = row.get(name)
        if spec.shape == "series" and name == spec.item and isinstance(value, int | float):
            value = int(value)
        elif not isinstance(value, bool if name == FLAG else str):
            return None  # a row of an older version, which has no key yet
        key.append(value)
    return tuple(key)


def _oid(value: bytes) -> ObjectId | None:
    try:
        return ObjectId(value.decode("ascii"))
    except (InvalidId, UnicodeDecodeError):
        return None
