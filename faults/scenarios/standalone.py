"""Faults of a standalone mongod, and of the network in front of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

from faults.proxy import HOST, Proxy
from faults.scenarios.base import Figures, Scenario
from faults.stage import Stage
from faults.topology import Mongod

__all__ = ["SCENARIOS"]

SERVERS: Final = "standalone, w=majority"
#: The commands that carry data: monitoring is left alone.
COMMANDS: Final = (b"find", b"update", b"insert", b"getMore", b"aggregate")
SHORT_LIMIT: Final = 1.0


def _killed(stage: Stage, **options: Any) -> Figures:
    server = stage.standalone
    load = stage.load(server.uri(stage.database(), **options))
    rounds = stage.times(3, 100)
    with load.running():
        for _ in range(rounds):
            # Long enough for both processes to come to work again, on a busy machine too.
            stage.work(1)
            server.kill()
            server.start()
        stage.work(0.5)
    return Figures(outcome=load.outcome(), faults=rounds)


def _killed_with_one(stage: Stage) -> Figures:
    return _killed(stage, w=1)


def _frozen(seconds: float, limit: float | None = None) -> Callable[[Stage], Figures]:
    def play(stage: Stage) -> Figures:
        server = stage.standalone
        config = {} if limit is None else {"CC_MONGO_TIMEOUT_MS": int(limit * 1000)}
        load = stage.load(server.uri(stage.database()), config=config)
        rounds = stage.times(1, 10)
        with load.running():
            for _ in range(rounds):
                stage.work(0.5)
                server.freeze()
                stage.work(seconds)
                server.thaw()
            stage.work(0.5)
        return Figures(outcome=load.outcome(), faults=rounds)

    return play


def _behind_proxy(
    play: Callable[[Stage, Proxy], int], limit: float | None = None, *, in_set: bool = False, **job: Any
) -> Callable[[Stage], Figures]:
    """Return a scenario that does something to the proxy, as often as it says, while a load goes through it."""

    def played(stage: Stage) -> Figures:
        server: Mongod = stage.replica_set.primary() if in_set else stage.standalone
        database = stage.database()
        proxy: AbstractContextManager[Proxy] = stage.proxy(server.port)
        with proxy as between:
            load = stage.load(
                server.uri(database, directConnection="true"),
                through=f"mongodb://{HOST}:{between.port}/{database}?directConnection=true",
                config={} if limit is None else {"CC_MONGO_TIMEOUT_MS": int(limit * 1000)},
                **job,
            )
            with load.running():
                stage.work(0.5)
                faults = play(stage, between)
                between.pass_on()
                stage.work(0.5)
        return Figures(outcome=load.outcome(), faults=faults)

    return played


def _cut(after: int, every: int = 20) -> Callable[[Stage, Proxy], int]:
    def play(stage: Stage, proxy: Proxy) -> int:
        proxy.cut(*COMMANDS, after=after, every=every)
        stage.work(stage.times(3, 40))
        return proxy.cuts

    return play


def _swallow(stage: Stage, proxy: Proxy) -> int:
    rounds = stage.times(1, 10)
    for _ in range(rounds):
        proxy.swallow()
        stage.work(3)
        proxy.pass_on()
        stage.work(0.5)
    return rounds


def _delay(stage: Stage, proxy: Proxy) -> int:
    proxy.delay(0.05)
    stage.work(stage.times(2, 20))
    return 1


SCENARIOS: Final = (
    Scenario(
        name="standalone-kill",
        fault="mongod killed and started again, repeatedly",
        how="SIGKILL, restart on the same data and port",
        servers=SERVERS,
        play=_killed,
    ),
    Scenario(
        name="standalone-kill-w1",
        fault="the same with w=1 in the connection string",
        how="SIGKILL, restart on the same data and port",
        servers="standalone, w=1",
        play=_killed_with_one,
        may_lose=True,
    ),
    Scenario(
        name="standalone-freeze",
        fault="mongod frozen for 3 s, less than the limit",
        how="SIGSTOP, SIGCONT",
        servers=SERVERS,
        play=_frozen(3),
    ),
    Scenario(
        name="standalone-freeze-long",
        fault="mongod frozen for 4 s with a limit of 1 s",
        how="SIGSTOP, SIGCONT; CC_MONGO_TIMEOUT_MS=1000",
        servers=SERVERS,
        play=_frozen(4, SHORT_LIMIT),
        limit=SHORT_LIMIT,
        may_fail=True,
    ),
    Scenario(
        name="lost-replies",
        fault="answers lost after the server has done the work",
        how="proxy: every 20th answer dropped, connection reset",
        servers=SERVERS,
        play=_behind_proxy(_cut(0)),
    ),
    Scenario(
        name="lost-replies-set",
        fault="the same on a member of a replica set",
        how="proxy: every 20th answer dropped, connection reset",
        servers="replica set of 3, w=majority, direct connection",
        play=_behind_proxy(_cut(0), in_set=True),
    ),
    Scenario(
        name="lost-replies-contended",
        fault="the same while 3 processes write two rows",
        how="proxy: every 7th answer dropped, connection reset",
        servers=SERVERS,
        play=_behind_proxy(_cut(0, every=7), processes=3, slots=["state", "memory"], keys=1, tasks=3, fresh=0.0),
    ),
    Scenario(
        name="cut-replies",
        fault="connections cut in the middle of an answer",
        how="proxy: every 20th answer reset after 20 bytes",
        servers=SERVERS,
        play=_behind_proxy(_cut(20)),
    ),
    Scenario(
        name="black-hole",
        fault="nothing answers for 3 s, with a limit of 1 s",
        how="proxy: keeps connections, swallows everything; CC_MONGO_TIMEOUT_MS=1000",
        servers=SERVERS,
        play=_behind_proxy(_swallow, SHORT_LIMIT),
        limit=SHORT_LIMIT,
        may_fail=True,
    ),
    Scenario(
        name="slow-network",
        fault="a network with 100 ms round trips",
        how="proxy: everything held back for 50 ms each way",
        servers=SERVERS,
        play=_behind_proxy(_delay),
    ),
)
