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
from backtest_mongo.overview.stored import KnownRows

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
    changes = _Changes()
    known: KnownRows = {}
    last: Overview | None = None
    async with AsyncExitStack() as stack:
        followers = await _watch_slots(stack, changes)
        try:
            while True:
                # One that has ended has lost its connection, or met a row that is too large for a change.
                is_watching = bool(followers) and not any(task.done() for task in followers)
                slots = changes.take()
                for key in [key for key in known if not is_watching or key[0] in slots]:
                    del known[key]
                overview = await gather_overview(limit, known)
                if overview != last:
                    last = overview
                    yield overview
                await changes.wait(_LOOK_AT_LEASES if is_watching else _LOOK_AGAIN)
                await asyncio.sleep(_PAUSE)
        finally:
            for task in followers:
                task.cancel()
            await asyncio.gather(*followers, return_exceptions=True)


class _Changes:
    """Which slots have changed since they were last read."""

    def __init__(self) -> None:
        self._slots: set[str] = set()
        self._has_some = asyncio.Event()

    def add(self, slot: str) -> None:
        self._slots.add(slot)
        self._has_some.set()

    def take(self) -> set[str]:
        """Return the slots that have changed, which are then no longer among them."""
        slots, self._slots = self._slots, set()
        self._has_some.clear()
        return slots

    async def wait(self, seconds: float) -> None:
        """Wait until a slot has changed, or for so long."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._has_some.wait(), seconds)


async def _watch_slots(stack: AsyncExitStack, changes: _Changes) -> list[asyncio.Task[None]]:
    """Return tasks that add each slot that changes from now on; none where changes can't be watched."""
    watches = {name: _get_adapter(name).watch_all() for name in _WATCHED}
    try:
        for watch in watches.values():
            await stack.enter_async_context(watch)
    except StoreError:
        await stack.aclose()
        return []
    return [asyncio.create_task(_follow(name, watch, changes)) for name, watch in watches.items()]


async def _follow(slot: str, watch: Any, changes: _Changes) -> None:
    try:
        async for _ in watch:
            changes.add(slot)
    finally:
        changes.add(slot)


def _get_adapter(name: str) -> Any:
    return persist._get_implementation(persist._adapters[name].spec)
