"""Time several ways to do the same work, in turn."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

__all__ = ["Clocked", "Make", "Times", "Work", "in_turn", "interleave", "seconds"]

#: Does its work, and returns the seconds that count.
Clocked: TypeAlias = Callable[[], Awaitable[float]]
Work: TypeAlias = Callable[[], Awaitable[Any]]
#: Makes the work of the next call, before the clock starts.
Make: TypeAlias = Callable[[], Work]


@dataclass(frozen=True)
class Times:
    """Seconds of each call: those that passed, and those in which this process had a processor."""

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def summarize(self, operations: int) -> dict[str, float]:
        """Return microseconds per operation.

        The processor's time is the mean, as the garbage collector works for all calls in a few of them.
        """
        factor = 1e6 / operations
        # The median of a single call is its own 20th percentile.
        low = statistics.quantiles(self.wall, n=5, method="inclusive")[0] if len(self.wall) > 1 else self.wall[0]
        return {
            "median_us": statistics.median(self.wall) * factor,
            "p20_us": low * factor,
            "processor_us": statistics.fmean(self.processor) * factor,
        }


async def interleave(sides: Mapping[str, Make], calls: int, times: Mapping[str, Times], *, is_large: bool) -> None:
    """Add the times of ``calls`` calls of each side, call by call in turn.

    One more call of each comes first and does not count, unless there is only one. Each turn starts with a different
    side, so that none always runs first. Before large calls garbage is collected, so that none of one side is collected
    in the call of another.
    """
    names = list(sides)
    for number in range(-1 if calls > 1 else 0, calls):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            work = sides[name]()
            if is_large:
                gc.collect()
            busy, start = time.process_time(), time.perf_counter()
            result = await work()
            end, busy_end = time.perf_counter(), time.process_time()
            del result  # freeing it does not count
            if number >= 0:
                times[name].wall.append(end - start)
                times[name].processor.append(busy_end - busy)


async def seconds(work: Work) -> float:
    """Return how long the work takes, without freeing its result."""
    start = time.perf_counter()
    result = await work()
    taken = time.perf_counter() - start
    del result
    return taken


async def in_turn(works: Mapping[str, Clocked], rounds: int) -> dict[str, float]:
    """Return the median of each in seconds. Each round starts with a different one, so that none always runs first."""
    times: dict[str, list[float]] = {name: [] for name in works}
    names = list(works)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            gc.collect()  # so that no garbage of the one before is collected in this one
            times[name].append(await works[name]())
    return {name: statistics.median(taken) for name, taken in times.items()}
