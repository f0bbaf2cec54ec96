"""Processes that write versions are killed: each row is its newest version, and no acknowledged version is missing."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from typing import Any, Final

import pytest

from backtest_mongo import transaction
from tests.conftest import Deployment, SQLiteDeployment
from tests.support import uniform

pytestmark = [pytest.mark.heavy, pytest.mark.one_python]

KILLS: Final = int(os.environ.get("BACKTEST_KILLS", "4"))
SEED: Final = int(os.environ.get("BACKTEST_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
SLOTS: Final = "state,signal,memory"


def run_and_kill(deployment: Deployment, unique: str, first: int, rng: random.Random) -> int:
    """Let a process write until it is killed, and return the last number that it was acknowledged."""
    database = str(deployment.path) if isinstance(deployment, SQLiteDeployment) else "mongodb"
    arguments = [sys.executable, "-m", "tests.support.history_worker", unique, database, str(first)]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, text=True, env={**os.environ, **deployment.environment}
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(rng.randrange(3, 12))]
        time.sleep(rng.uniform(0, 0.02))  # no wait for anything: it is killed at any moment
        process.kill()
        lines += process.stdout.readlines()
    return max(int(line) for line in lines if line.endswith("\n"))


async def test_killed_processes_leave_each_row_with_its_versions(deployment: Deployment, unique: str) -> None:
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    await deployment.configure(CC_HISTORY=SLOTS)
    state: Any = uniform.ADAPTERS["state"](unique, "alone")
    memory: Any = uniform.ADAPTERS["memory"](unique, "notes")
    signal: Any = uniform.ADAPTERS["signal"]("BTCUSDT", unique, "binance")
    last = 0
    for _ in range(KILLS):
        last = await asyncio.to_thread(run_and_kill, deployment, unique, last + 1, rng)
        rows = [
            (await state.read_state_data(), [(one.when, one.value) async for one in state.history()]),
            (await signal.read_signal_data(), [(one.when, one.value) async for one in signal.history()]),
            (await memory.read_memory_data("note"), [(one.when, one.value) async for one in memory.history("note")]),
        ]
        for row, history in rows:
            assert row in ({"n": last}, {"n": last + 1})
            assert history == [(1_000 * number, {"n": number}) for number in range(1, row["n"] + 1)]
        assert rows[1] == rows[2]
        async with transaction(when=1_000 * last):  # which ends what the killed process has left open
            await state.write_state_data({"n": last})
            await signal.write_signal_data({"n": last})
            await memory.write_memory_data({"n": last}, "note")
        for adapter, *key in ((state,), (signal,), (memory, "note")):
            assert await adapter._base_store().versions.find_unversioned((*adapter._context, *key)) is None
