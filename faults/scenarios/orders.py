"""A strategy that sends orders to an exchange: the program ``examples/orders_once.py``, which kills and doubles it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from faults.load import Outcome
from faults.scenarios.base import Figures, Scenario
from faults.stage import Stage

__all__ = ["MEASURED", "SCENARIOS", "read_figures"]

_PROGRAM: Final = Path(__file__).parents[2] / "examples" / "orders_once.py"
#: Figures of the program, besides kills and orders, that the page shows.
MEASURED: Final = ("twins refused", "requests lost", "answers lost")


def _trade(stage: Stage, *words: str) -> Figures:
    strategies = stage.times(1, 4)
    command = [sys.executable, str(_PROGRAM), "--kills", str(stage.times(6, 250)), *words]
    playing = [
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **(_make_environment(stage) if words else {})},
        )
        for _ in range(strategies)
    ]
    return read_figures(playing)


def read_figures(playing: Sequence[subprocess.Popen[str]]) -> Figures:
    """Wait for programs, and return the sums of what they print."""
    figures = Figures(outcome=Outcome(), faults=0, measured=dict.fromkeys(MEASURED, 0.0))
    try:
        for process in playing:
            _add(figures, process)
    finally:
        for process in playing:
            process.kill()
            process.wait()
    return figures


def _make_environment(stage: Stage) -> dict[str, str]:
    return {
        "CC_MONGO_CONNECTION_STRING": stage.failing_set.uri(stage.database()),
        "CC_REDIS_PORT": str(stage.healthy_redis.port),
    }


def _add(figures: Figures, process: subprocess.Popen[str]) -> None:
    text, _ = process.communicate()
    printed = {
        name: int(value.replace(",", "")) for name, value in re.findall(r"^(.+): +([\d,]+)$", text, re.MULTILINE)
    }
    outcome = figures.outcome
    if process.returncode != 0 and not (printed.get("orders missing") or printed.get("orders executed twice")):
        outcome.unexpected.append(text)
    figures.faults += printed.get("kills", 0)
    outcome.operations += printed.get("bars", 0)
    outcome.acknowledged += printed.get("orders", 0)
    outcome.lost += printed.get("orders missing", 0)
    outcome.wrong += printed.get("orders executed twice", 0)
    for name in MEASURED:
        figures.measured[name] += printed.get(name, 0)


SCENARIOS = (
    Scenario(
        name="orders-sqlite",
        fault="orders sent once: the strategy is killed, doubled, and not answered",
        how="SIGKILL at random moments, the same strategy once more, connections closed before and after the work",
        servers="an SQLite file",
        play=_trade,
        is_bounded=False,
    ),
    Scenario(
        name="orders-mongodb",
        fault="the same on MongoDB",
        how="SIGKILL at random moments, the same strategy once more, connections closed before and after the work",
        servers="replica set of 1, w=majority",
        play=lambda stage: _trade(stage, "--mongodb"),
        is_bounded=False,
    ),
)
