"""The hub: one set of lazily created connections per event loop, shared by every adapter.

Only the hub creates the clients that operations use.
"""

from __future__ import annotations

import asyncio
import warnings
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from backtest_mongo.connection.batching import Lanes
from backtest_mongo.connection.candle_cache import CandleCache
from backtest_mongo.connection.command_guard import COMMAND_SECONDS
from backtest_mongo.connection.id_cache import IdCache
from backtest_mongo.connection.mongo_clients import (
    count_change_streams,
    count_lanes,
    count_mongo_connections,
    make_mongo_client,
    open_candle_database,
    open_database,
)
from backtest_mongo.connection.redis_clients import RedisClient, count_redis_connections, make_redis_client
from backtest_mongo.core.background import finish_background
from backtest_mongo.core.cancellation import shield
from backtest_mongo.core.config import Config
from backtest_mongo.core.counters import SlotCounts
from backtest_mongo.core.log import log
from backtest_mongo.core.specs import SlotSpec

if TYPE_CHECKING:
    from pymongo.asynchronous.database import AsyncDatabase
    from pymongo.asynchronous.mongo_client import AsyncMongoClient

__all__ = ["Hub"]

#: How long closing waits for an answer if operations have no deadline, and how long beyond the deadline if they do.
_DRAIN_SECONDS: Final = 15.0
_GRACE_SECONDS: Final = 2.0
#: The driver's names for the members of a replica set that may serve old data.
_SECONDARY: Final = ("RSSecondary", "RSArbiter", "RSOther", "RSGhost")


class Hub:
    """The connections of one event loop. Creating a hub opens none; its clients dial on first use."""

    def __init__(self, config: Config, loop: asyncio.AbstractEventLoop, before: Sequence[Hub] = ()) -> None:
        self.config = config
        self.loop = loop
        self.mongo: AsyncMongoClient[dict[str, Any]] = make_mongo_client(config)
        self.database: AsyncDatabase[dict[str, Any]] = open_database(self.mongo, config)
        #: The database of series: the same one, unless ``CC_CANDLE_DATABASE`` names another.
        self.candle_database: AsyncDatabase[dict[str, Any]] = open_candle_database(self.mongo, self.database, config)
        #: The longest that one operation may take.
        self.operation_seconds: float = self.mongo.options.timeout or float("inf")
        pool = self.mongo.options.pool_options.max_pool_size
        lanes = count_lanes(config, pool)
        #: Back-pressure of each kind. Writes wait until those on the hubs before this one are done.
        self.reads: Lanes = Lanes(lanes)
        self.writes: Lanes = Lanes(lanes, [hub.writes for hub in before])
        #: Whether everything is sent to one server, whatever its role.
        self.is_direct: bool = self.mongo.topology_description.topology_type_name == "Single"
        # The id cache has a client of its own: it must give up soon, and a caller's raw access must not. The command
        # guard times its commands, because the client's own timeouts count the lag of the event loop.
        self._cache_client = make_redis_client(
            config,
            socket_timeout=None,
            socket_connect_timeout=None,
            retry=Retry(NoBackoff(), 0),
        )
        self.id_cache: IdCache = IdCache(self._cache_client)
        self.candle_cache: CandleCache = CandleCache(config.CC_CANDLE_CACHE_MB << 20)
        self._raw_redis: RedisClient | None = None
        #: The store of each slot on this event loop, filled by the adapters.
        self.stores: dict[str, Any] = {}
        #: The collection of each of these slots.
        self.collections: dict[str, Any] = {}
        #: The versions of the slots that keep them.
        self.versions: dict[str, Any] = {}
        #: What commits transactions, once it is asked for.
        self.committer: Any = None
        #: What records its commits, where telemetry is set up: it is given each with what carries it out.
        self.observe_commit: Callable[[Any, Callable[[], Awaitable[Any]]], Awaitable[Any]] | None = None
        #: Whether the database needs nothing that this version does not know, and whether leases are noted in it.
        self.is_format_checked: bool = False
        self.noted_features: set[str] = set()
        #: What was done, by slot, since these connections were made.
        self.counts: defaultdict[str, SlotCounts] = defaultdict(SlotCounts)
        #: The change streams that are open.
        self.streams: set[Any] = set()
        #: How many of them ask the server at a time; each asks for half a second.
        self.stream_turns: asyncio.Semaphore = asyncio.Semaphore(count_change_streams(config, pool))
        #: Whether both servers have answered.
        self.is_initialized: bool = False
        self._closing: asyncio.Future[None] | None = None

    def get_database(self, spec: SlotSpec) -> AsyncDatabase[dict[str, Any]]:
        """Return the database that a slot is in."""
        return self.candle_database if spec.is_candles else self.database

    @property
    def is_sharded(self) -> bool:
        """Whether the servers are known to be routers of a sharded cluster."""
        return self.mongo.topology_description.topology_type_name == "Sharded"

    @property
    def is_secondary(self) -> bool:
        """Whether ``directConnection`` goes to a server that is known not to be the primary of its replica set.

        It is known by the driver's heartbeats, which servers since 4.4 answer as soon as their role changes.
        """
        return self.is_direct and self._server_type in _SECONDARY

    async def discover_role(self) -> None:
        """Wait until the server's role is known."""
        if self._server_type == "Unknown":
            await self.database.command("hello")  # the driver waits for a heartbeat first

    @property
    def _server_type(self) -> str:
        (server,) = self.mongo.topology_description.server_descriptions().values()
        return str(server.server_type_name)

    @property
    def durable_read_concern(self) -> ReadConcern:
        """The read concern for what is cached for good: a failover of the replica set must not undo it."""
        concern, written = self.database.read_concern, self.database.write_concern.document
        # If writes don't wait for a majority, it would miss the last ones.
        return ReadConcern("majority") if concern.level == "local" and written["w"] == "majority" else concern

    @property
    def redis(self) -> RedisClient:
        if self._raw_redis is None:
            self._raw_redis = make_redis_client(self.config)
        return self._raw_redis

    @property
    def cached_ids(self) -> int:
        """Ids that this process knows."""
        return len(self.id_cache.local)

    @property
    def candle_bytes(self) -> int:
        """Memory of the candles that were read."""
        return self.candle_cache.bytes

    @property
    def is_breaker_open(self) -> bool:
        """Whether the circuit breaker of Redis is open."""
        return self.id_cache.is_breaker_open

    @property
    def mongo_connections(self) -> int | None:
        """Open connections to MongoDB, monitoring connections not included; ``None`` if unknown."""
        return count_mongo_connections(self.mongo)

    @property
    def redis_connections(self) -> int | None:
        """Open connections to Redis; ``None`` if unknown."""
        clients = [self._cache_client, *([self._raw_redis] if self._raw_redis is not None else [])]
        return count_redis_connections(clients)

    async def close(self) -> None:
        """Close every connection. It completes even if the caller is cancelled, and closing twice is fine."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close_all())
        await shield(self._closing)

    async def _close_all(self) -> None:
        await finish_background()
        await self._drain()
        # A stack, so that each is closed even if closing another fails. It runs from the bottom up.
        async with AsyncExitStack() as stack:
            # A frozen server does not take part in closing a TLS connection.
            stack.push_async_callback(_close, lambda: asyncio.wait_for(self._cache_client.aclose(), COMMAND_SECONDS))
            stack.push_async_callback(self.id_cache.close)
            if self._raw_redis is not None:
                stack.push_async_callback(_close, self._raw_redis.aclose)
            stack.push_async_callback(_close, self.mongo.close)
            # Concurrently: each waits until the server has answered its last request.
            stack.push_async_callback(asyncio.gather, *(_close(stream.close) for stream in self.streams))

    async def _drain(self) -> None:
        """Wait until all writes that were called are done, as long as the server answers."""
        before = self.writes.unknown
        # No call outlives its deadline, if it has one.
        endless = self.operation_seconds == float("inf")
        await self.writes.wait_until_idle(_DRAIN_SECONDS if endless else self.operation_seconds + _GRACE_SECONDS)
        unknown = self.writes.unknown - before + self.writes.calls
        if unknown:
            log().warning(
                "connections were closed with the outcome of writes unknown: they may have been applied", writes=unknown
            )

    def abandon(self) -> None:
        """Release what can be released after the event loop was closed."""
        pending = self.mongo.close()
        if pending is not None:
            pending.close()  # PyMongo's coroutine: its tasks died with the loop
        warnings.warn(
            "an event loop ended with backtest_mongo's connections open; await backtest_mongo.close() before it ends",
            ResourceWarning,
            stacklevel=2,
        )


async def _close(close: Callable[[], Any]) -> None:
    try:
        pending = close()
        if pending is not None:  # Motor closes synchronously
            await pending
    except (RedisError, PyMongoError, OSError) as error:
        log().warning("closing a connection failed", error=type(error).__name__)
