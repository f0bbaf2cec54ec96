"""Candles on each storage.

The tests of an engine are collected where it is installed: by ``nox -s engines-backtesters``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from backtest_mongo import sync
from tests.conftest import on_database

ENGINES = ("backtesting", "backtrader", "jesse", "vectorbt", "zipline")

collect_ignore = [f"test_{engine}.py" for engine in ENGINES if find_spec(engine) is None]


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Import the engine of a module before it does: what warns then is the engine's own, and here no error."""
    engine = collector.name.removeprefix("test_").removesuffix(".py")
    if isinstance(collector, pytest.Module) and engine in ENGINES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import_module(engine)


@pytest.fixture(params=["mongodb", "sqlite"])
def storage(request: pytest.FixtureRequest, unique: str, tmp_path: Path) -> Iterator[str]:
    """The registry points at a storage of the test's own."""
    if request.param == "sqlite":
        sync.persist.use_sqlite(tmp_path / "backtest.db")
    else:
        servers = request.getfixturevalue("servers")
        uri = on_database(servers["CC_MONGO_CONNECTION_STRING"], unique)
        sync.setup({**servers, "CC_MONGO_CONNECTION_STRING": uri})
    yield request.param
    sync.close()
