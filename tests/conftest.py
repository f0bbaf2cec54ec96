"""Servers, drivers and a fresh database for each test.

The servers are those that the ``CC_*`` variables name, or embedded ones where none is set. Every test has a database of
its own, and names of its own in the Redis keys; nothing is ever flushed.
"""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import os
import signal
import sys
import uuid
import warnings
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pymongo
import pytest

import backtest_mongo
from backtest_mongo import SLOTS, SlotSpec, block_grid, embedded, log, series_windows
from backtest_mongo.config import reset_config
from backtest_mongo.files.layout import holds_signals
from backtest_mongo.files.text import from_text
from backtest_mongo.hub import current_hub
from backtest_mongo.registry import persist
from backtest_mongo.shapes import Adapter
from tests import uniform

SERVER_VARIABLES = (
    "CC_MONGO_CONNECTION_STRING",
    "CC_REDIS_URL",
    "CC_REDIS_HOST",
    "CC_REDIS_PORT",
    "CC_REDIS_USER",
    "CC_REDIS_PASSWORD",
)
CANDLE_VARIABLES = ("CC_CANDLE_ID_CACHE", "CC_CANDLE_CACHE_MB", "CC_CANDLE_BLOCKS", "CC_CANDLE_SHARED_WRITERS")
DRIVERS = ("motor", "pymongo")
#: The storage in files, where a test takes it for a driver.
FILES = "files"
#: What also holds for files, but for the tests in it that are marked as ``mongodb``.
FILES_TOO = ("tests.test_contract", "tests.test_candles")
#: How candles are sealed: as ever, not at all, or in blocks of four rows that even the shortest series of a test fill.
BLOCKS = ("default", "off", "tiny")


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in its background so, and processes that tests interrupt would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def servers() -> Iterator[dict[str, Any]]:
    """The configuration of the servers that the tests run against."""
    given = {name: os.environ[name] for name in SERVER_VARIABLES if os.environ.get(name)}
    if given:
        yield given
        return
    with embedded.Servers() as started:
        yield started.config


@pytest.fixture
def unique() -> str:
    """A name that no other test uses."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture(autouse=True)
def _clean_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test sees another's configuration, registry or logger, nor the caller's environment."""
    for name in (*SERVER_VARIABLES, "CC_MONGO_DRIVER", "CC_MONGO_TIMEOUT_MS", *CANDLE_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    reset_config()
    logger, registry = log.log(), {name: copy.copy(value) for name, value in vars(persist).items()}
    yield
    log._logger = logger
    reset_config()
    vars(persist).clear()
    vars(persist).update(registry)
    for instances in persist._instances.values():
        instances.clear()


@pytest.fixture(params=(*DRIVERS, FILES))
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def candle_blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """One of :data:`BLOCKS`."""
    way = str(getattr(request, "param", BLOCKS[0]))
    if way == "tiny":
        tiny_blocks(monkeypatch)
    return way


def tiny_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_grid, "ROWS", 4)
    monkeypatch.setattr(series_windows, "MANY", 1)


@pytest.fixture
def config(request: pytest.FixtureRequest, driver: str, unique: str, candle_blocks: str) -> dict[str, Any]:
    """The configuration of a fresh database. Files have none, and start no server."""
    if driver == FILES:
        return {}
    servers = request.getfixturevalue("servers")
    uri = urlsplit(servers["CC_MONGO_CONNECTION_STRING"])._replace(path=f"/{unique}").geturl()
    blocks = {"CC_CANDLE_BLOCKS": False} if candle_blocks == "off" else {}
    return {**servers, "CC_MONGO_CONNECTION_STRING": uri, "CC_MONGO_DRIVER": driver, **blocks}


@dataclass
class Deployment:
    """A database that the library is set up on, and raw access to it."""

    config: dict[str, Any]
    name: str

    @property
    def environment(self) -> dict[str, Any]:
        """The configuration as environment variables, for a process of its own."""
        return {name: str(value) for name, value in self.config.items()}

    async def rows(self, spec: SlotSpec, **query: Any) -> list[dict[str, Any]]:
        return await (await self.collection(spec)).find(query).to_list(None)  # type: ignore[no-any-return]

    async def collection(self, spec: SlotSpec) -> Any:
        return (await backtest_mongo.get_mongo())[self.name][spec.collection]

    async def cached(self, redis_key: str) -> str | None:
        # A command that was too slow for its caller goes on without it.
        under_way = [command.task for command in current_hub().cache._guard._commands]
        await asyncio.gather(*under_way, return_exceptions=True)
        value: Any = await (await backtest_mongo.get_redis()).get(redis_key)
        return value.decode() if value is not None else None

    async def forget(self) -> None:
        """Drop this process's connections and caches, as if it had been started anew."""
        await backtest_mongo.close()


@dataclass
class FileDeployment(Deployment):
    """A directory of files, in the same place. It has no ``_id``, ``createDate`` and ``updatedDate``, and no cache."""

    root: Path

    async def rows(self, spec: SlotSpec, **query: Any) -> list[dict[str, Any]]:
        if query:
            found = await uniform.ADAPTERS[spec.name]._store().find(tuple(query.values()))
            return [] if found is None else [found]
        rows = []
        for path in sorted(self.root.rglob("*.json")):
            facts = path.with_name(f".{path.stem}.facts")
            known = list(json.loads(facts.read_bytes())["payloads"].values()) if facts.exists() else []
            payload = from_text(path.read_bytes(), holds_signals(spec))
            row = payload if spec.shape == "series" else {spec.field: payload}
            rows.append(row | ({"when": known[-1][0]} if spec.when else {}))
        return rows

    async def collection(self, spec: SlotSpec) -> Any:
        raise NotImplementedError

    async def cached(self, redis_key: str) -> str | None:
        raise NotImplementedError

    async def forget(self) -> None:
        self.use()

    def use(self) -> None:
        """Point the registry and the suite at the directory."""
        persist.use_files(self.root)
        uniform.ADAPTERS = {spec.name: cast("type[Adapter]", persist._implementation(spec)) for spec in SLOTS}


# Dropping a database as a whole takes a replica set a tenth of a second, and each of thousands of tests has one.


async def drop_database(name: str) -> None:
    """Drop a test's database through the library's connections, collection by collection."""
    database = (await backtest_mongo.get_mongo())[name]
    for collection in await database.list_collection_names():
        await database.drop_collection(collection)


def drop_with(client: pymongo.MongoClient[dict[str, Any]], name: str) -> None:
    """Drop a test's database through another client, collection by collection."""
    for collection in client[name].list_collection_names():
        client[name].drop_collection(collection)


@pytest.fixture
async def deployment(
    config: dict[str, Any], unique: str, driver: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Deployment]:
    if driver == FILES:
        monkeypatch.setattr(uniform, "ADAPTERS", uniform.ADAPTERS)  # as it is, it comes back
        files = FileDeployment(config, unique, tmp_path)
        files.use()
        yield files
        return
    await backtest_mongo.setup(config)
    yield Deployment(config, unique)
    await backtest_mongo.setup(config)
    await drop_database(unique)
    await backtest_mongo.close()


@pytest.fixture
async def driver_garbage() -> AsyncIterator[None]:
    """For tests that close while nobody answers.

    PyMongo's asyncio client, closed while one of its monitors is connecting, drops that monitor's socket unclosed.
    The socket is collected here, where its warning can't fail a test that has nothing to do with it.
    """
    yield
    await backtest_mongo.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        await asyncio.sleep(0)
        gc.collect()


class Counts(dict[str, int]):
    """Operations by kind; a difference names only those that there were."""

    def __sub__(self, other: Counts) -> Counts:
        return Counts({name: count - other[name] for name, count in self.items() if count - other[name]})


async def operations() -> Counts:
    """Return how many operations of each kind the server has carried out."""
    status = await current_hub().mongo.admin.command("serverStatus")
    return Counts({name: status["opcounters"][name] for name in ("insert", "query", "update", "delete", "getmore")})


@pytest.hookimpl(tryfirst=True)  # before ``-m`` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Call the runs on one of the drivers heavy, where either would do: of two Pythons in a row, each keeps another.

    Of the runs in files those are left that there are.
    """
    items[:] = [item for item in items if _is_there(item)]
    spared = DRIVERS[sys.version_info.minor % 2]
    for item in items:
        is_spared = getattr(item, "callspec", None) and item.callspec.params.get("driver") == spared  # type: ignore[attr-defined]
        if is_spared and item.get_closest_marker("either_driver"):
            item.add_marker(pytest.mark.heavy)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test one run per slot: of all, or of the shapes that ``@pytest.mark.shapes`` names.

    What goes over candles runs once for each way of sealing them.
    """
    stores = "candle_blocks" in metafunc.fixturenames
    if "spec" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("shapes")
        specs = [spec for spec in SLOTS if marker is None or spec.shape in marker.args]
        only = metafunc.definition.get_closest_marker("slots")
        if only is not None:
            specs = [spec for spec in specs if all(getattr(spec, name) for name in only.args)]
        if not stores:
            metafunc.parametrize("spec", specs, ids=[spec.name for spec in specs])
            return
        runs = [(spec, way) for spec in specs for way in (BLOCKS if spec.shape == "series" else BLOCKS[:1])]
        ids = [spec.name if way == BLOCKS[0] else f"{spec.name}-{way}" for spec, way in runs]
        metafunc.parametrize(("spec", "candle_blocks"), runs, ids=ids, indirect=["candle_blocks"])
    elif stores and metafunc.module.__name__ in ("tests.test_candles", "tests.test_golden"):
        metafunc.parametrize("candle_blocks", BLOCKS, indirect=True)


def _is_there(item: pytest.Item) -> bool:
    assert isinstance(item, pytest.Function)
    params = item.callspec.params if hasattr(item, "callspec") else {}
    if params.get("driver") != FILES:
        return True
    marked = item.get_closest_marker
    also = item.module.__name__ in FILES_TOO or marked("files")
    asks = "deployment" in item.fixturenames and params.get("candle_blocks", BLOCKS[0]) == BLOCKS[0]
    return bool(asks and also and not marked("mongodb"))
