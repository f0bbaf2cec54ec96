"""Processes that are killed while they seal a series, or fill one.

In three rounds; ``BACKTEST_SEALING_KILLS=25`` gives the long form.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from functools import partial
from typing import Any, Final

import pytest

from backtest_mongo import CandleAdapter
from backtest_mongo.connection.hub_registry import current_hub
from tests.conftest import Deployment, tiny_blocks
from tests.support.sealing_worker import FILLED
from tests.support.uniform import candles

pytestmark = pytest.mark.heavy

ROWS = 200
KILLS: Final = int(os.environ.get("BACKTEST_SEALING_KILLS", "3"))


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
    command = [sys.executable, "-m", "tests.support.sealing_worker", "seal", json.dumps(deployment.config)]
    command += [str(argument) for argument in series.context.values()]
    blocks = current_hub().database["candle-blocks"]
    for attempt in range(KILLS):
        sealers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]  # noqa: ASYNC220  # it is awaited below
        try:
            for sealer in sealers:
                assert sealer.stdout is not None
                assert await asyncio.to_thread(sealer.stdout.readline) == b"sealing\n"
            for row in late[attempt::KILLS]:
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


async def test_writers_that_are_killed_while_they_fill_a_series_leave_no_block_that_lacks_a_candle(
    deployment: Deployment, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of them fill the same series, and what they leave of each is what its rows are."""
    tiny_blocks(monkeypatch)
    chance = random.Random(11)
    database = current_hub().database
    rows = database[CandleAdapter.spec.collection]
    current_operations = partial(database.client.admin.command, "currentOp")

    def is_writing(operation: dict[str, Any]) -> bool:
        return str(operation.get("ns")).startswith(f"{database.name}.")

    for attempt in range(KILLS):
        exchange = f"{unique}-{attempt}"
        arguments = ["fill", json.dumps(deployment.config), "BTCUSDT", "1m", exchange]
        command = [sys.executable, "-m", "tests.support.sealing_worker", *arguments]
        writers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]  # noqa: ASYNC220  # it is awaited below
        begun = 0
        try:
            for number in range(3):
                for writer in writers:
                    assert writer.stdout is not None
                    assert await asyncio.to_thread(writer.stdout.readline) == f"{number}\n".encode()
            await asyncio.sleep(chance.random() / 50)
        finally:
            for writer in writers:
                writer.kill()
                assert writer.stdout is not None
                begun = max(begun, *map(int, (await asyncio.to_thread(writer.stdout.read)).split()), 2)
                await asyncio.to_thread(writer.wait)
                writer.stdout.close()
        # The server still carries out what a killed process has sent.
        while any(is_writing(operation) for operation in (await current_operations())["inprog"]):  # noqa: ASYNC110  # the server sets no event
            await asyncio.sleep(0.02)
        for number in range(begun + 1):
            series = CandleAdapter("BTCUSDT", "1m", f"{exchange}-{number}")
            await series.write_candles_data(candles(FILLED, price=5.0)[FILLED // 2 :])
            assert (await series.verify()).damaged == {}
            found = await rows.find({"exchangeName": f"{exchange}-{number}"}).sort("timestamp", 1).to_list(None)
            frame = await series.read_frame(as_="numpy")
            assert frame["timestamp"].astype(int).tolist() == [row["timestamp"] for row in found]
            assert frame["open"].tolist() == [row["open"] for row in found]
            assert len(found) >= (FILLED if number < 2 else FILLED - FILLED // 2)


async def test_movers_that_are_killed_lose_nothing_and_double_nothing(
    deployment: Deployment, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_blocks(monkeypatch)
    chance = random.Random(13)
    series = CandleAdapter("BTCUSDT", "1m", unique)
    rows = candles(ROWS // 4)
    await series.write_candles_data(rows[::2])
    command = [sys.executable, "-m", "tests.support.sealing_worker", "move", json.dumps(deployment.config)]
    command += [str(argument) for argument in series.context.values()]
    expected, late = rows[::2], rows[1::2]
    database = current_hub().database
    for _ in range(KILLS):
        movers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]  # noqa: ASYNC220  # it is awaited below
        try:
            for mover in movers:
                assert mover.stdout is not None
                assert await asyncio.to_thread(mover.stdout.readline) == b"moving\n"
            for row in [late.pop() for _ in range(2)]:
                assert await series.write_candles_data([row]) == 1
                expected = sorted([*expected, row], key=lambda one: one["timestamp"])
                frame = await series.read_frame(as_="numpy")
                assert frame["timestamp"].astype(int).tolist() == [one["timestamp"] for one in expected]
            await asyncio.sleep(chance.random() / 5)
        finally:
            for mover in movers:
                mover.kill()
                await asyncio.to_thread(mover.wait)
                assert mover.stdout is not None
                mover.stdout.close()
        frame = await series.read_frame(as_="numpy")
        assert frame["timestamp"].astype(int).tolist() == [one["timestamp"] for one in expected]
        assert (await series.coverage()).rows == len(expected)
        assert (await series.verify()).damaged == {}
    await database.client.admin.command("killAllSessions", [])
    await series.move_to_blocks()
    assert await database["candle-items"].count_documents({}) == 0
    await series.move_to_rows()
    found = await database["candle-items"].find().sort("timestamp", 1).to_list(None)
    assert [row["timestamp"] for row in found] == [one["timestamp"] for one in expected]
