"""One process of the load: tasks that write and read registers through the adapters, and record all that they do.

Reads its job from the command line, says "ready" once every slot has been used, works until a line comes on its
standard input, and leaves two JSON lines an operation in its record: one at the invocation, one at the return.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
import traceback
from dataclasses import dataclass
from itertools import count
from typing import Any, TextIO

import backtest_mongo
from backtest_mongo import StoreUnavailableError
from faults.probe import quiet
from faults.registers import SPECS, Register

__all__ = ["Job"]

#: How long all processes go on with one candle.
CANDLE_SECONDS = 0.05
#: Candle positions, a minute each, that lie in the past.
POSITIONS = 20_000_000
#: Far more than one process writes.
NUMBERS = 10_000_000


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one process does.

    Args:
        process: its number, which makes its values unique.
        record: the file that it writes.
        config: the library's.
        slots: which to use.
        keys: registers of each slot, which all processes share.
        tasks: how many work at once.
        at_least: operations that it does before it may stop.
        pause: seconds that a task rests between two operations.
        fresh: how many of its writes go to a register that nobody else writes; each such is found later, or lost.
        forget: how many of its operations forget first what the process knows of the register.
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


class Worker:
    def __init__(self, job: Job, record: TextIO) -> None:
        self._job = job
        self._record = record
        self._serial = count()
        self._done = 0
        self._is_told_to_stop = False
        self._random = random.SystemRandom()
        self._shared = [
            Register(slot, f"k{key}") for slot in job.slots if not SPECS[slot].immutable for key in range(job.keys)
        ]

    async def run(self) -> None:
        backtest_mongo.set_logger(quiet())
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
        while not self._is_told_to_stop or self._done < self._job.at_least:
            register = self._choose()
            if self._random.random() < self._job.forget:
                register.forget()
            await self._operate(register, who)
            await asyncio.sleep(self._job.pause)

    def _choose(self) -> Register:
        dice = self._random
        if "candle" in self._job.slots and (not self._shared or dice.random() < 1 / len(self._job.slots)):
            # That of this moment, which all processes race for, or an earlier one.
            position = int(time.monotonic() / CANDLE_SECONDS) - dice.choice((0, 0, 0, 1, 40))
            return Register("candle", str(position % POSITIONS))
        return dice.choice(self._shared)

    async def _operate(self, register: Register, who: str) -> None:
        dice = self._random.random()
        if dice < 0.5:
            await self._read(register, who)
        elif register.spec.soft_delete and dice < 0.6:
            await self._attempt(register, "write", None, register.remove, who)
        else:
            number = self._job.process * NUMBERS + next(self._serial)
            # A list of the newest would push the shared registers out of itself.
            if not register.is_immutable and register.spec.newest is None and self._random.random() < self._job.fresh:
                register = Register(register.slot, f"f{number}", aside=True)
            await self._attempt(register, "write", number, lambda: register.write(number), who)

    async def _read(self, register: Register, who: str = "") -> None:
        await self._attempt(register, "read", None, register.read, who)

    async def _attempt(self, register: Register, kind: str, number: int | None, do: Any, who: str) -> None:
        serial = next(self._serial)
        self._write([serial, time.monotonic_ns(), kind, register.name, number, who])
        outcome, result, note = "ok", None, ""
        try:
            result = await do()
        except StoreUnavailableError as error:
            outcome, note = "unavailable", str(error)
        except Exception as error:  # any other is a finding, whatever it is
            outcome, note = "error", "".join(traceback.format_exception(error))
        self._write([serial, time.monotonic_ns(), outcome, result, note])
        self._done += 1

    def _write(self, line: list[Any]) -> None:
        self._record.write(json.dumps(line) + "\n")


async def main(job: Job) -> None:
    with open(job.record, "w") as record:  # noqa: ASYNC230  # a buffered line now and then
        await Worker(job, record).run()


if __name__ == "__main__":
    asyncio.run(main(Job(**json.loads(sys.argv[1]))))
