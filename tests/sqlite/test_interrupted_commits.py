"""Commits on SQLite that are killed or cancelled at each of their steps in turn: whole, or nothing of them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Generator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import backtest_mongo
from backtest_mongo import LeaseHeldError, lease, persist
from backtest_mongo.core.counters import get_commit_counts
from tests.sqlite.support import ROOT, change, get, put, query
from tests.support.bars import own, read_bar, write_bar
from tests.support.deadlines import SECONDS
from tests.support.leases import LONG_AGO
from tests.support.scopes import outside
from tests.support.statements import OUTCOME, steps

#: Of the write-ahead log, and of what stands before each page in it, in bytes.
LOG_HEADER: Final = 32
FRAME_HEADER: Final = 24


# Kills.


class Killer:
    """A process of ``killed_worker.py``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    async def kill(self, path: Path, unique: str, step: int, *, bars: int = 1, is_all: bool = False) -> list[Any]:
        """Kill a process that writes bars at a step; return what it has said until then, and whether it was killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps([str(path), unique, step, bars, is_all])}\n")
        self._process.stdin.flush()
        line = await asyncio.to_thread(self._process.stdout.readline)
        said, code = json.loads(line)
        assert code in (0, -signal.SIGKILL)
        return [said, code != 0]


@pytest.fixture
def killer() -> Iterator[Killer]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CC_")}
    command = [sys.executable, "-W", "error", "-m", "tests.support.killed_worker"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        yield Killer(process)
        assert process.stdin is not None
        process.stdin.close()


async def go_on(path: Path, unique: str, found: int) -> None:
    """Check the file, and go on as the successor does once the lease of the dead process has run out."""
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    if query(path, "SELECT 1 FROM sqlite_master WHERE name='leases'"):
        change(path, f"UPDATE leases SET until={LONG_AGO} WHERE owner IS NOT NULL")
    async with own(unique):
        assert await read_bar(unique) == found
        await write_bar(unique, found + 1)
    assert await read_bar(unique) == found + 1


@pytest.mark.parametrize("bars", [1, 3])
async def test_commit_that_is_killed_at_any_statement_is_whole_or_nothing(
    path: Path, unique: str, killer: Killer, bars: int
) -> None:
    """Before each statement nothing of it is there, and all of it once the last one has been executed."""
    async with own(unique):
        await write_bar(unique, 1)
    last, killed_at = 1, []
    for step in itertools.count(1):
        said, was_killed = await killer.kill(path, unique, step, bars=bars)
        found = await read_bar(unique)
        if not was_killed:
            assert said == [bars]
            assert found == last + bars
            break
        (at,) = said
        killed_at.append(at)
        assert found == (last + bars if at == OUTCOME else last)
        await go_on(path, unique, found)
        last = found + 1
    assert killed_at[0] == "BEGIN IMMEDIATE"
    assert killed_at[-2:] == ["COMMIT", OUTCOME]
    for kind in (
        "UPDATE leases ",
        r"SELECT .*\[state-items\]",
        r"INSERT INTO \[state-items\]",
        r"INSERT .*\[storage-items\]",
    ):
        assert any(re.match(kind, statement) for statement in killed_at), kind


async def test_process_that_is_killed_at_any_statement_of_its_life_leaves_a_whole_bar_or_none(
    tmp_path: Path, unique: str, killer: Killer
) -> None:
    """From the making of the file over the taking of leases and the first commit to the end."""
    found_of_unknown = set()
    for step in itertools.count(1):
        path = tmp_path / f"{step}.db"
        said, was_killed = await killer.kill(path, unique, step, is_all=True)
        persist.use_sqlite(path)
        found = await read_bar(unique)
        if 1 in said:
            assert found == 1
        else:
            assert found in (0, 1)
            found_of_unknown.add(found)
        await go_on(path, unique, found)
        await backtest_mongo.close()
        if not was_killed:
            break
    assert found_of_unknown == {0, 1}


async def test_commit_that_is_killed_between_two_writes_to_the_disk_is_whole_or_nothing(
    path: Path, unique: str, tmp_path: Path
) -> None:
    """A kill in the midst of COMMIT leaves a part of the write-ahead log, which is cut at and within each page."""
    log = Path(f"{path}-wal")
    async with own(unique):
        await write_bar(unique, 1)
        first = len(get(log))
        await write_bar(unique, 2)
        stored, written = get(path), get(log)
    ((page,),) = query(path, "PRAGMA page_size")
    frame = FRAME_HEADER + page
    assert len(written) - first >= 2 * frame
    assert (first - LOG_HEADER) % frame == (len(written) - first) % frame == 0
    ends = range(first, len(written), frame)
    for number, end in enumerate(sorted({end + part for end in ends for part in (0, 1, FRAME_HEADER, frame - 1)})):
        path = tmp_path / f"{number}.db"
        put(path, stored)
        put(Path(f"{path}-wal"), written[:end])
        persist.use_sqlite(path)
        assert await read_bar(unique) == 1
        await go_on(path, unique, 1)
        await backtest_mongo.close()
    path = tmp_path / "whole.db"
    put(path, stored)
    put(Path(f"{path}-wal"), written)
    persist.use_sqlite(path)
    await go_on(path, unique, 2)


# Cancellation.


def read_stored_bar(path: Path, unique: str) -> int:
    """Return the last bar as another program finds it at one moment, also in the midst of a commit."""
    states = "SELECT json_group_array(json_extract(payload, '$.n')) FROM [state-items] WHERE signalId=?"
    rows = "SELECT count(*) FROM [storage-items]"
    ((found, count),) = query(path, f"SELECT ({states}), ({rows})", unique)
    assert json.loads(found) == [count, count]
    return int(count)


@pytest.fixture
def traced(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    steps.trace(monkeypatch)
    return path


class Awaiting:
    """Awaits work, and calls ``cancel`` each time that it is suspended."""

    def __init__(self, work: Coroutine[Any, Any, None], cancel: Callable[[], object]) -> None:
        self._work = work
        self._cancel = cancel

    def __await__(self) -> Generator[Any, Any, None]:
        error: BaseException | None = None
        while True:
            try:
                future = self._work.send(None) if error is None else self._work.throw(error)
            except StopIteration:
                return
            self._cancel()
            try:
                yield future
            except BaseException as thrown:
                error = thrown
            else:
                error = None


class Cancellation:
    """Cancels a task at one of its steps and, if ``times`` is above 1, at the next ones.

    Args:
        how: ``await``, for each time that the task is suspended, or ``statement``, for each statement of SQL and each
            outcome; the task meets the cancellation before the statement is executed.
        first: the number of the step, from 1.
    """

    def __init__(self, how: str, first: int, times: int) -> None:
        self._how = how
        self._steps = range(first, first + times)
        self._step = 0

    @property
    def was_reached(self) -> bool:
        return self._step >= self._steps.start

    async def run(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do the work, and return whether it was cancelled."""
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._await(work) if self._how == "await" else work)
        if self._how == "statement":
            steps.on_step = self._cancel_at_statement
        try:
            (outcome,) = await asyncio.gather(self._task, return_exceptions=True)
        finally:
            steps.on_step = None
        assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome
        return outcome is not None

    async def _await(self, work: Coroutine[Any, Any, None]) -> None:
        await Awaiting(work, lambda: self._task.cancel() if self._is_due() else None)

    def _is_due(self) -> bool:
        self._step += 1
        return self._step in self._steps

    def _cancel_at_statement(self, _: str) -> None:
        if not self._is_due():
            return
        if threading.current_thread() is threading.main_thread():  # a read
            self._task.cancel()
        else:
            asyncio.run_coroutine_threadsafe(self._cancel_and_go_on(), self._loop).result(SECONDS)

    async def _cancel_and_go_on(self) -> None:
        self._task.cancel()
        for _ in range(10):
            await asyncio.sleep(0)


HOWS: Final = pytest.mark.parametrize("how", ["await", "statement"])
#: A commit waits through all of them; the taking and the end of a lease go on without a caller who is cancelled twice.
TIMES: Final = pytest.mark.parametrize("times", [1, 2, 3])


async def settle() -> None:
    """Wait for what goes on without its caller: the writes of a file are carried out in their order."""
    await outside(persist.state("of nobody", "s").write_state_data({}, 0))


@HOWS
@TIMES
@pytest.mark.parametrize("is_leased", [False, True])
async def test_commit_whose_caller_is_cancelled_at_any_step_is_whole(
    traced: Path, unique: str, how: str, times: int, is_leased: bool
) -> None:
    async with own(unique) if is_leased else contextlib.nullcontext():
        await write_bar(unique, 1)
        n, outcomes = 1, []
        for first in itertools.count(1):
            cancellation = Cancellation(how, first, times)
            was_cancelled = await cancellation.run(write_bar(unique, n + 1))
            found = read_stored_bar(traced, unique)
            await settle()  # nothing goes on behind the caller
            assert found == await outside(read_bar(unique)) == await read_bar(unique)
            assert found in ((n, n + 1) if was_cancelled else (n + 1,))
            if not cancellation.was_reached:
                break
            outcomes.append(was_cancelled)
            n = found
        await write_bar(unique, n + 2)
    assert any(outcomes)
    assert how == "await" or len(outcomes) > 10
    assert await read_bar(unique) == n + 2


@HOWS
@TIMES
async def test_bars_of_one_commit_whose_caller_is_cancelled_at_any_step_are_whole(
    traced: Path, unique: str, how: str, times: int
) -> None:
    async def work(n: int) -> None:
        for number in range(1, 6):
            await write_bar(unique, n + number)
        await mine.flush()

    async with own(unique, commit_every=2, max_delay=600) as mine:
        await write_bar(unique, 1)
        await mine.flush()
        n, outcomes = 1, []
        for first in itertools.count(1):
            cancellation = Cancellation(how, first, times)
            was_cancelled = await cancellation.run(work(n))
            acknowledged = await read_bar(unique)
            assert n <= read_stored_bar(traced, unique) <= acknowledged
            assert acknowledged in (range(n, n + 6) if was_cancelled else (n + 5,))
            await mine.flush()
            assert await outside(read_bar(unique)) == await read_bar(unique) == acknowledged
            n = acknowledged
            if not cancellation.was_reached:
                break
            outcomes.append(was_cancelled)
    assert any(outcomes)
    assert how == "await" or len(outcomes) > 10
    assert await read_bar(unique) == n


@HOWS
@TIMES
async def test_lease_whose_owner_is_cancelled_at_any_step_is_free_afterwards(
    traced: Path, unique: str, how: str, times: int
) -> None:
    """Of its taking, of a commit under it, and of its end."""

    async def work(n: int) -> None:
        async with own(unique, ttl=3_600):
            await write_bar(unique, n)

    await write_bar(unique, 1)
    n, outcomes = 1, []
    for first in itertools.count(1):
        cancellation = Cancellation(how, first, times)
        was_cancelled = await cancellation.run(work(n + 1))
        # At once, unless its caller has not waited for its end.
        async with own(unique, wait=0 if times == 1 else SECONDS):
            found = await read_bar(unique)
            assert found in ((n, n + 1) if was_cancelled else (n + 1,))
            await write_bar(unique, found + 1)
        assert get_commit_counts().held == 0
        n = found + 1
        if not cancellation.was_reached:
            break
        outcomes.append(was_cancelled)
    assert any(outcomes)
    assert how == "await" or len(outcomes) > 20
    assert await read_bar(unique) == n


@HOWS
@TIMES
async def test_lease_to_which_a_context_is_added_can_be_cancelled_at_any_step(
    traced: Path, unique: str, how: str, times: int
) -> None:
    outcomes = []
    async with own(unique) as mine:
        await write_bar(unique, 1)
        for first in itertools.count(1):
            held, more = mine.contexts, persist.state(unique, f"more {first}")
            cancellation = Cancellation(how, first, times)
            was_cancelled = await cancellation.run(mine.add(more))
            await settle()
            added = len(mine.contexts) - len(held)
            assert added == 1 or was_cancelled
            with pytest.raises(LeaseHeldError) if added else contextlib.nullcontext():
                await outside(take_and_give_back(more))
            await write_bar(unique, first + 1)
            if not cancellation.was_reached:
                break
            outcomes.append(was_cancelled)
    assert any(outcomes)
    assert how == "await" or len(outcomes) > 5
    assert get_commit_counts().held == 0
    assert await read_bar(unique) == len(outcomes) + 2


async def take_and_give_back(adapter: Any) -> None:
    async with lease(adapter):
        pass
