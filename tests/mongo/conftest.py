"""Fixtures of the tests of operations on MongoDB."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Final

import pytest

import backtest_mongo
from backtest_mongo import (
    CandleAdapter,
    MeasureAdapter,
    MemoryAdapter,
    NotificationAdapter,
    SignalAdapter,
    StateAdapter,
    StorageAdapter,
    setup,
)
from faults.topology import Mongod, temporary_directory
from tests.support.failing_servers import FailingServer
from tests.support.short_deadlines import LONG_MS, shorten_deadline, until_in_time
from tests.support.uniform import candles

#: So few that what is queued waits for what is under way, however many calls the library sends at once.
CONNECTIONS: Final = 2


@pytest.fixture(scope="module")
def standalone() -> Iterator[Mongod]:
    with temporary_directory() as directory:
        server = Mongod(directory / "standalone")
        server.start()
        yield server
        server.stop(kill=True)


@pytest.fixture
async def set_deadline(
    failing: FailingServer, failing_config: dict[str, Any], unique: str
) -> AsyncIterator[Callable[[int], Coroutine[Any, Any, None]]]:
    """Set the library up with a deadline, on two connections, with the indexes of the slots that are used."""
    uri = failing.uri(unique, maxPoolSize=CONNECTIONS)
    await setup({**failing_config, "CC_MONGO_CONNECTION_STRING": uri, "CC_CANDLE_CACHE_MB": 0})
    warm = CandleAdapter("WARM", "1m", unique)  # the blocks of candles have indexes of their own

    async def prepare(deadline_ms: int) -> None:
        await setup(CC_MONGO_TIMEOUT_MS=LONG_MS)
        await warm.write_candles_data(candles(600))
        made: list[Any] = [
            StateAdapter(unique, "s"),
            SignalAdapter(unique, "s", "binance"),
            MemoryAdapter(unique, "notes"),
            MeasureAdapter(unique),
            StorageAdapter(True),
            NotificationAdapter(True),
            CandleAdapter("BTCUSDT", "1m", unique),
        ]
        await shorten_deadline(deadline_ms, *made)
        await until_in_time(warm.seal)

    yield prepare
    failing.end()
    await failing.until_idle()
    await backtest_mongo.close()
