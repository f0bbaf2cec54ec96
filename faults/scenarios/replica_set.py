"""Faults of a replica set of three: its primary steps down, dies or freezes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from faults.scenarios.base import Figures, Scenario
from faults.stage import Stage

__all__ = ["SCENARIOS", "kill_primary", "step_down"]

SERVERS: Final = "replica set of 3, w=majority"


def _under_load(fault: Callable[[Stage], None], rounds: tuple[int, int], **options: Any) -> Callable[[Stage], Figures]:
    """Return a scenario that injects a fault repeatedly, and repairs the set before it checks what was written."""

    def play(stage: Stage) -> Figures:
        servers = stage.replica_set
        load = stage.load(servers.uri(stage.database(), **options))
        times = stage.times(*rounds)
        with load.running():
            for _ in range(times):
                stage.work(0.5)
                fault(stage)
            stage.work(0.5)
        servers.heal()
        return Figures(outcome=load.outcome(), faults=times)

    return play


def step_down(stage: Stage) -> None:
    stage.replica_set.step_down()


def kill_primary(stage: Stage) -> None:
    servers = stage.replica_set
    primary = servers.primary()
    primary.kill()
    servers.primary()
    stage.work(0.5)
    primary.start()
    servers.until_whole()


def _freeze_primary(stage: Stage) -> None:
    servers = stage.replica_set
    primary = servers.primary()
    primary.freeze()
    servers.primary(other_than=primary)
    stage.work(0.5)
    primary.thaw()
    servers.until_whole()


SCENARIOS: Final = (
    Scenario(
        name="stepdown",
        fault="the primary hands over to another",
        how="replSetStepDown",
        servers=SERVERS,
        play=_under_load(step_down, (2, 20)),
        may_misread=True,
        least=(20, 8),
    ),
    Scenario(
        name="primary-kill",
        fault="the primary killed, started again once there is another",
        how="SIGKILL, restart on the same data and port",
        servers=SERVERS,
        play=_under_load(kill_primary, (1, 12)),
        may_misread=True,
    ),
    Scenario(
        name="primary-freeze",
        fault="the primary frozen until there is another",
        how="SIGSTOP, SIGCONT",
        servers=SERVERS,
        play=_under_load(_freeze_primary, (1, 6)),
        may_misread=True,
    ),
    Scenario(
        name="primary-freeze-w1",
        fault="the same with w=1 in the connection string",
        how="SIGSTOP, SIGCONT",
        servers="replica set of 3, w=1",
        play=_under_load(_freeze_primary, (1, 6), w=1),
        may_lose=True,
    ),
)
