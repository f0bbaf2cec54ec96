"""Overviews as they change: after each change in the database, or by looking again where there are no changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, suppress
from typing import Any, Final

from backtest_mongo.adapters.registry import persist
from backtest_mongo.errors import StoreError
from backtest_mongo.overview.gathering import MOST_RUNS, gather_overview
from backtest_mongo.overview.model import Overview

__all__ = ["watch_overview"]

#: The slots whose changes an overview shows. Leases have no changes to watch.
_WATCHED: Final = ("signal", "schedule", "recent", "session", "storage", "notification", "candle")
#: Seconds until the next look without a change: for leases, and where nothing can be watched.
_LOOK_AT_LEASES: Final = 5.0
_LOOK_AGAIN: Final = 1.0
#: Seconds in which changes are gathered, as one bar makes many.
_PAUSE: Final = 0.25


async def watch_overview(limit: int = MOST_RUNS) -> AsyncGenerator[Overview]:
    """Yield an overview, and another one whenever it has changed, without end.

    It watches the slots by ``watch_all()``; where that can't be done, as in JSON files and on a standalone MongoDB, it
    looks again every second.

    Args:
        limit: as for :func:`~backtest_mongo.overview.gathering.gather_overview`.

    Raises:
        StoreUnavailableError: as for that function.
        ConfigError: likewise.
    """
    changed = asyncio.Event()
    last: Overview | None = None
    async with AsyncExitStack() as stack:
        followers = await _watch_slots(stack, changed)
        try:
            while True:
                changed.clear()
                overview = await gather_overview(limit)
                if overview != last:
                    last = overview
                    yield overview
                # One that has ended has lost its connection, or met a row that is too large for a change.
                is_watching = bool(followers) and not any(task.done() for task in followers)
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), _LOOK_AT_LEASES if is_watching else _LOOK_AGAIN)
                await asyncio.sleep(_PAUSE)
        finally:
            for task in followers:
                task.cancel()
            await asyncio.gather(*followers, return_exceptions=True)


async def _watch_slots(stack: AsyncExitStack, changed: asyncio.Event) -> list[asyncio.Task[None]]:
    """Return tasks that set an event with each change from now on; none where changes can't be watched."""
    watches = [_get_adapter(name).watch_all() for name in _WATCHED]
    try:
        for watch in watches:
            await stack.enter_async_context(watch)
    except StoreError:
        await stack.aclose()
        return []
    return [asyncio.create_task(_follow(watch, changed)) for watch in watches]


async def _follow(changes: Any, changed: asyncio.Event) -> None:
    try:
        async for _ in changes:
            changed.set()
    finally:
        changed.set()


def _get_adapter(name: str) -> Any:
    return persist._get_implementation(persist._adapters[name].spec)
