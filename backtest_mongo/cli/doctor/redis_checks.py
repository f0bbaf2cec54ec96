"""Checks of Redis: version, memory and role, and a sample of the cached ids."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from bson import ObjectId
from bson.errors import InvalidId

from backtest_mongo.cli.doctor.findings import Deployment, Finding
from backtest_mongo.cli.doctor.stored_data_checks import list_collections
from backtest_mongo.connection.redis_clients import get_all
from backtest_mongo.connection.redis_cluster import Cluster
from backtest_mongo.core.slots import SLOTS
from backtest_mongo.core.specs import FLAG, Key, SlotSpec
from backtest_mongo.mongo.collection import aggregate

__all__ = ["check_cached_ids", "check_memory", "check_role", "check_version", "report_unreachable"]


def report_unreachable(deployment: Deployment, text: str) -> Finding:
    required = deployment.hub.config.CC_REDIS_REQUIRED
    return Finding(
        "redis",
        "problem" if required else "warning",
        f"{text.rstrip('.')}; reads and writes work without it, and take longer",
        "start it, or check CC_REDIS_*"
        + ("; CC_REDIS_REQUIRED=false lets wait_for_init() succeed without it" if required else ""),
    )


async def _read_infos(deployment: Deployment) -> list[dict[str, Any]]:
    """Return the INFO of each master."""
    client: Any = deployment.redis
    if not isinstance(client, Cluster):
        return [await client.info()]
    await client.read_map()
    answer = await client.info(target_nodes=Cluster.PRIMARIES)
    return [answer] if "redis_version" in answer else list(answer.values())


async def check_version(deployment: Deployment) -> AsyncIterator[Finding]:
    """Report the version of Redis."""
    infos = await _read_infos(deployment)
    found = sorted({str(info["redis_version"]) for info in infos})
    deployment.facts["versions"]["redis-server"] = ", ".join(found)
    nodes = f", {len(infos)} masters" if len(infos) > 1 else ""
    yield Finding("versions", "ok", f"Redis {' and '.join(found)}{nodes}")


async def check_memory(deployment: Deployment) -> AsyncIterator[Finding]:
    """Report what happens when the memory is full: ids never expire, so their number only grows."""
    info = max(await _read_infos(deployment), key=lambda one: int(one.get("used_memory", 0)))
    policy, limit = str(info.get("maxmemory_policy", "unknown")), int(info.get("maxmemory", 0))
    used = str(info.get("used_memory_human", "?"))
    deployment.facts["redis_memory"] = {"policy": policy, "maxmemory": limit, "used": int(info.get("used_memory", 0))}
    text = f"{used} used, policy {policy}"
    advice = "maxmemory-policy allkeys-lru: a lost id costs one query"
    if not limit:
        yield Finding("redis", "note", f"{text}, no limit: ids never expire", f"set maxmemory, and {advice}")
        return
    share = int(info.get("used_memory", 0)) / limit
    text = f"{text}, {share:.0%} of its limit"
    if policy == "noeviction" or policy.startswith("volatile-"):
        yield Finding("redis", "warning", f"{text}: once it is full, new ids are not cached", advice)
    else:
        yield Finding("redis", "ok", text)


async def check_role(deployment: Deployment) -> AsyncIterator[Finding]:
    """Report a replica, which accepts no ids."""
    for info in await _read_infos(deployment):
        if info.get("role") == "slave":
            text = "this Redis is a replica: it accepts no ids"
            yield Finding("redis", "warning", text, "name the master, or redis+sentinel:// in CC_REDIS_URL")
        if info.get("loading"):
            yield Finding("redis", "note", "this Redis is still loading its data")


#: Rows of each slot that are looked up.
_SAMPLE: Final = 25
#: From this share of wrong ids on, Redis probably holds those of another database.
_MANY: Final = 0.25


async def check_cached_ids(deployment: Deployment) -> AsyncIterator[Finding]:
    """Look up the cached ids of a sample of rows of each slot."""
    there = await list_collections(deployment)
    counts = dict.fromkeys(("right", "absent", "wrong", "shared"), 0)
    for spec in SLOTS:
        if spec.collection in there:
            await _check_sample(deployment, spec, counts)
    looked_up = sum(counts.values())
    if not looked_up:
        return
    cached = looked_up - counts["absent"]
    text = f"ids of random rows: {cached:,} of {looked_up:,} are in Redis, and {counts['right']:,} of those are right"
    deployment.facts["cached_ids"] = counts
    if counts["shared"]:
        text += f"; of another row with the same Redis key: {counts['shared']:,}"
    if not counts["wrong"]:
        yield Finding("cache", "ok", text)
    elif counts["wrong"] < _MANY * cached or counts["wrong"] < 5:
        text += f"; without a document: {counts['wrong']:,}"
        yield Finding("cache", "note", text, "nothing: each costs one query, once, and no answer is wrong")
    else:
        text += f"; without a document: {counts['wrong']:,}, as if Redis belonged to another database"
        yield Finding("cache", "warning", text, "delete the keys *_cache:* of this Redis, or let each cost one query")


async def _check_sample(deployment: Deployment, spec: SlotSpec, counts: dict[str, int]) -> None:
    collection = deployment.hub.get_database(spec)[spec.collection]
    rows = await aggregate(collection, [{"$sample": {"size": _SAMPLE}}, {"$project": dict.fromkeys(spec.key, 1)}])
    by_key = {key: row for row in rows if (key := _read_key(spec, row)) is not None}
    values = await get_all(deployment.redis, [spec.redis_key(key) for key in by_key])
    for row, value in zip(by_key.values(), values, strict=True):
        if value is None:
            counts["absent"] += 1
        elif (oid := _parse_id(value)) == row["_id"]:
            counts["right"] += 1
        elif oid is not None and await collection.find_one({"_id": oid}, {"_id": 1}) is not None:
            counts["shared"] += 1
        else:
            counts["wrong"] += 1


def _read_key(spec: SlotSpec, row: dict[str, Any]) -> Key | None:
    key = []
    for name in spec.key:
        value = row.get(name)
        if spec.is_candles and name == spec.item and isinstance(value, int | float):
            value = int(value)
        elif not isinstance(value, bool if name == FLAG else str):
            return None  # a row of an older version, which has no key yet
        key.append(value)
    return tuple(key)


def _parse_id(value: bytes) -> ObjectId | None:
    try:
        return ObjectId(value.decode("ascii"))
    except (InvalidId, UnicodeDecodeError):
        return None
