"""Waiting until the servers answer, and saying what is wrong with those that don't."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from pymongo.errors import ConfigurationError, ExecutionTimeout, OperationFailure, PyMongoError
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError, RedisError

from backtest_mongo.connection.command_guard import COMMAND_SECONDS
from backtest_mongo.connection.driver_errors import describe_error
from backtest_mongo.connection.hub import Hub
from backtest_mongo.connection.operation import Deadline, caller_seconds_left
from backtest_mongo.connection.redis_clients import format_address, make_redis_client, ping_redis
from backtest_mongo.core.cancellation import detach, shield
from backtest_mongo.core.log import log
from backtest_mongo.errors import InitError

__all__ = ["INIT_SECONDS", "ensure_init", "probe_servers", "wait_for_init"]

#: How long ``wait_for_init`` waits for the servers.
INIT_SECONDS: Final = 15.0
_PAUSE_SECONDS: Final = 0.1
# Waiting longer does not change these: the server is up, and refuses.
_REFUSALS: Final = (OperationFailure, ConfigurationError, AuthenticationError, AuthorizationError, NoPermissionError)


async def ensure_init(hub: Hub) -> None:
    """Wait for the servers unless they have answered already."""
    if not hub.is_initialized:
        await wait_for_init(hub)


async def wait_for_init(hub: Hub) -> None:
    """Wait until both servers answer. Without ``CC_REDIS_REQUIRED`` wait a second for Redis, and then only warn.

    Raises:
        InitError: a server denies access, or did not answer within 15 s. The message names each one and its address.
    """
    required = hub.config.CC_REDIS_REQUIRED
    own = caller_seconds_left()
    seconds = INIT_SECONDS if own is None else max(0.0, min(own, INIT_SECONDS))
    mongo, redis = await probe_servers(hub, seconds, seconds if required else min(seconds, COMMAND_SECONDS))
    if redis and not required:
        log().warning(f"{redis}; reads and writes go on without it")
    problems = [problem for problem in (mongo, redis if required else None) if problem]
    if problems:
        raise InitError(
            f"wait_for_init: {'; '.join(problems)}",
            hint="check that it runs, and its address, user and password; wait_for_init can be called again",
        )
    hub.is_initialized = True


async def probe_servers(hub: Hub, mongo_seconds: float, redis_seconds: float) -> tuple[str | None, str | None]:
    """Ping both servers until they answer or the time is up; return what is wrong with each, if anything."""

    async def ping_mongo() -> None:
        # Several tries, so that the driver's reason is known before the time is up.
        with Deadline(INIT_SECONDS / 5):
            await hub.database.command("ping")

    async def ping_cache() -> None:
        # A client for this call alone: the cache's gives up too soon for a first handshake over a slow network.
        client = make_redis_client(hub.config, retry=Retry(NoBackoff(), 0))
        try:
            await ping_redis(client)
        finally:
            # Shielded: if the time is up halfway, connections would stay open.
            await shield(client.aclose())

    return await asyncio.gather(
        _probe("MongoDB", hub.config.CC_MONGO_CONNECTION_STRING.hosts, ping_mongo, mongo_seconds),
        _probe("Redis", format_address(hub.config), ping_cache, redis_seconds),
    )


async def _probe(name: str, address: str, ping: Callable[[], Awaitable[None]], seconds: float) -> str | None:
    """Ping until the server answers; return what is wrong once it denies access or the time is up."""
    error: BaseException = TimeoutError()
    clock = asyncio.get_running_loop().time
    end = clock() + seconds
    try:
        async with asyncio.timeout(seconds):
            # The clock as well: redis-py uses wait_for, which loses a cancellation now and then on Python 3.11.
            while clock() < end:
                try:
                    await detach(ping())
                    return None
                except ExecutionTimeout as failure:  # the server is slow, which the driver's types call a refusal
                    error = failure
                except _REFUSALS as refusal:
                    return f"{name} at {address} denies access: {describe_error(refusal)}"
                except (PyMongoError, RedisError, OSError) as failure:
                    error = failure
                await asyncio.sleep(_PAUSE_SECONDS)
    except TimeoutError:
        pass
    return f"{name} at {address} did not answer within {seconds:g} s: {describe_error(error)}"
