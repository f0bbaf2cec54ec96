"""Queues of calls whose requests the test answers."""

from __future__ import annotations

import asyncio
from typing import Any

from backtest_mongo import StoreError, StoreUnavailableError
from backtest_mongo.connection.batching import (
    Call,
    Lanes,
    Queue,
)
from backtest_mongo.connection.operation import Attempts

FOREVER = float("inf")
#: A deadline that no test reaches.
LONG = 3_600.0
#: One that a test waits for.
SHORT = 0.2


class Requests:
    """The requests of a queue, in their order; each is answered when the test says so, by ten times its item."""

    def __init__(self) -> None:
        self.sent: list[list[Any]] = []
        self._gates: list[asyncio.Future[None]] = []

    async def send(self, calls: list[Call[Any, Any]], attempts: Attempts) -> None:
        await self.wait([call.item for call in calls])
        for call in calls:
            call.answer(10 * call.item)

    async def wait(self, items: list[Any]) -> None:
        self.sent.append(items)
        gate = asyncio.get_running_loop().create_future()
        self._gates.append(gate)
        await gate

    def end(self, number: int, error: Exception | None = None) -> None:
        gate = self._gates[number]
        if error is None:
            gate.set_result(None)
        else:
            gate.set_exception(error)

    async def end_all(self) -> None:
        """Answer all that are sent from now on, and those that were."""
        for _ in range(100):
            for gate in self._gates:
                if not gate.done():
                    gate.set_result(None)
            await asyncio.sleep(0)


async def prepare() -> bool:
    return True


def make_error(doing: str, key: Any, reason: str, was_sent: bool) -> StoreUnavailableError:
    error = StoreUnavailableError(f"{doing} {key}: {reason}")
    error.may_be_applied = was_sent
    return error


def translate(doing: str, error: Exception, key: Any) -> StoreError:
    return StoreError(f"{doing} {key}: {error}")


def make_queue(lanes: Lanes, requests: Requests, seconds: float = FOREVER, **options: Any) -> Queue[Any, Any]:
    arguments = {"prepare": prepare, "is_write": True, **options}
    queue: Queue[Any, Any] = Queue(lanes, seconds, arguments.pop("prepare"), make_error, translate, **arguments)
    queue.send = requests.send
    return queue


def call(queue: Queue[Any, Any], item: Any, *keys: Any, size: int = 0) -> asyncio.Task[Any]:
    return asyncio.ensure_future(queue.call(item, "writing", f"k{item}", keys, size))


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
