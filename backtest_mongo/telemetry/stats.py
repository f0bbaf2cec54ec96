"""``stats()``: counts of what was done on this event loop."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Literal

from backtest_mongo.core.counters import CommitCounts, SlotCounts, get_commit_counts
from backtest_mongo.core.observation import get_observed_loops

__all__ = ["CommitStats", "SeriesStats", "SlotStats", "Stats", "stats"]


@dataclass(frozen=True, slots=True)
class SlotStats:
    """What was done with one slot, or with all of them, on one event loop.

    Attributes:
        reads: rows that were read by their key, and windows of candles.
        read_batches: batches of these reads: ``reads / read_batches`` is the mean size of a batch.
        hits: reads whose id was known to this process or to Redis, and windows that were entirely in memory.
        misses: all other reads.
        listed: rows that were read in pages: of lists, and of candles that were not in memory.
        pages: the number of these pages.
        writes: rows that were written or removed; of candles, those that were stored for the first time.
        write_batches: batches of these writes.
        blocks: blocks of candles, or of rows with columns, that were read.
        as_of: reads as of a time, of slots that keep versions; they count as reads, too.
        versions: versions of rows that were written.
        pruned: versions that were deleted because they need not be kept.
    """

    reads: int = 0
    read_batches: int = 0
    hits: int = 0
    misses: int = 0
    listed: int = 0
    pages: int = 0
    writes: int = 0
    write_batches: int = 0
    blocks: int = 0
    as_of: int = 0
    versions: int = 0
    pruned: int = 0


@dataclass(frozen=True, slots=True)
class CommitStats:
    """What became of transactions and leases on one event loop, in MongoDB and in SQLite.

    Attributes:
        commits: commits that were applied: of a transaction, of a write under a lease, or of many queued transactions.
        rows: rows that they wrote.
        conflicts: how many times a commit was sent again because others were writing the same rows.
        unknown: commits whose outcome was unknown when their time was up.
        held: leases that are held now, one for each context.
        renewals: renewals in the background; one renews all leases of a block.
        lost: leases that were lost.
        queued: transactions that are acknowledged and not committed yet, under ``lease(..., commit_every=...)``.
    """

    commits: int = 0
    rows: int = 0
    conflicts: int = 0
    unknown: int = 0
    held: int = 0
    renewals: int = 0
    lost: int = 0
    queued: int = 0


@dataclass(frozen=True, slots=True)
class SeriesStats:
    """How the series with columns of one slot are stored that this event loop has written or measured.

    A series is counted at the first write, after each sealing and by ``size()``. Groups and rows of the tail that this
    event loop has added since are included.

    Attributes:
        series: how many series these are.
        blocks: their blocks.
        block_rows: the rows in blocks.
        block_bytes: the bytes of blocks.
        tail_groups: groups of rows that are not in blocks yet.
        tail_rows: the rows in these.
        tail_bytes: their bytes.
        oldest: when the oldest of these groups was written, in milliseconds since the epoch, UTC; ``None`` without one.
    """

    series: int
    blocks: int
    block_rows: int
    block_bytes: int
    tail_groups: int
    tail_rows: int
    tail_bytes: int
    oldest: int | None


@dataclass(frozen=True, slots=True)
class Stats:
    """A snapshot of one event loop, counted since its connections were made.

    Attributes:
        slots: what was done in MongoDB, by slot; slots that were not used are absent.
        cached_ids: ids that this process knows.
        candle_bytes: bytes of memory that the candle cache takes.
        redis: ``open`` while the circuit breaker of Redis is open or half-open, else ``closed``.
        mongo_connections: open connections to MongoDB, monitoring connections not included; ``None`` if unknown.
        redis_connections: open connections to Redis; ``None`` if unknown.
        commits: transactions and leases, counted since the event loop began.
        series: how series with columns are stored in MongoDB, by slot; slots that were not used are absent.
    """

    slots: dict[str, SlotStats]
    cached_ids: int = 0
    candle_bytes: int = 0
    redis: Literal["closed", "open"] = "closed"
    mongo_connections: int | None = 0
    redis_connections: int | None = 0
    commits: CommitStats = CommitStats()
    series: dict[str, SeriesStats] = field(default_factory=dict)

    @property
    def total(self) -> SlotStats:
        """All slots together."""
        return SlotStats(*(sum(column) for column in zip(*map(_values, self.slots.values()), strict=True)))


def stats() -> Stats:
    """Return the counts of the running event loop. No server is asked.

    Returns:
        What was done since the loop's connections were made; zeros if it has none. ``close()`` and another
        configuration reset everything but ``commits``.

    Raises:
        RuntimeError: no event loop is running.
    """
    running = asyncio.get_running_loop()
    commits = _commit_stats(get_commit_counts(running))
    loop = get_observed_loops().get(running)
    if loop is None:
        return Stats({}, commits=commits)
    return Stats(
        slots={name: _slot_stats(counts) for name, counts in loop.counts.items()},
        cached_ids=loop.cached_ids,
        candle_bytes=loop.candle_bytes,
        redis="open" if loop.is_breaker_open else "closed",
        mongo_connections=loop.mongo_connections,
        redis_connections=loop.redis_connections,
        commits=commits,
        series={name: _series_stats(counts) for name, counts in loop.counts.items() if counts.series},
    )


def _series_stats(counts: SlotCounts) -> SeriesStats:
    total = counts.sum_series()
    return SeriesStats(len(counts.series), *(getattr(total, name) for name in SeriesStats.__slots__[1:]))


def _slot_stats(counts: SlotCounts) -> SlotStats:
    return SlotStats(
        reads=counts.reads.rows,
        read_batches=counts.reads.trips,
        hits=counts.hits,
        misses=counts.misses,
        listed=counts.lists.rows,
        pages=counts.lists.trips,
        writes=counts.writes.rows,
        write_batches=counts.writes.trips,
        blocks=counts.blocks,
        as_of=counts.as_of,
        versions=counts.versions,
        pruned=counts.pruned,
    )


def _commit_stats(counts: CommitCounts) -> CommitStats:
    return CommitStats(*(getattr(counts, name) for name in CommitStats.__slots__))


def _values(stats: SlotStats) -> tuple[int, ...]:
    return tuple(getattr(stats, name) for name in SlotStats.__slots__)
