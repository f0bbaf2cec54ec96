"""Clients of MongoDB, by either driver, and the settings of the library's own database.

The types are those of PyMongo's asyncio API for both drivers: Motor's is the same for all calls of this library.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from pymongo import ReadPreference, WriteConcern
from pymongo.errors import ConfigurationError, InvalidName, InvalidURI
from pymongo.read_concern import ReadConcern

from backtest_mongo.core.config import Config
from backtest_mongo.core.database_names import LONGEST_NAME
from backtest_mongo.core.payload import CODEC
from backtest_mongo.errors import ConfigError

if TYPE_CHECKING:
    from motor.motor_asyncio import AsyncIOMotorClient
    from pymongo.asynchronous.database import AsyncDatabase
    from pymongo.asynchronous.mongo_client import AsyncMongoClient

    MongoClient: TypeAlias = AsyncIOMotorClient[dict[str, Any]] | AsyncMongoClient[dict[str, Any]]

__all__ = [
    "DEFAULT_DATABASE",
    "REFUSALS",
    "count_change_streams",
    "count_lanes",
    "count_mongo_connections",
    "make_mongo_client",
    "make_options",
    "make_refusal",
    "open_candle_database",
    "open_database",
]

DEFAULT_DATABASE: Final = "backtest-kit"
_MONITORING_MS: Final = 3_000
#: Requests under way at a time, of those that read and of those that write.
_LANES: Final = 8
#: Change streams that ask at a time, where the pool of connections sets no smaller number.
_CHANGE_STREAMS: Final = 1_000
#: What a driver raises for a connection string that it refuses.
REFUSALS: Final = (InvalidURI, ConfigurationError, InvalidName, ValueError, OSError)
#: Characters that a database name must not have: the server refuses some, and takes others although nobody means them.
_BAD_IN_NAME: Final = re.compile(r'[\s\x00-\x1f\x7f./\\"$]')


def make_mongo_client(config: Config) -> AsyncMongoClient[dict[str, Any]]:
    """Return a client that dials on first use.

    Raises:
        ConfigError: the driver refuses the connection string.
    """
    uri, options = config.CC_MONGO_CONNECTION_STRING, make_options(config)
    try:
        if config.CC_MONGO_DRIVER == "pymongo":
            from pymongo import AsyncMongoClient

            return AsyncMongoClient(uri.get_secret_value(), **options)
        from motor.motor_asyncio import AsyncIOMotorClient

        return cast("AsyncMongoClient[dict[str, Any]]", AsyncIOMotorClient(uri.get_secret_value(), **options))
    except REFUSALS as error:
        kind = type(error).__name__
    # Not chained: the driver's text may quote the connection string.
    raise make_refusal(kind)


def make_options(config: Config) -> dict[str, Any]:
    """Return the options of a client, of whichever driver, besides the connection string."""
    uri = config.CC_MONGO_CONNECTION_STRING
    options: dict[str, Any] = {
        name: value
        for name, value in (
            ("timeoutMS", config.CC_MONGO_TIMEOUT_MS),
            ("serverSelectionTimeoutMS", config.CC_MONGO_TIMEOUT_MS),
            # A primary that is frozen or cut off is noticed within the sum of both, and its requests are retried.
            ("connectTimeoutMS", _MONITORING_MS),
            ("heartbeatFrequencyMS", _MONITORING_MS),
            # The driver's retries can't work on a standalone, where they hold up one another: each clears the pool of
            # connections that all others wait for. This library retries instead.
            ("retryWrites", not uri.is_one_server),
        )
        # In PyMongo keyword arguments win over the URI, but the URI is what the user wrote.
        if uri.option(name) is None
    }
    return {**options, "appname": "backtest-mongo"}


def make_refusal(kind: str) -> ConfigError:
    """Return the error for a connection string that the driver refuses by an error of this kind."""
    return ConfigError(
        f"CC_MONGO_CONNECTION_STRING: the driver refuses it ({kind})",
        hint="escape user and password by RFC 3986 (urllib.parse.quote_plus), and check host, port, options and files",
    )


def open_database(client: AsyncMongoClient[dict[str, Any]], config: Config) -> AsyncDatabase[dict[str, Any]]:
    """Return the library's database, with read and write concerns under which acknowledged writes survive.

    Raises:
        ConfigError: the connection string asks for less durability, or its database name is invalid.
    """
    concern = client.write_concern.document
    _check_durability(concern)
    if _BAD_IN_NAME.search(config.CC_MONGO_CONNECTION_STRING.given_database):
        raise ConfigError(
            'CC_MONGO_CONNECTION_STRING: a database name must have no dot, no white space, and none of "$/\\',
            hint="name only the database, as in mongodb://host/backtest-kit",
        )
    return client.get_default_database(
        DEFAULT_DATABASE,
        codec_options=CODEC,
        # A read must see the last acknowledged write, so it goes to the primary whatever the URI says.
        read_preference=ReadPreference.PRIMARY,
        # A standalone's own default loses acknowledged writes when it is killed.
        write_concern=WriteConcern(**concern) if "w" in concern else WriteConcern("majority", **concern),
        read_concern=client.read_concern if client.read_concern.level else ReadConcern(config.CC_MONGO_READ_CONCERN),
    )


def open_candle_database(
    client: AsyncMongoClient[dict[str, Any]], database: AsyncDatabase[dict[str, Any]], config: Config
) -> AsyncDatabase[dict[str, Any]]:
    """Return the database that candles are in, with the same concerns as the library's database, which is the default.

    Raises:
        ConfigError: its name is invalid.
    """
    name = config.CC_CANDLE_DATABASE
    if not name or name == database.name:
        return database
    if _BAD_IN_NAME.search(name) or len(name.encode(errors="replace")) > LONGEST_NAME:
        raise ConfigError(
            'CC_CANDLE_DATABASE: a database name must have no dot, no white space, and none of "$/\\, and '
            f"{LONGEST_NAME} bytes at most",
            hint="name a database on the servers in CC_MONGO_CONNECTION_STRING; a path is for candles in SQLite",
        )
    return client.get_database(
        name,
        codec_options=database.codec_options,
        read_preference=database.read_preference,
        write_concern=database.write_concern,
        read_concern=database.read_concern,
    )


def _check_durability(concern: Mapping[str, Any]) -> None:
    """Refuse a write concern under which an acknowledged write can be lost. The driver's reading of the URI decides."""
    if concern.get("w") == 0:
        raise ConfigError(
            "CC_MONGO_CONNECTION_STRING: w=0 asks MongoDB to acknowledge no write",
            hint="leave w out for majority, or set w=1",
        )
    if concern.get("j") is False and concern.get("w") != 1:
        raise ConfigError(
            "CC_MONGO_CONNECTION_STRING: journal=false lets MongoDB acknowledge writes that a crash loses",
            hint="leave it out, or state that writes need not be durable: w=1&journal=false",
        )


def count_lanes(config: Config, pool: float | None) -> int:
    """Return how many reads may be under way at a time over a pool of connections, and how many writes."""
    lanes = int(min(_LANES, pool or _LANES))
    if config.CC_MONGO_DRIVER == "motor":
        from motor.frameworks.asyncio import max_workers

        # All of Motor's calls share these threads: neither reads nor writes may take all of them.
        lanes = min(lanes, max_workers - 2)
    return max(1, lanes)


def count_change_streams(config: Config, pool: float | None) -> int:
    """Return how many change streams may wait for the server at a time, leaving connections for everything else."""
    streams = pool or float("inf")
    if config.CC_MONGO_DRIVER == "motor":
        from motor.frameworks.asyncio import max_workers

        streams = min(streams, max_workers)
    return int(max(1, min(streams - 2, _CHANGE_STREAMS)))


def count_mongo_connections(client: MongoClient) -> int | None:
    """Return the number of a client's connections, without those that watch the servers; ``None`` if unknown.

    PyMongo has no public count, and listening to its pool events would cost every operation. So this looks into the
    pools; if another version keeps them elsewhere, the number is unknown, and nothing else changes.
    """
    try:
        # Motor's client wraps PyMongo's, which takes any other attribute for the name of a database.
        driver: Any = vars(client).get("delegate", client)
        topology = driver._topology
        pools = [server.pool for server in list(topology._servers.values())]
        return sum(len(pool.conns) + int(pool.active_sockets) for pool in pools)
    except AttributeError:
        return None
