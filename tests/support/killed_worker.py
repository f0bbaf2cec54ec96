"""Forks processes that write bars into SQLite files, and kill themselves at a step; run by the tests of SQLite.

Each line that it reads is a job: the file, the test's name, the step to be killed at, the number of bars in one commit,
and whether steps are counted from the beginning of everything, or from that of the commit. Prints for each what the
process has said, and its exit code. A process says the last step that it took, and how many bars it was told are
stored. They are forked, since to start Python for each would take most of the time.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import traceback

import pytest

import backtest_mongo
from backtest_mongo import persist
from tests.support.bars import own, read_bar, write_bar
from tests.support.statements import steps


async def work(path: str, unique: str, last_step: int, bars: int, is_all: bool, pipe: int) -> None:
    left = last_step

    def count(step: str) -> None:
        nonlocal left
        left -= 1
        if not left:
            os.write(pipe, f"{json.dumps(step)}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    steps.trace(pytest.MonkeyPatch())
    if is_all:
        steps.on_step = count
    persist.use_sqlite(path)
    async with own(unique, ttl=3_600, commit_every=1 if bars == 1 else 64, max_delay=600) as mine:
        n = await read_bar(unique)
        for name in ("one", "other"):
            await persist.state(unique, name).read_state_data()  # so that the commit compares what is known with it
        steps.on_step = count
        for number in range(1, bars + 1):
            await write_bar(unique, n + number)
        await mine.flush()
        os.write(pipe, f"{bars}\n".encode())
        if not is_all:
            steps.on_step = None
    await backtest_mongo.close()


def fork(path: str, unique: str, last_step: int, bars: int, is_all: bool) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            asyncio.run(work(path, unique, last_step, bars, is_all, writing))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = [json.loads(line) for line in pipe]
    print(json.dumps([said, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]), flush=True)


if __name__ == "__main__":
    for line in sys.stdin:
        fork(*json.loads(line))
