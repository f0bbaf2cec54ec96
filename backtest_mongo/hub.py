"""The hub: one set of lazily created connections per running event loop, shared by every adapter.

This is the only module that creates clients, and the only one that knows which driver is in use. PyMongo's asyncio
API stands for both in the types: Motor's is the same for all the calls that this library makes.
"""

from __future__ import annotations

import asyncio
import os
import threading
import warnings
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import pymongo
from pymongo import ReadPreference, WriteConcern
from pymongo.errors import ConfigurationError, InvalidName, InvalidURI, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    RedisError,
)

from backtest_mongo.cache import IdCache
from backtest_mongo.columns import CandleColumns
from backtest_mongo.config import Config, get_config
from backtest_mongo.counts import SlotCounts
from backtest_mongo.errors import ConfigError, InitError
from backtest_mongo.guard import COMMAND_SECONDS
from backtest_mongo.log import log
from backtest_mongo.payload import CODEC
from backtest_mongo.redis_clients import RedisClient, address, make_client, ping
from backtest_mongo.tasks import apart, to_its_end

if TYPE_CHECKING:
    from motor.motor_asyncio import AsyncIOMotorClient
    from pymongo.asynchronous.database import AsyncDatabase
    from pymongo.asynchronous.mongo_client import AsyncMongoClient

    MongoClient: TypeAlias = AsyncIOMotorClient[dict[str, Any]] | AsyncMongoClient[dict[str, Any]]

__all__ = [
    "INIT_SECONDS",
    "Hub",
    "close_hub",
    "close_outdated",
    "current_hub",
    "known_hubs",
    "on_made",
    "sweep",
    "total_counts",
]

DEFAULT_DATABASE: Final = "backtest-kit"
#: How long ``wait_for_init`` waits for the servers.
INIT_SECONDS: Final = 15.0
_INIT_PAUSE_SECONDS: Final = 0.1
_NOTICE_MS: Final = 3_000


class Hub:
    """The connections of one event loop. Creating a hub opens none; its clients dial on first use."""

    def __init__(self, config: Config, loop: asyncio.AbstractEventLoop) -> None:
        self.config = config
        self.loop = loop
        self.mongo: AsyncMongoClient[dict[str, Any]] = _mongo_client(config)
        self.database: AsyncDatabase[dict[str, Any]] = _database(self.mongo, config)
        #: The longest that one operation may take.
        self.operation_seconds: float = self.mongo.options.timeout or float("inf")
        # The cache has a client of its own: it must give up soon, and a caller's raw access must not.
        self._cache_client = make_client(
            config,
            socket_timeout=COMMAND_SECONDS,
            socket_connect_timeout=COMMAND_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self.cache: IdCache = IdCache(self._cache_client)
        self.candles: CandleColumns = CandleColumns(config.CC_CANDLE_CACHE_MB << 20)
        self._raw_redis: RedisClient | None = None
        #: Filled by the adapters: what each slot keeps per event loop.
        self.stores: dict[str, Any] = {}
        #: What was done, by slot, since these connections were made.
        self.counts: defaultdict[str, SlotCounts] = defaultdict(SlotCounts)
        #: The change streams that are open.
        self.streams: set[Any] = set()
        self._initialized = False
        self._closing: asyncio.Future[None] | None = None

    @property
    def is_sharded(self) -> bool:
        """Whether the servers are known to be routers of a sharded cluster."""
        return self.mongo.topology_description.topology_type_name == "Sharded"

    @property
    def lasting(self) -> ReadConcern:
        """The read concern of what is remembered for good: it must not be undone when a replica set fails over."""
        concern, written = self.database.read_concern, self.database.write_concern.document
        # Of writes that wait for no majority it would miss the last ones.
        return ReadConcern("majority") if concern.level == "local" and written["w"] == "majority" else concern

    @property
    def redis_clients(self) -> list[RedisClient]:
        """The clients of Redis that there are."""
        return [self._cache_client, *([self._raw_redis] if self._raw_redis is not None else [])]

    @property
    def redis(self) -> RedisClient:
        if self._raw_redis is None:
            self._raw_redis = make_client(self.config)
        return self._raw_redis

    async def wait_for_init(self) -> None:
        """Wait until both servers answer. Without ``CC_REDIS_REQUIRED`` Redis has a second, and then a warning is all.

        Raises:
            InitError: one refuses us, or did not answer within 15 s. It names each that failed, by its address.
        """
        required = self.config.CC_REDIS_REQUIRED
        mongo, redis = await self.unreachable(INIT_SECONDS, INIT_SECONDS if required else COMMAND_SECONDS)
        if redis and not required:
            log().warning(f"{redis}; reads and writes go on without it")
        problems = [problem for problem in (mongo, redis if required else None) if problem]
        if problems:
            raise InitError(
                f"wait_for_init: {'; '.join(problems)}",
                hint="check that it runs, and its address, user and password; wait_for_init can be called again",
            )
        self._initialized = True

    async def unreachable(self, mongo_seconds: float, redis_seconds: float) -> tuple[str | None, str | None]:
        """Ask both servers until they answer or the time is over; return what is wrong with each, if anything."""
        return await asyncio.gather(
            _probe("MongoDB", self.config.CC_MONGO_CONNECTION_STRING.hosts, self._ping_mongo, mongo_seconds),
            _probe("Redis", address(self.config), self._ping_redis, redis_seconds),
        )

    async def ensure_init(self) -> None:
        """Wait for the servers unless they have answered already."""
        if not self._initialized:
            await self.wait_for_init()

    async def _ping_mongo(self) -> None:
        # Several tries, so that what the driver has to say is known before the time is over.
        with pymongo.timeout(INIT_SECONDS / 5):
            await self.database.command("ping")

    async def _ping_redis(self) -> None:
        # A client for this call alone: the cache's gives up too soon for a first handshake over a slow network.
        client = make_client(self.config, retry=Retry(NoBackoff(), 0))
        try:
            await ping(client)
        finally:
            # Whole: when the time is over in its midst, connections would stay open.
            await to_its_end(client.aclose())

    async def close(self) -> None:
        """Close every connection. It goes on to its end when the caller is cancelled, and closing twice is fine."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close_all())
        await to_its_end(self._closing)

    async def _close_all(self) -> None:
        # A stack, because each of them is to be closed whatever becomes of the others.
        async with AsyncExitStack() as stack:
            stack.push_async_callback(_close, self._cache_client.aclose)
            stack.push_async_callback(self.cache.close)
            if self._raw_redis is not None:
                stack.push_async_callback(_close, self._raw_redis.aclose)
            stack.push_async_callback(_close, self.mongo.close)
            for stream in list(self.streams):
                stack.push_async_callback(_close, stream.close)

    def abandon(self) -> None:
        """Release what can be released without the event loop, which is closed already."""
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


# Strong references, so that a hub lives exactly as long as nobody closes it. Hubs of closed loops are swept when the
# next one is made. Retired are those whose configuration has been replaced, and those that are being closed.
_hubs: dict[asyncio.AbstractEventLoop, Hub] = {}
_retired: list[Hub] = []
# What was done on connections that are closed.
_done: defaultdict[str, SlotCounts] = defaultdict(SlotCounts)
# Loops in different threads come and go at the same time: whoever changes one of the two holds this.
_lock = threading.Lock()
#: Called with each hub, in its loop, once it is made.
on_made: Callable[[Hub], None] | None = None


def current_hub() -> Hub:
    """Return the hub of the running event loop, making it on first use."""
    loop = asyncio.get_running_loop()
    hub = _hubs.get(loop)
    if hub is not None and hub.config is get_config():
        return hub
    return _make(loop)


def known_hubs() -> dict[asyncio.AbstractEventLoop, Hub]:
    """Return the hub of each event loop that has one."""
    with _lock:
        return dict(_hubs)


def total_counts() -> dict[str, SlotCounts]:
    """Return what was done in this process, on all of its event loops, by slot."""
    total: defaultdict[str, SlotCounts] = defaultdict(SlotCounts)
    with _lock:
        for counts in (_done, *(hub.counts for hub in (*_hubs.values(), *_retired))):
            _add(total, counts)
    return dict(total)


def _add(total: defaultdict[str, SlotCounts], counts: Mapping[str, SlotCounts]) -> None:
    for name, some in list(counts.items()):  # its loop may be at work in another thread
        total[name].add(some)


def _make(loop: asyncio.AbstractEventLoop) -> Hub:
    hub = Hub(get_config(), loop)
    with _lock:
        # Operations under way finish on the connections of the hub before.
        _retire(loop)
        _hubs[loop] = hub
    sweep()
    if on_made is not None:
        on_made(hub)
    return hub


def sweep() -> None:
    """Release what is still open of loops that are closed."""
    with _lock:
        ended = [_hubs.pop(known) for known in list(_hubs) if known.is_closed()]
        ended += [known for known in _retired if known.loop.is_closed()]
        _retired[:] = [known for known in _retired if known not in ended]
        for known in ended:
            _add(_done, known.counts)
    for known in ended:
        known.abandon()


def _retire(loop: asyncio.AbstractEventLoop) -> None:
    hub = _hubs.pop(loop, None)
    if hub is not None:
        _retired.append(hub)


async def close_outdated() -> None:
    """Close the running loop's connections that were made for a configuration which has been replaced."""
    loop = asyncio.get_running_loop()
    with _lock:
        hub = _hubs.get(loop)
        if hub is not None and hub.config is not get_config():
            _retire(loop)
        outdated = [known for known in _retired if known.loop is loop]
    for known in outdated:
        await known.close()
        with _lock:
            # Not before: a close that is cancelled can be called again.
            if known in _retired:
                _retired.remove(known)
                _add(_done, known.counts)


async def close_hub() -> None:
    """Close the running loop's connections, if there are any."""
    with _lock:
        _retire(asyncio.get_running_loop())
    await close_outdated()


_inherited: list[Hub] = []


def _after_fork() -> None:
    global _lock
    # A thread that held it is not in the child, and would never let it go.
    _lock = threading.Lock()
    # The child's clients must be its own. The parent's are kept unused: finalizing them would disturb its connections.
    _inherited.extend((*_hubs.values(), *_retired))
    _hubs.clear()
    _retired.clear()
    _done.clear()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork)


def _mongo_client(config: Config) -> AsyncMongoClient[dict[str, Any]]:
    uri = config.CC_MONGO_CONNECTION_STRING
    if uri.option("w") == "0":
        raise ConfigError(
            "CC_MONGO_CONNECTION_STRING: w=0 asks MongoDB to acknowledge nothing",
            hint="leave w out for majority, or set w=1",
        )
    options: dict[str, Any] = {
        name: value
        for name, value in (
            ("timeoutMS", config.CC_MONGO_TIMEOUT_MS),
            ("serverSelectionTimeoutMS", config.CC_MONGO_TIMEOUT_MS),
            # A primary that is frozen or cut off is noticed within the sum of both, and what waits for it is retried.
            ("connectTimeoutMS", _NOTICE_MS),
            ("heartbeatFrequencyMS", _NOTICE_MS),
            # The driver's retries can't work on a standalone, and hold up one another there: each clears the pool of
            # connections that all others wait for. This library's own take their place.
            ("retryWrites", not uri.is_one_server),
        )
        # PyMongo lets keyword arguments win over the URI, and the URI is what the user wrote.
        if uri.option(name) is None
    }
    options["appname"] = "backtest-mongo"
    try:
        if config.CC_MONGO_DRIVER == "pymongo":
            from pymongo import AsyncMongoClient

            return AsyncMongoClient(uri.get_secret_value(), **options)
        from motor.motor_asyncio import AsyncIOMotorClient

        return cast("AsyncMongoClient[dict[str, Any]]", AsyncIOMotorClient(uri.get_secret_value(), **options))
    except (InvalidURI, ConfigurationError, InvalidName, ValueError, OSError) as error:
        kind = type(error).__name__
    # Not chained: the driver's text may quote the connection string.
    raise ConfigError(
        f"CC_MONGO_CONNECTION_STRING: the driver refuses it ({kind})",
        hint="escape user and password by RFC 3986 (urllib.parse.quote_plus), and check host, port, options and files",
    )


def _database(client: AsyncMongoClient[dict[str, Any]], config: Config) -> AsyncDatabase[dict[str, Any]]:
    concern = client.write_concern.document
    return client.get_default_database(
        DEFAULT_DATABASE,
        codec_options=CODEC,
        # A read must see the last acknowledged write, so it goes to the primary whatever the URI says.
        read_preference=ReadPreference.PRIMARY,
        # A standalone's own default loses acknowledged writes when it is killed.
        write_concern=WriteConcern(**concern) if "w" in concern else WriteConcern("majority", **concern),
        read_concern=client.read_concern if client.read_concern.level else ReadConcern(config.CC_MONGO_READ_CONCERN),
    )


# Waiting longer does not mend these: the server is there, and says no.
_REFUSALS = (OperationFailure, ConfigurationError, AuthenticationError, AuthorizationError, NoPermissionError)


async def _probe(name: str, address: str, ping: Callable[[], Awaitable[None]], seconds: float) -> str | None:
    """Ping until the server answers; return what is wrong once it refuses us or the time is over."""
    error: BaseException = TimeoutError()
    clock = asyncio.get_running_loop().time
    end = clock() + seconds
    try:
        async with asyncio.timeout(seconds):
            # The clock as well: redis-py uses wait_for, which loses a cancellation now and then on Python 3.11.
            while clock() < end:
                try:
                    await apart(ping())
                    return None
                except _REFUSALS as refusal:
                    return f"{name} at {address} refuses us: {_reason(refusal)}"
                except (PyMongoError, RedisError, OSError) as failure:
                    error = failure
                await asyncio.sleep(_INIT_PAUSE_SECONDS)
    except TimeoutError:
        pass
    return f"{name} at {address} did not answer within {seconds:g} s: {_reason(error)}"


def _reason(error: BaseException) -> str:
    # The drivers' texts run over many lines and repeat the whole topology.
    text = str(error).split(", Timeout:")[0].split(" (configured timeouts:")[0].partition("\n")[0].strip()
    return f"{type(error).__name__}: {text[:200].rstrip('.')}" if text else type(error).__name__
