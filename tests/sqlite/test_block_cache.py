"""What was read of candles stays in memory, and no answer changes by that."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import persist, set_config
from backtest_mongo.sqlite import block_cache
from backtest_mongo.sqlite.block_cache import BlockCache
from tests.sqlite.support import change, database_of
from tests.support.uniform import candles

MINUTE = 60_000


@pytest.fixture
async def series(path: Path) -> Any:
    series: Any = persist.candle("BTCUSDT", "1m", "x")
    await series.write_candles_data(candles(1_100))
    return series


async def test_rows_that_were_read_are_returned_again_without_a_query(path: Path, series: Any) -> None:
    assert await series.read_candles_data(50, 500 * MINUTE) == candles(50, first=500 * MINUTE)
    change(path, 'DELETE FROM "candle-items"')  # nobody does this to a series: it shows who answers
    assert await series.read_candles_data(512, 0) == candles(512)
    assert await series.read_candles_data(50, 500 * MINUTE) == candles(50, first=500 * MINUTE)
    assert await series.read_candles_data(1, 1_024 * MINUTE) is None
    await backtest_mongo.close()
    assert await series.read_candles_data(50, 500 * MINUTE) is None


async def test_absent_row_is_looked_for_again(series: Any) -> None:
    assert await series.read_candles_data(50, 1_051 * MINUTE) is None
    await series.write_candles_data(candles(1_200))
    assert await series.read_candles_data(50, 1_051 * MINUTE) == candles(50, first=1_051 * MINUTE)


async def test_caller_s_changes_are_nobody_else_s(series: Any) -> None:
    for _ in range(2):
        found = await series.read_candles_data(3, 0)
        assert found == candles(3)
        found[0]["open"] = -1.0


async def test_deleted_rows_are_gone_at_once_whoever_has_read_them(path: Path, series: Any) -> None:
    assert await series.read_candles_data(3, 0) == candles(3)
    persist.use_sqlite(path)  # other adapters of the same database
    other: Any = persist.candle("BTCUSDT", "1m", "x")
    await other.delete(MINUTE, 2 * MINUTE)
    assert await series.read_candles_data(3, 0) is None
    await other.write_candles_data(candles(3, price=9.0))
    rows = candles(3)
    rows[1] = candles(3, price=9.0)[1]
    assert await series.read_candles_data(3, 0) == rows


@pytest.mark.parametrize("megabytes", [0, 1])
async def test_memory_is_bounded_and_small_memory_changes_no_answer(path: Path, series: Any, megabytes: int) -> None:
    set_config(CC_CANDLE_CACHE_MB=megabytes)
    others: list[Any] = [persist.candle(f"S{number}", "1m", "x") for number in range(15)]
    await asyncio.gather(
        *(other.write_candles_data(candles(2, price=number + 2.0)) for number, other in enumerate(others))
    )
    for _ in range(2):
        for number, other in enumerate(others):
            assert await other.read_candles_data(2, 0) == candles(2, price=number + 2.0)
        assert await series.read_candles_data(20, 505 * MINUTE) == candles(20, first=505 * MINUTE)
    assert len(database_of(path).blocks) == (megabytes << 20) // block_cache.BLOCK_BYTES


def test_what_was_read_before_a_deletion_is_not_kept() -> None:
    cache = BlockCache()
    generation = cache.generation
    cache.put("a", [[1]], generation)
    assert cache.get("a") == [[1]]
    cache.clear()
    cache.put("a", [[1]], generation)
    assert cache.get("a") is None
    assert len(cache) == 0


def test_least_recently_used_block_is_dropped_first() -> None:
    set_config(CC_CANDLE_CACHE_MB=1)
    cache, most = BlockCache(), (1 << 20) // block_cache.BLOCK_BYTES
    for number in range(most):
        cache.put(number, [[number]], 0)
    assert cache.get(0) == [[0]]
    cache.put(most, [[most]], 0)
    assert (cache.get(0), cache.get(1), cache.get(2)) == ([[0]], None, [[2]])
