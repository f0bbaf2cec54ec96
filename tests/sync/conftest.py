"""A storage for synchronous calls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backtest_mongo import sync


@pytest.fixture
def storage(driver: str, config: dict[str, Any], tmp_path: Path) -> Iterator[str]:
    """The name of the storage that the registry points at."""
    if driver == "files":
        sync.persist.use_files(tmp_path / "dump")
    elif driver == "sqlite":
        sync.persist.use_sqlite(tmp_path / "backtest.db")
    else:
        sync.setup(config)
    yield driver
    sync.close()
