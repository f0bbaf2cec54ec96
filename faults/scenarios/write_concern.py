"""Writes that the server carries out but can't confirm, with each error code."""

from __future__ import annotations

from typing import Final

from faults.scenarios.base import Figures, Scenario
from faults.stage import Stage

__all__ = ["SCENARIOS"]

#: PrimarySteppedDown, ShutdownInProgress, InterruptedDueToReplStateChange, WriteConcernFailed,
#: UnsatisfiableWriteConcern, NotWritablePrimary, UnknownReplWriteConcern, HostUnreachable, MaxTimeMSExpired, and an
#: unknown one.
CODES: Final = (189, 91, 11602, 64, 100, 10107, 79, 6, 50, 4_242)
WRITES: Final = ("findAndModify", "update", "insert")
DEADLINE: Final = 2.0


def _play(stage: Stage) -> Figures:
    (server,) = stage.failing_set.members
    load = stage.load(stage.failing_set.uri(stage.database()), config={"CC_MONGO_TIMEOUT_MS": int(DEADLINE * 1000)})
    failed = server.fail(*WRITES, mode="off")
    seconds = stage.times(1, 10)
    with load.running():
        for code in CODES:
            stage.work(0.3)
            server.fail(
                *WRITES,
                mode={"activationProbability": 0.5},
                writeConcernError={"code": code, "errmsg": "not confirmed"},
            )
            stage.work(seconds)
            server.fail(*WRITES, mode="off")
        stage.work(0.5)
    return Figures(outcome=load.outcome(), faults=server.fail(*WRITES, mode="off") - failed)


SCENARIOS: Final = (
    Scenario(
        name="write-concern-errors",
        fault=f"every second write ends in a write concern error, of {len(CODES)} codes, with a deadline of 2 s",
        how="failpoint failCommand with writeConcernError: applied, and reported as unconfirmed",
        servers="replica set of 1, w=majority",
        play=_play,
        deadline=DEADLINE,
        may_fail=True,
        least=(100, 40),
    ),
)
