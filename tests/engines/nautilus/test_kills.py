"""A strategy that is killed by SIGKILL, wherever, neither loses nor repeats an event."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.nautilus.support import STORAGES

ROOT = Path(__file__).resolve().parents[3]
COMMAND = [sys.executable, "-W", "error", "-W", "ignore:Timestamp.utcnow", "-m", "tests.engines.nautilus.worker"]
#: Threads of numpy's would be lost in the processes that are forked.
ENVIRONMENT = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
#: Bars, trades and quotes of each, and the timer: 1,323 events.
MINUTES = 420
EVENTS = 3 * MINUTES + 60
STAGES = ("event", "note", "load", "anywhere")


class Worker:
    """Runs backtests, each in a process of its own; see :mod:`tests.engines.nautilus.worker`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            COMMAND, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
        )

    def start(self, told: dict[str, Any]) -> int:
        """Start a run, and return the id of its process."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps(told)}\n")
        self._process.stdin.flush()
        return int(self.read())

    def read(self) -> str:
        """Return the next line."""
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def run(self, told: dict[str, Any], **changes: Any) -> dict[str, Any]:
        """Return how a run has ended."""
        self.start({**told, **changes})
        return json.loads(self.read())  # type: ignore[no-any-return]  # which it is

    def finish(self, told: dict[str, Any], **changes: Any) -> dict[str, Any]:
        """Return what a run has found, which ends well."""
        done = self.run(told, **changes)
        assert done["signal"] == 0
        assert "trace" not in done, done["trace"]
        found: dict[str, Any] = done["found"]
        return {**found, "report": json.loads(found["report"])}

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    started = Worker()
    yield started
    started.close()


@pytest.fixture(scope="module")
def other_worker() -> Iterator[Worker]:
    started = Worker()
    yield started
    started.close()


@pytest.fixture
def told(driver: str, config: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """What a worker is told: where to store, and to run undisturbed."""
    where = {"file": str(tmp_path / "backtest.db")} if driver == "sqlite" else {"config": dict(config)}
    return {**where, "minutes": MINUTES, "manual": 0, "kill": None, "release": False}


def plan_kills(count: int, seed: int) -> list[dict[str, Any]]:
    """Return where processes are killed, one after another, each further on than the one before."""
    source = random.Random(seed)
    places = sorted(source.sample(range(30, EVENTS - 100), count))
    stages = [STAGES[number % len(STAGES)] for number in range(count)]
    source.shuffle(stages)
    # The first one has nothing to load yet.
    stages.insert(0, "note")
    return [
        {"at": place, "stage": stage, "delay": source.random() / 20}
        for place, stage in zip(places, stages, strict=False)
    ]


@STORAGES
@pytest.mark.parametrize("manual", [0, 10], ids=["every event", "when told"])
def test_killed_strategy_ends_as_one_that_nothing_happens_to(
    told: dict[str, Any], driver: str, manual: int, tmp_path: Path, worker: Worker
) -> None:
    undisturbed = worker.finish(told, manual=manual, config=None, file=str(tmp_path / "undisturbed.db"))
    expected = undisturbed["report"]
    assert expected["position"]["events"] == undisturbed["seen"] == EVENTS
    for number, kill in enumerate(plan_kills(8, seed=sum(map(ord, driver)) + manual)):
        done = worker.run(told, manual=manual, kill=kill, release=number > 0)
        assert done == {"signal": signal.SIGKILL}
    final = worker.finish(told, manual=manual, release=True)
    assert final["report"] == expected
    assert 0 < final["seen"] < EVENTS
    if manual == 0:
        assert [count for _, count, _ in expected["notes"]] == [*range(1, EVENTS + 1)]


@STORAGES
def test_second_process_says_who_runs_the_strategy(told: dict[str, Any], worker: Worker, other_worker: Worker) -> None:
    first = worker.start({**told, "kill": {"at": 40, "stage": "hold"}})
    try:
        assert worker.read() == "holds\n"
        done = other_worker.run(told)
        assert done["error"].startswith("LeaseHeldError: ")
        assert f"process {first}" in done["error"]
    finally:
        os.kill(first, signal.SIGKILL)
    assert json.loads(worker.read()) == {"signal": signal.SIGKILL}
    # What the first one had committed is there.
    final = worker.finish(told, release=True)
    assert (final["seen"], final["report"]["position"]["events"]) == (EVENTS - 39, EVENTS)
