"""A load process: tasks write and read registers through the adapters, and record every operation.

It takes its job from the command line, prints "ready" once it has used every slot, and works until a line arrives on
standard input. Its record has two JSON lines per operation: one for the invocation and one for the return.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, TextIO

import backtest_mongo
from backtest_mongo import StoreUnavailableError, persist, set_config
from faults.probe import quiet
from faults.registers import SPECS, Register

__all__ = ["NUMBERS", "Job", "Recorder", "Worker"]

#: How long all processes use the same candle.
CANDLE_SECONDS = 0.05
#: Number of candle positions, one minute each, that lie in the past.
POSITIONS = 20_000_000
#: Far more values than one process writes.
NUMBERS = 10_000_000
#: How often it is looked up how long threads waited for a processor.
DELAY_STEP_SECONDS = 0.05
#: Where Linux counts it for each thread.
_THREADS = Path("/proc/self/task")


class RunDelay(threading.Thread):
    """Adds up how long this process had no processor: in each step the most that one of its threads had to wait.

    An operation passes from thread to thread, so the waits of all threads together would be too much.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.total_ns: int = 0

    def run(self) -> None:
        before = _read_run_delays()
        while True:
            time.sleep(DELAY_STEP_SECONDS)  # the system counts, and notifies nobody
            delays = _read_run_delays()
            self.total_ns += max((delay - before.get(thread, 0) for thread, delay in delays.items()), default=0)
            before = delays


def _read_run_delays() -> dict[str, int]:
    """Return how long each thread was ready to run and had no processor, in ns; nothing if unknown."""
    delays = {}
    for path in _THREADS.glob("*/schedstat"):
        with suppress(OSError, IndexError):  # the thread has ended
            delays[path.parent.name] = int(path.read_text().split()[1])
    return delays


@dataclass(frozen=True, kw_only=True)
class Job:
    """The job of one process.

    Args:
        process: number of the process, which makes its values unique.
        record: path of its record.
        config: configuration of the library.
        slots: names of the slots to use.
        keys: registers per slot, which all processes share.
        tasks: number of concurrent tasks.
        at_least: operations to complete before stopping.
        pause: seconds that a task rests between operations.
        fresh: share of writes that go to a register which nobody else writes, so that a lost write is noticed.
        forget: share of operations that first drop the id which the process knows.
        burst: concurrent calls of a burst, for programs that make bursts.
        each: how many of these calls are for the same key.
        sqlite: path of an SQLite file to use instead of servers; the process may then be killed.
    """

    process: int
    record: str
    config: dict[str, Any]
    slots: list[str]
    keys: int = 2
    tasks: int = 6
    at_least: int = 0
    pause: float = 0.0
    fresh: float = 0.3
    forget: float = 0.2
    burst: int = 0
    each: int = 1
    sqlite: str = ""


class Recorder:
    """Carries out the operations of one process, and records when and how each began and ended."""

    def __init__(self, process: int, record: TextIO) -> None:
        self._process = process
        self._record = record
        self._serial = count()
        #: Operations that have not returned.
        self._begun: dict[int, Register] = {}
        #: Number of operations that have returned.
        self.done = 0
        self._run_delay = RunDelay()
        self._run_delay.start()

    def number(self) -> int:
        """Return a unique value to write."""
        return self._process * NUMBERS + next(self._serial)

    async def attempt(
        self, register: Register, kind: str, number: int | None, do: Callable[[], Awaitable[Any]], who: str
    ) -> None:
        serial = next(self._serial)
        self._begun[serial] = register
        self._write([serial, time.monotonic_ns(), kind, register.name, number, who, self._run_delay.total_ns])
        outcome, result, note = "ok", None, ""
        try:
            result = await do()
        except StoreUnavailableError as error:
            outcome = "unavailable" if kind == "read" or error.may_be_applied else "not applied"
            note = str(error)
        except Exception as error:  # any other error is a finding
            outcome, note = "error", "".join(traceback.format_exception(error))
        self._return(serial, outcome, result, note)

    def settle(self, time_ns: int, *, is_over: bool) -> None:
        """Record operations that have not returned as over by ``time_ns``, or as unknown."""
        for serial in list(self._begun):
            self._return(serial, "settled" if is_over else "unavailable", None, "its loop has ended", time_ns)

    def _return(self, serial: int, outcome: str, result: Any, note: str, time_ns: int | None = None) -> None:
        del self._begun[serial]
        self._write([serial, time_ns or time.monotonic_ns(), outcome, result, note, self._run_delay.total_ns])
        self.done += 1

    def _write(self, line: list[Any]) -> None:
        self._record.write(json.dumps(line) + "\n")


class Worker:
    def __init__(self, job: Job, record: TextIO) -> None:
        self._job = job
        self._recorder = Recorder(job.process, record)
        self._is_told_to_stop = False
        self._random = random.SystemRandom()
        self._shared = [
            Register(slot, f"k{key}") for slot in job.slots if not SPECS[slot].immutable for key in range(job.keys)
        ]

    async def run(self) -> None:
        backtest_mongo.set_logger(quiet())
        if self._job.sqlite:
            set_config(self._job.config)
            persist.use_sqlite(self._job.sqlite)
        else:
            await backtest_mongo.setup(self._job.config)
        first = [Register(slot, "0" if SPECS[slot].immutable else "first") for slot in self._job.slots]
        await asyncio.gather(*(self._read(register) for register in first))
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        async with asyncio.TaskGroup() as tasks:
            for number in range(self._job.tasks):
                tasks.create_task(self._work(f"process {self._job.process}, task {number}"))
            tasks.create_task(self._listen())
        await backtest_mongo.close()

    async def _listen(self) -> None:
        await asyncio.to_thread(sys.stdin.readline)
        self._is_told_to_stop = True

    async def _work(self, who: str) -> None:
        while not self._is_told_to_stop or self._recorder.done < self._job.at_least:
            register = self._choose()
            if self._random.random() < self._job.forget:
                register.forget()
            await self._operate(register, who)
            await asyncio.sleep(self._job.pause)

    def _choose(self) -> Register:
        dice = self._random
        if "candle" in self._job.slots and (not self._shared or dice.random() < 1 / len(self._job.slots)):
            # The current candle, for which all processes race, or an earlier one.
            position = int(time.monotonic() / CANDLE_SECONDS) - dice.choice((0, 0, 0, 1, 40))
            return Register("candle", str(position % POSITIONS))
        return dice.choice(self._shared)

    async def _operate(self, register: Register, who: str) -> None:
        dice = self._random.random()
        if dice < 0.5:
            await self._read(register, who)
        elif register.spec.soft_delete and dice < 0.6:
            await self._recorder.attempt(register, "write", None, register.remove, who)
        else:
            number = self._recorder.number()
            # In a list of the newest rows these would displace the shared registers.
            if not register.is_immutable and register.spec.newest is None and self._random.random() < self._job.fresh:
                register = Register(register.slot, f"f{number}", aside=True)
            await self._recorder.attempt(register, "write", number, lambda: register.write(number), who)

    async def _read(self, register: Register, who: str = "") -> None:
        await self._recorder.attempt(register, "read", None, register.read, who)


async def main(job: Job) -> None:
    # Where the process may be killed, each line has to be out before what it says happens.
    with open(job.record, "w", buffering=1 if job.sqlite else -1) as record:  # noqa: ASYNC230  # a short line
        await Worker(job, record).run()


if __name__ == "__main__":
    asyncio.run(main(Job(**json.loads(sys.argv[1]))))
