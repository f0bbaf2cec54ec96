"""Clients of Redis for every kind of deployment, and commands on many keys that work on all of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, AnyStr, TypeAlias, cast

from redis.asyncio import Redis, Sentinel, SentinelConnectionPool, SSLConnection
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import NoPermissionError, RedisClusterException, RedisError

from backtest_mongo.connection.redis_cluster import Cluster
from backtest_mongo.core.config import Config
from backtest_mongo.core.urls import RedisTarget
from backtest_mongo.errors import ConfigError

__all__ = [
    "RedisClient",
    "check_tls",
    "count_redis_connections",
    "delete_all",
    "format_address",
    "get_all",
    "make_arguments",
    "make_redis_client",
    "make_refusal",
    "make_sentinel_arguments",
    "ping_redis",
    "set_all",
]

RedisClient: TypeAlias = Redis | Cluster


class _Sentinels(Sentinel):
    """The Sentinels of a deployment. redis-py's error quotes how they are dialled, so it is replaced by a plain one."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        try:
            place: tuple[str, int] = await super().discover_master(service_name)
            return place
        except MasterNotFoundError:
            pass
        raise MasterNotFoundError(f"no Sentinel that answers knows a master of {service_name!r} which is up")

    async def ping(self) -> None:
        """Ping until one answers; raise the last one's error if none does."""
        refusal: RedisError | None = None
        for sentinel in self.sentinels:
            try:
                await sentinel.ping()
                return
            except RedisError as error:
                refusal = error
        if refusal is not None:
            raise refusal


class _MasterClient(Redis):
    """The client of a service's master. It closes the clients of the Sentinels as well."""

    @property
    def sentinels(self) -> _Sentinels:
        return cast("_Sentinels", cast("SentinelConnectionPool", self.connection_pool).sentinel_manager)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        try:
            await super().aclose(close_connection_pool)
        finally:
            for sentinel in self.sentinels.sentinels:
                await sentinel.aclose()


def make_redis_client(config: Config, **options: Any) -> RedisClient:
    """Return a client that dials on first use. ``options`` are redis-py's, and win over those of ``CC_REDIS_URL``.

    Raises:
        ConfigError: redis-py refuses an option of the URL, or can't use a file that the URL names.
    """
    if not config.CC_REDIS_URL:
        return Redis(
            host=config.CC_REDIS_HOST,
            port=config.CC_REDIS_PORT,
            username=config.CC_REDIS_USER or None,
            password=config.CC_REDIS_PASSWORD.get_secret_value() or None,
            **options,
        )
    target = config.CC_REDIS_URL.target
    try:
        if target.tls:
            check_tls(target)
        return _target_client(config, target, options)
    except (TypeError, ValueError, OSError, RedisError, RedisClusterException) as error:
        kind = type(error).__name__
    # Not chained: the client's text may quote an option, and a password can be one.
    raise make_refusal(kind)


def make_refusal(kind: str) -> ConfigError:
    """Return the error for a URL that the client refuses by an error of this kind."""
    return ConfigError(
        f"CC_REDIS_URL: the client refuses it ({kind})",
        hint="check its options, and that the files which they name can be read and are valid",
    )


def _target_client(config: Config, target: RedisTarget, options: Mapping[str, Any]) -> RedisClient:
    if target.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in target.hosts]
        return Cluster(startup_nodes=nodes, **make_arguments(config, target, options))
    if target.kind == "sentinel":
        sentinels: Any = _Sentinels  # it has no types
        master: Redis = sentinels(target.hosts, sentinel_kwargs=make_sentinel_arguments(target, options)).master_for(
            target.service, redis_class=_MasterClient, db=target.database, **make_arguments(config, target, options)
        )
        return master
    if target.kind == "socket":
        arguments: dict[str, Any] = {"unix_socket_path": target.path}
    else:
        arguments = {"host": target.hosts[0][0], "port": target.hosts[0][1]}
    return Redis(**arguments, db=target.database, **make_arguments(config, target, options))


def make_arguments(config: Config, target: RedisTarget, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a client of a target: credentials, and the options of its URL and these."""
    return {
        "username": target.user or config.CC_REDIS_USER or None,
        "password": target.password.get_secret_value() or config.CC_REDIS_PASSWORD.get_secret_value() or None,
        **({"ssl": True} if target.tls else {}),
        **target.options,
        **options,
    }


def make_sentinel_arguments(target: RedisTarget, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of connections to the Sentinels: those shared with the nodes, and their own credentials."""
    shared = {
        name: value
        for name, value in {**target.options, **options}.items()
        if name.startswith(("socket_", "ssl_")) or name == "retry"
    }
    return {**shared, **({"ssl": True} if target.tls else {}), **target.sentinel_options}


def check_tls(target: RedisTarget) -> None:
    """Make sure that the files which a URL names can be used: a missing one would look like a missing server."""
    options = {name: value for name, value in target.options.items() if name.startswith("ssl_")}
    SSLConnection(**options).ssl_context.get()


def format_address(config: Config) -> str:
    """Return the address of Redis, without credentials."""
    if config.CC_REDIS_URL:
        return config.CC_REDIS_URL.target.address
    return f"{config.CC_REDIS_HOST}:{config.CC_REDIS_PORT}"


async def ping_redis(client: RedisClient) -> None:
    """Ping Redis.

    Raises:
        RedisError, OSError: it can't be reached, or denies access.
    """
    reason: BaseException
    try:
        await _ping(client)
        return
    except NoPermissionError as error:
        # Redis names the user, which the library masks everywhere else.
        reason = NoPermissionError(re.sub("^User .* has", "the user has", str(error)))
    except RedisClusterException as error:
        # It is no RedisError, and hides the answer of the node, which caused it.
        reason = error
    while isinstance(reason, RedisClusterException) and (reason.__cause__ or reason.__context__):
        reason = cast("BaseException", reason.__cause__ or reason.__context__)
    raise RedisError(str(reason)) if isinstance(reason, RedisClusterException) else reason


async def _ping(client: RedisClient) -> None:
    if isinstance(client, Cluster):
        await client.read_map()
    else:
        if isinstance(client, _MasterClient):
            await client.sentinels.ping()
        await client.ping()


async def get_all(client: RedisClient, keys: Sequence[str]) -> list[bytes | None]:
    """Return the value of each key, ``None`` where there is none."""
    values: list[Any] = []
    if isinstance(client, Cluster):
        values = await client.each([("GET", key) for key in keys])
    elif len(keys) == 1:
        values = [await client.get(keys[0])]
    elif keys:
        values = await client.mget(keys)
    return values


async def set_all(client: RedisClient, mapping: Mapping[AnyStr, AnyStr]) -> None:
    """Set the value of each key. If it fails, some of them may be set."""
    if isinstance(client, Cluster):
        await client.each([("SET", key, value) for key, value in mapping.items()])
    elif len(mapping) == 1:
        ((key, value),) = mapping.items()
        await client.set(key, value)
    elif mapping:
        await client.mset(dict(mapping))


async def delete_all(client: RedisClient, keys: Sequence[str]) -> None:
    """Delete the keys that exist. If it fails, some of them may be deleted."""
    if isinstance(client, Cluster):
        await client.each([("DEL", key) for key in keys])
    elif keys:
        await client.delete(*keys)


def count_redis_connections(clients: Iterable[RedisClient]) -> int | None:
    """Return how many connections the clients have open together; ``None`` if unknown.

    redis-py has no public count. So this looks into the pools; if another version keeps connections elsewhere, the
    number is unknown, and nothing else changes.
    """
    try:
        return sum(bool(connection.is_connected) for client in clients for connection in _connections(client))
    except AttributeError:
        return None


def _connections(client: RedisClient) -> list[Any]:
    if isinstance(client, Cluster):
        nodes: list[Any] = list(client.nodes_manager.nodes_cache.values())
        return [connection for node in nodes for connection in node._connections]
    pool: Any = client.connection_pool
    return [*pool._available_connections, *pool._in_use_connections]
