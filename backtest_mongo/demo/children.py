"""A trading process seen from its parent: started, listened to, killed, and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final, Self

from backtest_mongo.errors import BacktestMongoError

__all__ = ["Child", "ChildError"]

_WORKER: Final = "backtest_mongo.demo.worker"


class ChildError(BacktestMongoError):
    """A trading process ended although nobody killed it."""


class Child:
    """One trading process, which lives as long as the ``async with`` block at most.

    Its standard input is a pipe that nobody writes to: when this process ends, however it does, the pipe closes and
    the child ends too.
    """

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    @classmethod
    async def start(cls, bars: int, environment: Mapping[str, str], log: Path) -> Self:
        """Start one that trades ``bars`` bars on the servers which ``environment`` names; ``log`` gets its errors."""
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", _WORKER, str(bars)),
                env={**os.environ, **environment},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                # Ctrl-C goes to all processes of a terminal: this one decides what it means.
                start_new_session=True,
            )
        return cls(process, log)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()
        await self._process.wait()

    async def lines(self) -> AsyncIterator[dict[str, Any]]:
        """Yield what it tells, to the end: also what it told before it was killed and nobody had read yet."""
        assert self._process.stdout is not None  # for the type checker: it was started with a pipe
        async for line in self._process.stdout:
            if line.endswith(b"\n"):  # no line that a kill has cut short
                yield json.loads(line)

    def kill(self) -> None:
        """Send SIGKILL, unless it has ended already."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def let_go(self) -> None:
        """Allow a child that has finished to exit."""
        assert self._process.stdin is not None  # for the type checker: it was started with a pipe
        self._process.stdin.close()

    async def was_killed(self) -> bool:
        """Wait for its end, and tell whether SIGKILL brought it.

        Raises:
            ChildError: it failed; the message ends with its last words.
        """
        code = await self._process.wait()
        if code == -signal.SIGKILL:
            return True
        if code != 0:
            words = self._log.read_text(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
            raise ChildError(f"a trading process ended with exit code {code}: {words[0]}")
        return False
