"""A process that deletes candles and kills itself before one of its requests; run by test_deleting_candles.py.

Reads the configuration, the exchange and the number of the request from its arguments. Before each request of the
deletion it seals what can be sealed, as another process might, so that blocks of rows that are about to go are there.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any

import pytest

from backtest_mongo import CandleAdapter, setup
from backtest_mongo.mongo.collection import SlotCollection
from backtest_mongo.series import writing as series_writing
from tests.conftest import tiny_blocks


async def delete(config: dict[str, Any], exchange: str, last: int) -> None:
    async with setup(config):
        series = CandleAdapter("BTCUSDT", "1m", exchange)
        await series.wait_for_init()
        await series.seal()
        attempt, done = SlotCollection.attempt, 0

        async def count(self: SlotCollection, doing: str, *arguments: Any) -> Any:
            nonlocal done
            if doing == "deleting candles":
                if done == last:
                    os.kill(os.getpid(), signal.SIGKILL)
                done += 1
                await series.seal()
            return await attempt(self, doing, *arguments)

        SlotCollection.attempt = count  # type: ignore[assignment]
        await series.delete(2 * 60_000, 9 * 60_000)


if __name__ == "__main__":
    tiny_blocks(pytest.MonkeyPatch())
    series_writing._DELETED = 4  # type: ignore[misc]
    asyncio.run(delete(json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
