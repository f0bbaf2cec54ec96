"""Faults of Redis: none may make an operation fail, answer differently, or wait long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from faults.probe import Kind, Probe
from faults.rubbish import Rubbish
from faults.scenarios.base import Figures, Scenario
from faults.stage import Stage
from faults.topology import RedisNode, free_port

__all__ = ["GOALS", "SCENARIOS"]

SERVERS: Final = "standalone, w=majority, and a Redis"
ADDED: Final = "longest wait added, ms"
OPEN: Final[dict[Kind, str]] = {
    "read": "a read with the circuit breaker open, times",
    "write": "a write with the circuit breaker open, times",
}
#: The goals. Only a wait far beyond them fails a run, as a busy machine may stop any process for a while.
GOALS: Final = {ADDED: 60.0, OPEN["read"]: 1.05, OPEN["write"]: 1.05}
LIMITS: Final = ((ADDED, 500.0),)
RIGHT: Final = "the-right-one"


@dataclass(frozen=True, kw_only=True)
class _Fault:
    """How to inject a fault into Redis: ``before`` prepares the server, and the block of ``during`` is the fault."""

    during: Callable[[Stage], AbstractContextManager[object]]
    before: Callable[[RedisNode], object] = lambda node: None
    config: tuple[tuple[str, Any], ...] = ()


def _of_node(make: Callable[[RedisNode], object]) -> Callable[[Stage], AbstractContextManager[object]]:
    @contextmanager
    def during(stage: Stage) -> Iterator[None]:
        make(stage.redis)
        yield

    return during


@contextmanager
def _rubbish(stage: Stage) -> Iterator[None]:
    with Rubbish(stage.redis):
        yield


@contextmanager
def _loading(stage: Stage) -> Iterator[None]:
    """Restart Redis with so much data, loaded so slowly, that loading takes longer than the fault.

    While it loads, Redis serves its connections once per two megabytes, which is every 60 ms here.
    """
    node = stage.redis
    node.fill(2_000, 100_000)
    node.command("CONFIG", "SET", "rdbcompression", "no")
    node.command("SAVE")
    node.kill()
    node.arguments = ("--key-load-delay", 3_000)
    node.start()
    yield
    if not node.is_loading():
        raise RuntimeError("Redis had loaded its data before the fault was over")


def _fill(node: RedisNode) -> None:
    node.fill(1_000, 1_000)
    node.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    node.command("CONFIG", "SET", "maxmemory", "1mb")


def _scenario(name: str, fault: str, how: str, made: _Fault, **options: Any) -> Scenario:
    def play(stage: Stage) -> Figures:
        return _play(stage, made)

    return Scenario(name=name, fault=fault, how=how, servers=SERVERS, play=play, goals=LIMITS, **options)


def _play(stage: Stage, fault: _Fault) -> Figures:
    node = stage.redis
    uri = stage.standalone.uri(stage.database())
    config = {"CC_REDIS_PORT": stage.redis_proxy.port, **dict(fault.config)}
    rounds = stage.times(1, 3)
    try:
        fault.before(node)
        load = stage.load(uri, config=config, forget=0.5)
        with load.running():
            for _ in range(rounds):
                stage.work(0.5)
                with fault.during(stage):
                    stage.work(stage.times(1, 4))
                node.reset()
                fault.before(node)
            stage.work(0.5)
        measured = _measure(stage, fault, {"CC_MONGO_CONNECTION_STRING": uri}, config)
    finally:
        node.reset()
    return Figures(outcome=load.outcome(), faults=rounds, measured=measured)


def _measure(stage: Stage, fault: _Fault, store: dict[str, Any], config: dict[str, Any]) -> dict[str, float]:
    """Time operations with and without the fault in turn, before and after the circuit breaker opens."""
    node = stage.redis
    kinds: tuple[Kind, ...] = ("read", "write")
    added: list[float] = []
    healthy_times: dict[Kind, list[float]] = {kind: [] for kind in kinds}
    faulty_times: dict[Kind, list[float]] = {kind: [] for kind in kinds}
    with (
        Probe({**store, "CC_REDIS_PORT": stage.healthy_redis.port}) as healthy,
        Probe({**store, **config}) as faulty,
    ):
        for _ in range(stage.times(1, 3)):
            for kind in kinds:
                node.reset()
                fault.before(node)
                faulty.reset()
                usual = median(healthy.run(kind, 20))
                with fault.during(stage):
                    added.append(max(faulty.run(kind, 12)) - usual)
                    for other in kinds:
                        healthy_times[other] += healthy.run(other, 40)
                        faulty_times[other] += faulty.run(other, 40)
    ratios = {OPEN[kind]: median(faulty_times[kind]) / median(healthy_times[kind]) for kind in kinds}
    return {ADDED: max(added) * 1000, **ratios}


@contextmanager
def _slow(stage: Stage) -> Iterator[None]:
    proxy = stage.redis_proxy
    proxy.delay(0.1)
    try:
        yield
    finally:
        proxy.pass_on()


SCENARIOS: Final = (
    _scenario("redis-refused", "Redis is not there", "stopped", _Fault(during=_of_node(RedisNode.stop))),
    _scenario("redis-kill", "Redis killed under load", "SIGKILL, restart", _Fault(during=_of_node(RedisNode.kill))),
    _scenario("redis-freeze", "Redis frozen", "SIGSTOP", _Fault(during=_of_node(RedisNode.freeze)), least=(50, 20)),
    _scenario(
        "redis-full",
        "Redis takes no more data",
        "maxmemory 1mb, maxmemory-policy noeviction",
        _Fault(during=_of_node(_fill)),
    ),
    _scenario(
        "redis-read-only",
        "Redis is read-only",
        "REPLICAOF an address where nobody listens",
        _Fault(during=_of_node(lambda node: node.command("REPLICAOF", "127.0.0.1", free_port()))),
    ),
    _scenario(
        "redis-noauth",
        "Redis begins to ask for a password",
        "CONFIG SET requirepass, CLIENT KILL",
        _Fault(during=_of_node(lambda node: node.protect("unknown"))),
    ),
    _scenario(
        "redis-wrong-password",
        "the password of Redis is changed",
        "CONFIG SET requirepass, CLIENT KILL",
        _Fault(
            before=lambda node: node.protect(RIGHT),
            during=_of_node(lambda node: node.protect("another")),
            config=(("CC_REDIS_PASSWORD", RIGHT),),
        ),
    ),
    _scenario(
        "redis-loading",
        "Redis loads its data and answers LOADING",
        "SIGKILL, restart with a dump and key-load-delay",
        _Fault(during=_loading),
    ),
    _scenario(
        "redis-rubbish",
        "Redis holds rubbish and the ids of other rows",
        "every key is overwritten again and again",
        _Fault(during=_rubbish),
        least=(50, 20),
    ),
    _scenario(
        "redis-slow",
        "200 ms to Redis and back",
        "proxy: everything held back for 100 ms each way",
        _Fault(during=_slow),
    ),
)
