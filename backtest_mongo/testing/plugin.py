"""What the fixtures of the pytest plugin do; `pytest_backtest_mongo` declares them.

It uses the public API, and private parts only for what that can't do: `adapters.isolation` puts the state of the
process back, `embedded.shared` gives all workers of pytest-xdist the same servers, and `MaskedDict`, `MongoURI` and
`Config` of `core.config` keep passwords out of pytest's reports.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest

from backtest_mongo import ServerError, embedded, install, persist, set_config
from backtest_mongo.adapters.isolation import (
    LoopGuards,
    close_database,
    isolate,
    refuse_default_database,
    remove_database,
)
from backtest_mongo.core.config import Config, MaskedDict, MongoURI

__all__ = [
    "BacktestServers",
    "BacktestStore",
    "MaskedDict",
    "drop_database",
    "name_database",
    "provide_dummies",
    "provide_files",
    "provide_servers",
    "provide_sqlite",
    "provide_store",
    "refuse_default_database",
    "use_database",
]

_MONGO: Final = "CC_MONGO_CONNECTION_STRING"
#: Any of these variables names servers to use.
_NAMING: Final = (_MONGO, "CC_REDIS_URL", "CC_REDIS_HOST", "CC_REDIS_PORT")
_SERVERS: Final = (*_NAMING, "CC_REDIS_USER", "CC_REDIS_PASSWORD")

T = TypeVar("T")


@dataclass(frozen=True)
class BacktestServers:
    """The servers of a run: what ``backtest_servers`` gives.

    Attributes:
        config: what ``setup()`` needs to use them. Its ``repr`` shows no value.
        are_embedded: whether they were started for this run and hold nobody else's data.
    """

    config: MaskedDict
    are_embedded: bool


@dataclass(frozen=True)
class BacktestStore:
    """The database of one test: what ``backtest_store`` gives.

    Attributes:
        config: what ``setup()`` needs to use it. Its ``repr`` shows no value.
        database: its name, for raw access: ``(await get_mongo())[backtest_store.database]``.
        redis_prefix: the prefix of the test's own Redis keys, which are deleted with the database. The library's keys
            are the same in every database, as Node's are, and hold ids that no other database has.
    """

    config: MaskedDict
    database: str

    @property
    def redis_prefix(self) -> str:
        return f"{self.database}:"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that point another process at this database; add them to ``os.environ``."""
        return MaskedDict({name: str(value) for name, value in self.config.items()})


@contextmanager
def provide_servers(worker: str, directory: Path) -> Iterator[BacktestServers]:
    """Give the servers of a run to the process of pytest, or to a worker of pytest-xdist.

    Args:
        worker: the worker's id, and the empty string where there are no workers.
        directory: the run's temporary directory, which all workers share.
    """
    if any(os.environ.get(name) for name in _NAMING):
        # As they are now: a test may change the environment.
        named = MaskedDict({name: os.environ[name] for name in _SERVERS if os.environ.get(name)})
        default = Config.model_fields[_MONGO].default.get_secret_value()
        yield BacktestServers(MaskedDict({_MONGO: default, **named}), False)
        return
    with ExitStack() as stack:
        config, problem = {}, ""
        try:
            config = stack.enter_context(_share_servers(worker, directory) if worker else _start_servers())
        except ServerError as error:
            problem = str(error)
        if problem:  # outside the handler and without a traceback, as the test is not at fault
            others = "or name servers of yours by CC_MONGO_CONNECTION_STRING and CC_REDIS_HOST"
            pytest.fail(f"backtest_servers: {problem}; {others}", pytrace=False)
        yield BacktestServers(MaskedDict(config), True)


@contextmanager
def _start_servers() -> Iterator[dict[str, Any]]:
    with embedded.Servers() as servers:
        yield servers.config


@contextmanager
def _share_servers(worker: str, directory: Path) -> Iterator[dict[str, Any]]:
    from backtest_mongo.embedded.shared import share_servers  # which Windows can't import; it has no embedded servers

    # A worker's own Redis database can be emptied after each test, whatever the other workers do.
    with share_servers(directory / "backtest-servers", redis_database=int(worker.removeprefix("gw"))) as config:
        yield config


# With --showlocals pytest shows the variables of failed functions: what may hold a password is a MaskedDict, or a URI
# that masks itself.


@contextmanager
def provide_store(servers: BacktestServers, driver: str = "") -> Iterator[BacktestStore]:
    """Set the library up on a fresh database, and remove it at the end; without ``driver`` use the default one."""
    database = f"backtest-test-{uuid.uuid4().hex[:12]}"
    config = name_database(servers.config, database, driver)
    with isolate():
        set_config(config)
        problem = None
        try:
            with LoopGuards():
                install()
                yield BacktestStore(config, database)
        finally:
            problem = _run(drop_database(config, flush_redis=servers.are_embedded))  # by what it was set up with
        if problem:
            pytest.fail(f"backtest_store: {database} can't be removed: {problem}", pytrace=False)


def name_database(config: MaskedDict, name: str, driver: str = "") -> MaskedDict:
    """Return the configuration of a database of these servers."""
    uri = MongoURI(config[_MONGO]).with_database(name)
    chosen = {"CC_MONGO_DRIVER": driver} if driver else {}
    return MaskedDict({**config, **chosen, _MONGO: uri.get_secret_value(), "CC_CANDLE_DATABASE": ""})


@contextmanager
def use_database(config: MaskedDict) -> Iterator[None]:
    """Set the library up on a database, which stays, as do the connections."""
    with isolate():
        set_config(config)
        install()
        yield


async def drop_database(config: MaskedDict, *, flush_redis: bool) -> str | None:
    """Remove a database and what Redis knows of it; return why that failed, ``None`` if it did not."""
    with isolate():  # a test may have changed the configuration
        set_config(config)
        return await remove_database(flush_redis=flush_redis)


@contextmanager
def provide_sqlite(path: Path) -> Iterator[Path]:
    """Make ``persist`` store in an SQLite database, which is closed at the end."""
    with isolate():
        persist.use_sqlite(path)
        try:
            yield path
        finally:
            close_database(path)


@contextmanager
def provide_files(directory: Path) -> Iterator[Path]:
    """Make ``persist`` store in files below ``directory``."""
    with isolate():
        persist.use_files(directory)
        yield directory


@contextmanager
def provide_dummies() -> Iterator[None]:
    """Make ``persist`` give adapters that store nothing."""
    with isolate():
        persist.use_dummy()
        yield


def _run(work: Coroutine[Any, Any, T]) -> T:
    # Not asyncio.run, which would leave the thread without the event loop that a plugin or a test has set.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(work)
