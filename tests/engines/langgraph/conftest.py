"""The storages of LangGraph's checkpoints, for graphs that are awaited and for all others.

The tests need langgraph, so they are collected only where it is installed: by ``nox -s engines-langgraph``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import persist, setup, sync

if find_spec("langgraph") is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
async def storage(driver: str, config: dict[str, Any], tmp_path: Path) -> AsyncIterator[str]:
    """The name of the storage that the registry points at."""
    if driver == "sqlite":
        persist.use_sqlite(tmp_path / "backtest.db")
    else:
        await setup(config)
    yield driver
    await backtest_mongo.close()


@pytest.fixture
def sync_storage(driver: str, config: dict[str, Any], tmp_path: Path) -> Iterator[str]:
    """The same, without an event loop."""
    if driver == "sqlite":
        sync.persist.use_sqlite(tmp_path / "backtest.db")
    else:
        sync.setup(config)
    yield driver
    sync.close()
