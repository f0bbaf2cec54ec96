"""Databases that keep versions."""

from __future__ import annotations

import pytest

from backtest_mongo import SLOTS
from tests.conftest import Deployment

#: Every slot that can keep versions, as ``CC_HISTORY`` names them.
NAMES = ",".join(spec.name for spec in SLOTS if not spec.immutable)


@pytest.fixture
async def kept(deployment: Deployment) -> Deployment:
    """A database that keeps the versions of every slot."""
    await deployment.configure(CC_HISTORY=NAMES)
    return deployment
