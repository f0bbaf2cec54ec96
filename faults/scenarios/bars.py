"""Bars that are written in transactions, under leases: their processes are killed, stopped and doubled."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

from faults.bar_load import BarLoad
from faults.proxy import HOST
from faults.scenarios.base import Figures, Scenario
from faults.scenarios.replica_set import kill_primary, step_down
from faults.stage import Stage

__all__ = ["NAMES", "SCENARIOS"]

SET: Final = "replica set of 3, w=majority, 2 processes"
FILE: Final = "an SQLite file, 2 processes"
#: What the names of the scenarios begin with.
NAMES: Final = ("bars-", "transactions")
TTL: Final = 2.0


def _finish(load: BarLoad, faults: int) -> Figures:
    outcome, found = load.outcome()
    return Figures(outcome=outcome, faults=faults, measured={"half": float(found.half), "twice": float(found.twice)})


def _kill_owners(stage: Stage, load: BarLoad, rounds: tuple[int, int], pause: float = 0.2) -> Figures:
    dice, times = random.SystemRandom(), stage.times(*rounds)
    with load.running():
        for _ in range(times):
            load.until_bars(3)
            stage.work(dice.uniform(0, pause))
            load.kill(load.find_owner())
        load.until_bars(3)
    return _finish(load, times)


def _stop_owners(stage: Stage, load: BarLoad, rounds: tuple[int, int]) -> Figures:
    """Let the owner stand still until another one has written bars, and go on."""
    times = stage.times(*rounds)
    with load.running():
        for _ in range(times):
            load.until_bars(3)
            owner = load.find_owner()
            load.stop(owner)
            load.until_bars(5)
            load.resume(owner)
            load.until_bars(5)
    return _finish(load, times)


def _hand_over(stage: Stage, load: BarLoad, bars: tuple[int, int]) -> Figures:
    with load.running():
        load.until_bars(stage.times(*bars))
    return _finish(load, stage.times(*bars) // 3)


def _on_set(play: Callable[..., Figures], *arguments: Any, **job: Any) -> Callable[[Stage], Figures]:
    def run(stage: Stage) -> Figures:
        return play(stage, stage.bar_load(stage.replica_set.uri(stage.database()), **job), *arguments)

    return run


def _on_file(play: Callable[..., Figures], *arguments: Any, **job: Any) -> Callable[[Stage], Figures]:
    return lambda stage: play(stage, stage.bar_load("", **job), *arguments)


def _fail_over(stage: Stage, load: BarLoad, rounds: tuple[int, int], is_takeover: bool = False) -> Figures:
    """Let the primary step down or die under bars; with ``is_takeover`` the owner dies at the same time."""
    times = stage.times(*rounds)
    with load.running():
        for number in range(times):
            load.until_bars(3)
            if is_takeover:
                load.kill(load.find_owner())
            (kill_primary if number % 2 else step_down)(stage)
        stage.replica_set.heal()
        load.until_bars(3)
    return _finish(load, times)


def _lose_answers(stage: Stage) -> Figures:
    servers = stage.failing_set
    database = stage.database()
    with stage.proxy(servers.members[0].port) as proxy:
        through = f"mongodb://{HOST}:{proxy.port}/{database}?directConnection=true"
        load = stage.bar_load(servers.uri(database), through=through, ttl=10.0)
        with load.running():
            load.until_bars(3)
            proxy.cut(b"commitTransaction", after=0, every=3)
            load.until_bars(stage.times(30, 3_000))
            proxy.pass_on()
            load.until_bars(3)
        return _finish(load, proxy.cuts)


def _play_groups(stage: Stage) -> Figures:
    servers, processes, operations = stage.replica_set, 3, stage.times(400, stage.operations)
    load = stage.group_load(
        servers.uri(stage.database()), processes=processes, at_least=operations // processes + 1, tasks=2, keys=3
    )
    pause, faults = stage.times(1, 10), 0
    with load.running():
        while not faults or not load.has_done(operations):
            stage.work(pause)
            step_down(stage)
            stage.work(pause)
            kill_primary(stage)
            faults += 2
    servers.heal()
    return Figures(outcome=load.outcome(), faults=faults)


def _kill_groups(stage: Stage) -> Figures:
    load = stage.sqlite_group_load(processes=3, tasks=3)
    rounds, dice = stage.times(2, 100), random.SystemRandom()
    with load.running():
        for _ in range(rounds):
            for number in range(3):
                stage.work(dice.uniform(0.05, 0.4))
                load.kill(number)
    return Figures(outcome=load.outcome(), faults=3 * rounds)


SCENARIOS: Final = (
    Scenario(
        name="bars-kill",
        fault="the owner of a strategy killed in the midst of its bars",
        how="SIGKILL of the owner at a random moment; the other process takes over",
        servers=SET,
        play=_on_set(_kill_owners, (3, 100)),
        is_bounded=False,
        least=(12, 9),
    ),
    Scenario(
        name="bars-many-kill",
        fault="the same with commit_every=16, where bars count once they are flushed",
        how="SIGKILL of the owner at a random moment; the other process takes over",
        servers=SET,
        play=_on_set(_kill_owners, (3, 100), every=16),
        is_bounded=False,
    ),
    Scenario(
        name="bars-stop",
        fault="the owner stands still past its lease, and goes on",
        how="SIGSTOP until the other process has written 5 bars, SIGCONT",
        servers=SET,
        play=_on_set(_stop_owners, (2, 50)),
        is_bounded=False,
    ),
    Scenario(
        name="bars-twins",
        fault="owners that hand the leases over every 3 bars",
        how="3 processes that want the same leases",
        servers="replica set of 3, w=majority, 3 processes",
        play=_on_set(_hand_over, (30, 100_000), processes=3, hand_over=3),
        is_bounded=False,
    ),
    Scenario(
        name="bars-failover",
        fault="the primary steps down or is killed in the midst of commits",
        how="replSetStepDown, SIGKILL and restart, in turn",
        servers=SET,
        play=_on_set(_fail_over, (2, 20), ttl=30.0),
        is_bounded=False,
        may_fail=True,
    ),
    Scenario(
        name="bars-takeover",
        fault="the owner and the primary fail at the same time",
        how="SIGKILL of the owner, then replSetStepDown, or SIGKILL and restart, in turn",
        servers=SET,
        play=_on_set(_fail_over, (2, 20), True),
        is_bounded=False,
        may_fail=True,
    ),
    Scenario(
        name="bars-lost-replies",
        fault="answers of commits lost after the server has done the work",
        how="proxy: every 3rd answer to commitTransaction dropped, connection reset",
        servers="replica set of 1, w=majority, 2 processes",
        play=_lose_answers,
        is_bounded=False,
        may_fail=True,
        least=(36, 30),
    ),
    Scenario(
        name="bars-sqlite-kill",
        fault="the owner of a strategy killed in the midst of its bars",
        how="SIGKILL of the owner at a random moment, then integrity_check",
        servers=FILE,
        play=_on_file(_kill_owners, (3, 100)),
        is_bounded=False,
        least=(12, 9),
    ),
    Scenario(
        name="bars-sqlite-stop",
        fault="the owner stands still past its lease, and goes on",
        how="SIGSTOP until the other process has written 5 bars, SIGCONT",
        servers=FILE,
        play=_on_file(_stop_owners, (2, 50)),
        is_bounded=False,
    ),
    Scenario(
        name="transactions",
        fault="transactions over all slots, with stepdowns and the primary killed, in turn",
        how="replSetStepDown, SIGKILL and restart; every slot is read, and all have to change at one point",
        servers="replica set of 3, w=majority, 3 processes",
        play=_play_groups,
        is_bounded=False,
        may_fail=True,
        may_misread=True,
    ),
    Scenario(
        name="transactions-sqlite",
        fault="transactions over all slots, with processes killed, and replaced by others",
        how="SIGKILL of each at a random moment; every slot is read, and all have to change at one point",
        servers="an SQLite file, 3 processes",
        play=_kill_groups,
        least=(100, 40),
    ),
)
