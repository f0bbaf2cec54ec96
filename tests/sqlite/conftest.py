"""A database for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import backtest_mongo
from backtest_mongo import persist


@pytest.fixture
async def path(tmp_path: Path) -> AsyncIterator[Path]:
    """Where the database is that the registry has chosen; nothing is there yet."""
    path = tmp_path / "backtest.db"
    persist.use_sqlite(path)
    yield path
    await backtest_mongo.close()
