"""Set-up, waiting for the servers, raw access, and closing."""

from __future__ import annotations

from collections.abc import Coroutine, Generator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Unpack

from backtest_mongo.adapters.registry import persist
from backtest_mongo.connection.hub_registry import close_hub, close_outdated, current_hub
from backtest_mongo.connection.readiness import wait_for_init as wait_for_servers
from backtest_mongo.core.config import MaskedDict, Settings, as_mapping, set_config
from backtest_mongo.core.runs import check_run
from backtest_mongo.sqlite.database import close_databases

if TYPE_CHECKING:
    from backtest_mongo.connection.mongo_clients import MongoClient
    from backtest_mongo.connection.redis_clients import RedisClient

__all__ = ["Setup", "close", "get_mongo", "get_redis", "install", "setup", "wait_for_init"]


class Setup(Coroutine[Any, Any, None]):
    """The result of ``setup()``: await it, or use it with ``async with``, which closes the connections at the end."""

    def __init__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, None]:
        return self._coroutine.__await__()

    def send(self, value: Any, /) -> Any:
        return self._coroutine.send(value)

    def throw(self, *exc_info: Any) -> Any:
        return self._coroutine.throw(*exc_info)

    def close(self) -> None:
        self._coroutine.close()

    async def __aenter__(self) -> None:
        await self._coroutine

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await close()


def setup(config: Mapping[str, Any] | None = None, *, run: str | None = None, **overrides: Unpack[Settings]) -> Setup:
    """Set the configuration and point the registry at MongoDB::

        await setup()                          # from environment variables
        await setup(CC_REDIS_HOST="redis")     # explicit values win
        await setup(run="trend 2024")          # a backtest, whose rows reset("trend 2024") deletes
        async with setup(): ...                # closes the connections at the end

    It opens no connection: the first operation does, or :func:`wait_for_init`. Calling it again with another
    configuration closes the connections that this event loop opened for the previous one.

    Args:
        config: fields of :class:`~backtest_mongo.core.config.Config` by name.
        run: the name of the run that all writes belong to, 1 to 200 characters: ``CC_RUN``. ``None`` leaves it as it
            is. JSON files and candles don't store it.
        **overrides: more of them, which win over ``config``.

    Returns:
        An object to await, or to use with ``async with``.

    Raises:
        ConfigError: a field is unknown or a value is bad; nothing is changed.
        InputError: ``run`` can't be the name of a run.
        InputTypeError: the same, or ``config`` is not a mapping.
    """
    named = {} if run is None else {"CC_RUN": check_run(run, "setup")}
    return Setup(_setup(MaskedDict({**as_mapping(config, "setup"), **overrides, **named})))


async def _setup(config: MaskedDict) -> None:
    set_config(config)
    install()
    await close_outdated()


# For Python's warning if it is never awaited.
_setup.__qualname__ = setup.__qualname__


def install() -> None:
    """Point every slot of the registry at MongoDB, with the current configuration. It opens no connection."""
    persist.use_mongo()


async def wait_for_init() -> None:
    """Wait until MongoDB and Redis answer, for at most 15 s. It can be called again after an error.

    Raises:
        InitError: a server denies access or did not answer in time; the message names each, without credentials.
    """
    await wait_for_servers(current_hub())


async def get_mongo() -> MongoClient:
    """Return this event loop's MongoDB client, for raw access.

    What the library sets for its own database (``w=majority``, aware datetimes) is not set on the client.

    Returns:
        Motor's ``AsyncIOMotorClient`` or PyMongo's ``AsyncMongoClient``, depending on ``CC_MONGO_DRIVER``.

    Raises:
        ConfigError: the driver refuses the connection string.
    """
    return current_hub().mongo


async def get_redis() -> RedisClient:
    """Return this event loop's ``redis.asyncio`` client, for raw access: replies are ``bytes``.

    It has redis-py's own timeouts and retries. The id cache uses a client of its own, which gives up much sooner.

    Returns:
        A ``Redis``, or a ``RedisCluster`` if ``CC_REDIS_URL`` names a cluster.

    Raises:
        ConfigError: redis-py refuses an option of the URL.
    """
    return current_hub().redis


async def close() -> None:
    """Close the connections of the running event loop, once all writes that were called are done.

    It waits for them, queued ones included, as long as the server answers. One warning counts those whose outcome stays
    unknown. Closing twice is fine. The next operation opens new connections; its writes wait for those made before the
    close. SQLite files are closed for all event loops of the process, once their pending writes are done; what is in
    memory stays.
    """
    try:
        await close_hub()
    finally:
        await close_databases()
