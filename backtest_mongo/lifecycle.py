"""Setting up, waiting for the servers, raw access, and closing."""

from __future__ import annotations

from collections.abc import Coroutine, Generator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Unpack

from backtest_mongo.config import Given, Settings, as_mapping, set_config
from backtest_mongo.hub import close_hub, close_outdated, current_hub
from backtest_mongo.registry import persist

if TYPE_CHECKING:
    from backtest_mongo.hub import MongoClient
    from backtest_mongo.redis_clients import RedisClient

__all__ = ["Setup", "close", "get_mongo", "get_redis", "install", "setup", "wait_for_init"]


class Setup(Coroutine[Any, Any, None]):
    """What ``setup()`` returns: await it, or enter it with ``async with``, which closes at the end."""

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


def setup(config: Mapping[str, Any] | None = None, **overrides: Unpack[Settings]) -> Setup:
    """Set the configuration and point the registry at MongoDB::

        await setup()                          # from environment variables
        await setup(CC_REDIS_HOST="redis")     # explicit values win
        async with setup(): ...                # closes the connections at the end

    Opens no connection: the first operation does, and :func:`wait_for_init`. Fields are those of
    :class:`~backtest_mongo.config.Config`. Calling it again with another configuration closes the connections of this
    event loop that were made for the one before.

    Raises:
        ConfigError: a field is unknown or a value is bad. Nothing is changed then.
        InputTypeError: ``config`` is no mapping.
    """
    return Setup(_setup(Given({**as_mapping(config, "setup"), **overrides})))


async def _setup(config: Given) -> None:
    set_config(config)
    install()
    await close_outdated()


# What Python names where nobody has awaited it.
_setup.__qualname__ = setup.__qualname__


def install() -> None:
    """Point every slot of the registry at MongoDB, with the configuration as it is. Opens no connection."""
    persist.use_mongo()


async def wait_for_init() -> None:
    """Wait until MongoDB and Redis answer, for 15 s at most. It can be called again after an error.

    Raises:
        InitError: a server refuses us or did not answer in time; the message names each, without credentials.
    """
    await current_hub().wait_for_init()


async def get_mongo() -> MongoClient:
    """Return this event loop's MongoDB client, for raw access.

    It is Motor's ``AsyncIOMotorClient`` or PyMongo's ``AsyncMongoClient``, by ``CC_MONGO_DRIVER``. What the library
    sets for its own database (``w=majority``, aware datetimes) is not set on the client.
    """
    return current_hub().mongo


async def get_redis() -> RedisClient:
    """Return this event loop's ``redis.asyncio`` client, for raw access: replies are ``bytes``.

    It is a ``Redis``, or a ``RedisCluster`` where ``CC_REDIS_URL`` names a cluster.

    It has redis-py's own timeouts and retries. The id cache uses a client of its own, which gives up much sooner.
    """
    return current_hub().redis


async def close() -> None:
    """Close the connections of the running event loop. Closing twice is fine; the next operation opens them again."""
    await close_hub()
