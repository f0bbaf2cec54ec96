"""Faults of an SQLite file and of the processes that share it."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing

from faults.scenarios.base import Figures, Scenario
from faults.stage import Stage

__all__ = ["SCENARIOS"]

_SHORT_MS = 1_000


def _kill(stage: Stage) -> Figures:
    load = stage.sqlite_load(processes=3)
    rounds = stage.times(2, 200)
    dice = random.SystemRandom()
    with load.running():
        for _ in range(rounds):
            for number in range(3):
                stage.work(dice.uniform(0.05, 0.4))
                load.kill(number)
    return Figures(outcome=load.outcome(), faults=3 * rounds)


def _hold_lock(stage: Stage, seconds: float, **config: int) -> Figures:
    load = stage.sqlite_load(config=config, processes=3)
    rounds = stage.times(1, 10)
    with load.running(), closing(sqlite3.connect(load.path, isolation_level=None, timeout=60)) as other:
        for _ in range(rounds):
            stage.work(1)
            other.execute("BEGIN IMMEDIATE")
            stage.work(seconds)
            other.execute("ROLLBACK")
        stage.work(1)
    return Figures(outcome=load.outcome(), faults=rounds)


SCENARIOS = (
    Scenario(
        name="sqlite-kill",
        fault="processes killed while they write, and replaced by others",
        how="SIGKILL of each at a random moment, then integrity_check",
        servers="an SQLite file, 3 processes",
        play=_kill,
        least=(100, 40),
    ),
    Scenario(
        name="sqlite-lock",
        fault="another program holds the lock for 3 s, less than the deadline",
        how="BEGIN IMMEDIATE, ROLLBACK",
        servers="an SQLite file, 3 processes",
        play=lambda stage: _hold_lock(stage, 3),
    ),
    Scenario(
        name="sqlite-lock-long",
        fault="another program holds the lock for 4 s, with a deadline of 1 s",
        how="BEGIN IMMEDIATE, ROLLBACK; CC_MONGO_TIMEOUT_MS=1000",
        servers="an SQLite file, 3 processes",
        play=lambda stage: _hold_lock(stage, 4, CC_MONGO_TIMEOUT_MS=_SHORT_MS),
        deadline=_SHORT_MS / 1000,
        may_fail=True,
        least=(100, 40),
    ),
)
