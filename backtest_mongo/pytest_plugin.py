"""What the fixtures of the pytest plugin do; `pytest_backtest_mongo` declares them."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from redis.exceptions import RedisClusterException, RedisError

from backtest_mongo import config, embedded, hub, lifecycle, log
from backtest_mongo.config import Given
from backtest_mongo.embedded.process import REDIS_DATABASES
from backtest_mongo.errors import ServerError
from backtest_mongo.files import adapter
from backtest_mongo.loops import LoopGuards
from backtest_mongo.mongo_rows import PAGE
from backtest_mongo.redis_clients import get_all
from backtest_mongo.registry import persist
from backtest_mongo.specs import SlotSpec

__all__ = ["BacktestServers", "BacktestStore", "dummies", "files", "files_on_demand", "servers", "store"]

_MONGO: Final = "CC_MONGO_CONNECTION_STRING"
#: Any of these says that there are servers to use.
_NAMING: Final = (_MONGO, "CC_REDIS_URL", "CC_REDIS_HOST", "CC_REDIS_PORT")
_SERVERS: Final = (*_NAMING, "CC_REDIS_USER", "CC_REDIS_PASSWORD")
_REDIS_KEYS: Final = 1_000


@dataclass(frozen=True)
class BacktestServers:
    """The servers of a run.

    Attributes:
        config: what ``setup()`` needs to use them. Its ``repr`` shows no value.
        are_embedded: whether they were started for this run, and nobody else's data are on them.
    """

    config: Given
    are_embedded: bool


@dataclass(frozen=True)
class BacktestStore:
    """The database of one test.

    Attributes:
        config: what ``setup()`` needs to use it. Its ``repr`` shows no value.
        database: its name, for raw access: ``(await get_mongo())[backtest_store.database]``.
        redis_prefix: what the Redis keys of the test's own begin with; they are deleted with the database. The keys of
            the library are the same in every database, as Node's are, and hold ids that no other database has.
    """

    config: Given
    database: str

    @property
    def redis_prefix(self) -> str:
        return f"{self.database}:"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that point another process at it, to be added to ``os.environ``."""
        return Given({name: str(value) for name, value in self.config.items()})


@contextmanager
def servers(worker: str, directory: Path) -> Iterator[BacktestServers]:
    """Give the servers of a run, whose directory this is, to the process of pytest, or to a worker of pytest-xdist."""
    if any(os.environ.get(name) for name in _NAMING):
        # As they are now: a test may change the environment.
        named = {name: os.environ[name] for name in _SERVERS if os.environ.get(name)}
        default = config.Config.model_fields[_MONGO].default.get_secret_value()
        yield BacktestServers(Given({_MONGO: default, **named}), False)
        return
    with ExitStack() as stack:
        found, problem = {}, ""
        try:
            found = stack.enter_context(_shared(worker, directory) if worker else _own())
        except ServerError as error:
            problem = str(error)
        if problem:  # out of the handler, and without a traceback: this is nothing that the test has done
            others = "or name servers of yours by CC_MONGO_CONNECTION_STRING and CC_REDIS_HOST"
            pytest.fail(f"backtest_servers: {problem}; {others}", pytrace=False)
        yield BacktestServers(Given(found), True)


@contextmanager
def _own() -> Iterator[dict[str, Any]]:
    with embedded.Servers() as started:
        yield started.config


@contextmanager
def _shared(worker: str, directory: Path) -> Iterator[dict[str, Any]]:
    from backtest_mongo.embedded.shared import shared  # not on Windows, where no embedded servers are

    with shared(directory / "backtest-servers") as found:
        # A database of Redis' own can be emptied after each test without a look at what others do.
        number = int(worker.removeprefix("gw")) % REDIS_DATABASES
        yield {**found, "CC_REDIS_URL": f"redis://{found['CC_REDIS_HOST']}:{found['CC_REDIS_PORT']}/{number}"}


@contextmanager
def store(servers: BacktestServers, driver: str = "") -> Iterator[BacktestStore]:
    database = f"backtest-test-{uuid.uuid4().hex[:12]}"
    uri = urlsplit(servers.config[_MONGO])._replace(path=f"/{database}").geturl()
    values = Given({**servers.config, _MONGO: uri, **({"CC_MONGO_DRIVER": driver} if driver else {})})
    with _put_back():
        try:
            with LoopGuards():
                config.set_config(values)
                lifecycle.install()
                yield BacktestStore(values, database)
        finally:
            config.reset_config()  # the test may have changed it
            config.set_config(values)
            _run(_remove(servers.are_embedded))


@contextmanager
def files(directory: Path) -> Iterator[Path]:
    with _put_back():
        persist.use_files(directory)
        yield directory


@contextmanager
def files_on_demand() -> Iterator[None]:
    """Refuse files in the directory where they are by default: nothing of a test may get there by accident."""
    adapter.only_on_demand = True
    try:
        yield
    finally:
        adapter.only_on_demand = False


@contextmanager
def dummies() -> Iterator[None]:
    with _put_back():
        persist.use_dummy()
        yield


@contextmanager
def _put_back() -> Iterator[None]:
    """Put configuration, registry and logger back afterwards. Slots that were registered meanwhile stay."""
    explicit, built, logger = Given(config._explicit), config._config, log._logger
    choose, implementations = persist._choose, dict(persist._implementations)
    config.reset_config()
    try:
        yield
    finally:
        config._explicit, config._config, log._logger = explicit, built, logger
        persist._choose, persist._implementations = choose, implementations
        for instances in persist._instances.values():
            instances.clear()


def _run(work: Any) -> None:
    # Not asyncio.run, which would leave the thread without the event loop that a plugin or a test has set.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(work)


async def _remove(is_ours: bool) -> None:
    """Remove the database and what Redis knows of it, if it can be reached."""
    current = hub.current_hub()
    try:
        with suppress(RedisError, RedisClusterException, OSError):
            if is_ours:
                await current.redis.flushdb()
            else:
                for slot in persist._adapters.values():
                    await _forget_ids(current, slot.spec)
                async for key in current.redis.scan_iter(f"{current.database.name}:*", count=_REDIS_KEYS):
                    await current.redis.delete(key)
        await current.mongo.drop_database(current.database.name)
    finally:
        await lifecycle.close()


async def _forget_ids(current: hub.Hub, spec: SlotSpec) -> None:
    """Delete the Redis keys that hold the ids of this database's documents, and no others.

    The keys are fixed, and the same in every database; the ids are not.
    """
    ids: dict[str, bytes] = {}
    async for row in current.database[spec.collection].find({}, dict.fromkeys(spec.key, 1), batch_size=PAGE):
        if row.keys() >= set(spec.key):  # else it is none of ours
            ids[spec.redis_key(tuple(row[name] for name in spec.key))] = str(row["_id"]).encode()
        if len(ids) == _REDIS_KEYS:
            await _delete(current, ids)
            ids = {}
    await _delete(current, ids)


async def _delete(current: hub.Hub, ids: Mapping[str, bytes]) -> None:
    keys = list(ids)
    for key, value in zip(keys, await get_all(current.redis, keys) if keys else (), strict=True):
        if value == ids[key]:
            await current.redis.delete(key)
