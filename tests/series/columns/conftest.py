"""Fixtures of the tests of how series with columns are stored in MongoDB."""

from __future__ import annotations

import pytest

from tests.conftest import Deployment
from tests.support.column_stores import shrink


@pytest.fixture
async def tiny(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of four rows, on a database of its own."""
    shrink(monkeypatch)
