"""A process that seals until it is killed; run by test_sealing_kills.py.

Reads what it does, the configuration and a series from its arguments, and prints lines. ``seal``: seals the series over
and over, and drops what it has sealed whenever there is nothing left to seal. ``fill``: fills one series of the
exchange after another, and prints the number of each that it begins. ``move``: moves the series from rows to blocks and
back, over and over.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from contextlib import suppress
from typing import Any

import pytest

from backtest_mongo import CandleAdapter, setup
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.errors import StoreError
from tests.conftest import tiny_blocks
from tests.support.uniform import candles

#: Candles of a series that is filled.
FILLED = 150


async def seal_for_ever(config: dict[str, Any], context: list[Any]) -> None:
    async with setup(config):
        series = CandleAdapter(*context)
        blocks = current_hub().database["candle-blocks"]
        print("sealing", flush=True)
        while True:
            await series.seal()
            await blocks.delete_many({})


async def fill_for_ever(config: dict[str, Any], context: list[Any]) -> None:
    async with setup(config):
        symbol, interval, exchange = context
        for number in itertools.count():
            print(number, flush=True)
            await CandleAdapter(symbol, interval, f"{exchange}-{number}").write_candles_data(candles(FILLED))


async def move_for_ever(config: dict[str, Any], context: list[Any]) -> None:
    async with setup(config):
        series = CandleAdapter(*context)
        print("moving", flush=True)
        while True:
            await series.move_to_blocks()
            with suppress(StoreError):  # another moves them into blocks again
                await series.move_to_rows()


if __name__ == "__main__":
    tiny_blocks(pytest.MonkeyPatch())
    work, config, *context = sys.argv[1:]
    asyncio.run(
        {"seal": seal_for_ever, "fill": fill_for_ever, "move": move_for_ever}[work](json.loads(config), context)
    )
