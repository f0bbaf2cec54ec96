"""A full disk: what was acknowledged is there, the error says what to do, and writing goes on once there is space."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import StoreError, lease, persist, transaction
from tests.sqlite.support import query
from tests.support.changes import take_changes
from tests.support.uniform import candles

FULL = r"^\w+: writing failed: database or disk is full: .*free space on the disk and write again; what was stored"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root can make a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


async def fill(name: str) -> int:
    """Write until the disk is full, and return how many writes were acknowledged."""
    written: list[int] = []

    async def write_on() -> None:
        for number in itertools.count():
            await persist.memory("s", name).write_memory_data({"pad": "x" * 4_000}, f"{number:05}", 1)
            written.append(number)

    with pytest.raises(StoreError, match=FULL) as caught:
        await write_on()
    assert type(caught.value) is StoreError
    return len(written)


async def read_all(name: str) -> list[Any]:
    return [key async for key, _ in persist.memory("s", name).list_memory_data()]


async def test_full_disk_loses_nothing_and_writing_goes_on_after_it(small: Path) -> None:
    path = small / "backtest.db"
    persist.use_sqlite(path)
    ballast = small / "ballast"
    ballast.write_bytes(bytes(1 << 20))
    async with persist.memory("s", "a").watch() as changes:
        written = await fill("a")
        assert written > 10
        with pytest.raises(StoreError, match=FULL):
            await persist.candle("BTCUSDT", "1m", "x").write_candles_data(candles(5_000))
        assert await read_all("a") == [f"{number:05}" for number in range(written)]
        assert [found.key for found in await take_changes(changes, written)] == await read_all("a")
    ballast.unlink()
    more = await fill("b")
    assert more > 10
    assert await read_all("a") == [f"{number:05}" for number in range(written)]
    assert await read_all("b") == [f"{number:05}" for number in range(more)]
    await backtest_mongo.close()
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


async def test_full_disk_fails_writes_of_a_group_that_have_no_space_and_no_others(small: Path) -> None:
    persist.use_sqlite(small / "backtest.db")
    memory = persist.memory("s", "c")
    sizes = [100, 4_000_000, 200, 4_000_000, 300]
    calls = [memory.write_memory_data({"pad": "x" * size}, f"{size}-{at}", 1) for at, size in enumerate(sizes)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None), StoreError, type(None), StoreError, type(None)]
    assert await read_all("c") == ["100-0", "200-2", "300-4"]
    await backtest_mongo.close()


async def test_transactions_under_a_lease_are_whole_on_a_full_disk(small: Path, closing: None) -> None:
    path = small / "backtest.db"
    persist.use_sqlite(path)
    state, memory, storage = persist.state("s", "a"), persist.memory("s", "a"), persist.storage(True)
    ballast = small / "ballast"
    ballast.write_bytes(bytes(1 << 20))

    async def write_bar(n: int) -> None:
        async with transaction(when=1):
            await memory.write_memory_data({"n": n, "pad": "x" * 8_000}, f"{n:05}")
            await storage.write_storage_data([{"id": f"{n:05}", "n": n, "pad": "x" * 8_000}])
            await state.write_state_data({"n": n})

    async def read_bars() -> int:
        """Return the last bar, which is whole."""
        found: Any = await state.read_state_data()
        bars = [value["n"] async for _, value in memory.list_memory_data()]
        assert bars == [row["n"] for row in await storage.read_storage_data()] == [*range(1, found["n"] + 1)]
        return int(found["n"])

    async def write_on(n: int) -> None:
        for number in itertools.count(n):
            await write_bar(number)

    for every in (1, 4):
        async with lease(state, memory, storage, ttl=600, commit_every=every, max_delay=600) as mine:
            start: Any = await state.read_state_data() or {"n": 0}
            with pytest.raises(StoreError, match=r"writing failed: database or disk is full"):
                await write_on(start["n"] + 1)
            full = await read_bars()
            assert full > start["n"]
            if every == 1:
                ballast.unlink()
                await write_bar(full + 1)
                assert await read_bars() == full + 1
                continue
            # What waits is not lost: it is committed once there is space.
            stored = query(path, 'SELECT count(*) FROM "memory-items"')[0][0]
            assert stored < full
            await make_space_and_flush(small, mine)
            assert await read_bars() == full
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


async def make_space_and_flush(small: Path, mine: Any) -> None:
    """Make the disk larger, and commit what waits."""
    command = ["mount", "-o", "remount,size=16m", str(small)]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    with contextlib.suppress(StoreError):  # of a commit that was tried before
        await mine.flush()
    await mine.flush()
