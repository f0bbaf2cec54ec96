"""A load process that makes thousands of calls at once, each time it is told to.

Its job and its record are those of :mod:`faults.worker`.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from functools import partial
from typing import Final, TextIO

import backtest_mongo
from faults.probe import quiet
from faults.registers import Register
from faults.worker import Job, Recorder

__all__ = ["BURST"]

#: The line on standard input that starts a burst.
BURST: Final = "burst"


async def run(job: Job, record: TextIO) -> None:
    backtest_mongo.set_logger(quiet())
    await backtest_mongo.setup(job.config)
    recorder = Recorder(job.process, record)
    # Create the indexes before anything is slow.
    await asyncio.gather(*(Register(slot, "first").write(0) for slot in job.slots))
    print("ready", flush=True)
    bursts = 0
    while True:
        # The first line says that all processes are ready; the last line is empty.
        word = (await asyncio.to_thread(sys.stdin.readline)).strip()
        if word == BURST:
            await _burst(job, recorder, bursts)
            record.flush()  # the parent counts the lines to find the end of the burst
            bursts += 1
        elif bursts:
            break
    await backtest_mongo.close()


async def _burst(job: Job, recorder: Recorder, serial: int) -> None:
    registers = [
        Register(random.choice(job.slots), f"{job.process}-{serial}-{number}")
        for number in range(job.burst // job.each)
    ]
    who = f"process {job.process}, burst {serial}"
    calls = []
    for turn in range(job.each):
        for register in registers:
            if turn % 4 == 3:
                calls.append(recorder.attempt(register, "read", None, register.read, who))
            else:
                number = recorder.number()
                calls.append(recorder.attempt(register, "write", number, partial(register.write, number), who))
    await asyncio.gather(*calls)


async def main(job: Job) -> None:
    with open(job.record, "w") as record:  # noqa: ASYNC230  # a buffered line now and then
        await run(job, record)


if __name__ == "__main__":
    asyncio.run(main(Job(**json.loads(sys.argv[1]))))
