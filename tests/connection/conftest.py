"""Fixtures of the tests of connections."""

from __future__ import annotations

import pytest

from tests.support.batches import Requests


@pytest.fixture
def requests() -> Requests:
    return Requests()
