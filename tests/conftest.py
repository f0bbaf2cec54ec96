"""Servers, drivers and a fresh database for each test.

The servers are those that the ``CC_*`` variables name, or embedded ones where none is set. Every test has a database of
its own, and names of its own in the Redis keys; nothing is ever flushed.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import json
import os
import shutil
import signal
import sqlite3
import sys
import time
import uuid
import warnings
import zlib
from collections.abc import AsyncIterator, Generator, Iterator
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any, Final, cast

import pymongo.errors
import pytest

import backtest_mongo
from backtest_mongo import SLOTS, SlotSpec, embedded
from backtest_mongo.adapters.registry import persist
from backtest_mongo.adapters.shapes import Adapter
from backtest_mongo.connection import command_guard as guard
from backtest_mongo.connection import hub_registry, operation
from backtest_mongo.connection.hub_registry import close_hub, current_hub
from backtest_mongo.core import log
from backtest_mongo.core.config import Config, MaskedDict, MongoURI, reset_config
from backtest_mongo.core.extended_json import from_json, to_json
from backtest_mongo.files.layout import get_engine_fields
from backtest_mongo.files.text import from_text, to_text
from backtest_mongo.series import blocks
from backtest_mongo.series.rows import CandleRows
from backtest_mongo.sqlite.database import get_database
from tests.support import uniform
from tests.support.deadlines import SECONDS
from tests.support.failing_servers import FailingServer, failing_server
from tests.support.memory import use_memory

SERVER_VARIABLES = (
    "CC_MONGO_CONNECTION_STRING",
    "CC_REDIS_URL",
    "CC_REDIS_HOST",
    "CC_REDIS_PORT",
    "CC_REDIS_USER",
    "CC_REDIS_PASSWORD",
)
CANDLE_VARIABLES = (
    *("CC_CANDLE_ID_CACHE", "CC_CANDLE_CACHE_MB", "CC_CANDLE_BLOCKS", "CC_CANDLE_SHARED_WRITERS"),
    *("CC_CANDLE_DATABASE", "CC_CANDLE_ROWS"),
)
DRIVERS = ("motor", "pymongo")
#: The storages without a server, where a test takes them for drivers.
FILES = "files"
SQLITE = "sqlite"
SERVERLESS = (FILES, SQLITE)
#: What also holds for these, but for the tests in it that are marked as ``mongodb``.
SERVERLESS_TOO = {
    "tests.contract.test_contract": SERVERLESS,
    "tests.contract.test_candles": SERVERLESS,
    "tests.contract.test_versions": SERVERLESS,
    "tests.contract.test_ranges": SERVERLESS,
    "tests.contract.test_list_filters": SERVERLESS,
    "tests.contract.test_contexts": SERVERLESS,
    "tests.contract.test_typed_payloads": SERVERLESS,
    "tests.contract.test_typed_scopes": (SQLITE,),
    "tests.contract.test_watch": (SQLITE,),
    "tests.adapters.test_renaming": (SQLITE,),
    "tests.commit.test_deleting": (SQLITE,),
    "tests.commit.test_context_kills": (SQLITE,),
    "tests.commit.test_transactions": (SQLITE,),
    "tests.commit.test_list_parts": (SQLITE,),
    "tests.commit.test_retention": (SQLITE,),
    "tests.commit.test_leases": (SQLITE,),
    "tests.commit.test_lease_processes": (SQLITE,),
    "tests.commit.test_bar_queue": (SQLITE,),
    "tests.commit.test_foreign_implementations": (SQLITE,),
    "tests.history.test_history": (SQLITE,),
    "tests.history.test_as_of": (SQLITE,),
    "tests.history.test_pruning": (SQLITE,),
    "tests.history.test_history_kills": (SQLITE,),
    "tests.cli.test_engine": (SQLITE,),
    "tests.forks.test_rows": (SQLITE,),
    "tests.forks.test_strategies": (SQLITE,),
    "tests.forks.test_refusals": (SQLITE,),
    "tests.forks.test_interruptions": (SQLITE,),
    "tests.forks.test_going_on": (SQLITE,),
    "tests.forks.test_candle_database": (SQLITE,),
    "tests.forks.test_series": (SQLITE,),
    "tests.commit.test_runs": (SQLITE,),
    "tests.adapters.test_resampling": (SQLITE,),
    "tests.adapters.test_series_bytes": (SQLITE,),
    "tests.adapters.test_series_retention": (SQLITE,),
    "tests.series.test_column_write_order": (SQLITE,),
    "tests.market_data.test_series_packages": (SQLITE,),
    "tests.adapters.test_resets": (SQLITE,),
    "tests.overview.test_gathering": SERVERLESS,
    "tests.adapters.test_reset_processes": (SQLITE,),
    "tests.series.columns.test_process_kills": (SQLITE,),
}
#: How candles are sealed: as ever, not at all, or in blocks of four rows that even the shortest series of a test fill;
#: and the last of these as the only copy, without rows.
BLOCKS = ("default", "off", "tiny", "truth")


#: What also runs on series whose candles are in blocks alone.
IN_BLOCKS_TOO: Final = (
    *("tests.series.test_coverage", "tests.series.test_frame_reads", "tests.series.test_frame_writes"),
    *("tests.series.test_moving_grids", "tests.series.test_deleting_candles", "tests.series.test_writes_in_order"),
)
#: How somebody wants their terminal. Tests of what a terminal is shown say it themselves, and libraries read some of it
#: when they are imported.
TERMINAL_VARIABLES = (
    *("COLUMNS", "LINES", "TERMINAL_WIDTH", "NO_COLOR", "FORCE_COLOR", "PY_COLORS", "CLICOLOR", "CLICOLOR_FORCE"),
    *("TTY_COMPATIBLE", "TTY_INTERACTIVE", "GITHUB_ACTIONS", "PYTHON_COLORS"),
)
for _name in TERMINAL_VARIABLES:
    os.environ.pop(_name, None)
os.environ["TERM"] = "xterm-256color"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in its background so, and processes that tests interrupt would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


_in_memory: Final = use_memory()

#: The servers that the caller names, read before the first test: no test sees these variables.
GIVEN_SERVERS: Final = MaskedDict({name: os.environ[name] for name in SERVER_VARIABLES if os.environ.get(name)})


def pytest_unconfigure() -> None:
    if _in_memory is not None:
        shutil.rmtree(_in_memory, ignore_errors=True)


@pytest.fixture(scope="session")
def servers() -> Iterator[dict[str, Any]]:
    """The configuration of the servers that the tests run against."""
    if GIVEN_SERVERS:
        default = Config.model_fields["CC_MONGO_CONNECTION_STRING"].default.get_secret_value()
        yield MaskedDict({"CC_MONGO_CONNECTION_STRING": default, **GIVEN_SERVERS})
        return
    with embedded.Servers() as started:
        yield started.config


def on_database(uri: str, name: str) -> str:
    """Return the connection string of another database on the same servers, with the same login."""
    return MongoURI(uri).with_database(name).get_secret_value()


@pytest.fixture
def unique() -> str:
    """A name that no other test uses."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture(autouse=True)
def _clean_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test sees another's configuration, registry or logger, nor the caller's environment."""
    for name in (*SERVER_VARIABLES, "CC_MONGO_DRIVER", "CC_MONGO_TIMEOUT_MS", "CC_RUN", "CC_KEEP", *CANDLE_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    reset_config()
    logger, registry = log._logger, {name: copy.copy(value) for name, value in vars(persist).items()}
    yield
    log._logger = logger
    structlog: Any = sys.modules.get("structlog")
    if structlog is not None:
        structlog.reset_defaults()  # as capturing log lines leaves it configured
    reset_config()
    vars(persist).clear()
    vars(persist).update(registry)
    for instances in persist._instances.values():
        instances.clear()


@pytest.fixture(autouse=True)
def _ended_loops(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test leaves no connections open on loops that it ends.

    What a failed one leaves is released here, or the next test that connects would fail for it, and in turn leave its
    own connections to the one after.
    """
    failed = request.session.testsfailed
    yield
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        hub_registry.release_ended()
        if request.session.testsfailed > failed:
            gc.collect()  # whose warnings are about what was left, too
            return
    if caught:
        pytest.fail(str(caught[0].message), pytrace=False)


@pytest.fixture
async def _own_loop(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """The same for the loop of an asynchronous test, on which connections can still be closed."""
    failed = request.session.testsfailed
    loop = asyncio.get_running_loop()
    yield
    is_open = any(hub.loop is loop for hub in (*hub_registry._hubs.values(), *hub_registry._retired))
    if request.session.testsfailed > failed:
        await backtest_mongo.close()
    elif is_open:
        await close_hub()
        pytest.fail("the test has left connections open; await backtest_mongo.close() at its end", pytrace=False)


@pytest.fixture(autouse=True)
def _closed_at_end(request: pytest.FixtureRequest, _ended_loops: None) -> None:
    """Set up first, the guard of the test's own loop looks at it last."""
    if request.node.get_closest_marker("asyncio"):
        request.getfixturevalue("_own_loop")


@pytest.fixture(autouse=True)
def _long_wait_budget(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis gets the time that it needs, so what a test finds there does not depend on how busy the machine is.

    What is about a Redis that is too slow is marked with ``wait_budget``, and has the 50 ms of production.
    """
    if request.node.get_closest_marker("wait_budget") is None:
        monkeypatch.setattr(operation, "WAIT_SECONDS", SECONDS)
        monkeypatch.setattr(guard, "COMMAND_SECONDS", 2 * SECONDS)


@pytest.fixture
def driver(request: pytest.FixtureRequest) -> str:
    """One of :data:`DRIVERS`, or one of :data:`SERVERLESS` where a test also holds for it."""
    return str(request.param)


@pytest.fixture
def candle_blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """One of :data:`BLOCKS`."""
    way = str(getattr(request, "param", BLOCKS[0]))
    if way in ("tiny", "truth"):
        tiny_blocks(monkeypatch)
    return way


def tiny_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "ROWS", 4)
    monkeypatch.setattr(CandleRows, "many", 1)


@pytest.fixture
def config(request: pytest.FixtureRequest, driver: str, unique: str, candle_blocks: str) -> Iterator[dict[str, Any]]:
    """The configuration of a fresh database. Files and SQLite have none, and start no server."""
    if driver in SERVERLESS:
        yield {}
        return
    servers = request.getfixturevalue("servers")
    blocks = {"off": {"CC_CANDLE_BLOCKS": False}, "truth": {"CC_CANDLE_ROWS": False}}.get(candle_blocks, {})
    own = {"CC_MONGO_CONNECTION_STRING": on_database(servers["CC_MONGO_CONNECTION_STRING"], unique)}
    yield MaskedDict({**servers, **own, "CC_MONGO_DRIVER": driver, **blocks})
    if GIVEN_SERVERS:  # embedded ones end with the run, and so do their databases
        with pymongo.MongoClient[dict[str, Any]](own["CC_MONGO_CONNECTION_STRING"]) as client:
            drop_with(client, unique)


@dataclass
class Deployment:
    """A database that the library is set up on, and raw access to it."""

    config: dict[str, Any]
    name: str

    @property
    def environment(self) -> dict[str, Any]:
        """The configuration as environment variables, for a process of its own."""
        return MaskedDict({name: str(value) for name, value in self.config.items()})

    async def configure(self, **settings: Any) -> None:
        """Set fields of the configuration, in addition to those set before, on the same database."""
        await backtest_mongo.setup(**settings)

    async def rows(self, spec: SlotSpec, **query: Any) -> list[dict[str, Any]]:
        """Return the stored documents, and what those of candles in blocks alone would be, as far as blocks have it."""
        found: list[dict[str, Any]] = await (await self.collection(spec)).find(query).to_list(None)
        if spec.shape == "series" and not self.config.get("CC_CANDLE_ROWS", True):
            known = {tuple(row[name] for name in spec.key) for row in found}
            for adapter in [adapter async for adapter in cast("Any", uniform.ADAPTERS[spec.name]).list_series()]:
                fields = dict(zip(spec.key, adapter._context, strict=False))
                rows = [{**fields, **row} for row in await read_rows(adapter)]
                found += [row for row in rows if tuple(row[name] for name in spec.key) not in known]
        return found

    async def collection(self, spec: SlotSpec) -> Any:
        return (await backtest_mongo.get_mongo())[self.name][spec.collection]

    async def cached(self, redis_key: str) -> str | None:
        await current_hub().id_cache.settle()  # a command that was too slow for its caller goes on without it
        value: Any = await (await backtest_mongo.get_redis()).get(redis_key)
        return value.decode() if value is not None else None

    async def delete_rows(self, spec: SlotSpec, **query: Any) -> None:
        """Delete rows as another program does."""
        await (await self.collection(spec)).delete_many(query)

    async def replace_payload(self, spec: SlotSpec, payload: Any) -> None:
        """Replace the payload of the only row as another program does that writes within the same millisecond."""
        done = await (await self.collection(spec)).update_many({}, {"$set": {spec.field: payload}})
        assert done.modified_count == 1

    async def read_clock(self) -> float:
        """Return the time by which changes are dated, in milliseconds since the epoch."""
        status = await (await backtest_mongo.get_mongo()).admin.command("hello")
        return float(status["localTime"].replace(tzinfo=UTC).timestamp() * 1000)

    def list_watches(self) -> list[Any]:
        """Return what serves the watches of this event loop that are open."""
        return list(current_hub().streams)

    async def has_no_watch(self) -> bool:
        """Tell whether neither this process nor the server has a watch of the test's database open."""
        if self.list_watches():
            return False
        pipeline = [{"$currentOp": {"idleCursors": True, "allUsers": True}}]
        cursor: Any = current_hub().mongo.admin.aggregate(pipeline)
        cursor = await cursor if asyncio.iscoroutine(cursor) else cursor
        operations = await cursor.to_list(None)
        return not any(
            self.name in operation.get("ns", "")
            and "changeStream" in str(operation.get("cursor", operation.get("command")))
            for operation in operations
        )

    async def forget(self) -> None:
        """Drop this process's connections and caches, as if it had been started anew."""
        await backtest_mongo.close()


class ServerlessDeployment(Deployment):
    """A place without a server, which the registry points at."""

    async def configure(self, **settings: Any) -> None:
        backtest_mongo.set_config(**settings)

    async def collection(self, spec: SlotSpec) -> Any:
        raise NotImplementedError

    async def cached(self, redis_key: str) -> str | None:
        raise NotImplementedError


@dataclass
class FileDeployment(ServerlessDeployment):
    """A directory of files, in the same place. It has no ``_id``, ``createDate`` and ``updatedDate``, and no cache."""

    root: Path

    async def rows(self, spec: SlotSpec, **query: Any) -> list[dict[str, Any]]:
        if query:
            found = await uniform.ADAPTERS[spec.name]._store().find(tuple(query.values()))
            return [] if found is None else [found]
        rows = []
        for path in sorted(self.root.rglob("*.json")):
            metadata = path.with_name(f".{path.stem}.facts")
            known = list(json.loads(metadata.read_bytes())["payloads"].values()) if metadata.exists() else []
            payload = from_text(path.read_bytes(), get_engine_fields(spec))
            row = payload if spec.shape == "series" else {spec.field: payload}
            rows.append(row | ({"when": known[-1][0]} if spec.when else {}))
        return rows

    async def replace_payload(self, spec: SlotSpec, payload: Any) -> None:
        (path,) = self.root.rglob("*.json")
        status = path.stat()
        path.write_bytes(to_text(payload, get_engine_fields(spec)))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    async def forget(self) -> None:
        self.use()

    def use(self) -> None:
        """Point the registry and the suite at the directory."""
        persist.use_files(self.root)
        use_chosen()


@dataclass
class SQLiteDeployment(ServerlessDeployment):
    """An SQLite database, in the same place. It has no ``_id``, its dates have other names, and there is no cache."""

    path: Path

    async def rows(self, spec: SlotSpec, **query: Any) -> list[dict[str, Any]]:
        if query:
            found = await uniform.ADAPTERS[spec.name]._store().find(tuple(query.values()))
            return [] if found is None else [found]
        if spec.shape == "series":
            series = [adapter async for adapter in cast("Any", uniform.ADAPTERS[spec.name]).list_series()]
            return [row for adapter in series for row in await read_rows(adapter)]
        if not self.path.exists():
            return []
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            connection.row_factory = sqlite3.Row
            tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")]
            if spec.collection not in tables:
                return []
            rows = [dict(row) for row in connection.execute(f'SELECT * FROM "{spec.collection}"')]
        flags = {"removed": bool} | dict.fromkeys({"backtest"} & {*spec.key}, bool)
        kinds: dict[str, Any] = {spec.field: from_json, **flags}
        return [{name: kinds.get(name, lambda held: held)(value) for name, value in row.items()} for row in rows]

    async def delete_rows(self, spec: SlotSpec, **query: Any) -> None:
        where = " AND ".join(f"{name}=?" for name in query) or "1"
        with contextlib.closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute(f'DELETE FROM "{spec.collection}" WHERE {where}', tuple(query.values()))

    async def replace_payload(self, spec: SlotSpec, payload: Any) -> None:
        with contextlib.closing(sqlite3.connect(self.path)) as connection, connection:
            done = connection.execute(f'UPDATE "{spec.collection}" SET "{spec.field}"=?', (to_json(payload),))
            assert done.rowcount == 1

    async def read_clock(self) -> float:
        return time.time() * 1000

    def list_watches(self) -> list[Any]:
        return list(get_database(os.path.realpath(self.path)).watcher.watches)

    async def has_no_watch(self) -> bool:
        return not self.list_watches()

    async def forget(self) -> None:
        await backtest_mongo.close()

    def use(self) -> None:
        """Point the registry and the suite at the database."""
        persist.use_sqlite(self.path)
        use_chosen()


async def read_rows(series: Any) -> list[dict[str, Any]]:
    """Return the candles of a series, read as a frame."""
    frame = await series.read_frame(as_="numpy")
    columns = [frame["timestamp"].astype("int64"), *(column for name, column in frame.items() if name != "timestamp")]
    return [dict(zip(frame, row, strict=True)) for row in zip(*(column.tolist() for column in columns), strict=True)]


def use_chosen() -> None:
    """Run the suite on what the registry has chosen."""
    uniform.ADAPTERS = {spec.name: cast("type[Adapter]", persist._get_implementation(spec)) for spec in SLOTS}


# Dropping a database as a whole takes a replica set a tenth of a second, and each of thousands of tests has one.


@pytest.fixture
async def fresh(deployment: Deployment, unique: str) -> AsyncIterator[dict[str, Any]]:
    """The configuration of another, empty database."""
    config = deployment.config
    name = f"{unique}-other"
    yield {**config, "CC_MONGO_CONNECTION_STRING": config["CC_MONGO_CONNECTION_STRING"].replace(unique, name)}
    await drop_database(name)


async def drop_database(name: str) -> None:
    """Drop a test's database through the library's connections, collection by collection."""
    client = await backtest_mongo.get_mongo()
    for collection in await client[name].list_collection_names():
        try:
            await client[name].drop_collection(collection)
        except pymongo.errors.PyMongoError as error:
            if not error.timeout:
                raise
            # A transaction that a killed process has left open locks it.
            await client.admin.command("killAllSessions", [])
            await client[name].drop_collection(collection)


def drop_with(client: pymongo.MongoClient[dict[str, Any]], name: str) -> None:
    """Drop a test's database through another client, collection by collection."""
    for collection in client[name].list_collection_names():
        client[name].drop_collection(collection)


@pytest.fixture
async def deployment(
    config: dict[str, Any], unique: str, driver: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Deployment]:
    if driver in SERVERLESS:
        monkeypatch.setattr(uniform, "ADAPTERS", uniform.ADAPTERS)  # as it is, it comes back
        serverless: FileDeployment | SQLiteDeployment
        if driver == FILES:
            serverless = FileDeployment(config, unique, tmp_path)
        else:
            serverless = SQLiteDeployment(config, unique, tmp_path / "backtest.db")
        serverless.use()
        yield serverless
        await backtest_mongo.close()
        return
    await backtest_mongo.setup(config)
    yield Deployment(config, unique)
    await backtest_mongo.setup(config)
    await drop_database(unique)
    await backtest_mongo.close()


@pytest.fixture(scope="session")
def _failing_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FailingServer]:
    with failing_server(tmp_path_factory.mktemp("failing")) as server:
        yield server


@pytest.fixture
def failing(_failing_server: FailingServer, unique: str) -> Iterator[FailingServer]:
    """A replica set of one that fails on demand, and does no more after the test."""
    yield _failing_server
    _failing_server.end()
    drop_with(_failing_server.client, unique)


@pytest.fixture
def failing_config(failing: FailingServer, servers: dict[str, Any], driver: str, unique: str) -> dict[str, Any]:
    """The configuration of a fresh database there."""
    return {**servers, "CC_MONGO_CONNECTION_STRING": failing.uri(unique), "CC_MONGO_DRIVER": driver}


@pytest.fixture
async def on_failing(
    failing: FailingServer, failing_config: dict[str, Any], unique: str
) -> AsyncIterator[FailingServer]:
    """The same, with the library set up on it."""
    await backtest_mongo.setup(failing_config)
    yield failing
    failing.end()
    await failing.until_idle()
    await backtest_mongo.close()


@pytest.fixture
async def closing() -> AsyncIterator[None]:
    """Close the library's connections after the test."""
    yield
    await backtest_mongo.close()


class Counts(dict[str, int]):
    """Operations by kind; a difference names only those that there were."""

    def __sub__(self, other: Counts) -> Counts:
        return Counts({name: count - other[name] for name, count in self.items() if count - other[name]})


async def operations() -> Counts:
    """Return how many operations of each kind the server has carried out.

    The first write of a session makes the server carry out two queries of its own, and which session a write gets
    depends on which requests were under way at once before.
    """
    status = await current_hub().mongo.admin.command("serverStatus")
    return Counts({name: status["opcounters"][name] for name in ("insert", "query", "update", "delete", "getmore")})


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the collector of cycles away from tests, of which there are tens of thousands, all of them in use.

    While they are made it would take longer than to make them, and later it would go through them again and again.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)  # before ``-m`` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is left to another run, where either driver would do.

    Of two Pythons in a row each takes one driver. One Python runs what is heavy: there each driver takes about half of
    the tests, drawn by their names, so that both of them meet every kind of test. What hardly depends on the Python
    version, but may depend on the driver, is left to the first Python where it doesn't run on PyMongo's asyncio client.

    Of the runs without a server those are left out that would only seal candles in another way.
    """
    items[:] = [item for item in items if _is_there(item)]
    drivers = [_split_driver(item) for item in items]
    found = set(drivers)
    for item, (name, driver) in zip(items, drivers, strict=True):
        marked = item.get_closest_marker
        if marked("two_pythons") and driver != DRIVERS[1]:
            item.add_marker(pytest.mark.one_python)
        if not driver or not marked("either_driver") or marked("both_drivers"):
            continue
        spared = DRIVERS[(zlib.crc32(name.encode()) if marked("heavy") else sys.version_info.minor) % 2]
        if driver == spared and (not marked("heavy") or all((name, one) in found for one in DRIVERS)):
            item.add_marker(pytest.mark.other_driver)


def _split_driver(item: pytest.Item) -> tuple[str, str]:
    """Return the name of a test without its driver, and the driver, empty if it has none."""
    driver = item.callspec.params.get("driver") if hasattr(item, "callspec") else None
    name, _, ids = item.nodeid.rstrip("]").partition("[")
    if driver not in DRIVERS:
        return item.nodeid, ""
    parts = ids.split("-")
    parts.remove(driver)
    return f"{name}[{'-'.join(parts)}]", driver


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test one run per driver and storage, and per slot: of all, or of the shapes that ``shapes`` names.

    What goes over candles runs once for each way of sealing them.
    """
    marks = metafunc.definition.iter_markers("parametrize")
    is_given = hasattr(metafunc.module, "driver") or any("driver" in mark.args[0] for mark in marks)
    if "driver" in metafunc.fixturenames and not is_given:
        metafunc.parametrize("driver", (*DRIVERS, *_serverless(metafunc)), indirect=True)
    stores = "candle_blocks" in metafunc.fixturenames
    ways = BLOCKS[:-1] if metafunc.definition.get_closest_marker("in_rows") else BLOCKS
    if "spec" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("shapes")
        specs = [spec for spec in SLOTS if marker is None or spec.shape in marker.args]
        only = metafunc.definition.get_closest_marker("slots")
        if only is not None:
            specs = [spec for spec in specs if all(getattr(spec, name) for name in only.args)]
        if not stores:
            metafunc.parametrize("spec", specs, ids=[spec.name for spec in specs])
            return
        runs = [(spec, way) for spec in specs for way in (ways if spec.shape == "series" else BLOCKS[:1])]
        ids = [spec.name if way == BLOCKS[0] else f"{spec.name}-{way}" for spec, way in runs]
        metafunc.parametrize(("spec", "candle_blocks"), runs, ids=ids, indirect=["candle_blocks"])
    elif stores and metafunc.module.__name__ in ("tests.contract.test_candles", "tests.contract.test_golden"):
        metafunc.parametrize("candle_blocks", ways, indirect=True)
    elif stores and metafunc.module.__name__ in IN_BLOCKS_TOO and BLOCKS[-1] in ways:
        metafunc.parametrize("candle_blocks", (BLOCKS[0], BLOCKS[-1]), indirect=True)


def _serverless(metafunc: pytest.Metafunc) -> tuple[str, ...]:
    """Return the storages without a server that a test also runs on."""
    marked = metafunc.definition.get_closest_marker
    if "deployment" not in metafunc.fixturenames or marked("mongodb"):
        return ()
    return SERVERLESS if marked("files") else SERVERLESS_TOO.get(metafunc.module.__name__, ())


def _is_there(item: pytest.Item) -> bool:
    """Tell whether a run is one that there is: without a server, candles are sealed in one way."""
    params = item.callspec.params if hasattr(item, "callspec") else {}
    return params.get("driver") not in SERVERLESS or params.get("candle_blocks", BLOCKS[0]) == BLOCKS[0]
