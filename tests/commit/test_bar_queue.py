"""``lease(commit_every=N)``: transactions are acknowledged in memory, and committed whole, in order, many at a time."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import (
    BacktestMongoError,
    ConflictError,
    LeaseLostError,
    StoreUnavailableError,
    lease,
    persist,
    transaction,
)
from backtest_mongo.core.commits import Commit
from backtest_mongo.core.counters import get_commit_counts
from tests.conftest import Deployment
from tests.support import uniform
from tests.support.deadlines import SECONDS
from tests.support.scopes import look, outside
from tests.support.uniform import WHEN

pytestmark = pytest.mark.either_driver


class Gate:
    """Lets the commits of a database wait, or fail, and keeps what each of them has written."""

    def __init__(self, committer: Any) -> None:
        self._commit = committer.commit
        self.open = asyncio.Event()
        self.open.set()
        self.begun = asyncio.Event()
        self.error: BacktestMongoError | None = None
        #: The rows of each commit, as slot and payload.
        self.commits: list[list[Any]] = []

    async def commit(self, commit: Commit) -> Any:
        self.begun.set()
        await self.open.wait()
        if self.error is not None:
            raise self.error
        states = await self._commit(commit)
        self.commits.append([row.copy_document()[row.spec.field] for row in commit.rows])
        return states


@pytest.fixture
async def gate(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gate]:
    committer = uniform.ADAPTERS["state"]._base_store().committer
    gate = Gate(committer)
    monkeypatch.setattr(committer, "commit", gate.commit)
    yield gate
    gate.open.set()


async def write_bar(unique: str, n: int) -> None:
    async with transaction(when=WHEN):
        await persist.state(unique, "one").write_state_data({"n": n})
        await persist.storage(True).write_storage_data([{"id": f"{n:04}", "n": n}])
        await persist.state(unique, "other").write_state_data({"n": n})


def own(unique: str, **options: Any) -> Any:
    one, other = persist.state(unique, "one"), persist.state(unique, "other")
    return lease(one, other, persist.storage(True), **{"commit_every": 4, "max_delay": 600, **options})


async def read_bars(unique: str) -> tuple[Any, ...]:
    """Return the last bar by either row, and how many there are."""
    one, other = await type(persist.state("a", "b")).read_many([(unique, "one"), (unique, "other")])
    rows = await persist.storage(True).read_storage_data()
    assert one == other
    assert [row["n"] for row in rows] == [*range(1, len(rows) + 1)]
    return (one or {"n": 0})["n"], len(rows)


async def test_whole_bars_are_committed_in_order_many_at_a_time(gate: Gate, unique: str) -> None:
    async with own(unique):
        for n in range(1, 11):
            await write_bar(unique, n)
            assert await read_bars(unique) == (n, n)
    assert await read_bars(unique) == (10, 10)
    # Of a row that was replaced meanwhile the last value alone is sent.
    assert all({"n": 10} in rows for rows in gate.commits[-1:])
    numbers = [row["n"] for rows in gate.commits for row in rows if "id" in row]
    assert numbers == [*range(1, 11)]
    assert len(gate.commits) < 10


async def test_bars_are_nobody_elses_before_they_are_committed(gate: Gate, unique: str) -> None:
    async with own(unique, commit_every=100) as mine:
        for n in range(1, 6):
            await write_bar(unique, n)
        assert await outside(read_bars(unique)) == (0, 0)
        assert await read_bars(unique) == (5, 5)
        assert get_commit_counts().queued == 5
        await mine.flush()
        assert await outside(read_bars(unique)) == (5, 5)
        assert get_commit_counts().queued == 0
        await mine.flush()
        await write_bar(unique, 6)
    assert await read_bars(unique) == (6, 6)
    assert len(gate.commits) == 2


async def test_bars_are_committed_after_the_delay_at_most(gate: Gate, unique: str) -> None:
    async with own(unique, commit_every=100, max_delay=0.01):
        await write_bar(unique, 1)
        async with asyncio.timeout(SECONDS):
            while await outside(read_bars(unique)) != (1, 1):  # noqa: ASYNC110  # nothing signals a commit
                await asyncio.sleep(0.01)


async def test_queue_is_bounded_and_slows_the_producer(gate: Gate, unique: str) -> None:
    done = 0

    async def produce() -> None:
        nonlocal done
        for n in range(1, 41):
            await write_bar(unique, n)
            done = n

    gate.open.clear()
    async with own(unique):
        producing = asyncio.create_task(produce())
        await gate.begun.wait()
        for _ in range(200):
            await asyncio.sleep(0)
        held = done
        assert 4 <= held <= 8  # those that are being sent, and those that wait
        assert get_commit_counts().queued <= 8
        assert await outside(read_bars(unique)) == (0, 0)
        gate.open.set()
        await producing
    assert await read_bars(unique) == (40, 40)


async def test_queue_is_bounded_by_its_bytes_too(gate: Gate, unique: str) -> None:
    done, pad = 0, "x" * (1 << 20)

    async def produce() -> None:
        nonlocal done
        for n in range(1, 41):
            async with transaction(when=WHEN):
                await persist.storage(True).write_storage_data([{"id": f"{n}", "pad": pad}])
            done = n

    gate.open.clear()
    async with own(unique, commit_every=1_000):
        producing = asyncio.create_task(produce())
        await gate.begun.wait()
        for _ in range(200):
            await asyncio.sleep(0)
        assert done <= 18  # 8 MB that are being sent, and 8 MB that wait
        gate.open.set()
        await producing
    assert len(await persist.storage(True).read_storage_data()) == 40


async def test_write_without_a_transaction_is_a_bar_of_its_own(gate: Gate, unique: str) -> None:
    async with own(unique, commit_every=100):
        await persist.state(unique, "one").write_state_data({"n": 1}, WHEN)
        assert await persist.state(unique, "one").read_state_data() == {"n": 1}
        assert await outside(persist.state(unique, "one").read_state_data()) is None
    assert await persist.state(unique, "one").read_state_data() == {"n": 1}


async def test_compare_and_set_is_committed_at_once_and_after_what_waits(gate: Gate, unique: str) -> None:
    one, other = persist.state(unique, "one"), persist.state(unique, "other")
    async with own(unique, commit_every=100):
        await one.write_state_data({"n": 1}, WHEN)
        with pytest.raises(ConflictError):
            await one.write_state_data({"n": 2}, WHEN, if_absent=True)
        assert await outside(one.read_state_data()) == {"n": 1}
        await other.write_state_data({"n": 2}, WHEN, if_absent=True)
        assert await outside(other.read_state_data()) == {"n": 2}
        found: Any = await one.read_state_data(with_version=True)
        await one.write_state_data({"n": 3}, WHEN, expect=found.version)
        assert await one.read_state_data() == await outside(one.read_state_data()) == {"n": 3}


async def test_reads_see_what_waits_in_every_form(deployment: Deployment, unique: str, gate: Gate) -> None:
    adapters = [uniform.adapter(spec, unique) for spec in backtest_mongo.SLOTS if spec.shape != "series"]
    keys = "a", "b", "c"
    for adapter in adapters:
        await uniform.write(adapter, uniform.payload(adapter.spec), "a")
    gate.open.clear()
    async with lease(*adapters, commit_every=6, max_delay=600) as mine:
        for number, key in enumerate((*keys, "a", "c", "b"), 2):
            async with transaction():
                for adapter in adapters:
                    await uniform.write(adapter, uniform.payload(adapter.spec, number), key, WHEN + number % 2)
                    if adapter.spec.soft_delete and key == "b":
                        await getattr(adapter, f"remove_{adapter.spec.noun}_data")(key)
        for _ in range(20):  # the first ones are being sent
            await asyncio.sleep(0)
        waiting = [await look(adapter, *keys) for adapter in adapters]
        gate.open.set()
        await mine.flush()
        assert [await look(adapter, *keys) for adapter in adapters] == waiting
        assert [await outside(look(adapter, *keys)) for adapter in adapters] == waiting


async def test_newest_rows_that_are_committed_during_the_read_are_in_it(
    deployment: Deployment, unique: str, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = persist.log()
    base: Any = type(log)._base_store()
    async with lease(log, commit_every=100, max_delay=600) as mine:
        await log.write_log_data([{"id": "first"}])
        await mine.flush()
        await log.write_log_data([{"id": "second"}])
        newest = type(base).newest

        async def commit_meanwhile(store: Any, *arguments: Any) -> Any:
            rows = await newest(store, *arguments)
            monkeypatch.undo()
            await mine.flush()
            return rows

        monkeypatch.setattr(type(base), "newest", commit_meanwhile)
        assert [row["id"] for row in await log.read_log_data()] == ["first", "second"]


async def test_errors_reach_the_producer_and_nothing_is_lost(gate: Gate, unique: str) -> None:
    gate.error = StoreUnavailableError("committing failed: this is a test")
    failures, n = 0, 1
    async with own(unique) as mine:
        while n <= 20:
            try:
                await write_bar(unique, n)
            except StoreUnavailableError:
                failures += 1
                if failures == 3:
                    gate.error = None
            else:
                n += 1
            assert await read_bars(unique) == (n - 1, n - 1)
            for _ in range(20):
                await asyncio.sleep(0)
        await mine.flush()
        gate.error = StoreUnavailableError("committing failed: this is a test")
        await write_bar(unique, 21)
        for _ in range(2):
            with pytest.raises(StoreUnavailableError):
                await mine.flush()
        gate.error = None
        await mine.flush()
        assert await outside(read_bars(unique)) == (21, 21)
    assert failures == 3
    assert get_commit_counts().queued == 0


async def test_error_of_the_last_commit_is_raised_by_the_end_of_the_block(gate: Gate, unique: str) -> None:
    async def work() -> None:
        async with own(unique, commit_every=100):
            await write_bar(unique, 1)
            gate.error = StoreUnavailableError("committing failed: this is a test")

    with pytest.raises(StoreUnavailableError, match="this is a test"):
        await work()
    gate.error = None
    assert await read_bars(unique) == (0, 0)
    async with own(unique):
        pass
    assert get_commit_counts().queued == 0


async def test_bars_of_a_block_that_fails_are_committed(gate: Gate, unique: str) -> None:
    """They were acknowledged."""

    async def work() -> None:
        async with own(unique, commit_every=100):
            await write_bar(unique, 1)
            raise KeyError

    with pytest.raises(KeyError):
        await work()
    assert await read_bars(unique) == (1, 1)


async def test_loss_of_the_lease_drops_what_waits(gate: Gate, unique: str) -> None:
    async def work() -> None:
        async with own(unique, commit_every=100) as mine:
            await write_bar(unique, 1)
            await mine.flush()
            await write_bar(unique, 2)
            committer = type(persist.state("a", "b"))._base_store().committer
            assert await committer.release_by_force(mine.contexts[0])
            with contextlib.suppress(asyncio.CancelledError):
                await mine.flush()

    with pytest.raises(LeaseLostError):
        await work()
    assert await read_bars(unique) == (1, 1)
    assert get_commit_counts().queued == 0


async def test_foreign_write_is_noticed_at_the_next_commit(gate: Gate, unique: str) -> None:
    async def work() -> None:
        async with own(unique, commit_every=100) as mine:
            await write_bar(unique, 1)
            await mine.flush()
            await outside(persist.state(unique, "one").write_state_data({"n": 99}, WHEN))
            await write_bar(unique, 2)
            await mine.flush()

    with pytest.raises(LeaseLostError, match="somebody without the lease"):
        await work()
    assert await persist.state(unique, "one").read_state_data() == {"n": 99}
    assert await persist.state(unique, "other").read_state_data() == {"n": 1}


async def test_transaction_with_rows_that_are_not_leased_stays_whole(gate: Gate, unique: str) -> None:
    memory = persist.memory(unique, "not leased")
    async with own(unique, commit_every=100) as mine:
        for n in range(1, 4):
            async with transaction(when=WHEN):
                await persist.state(unique, "one").write_state_data({"n": n})
                await memory.write_memory_data({"n": n}, "a")
            assert await memory.read_memory_data("a") == {"n": n}
            assert await uniform.listed(memory) == [("a", {"n": n})]
        assert await outside(memory.read_memory_data("a")) is None
        await memory.write_memory_data({"n": 4}, "a", WHEN)  # not before what waits
        await mine.flush()
        assert await memory.read_memory_data("a") == {"n": 4}
    assert await memory.read_memory_data("a") == {"n": 4}


async def test_locked_file_is_an_error_and_nothing_is_lost(closing: None, tmp_path: Path, unique: str) -> None:
    path = tmp_path / "backtest.db"
    persist.use_sqlite(path)
    backtest_mongo.set_config(CC_MONGO_TIMEOUT_MS=200)
    async with own(unique) as mine:
        await write_bar(unique, 1)
        await mine.flush()
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            await write_bar(unique, 2)
            with pytest.raises(StoreUnavailableError):
                await mine.flush()
            assert await read_bars(unique) == (2, 2)
            connection.execute("ROLLBACK")
        await mine.flush()
        assert await outside(read_bars(unique)) == (2, 2)
