"""What is imported when: numpy and pcodec are required for candles, and cost nobody else anything."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from typing import Any

import pymongo
import pytest

from tests.conftest import drop_with
from tests.support.deadlines import PROCESS_SECONDS

pytestmark = pytest.mark.either_driver

SCRIPT = """
    import asyncio, json, sys
    from backtest_mongo import CandleAdapter, SignalAdapter, StateAdapter, setup, wait_for_init

    def loaded():
        return sorted({"numpy", "pcodec"} & set(sys.modules))

    async def main():
        async with setup(json.loads(sys.argv[1])):
            await wait_for_init()
            state, signal = StateAdapter(sys.argv[2], "s"), SignalAdapter("BTCUSDT", sys.argv[2], "binance")
            await asyncio.gather(state.write_state_data({"n": 1}, 0), signal.write_signal_data({"n": 1}))
            await StateAdapter.read_many([(sys.argv[2], name) for name in "abs"])
            await asyncio.gather(state.read_state_data(), signal.read_signal_data())
            before = loaded()
            rows = [
                {"timestamp": 60_000 * n, "open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5, "volume": n + 1.0}
                for n in range(5_000)
            ]
            series = CandleAdapter("BTCUSDT", "1m", sys.argv[2])
            assert await series.write_candles_data(rows) == 5_000
            assert await series.read_candles_data(5_000, 0) == rows
            print(json.dumps([before, loaded()]))

    asyncio.run(main())
"""


def test_numpy_and_pcodec_are_imported_when_candles_are_first_used(config: dict[str, Any], unique: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), json.dumps(config), unique],
        capture_output=True,
        text=True,
        timeout=PROCESS_SECONDS,
        check=False,
    )
    with pymongo.MongoClient[dict[str, Any]](config["CC_MONGO_CONNECTION_STRING"]) as client:
        drop_with(client, unique)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == [[], ["numpy", "pcodec"]]
