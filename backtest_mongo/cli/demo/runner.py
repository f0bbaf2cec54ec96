"""Running the strategy twice at the same time, in processes of its own, and killing one of the two runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final, Self, TypeAlias

from backtest_mongo.cli.demo.databases import ROLES, Databases
from backtest_mongo.cli.demo.results import Result, Tally, compare
from backtest_mongo.errors import BacktestMongoError

__all__ = ["Child", "ChildError", "KillTarget", "plan_kills", "run"]


_WORKER: Final = "backtest_mongo.cli.demo.worker"


class ChildError(BacktestMongoError):
    """A trading process failed."""


class Child:
    """One trading process, which ends with the ``async with`` block at the latest.

    Its standard input is a pipe that nobody writes to: when this process ends, in whatever way, the pipe closes and the
    child ends too.
    """

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    @classmethod
    async def start(cls, bars: int, environment: Mapping[str, str], log: Path) -> Self:
        """Start a process that trades ``bars`` bars on the servers of ``environment``; its errors go to ``log``."""
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", _WORKER, str(bars)),
                env={**os.environ, **environment},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                # Ctrl-C goes to all processes of a terminal; only this one is to act on it.
                start_new_session=True,
            )
        return cls(process, log)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()
        await self._process.wait()

    async def lines(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the lines that it prints, including those that were not read before it was killed."""
        assert self._process.stdout is not None  # for the type checker: it was started with a pipe
        async for line in self._process.stdout:
            if line.endswith(b"\n"):  # a kill may cut the last line short
                yield json.loads(line)

    def kill(self) -> None:
        """Send SIGKILL, unless it has ended already."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def release(self) -> None:
        """Let a child that has finished exit."""
        assert self._process.stdin is not None  # for the type checker: it was started with a pipe
        self._process.stdin.close()

    async def was_killed(self) -> bool:
        """Wait for its end, and return whether SIGKILL caused it.

        Raises:
            ChildError: it failed; the message ends with the last line of its log.
        """
        code = await self._process.wait()
        if code == -signal.SIGKILL:
            return True
        if code != 0:
            words = self._log.read_text(errors="replace").strip().splitlines()[-1:] or ["it printed nothing"]
            raise ChildError(f"a trading process ended with exit code {code}: {words[0]}")
        return False


#: No kill in the first and the last part of a run, where there is little to lose.
_MARGIN: Final = 0.05
#: About what the writes of a bar and its commit take.
_WRITING_SECONDS: Final = 0.01


@dataclass(frozen=True)
class KillTarget:
    """When to kill: some time after a bar is done, or, if ``writing``, while a later bar writes or is committed."""

    bar: int
    writing: bool


#: Called with a run and its tally whenever the run reports something.
Show: TypeAlias = Callable[[str, Tally], None]


def plan_kills(bars: int, kills: int, random: Random) -> list[KillTarget]:
    """Return a random bar in each of ``kills`` equal parts of a run; every other kill waits for a write."""
    first, width = bars * _MARGIN, bars * (1 - 2 * _MARGIN) / max(kills, 1)
    return [KillTarget(int(first + (part + random.random()) * width), part % 2 == 0) for part in range(kills)]


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

    ``show`` is called with a run and its tally whenever the run reports something. Unless ``keep`` is set, both
    databases are removed at the end.

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
    targets: Sequence[KillTarget],
    random: Random,
    tally: Tally,
    show: Callable[[Tally], None],
) -> None:
    """Trade one run to its end: start a process, kill it at the next target, and start another one."""
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
                    # A child that has finished waits to be released, so no kill comes too late.
                    if what in ("done", "wrote" if waiting[0].writing else "bar"):
                        doomed = True
                        longest = _WRITING_SECONDS if waiting.popleft().writing else pause
                        loop.call_later(random.random() * longest, child.kill)
                elif what == "done" and not doomed:
                    child.release()
            if not await child.was_killed():
                return
            if not doomed:
                raise ChildError("a trading process was killed by something else")
