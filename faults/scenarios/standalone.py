"""Faults of a standalone mongod, and of the network to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

import backtest_mongo
from backtest_mongo import ConfigError
from backtest_mongo.core.config import reset_config
from faults.load import DRIVERS, Outcome
from faults.proxy import HOST, Proxy
from faults.registers import SPECS, Register
from faults.scenarios.base import Figures, Scenario
from faults.stage import Stage
from faults.topology import Mongod

__all__ = ["SCENARIOS"]

SERVERS: Final = "standalone, w=majority"
#: Commands that carry data; monitoring is not disturbed.
COMMANDS: Final = (b"find", b"update", b"insert", b"getMore", b"aggregate")
SHORT_DEADLINE: Final = 1.0


def _killed(stage: Stage, **options: Any) -> Figures:
    server = stage.standalone
    load = stage.load(server.uri(stage.database(), **options))
    rounds = stage.times(3, 100)
    with load.running():
        for _ in range(rounds):
            # Long enough for both processes to resume work, even on a busy machine.
            stage.work(1)
            server.kill()
            server.start()
        stage.work(0.5)
    return Figures(outcome=load.outcome(), faults=rounds)


def _killed_with_one(stage: Stage) -> Figures:
    return _killed(stage, w=1)


def _killed_without_journal(stage: Stage) -> Figures:
    return _killed(stage, w=1, journal="false")


def _refused(stage: Stage) -> Figures:
    """Write to every slot with connection strings that turn off the journal, and count what is accepted."""
    reset_config()  # otherwise another scenario's configuration would be kept
    server = stage.standalone
    database = stage.database()
    outcome = Outcome()
    spellings = ("journal=false", "w=majority&journal=false", "w=2&journal=false")
    for driver in DRIVERS:
        for options in spellings:
            uri = f"mongodb://{server.address}/{database}?{options}"
            config = {"CC_MONGO_CONNECTION_STRING": uri, "CC_MONGO_DRIVER": driver}
            asyncio.run(_write_all({**config, "CC_REDIS_PORT": stage.healthy_redis.port}, outcome))
    with server.client() as client:
        stored = client[database].list_collection_names()
    if stored or outcome.acknowledged:
        outcome.unexpected.append(f"{outcome.acknowledged} writes were accepted, and {stored} exist")
    return Figures(outcome=outcome, faults=len(DRIVERS) * len(spellings))


async def _write_all(config: dict[str, Any], outcome: Outcome) -> None:
    try:
        async with backtest_mongo.setup(config):
            for slot in SPECS:
                outcome.operations += 1
                start = time.monotonic()
                try:
                    await Register(slot, "1").write(1)
                except ConfigError:
                    pass
                else:
                    outcome.acknowledged += 1
                outcome.longest = max(outcome.longest, time.monotonic() - start)
    finally:
        reset_config()


def _frozen(seconds: float, deadline: float | None = None) -> Callable[[Stage], Figures]:
    def play(stage: Stage) -> Figures:
        server = stage.standalone
        config = {} if deadline is None else {"CC_MONGO_TIMEOUT_MS": int(deadline * 1000)}
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
    play: Callable[[Stage, Proxy], int], deadline: float | None = None, *, in_set: bool = False, **job: Any
) -> Callable[[Stage], Figures]:
    """Return a scenario with a load that goes through a proxy, whose faults ``play`` sets and counts."""

    def played(stage: Stage) -> Figures:
        server: Mongod = stage.replica_set.primary() if in_set else stage.standalone
        database = stage.database()
        proxy: AbstractContextManager[Proxy] = stage.proxy(server.port)
        with proxy as between:
            load = stage.load(
                server.uri(database, directConnection="true"),
                through=[f"mongodb://{HOST}:{between.port}/{database}?directConnection=true"],
                config={} if deadline is None else {"CC_MONGO_TIMEOUT_MS": int(deadline * 1000)},
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
        least=(100, 50),
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
        name="standalone-no-journal",
        fault="a connection string with journal=false, which is refused: nothing is accepted",
        how="a write to every slot, by each driver, with w=majority, with w=2 and without w",
        servers=SERVERS,
        play=_refused,
    ),
    Scenario(
        name="standalone-kill-no-journal",
        fault="mongod killed and started again, with w=1&journal=false in the connection string",
        how="SIGKILL, restart on the same data and port",
        servers="standalone, w=1, journal=false",
        play=_killed_without_journal,
        may_lose=True,
    ),
    Scenario(
        name="standalone-freeze",
        fault="mongod frozen for 3 s, less than the deadline",
        how="SIGSTOP, SIGCONT",
        servers=SERVERS,
        play=_frozen(3),
    ),
    Scenario(
        name="standalone-freeze-long",
        fault="mongod frozen for 4 s with a deadline of 1 s",
        how="SIGSTOP, SIGCONT; CC_MONGO_TIMEOUT_MS=1000",
        servers=SERVERS,
        play=_frozen(4, SHORT_DEADLINE),
        deadline=SHORT_DEADLINE,
        may_fail=True,
    ),
    Scenario(
        name="lost-replies",
        fault="answers lost after the server has done the work",
        how="proxy: every 20th answer dropped, connection reset",
        servers=SERVERS,
        play=_behind_proxy(_cut(0)),
        least=(50, 20),
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
        fault="nothing answers for 3 s, with a deadline of 1 s",
        how="proxy: keeps connections, swallows everything; CC_MONGO_TIMEOUT_MS=1000",
        servers=SERVERS,
        play=_behind_proxy(_swallow, SHORT_DEADLINE),
        deadline=SHORT_DEADLINE,
        may_fail=True,
        least=(50, 20),
    ),
    Scenario(
        name="slow-network",
        fault="a network with 100 ms round trips",
        how="proxy: everything held back for 50 ms each way",
        servers=SERVERS,
        play=_behind_proxy(_delay),
    ),
)
