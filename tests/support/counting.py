"""What processes that share a storage count together, with versions."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from backtest_mongo import ConflictError, persist

__all__ = ["TASKS", "count"]

TASKS = 10


async def count(times: str) -> None:
    """Count up, in several tasks, a row that others count up too, and print which of them stored it first."""
    memory = persist.memory("s", "b")
    is_first = False

    async def count_in_turn() -> None:
        nonlocal is_first
        with suppress(ConflictError):
            await memory.write_memory_data({"n": 0}, "counter", 0, if_absent=True)
            is_first = True
        for _ in range(int(times)):
            while True:
                found, version = await memory.read_memory_data("counter", with_version=True)
                assert found is not None
                try:
                    await memory.write_memory_data({"n": found["n"] + 1}, "counter", 0, expect=version)
                except ConflictError:
                    continue
                break

    await asyncio.gather(*(count_in_turn() for _ in range(TASKS)))
    print(int(is_first))
