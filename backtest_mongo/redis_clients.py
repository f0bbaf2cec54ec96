"""Clients of Redis, whichever way it is deployed, and commands on many keys that every deployment takes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

from redis.asyncio import Redis, RedisCluster, Sentinel, SSLConnection
from redis.asyncio.cluster import ClusterNode
from redis.exceptions import AskError, ClusterError, MovedError, RedisClusterException, RedisError

from backtest_mongo.config import Config
from backtest_mongo.errors import ConfigError
from backtest_mongo.urls import RedisTarget

__all__ = ["Cluster", "RedisClient", "address", "get_all", "make_client", "ping", "set_all"]

#: How often one command follows a slot that has moved, or is moving, to another node.
_REDIRECTIONS: Final = 5
#: How often the map of a cluster's slots is read again at most.
_MAP_SECONDS: Final = 1.0


class Cluster(RedisCluster):
    """redis-py's cluster client, and commands for many keys at once.

    Its own pipelines read the map of slots no more once a node has failed, and its way of asking the node that a slot
    is moving to uses two connections where the server expects one.
    """

    _is_outdated = False
    _map_read_at = 0.0

    async def aclose(self) -> None:
        """Close every connection; those too that it takes for closed after an error."""
        await super().aclose()
        for nodes in ("nodes_cache", "startup_nodes"):
            await self.nodes_manager.aclose(nodes)

    async def each(self, commands: Sequence[tuple[str, str, *tuple[str, ...]]]) -> list[Any]:
        """Carry out commands of one key each, which stands second: all that go to one node in one round trip.

        Raises:
            RedisError, RedisClusterException: a node failed or refused one of them; others may have been carried out.
        """
        try:
            return await self._each(commands)
        except (RedisError, RedisClusterException):
            self._is_outdated = True
            raise

    async def _each(self, commands: Sequence[tuple[str, str, *tuple[str, ...]]]) -> list[Any]:
        await self._read_map()
        results: list[Any] = [None] * len(commands)
        # The index of a command, the node that it goes to, and whether that node is told that the slot is on its way.
        waiting = [(index, self._node_of(command[1]), False) for index, command in enumerate(commands)]
        for _ in range(1 + _REDIRECTIONS):
            pipeline = self.pipeline()
            for index, node, asking in waiting:
                if asking:
                    pipeline.execute_command("ASKING", target_nodes=[node])
                pipeline.execute_command(*commands[index], target_nodes=[node])
            answers = iter(await pipeline.execute(raise_on_error=False, allow_redirections=False))
            redirected = []
            for index, node, asking in waiting:
                if asking:
                    next(answers)
                answer = next(answers)
                if isinstance(answer, AskError):
                    has_moved = isinstance(answer, MovedError)
                    self._is_outdated |= has_moved
                    redirected.append((index, self._node_at(answer.host or node.host, answer.port), not has_moved))
                elif isinstance(answer, Exception):
                    raise answer
                else:
                    results[index] = answer
            waiting = redirected
            if not waiting:
                return results
        raise ClusterError(f"{len(waiting)} of {len(commands)} commands were redirected {_REDIRECTIONS} times")

    async def _read_map(self) -> None:
        await self.initialize()
        if self._is_outdated and time.monotonic() - self._map_read_at > _MAP_SECONDS:
            self._map_read_at = time.monotonic()
            await self.nodes_manager.initialize()
            self._is_outdated = False

    def _node_of(self, key: str) -> ClusterNode:
        return self.nodes_manager.get_node_from_slot(self.keyslot(key))

    def _node_at(self, host: str, port: int) -> ClusterNode:
        node = self.get_node(host, port)
        if node is None:  # one that had no slot when the map was read
            node = ClusterNode(host, port, "primary", **self.connection_kwargs)
            self.nodes_manager.nodes_cache[node.name] = node
        return node


RedisClient: TypeAlias = Redis | Cluster


class _MasterClient(Redis):
    """The client of a service's master, which closes the clients of the Sentinels as well."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await super().aclose(close_connection_pool)
        for sentinel in self.connection_pool.sentinel_manager.sentinels:  # type: ignore[attr-defined]  # its pool has one
            await sentinel.aclose()


def make_client(config: Config, **options: Any) -> RedisClient:
    """Return a client that dials on first use. ``options`` are redis-py's and win over those of ``CC_REDIS_URL``.

    Raises:
        ConfigError: redis-py refuses an option of the URL, or a file that it names can't be used.
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
            _check_tls(target)
        return _target_client(config, target, options)
    except (TypeError, ValueError, OSError, RedisError, RedisClusterException) as error:
        kind = type(error).__name__
    # Not chained: the client's text may quote an option, and a password can be one.
    raise ConfigError(
        f"CC_REDIS_URL: the client refuses it ({kind})",
        hint="check its options, and that the files which they name can be read and hold what they should",
    )


def _target_client(config: Config, target: RedisTarget, options: Mapping[str, Any]) -> RedisClient:
    if target.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in target.hosts]
        return Cluster(startup_nodes=nodes, **_arguments(config, target, options))
    if target.kind == "sentinel":
        sentinels: Any = Sentinel  # untyped
        master: Redis = sentinels(target.hosts, sentinel_kwargs=_sentinel_arguments(target, options)).master_for(
            target.service, redis_class=_MasterClient, db=target.database, **_arguments(config, target, options)
        )
        return master
    if target.kind == "socket":
        arguments: dict[str, Any] = {"unix_socket_path": target.path}
    else:
        arguments = {"host": target.hosts[0][0], "port": target.hosts[0][1]}
    return Redis(**arguments, db=target.database, **_arguments(config, target, options))


def _arguments(config: Config, target: RedisTarget, options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "username": target.user or config.CC_REDIS_USER or None,
        "password": target.password.get_secret_value() or config.CC_REDIS_PASSWORD.get_secret_value() or None,
        **({"ssl": True} if target.tls else {}),
        **target.options,
        **options,
    }


def _sentinel_arguments(target: RedisTarget, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the connections to the Sentinels have in common with those to the nodes, and their credentials."""
    shared = {
        name: value
        for name, value in {**target.options, **options}.items()
        if name.startswith(("socket_", "ssl_")) or name == "retry"
    }
    return {**shared, **({"ssl": True} if target.tls else {}), **target.sentinel_options}


def _check_tls(target: RedisTarget) -> None:
    # Else a file that is missing would look like a server that is.
    options = {name: value for name, value in target.options.items() if name.startswith("ssl_")}
    SSLConnection(**options).ssl_context.get()


def address(config: Config) -> str:
    """Return where Redis is, without credentials."""
    if config.CC_REDIS_URL:
        return config.CC_REDIS_URL.target.address
    return f"{config.CC_REDIS_HOST}:{config.CC_REDIS_PORT}"


async def ping(client: RedisClient) -> None:
    """Ask Redis whether it is there.

    Raises:
        RedisError, OSError: it is not, or it refuses us.
    """
    reason: BaseException
    try:
        await client.ping()
        return
    except RedisClusterException as error:
        # No RedisError, and not what a node has answered, which is behind it.
        reason = error
    while isinstance(reason, RedisClusterException) and (reason.__cause__ or reason.__context__):
        reason = cast("BaseException", reason.__cause__ or reason.__context__)
    raise RedisError(str(reason)) if isinstance(reason, RedisClusterException) else reason


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


async def set_all(client: RedisClient, mapping: Mapping[str, str]) -> None:
    """Set the value of each key. When it fails, some of them may be set."""
    if isinstance(client, Cluster):
        await client.each([("SET", key, value) for key, value in mapping.items()])
    elif len(mapping) == 1:
        ((key, value),) = mapping.items()
        await client.set(key, value)
    elif mapping:
        await client.mset(dict(mapping))
