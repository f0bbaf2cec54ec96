"""A deadline that runs out in what a test is about, however short, and not in what prepares it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeVar

import backtest_mongo
from backtest_mongo import InitError, StoreUnavailableError
from tests.support.deadlines import SECONDS

__all__ = ["LONG_MS", "shorten_deadline", "until_in_time"]

#: A deadline that no request of a set-up exceeds.
LONG_MS: Final = int(SECONDS * 1000)

T = TypeVar("T")


class Preparable(Protocol):
    """A slot, whose indexes are checked over each new configuration."""

    def wait_for_init(self) -> Awaitable[Any]: ...


async def until_in_time(call: Callable[[], Awaitable[T]]) -> T:
    """Return what a call returns, which is made again as often as its deadline runs out."""
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                return await call()
            except (InitError, StoreUnavailableError):
                await asyncio.sleep(0)


async def shorten_deadline(milliseconds: int, *slots: Preparable) -> None:
    """Set the library up with another deadline, and prepare these slots for it.

    On a busy machine that may take longer than a deadline. Each slot is prepared alone, and again until it is in time.
    """
    await backtest_mongo.setup(CC_MONGO_TIMEOUT_MS=milliseconds)
    for slot in slots:
        await until_in_time(slot.wait_for_init)
