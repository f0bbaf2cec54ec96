"""Transactions and leases while another process holds the lock of the file."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from backtest_mongo import LeaseLostError, StoreUnavailableError, lease, persist, set_config, transaction
from tests.support.deadlines import SECONDS
from tests.support.uniform import WHEN


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    path = tmp_path / "backtest.db"
    persist.use_sqlite(path)
    await persist.state("s", "b").write_state_data({"n": 0}, WHEN)
    return path


@contextlib.contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Hold the lock that every commit needs, until a ``ROLLBACK``."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
    finally:
        connection.close()


async def write(n: int) -> None:
    async with transaction(when=WHEN):
        await persist.state("s", "b").write_state_data({"n": n})


async def test_commit_that_is_cancelled_again_and_again_is_waited_for(path: Path) -> None:
    with locked(path) as other:
        task = asyncio.create_task(write(1))
        for _ in range(5):
            await asyncio.sleep(0.05)
            task.cancel()
        await asyncio.sleep(0.05)
        assert not task.done()
        other.execute("ROLLBACK")
        with pytest.raises(asyncio.CancelledError):
            await task
    await persist.state("s", "b").write_state_data({"n": 2}, WHEN)
    assert await persist.state("s", "b").read_state_data() == {"n": 2}


async def test_commit_under_a_lease_waits_for_half_its_ttl_at_most(path: Path) -> None:
    set_config(CC_MONGO_TIMEOUT_MS=3_600_000)
    errors: list[StoreUnavailableError] = []

    async def own() -> None:
        async with lease(persist.state("s", "b"), ttl=4):
            with locked(path):
                try:
                    await write(1)
                except StoreUnavailableError as late:
                    errors.append(late)
                await asyncio.sleep(SECONDS)

    with pytest.raises(LeaseLostError):  # as it can't be renewed either
        await own()
    assert len(errors) == 1
    assert await persist.state("s", "b").read_state_data() == {"n": 0}


async def test_lease_is_waited_for_while_the_file_is_locked(path: Path) -> None:
    set_config(CC_MONGO_TIMEOUT_MS=100)
    with locked(path) as other:
        with pytest.raises(StoreUnavailableError):
            await lease(persist.state("s", "b")).__aenter__()
        asyncio.get_running_loop().call_later(0.5, other.execute, "ROLLBACK")
        async with lease(persist.state("s", "b"), wait=SECONDS) as mine:
            assert mine.contexts == ['state["s", "b"]']
            set_config(CC_MONGO_TIMEOUT_MS=15_000)
            await write(1)
    assert await persist.state("s", "b").read_state_data() == {"n": 1}
