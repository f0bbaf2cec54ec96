"""The pytest plugin's hooks and fixtures: all that pytest loads of it until a test asks for one.

It stands beside the package, because importing a module of the package imports the package, drivers included: a run
that uses no fixture of it pays nothing, and coverage misses nothing. The work is in `backtest_mongo.pytest_plugin`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from backtest_mongo.pytest_plugin import BacktestServers, BacktestStore

__all__ = [
    "backtest_dummy",
    "backtest_files",
    "backtest_servers",
    "backtest_store",
    "pytest_addoption",
    "pytest_configure",
    "pytest_runtest_protocol",
]

_DRIVERS = ("motor", "pymongo")
_FIXTURES = frozenset({"backtest_dummy", "backtest_files", "backtest_servers", "backtest_store"})


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("backtest-mongo")
    group.addoption("--backtest-driver", choices=_DRIVERS, help="MongoDB driver of backtest_store (CC_MONGO_DRIVER).")
    parser.addini("backtest_driver", "MongoDB driver of backtest_store: motor or pymongo.", default="")


def pytest_configure(config: pytest.Config) -> None:
    if config.getini("backtest_driver") not in ("", *_DRIVERS):
        raise pytest.UsageError(f"backtest_driver must be {' or '.join(_DRIVERS)}")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, None, None]:
    """Keep a test that uses one of the fixtures, and all other fixtures that it uses, from files below ``./dump``."""
    if _FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
        yield
        return
    from backtest_mongo.pytest_plugin import files_on_demand

    with files_on_demand():
        yield


@pytest.fixture(scope="session")
def backtest_servers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BacktestServers]:
    """MongoDB and Redis for the whole run: those that ``CC_*`` variables name, else embedded ones.

    The workers of pytest-xdist share them, each with a Redis database of its own. They end with the run, whatever ends
    it.
    """
    from backtest_mongo.pytest_plugin import servers

    worker = getattr(request.config, "workerinput", {}).get("workerid", "")
    # The directory above a worker's own is that of the run.
    with servers(worker, tmp_path_factory.getbasetemp().parent) as found:
        yield found


@pytest.fixture
def backtest_store(request: pytest.FixtureRequest, backtest_servers: BacktestServers) -> Iterator[BacktestStore]:
    """A fresh database that the library is set up on; the test needs no ``setup()`` and no ``close()``.

    Configuration and registry are put back afterwards, and what any event loop has open is closed. It is no coroutine,
    so it serves tests of pytest-asyncio in either mode, of anyio (on asyncio), and those that call ``asyncio.run``.
    """
    from backtest_mongo.pytest_plugin import store

    driver = request.config.getoption("--backtest-driver") or request.config.getini("backtest_driver")
    with store(backtest_servers, driver) as fresh:
        yield fresh


@pytest.fixture
def backtest_files(tmp_path: Path) -> Iterator[Path]:
    """Make ``persist`` store in files below a directory of the test's own, which it gives. No server is needed."""
    from backtest_mongo.pytest_plugin import files

    with files(tmp_path / "dump") as directory:
        yield directory


@pytest.fixture
def backtest_dummy() -> Iterator[None]:
    """Make ``persist`` give adapters that check input and store nothing: no server is needed."""
    from backtest_mongo.pytest_plugin import dummies

    with dummies():
        yield
