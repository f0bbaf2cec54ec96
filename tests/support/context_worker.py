"""A process that deletes a context or renames a strategy, and kills itself at a step; run by test_context_kills.py.

A step is, on MongoDB, the moment before a transaction is committed and the one after it; on SQLite, each statement.
Prints the number of steps if it comes to its end.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any

import pytest
from pymongo import monitoring

import backtest_mongo
from backtest_mongo import persist, rename_strategy
from backtest_mongo.mongo import contexts as mongo_contexts
from backtest_mongo.mongo import renaming as mongo_renaming
from backtest_mongo.sqlite import contexts as sqlite_contexts
from backtest_mongo.sqlite import renaming as sqlite_renaming
from tests.support.statements import steps


class Steps(monitoring.CommandListener):
    """Counts steps, and kills the process at one of them."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.count = 0
        self.is_counting = False

    def take(self, step: object) -> None:
        if self.is_counting:
            if self.count == self.last:
                os.kill(os.getpid(), signal.SIGKILL)
            self.count += 1

    def started(self, event: Any) -> None:
        if event.command_name == "commitTransaction":
            self.take(event)

    def succeeded(self, event: Any) -> None:
        if event.command_name == "commitTransaction":
            self.take(event)

    def failed(self, event: Any) -> None:
        pass


async def work(job: dict[str, Any]) -> None:
    count = Steps(job["last"])
    patch = pytest.MonkeyPatch()
    for module in (mongo_contexts, mongo_renaming, sqlite_contexts, sqlite_renaming):
        patch.setattr(module, "MAX_STEP_ROWS", 3)
    if job["sqlite"]:
        steps.trace(patch)
        steps.on_step = count.take
        persist.use_sqlite(job["sqlite"])
    else:
        monitoring.register(count)
        await backtest_mongo.setup(job["config"])
    one = persist.partial("BTC", job["old"], "x")
    await one.read_partial_data("s-0")
    count.is_counting = True
    if job["kind"] == "delete":
        await one.delete()
    else:
        await rename_strategy(job["old"], job["new"])
    count.is_counting = False
    await backtest_mongo.close()
    print(count.count, flush=True)


if __name__ == "__main__":
    asyncio.run(work(json.loads(sys.argv[1])))
