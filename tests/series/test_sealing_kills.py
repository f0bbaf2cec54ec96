"""Processes that seal one series at once and are killed in the middle, while late candles are written."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys

import pytest

from backtest_mongo import CandleAdapter
from backtest_mongo.connection.hub_registry import current_hub
from tests.conftest import Deployment, tiny_blocks
from tests.support.uniform import candles

pytestmark = pytest.mark.heavy

ROWS = 200
KILLS = 5


async def test_sealers_that_are_killed_hide_no_candle(
    deployment: Deployment, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_blocks(monkeypatch)
    chance = random.Random(7)
    series = CandleAdapter("BTCUSDT", "1m", unique)
    rows = candles(ROWS)
    late = chance.sample(rows, ROWS // 2)
    await series.write_candles_data([row for row in rows if row not in late])
    stored = sorted(row["timestamp"] for row in rows if row not in late)
    command = [sys.executable, "-m", "tests.support.sealing_worker", json.dumps(deployment.config)]
    command += [str(argument) for argument in series.context.values()]
    blocks = current_hub().database["candle-blocks"]
    for _ in range(KILLS):
        sealers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]  # noqa: ASYNC220  # it is awaited below
        try:
            for sealer in sealers:
                assert sealer.stdout is not None
                assert await asyncio.to_thread(sealer.stdout.readline) == b"sealing\n"
            for row in [late.pop() for _ in range(ROWS // 2 // KILLS)]:
                assert await series.write_candles_data([row]) == 1
                stored = sorted([*stored, row["timestamp"]])
                # Its write has returned, so every reader finds it, and all that was there before.
                frame = await series.read_frame(0, ROWS * 60_000, as_="numpy")
                assert frame["timestamp"].astype(int).tolist() == stored
            while not await blocks.find_one({"rows": {"$gt": 0}}):
                pass  # they are killed at work, however slow the machine is
        finally:
            for sealer in sealers:
                sealer.kill()
                await asyncio.to_thread(sealer.wait)
                assert sealer.stdout is not None
                sealer.stdout.close()
        assert (await series.verify()).damaged == {}
    assert await series.read_candles_data(ROWS, 0) == rows
    while (await series.sealed()).rows < ROWS:  # the server may still carry out what a killed process has sent
        await series.seal()
    assert await series.read_candles_data(ROWS, 0) == rows
