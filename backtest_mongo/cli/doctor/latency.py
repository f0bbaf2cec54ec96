"""Timing each step of a read and of a write."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any, Final

from backtest_mongo.cli.doctor.findings import Deployment, Finding, Step
from backtest_mongo.cli.doctor.stored_data_checks import list_collections
from backtest_mongo.connection.redis_clients import get_all
from backtest_mongo.core.slots import SLOTS

__all__ = ["PROBE", "measure_mongo_latency", "measure_redis_latency"]

#: The doctor's own collection, and its own Redis key, which a user of the id cache may write.
PROBE: Final = "backtest-mongo-doctor"
_REDIS_KEY: Final = "doctor_cache:probe"
#: How long that key lives.
_REDIS_MS: Final = 1_000
_SAMPLES: Final = 20
#: Medians above which every bar of a strategy waits noticeably: of MongoDB, and of Redis, which has 50 ms to answer.
_SLOW_MS: Final = 50.0
_SLOW_REDIS_MS: Final = 10.0


async def measure_mongo_latency(deployment: Deployment) -> AsyncIterator[Finding]:
    """Time a ping, a read by id and by key, and a write to the doctor's own collection."""
    database = deployment.hub.database
    steps = [await _time_step(deployment, "MongoDB: ping", partial(database.command, "ping"))]
    there = await list_collections(deployment)
    for spec in SLOTS:
        if spec.collection not in there or spec.is_candles:
            continue
        collection = database[spec.collection]
        row: Any = await collection.find_one({}, dict.fromkeys(spec.key, 1))
        if row is not None:
            by_id, by_key = {"_id": row["_id"]}, {name: row.get(name) for name in spec.key}
            steps.append(
                await _time_step(deployment, "MongoDB: read by cached id", partial(collection.find_one, by_id))
            )
            steps.append(await _time_step(deployment, "MongoDB: read by key", partial(collection.find_one, by_key)))
            break
    if not deployment.read_only:
        probe = database[PROBE]
        # Dropped first: a user who may not drop it should not create it.
        await probe.drop()
        update = {"$currentDate": {"updatedDate": True}}
        write = partial(probe.find_one_and_update, {"_id": "probe"}, update, upsert=True)
        try:
            steps.append(await _time_step(deployment, "MongoDB: write", write))
        finally:
            await probe.drop()
    for finding in _find_slow(steps, _SLOW_MS):
        yield finding


async def measure_redis_latency(deployment: Deployment) -> AsyncIterator[Finding]:
    """Time the look-up of an id, and caching one."""
    client: Any = deployment.redis
    steps = [await _time_step(deployment, "Redis: get an id", partial(get_all, client, [_REDIS_KEY]))]
    if not deployment.read_only:
        keep = partial(client.set, _REDIS_KEY, "probe", px=_REDIS_MS)
        steps.append(await _time_step(deployment, "Redis: cache an id", keep))
    for finding in _find_slow(steps, _SLOW_REDIS_MS):
        yield finding


async def _time_step(deployment: Deployment, name: str, work: Callable[[], Awaitable[Any]]) -> Step:
    await work()  # the first call connects
    times = []
    for _ in range(_SAMPLES):
        began = perf_counter()
        await work()
        times.append((perf_counter() - began) * 1000)
    step = Step(name, round(median(times), 3), round(max(times), 3), _SAMPLES)
    # Stored at once: a later step may fail.
    deployment.diagnosis.steps.append(step)
    return step


def _find_slow(steps: list[Step], limit: float) -> list[Finding]:
    slow = [f"{step.name} takes {step.median_ms:.0f} ms" for step in steps if step.median_ms > limit]
    advice = "run the engine near the servers; concurrent calls share a round trip"
    return [Finding("latency", "warning", ", ".join(slow), advice)] if slow else []
