"""Registers of every slot on a replica set with all kinds of faults: does some order explain every read?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from backtest_mongo.core.config import Config
from faults.scenarios.base import Figures, Scenario
from faults.scenarios.replica_set import kill_primary, step_down
from faults.stage import Stage

__all__ = ["SCENARIOS"]

PROCESSES: Final = 3
READ_CONCERN: Final = "CC_MONGO_READ_CONCERN"


def _play(concern: str) -> Callable[[Stage], Figures]:
    def play(stage: Stage) -> Figures:
        servers = stage.replica_set
        config = {"CC_REDIS_PORT": stage.redis.port, **({READ_CONCERN: concern} if concern else {})}
        load = stage.load(
            servers.uri(stage.database()),
            config=config,
            processes=PROCESSES,
            at_least=stage.operations // PROCESSES + 1,
            keys=1,
            fresh=0.1,
        )
        # In the long form the operations take longer than the faults.
        pause = stage.times(1, 10)
        faults = 0
        with load.running():
            while not faults or not load.has_done(stage.operations):
                stage.work(pause)
                step_down(stage)
                stage.work(pause)
                stage.redis.kill()
                kill_primary(stage)
                stage.redis.start()
                faults += 3
        servers.heal()
        return Figures(outcome=load.outcome(), faults=faults)

    return play


SCENARIOS: Final = (
    Scenario(
        name="registers",
        fault="stepdowns, the primary and Redis killed, in turn",
        how="replSetStepDown, SIGKILL, restarts",
        servers="replica set of 3, w=majority, and a Redis; 3 processes",
        play=_play(""),
        may_misread=True,
    ),
    Scenario(
        name="registers-linearizable",
        fault="the same with linearizable reads",
        how=f"replSetStepDown, SIGKILL, restarts; {READ_CONCERN}=linearizable",
        servers="replica set of 3, w=majority, and a Redis; 3 processes",
        play=_play("linearizable"),
        is_possible=lambda: READ_CONCERN in Config.model_fields,
    ),
)
