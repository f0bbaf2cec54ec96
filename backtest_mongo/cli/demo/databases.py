"""The demo's servers, embedded or the user's, and its two databases on them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from pymongo import ReadPreference
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from backtest_mongo import (
    SLOTS,
    BacktestMongoError,
    EquityAdapter,
    SlotSpec,
    StoreError,
    get_config,
    get_mongo,
    get_redis,
    set_config,
    setup,
    wait_for_init,
)
from backtest_mongo.cli.databases import name_servers
from backtest_mongo.cli.demo.strategy import CURVE
from backtest_mongo.connection.mongo_clients import DEFAULT_DATABASE
from backtest_mongo.core.config import MaskedDict, MongoURI
from backtest_mongo.core.payload import CODEC
from backtest_mongo.embedded import Servers
from backtest_mongo.types import Document

__all__ = ["ROLES", "Databases", "has_own_servers", "provide_servers"]

#: The two runs, which are the two databases too.
ROLES: Final = ("interrupted", "uninterrupted")

_CHUNK: Final = 1000
_CLEANUP_SECONDS: Final = 5.0
#: A database's name may have 63 bytes: so many of the configured name are kept.
_NAME_BYTES: Final = 32


@contextmanager
def provide_servers(directory: Path | None) -> Iterator[dict[str, str]]:
    """Yield the configuration: nothing if the environment names servers, otherwise that of embedded servers.

    These stop with the block, and keep their data in ``directory`` if one is given.
    """
    if has_own_servers():
        yield {}
        return
    with Servers(directory) as started:
        config = {name: str(value) for name, value in started.config.items()}
        # The environment's credentials are for another Redis.
        yield {"CC_REDIS_USER": "", "CC_REDIS_PASSWORD": "", **config}


def has_own_servers() -> bool:
    """Return whether the environment names servers of the user."""
    return bool(name_servers())


class Databases:
    """Two fresh databases next to the configured one, with its name as their prefix.

    Both runs share the Redis keys, on purpose: each finds the other's ids there, which must not mislead it.
    """

    def __init__(self, config: Mapping[str, str]) -> None:
        self._config = MaskedDict(config)
        given = config.get("CC_MONGO_CONNECTION_STRING")
        self._uri = get_config().CC_MONGO_CONNECTION_STRING if given is None else MongoURI(given)
        stem = (self._uri.database or DEFAULT_DATABASE).encode()[:_NAME_BYTES].decode(errors="ignore")
        run = secrets.token_hex(4)
        self.names: dict[str, str] = {role: f"{stem}-demo-{run}-{role}" for role in ROLES}

    def environment(self, role: str) -> dict[str, str]:
        """Return the configuration of one run."""
        uri = self._uri.with_database(self.names[role])
        # With candles of its own, too: they must not get into the database of somebody's real ones.
        own = {"CC_MONGO_CONNECTION_STRING": uri.get_secret_value(), "CC_CANDLE_DATABASE": ""}
        return MaskedDict({**self._config, **own})

    @asynccontextmanager
    async def connected(self, *, keep: bool) -> AsyncIterator[None]:
        """Connect this process inside the block; at its end remove the databases unless ``keep`` is set.

        Raises:
            InitError: a server does not answer.
        """
        config = self.environment(ROLES[0])
        try:
            async with setup(config):
                await wait_for_init()
                try:
                    yield
                except BaseException:
                    if not keep:
                        # The first error says more than one about servers that can't be reached now either.
                        with suppress(BacktestMongoError, TimeoutError):
                            async with asyncio.timeout(_CLEANUP_SECONDS):
                                await self._remove()
                    raise
                if not keep:
                    await self._remove()
        finally:
            set_config(dict.fromkeys(config))

    async def documents(self, role: str, spec: SlotSpec) -> AsyncIterator[Document]:
        """Yield all rows of a slot, in the order of their natural keys."""
        client: Any = await get_mongo()
        database = client.get_database(self.names[role], CODEC, ReadPreference.PRIMARY)
        try:
            async for document in database[spec.collection].find().sort([(name, 1) for name in spec.key]):
                yield document
        except PyMongoError as error:
            raise StoreError(f"reading the end state failed ({type(error).__name__})", slot=spec.name) from error

    async def read_curve(self, role: str) -> dict[int, Document]:
        """Return the equity that a run has stored, by the time of the bar in milliseconds, in this order."""
        # A series is read as its adapter reads it: how its rows are spread over the tail and blocks differs.
        await setup(self.environment(role))
        try:
            frame = await EquityAdapter(*CURVE).read_frame(as_="numpy")
        finally:
            await setup(self.environment(ROLES[0]))
        times = frame.pop("timestamp").astype(int).tolist()
        columns = {name: values.tolist() for name, values in frame.items()}
        rows = zip(*columns.values(), strict=True)
        return {time: dict(zip(columns, row, strict=True)) for time, row in zip(times, rows, strict=True)}

    async def _remove(self) -> None:
        keys = {
            spec.redis_key(tuple(document[name] for name in spec.key))
            for spec in SLOTS
            for role in ROLES
            async for document in self.documents(role, spec)
        }
        await _forget(list(keys))
        client: Any = await get_mongo()
        try:
            for name in self.names.values():
                await client.drop_database(name)
        except PyMongoError as error:
            names = " and ".join(self.names.values())
            raise StoreError(f"removing {names} failed ({type(error).__name__})", hint="drop them by hand") from error


async def _forget(keys: list[str]) -> None:
    redis = await get_redis()
    with suppress(RedisError, OSError):  # without Redis there is nothing to forget
        for start in range(0, len(keys), _CHUNK):
            await redis.unlink(*keys[start : start + _CHUNK])
