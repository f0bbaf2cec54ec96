"""Processes that write one fresh key at once: one document, and no duplicate-key error for anybody."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from typing import Any

from backtest_mongo import SlotSpec, StateAdapter
from tests.conftest import Deployment
from tests.uniform import WHEN

PROCESSES = 2
KEYS = 12


async def race(deployment: Deployment, spec: SlotSpec, unique: str) -> list[dict[str, Any]]:
    """Let every process write every key, and return what each of them reports."""
    keys = [str(number) if spec.shape == "series" else f"{unique}-{number}" for number in range(KEYS)]
    if spec.shape == "document":
        keys = [unique]
    workers = []
    for number in range(PROCESSES):
        job = {"config": deployment.config, "slot": spec.name, "unique": unique, "keys": keys, "process": number}
        workers.append(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-W", "error", "-m", "tests.race_worker", json.dumps(job)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
        )
    for worker in workers:
        assert worker.stdout is not None
        assert await worker.stdout.readline() == b"ready\n"
    outputs = await asyncio.gather(*(worker.communicate(b"go\n") for worker in workers))
    assert [worker.returncode for worker in workers] == [0] * PROCESSES
    return [json.loads(output) for output, _ in outputs]


async def test_two_processes_make_one_document_a_key(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    reports = await race(deployment, spec, unique)
    assert [report["errors"] for report in reports] == [[], []]
    rows = await deployment.rows(spec)
    count = Counter(tuple(row[name] for name in spec.key) for row in rows)
    expected = {"series": KEYS * 20, "document": 1}.get(spec.shape, KEYS)
    assert (len(count), set(count.values())) == (expected, {1})
    if spec.shape == "series":
        assert sum(report["inserted"] for report in reports) == expected
        # Each row is one writer's, whole: its prices belong together.
        assert all(row["high"] == row["open"] + 1 and row["low"] == row["open"] - 1 for row in rows)


async def test_last_of_many_tasks_on_one_fresh_key_is_one_of_the_written(deployment: Deployment, unique: str) -> None:
    state = StateAdapter(unique, "counter")
    await asyncio.gather(*(state.write_state_data({"n": number}, WHEN) for number in range(64)))
    assert len(await deployment.rows(StateAdapter.spec)) == 1
    found = await state.read_state_data()
    assert found is not None
    assert found["n"] in range(64)


async def test_remove_against_write_leaves_the_row_written_or_removed(deployment: Deployment, unique: str) -> None:
    from backtest_mongo import MemoryAdapter

    memory = MemoryAdapter(unique, "notes")
    for number in range(20):
        await asyncio.gather(memory.write_memory_data({"n": number}, "m", WHEN), memory.remove_memory_data("m"))
        (row,) = await deployment.rows(MemoryAdapter.spec)
        found = await memory.read_memory_data("m")
        assert found == (None if row["removed"] else {"n": number})
        assert row["payload"].get("removed", False) is row["removed"]
