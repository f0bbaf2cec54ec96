"""Processes that delete a context or rename a strategy are killed at each of their steps, and another one goes on."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import Any

import pytest

from backtest_mongo import persist, rename_strategy
from tests.conftest import Deployment, SQLiteDeployment
from tests.support.uniform import WHEN

pytestmark = [pytest.mark.heavy, pytest.mark.either_driver]

#: Kills of one run: on SQLite, of some hundred statements.
KILLS = 12
COUNTS = {"BTC": 7, "ETH": 2}


async def run(deployment: Deployment, kind: str, old: str, new: str, last: int) -> int | None:
    """Run a process until it is killed, and return how many steps it took if it was not."""
    path = str(deployment.path) if isinstance(deployment, SQLiteDeployment) else ""
    job = {"kind": kind, "old": old, "new": new, "last": last, "sqlite": path, "config": {**deployment.config}}
    command = [sys.executable, "-m", "tests.support.context_worker", json.dumps(job)]
    worker = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await worker.communicate()
    assert worker.returncode in (0, -signal.SIGKILL)
    return int(out) if worker.returncode == 0 else None


async def write_rows(strategy: str) -> None:
    for symbol, count in COUNTS.items():
        for number in range(count):
            row = {"n": number, "strategyName": strategy}
            await persist.partial(symbol, strategy, "x").write_partial_data(row, f"s-{number}", WHEN)
    await persist.signal("BTC", strategy, "x").write_signal_data({"strategyName": strategy})
    await persist.storage(True).write_storage_data([{"id": f"{n}", "strategyName": strategy} for n in range(5)])


async def read_rows(strategy: str) -> dict[str, int]:
    """Return how many rows each context has, and check what they hold."""
    found = {}
    for symbol, count in COUNTS.items():
        partial = persist.partial(symbol, strategy, "x")
        rows = [await partial.read_partial_data(f"s-{number}") for number in range(count)]
        assert all(row in ({}, {"n": n, "strategyName": strategy}) for n, row in enumerate(rows))
        found[symbol] = sum(map(bool, rows))
    signal_row = await persist.signal("BTC", strategy, "x").read_signal_data()
    assert signal_row in (None, {"strategyName": strategy})
    found["signal"] = int(signal_row is not None)
    return found


async def list_kills(deployment: Deployment, kind: str, old: str, new: str) -> list[int]:
    """Return the steps to be killed at; the rows are as they were afterwards."""
    steps = await run(deployment, kind, old, new, -1)
    assert steps is not None
    if kind == "rename":
        await rename_strategy(new, old)
    count = min(steps, KILLS) if isinstance(deployment, SQLiteDeployment) else steps
    return [steps * number // count for number in range(count)]


async def test_killed_rename_is_finished_by_the_next_one(deployment: Deployment, unique: str) -> None:
    old, new = f"{unique}_trend", f"{unique}_drift"
    await write_rows(old)
    whole = await read_rows(old)
    for last in await list_kills(deployment, "rename", old, new):
        assert await run(deployment, "rename", old, new, last) is None
        await deployment.forget()
        before, after = await read_rows(old), await read_rows(new)
        for name, count in whole.items():
            assert before[name] + after[name] == count
            is_large = name == "BTC" and not isinstance(deployment, SQLiteDeployment)
            assert is_large or before[name] in (0, count)
        await rename_strategy(old, new)
        assert await read_rows(new) == whole
        assert sum((await read_rows(old)).values()) == 0
        stored: list[Any] = await persist.storage(True).read_storage_data()
        assert [row["strategyName"] for row in stored] == [new] * 5
        await rename_strategy(new, old)
        assert await read_rows(old) == whole


async def test_killed_deletion_is_finished_by_the_next_one(deployment: Deployment, unique: str) -> None:
    old = f"{unique}_trend"
    await write_rows(old)
    whole = await read_rows(old)
    kills = await list_kills(deployment, "delete", old, "")
    for last in kills:
        await write_rows(old)
        assert await run(deployment, "delete", old, "", last) is None
        await deployment.forget()
        left = await read_rows(old)
        assert {**left, "BTC": 0} == {**whole, "BTC": 0}
        assert await persist.partial("BTC", old, "x").delete() == left["BTC"]
        assert await read_rows(old) == {**whole, "BTC": 0}
