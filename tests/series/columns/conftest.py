"""Fixtures of the tests of how series with columns are stored in MongoDB."""

from __future__ import annotations

from typing import Final

import pytest

from tests.conftest import Deployment
from tests.support.column_stores import FIRST, LAST, crowd, shrink

#: A slot, and whether several of its rows have one time, which is then divided among blocks.
CROWDED: Final = "crowded"
STORED: Final = [(FIRST, ""), (LAST, "")]


@pytest.fixture
async def tiny(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of four rows, on a database of its own."""
    shrink(monkeypatch)


@pytest.fixture
def times(tiny: None, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of four rows; where the times are crowded, of three, and fewer than there are of one time."""
    if getattr(request, "param", "") == CROWDED:
        crowd(monkeypatch)


@pytest.fixture
def slot(request: pytest.FixtureRequest) -> str:
    return str(request.param)
