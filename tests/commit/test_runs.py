"""The name of a run in the rows that it writes, on MongoDB by both drivers and on SQLite."""

from __future__ import annotations

import pytest

from backtest_mongo import (
    SlotSpec,
    lease,
    set_config,
    transaction,
)
from tests.conftest import Deployment
from tests.support import uniform
from tests.support.runs import list_runs
from tests.support.uniform import WHEN, entry, payload, write

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]

#: All but candles, which have no place for it.
ROWS = pytest.mark.shapes("document", "entry", "collection", "bucket")


@ROWS
async def test_row_carries_the_innermost_name(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)

    async def write_one(number: int) -> str | None:
        await write(adapter, payload(spec, number), key)
        return await list_runs(deployment, spec) == [None]

    await write(adapter, payload(spec, 0), key)
    assert await list_runs(deployment, spec) == [None]
    set_config(CC_RUN="configured")
    await write(adapter, payload(spec, 1), key)
    assert await list_runs(deployment, spec) == ["configured"]
    async with transaction(when=WHEN, run="block"):
        await write(adapter, payload(spec, 2), key)
    assert await list_runs(deployment, spec) == ["block"]
    async with lease(adapter, run="leased"):
        await write(adapter, payload(spec, 3), key)
        assert await list_runs(deployment, spec) == ["leased"]
        async with transaction(when=WHEN):
            await write(adapter, payload(spec, 4), key)
        assert await list_runs(deployment, spec) == ["leased"]
        async with transaction(when=WHEN, run="within"), transaction(run=None):
            await write(adapter, payload(spec, 5), key)
        assert await list_runs(deployment, spec) == ["within"]
    async with transaction(when=WHEN):
        await write(adapter, payload(spec, 6), key)
    assert await list_runs(deployment, spec) == ["configured"]
    set_config(CC_RUN=None)
    await write(adapter, payload(spec, 7), key)
    assert await list_runs(deployment, spec) == [None]
