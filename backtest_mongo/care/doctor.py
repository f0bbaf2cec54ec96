"""The examination: every check in its turn, whatever becomes of the others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final, TypeAlias

from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from backtest_mongo.care import cache_checks, data_checks, index_checks, mongo_checks, redis_checks
from backtest_mongo.care.findings import Diagnosis, Finding, Severity
from backtest_mongo.care.latency import time_mongo, time_redis
from backtest_mongo.care.patient import FAILURES, Patient, advice_for, is_refused, reason
from backtest_mongo.hub import current_hub
from backtest_mongo.limits import Limit
from backtest_mongo.redis_clients import make_client
from backtest_mongo.tasks import to_its_end

__all__ = ["diagnose"]

Check: TypeAlias = Callable[[Patient], AsyncIterator[Finding]]

#: How long a server gets to answer at all, and one check of MongoDB to come to its end.
_ANSWER_SECONDS: Final = 5.0
_CHECK_SECONDS: Final = 30.0

_MONGO: Final[tuple[tuple[str, Check], ...]] = (
    ("versions", mongo_checks.version),
    ("topology", mongo_checks.topology),
    ("durability", mongo_checks.durability),
    ("clock", mongo_checks.clock),
    ("indexes", index_checks.indexes_of_slots),
    ("rows", data_checks.outdated_rows),
    ("blocks", data_checks.blocks),
    ("collections", data_checks.sizes),
    ("latency", time_mongo),
)
_REDIS: Final[tuple[tuple[str, Check], ...]] = (
    ("versions", redis_checks.version),
    ("redis", redis_checks.memory),
    ("redis", redis_checks.role),
    ("latency", time_redis),
)


async def diagnose(read_only: bool = False) -> Diagnosis:
    """Look at the deployment that the configuration names. A server that is down, or refuses us, is a finding.

    Args:
        read_only: time no writes. Else a document of the doctor's own is written a few times and dropped again, and so
            is a Redis key.

    Raises:
        ConfigError: a driver refuses the configuration.
    """
    hub = current_hub()
    redis = make_client(hub.config, socket_timeout=_ANSWER_SECONDS, retry=Retry(NoBackoff(), 0))
    patient = Patient(hub, redis, read_only, Diagnosis())
    findings = patient.diagnosis.findings
    try:
        findings += list(mongo_checks.configuration(patient))
        mongo, cache = await hub.unreachable(_ANSWER_SECONDS, _ANSWER_SECONDS)
        if mongo is not None:
            findings.append(mongo_checks.unreachable(mongo))
        else:
            findings.append(Finding("mongodb", "ok", f"MongoDB at {patient.mongo_address} answers"))
            await _run(patient, _MONGO)
        if cache is not None:
            findings.append(redis_checks.unreachable(patient, cache))
        else:
            findings.append(Finding("redis", "ok", f"Redis at {patient.redis_address} answers"))
            await _run(patient, _REDIS)
        if mongo is None and cache is None:
            await _run(patient, (("cache", cache_checks.ids),))
        return patient.diagnosis
    finally:
        await to_its_end(redis.aclose())


async def _run(patient: Patient, checks: tuple[tuple[str, Check], ...]) -> None:
    for area, check in checks:
        try:
            with Limit(min(patient.hub.operation_seconds, _CHECK_SECONDS)):
                async for finding in check(patient):
                    patient.diagnosis.findings.append(finding)
        except FAILURES as error:
            text = f"{check.__name__.replace('_', ' ')}: could not be looked at: {reason(error)}"
            severity: Severity = "note" if is_refused(error) else "warning"
            patient.diagnosis.findings.append(Finding(area, severity, text, advice_for(error)))
