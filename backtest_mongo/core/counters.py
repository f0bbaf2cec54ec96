"""What is counted on one event loop: plain numbers, whether or not anybody reads them."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary, finalize

__all__ = ["CommitCounts", "RoundTrips", "SeriesCounts", "SlotCounts", "get_commit_counts", "sum_commit_counts"]


class RoundTrips:
    """Round trips that carry the rows of one or more callers: how many there were, and their rows in all."""

    __slots__ = ("rows", "trips")

    def __init__(self) -> None:
        self.rows: int = 0
        self.trips: int = 0

    def add(self, rows: int, trips: int = 1) -> None:
        self.trips += trips
        self.rows += rows


@dataclass(slots=True)
class SeriesCounts:
    """How a series with columns was stored when it was last looked at, and the groups that this process has added.

    ``oldest`` is when the oldest group of the tail was written, in milliseconds since the epoch; ``None`` without one.
    """

    blocks: int = 0
    block_rows: int = 0
    block_bytes: int = 0
    tail_groups: int = 0
    tail_rows: int = 0
    tail_bytes: int = 0
    oldest: int | None = None

    def add(self, others: SeriesCounts) -> None:
        """Add those of another series."""
        for name in self.__slots__[:-1]:
            setattr(self, name, getattr(self, name) + getattr(others, name))
        times = [time for time in (self.oldest, others.oldest) if time is not None]
        self.oldest = min(times, default=None)


class SlotCounts:
    """The counts of one slot.

    A read is of one row by its key, or of one window of candles. It is a hit if the id cache knew the key, or if all of
    the window was in memory, and a miss otherwise. Rows of lists, of frames and of windows that were fetched count as
    listed. Blocks are those that were read. Where versions are kept, reads as of a time are counted too, as
    a part of the reads, and so are versions that were written, and those that were pruned.
    """

    __slots__ = ("as_of", "blocks", "hits", "lists", "misses", "pruned", "reads", "series", "versions", "writes")

    def __init__(self) -> None:
        self.hits: int = 0
        self.misses: int = 0
        self.blocks: int = 0
        self.as_of: int = 0
        self.versions: int = 0
        self.pruned: int = 0
        #: How series with columns are stored that this process writes, by their contexts.
        self.series: dict[Any, SeriesCounts] = {}
        self.reads: RoundTrips = RoundTrips()
        self.lists: RoundTrips = RoundTrips()
        self.writes: RoundTrips = RoundTrips()

    def add(self, others: SlotCounts) -> None:
        self.hits += others.hits
        self.misses += others.misses
        self.blocks += others.blocks
        self.as_of += others.as_of
        self.versions += others.versions
        self.pruned += others.pruned
        self.series.update(others.series)
        for trips, more in zip(self._round_trips, others._round_trips, strict=True):
            trips.add(more.rows, more.trips)

    def count_rows(self) -> dict[str, int]:
        """Return the rows of each kind of operation."""
        return {"read": self.reads.rows, "list": self.lists.rows, "write": self.writes.rows}

    def count_versions(self) -> dict[str, int]:
        """Return the versions that were written, and those that were deleted because they need not be kept."""
        return {"write": self.versions, "delete": self.pruned}

    def sum_series(self) -> SeriesCounts:
        """Return the counts of all series together."""
        total = SeriesCounts()
        for counts in [*self.series.values()]:
            total.add(counts)
        return total

    @property
    def _round_trips(self) -> tuple[RoundTrips, RoundTrips, RoundTrips]:
        return self.reads, self.lists, self.writes


class CommitCounts:
    """What became of transactions and leases on one event loop.

    Commits are those that were applied, with their rows. Conflicts are the times that one was sent again as others were
    writing the same rows. Unknown are those whose outcome was unknown when their time was up. Queued are the
    transactions that are acknowledged and not committed yet.
    """

    __slots__ = ("commits", "conflicts", "held", "lost", "queued", "renewals", "rows", "unknown")

    def __init__(self) -> None:
        self.commits: int = 0
        self.rows: int = 0
        self.conflicts: int = 0
        self.unknown: int = 0
        self.held: int = 0
        self.renewals: int = 0
        self.lost: int = 0
        self.queued: int = 0

    def add(self, others: CommitCounts) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(others, name))


_commit_counts: WeakKeyDictionary[asyncio.AbstractEventLoop, CommitCounts] = WeakKeyDictionary()
#: Of event loops that are gone.
_past_commit_counts = CommitCounts()
#: A thread that reads the counts of all must not meet one that adds those of a loop.
_commit_counts_lock = threading.Lock()


def get_commit_counts(loop: asyncio.AbstractEventLoop | None = None) -> CommitCounts:
    """Return the counts of an event loop, the running one if it is left out."""
    loop = loop or asyncio.get_running_loop()
    counts = _commit_counts.get(loop)
    if counts is None:
        with _commit_counts_lock:
            counts = _commit_counts[loop] = CommitCounts()
        finalize(loop, _past_commit_counts.add, counts)
    return counts


def sum_commit_counts() -> CommitCounts:
    """Return the counts of all event loops of this process."""
    total = CommitCounts()
    total.add(_past_commit_counts)
    with _commit_counts_lock:
        for counts in _commit_counts.values():
            total.add(counts)
    return total
