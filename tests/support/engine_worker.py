"""A process that runs the reference engine and kills itself in its second bar; run by the tests of the engine.

It dies while the strategy decides, when all of the bar is written and nothing is committed, or after the commit, by
turns. Exits with 0 once there is nothing left to trade.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

from backtest_mongo import LeaseLostError, StoreUnavailableError, persist, setup
from backtest_mongo.cli.demo.engine import Bar, Decision
from backtest_mongo.types import Candle
from tests.support.engine_runs import SCRIPT, Scripted, make_engine


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Mortal(Scripted):
    async def decide(self, bar: Bar) -> Decision:
        decision = await super().decide(bar)
        if len(self.seen) == 2 and (bar.now // 3_600_000) % 3 == 0:
            die()
        return decision


async def trade(name: str) -> None:
    engine = make_engine(Mortal(name, SCRIPT))
    append, step, bars = engine.equity.append, engine.step, 0

    async def append_and_die(rows: Any) -> int:
        count = await append(rows)
        if bars == 1 and (rows[0]["timestamp"] // 3_600_000) % 3 == 1:
            die()
        return count

    async def step_and_die(candle: Candle) -> None:
        nonlocal bars
        await step(candle)
        bars += 1
        if bars == 2:
            die()

    engine.equity.append = append_and_die  # type: ignore[method-assign]
    engine.step = step_and_die  # type: ignore[method-assign]
    await engine.run(ttl=2, wait=60)


async def main(name: str, database: str) -> None:
    if database == "mongodb":
        await setup()
    else:
        persist.use_sqlite(database)
    while True:
        try:
            return await trade(name)
        except (LeaseLostError, StoreUnavailableError):
            pass  # so short a lease may end on a busy machine: what is stored is whole, so go on from there


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
