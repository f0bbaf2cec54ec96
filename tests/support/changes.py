"""Changes that a watch gives, waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from backtest_mongo import Change
from backtest_mongo.core.watch import Watch
from tests.support.deadlines import SECONDS


async def take_change(changes: Watch) -> Change:
    async with asyncio.timeout(SECONDS):
        return await anext(changes)


async def take_changes(changes: Watch, count: int) -> list[Change]:
    return [await take_change(changes) for _ in range(count)]


async def wait_for(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SECONDS):
        while not await condition():  # noqa: ASYNC110  # nothing signals when a server has done what is waited for
            await asyncio.sleep(0.02)


async def list_changes(changes: Watch) -> list[Change]:
    return [change async for change in changes]
