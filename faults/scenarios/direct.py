"""A direct connection to a primary that becomes a secondary, which must not be read: its rows may be stale."""

from __future__ import annotations

import time
from typing import Final

from faults.load import Outcome
from faults.scenarios.base import Figures, Scenario
from faults.stage import Stage

__all__ = ["SCENARIOS"]

SLOTS: Final = ("state", "signal", "memory", "storage")
#: The library's ``heartbeatFrequencyMS``, and time for a busy machine.
HEARTBEAT_SECONDS: Final = 3.0
GRACE_SECONDS: Final = 1.0
DEADLINE: Final = 5.0


def _play(stage: Stage) -> Figures:
    total = Outcome()
    rounds = stage.times(1, 10)
    for _ in range(rounds):
        total += _round(stage)
    return Figures(outcome=total, faults=rounds)


def _round(stage: Stage) -> Outcome:
    servers = stage.replica_set
    servers.heal()
    primary = servers.primary()
    database = stage.database()
    direct, followed = primary.uri(database, directConnection="true"), servers.uri(database)
    load = stage.load(
        followed,
        # Two processes per connection string: those that follow the primary keep writing.
        through=[direct, followed],
        processes=4,
        config={"CC_MONGO_TIMEOUT_MS": int(DEADLINE * 1000)},
        slots=list(SLOTS),
        fresh=0.1,
        pause=0.01,
    )
    with load.running():
        stage.work(1)
        began = time.monotonic_ns()
        servers.depose(primary)
        known = time.monotonic_ns() + int((HEARTBEAT_SECONDS + GRACE_SECONDS) * 1e9)
        load.depose(direct, began, known)
        stage.work(HEARTBEAT_SECONDS + GRACE_SECONDS + stage.times(4, 10))
    return load.outcome()


SCENARIOS: Final = (
    Scenario(
        name="direct-stepdown",
        fault="the primary hands over, and stays connected to directly",
        how="replSetStepDown; other processes go on writing by way of the replica set",
        servers="replica set of 3, w=majority, directConnection=true",
        play=_play,
        deadline=DEADLINE,
        may_fail=True,
        least=(100, 40),
    ),
)
