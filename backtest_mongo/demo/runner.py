"""Running the strategy twice at the same time, and killing one of the two."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Final, TypeAlias

from backtest_mongo.demo.children import Child, ChildError
from backtest_mongo.demo.compare import compare
from backtest_mongo.demo.databases import ROLES, Databases
from backtest_mongo.demo.tally import Result, Tally

__all__ = ["Target", "plan_kills", "run"]

#: No kill in the first and the last part of a run: there is little to lose.
_MARGIN: Final = 0.05
#: The writes of a bar take longer than this.
_WRITING_SECONDS: Final = 0.003


@dataclass(frozen=True)
class Target:
    """When to kill: at any moment once a bar is done, or once a bar after it has begun to write."""

    bar: int
    writing: bool


#: What is called with a run and its tally, whenever there is news of it.
Show: TypeAlias = Callable[[str, Tally], None]


def plan_kills(bars: int, kills: int, random: Random) -> list[Target]:
    """Return a random bar in each of ``kills`` equal parts of a run; every other kill waits for writes."""
    first, width = bars * _MARGIN, bars * (1 - 2 * _MARGIN) / max(kills, 1)
    return [Target(int(first + (part + random.random()) * width), part % 2 == 0) for part in range(kills)]


async def run(
    databases: Databases,
    *,
    bars: int,
    kills: int,
    random: Random,
    logs: Path,
    show: Show,
    keep: bool,
) -> Result:
    """Trade ``bars`` bars with ``kills`` kills and, at the same time, without any; compare what is stored at the end.

    ``show`` is called with a run and its tally whenever there is news. Unless ``keep`` is set, both databases are
    removed at the end.

    Raises:
        InitError: a server does not answer.
        ChildError: a trading process failed.
        StoreError: the end state could not be read or removed.
    """
    start = time.monotonic()
    tallies = {role: Tally() for role in ROLES}
    targets = {"interrupted": plan_kills(bars, kills, random), "uninterrupted": []}

    async def trade(role: str) -> None:
        start_child = partial(Child.start, bars, databases.environment(role), logs / f"{role}.log")
        await _trade(start_child, targets[role], random, tallies[role], partial(show, role))

    async with databases.connected(keep=keep):
        try:
            async with asyncio.TaskGroup() as group:
                for role in ROLES:
                    group.create_task(trade(role))
        except ExceptionGroup as failures:
            raise next((error for error in failures.exceptions if isinstance(error, ChildError)), failures) from None
        comparison = await compare(databases)
    return Result(bars, time.monotonic() - start, tallies, comparison)


async def _trade(
    start_child: Callable[[], Awaitable[Child]],
    targets: Sequence[Target],
    random: Random,
    tally: Tally,
    show: Callable[[Tally], None],
) -> None:
    """Keep one run going: start a process, kill it where the next target says, and start another one."""
    loop = asyncio.get_running_loop()
    waiting = deque(targets)
    while True:
        async with await start_child() as child:
            doomed = False
            last = loop.time()
            async for line in child.lines():
                what = line["what"]
                tally.add(line)
                show(tally)
                pause, last = loop.time() - last, loop.time()
                if waiting and not doomed and tally.bar >= waiting[0].bar:
                    # One that has finished meanwhile waits for its end, so no kill comes too late.
                    if what in ("done", "wrote" if waiting[0].writing else "bar"):
                        doomed = True
                        longest = _WRITING_SECONDS if waiting.popleft().writing else pause
                        loop.call_later(random.random() * longest, child.kill)
                elif what == "done" and not doomed:
                    child.let_go()
            if not await child.was_killed():
                return
            if not doomed:
                raise ChildError("a trading process was killed by somebody else")
