"""Clients of MongoDB and Redis for raw access without ``await``, one of each for the process."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import Any

from pymongo import MongoClient
from redis import Redis
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisClusterException, RedisError
from redis.sentinel import Sentinel

from backtest_mongo.connection import mongo_clients, redis_clients
from backtest_mongo.core.config import Config, get_config

__all__ = ["close_clients", "get_mongo", "get_redis"]

_make_node: Any = ClusterNode  # it has no types
_lock = threading.Lock()
_mongo: MongoClient[dict[str, Any]] | None = None
_redis: Redis | RedisCluster | None = None


def get_mongo() -> MongoClient[dict[str, Any]]:
    """Return a MongoDB client for raw access, one for all threads; :func:`close` closes it.

    What the library sets for its own database (``w=majority``, aware datetimes) is not set on the client.

    Returns:
        PyMongo's ``MongoClient``, whatever ``CC_MONGO_DRIVER`` names.

    Raises:
        ConfigError: the driver refuses the connection string.
    """
    global _mongo
    with _lock:
        if _mongo is None:
            _mongo = _make_mongo(get_config())
        return _mongo


def _make_mongo(config: Config) -> MongoClient[dict[str, Any]]:
    uri = config.CC_MONGO_CONNECTION_STRING
    try:
        return MongoClient(uri.get_secret_value(), **mongo_clients.make_options(config))
    except mongo_clients.REFUSALS as error:
        kind = type(error).__name__
    # Not chained: the driver's text may quote the connection string.
    raise mongo_clients.make_refusal(kind)


def get_redis() -> Redis | RedisCluster:
    """Return a Redis client for raw access, one for all threads: replies are ``bytes``; :func:`close` closes it.

    Returns:
        A ``Redis``, or a ``RedisCluster`` if ``CC_REDIS_URL`` names a cluster.

    Raises:
        ConfigError: redis-py refuses an option of the URL.
    """
    global _redis
    with _lock:
        if _redis is None:
            _redis = _make_redis(get_config())
        return _redis


def _make_redis(config: Config) -> Redis | RedisCluster:
    if not config.CC_REDIS_URL:
        return Redis(
            host=config.CC_REDIS_HOST,
            port=config.CC_REDIS_PORT,
            username=config.CC_REDIS_USER or None,
            password=config.CC_REDIS_PASSWORD.get_secret_value() or None,
        )
    try:
        return _make_redis_of_url(config)
    except (TypeError, ValueError, OSError, RedisError, RedisClusterException) as error:
        kind = type(error).__name__
    # Not chained: the client's text may quote an option, and a password can be one.
    raise redis_clients.make_refusal(kind)


def _make_redis_of_url(config: Config) -> Redis | RedisCluster:
    target = config.CC_REDIS_URL.target
    if target.tls:
        redis_clients.check_tls(target)
    arguments = redis_clients.make_arguments(config, target, {})
    if target.kind == "cluster":
        return RedisCluster(startup_nodes=[_make_node(host, port) for host, port in target.hosts], **arguments)
    if target.kind == "sentinel":
        sentinels: Any = Sentinel  # it has no types
        options = redis_clients.make_sentinel_arguments(target, {})
        master: Redis = sentinels(target.hosts, sentinel_kwargs=options).master_for(
            target.service, db=target.database, **arguments
        )
        return master
    if target.kind == "socket":
        return Redis(unix_socket_path=target.path, db=target.database, **arguments)
    return Redis(host=target.hosts[0][0], port=target.hosts[0][1], db=target.database, **arguments)


def close_clients() -> None:
    """Close both clients; the next call makes others."""
    global _mongo, _redis
    with _lock:
        mongo, _mongo = _mongo, None
        redis, _redis = _redis, None
    if mongo is not None:
        mongo.close()
    if redis is not None:
        with suppress(RedisError):
            redis.close()


def _forget() -> None:
    """In a child process: the connections are the parent's."""
    global _lock, _mongo, _redis
    _lock, _mongo, _redis = threading.Lock(), None, None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
