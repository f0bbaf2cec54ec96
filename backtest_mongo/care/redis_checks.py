"""Redis: version, memory and role."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from backtest_mongo.care.findings import Finding
from backtest_mongo.care.patient import Patient
from backtest_mongo.redis_cluster import Cluster

__all__ = ["memory", "role", "unreachable", "version"]


def unreachable(patient: Patient, text: str) -> Finding:
    required = patient.hub.config.CC_REDIS_REQUIRED
    return Finding(
        "redis",
        "problem" if required else "warning",
        f"{text.rstrip('.')}; reads and writes go on without it, and take longer",
        "start it, or check CC_REDIS_*"
        + ("; CC_REDIS_REQUIRED=false lets wait_for_init() do without it" if required else ""),
    )


async def _infos(patient: Patient) -> list[dict[str, Any]]:
    """Return what each master tells of itself."""
    client: Any = patient.redis
    if not isinstance(client, Cluster):
        return [await client.info()]
    await client.read_map()
    answer = await client.info(target_nodes=Cluster.PRIMARIES)
    return [answer] if "redis_version" in answer else list(answer.values())


async def version(patient: Patient) -> AsyncIterator[Finding]:
    """Tell which Redis it is."""
    infos = await _infos(patient)
    found = sorted({str(info["redis_version"]) for info in infos})
    patient.facts["versions"]["redis-server"] = ", ".join(found)
    nodes = f", {len(infos)} masters" if len(infos) > 1 else ""
    yield Finding("versions", "ok", f"Redis {' and '.join(found)}{nodes}")


async def memory(patient: Patient) -> AsyncIterator[Finding]:
    """Tell what happens when the memory is full: ids have no expiry, so that they only ever grow in number."""
    info = max(await _infos(patient), key=lambda one: int(one.get("used_memory", 0)))
    policy, limit = str(info.get("maxmemory_policy", "unknown")), int(info.get("maxmemory", 0))
    used = str(info.get("used_memory_human", "?"))
    patient.facts["redis_memory"] = {"policy": policy, "maxmemory": limit, "used": int(info.get("used_memory", 0))}
    text = f"{used} used, policy {policy}"
    advice = "maxmemory-policy allkeys-lru: a lost id costs one query"
    if not limit:
        yield Finding("redis", "note", f"{text}, no limit: ids never expire", f"set maxmemory, and {advice}")
        return
    share = int(info.get("used_memory", 0)) / limit
    text = f"{text}, {share:.0%} of its limit"
    if policy == "noeviction" or policy.startswith("volatile-"):
        yield Finding("redis", "warning", f"{text}: once it is full, fresh ids are not kept", advice)
    else:
        yield Finding("redis", "ok", text)


async def role(patient: Patient) -> AsyncIterator[Finding]:
    """Tell a replica, which takes no ids, from a master."""
    for info in await _infos(patient):
        if info.get("role") == "slave":
            text = "this Redis is a replica: it keeps no ids of ours"
            yield Finding("redis", "warning", text, "name the master, or redis+sentinel:// in CC_REDIS_URL")
        if info.get("loading"):
            yield Finding("redis", "note", "this Redis is still loading its data")
