"""A database, and forks of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.conftest import Deployment
from tests.support.forks import Forks


@pytest.fixture
async def forks(deployment: Deployment, unique: str) -> AsyncIterator[Forks]:
    """The test's database without history, and forks of it."""
    made = Forks(deployment, unique)
    yield made
    await made.drop_all()
