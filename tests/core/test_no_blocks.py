"""What a store without sealed blocks answers about them, and what callers of an adapter see of it."""

from __future__ import annotations

from typing import Any

import pytest

from backtest_mongo import CandleAdapter, persist
from backtest_mongo.core.interval_grid import GRIDS
from backtest_mongo.core.no_blocks import NoBlocks
from backtest_mongo.types import Sealed, SealReport, VerifyReport

pytestmark = pytest.mark.one_python

CONTEXT = ("BTCUSDT", "1m", "binance")


async def test_nothing_is_sealed_and_nothing_is_damaged() -> None:
    blocks, grid = NoBlocks(), GRIDS["1m"]
    assert [count async for count in blocks.seal(CONTEXT, grid)] == [(0, 0)]
    assert [block async for block in blocks.verify(CONTEXT, grid)] == []
    assert await blocks.reseal(CONTEXT, grid, []) == (0, 0)
    assert await blocks.count_sealed(CONTEXT, grid) == Sealed(0, 0, 0)


async def test_adapter_reports_that_there_is_nothing_to_seal() -> None:
    persist.use_dummy()
    candle: CandleAdapter = persist.candle("BTCUSDT", "1m", "binance")
    seen: list[Any] = []
    assert await candle.seal(seen.append) == SealReport(0, 0)
    assert await candle.verify(repair=True, progress=seen.append) == VerifyReport(0, 0, {}, 0)
    assert await candle.sealed() == Sealed(0, 0, 0)
    assert seen == [SealReport(0, 0)]
