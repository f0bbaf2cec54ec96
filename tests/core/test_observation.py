"""The hooks of telemetry: where the numbers of this process come from."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from backtest_mongo.connection.hub_registry import known_hubs, sum_counts
from backtest_mongo.core import observation
from backtest_mongo.core.counters import SlotCounts

pytestmark = pytest.mark.one_python


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    observation.set_loop_source(known_hubs, sum_counts)


def test_numbers_come_from_the_source_that_was_set_last() -> None:
    loop = asyncio.new_event_loop()
    shown: Any = object()
    counts = {"state": SlotCounts()}
    observation.set_loop_source(lambda: {loop: shown}, lambda: counts)
    assert observation.get_observed_loops() == {loop: shown}
    assert observation.get_total_counts() is counts
    observation.set_loop_source(dict, dict)
    assert (observation.get_observed_loops(), observation.get_total_counts()) == ({}, {})
    loop.close()
