"""A load process whose event loops end one after another, each with writes under way.

A loop starts tasks that write, calls ``close()`` and ends. The next loop writes to the same keys and reads them. A
write of the first loop that takes effect after ``close()`` has returned, or replaces one of the second, is too late.

Its job and its record are those of :mod:`faults.worker`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import sys
import threading
import time
import warnings
from functools import partial
from typing import TextIO

import backtest_mongo
from faults.registers import Register
from faults.worker import Job, Recorder

__all__: list[str] = []


class _Warnings(logging.Handler):
    """Counts the warnings of ``close()`` about writes whose outcome is unknown."""

    def __init__(self) -> None:
        super().__init__()
        self.unknown = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.unknown += "outcome of writes unknown" in record.getMessage()


class Loops:
    def __init__(self, job: Job, record: TextIO) -> None:
        self._job = job
        self._recorder = Recorder(job.process, record)
        self._warnings = _Warnings()
        self._random = random.SystemRandom()
        logger = logging.getLogger("faults.loops")
        logger.propagate = False
        logger.addHandler(self._warnings)
        backtest_mongo.set_logger(logger)

    def run(self) -> None:
        asyncio.run(self._prepare())
        print("ready", flush=True)
        sys.stdin.readline()
        told_to_stop = threading.Thread(target=sys.stdin.readline, daemon=True)
        told_to_stop.start()
        rounds = 0
        while told_to_stop.is_alive():
            self._follow(f"{self._job.process}-{rounds}")
            rounds += 1

    def _follow(self, name: str) -> None:
        """Run two event loops, one after the other."""
        registers = [Register(slot, name) for slot in self._job.slots]
        unknown = self._warnings.unknown
        closed = asyncio.run(self._leave(registers))
        # The end of a loop cancels the callers of writes, but the writes must not take effect later.
        self._recorder.settle(closed, is_over=self._warnings.unknown == unknown)
        asyncio.run(self._come_after(registers))

    async def _prepare(self) -> None:
        async with backtest_mongo.setup(self._job.config):
            # Create the indexes before anything is slow.
            await asyncio.gather(*(Register(slot, "first").write(0) for slot in self._job.slots))

    async def _leave(self, registers: list[Register]) -> int:
        """Start writes, close the connections, and return when, in nanoseconds of the monotonic clock."""
        await backtest_mongo.setup(self._job.config)
        who = f"process {self._job.process}, a loop that ends"
        writing = {
            asyncio.create_task(self._write(register, who)) for _ in range(self._job.each) for register in registers
        }
        await asyncio.sleep(self._random.choice((0, 0, 0.01, 0.05)))  # some writes are still queued, some are sent
        await backtest_mongo.close()
        closed = time.monotonic_ns()
        del writing  # the tasks end with the loop
        return closed

    async def _come_after(self, registers: list[Register]) -> None:
        who = f"process {self._job.process}, the loop after it"
        async with backtest_mongo.setup(self._job.config):
            for register in registers:
                await self._write(register, who)
                await self._recorder.attempt(register, "read", None, register.read, who)

    async def _write(self, register: Register, who: str) -> None:
        number = self._recorder.number()
        await self._recorder.attempt(register, "write", number, partial(register.write, number), who)


def main(job: Job) -> None:
    # PyMongo's asyncio client, closed while one of its monitors connects, leaves that socket unclosed.
    warnings.filterwarnings("ignore", "unclosed <socket", ResourceWarning)
    with open(job.record, "w") as record:
        Loops(job, record).run()


if __name__ == "__main__":
    main(Job(**json.loads(sys.argv[1])))
