"""How long each step of a read and of a write takes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any, Final

from backtest_mongo.care.data_checks import collection_names
from backtest_mongo.care.findings import Finding, Step
from backtest_mongo.care.patient import Patient
from backtest_mongo.redis_clients import get_all
from backtest_mongo.slots import SLOTS

__all__ = ["PROBE", "time_mongo", "time_redis"]

#: The doctor's own collection, and its own Redis key, which a user of the id cache may use.
PROBE: Final = "backtest-mongo-doctor"
_REDIS_KEY: Final = "doctor_cache:probe"
#: How long that key lives.
_REDIS_MS: Final = 1_000
_SAMPLES: Final = 20
#: Medians beyond which each bar of a strategy waits noticeably: of MongoDB, and of Redis, which is given 50 ms.
_SLOW_MS: Final = 50.0
_SLOW_REDIS_MS: Final = 10.0


async def time_mongo(patient: Patient) -> AsyncIterator[Finding]:
    """Time a question that needs nothing, a row by its id and by its key, and a write of the doctor's own."""
    database = patient.hub.database
    steps = [await _timed(patient, "MongoDB: ping", partial(database.command, "ping"))]
    there = await collection_names(patient)
    for spec in SLOTS:
        if spec.collection not in there or spec.shape == "series":
            continue
        collection = database[spec.collection]
        row: Any = await collection.find_one({}, dict.fromkeys(spec.key, 1))
        if row is not None:
            by_id, by_key = {"_id": row["_id"]}, {name: row.get(name) for name in spec.key}
            steps.append(await _timed(patient, "MongoDB: read by cached id", partial(collection.find_one, by_id)))
            steps.append(await _timed(patient, "MongoDB: read by key", partial(collection.find_one, by_key)))
            break
    if not patient.read_only:
        probe = database[PROBE]
        # First, as who may not drop it should not make it.
        await probe.drop()
        update = {"$currentDate": {"updatedDate": True}}
        write = partial(probe.find_one_and_update, {"_id": "probe"}, update, upsert=True)
        try:
            steps.append(await _timed(patient, "MongoDB: write", write))
        finally:
            await probe.drop()
    for finding in _slow(steps, _SLOW_MS):
        yield finding


async def time_redis(patient: Patient) -> AsyncIterator[Finding]:
    """Time the look-up of an id, and keeping one."""
    client: Any = patient.redis
    steps = [await _timed(patient, "Redis: get an id", partial(get_all, client, [_REDIS_KEY]))]
    if not patient.read_only:
        keep = partial(client.set, _REDIS_KEY, "probe", px=_REDIS_MS)
        steps.append(await _timed(patient, "Redis: keep an id", keep))
    for finding in _slow(steps, _SLOW_REDIS_MS):
        yield finding


async def _timed(patient: Patient, name: str, work: Callable[[], Awaitable[Any]]) -> Step:
    await work()  # the first one dials
    times = []
    for _ in range(_SAMPLES):
        began = perf_counter()
        await work()
        times.append((perf_counter() - began) * 1000)
    step = Step(name, round(median(times), 3), round(max(times), 3), _SAMPLES)
    # At once: what comes after it may fail.
    patient.diagnosis.steps.append(step)
    return step


def _slow(steps: list[Step], limit: float) -> list[Finding]:
    slow = [f"{step.name} takes {step.median_ms:.0f} ms" for step in steps if step.median_ms > limit]
    advice = "run the engine near the servers; many contexts at once share a round trip"
    return [Finding("latency", "warning", ", ".join(slow), advice)] if slow else []
