"""The instances of a test's store, in this process and in others."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar

from backtest_mongo.testing.conformance.protocols import StoreFactory

__all__ = ["SECONDS", "Instances", "Process", "limit_time", "within"]

#: How long a test waits for what must happen: far longer than a very busy machine takes, so only a hang fails.
SECONDS: Final = 120.0

#: The same for a whole test, which may write thousands of rows.
TEST_SECONDS: Final = 900.0

T = TypeVar("T")


async def within(work: Awaitable[T]) -> T:
    """Wait for what must happen.

    Raises:
        TimeoutError: it did not.
    """
    async with asyncio.timeout(SECONDS):
        return await work


def limit_time(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Return a test that fails if it does not end."""

    @wraps(test)
    async def run(*args: Any, **kwargs: Any) -> None:
        async with asyncio.timeout(TEST_SECONDS):
            await test(*args, **kwargs)

    return run


class Process:
    """Another process that has opened the store: see :mod:`backtest_mongo.testing.conformance.worker`."""

    def __init__(self, job: str, store: str, directory: Path, arguments: tuple[Any, ...]) -> None:
        self.process: subprocess.Popen[bytes] = subprocess.Popen(
            [
                *(sys.executable, "-m", "backtest_mongo.testing.conformance.worker"),
                *(store, str(directory), job, json.dumps(arguments)),
            ],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    async def hear(self) -> Any:
        """Wait for the next line that it prints, and return what it says.

        Raises:
            AssertionError: it has ended instead.
            TimeoutError: it does neither.
        """
        assert self.process.stdout is not None
        reading = asyncio.ensure_future(asyncio.to_thread(self.process.stdout.readline))
        done, _ = await asyncio.wait([reading], timeout=SECONDS)
        if not done:
            self.process.kill()  # which ends the thread, too
            await reading
            raise TimeoutError("another process that uses the store does not go on")
        line = await reading
        assert line, "another process that uses the store has ended early"
        return json.loads(line)

    async def hear_rest(self) -> list[Any]:
        """Return what it has said and nobody has heard, after its end. A line that it did not finish is left out."""
        assert self.process.stdout is not None
        lines = await asyncio.to_thread(self.process.stdout.readlines)
        return [json.loads(line) for line in lines if line.endswith(b"\n")]

    def say(self) -> None:
        """Tell it to go on."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    async def kill(self) -> None:
        """Kill it, on POSIX by SIGKILL, and wait for its end."""
        self.process.kill()
        await asyncio.to_thread(self.process.wait)

    async def end(self) -> None:
        """Wait until it ends by itself, which it does once it need not go on."""
        await asyncio.wait_for(asyncio.to_thread(self.process.wait, SECONDS), SECONDS * 2)
        assert self.process.returncode == 0, "another process that uses the store has failed"

    async def close(self) -> None:
        if self.process.returncode is None:
            await self.kill()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


class Instances:
    """What opens instances of the store of one test."""

    def __init__(self, name: str, factory: StoreFactory, directory: Path) -> None:
        self._name = name
        self._factory = factory
        self._directory = directory
        self._stack = AsyncExitStack()
        self._processes: list[Process] = []

    async def open(self) -> Any:
        """Open one more instance on the same rows."""
        return await self._stack.enter_async_context(self._factory(self._directory))

    async def close(self) -> None:
        """Close all instances of this process, the last one first."""
        await self._stack.aclose()

    async def reopen(self) -> Any:
        """Close all instances of this process, and open one."""
        await self.close()
        return await self.open()

    def start(self, job: str, *arguments: Any) -> Process:
        """Start a process that opens the store and does a job."""
        process = Process(job, self._name, self._directory, arguments)
        self._processes.append(process)
        return process

    async def end(self) -> None:
        """End all processes, close all instances, and remove what is stored."""
        try:
            for process in self._processes:
                await process.close()
            await self.close()
        finally:
            remove = getattr(self._factory, "remove", None)
            if remove is not None:
                await remove(self._directory)
