"""Closing connections with their event loops, for tests: whoever ends a loop there does not think of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from backtest_mongo import hub
from backtest_mongo.hub import Hub, close_hub

__all__ = ["LoopGuards"]

#: How long a loop that runs in another thread has for it.
_SECONDS: Final = 15.0


class LoopGuards:
    """While its block lasts, each event loop that opens connections closes them before it ends itself.

    A suspended asynchronous generator does it: ``asyncio.run``, ``asyncio.Runner``, and so pytest-asyncio and anyio,
    close those of a loop at its end, when it can still run something. Loops that outlive the block are seen to by
    :meth:`close`.
    """

    def __init__(self) -> None:
        self._guards: dict[asyncio.AbstractEventLoop, AsyncGenerator[None, None]] = {}

    def __enter__(self) -> Self:
        self._before = hub.on_made
        hub.on_made = self._guard
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        hub.on_made = self._before
        self.close()

    def close(self) -> None:
        """Close what is open on any loop, wherever it runs."""
        running = asyncio._get_running_loop()
        while self._guards:
            loop, guard = self._guards.popitem()
            if loop.is_closed():
                continue
            if not loop.is_running():
                loop.run_until_complete(guard.aclose())
            elif loop is not running:  # the loop that pytest itself runs on can't wait for us
                asyncio.run_coroutine_threadsafe(guard.aclose(), loop).result(_SECONDS)
        hub.sweep()

    def _guard(self, made: Hub) -> None:
        if made.loop in self._guards:
            return
        guard = self._guards[made.loop] = _closing()
        with suppress(StopIteration):
            # To its yield, which takes no turn of the loop: so the loop knows it.
            guard.__anext__().send(None)


async def _closing() -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await close_hub()
