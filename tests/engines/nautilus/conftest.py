"""The storages of Nautilus' checkpoints and market data.

The tests need nautilus_trader, so they are collected only where it is installed: by ``nox -s engines-nautilus``.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from backtest_mongo import sync
from backtest_mongo.sync import persist

collect_ignore_glob = [] if find_spec("nautilus_trader") else ["test_*.py", "support.py", "worker.py"]


@pytest.fixture
def storage(driver: str, config: dict[str, Any], tmp_path: Path) -> Iterator[str]:
    """The name of the storage that the registry points at."""
    if driver == "sqlite":
        persist.use_sqlite(tmp_path / "backtest.db")
    else:
        sync.setup(config)
    yield driver
    sync.close()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[None]:
    """The registry points at an SQLite file."""
    persist.use_sqlite(tmp_path / "backtest.db")
    yield
    sync.close()
