"""A process that seals a series over and over, until it is killed; run by test_sealing_kills.py.

Reads the configuration and the series from its arguments, prints a line once it has begun, and drops what it has sealed
whenever there is nothing left to seal.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import pytest

from backtest_mongo import CandleAdapter, setup
from backtest_mongo.connection.hub_registry import current_hub
from tests.conftest import tiny_blocks


async def seal_for_ever(config: dict[str, Any], context: list[Any]) -> None:
    async with setup(config):
        series = CandleAdapter(*context)
        blocks = current_hub().database["candle-blocks"]
        print("sealing", flush=True)
        while True:
            await series.seal()
            await blocks.delete_many({})


if __name__ == "__main__":
    tiny_blocks(pytest.MonkeyPatch())
    asyncio.run(seal_for_ever(json.loads(sys.argv[1]), sys.argv[2:]))
