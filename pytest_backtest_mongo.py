"""The pytest plugin's hooks and fixtures: all that pytest loads of it until a test asks for one.

It is next to the package because importing a module of the package imports all of it, drivers included. So a run that
uses none of the fixtures pays nothing, and coverage misses nothing. `backtest_mongo.testing.plugin` does the work.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from backtest_mongo.testing import BacktestServers, BacktestStore

__all__ = [
    "backtest_dummy",
    "backtest_files",
    "backtest_servers",
    "backtest_sqlite",
    "backtest_store",
    "pytest_addoption",
    "pytest_configure",
    "pytest_load_initial_conftests",
    "pytest_runtest_protocol",
]

_DRIVERS = ("motor", "pymongo")
_FIXTURES = frozenset({"backtest_dummy", "backtest_files", "backtest_servers", "backtest_sqlite", "backtest_store"})


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("backtest-mongo")
    group.addoption("--backtest-driver", choices=_DRIVERS, help="MongoDB driver of backtest_store (CC_MONGO_DRIVER).")
    parser.addini("backtest_driver", "MongoDB driver of backtest_store: motor or pymongo.", default="")


def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    """Load the plugin of the conformance suite if the command line names the suite.

    Its conftest could not do this: with ``--pyargs`` it would be found after the options are read.
    """
    if any(re.search(r"backtest_mongo[./\\]testing[./\\]conformance", argument) for argument in args):
        early_config.pluginmanager.import_plugin("backtest_mongo.testing.conformance.plugin")


def pytest_configure(config: pytest.Config) -> None:
    if config.getini("backtest_driver") not in ("", *_DRIVERS):
        raise pytest.UsageError(f"backtest_driver must be {' or '.join(_DRIVERS)}")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, None, None]:
    """Keep a test that uses one of the fixtures, and its other fixtures, from writing to ``./backtest.db``."""
    if _FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
        yield
        return
    from backtest_mongo.testing.plugin import refuse_default_database

    with refuse_default_database():
        yield


@pytest.fixture(scope="session")
def backtest_servers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BacktestServers]:
    """Give MongoDB and Redis for the whole run: those that ``CC_*`` variables name, otherwise embedded ones.

    The workers of pytest-xdist share them, each with its own Redis database. Embedded servers end with the run,
    whatever ends it.
    """
    from backtest_mongo.testing.plugin import provide_servers

    worker = getattr(request.config, "workerinput", {}).get("workerid", "")
    # The parent of a worker's directory belongs to the run.
    with provide_servers(worker, tmp_path_factory.getbasetemp().parent) as found:
        yield found


@pytest.fixture
def backtest_store(request: pytest.FixtureRequest, backtest_servers: BacktestServers) -> Iterator[BacktestStore]:
    """Set the library up on a fresh database; the test needs no ``setup()`` and no ``close()``.

    Afterwards configuration and registry are put back, and the connections of every event loop are closed. As the
    fixture is not a coroutine, it serves tests of pytest-asyncio in either mode, tests of anyio on asyncio, and tests
    that call ``asyncio.run``.
    """
    from backtest_mongo.testing.plugin import provide_store

    driver = request.config.getoption("--backtest-driver") or request.config.getini("backtest_driver")
    with provide_store(backtest_servers, driver) as fresh:
        yield fresh


@pytest.fixture
def backtest_sqlite(tmp_path: Path) -> Iterator[Path]:
    """Make ``persist`` store in an SQLite database of the test's own, and give its path. No server is needed."""
    from backtest_mongo.testing.plugin import provide_sqlite

    with provide_sqlite(tmp_path / "backtest.db") as path:
        yield path


@pytest.fixture
def backtest_files(tmp_path: Path) -> Iterator[Path]:
    """Make ``persist`` store in files below the test's own directory, and give its path. No server is needed."""
    from backtest_mongo.testing.plugin import provide_files

    with provide_files(tmp_path / "dump") as directory:
        yield directory


@pytest.fixture
def backtest_dummy() -> Iterator[None]:
    """Make ``persist`` give adapters that check input and store nothing. No server is needed."""
    from backtest_mongo.testing.plugin import provide_dummies

    with provide_dummies():
        yield
