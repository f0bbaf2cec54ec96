"""The hooks of telemetry: what an operation reports while it is observed, and what an event loop shows of itself.

The rooms that do the work fill these hooks, and :mod:`backtest_mongo.telemetry` reads them; neither imports the other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Final, Protocol

from backtest_mongo.core.counters import SlotCounts

__all__ = [
    "ObservedLoop",
    "ObservedOperation",
    "current_operation",
    "get_observed_loops",
    "get_total_counts",
    "set_loop_source",
]


class ObservedOperation(ABC):
    """One operation that is observed: what the layers below report of it."""

    __slots__ = ("hit",)

    #: Whether what was read was in the cache; ``None`` where that has no meaning.
    hit: bool | None

    @abstractmethod
    def mark_sent(self, batch: Sequence[ObservedOperation]) -> AbstractContextManager[object]:
        """Note that it is sent now, together with the other operations of ``batch``.

        Enter what is returned where the round trips are made, or where the task is started that makes them.
        """


#: The observed operation of this task and of those that it starts; ``None`` where nobody observes.
current_operation: Final[ContextVar[ObservedOperation | None]] = ContextVar("current_operation", default=None)


class ObservedLoop(Protocol):
    """What the connections of one event loop show, without asking a server."""

    @property
    def counts(self) -> Mapping[str, SlotCounts]:
        """What was done, by slot, since the connections were made."""
        ...

    @property
    def cached_ids(self) -> int:
        """Ids that this process knows."""
        ...

    @property
    def candle_bytes(self) -> int:
        """Memory of the candles that were read."""
        ...

    @property
    def is_breaker_open(self) -> bool:
        """Whether the circuit breaker of Redis is open."""
        ...

    @property
    def mongo_connections(self) -> int | None:
        """Open connections to MongoDB, monitoring connections not included; ``None`` if unknown."""
        ...

    @property
    def redis_connections(self) -> int | None:
        """Open connections to Redis; ``None`` if unknown."""
        ...


_get_loops: Callable[[], Mapping[AbstractEventLoop, ObservedLoop]] = dict
_get_counts: Callable[[], Mapping[str, SlotCounts]] = dict


def set_loop_source(
    loops: Callable[[], Mapping[AbstractEventLoop, ObservedLoop]], counts: Callable[[], Mapping[str, SlotCounts]]
) -> None:
    """Set where the two functions below get their answers."""
    global _get_loops, _get_counts
    _get_loops, _get_counts = loops, counts


def get_observed_loops() -> Mapping[AbstractEventLoop, ObservedLoop]:
    """Return the event loops of this process that have connections."""
    return _get_loops()


def get_total_counts() -> Mapping[str, SlotCounts]:
    """Return what was done in this process, on all of its event loops, by slot."""
    return _get_counts()
