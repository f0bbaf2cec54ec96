"""Leases between processes: a twin, one that stands still past its lease, one that is killed, and a fork.

Processes are killed twice, and three times in ``nox -s heavy``; ``BACKTEST_LEASE_KILLS=50`` gives the long form.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import backtest_mongo
from backtest_mongo import BacktestMongoError, lease, persist, transaction
from faults.bar_load import is_locked, stop
from tests.conftest import Deployment, SQLiteDeployment
from tests.support.deadlines import SECONDS
from tests.support.uniform import WHEN

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]

ROOT: Final = Path(backtest_mongo.__file__).parent.parent
SEED: Final = int(os.environ.get("BACKTEST_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
KILLS: Final = int(os.environ.get("BACKTEST_LEASE_KILLS", "3"))
#: Short, and long enough for a busy machine to renew it.
TTL: Final = 5.0


class Worker:
    """A process of ``lease_worker.py``."""

    def __init__(self, deployment: Deployment, kind: str, unique: str, *arguments: Any) -> None:
        self._sqlite = sqlite = str(deployment.path) if isinstance(deployment, SQLiteDeployment) else ""
        config = dict(deployment.config)
        job = {"kind": kind, "unique": unique, "arguments": arguments, "config": config, "sqlite": sqlite}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CC_")}
        environment["PYTHONPATH"] = str(ROOT)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.lease_worker", json.dumps(job)],
            cwd=ROOT,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    async def hear(self) -> list[Any]:
        """Wait for the next line, and return its words."""
        assert self.process.stdout is not None
        line = await asyncio.to_thread(self.process.stdout.readline)
        assert line, f"the process has ended, with exit status {await asyncio.to_thread(self.process.wait)}"
        words: list[Any] = json.loads(line)
        return words

    def stop(self) -> None:
        """Let it stand still, but not with the lock of an SQLite file, which nobody can take from it."""
        stop(self.process.pid)
        while self._sqlite and is_locked(Path(self._sqlite)):
            os.kill(self.process.pid, signal.SIGCONT)
            time.sleep(0.01)  # until it is stopped at another place
            stop(self.process.pid)

    def tell(self, word: str = "go") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def let_end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.stdin = None


@contextlib.contextmanager
def start(deployment: Deployment, kind: str, unique: str, *arguments: Any) -> Iterator[Worker]:
    worker = Worker(deployment, kind, unique, *arguments)
    try:
        yield worker
    finally:
        worker.process.kill()
        worker.process.communicate()


async def read_both(unique: str) -> list[Any]:
    return await type(persist.state("a", "b")).read_many([(unique, "one"), (unique, "other")])


async def test_twin_is_told_who_has_the_lease(deployment: Deployment, unique: str) -> None:
    with start(deployment, "hold", unique, 30) as first:
        assert await first.hear() == ["held"]
        with start(deployment, "hold", unique, 30) as twin:
            kind, text = await twin.hear()
        assert kind == "LeaseHeldError"
        assert f"held by process {first.process.pid} on" in text
        first.tell()
        assert await first.hear() == ["committed", 1]
        first.let_end()
        assert await first.hear() == ["given back"]
    async with lease(persist.state(unique, "one"), persist.state(unique, "other")):
        assert await read_both(unique) == [{"n": 1}] * 2


async def test_process_that_stands_still_past_its_lease_can_not_commit(deployment: Deployment, unique: str) -> None:
    one, other = persist.state(unique, "one"), persist.state(unique, "other")
    with start(deployment, "hold", unique, TTL) as late:
        assert await late.hear() == ["held"]
        late.tell()
        assert await late.hear() == ["committed", 1]
        await asyncio.to_thread(late.stop)
        late.tell()  # what it will find when it goes on
        async with lease(one, other, wait=SECONDS):
            assert await read_both(unique) == [{"n": 1}] * 2
            async with transaction(when=WHEN):
                await one.write_state_data({"n": 100})
                await other.write_state_data({"n": 100})
            os.kill(late.process.pid, signal.SIGCONT)
            kind, text = await late.hear()
            assert kind == "LeaseLostError"
            assert "take the lease again" in text
            assert await asyncio.to_thread(late.process.wait) == 0
            await one.write_state_data({"n": 101}, WHEN)
    assert await read_both(unique) == [{"n": 101}, {"n": 100}]


async def test_process_that_stood_still_and_whose_lease_is_free_again_can_not_commit(
    deployment: Deployment, unique: str
) -> None:
    one, other = persist.state(unique, "one"), persist.state(unique, "other")
    with start(deployment, "hold", unique, TTL) as late:
        assert await late.hear() == ["held"]
        await asyncio.to_thread(late.stop)
        late.tell()
        async with lease(one, other, wait=SECONDS), transaction(when=WHEN):
            await one.write_state_data({"n": 100})
            await other.write_state_data({"n": 100})
        os.kill(late.process.pid, signal.SIGCONT)
        kind, _ = await late.hear()
        assert kind == "LeaseLostError"
    assert await read_both(unique) == [{"n": 100}] * 2


@pytest.mark.mongodb
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_successor_does_not_wait_for_the_open_transaction_of_the_last_owner(
    deployment: Deployment, unique: str, how: signal.Signals
) -> None:
    """The server would keep the rows locked for up to 86 s, far longer than the deadline of an operation."""
    one, other = persist.state(unique, "one"), persist.state(unique, "other")
    with start(deployment, "hold_open", unique, TTL) as last:
        assert await last.hear() == ["held"]
        last.tell()
        assert await last.hear() == ["open"]
        os.kill(last.process.pid, how)
        async with lease(one, other, wait=SECONDS):
            assert await read_both(unique) == [None, None]
            async with transaction(when=WHEN):
                await one.write_state_data({"n": 100})
                await other.write_state_data({"n": 100})
    assert await read_both(unique) == [{"n": 100}] * 2


async def test_lease_of_a_process_that_was_killed_ends_by_itself(deployment: Deployment, unique: str) -> None:
    with start(deployment, "hold", unique, TTL) as first:
        assert await first.hear() == ["held"]
        first.tell()
        assert await first.hear() == ["committed", 1]
        first.process.kill()
        await asyncio.to_thread(first.process.wait)
        async with lease(persist.state(unique, "one"), persist.state(unique, "other"), wait=SECONDS):
            assert await read_both(unique) == [{"n": 1}] * 2


# Bars.


@pytest.mark.parametrize("every", [1, 8])
async def test_process_that_is_killed_resumes_at_a_whole_bar(deployment: Deployment, unique: str, every: int) -> None:
    await kill_and_check(deployment, unique, every, 2)


@pytest.mark.heavy
@pytest.mark.parametrize("every", [1, 8, 64])
async def test_process_that_is_killed_many_times_resumes_at_a_whole_bar(
    deployment: Deployment, unique: str, every: int
) -> None:
    await kill_and_check(deployment, unique, every, KILLS)


async def kill_and_check(deployment: Deployment, unique: str, every: int, rounds: int) -> None:
    print(f"seed {SEED}")
    dice, last = random.Random(SEED), 0
    for _ in range(rounds):
        with start(deployment, "count", unique, TTL, every) as process:
            lines = await asyncio.to_thread(kill, process.process, dice.randrange(2, 30), dice.random() / 20)
            assert lines[0][0] == "resumed", lines[0]
            for kind, *words in lines:
                if kind == "resumed":
                    resumed, other, rows = words
                    # A whole bar, and with commits of one bar none that was acknowledged is lost.
                    assert (other, rows) == ({"n": resumed} if resumed else None, resumed)
                    assert resumed >= last - (0 if every == 1 else 3 * every)
                    last = resumed
                elif kind == "bar":
                    (last,) = words
                else:
                    assert kind == "lost", (kind, *words)
    one, others, storage = persist.state(unique, "one"), persist.state(unique, "other"), persist.storage(True)
    async with lease(one, others, storage, wait=SECONDS):
        found: Any = await one.read_state_data()
        listed: Any = await storage.read_storage_data()
        done = (
            0 if found is None else found["n"]
        )  # of a process that was killed before its first commit nothing is stored
        assert [row["n"] for row in listed] == [*range(1, done + 1)]
        assert await others.read_state_data() == found


def kill(process: subprocess.Popen[str], said: int, seconds: float) -> list[list[Any]]:
    """Kill a process some time after it has said so many lines, and return all of them."""
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(said)]
    time.sleep(seconds)  # no wait for anything: the process is killed at any moment
    process.kill()
    lines += process.stdout.readlines()  # not communicate(), which loses what is read ahead if there are two pipes
    process.wait()
    return [json.loads(line) for line in lines if line.endswith("\n")]


# Forks.


async def test_child_of_a_fork_can_not_write_and_the_parent_goes_on(deployment: Deployment, unique: str) -> None:
    state = persist.state(unique, "s")
    if isinstance(deployment, SQLiteDeployment):
        await state.write_state_data({"n": 0}, WHEN)
        await backtest_mongo.close()  # a file that is open must not be carried over a fork
    async with lease(state):
        for act in (lambda: state.write_state_data({"n": -1}, WHEN), state.read_state_data):
            child = os.fork()
            if child == 0:
                refused = False
                try:
                    asyncio.run(act())
                except BacktestMongoError:
                    refused = True
                finally:
                    os._exit(0 if refused else 1)
            assert os.waitstatus_to_exitcode((await asyncio.to_thread(os.waitpid, child, 0))[1]) == 0
        await state.write_state_data({"n": 1}, WHEN)
        assert await state.read_state_data() == {"n": 1}
    assert await state.read_state_data() == {"n": 1}
