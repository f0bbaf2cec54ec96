"""A strategy that is killed by SIGKILL, wherever, neither loses nor repeats an event."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.engines.nautilus.support import STORAGES

ROOT = Path(__file__).resolve().parents[3]
COMMAND = [sys.executable, "-W", "error", "-W", "ignore:Timestamp.utcnow", "-m", "tests.engines.nautilus.worker"]
#: Bars, trades and quotes of each, and the timer: 1,323 events.
MINUTES = 420
EVENTS = 3 * MINUTES + 60
STAGES = ("event", "note", "load", "anywhere")


@pytest.fixture
def told(driver: str, config: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """What a worker is told: where to store, and to run undisturbed."""
    where = {"file": str(tmp_path / "backtest.db")} if driver == "sqlite" else {"config": dict(config)}
    return {**where, "minutes": MINUTES, "manual": 0, "kill": None, "release": False}


def start(told: dict[str, Any]) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        COMMAND, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(told))
    process.stdin.close()
    process.stdin = None
    return process


def run(told: dict[str, Any], **changes: Any) -> tuple[int, str, str]:
    process = start({**told, **changes})
    out, problems = process.communicate()
    return process.returncode, out, problems


def run_to_the_end(told: dict[str, Any], **changes: Any) -> dict[str, Any]:
    code, out, problems = run(told, **changes)
    assert (code, problems) == (0, "")
    return json.loads(out.splitlines()[-1])  # type: ignore[no-any-return]  # which it is


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
    told: dict[str, Any], driver: str, manual: int, tmp_path: Path
) -> None:
    undisturbed = run_to_the_end(told, manual=manual, config=None, file=str(tmp_path / "undisturbed.db"))
    expected = json.loads(undisturbed["report"])
    assert expected["position"]["events"] == undisturbed["seen"] >= 1_300
    kills = plan_kills(8, seed=sum(map(ord, driver)) + manual)
    for number, kill in enumerate(kills):
        code, _, problems = run(told, manual=manual, kill=kill, release=number > 0)
        assert (code, problems) == (-9, "")
    final = run_to_the_end(told, manual=manual, release=True)
    assert json.loads(final["report"]) == expected
    assert 0 < final["seen"] < undisturbed["seen"]
    if manual == 0:
        counts = [count for _, count, _ in expected["notes"]]
        assert counts == [*range(1, undisturbed["seen"] + 1)]


@STORAGES
def test_second_process_says_who_runs_the_strategy(told: dict[str, Any]) -> None:
    first = start({**told, "kill": {"at": 40, "stage": "hold"}})
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "holds\n"
        code, _, problems = run(told)
        assert code == 1
        error = problems.splitlines()[-1]
        assert error.startswith("backtest_mongo.errors.LeaseHeldError: ")
        assert f"process {first.pid}" in error
    finally:
        first.kill()
        first.communicate()
    # What the first one had committed is there.
    final = run_to_the_end(told, release=True)
    assert final["seen"] == json.loads(final["report"])["position"]["events"] - 39
