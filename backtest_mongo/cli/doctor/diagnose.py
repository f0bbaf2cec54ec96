"""Running the checks of the doctor one after the other; a check that fails doesn't stop the others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final, TypeAlias

import pymongo
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from backtest_mongo.cli.doctor import (
    fork_checks,
    history_checks,
    lease_checks,
    mongo_checks,
    payload_checks,
    redis_checks,
    series_checks,
    stored_data_checks,
)
from backtest_mongo.cli.doctor.findings import (
    FAILURES,
    Deployment,
    Diagnosis,
    Finding,
    Severity,
    describe_failure,
    find_advice,
    is_refused,
)
from backtest_mongo.cli.doctor.latency import measure_mongo_latency, measure_redis_latency
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.connection.operation import WaitBudget
from backtest_mongo.connection.readiness import probe_servers
from backtest_mongo.connection.redis_clients import make_redis_client
from backtest_mongo.core.cancellation import shield

__all__ = ["diagnose"]

Check: TypeAlias = Callable[[Deployment], AsyncIterator[Finding]]

#: How long a server gets to answer at all, and one check of MongoDB to finish.
_ANSWER_SECONDS: Final = 5.0
_CHECK_SECONDS: Final = 30.0

_MONGO: Final[tuple[tuple[str, Check], ...]] = (
    ("versions", mongo_checks.check_version),
    ("topology", mongo_checks.check_topology),
    ("transactions", lease_checks.check_transactions),
    ("format", lease_checks.check_format),
    ("fork", fork_checks.check_fork),
    ("candles", fork_checks.check_candle_database),
    ("durability", mongo_checks.check_durability),
    ("clock", mongo_checks.check_clock),
    ("leases", lease_checks.check_leases),
    ("indexes", stored_data_checks.check_indexes),
    ("rows", stored_data_checks.check_outdated_rows),
    ("payloads", payload_checks.check_payloads),
    ("history", history_checks.check_history),
    ("blocks", stored_data_checks.check_blocks),
    ("series", series_checks.check_series),
    ("collections", stored_data_checks.measure_sizes),
    ("latency", measure_mongo_latency),
)
_REDIS: Final[tuple[tuple[str, Check], ...]] = (
    ("versions", redis_checks.check_version),
    ("redis", redis_checks.check_memory),
    ("redis", redis_checks.check_role),
    ("latency", measure_redis_latency),
)


async def diagnose(read_only: bool = False) -> Diagnosis:
    """Examine the deployment that the configuration names. A server that is down, or refuses access, is a finding.

    Args:
        read_only: time no writes. Otherwise a document of the doctor's own is written a few times and then dropped,
            and so is a Redis key.

    Raises:
        ConfigError: a driver refuses the configuration.
    """
    hub = current_hub()
    redis = make_redis_client(hub.config, socket_timeout=_ANSWER_SECONDS, retry=Retry(NoBackoff(), 0))
    deployment = Deployment(hub, redis, read_only, Diagnosis())
    findings = deployment.diagnosis.findings
    try:
        findings += list(mongo_checks.check_configuration(deployment))
        mongo, cache = await probe_servers(hub, _ANSWER_SECONDS, _ANSWER_SECONDS)
        if mongo is not None:
            findings.append(mongo_checks.report_unreachable(mongo))
        else:
            findings.append(Finding("mongodb", "ok", f"MongoDB at {deployment.mongo_address} answers"))
            await _run(deployment, _MONGO)
        if cache is not None:
            findings.append(redis_checks.report_unreachable(deployment, cache))
        else:
            findings.append(Finding("redis", "ok", f"Redis at {deployment.redis_address} answers"))
            await _run(deployment, _REDIS)
        if mongo is None and cache is None:
            await _run(deployment, (("cache", redis_checks.check_cached_ids),))
        return deployment.diagnosis
    finally:
        await shield(redis.aclose())


async def _run(deployment: Deployment, checks: tuple[tuple[str, Check], ...]) -> None:
    for area, check in checks:
        try:
            with pymongo.timeout(min(deployment.hub.operation_seconds, _CHECK_SECONDS)), WaitBudget():
                async for finding in check(deployment):
                    deployment.diagnosis.findings.append(finding)
        except FAILURES as error:
            text = f"{_name(check)}: could not be checked: {describe_failure(error)}"
            severity: Severity = "note" if is_refused(error) else "warning"
            deployment.diagnosis.findings.append(Finding(area, severity, text, find_advice(error)))


def _name(check: Check) -> str:
    return check.__name__.partition("_")[2].replace("_", " ")
