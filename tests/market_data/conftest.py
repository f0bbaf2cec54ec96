"""Fixtures of the tests of market data."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def downloads(request: pytest.FixtureRequest) -> Path:
    """A directory for packages that pytest keeps between runs."""
    assert request.config.cache is not None
    return request.config.cache.mkdir("packages")
