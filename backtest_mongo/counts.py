"""What is counted on one event loop, and what is noted of one operation: plain numbers, whoever asks for them."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

__all__ = ["Seen", "SlotCounts", "Trips", "seen"]


class Trips:
    """Round trips that carry rows, of many callers perhaps: how many there were, and their rows in all."""

    __slots__ = ("rows", "trips")

    def __init__(self) -> None:
        self.rows: int = 0
        self.trips: int = 0

    def add(self, rows: int) -> None:
        self.trips += 1
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


class Seen:
    """What the layers below note of one operation that is observed.

    Attributes:
        hit: whether what was read was in the cache; ``None`` where that has no meaning.
        batch: how many rows travelled together, those of others included; 0 where that has no meaning.
        leads: whether it is the first of those, and so the one to count the batch by.
    """

    __slots__ = ("batch", "hit", "leads")

    def __init__(self) -> None:
        self.hit: bool | None = None
        self.batch: int = 0
        self.leads: bool = True


#: The operation that is observed, in its own task and those that it starts; ``None`` where nobody looks.
seen: Final[ContextVar[Seen | None]] = ContextVar("seen", default=None)
