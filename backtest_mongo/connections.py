"""How many connections are open.

Neither driver tells without being told of each use of a connection, which would cost every operation. So this looks
into their pools; where a later version keeps them elsewhere, the number is unknown, and nothing else comes of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from backtest_mongo.redis_clients import RedisClient
from backtest_mongo.redis_cluster import Cluster

if TYPE_CHECKING:
    from backtest_mongo.hub import MongoClient

__all__ = ["mongo_connections", "redis_connections"]


def mongo_connections(client: MongoClient) -> int | None:
    """Return the number of a client's connections, without those that watch the servers."""
    try:
        # Motor's is around PyMongo's, which takes any other attribute for the name of a database.
        driver: Any = vars(client).get("delegate", client)
        topology = driver._topology
        pools = [server.pool for server in list(topology._servers.values())]
        return sum(len(pool.conns) + int(pool.active_sockets) for pool in pools)
    except AttributeError:
        return None


def redis_connections(clients: Iterable[RedisClient]) -> int | None:
    """Return the number of the clients' connections together."""
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
