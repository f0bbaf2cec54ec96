"""What is counted on one event loop, and what is noted of one operation: plain numbers, whoever asks for them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Final

__all__ = ["Seen", "SlotCounts", "Trips", "seen"]


class Trips:
    """Round trips that carry rows, of many callers perhaps: how many there were, and their rows in all."""

    __slots__ = ("rows", "trips")

    def __init__(self) -> None:
        self.rows: int = 0
        self.trips: int = 0

    def add(self, rows: int, trips: int = 1) -> None:
        self.trips += trips
        self.rows += rows


class SlotCounts:
    """The counts of one slot.

    Reads are of one row by its key, or of one window of candles; hits and misses tell whether the id cache knew the
    key, or all of the window was in memory. Rows of lists, of series read as frames and of windows that were fetched
    count as listed. Blocks are those of candles that were read.
    """

    __slots__ = ("blocks", "hits", "lists", "misses", "reads", "writes")

    def __init__(self) -> None:
        self.hits: int = 0
        self.misses: int = 0
        self.blocks: int = 0
        self.reads: Trips = Trips()
        self.lists: Trips = Trips()
        self.writes: Trips = Trips()

    def add(self, others: SlotCounts) -> None:
        self.hits += others.hits
        self.misses += others.misses
        self.blocks += others.blocks
        for trips, more in zip(self._trips, others._trips, strict=True):
            trips.add(more.rows, more.trips)

    def rows(self) -> dict[str, int]:
        """Return the rows of each kind of operation."""
        return {"read": self.reads.rows, "list": self.lists.rows, "write": self.writes.rows}

    @property
    def _trips(self) -> tuple[Trips, Trips, Trips]:
        return self.reads, self.lists, self.writes


class Seen(ABC):
    """One operation that is observed: what the layers below tell of it."""

    __slots__ = ("hit",)

    def __init__(self) -> None:
        #: Whether what was read was in the cache; ``None`` where that has no meaning.
        self.hit: bool | None = None

    @abstractmethod
    def set_out(self, fellows: Sequence[Seen]) -> AbstractContextManager[object]:
        """Tell that it travels now, together with ``fellows``, which it is one of.

        What is returned is to be entered where the round trips are made, or the task that makes them.
        """


#: The operation that is observed, in its own task and those that it starts; ``None`` where nobody looks.
seen: Final[ContextVar[Seen | None]] = ContextVar("seen", default=None)
