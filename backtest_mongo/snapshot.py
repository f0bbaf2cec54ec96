"""``stats()``: what was done on this event loop, in numbers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Literal

from backtest_mongo.connections import mongo_connections, redis_connections
from backtest_mongo.counts import SlotCounts
from backtest_mongo.hub import known_hubs

__all__ = ["SlotStats", "Stats", "stats"]


@dataclass(frozen=True, slots=True)
class SlotStats:
    """What was done with one slot, or with all of them, on one event loop.

    Attributes:
        reads: rows that were asked for by their key, and windows of candles.
        read_batches: what the reads travelled in, round trips by key or by id: ``reads / read_batches`` rows a batch.
        hits: those whose id was known, in this process or by Redis; windows that were in memory as a whole.
        misses: all others.
        listed: rows that came in pages: of lists, and of candles that memory did not have.
        pages: how many pages.
        writes: rows that were written or removed; of candles those that were stored for the first time.
        write_batches: what they travelled in.
        blocks: sealed blocks of candles that were read.
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


@dataclass(frozen=True, slots=True)
class Stats:
    """A snapshot of one event loop, counted since its connections were made.

    Attributes:
        slots: what was done, by slot; those that were not used are absent.
        cached_ids: ids that this process knows.
        candle_bytes: memory taken by candles that were read.
        redis: ``open`` while the circuit breaker keeps Redis from being asked, as it kept failing; else ``closed``.
        mongo_connections: open connections to MongoDB, without those that watch the servers; ``None`` if unknown.
        redis_connections: open connections to Redis; ``None`` if unknown.
    """

    slots: dict[str, SlotStats]
    cached_ids: int = 0
    candle_bytes: int = 0
    redis: Literal["closed", "open"] = "closed"
    mongo_connections: int | None = 0
    redis_connections: int | None = 0

    @property
    def total(self) -> SlotStats:
        """All slots together."""
        return SlotStats(*(sum(column) for column in zip(*map(_values, self.slots.values()), strict=True)))


def stats() -> Stats:
    """Return what was done on the running event loop since its connections were made. It asks no server.

    ``close()`` ends the count, and so does another configuration.

    Raises:
        RuntimeError: no event loop is running.
    """
    hub = known_hubs().get(asyncio.get_running_loop())
    if hub is None:
        return Stats({})
    return Stats(
        slots={name: _slot_stats(counts) for name, counts in hub.counts.items()},
        cached_ids=len(hub.cache.local),
        candle_bytes=hub.candles.bytes,
        redis="open" if hub.cache.is_left_alone else "closed",
        mongo_connections=mongo_connections(hub.mongo),
        redis_connections=redis_connections(hub.redis_clients),
    )


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
    )


def _values(stats: SlotStats) -> tuple[int, ...]:
    return tuple(getattr(stats, name) for name in SlotStats.__slots__)
