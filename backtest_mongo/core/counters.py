"""What is counted on one event loop: plain numbers, whether or not anybody reads them."""

from __future__ import annotations

__all__ = ["RoundTrips", "SlotCounts"]


class RoundTrips:
    """Round trips that carry the rows of one or more callers: how many there were, and their rows in all."""

    __slots__ = ("rows", "trips")

    def __init__(self) -> None:
        self.rows: int = 0
        self.trips: int = 0

    def add(self, rows: int, trips: int = 1) -> None:
        self.trips += trips
        self.rows += rows


class SlotCounts:
    """The counts of one slot.

    A read is of one row by its key, or of one window of candles. It is a hit if the id cache knew the key, or if all of
    the window was in memory, and a miss otherwise. Rows of lists, of frames and of windows that were fetched count as
    listed. Blocks are those of candles that were read.
    """

    __slots__ = ("blocks", "hits", "lists", "misses", "reads", "writes")

    def __init__(self) -> None:
        self.hits: int = 0
        self.misses: int = 0
        self.blocks: int = 0
        self.reads: RoundTrips = RoundTrips()
        self.lists: RoundTrips = RoundTrips()
        self.writes: RoundTrips = RoundTrips()

    def add(self, others: SlotCounts) -> None:
        self.hits += others.hits
        self.misses += others.misses
        self.blocks += others.blocks
        for trips, more in zip(self._round_trips, others._round_trips, strict=True):
            trips.add(more.rows, more.trips)

    def count_rows(self) -> dict[str, int]:
        """Return the rows of each kind of operation."""
        return {"read": self.reads.rows, "list": self.lists.rows, "write": self.writes.rows}

    @property
    def _round_trips(self) -> tuple[RoundTrips, RoundTrips, RoundTrips]:
        return self.reads, self.lists, self.writes
