"""The thread that writes: groups, order, locks, cancellation, closing, and the end of the process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import StoreUnavailableError, persist, set_config
from backtest_mongo.sqlite.database import Connection, Database, Write
from tests.sqlite.support import database_of, list_names, locked, locked_for_all, query, start, until, worker
from tests.support.deadlines import PROCESS_SECONDS, SECONDS
from tests.support.uniform import candles


@pytest.fixture
async def prepared(path: Path) -> Path:
    """A database that is there and has its table, whose locks are waited for however busy the machine is."""
    set_config(CC_MONGO_TIMEOUT_MS=int(SECONDS * 1000))
    await persist.state("s", "b").write_state_data({"n": 0}, 1)
    return path


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many writes each transaction has."""
    sizes: list[int] = []
    apply = Database._apply

    def count(self: Database, connection: Connection, writes: Sequence[Write[Any]]) -> None:
        sizes.append(len(writes))
        apply(self, connection, writes)

    monkeypatch.setattr(Database, "_apply", count)
    return sizes


def write(name: str, number: int) -> Any:
    return persist.state("s", name).write_state_data({"n": number}, 1)


async def read(name: str) -> Any:
    return await persist.state("s", name).read_state_data()


class Gate:
    """A write that stays in its transaction until it is told to end."""

    def __init__(self) -> None:
        self.begun, self.ends = threading.Event(), threading.Event()

    def prepare(self) -> Callable[[Connection], str]:
        return self.apply

    def apply(self, connection: Connection) -> str:
        self.begun.set()
        assert self.ends.wait(SECONDS)
        connection.execute("""UPDATE "state-items" SET payload='{"n":"gate"}' WHERE bucketName='b'""")
        return "done"


# Groups


async def test_writes_that_wait_are_committed_together_in_their_order(prepared: Path, groups: list[int]) -> None:
    with locked(prepared):
        first = await start(prepared, write("b", 1))
        rest = [asyncio.ensure_future(write("b", number)) for number in range(2, 300)]
        others = [asyncio.ensure_future(write(f"b-{number}", number)) for number in range(200)]
        await asyncio.sleep(0)
    await asyncio.gather(first, *rest, *others)
    assert groups == [1, 498]
    assert await read("b") == {"n": 299}
    assert [await read(f"b-{number}") for number in range(200)] == [{"n": number} for number in range(200)]


async def test_failing_write_of_a_group_fails_alone(prepared: Path, groups: list[int]) -> None:
    def fail(connection: Connection) -> None:
        connection.execute('DELETE FROM "state-items"')
        raise ZeroDivisionError

    database = database_of(prepared)
    with locked(prepared):
        first = await start(prepared, write("b", 1))
        calls = [
            asyncio.ensure_future(call)
            for call in (write("c", 2), database.write(lambda: fail), write("c", 3), database.write(lambda: 1 / 0))  # type: ignore[arg-type, return-value]
        ]
        await asyncio.sleep(0)
    outcomes = await asyncio.gather(first, *calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [
        type(None), type(None), ZeroDivisionError, type(None), ZeroDivisionError
    ]  # fmt: skip
    assert groups == [1, 3, 1, 1, 1]
    assert (await read("b"), await read("c")) == ({"n": 1}, {"n": 3})


async def test_table_that_was_undone_is_made_again(path: Path) -> None:
    def fail(connection: Connection) -> None:
        raise ZeroDivisionError

    store = persist.state("s", "b")._store()
    with pytest.raises(ZeroDivisionError):
        await store._write("writing", lambda: fail)  # type: ignore[attr-defined]  # of SQLite
    assert query(path, "SELECT name FROM sqlite_master WHERE type='table'") == [("changes",), ("leases",)]
    await write("b", 1)
    assert await read("b") == {"n": 1}


async def test_reads_do_not_wait_for_writers(prepared: Path) -> None:
    gate = Gate()
    writing = asyncio.ensure_future(database_of(prepared).write(gate.prepare))
    await until(gate.begun.is_set)
    assert await read("b") == {"n": 0}
    assert await persist.log().read_log_data() == []
    gate.ends.set()
    assert await writing == "done"
    assert await read("b") == {"n": "gate"}


# Locks of other processes


async def test_lock_is_waited_for_within_the_deadline(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = threading.Event()
    give_up = Database._give_up_late

    def note(self: Database, *arguments: Any) -> list[Write[Any]]:
        tried.set()
        return give_up(self, *arguments)

    monkeypatch.setattr(Database, "_give_up_late", note)
    with locked(prepared):
        writing = asyncio.ensure_future(write("b", 1))
        await until(tried.is_set)
        assert not writing.done()
        assert await read("b") == {"n": 0}
    await writing
    assert await read("b") == {"n": 1}


async def test_lock_that_stays_is_an_error_and_nothing_is_written(prepared: Path) -> None:
    set_config(CC_MONGO_TIMEOUT_MS=1)
    with locked(prepared):
        calls = [write("b", 1), persist.candle("BTCUSDT", "1m", "x").write_candles_data(candles(3))]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        for slot, outcome in zip(("state", "candle"), outcomes, strict=True):
            assert isinstance(outcome, StoreUnavailableError)
            assert not outcome.may_be_applied
            assert str(outcome).startswith(
                f"{slot}: writing failed: another process holds the lock on {prepared} (noth"
            )
        assert await read("b") == {"n": 0}
    set_config(CC_MONGO_TIMEOUT_MS=int(SECONDS * 1000))
    await write("c", 2)
    assert (await read("b"), await read("c")) == ({"n": 0}, {"n": 2})


async def test_reader_waits_for_a_lock_within_the_deadline(prepared: Path) -> None:
    await backtest_mongo.close()
    set_config(CC_MONGO_TIMEOUT_MS=1)
    with locked_for_all(prepared):
        for call in (read("b"), persist.log().read_log_data()):
            with pytest.raises(StoreUnavailableError, match=r"ing failed: another process holds the lock on "):
                await call
        set_config(CC_MONGO_TIMEOUT_MS=int(SECONDS * 1000))
        reading = asyncio.ensure_future(read("b"))
        done, _ = await asyncio.wait([reading], timeout=0.05)
        assert not done
    assert await reading == {"n": 0}


# Cancellation


async def test_write_that_waits_is_dropped_with_its_caller(prepared: Path) -> None:
    with locked(prepared):
        calls = [await start(prepared, write("b", 1))]  # it waits for the lock
        calls.append(asyncio.ensure_future(write("c", 1)))  # and this one for it
        await asyncio.sleep(0)
        for call in calls:
            call.cancel()
        for call in calls:
            with pytest.raises(asyncio.CancelledError):
                await call
    await write("d", 1)
    assert (await read("b"), await read("c"), await read("d")) == ({"n": 0}, None, {"n": 1})


async def test_write_that_has_begun_ends_before_its_cancelled_caller(prepared: Path) -> None:
    gate = Gate()
    writing = asyncio.ensure_future(database_of(prepared).write(gate.prepare))
    await until(gate.begun.is_set)
    writing.cancel()
    done, _ = await asyncio.wait([writing], timeout=0.05)
    assert not done
    gate.ends.set()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert await read("b") == {"n": "gate"}


async def test_second_cancellation_ends_the_wait_and_not_the_write(prepared: Path) -> None:
    gate = Gate()
    writing = asyncio.ensure_future(database_of(prepared).write(gate.prepare))
    await until(gate.begun.is_set)
    for _ in range(2):
        writing.cancel()
        await asyncio.wait([writing], timeout=0.05)
    assert writing.cancelled()
    gate.ends.set()
    await write("c", 1)
    assert await read("b") == {"n": "gate"}


# Closing


async def test_closing_waits_for_writes_that_were_called(prepared: Path) -> None:
    gate = Gate()
    writing = asyncio.ensure_future(database_of(prepared).write(gate.prepare))
    await until(gate.begun.is_set)
    others = [asyncio.ensure_future(write(f"{number}", number)) for number in range(20)]
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(backtest_mongo.close())
    done, _ = await asyncio.wait([closing], timeout=0.05)
    assert not done
    gate.ends.set()
    await closing
    assert list_names(prepared.parent) == [prepared.name]
    await asyncio.gather(writing, *others)
    assert query(prepared, 'SELECT count(*) FROM "state-items"') == [(21,)]
    assert await read("19") == {"n": 19}


def test_loop_that_ends_with_a_write_under_way_hinders_nobody(tmp_path: Path) -> None:
    path = tmp_path / "backtest.db"
    persist.use_sqlite(path)
    gate = Gate()

    async def begin() -> None:
        await write("b", 0)
        writing = asyncio.ensure_future(database_of(path).write(gate.prepare))
        await until(gate.begun.is_set)
        for _ in range(2):  # as somebody does who can't wait
            writing.cancel()
            await asyncio.wait([writing], timeout=0.05)

    asyncio.run(begin())
    gate.ends.set()

    async def go_on() -> None:
        await write("c", 1)
        assert (await read("b"), await read("c")) == ({"n": "gate"}, {"n": 1})
        await backtest_mongo.close()

    asyncio.run(go_on())


def test_process_that_ends_while_a_write_waits_does_not_hang(tmp_path: Path) -> None:
    path = tmp_path / "backtest.db"
    persist.use_sqlite(path)

    async def begin() -> None:
        await write("b", 0)
        await backtest_mongo.close()

    asyncio.run(begin())
    with locked(path), worker("leave", str(path), stderr=-1) as process:
        output, errors = process.communicate(timeout=PROCESS_SECONDS)
    assert (process.returncode, output, errors) == (0, "leaving\n", "")


async def test_write_without_a_thread_for_it_is_an_error_and_the_next_one_is_not(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await write("b", 1)
    await backtest_mongo.close()
    await asyncio.wait_for(write("c", 2), SECONDS)
    assert (await read("b"), await read("c")) == (None, {"n": 2})


# Forks


def test_connections_never_cross_a_fork(tmp_path: Path) -> None:
    """Python 3.12 and later warn of a fork of a process with threads, which is what is tested."""
    ignored = ("-W", "ignore::DeprecationWarning")
    with worker("fork", str(tmp_path / "backtest.db"), ignored=ignored, stderr=-1) as process:
        output, errors = process.communicate(timeout=PROCESS_SECONDS)
    assert (process.returncode, output, errors) == (0, "done\n", "")
    assert query(tmp_path / "backtest.db", 'SELECT count(*) FROM "memory-items"') == [(20 * 6,)]
    assert query(tmp_path / "backtest.db", "PRAGMA integrity_check") == [("ok",)]


def test_fork_of_a_database_in_memory_begins_with_an_empty_one() -> None:
    with worker("fork-memory", ":memory:", ignored=("-W", "ignore::DeprecationWarning"), stderr=-1) as process:
        output, errors = process.communicate(timeout=PROCESS_SECONDS)
    assert (process.returncode, output, errors) == (0, "done\n", "")
