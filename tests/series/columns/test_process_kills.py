"""Processes that write a series are killed again and again, and another one goes on with the call that was cut short.

Six kills; ``BACKTEST_KILLS=100`` gives the long form, ``BACKTEST_SEED`` repeats when the processes are killed, as far
as a machine repeats anything.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from typing import Any, Final

import pytest

from backtest_mongo.connection.hub_registry import current_hub
from tests.conftest import Deployment, SQLiteDeployment
from tests.support.deadlines import PROCESS_SECONDS, SECONDS
from tests.support.series_worker import FIRST, Key, make_call, make_row, open_series, shrink

pytestmark = [pytest.mark.heavy, pytest.mark.either_driver]

KILLS: Final = int(os.environ.get("BACKTEST_KILLS", "6"))
SEED: Final = int(os.environ.get("BACKTEST_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
#: The slot of which the last row of a key wins.
LAST: Final = "equity"
#: Calls after the last kill.
REST: Final = 12


class Series:
    """A series that processes write, and what it must hold.

    Attributes:
        rows: the number of the call that has written each row.
        next: the first call that was not acknowledged.
    """

    def __init__(self, deployment: Deployment, slot: str, name: str) -> None:
        self.deployment = deployment
        self.slot = slot
        self.name = name
        self.rows: dict[Key, int] = {}
        self.next = 0

    def start(self, end: int) -> subprocess.Popen[str]:
        """Start a process that goes on with the first call that was not acknowledged."""
        path = str(self.deployment.path) if isinstance(self.deployment, SQLiteDeployment) else ""
        job = {"slot": self.slot, "name": self.name, "start": self.next, "end": end, "sqlite": path}
        job |= {"config": {**self.deployment.config}}
        command = [sys.executable, "-m", "tests.support.series_worker", json.dumps(job)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def take(self, line: str) -> None:
        """Take a line of a process: a call was acknowledged, and so many rows were new."""
        number, new = map(int, line.split())
        assert number == self.next
        keys = make_call(self.slot, number).keys
        added = [key for key in keys if key not in self.rows] if self.slot == FIRST else keys
        self.rows |= dict.fromkeys(added, number)
        assert new == len(added)
        self.next += 1

    async def check(self) -> None:
        """Check what is stored, and take what a call has stored that was not acknowledged."""
        series = open_series(self.slot, self.name)
        found: dict[Key, dict[str, Any]] = {}
        for row in await series.read_last(1_000_000):
            key = row["timestamp"], row.get("trade_id", 0)
            assert key not in found
            found[key] = row
        assert [*found] == sorted(found)
        frame = await series.read_frame(as_="numpy")
        assert frame["timestamp"].astype("int64").tolist() == [time for time, _ in found]
        call = make_call(self.slot, self.next)
        stored = [key for key in call.keys if found.get(key) == make_row(self.slot, key, self.next)]
        if call.kind == "append":  # whose rows are stored together, but for those that others have written first
            is_written = any(self.rows.get(key) != self.next for key in stored)
            owned = [key for key in call.keys if self.slot != FIRST or key not in self.rows]
            assert stored == (owned if is_written else [])
        before, self.rows = self.rows, self.rows | dict.fromkeys(stored, self.next)
        assert found == {key: make_row(self.slot, key, number) for key, number in sorted(self.rows.items())}
        assert self.slot != FIRST or self.rows | before == self.rows  # whoever was first stays
        coverage = await series.coverage()
        assert coverage.rows == len(found)
        assert (await series.verify()).damaged == {}


def kill(process: subprocess.Popen[str], acknowledgements: int, seconds: float) -> list[str]:
    """Kill a process some time after so many acknowledgements, and return the lines of all of them."""
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(acknowledgements)]
    time.sleep(seconds)  # no wait for anything: the process is killed at any moment
    assert process.poll() is None
    process.kill()
    lines += process.stdout  # and not by communicate(), which would leave out what has been read ahead
    process.wait(PROCESS_SECONDS)
    return [line for line in lines if line.endswith("\n")]


async def wait_for_server(deployment: Deployment) -> None:
    """Wait until the server has carried out what killed processes have sent."""
    if isinstance(deployment, SQLiteDeployment):
        return
    admin = current_hub().mongo.admin
    async with asyncio.timeout(SECONDS):
        while True:
            running = (await admin.command("currentOp"))["inprog"]
            if not any(str(one.get("ns")).startswith(f"{deployment.name}.") for one in running):
                return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("slot", [FIRST, LAST])
async def test_killed_writers_lose_nothing_and_write_nothing_twice(
    deployment: Deployment, unique: str, slot: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink(monkeypatch)
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    series = Series(deployment, slot, unique)
    for _ in range(KILLS):
        with series.start(1_000_000) as process:
            for line in await asyncio.to_thread(kill, process, chance.randrange(1, 12), chance.uniform(0, 0.05)):
                series.take(line)
        await wait_for_server(deployment)
        await series.check()
    with series.start(series.next + REST) as process:
        lines, _ = await asyncio.to_thread(process.communicate, timeout=PROCESS_SECONDS)
        assert process.returncode == 0
    for line in lines.splitlines():
        series.take(line)
    await series.check()
    size = await open_series(slot, unique).size()
    assert (size.tail_groups, size.block_rows) == (0, len(series.rows))
