"""Processes that write are killed again and again: what was acknowledged is there, and nothing is half written.

Three rounds, and five in ``nox -s heavy``; ``BACKTEST_KILLS=200`` gives the long form, ``BACKTEST_SEED`` repeats when
the processes are killed, as far as a machine repeats anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import time
from pathlib import Path
from typing import Any, Final

import pytest

from backtest_mongo import persist
from tests.sqlite.support import database_of, query, worker
from tests.support.changes import take_change
from tests.support.uniform import candles

pytestmark = pytest.mark.one_python

KILLS: Final = int(os.environ.get("BACKTEST_KILLS", "5"))
SEED: Final = int(os.environ.get("BACKTEST_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
NAMES: Final = "abc"


async def test_killed_processes_lose_nothing_that_was_acknowledged(path: Path) -> None:
    await kill_and_check(path, 3)


@pytest.mark.heavy
async def test_processes_that_are_killed_many_times_lose_nothing_that_was_acknowledged(path: Path) -> None:
    await kill_and_check(path, KILLS)


async def kill_and_check(path: Path, rounds: int) -> None:
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    acknowledged, checked = dict.fromkeys(NAMES, 0), dict.fromkeys(NAMES, 0)
    reported: dict[str, list[int]] = {name: [] for name in NAMES}
    async with type(persist.state("a", "one")).watch_all() as changes:
        for _ in range(rounds):
            with contextlib.ExitStack() as stack:
                processes = {
                    name: stack.enter_context(worker("acknowledge", str(path), name, f"{last + 1}"))
                    for name, last in acknowledged.items()
                }
                moments = {name: (rng.randrange(1, 6), rng.uniform(0, 0.05)) for name in NAMES}
                killings = [asyncio.to_thread(kill, process, *moments[name]) for name, process in processes.items()]
                for name, last in zip(processes, await asyncio.gather(*killings), strict=True):
                    assert last > acknowledged[name]
                    acknowledged[name] = last
            assert query(path, "PRAGMA integrity_check") == [("ok",)]
            for name in NAMES:
                await check(name, checked[name], acknowledged[name])
            checked = dict(acknowledged)
            await persist.state("end of round", "one").write_state_data({"n": 0}, 1)
            while (found := await take_change(changes)).payload["n"]:
                assert found.context is not None
                reported[str(found.context["signal_id"])].append(found.payload["n"])
            # So that the next process finds a file that nobody has open, every other time.
            if rng.random() < 0.5:
                await asyncio.to_thread(database_of(path).close)
    for name in NAMES:
        await check(name, 0, acknowledged[name])
        # What a killed process had written and not acknowledged was written again by the next one.
        assert {*range(1, acknowledged[name] + 1)} <= {*reported[name]}
        assert all(after - before <= 1 for before, after in zip(reported[name], reported[name][1:], strict=False))


def kill(process: subprocess.Popen[str], acknowledgements: int, seconds: float) -> int:
    """Kill a process some time after so many acknowledgements, and return the last one."""
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(acknowledgements)]
    time.sleep(seconds)  # no wait for anything: the process is killed at any moment
    process.kill()
    lines += process.communicate()[0].splitlines(keepends=True)
    return max(int(line) for line in lines if line.endswith("\n"))


async def check(name: str, first: int, last: int) -> None:
    """Check that what was acknowledged after ``first`` and up to ``last`` is there, and nothing is in halves."""
    state: Any = await persist.state(name, "one").read_state_data()
    assert state["n"] >= last
    assert state["pad"] == "x" * (state["n"] * 997 % 50_000)
    memory = persist.memory("s", "b")
    for number in range(first + 1, last + 1):
        assert await memory.read_memory_data(f"{name}-{number}") == {"n": number}
    stored = {row["id"]: row["n"] for row in await persist.storage(True).read_storage_data()}
    assert len({stored[f"{name}-{index}"] for index in range(5)}) == 1  # a list is written as a whole
    assert stored[f"{name}-0"] >= last
    assert await persist.candle("BTCUSDT", "1m", name).read_candles_data(3 * last, 0) == candles(3 * last)
