"""Series with columns on a standalone MongoDB, which has no transactions: all rows stay in the tail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import setup
from faults.topology import Mongod, temporary_directory
from tests.support.column_stores import FIRST, LAST, Process, number, shrink

pytestmark = pytest.mark.either_driver

A, B = 1_000.0, 2_000.0


@pytest.fixture(scope="module")
def standalone() -> Iterator[Mongod]:
    with temporary_directory() as directory:
        server = Mongod(directory / "standalone")
        server.start()
        yield server
        server.stop(kill=True)


@pytest.fixture
async def alone(
    standalone: Mongod, servers: dict[str, Any], driver: str, unique: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[None]:
    shrink(monkeypatch)
    await setup({**servers, "CC_MONGO_CONNECTION_STRING": standalone.uri(unique), "CC_MONGO_DRIVER": driver})
    yield
    await backtest_mongo.close()


@pytest.mark.parametrize("slot", [FIRST, LAST])
async def test_everything_works_and_sealing_removes_nothing(alone: None, slot: str) -> None:
    process = Process(slot, "BTCUSDT")
    rows = number(range(0, 40, 2), A)
    assert await process.write(rows) == 20
    assert await process.write({4: B, 5: B}) == (1 if slot == FIRST else 2)
    rows |= {5: B} if slot == FIRST else {4: B, 5: B}
    await process.check(rows)
    await process.seal()
    await process.check(rows)
    size = await process.store.size(process.context)
    assert (size.blocks, size.block_rows) == (0, 0)
    assert size.tail_rows == (21 if slot == FIRST else 22)
    assert await process.delete(4, 10) == (4 if slot == FIRST else 5)
    await process.check({time: value for time, value in rows.items() if not 4 <= time < 10})
    assert (await process.store.delete_some(process.context, ()))[0] == 17
    await process.check({})
    assert [context async for context in process.store.list_contexts()] == []
