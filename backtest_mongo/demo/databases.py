"""Where the demo's rows go: two databases of its own, on embedded servers or on the user's."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from pymongo import ReadPreference
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from backtest_mongo import (
    SLOTS,
    BacktestMongoError,
    SlotSpec,
    StoreError,
    get_config,
    get_mongo,
    get_redis,
    set_config,
    setup,
    wait_for_init,
)
from backtest_mongo.embedded import Servers
from backtest_mongo.hub import DEFAULT_DATABASE
from backtest_mongo.payload import CODEC
from backtest_mongo.types import Document

__all__ = ["ROLES", "Databases", "servers", "users_own"]

#: The two runs, which are the two databases too.
ROLES: Final = ("interrupted", "uninterrupted")

_CHUNK: Final = 1000
_CLEANUP_SECONDS: Final = 5.0
#: A database's name may have 63 bytes: so many of the configured one stay before what is added.
_NAME_BYTES: Final = 32


@contextmanager
def servers(directory: Path | None) -> Iterator[dict[str, str]]:
    """Yield what has to be configured: nothing if the environment names servers, else embedded ones.

    Those end with the block, and keep their data in ``directory`` if one is given.
    """
    if users_own():
        yield {}
        return
    with Servers(directory) as started:
        config = {name: str(value) for name, value in started.config.items()}
        # What the environment says of a user's Redis does not hold for this one.
        yield {"CC_REDIS_USER": "", "CC_REDIS_PASSWORD": "", **config}


def users_own() -> bool:
    """Tell whether the environment names servers of the user's."""
    return any(os.environ.get(name) for name in ("CC_MONGO_CONNECTION_STRING", "CC_REDIS_HOST", "CC_REDIS_URL"))


class Databases:
    """Two fresh databases beside the configured one, whose name they carry on.

    Both runs share the Redis keys, on purpose: each finds the other's ids there, and must not be led astray by them.
    """

    def __init__(self, config: Mapping[str, str]) -> None:
        self._config = config
        configured = get_config().CC_MONGO_CONNECTION_STRING.get_secret_value()
        self._uri = config.get("CC_MONGO_CONNECTION_STRING", configured)
        base = unquote(urlsplit(self._uri).path[1:]) or DEFAULT_DATABASE
        stem = base.encode()[:_NAME_BYTES].decode(errors="ignore")
        run = secrets.token_hex(4)
        self.names: dict[str, str] = {role: f"{stem}-demo-{run}-{role}" for role in ROLES}

    def environment(self, role: str) -> dict[str, str]:
        """Return the configuration of the run that uses one of the two."""
        return {**self._config, "CC_MONGO_CONNECTION_STRING": _with_database(self._uri, self.names[role])}

    @asynccontextmanager
    async def connected(self, *, keep: bool) -> AsyncIterator[None]:
        """Open connections of this process for as long as the block; at its end remove the databases or keep them.

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
                        # What went wrong first says more than that its servers can't be reached now either.
                        with suppress(BacktestMongoError, TimeoutError):
                            async with asyncio.timeout(_CLEANUP_SECONDS):
                                await self._remove()
                    raise
                if not keep:
                    await self._remove()
        finally:
            set_config(dict.fromkeys(config))

    async def documents(self, role: str, spec: SlotSpec) -> AsyncIterator[Document]:
        """Yield all rows of a slot, by their natural key."""
        client: Any = await get_mongo()
        database = client.get_database(self.names[role], CODEC, ReadPreference.PRIMARY)
        try:
            async for document in database[spec.collection].find().sort([(name, 1) for name in spec.key]):
                yield document
        except PyMongoError as error:
            raise StoreError(f"reading the end state failed ({type(error).__name__})", slot=spec.name) from error

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


def _with_database(uri: str, name: str) -> str:
    parts = urlsplit(uri)
    query = parts.query
    # Without `authSource` a password is looked up in the database that the string names, so that one is named now. Not
    # so with mongodb+srv, where DNS may name another, nor with mechanisms that have a place of their own.
    options = query.lower()
    by_password = "authmechanism=" not in options or "authmechanism=scram" in options
    if parts.scheme == "mongodb" and "@" in parts.netloc and by_password and "authsource=" not in options:
        source = f"authSource={parts.path[1:] or 'admin'}"
        query = f"{query}&{source}" if query else source
    return parts._replace(path=f"/{quote(name, safe='')}", query=query).geturl()
