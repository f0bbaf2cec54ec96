"""Thousands of concurrent calls that wait in their queues for longer than one deadline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from faults.bursts import BURST
from faults.load import Load
from faults.proxy import HOST
from faults.scenarios.base import Figures, Scenario
from faults.stage import Stage
from faults.topology import until

__all__ = ["SCENARIOS"]

#: These are batched. In each process the 24 calls of a key run one after another, and different keys concurrently.
SLOTS: Final = ("state", "signal", "memory", "partial")
EACH: Final = 24
PROCESSES: Final = 2
SLOW_DEADLINE: Final = 2.0
DEAD_DEADLINE: Final = 1.0
#: How long a burst may take on a busy machine before the run fails.
BURST_SECONDS: Final = 120.0


def _burst(stage: Stage, load: Load, done: int) -> int:
    """Start a burst in each process, and return how many calls there will have been after it."""
    load.tell(BURST)
    return done + PROCESSES * _calls(stage)


def _calls(stage: Stage) -> int:
    return EACH * stage.times(125, 800)


def _await(load: Load, calls: int) -> None:
    until(lambda: load.has_done(calls), "the end of a burst", BURST_SECONDS)


def _load(stage: Stage, database: str, port: int, deadline: float) -> Load:
    return stage.load(
        stage.standalone.uri(database),
        through=[f"mongodb://{HOST}:{port}/{database}"],
        config={"CC_MONGO_TIMEOUT_MS": int(deadline * 1000)},
        processes=PROCESSES,
        program="faults.bursts",
        slots=list(SLOTS),
        burst=_calls(stage),
        each=EACH,
    )


def _slow(stage: Stage) -> Figures:
    database = stage.database()
    with stage.proxy(stage.standalone.port) as proxy:
        load = _load(stage, database, proxy.port, SLOW_DEADLINE)
        rounds = stage.times(1, 5)
        done = 0
        with load.running():
            proxy.delay(0.1)
            for _ in range(rounds):
                done = _burst(stage, load, done)
                _await(load, done)
            proxy.pass_on()
        return Figures(outcome=load.outcome(), faults=rounds)


def _dead(before: float) -> Callable[[Stage], Figures]:
    """Return a scenario whose server freezes ``before`` seconds after the calls, or before them if that is 0."""

    def play(stage: Stage) -> Figures:
        server = stage.standalone
        database = stage.database()
        load = _load(stage, database, server.port, DEAD_DEADLINE)
        rounds = stage.times(1, 10)
        done = 0
        with load.running():
            # Open the connections and fill the caches.
            done = _burst(stage, load, done)
            _await(load, done)
            for _ in range(rounds):
                if not before:
                    server.freeze()
                done = _burst(stage, load, done)
                if before:
                    stage.work(before)
                    server.freeze()
                _await(load, done)
                server.thaw()
                stage.work(1)
        return Figures(outcome=load.outcome(), faults=rounds)

    return play


SCENARIOS: Final = (
    Scenario(
        name="queue-slow",
        fault="thousands of calls at once on a slow server, queued for longer than their deadline of 2 s",
        how=f"{EACH} calls of each key; proxy: 100 ms each way; CC_MONGO_TIMEOUT_MS=2000",
        servers="standalone, w=majority",
        play=_slow,
        deadline=SLOW_DEADLINE,
        is_bounded=False,
        least=(6_000, 4_500),
    ),
    Scenario(
        name="queue-dead",
        fault="thousands of calls at once on a server that answers nothing, with a deadline of 1 s",
        how="SIGSTOP before the calls, SIGCONT once all have returned; CC_MONGO_TIMEOUT_MS=1000",
        servers="standalone, w=majority",
        play=_dead(0.0),
        deadline=DEAD_DEADLINE,
        may_fail=True,
        least=(12_000, 500),
    ),
    Scenario(
        name="queue-dies",
        fault="thousands of calls at once on a server that ceases to answer in their midst, with a deadline of 1 s",
        how="SIGSTOP a moment after the calls, SIGCONT once all have returned; CC_MONGO_TIMEOUT_MS=1000",
        servers="standalone, w=majority",
        play=_dead(0.7),
        deadline=DEAD_DEADLINE,
        may_fail=True,
        is_bounded=False,
    ),
)
