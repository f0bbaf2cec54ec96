"""Isolation of one test from all others: what `backtest_mongo.testing` needs beneath the public API.

Configuration, registry and logger belong to the process. No public function sets them aside and puts them back.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from redis.exceptions import RedisClusterException, RedisError

from backtest_mongo.adapters import sqlite
from backtest_mongo.adapters.lifecycle import close
from backtest_mongo.adapters.registry import persist
from backtest_mongo.connection.driver_errors import DRIVER_ERRORS, describe_error
from backtest_mongo.connection.hub import Hub
from backtest_mongo.connection.hub_registry import LoopGuards, current_hub
from backtest_mongo.connection.redis_clients import get_all
from backtest_mongo.core import config, log
from backtest_mongo.core.config import MaskedDict
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.sqlite.database import get_database

__all__ = ["LoopGuards", "close_database", "isolate", "refuse_default_database", "remove_database"]

#: Documents that are read, and Redis keys that are compared, at a time.
_PAGE: Final = 1_000


@contextmanager
def isolate() -> Iterator[None]:
    """Begin with no explicit configuration; put configuration, registry and logger back at the end.

    Slots that are registered in the meantime stay.
    """
    explicit, built, logger = MaskedDict(config._explicit), config.current_config, log._logger
    choose, implementations = persist._choose, dict(persist._implementations)
    config.reset_config()
    # The caller's environment may put candles into a database of real ones.
    config._explicit["CC_CANDLE_DATABASE"] = ""
    try:
        yield
    finally:
        config._explicit, config.current_config, log._logger = explicit, built, logger
        persist._choose, persist._implementations = choose, implementations
        for instances in persist._instances.values():
            instances.clear()


@contextmanager
def refuse_default_database() -> Iterator[None]:
    """Refuse to use SQLite where nobody chose a database, so that no test writes there by accident."""
    sqlite.refuse_default_database = True
    try:
        yield
    finally:
        sqlite.refuse_default_database = False


def close_database(path: Path) -> None:
    """Wait until what was written to an SQLite database is on the disk, and close its file."""
    get_database(os.path.realpath(path)).close()


async def remove_database(*, flush_redis: bool) -> str | None:
    """Drop the configured database, remove what Redis knows of it, and close the connections.

    Args:
        flush_redis: empty the Redis database. Otherwise the keys that hold ids of the database's documents are
            deleted, and those that begin with its name and a colon.

    Returns:
        Why MongoDB could not be reached or denied access; ``None`` if the database was dropped.
    """
    hub = current_hub()
    try:
        with suppress(RedisError, RedisClusterException, OSError):
            if flush_redis:
                await hub.redis.flushdb()
            else:
                for adapter in persist._adapters.values():
                    await _forget_ids(hub, adapter.spec)
                async for key in hub.redis.scan_iter(f"{hub.database.name}:*", count=_PAGE):
                    await hub.redis.delete(key)
        await hub.mongo.drop_database(hub.database.name)
    except DRIVER_ERRORS as error:
        # Not the error itself: its traceback has frames of the driver whose variables hold the password.
        return f"MongoDB at {hub.config.CC_MONGO_CONNECTION_STRING.hosts}: {describe_error(error)}"
    else:
        return None
    finally:
        await close()


async def _forget_ids(hub: Hub, spec: SlotSpec) -> None:
    """Delete the Redis keys that hold the ids of this database's documents, and no others.

    The keys are the same in every database; the ids are not.
    """
    ids: dict[str, bytes] = {}
    async for row in hub.database[spec.collection].find({}, dict.fromkeys(spec.key, 1), batch_size=_PAGE):
        if row.keys() >= set(spec.key):  # otherwise this library did not write it
            ids[spec.redis_key(tuple(row[name] for name in spec.key))] = str(row["_id"]).encode()
        if len(ids) == _PAGE:
            await _delete_where_equal(hub, ids)
            ids = {}
    await _delete_where_equal(hub, ids)


async def _delete_where_equal(hub: Hub, ids: Mapping[str, bytes]) -> None:
    keys = list(ids)
    for key, value in zip(keys, await get_all(hub.redis, keys) if keys else (), strict=True):
        if value == ids[key]:
            await hub.redis.delete(key)
