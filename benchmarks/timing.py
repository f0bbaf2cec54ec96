"""Timing several ways to do the same thing, in turn."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

__all__ = ["Clocked", "in_turn", "seconds"]

#: Does its work and returns the seconds of it that count.
Clocked: TypeAlias = Callable[[], Awaitable[float]]


async def seconds(work: Callable[[], Awaitable[Any]]) -> float:
    """Return how long it takes; to free its result is not part of it."""
    start = time.perf_counter()
    result = await work()
    taken = time.perf_counter() - start
    del result
    return taken


async def in_turn(works: Mapping[str, Clocked], rounds: int) -> dict[str, float]:
    """Return the median of each, in seconds. Each round begins with another, so that none always comes first."""
    times: dict[str, list[float]] = {name: [] for name in works}
    names = list(works)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            gc.collect()  # what the one before has left is not this one's
            times[name].append(await works[name]())
    return {name: statistics.median(taken) for name, taken in times.items()}
