"""Checks of MongoDB: version, topology, durability and clock, and the configuration of this side."""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC
from typing import Any, Final

from pymongo.errors import OperationFailure

from backtest_mongo import __version__
from backtest_mongo.cli.doctor.findings import Deployment, Finding, Severity
from backtest_mongo.core.wording import format_count

__all__ = [
    "check_clock",
    "check_configuration",
    "check_durability",
    "check_topology",
    "check_version",
    "report_unreachable",
]

#: Beyond this, candles near the present may be taken for open or closed by mistake.
_SKEW_WARNING_MS: Final = 1_000
#: Beyond this, a block could be sealed while another process still writes candles of its time.
_SKEW_PROBLEM_MS: Final = 600_000
_SKEW_SAMPLES: Final = 7
_LOCAL: Final = ("localhost", "127.0.0.1", "[::1]", "::1")
#: The oldest version with everything that is needed: dots and dollars in payload keys, retried upserts.
_LEAST_VERSION: Final = (5, 0)


def check_configuration(deployment: Deployment) -> Iterator[Finding]:
    """Report the versions of this side, and settings that matter for safety."""
    config = deployment.hub.config
    packages = {name: importlib.metadata.version(name) for name in ("pymongo", "motor", "redis")}
    deployment.facts["versions"] = {"backtest-mongo": __version__, "python": platform.python_version(), **packages}
    driver = f"Motor {packages['motor']} on PyMongo" if config.CC_MONGO_DRIVER == "motor" else "PyMongo"
    text = f"backtest-mongo {__version__}, Python {platform.python_version()}, {driver} {packages['pymongo']}, "
    yield Finding("versions", "ok", f"{text}redis-py {packages['redis']}")
    if config.CC_MONGO_DRIVER == "motor":
        yield Finding(
            "versions",
            "note",
            "Motor has been past its end of life since May 2026",
            "CC_MONGO_DRIVER=pymongo is PyMongo's own asyncio client; no code changes",
        )
    uri = config.CC_MONGO_CONNECTION_STRING
    is_srv = uri.get_secret_value().startswith("mongodb+srv://")
    tls = uri.option("tls") or uri.option("ssl") or ("true" if is_srv else "false")
    if tls != "true" and not _are_local(uri.hosts.split(",")):
        yield _not_encrypted("MongoDB", "tls=true in CC_MONGO_CONNECTION_STRING")
    target = config.CC_REDIS_URL.target if config.CC_REDIS_URL else None
    hosts = [host for host, _ in target.hosts] if target else [config.CC_REDIS_HOST]
    if not (target and target.tls) and not _are_local(hosts):
        yield _not_encrypted("Redis", "a CC_REDIS_URL that starts with rediss://")


def _are_local(hosts: list[str]) -> bool:
    # With a port or without.
    return all(host.lower() in _LOCAL or host.lower().rpartition(":")[0] in _LOCAL for host in hosts)


def _not_encrypted(server: str, what: str) -> Finding:
    return Finding(
        "security", "warning", f"{server} is on another machine, and the connection is not encrypted", f"use {what}"
    )


def report_unreachable(text: str) -> Finding:
    return Finding(
        "mongodb",
        "problem",
        text,
        "start it, or check address, user and password in CC_MONGO_CONNECTION_STRING; nothing else was checked",
    )


async def check_version(deployment: Deployment) -> AsyncIterator[Finding]:
    """Report the version of MongoDB."""
    found = str((await deployment.hub.database.command("buildInfo"))["version"])
    deployment.facts["versions"]["mongodb"] = found
    if tuple(int(part) for part in found.split(".")[:2]) < _LEAST_VERSION:
        yield Finding("versions", "warning", f"MongoDB {found}", "5.0 or later: payload keys may hold dots and dollars")
    else:
        yield Finding("versions", "ok", f"MongoDB {found}")


async def check_topology(deployment: Deployment) -> AsyncIterator[Finding]:
    """Report whether it is a standalone, a replica set or a sharded cluster, and what follows from that."""
    hello = await deployment.hello()
    name = hello.get("setName")
    if hello.get("msg") == "isdbgrid":
        deployment.facts["topology"] = {"kind": "sharded"}
        yield Finding("topology", "ok", "a sharded cluster: each collection has its unique key as shard key, if any")
        return
    if name is None:
        deployment.facts["topology"] = {"kind": "standalone"}
        yield Finding(
            "topology",
            "warning",
            "a standalone: no failover, no watch(), and one disk that holds everything",
            "make it a replica set, of one member if you like: mongod --replSet NAME, and rs.initiate() once",
        )
        return
    members, arbiters = [*hello.get("hosts", []), *hello.get("passives", [])], hello.get("arbiters", [])
    deployment.facts["topology"] = {
        "kind": "replica set",
        "name": name,
        "members": len(members),
        "arbiters": len(arbiters),
    }
    text = f"replica set {name} with {format_count(len(members), 'data-bearing member')}"
    if arbiters:
        advice = "replace it by a member with data: with one of two data-bearing members down, majority writes time out"
        yield Finding("topology", "warning", f"{text}, and {format_count(len(arbiters), 'arbiter')}", advice)
    elif len(members) == 1:
        yield Finding("topology", "note", f"{text}: no failover", "three members survive the loss of one")
    else:
        yield Finding("topology", "ok", text)
    if deployment.hub.config.CC_MONGO_CONNECTION_STRING.is_one_server:
        yield Finding(
            "topology",
            "warning",
            "the connection string names one server, so the driver's own retries of writes are off",
            f"add replicaSet={name} to it, and the other members if there are any",
        )


async def check_durability(deployment: Deployment) -> AsyncIterator[Finding]:
    """Report what an acknowledged write survives."""
    concern: dict[str, Any] = dict(deployment.hub.database.write_concern.document)
    level = deployment.hub.database.read_concern.level
    written, journalled = concern.get("w"), concern.get("j")
    deployment.facts["write_concern"] = concern
    deployment.facts["read_concern"] = level
    is_standalone = "setName" not in (hello := await deployment.hello()) and hello.get("msg") != "isdbgrid"
    shown = ", ".join(f"{name}: {value}" for name, value in concern.items())
    if is_standalone:
        safe = written == "majority" or journalled is True
        meaning = (
            "in the journal: it survives a crash of the server" if safe else "in memory: a crash loses the last 100 ms"
        )
    else:
        safe = written == "majority"
        meaning = "on the majority of the members" if safe else "not on the majority yet: a failover may lose it"
    yield Finding(
        "durability",
        "ok" if safe else "warning",
        f"write concern {shown}: an acknowledged write is {meaning}",
        "" if safe else "leave w out of CC_MONGO_CONNECTION_STRING: the library then uses majority",
    )
    if journalled is False:
        yield Finding("durability", "warning", "journal=false: no write waits for the disk", "leave it out")
    if is_standalone and level in ("linearizable", "snapshot"):
        yield Finding(
            "durability",
            "problem",
            f"{level} reads of a standalone fail",
            "CC_MONGO_READ_CONCERN=local, or a replica set"
            if level == "linearizable"
            else "leave readConcernLevel out of CC_MONGO_CONNECTION_STRING, or use a replica set",
        )
    async for finding in _storage(deployment):
        yield finding


async def _storage(deployment: Deployment) -> AsyncIterator[Finding]:
    try:
        status = await deployment.hub.database.command("serverStatus", repl=0, metrics=0, locks=0)
        engine = status.get("storageEngine", {})
        if engine and not engine.get("persistent", True):
            text = f"the storage engine {engine.get('name')} keeps nothing on disk"
            yield Finding("durability", "problem", text, "start mongod with WiredTiger, the default")
    except OperationFailure:
        yield Finding("durability", "note", "this user may not see whether the storage engine keeps data on disk")


async def check_clock(deployment: Deployment) -> AsyncIterator[Finding]:
    """Compare this machine's clock with the server's, by the fastest of several answers."""
    best: tuple[float, float] | None = None
    for _ in range(_SKEW_SAMPLES):
        before = time.time()
        began = time.perf_counter()
        hello = await deployment.hello()
        trip = time.perf_counter() - began
        server = hello["localTime"].replace(tzinfo=hello["localTime"].tzinfo or UTC).timestamp()
        if best is None or trip < best[0]:
            best = (trip, server - (before + trip / 2))
    assert best is not None  # for the type checker: the loop runs
    trip_ms, skew_ms = best[0] * 1000, best[1] * 1000
    deployment.facts["clock_skew_ms"] = round(skew_ms, 1)
    side = "ahead of" if skew_ms > 0 else "behind"
    text = f"the server's clock is {_duration(abs(skew_ms))} {side} this machine's (± {trip_ms / 2 + 1:.0f} ms)"
    severity: Severity = "ok"
    advice = ""
    if abs(skew_ms) - trip_ms / 2 > _SKEW_WARNING_MS:
        severity = "problem" if abs(skew_ms) > _SKEW_PROBLEM_MS else "warning"
        advice = "set both by NTP: this machine's clock decides whether a candle has closed"
        if severity == "problem":
            advice += ", and blocks of candles may be sealed too soon"
    yield Finding("clock", severity, text, advice)


def _duration(millis: float) -> str:
    return f"{millis:.0f} ms" if millis < 10_000 else f"{millis / 1000:,.0f} s"
