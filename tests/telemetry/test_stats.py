"""``stats()``: the numbers of one event loop."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import (
    CandleAdapter,
    EquityAdapter,
    MeasureAdapter,
    MemoryAdapter,
    StateAdapter,
    StorageAdapter,
    as_of,
    setup,
    stats,
    transaction,
)
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.core.retention import Retention
from backtest_mongo.telemetry.stats import SlotStats, Stats
from tests.conftest import Deployment
from tests.support.built_in_series import equity
from tests.support.uniform import candles

pytestmark = pytest.mark.either_driver

MINUTE = 60_000


async def test_nothing_was_done_before_the_first_operation(deployment: Deployment) -> None:
    assert stats() == Stats({})
    assert stats().total == SlotStats()


async def test_reads_count_as_cache_hits_or_misses(deployment: Deployment) -> None:
    state = StateAdapter("signal", "counter")
    assert await state.read_state_data() is None
    await state.write_state_data({}, 0)
    await state.read_state_data()
    await deployment.forget()
    await state.read_state_data()  # Redis knows
    await state.read_state_data()
    assert stats().slots == {"state": SlotStats(reads=2, read_batches=2, hits=2)}
    assert stats().cached_ids == 1


async def test_concurrent_calls_count_as_batches(deployment: Deployment) -> None:
    contexts = [("signal", f"bucket-{number}") for number in range(20)]
    await StateAdapter(*contexts[0]).wait_for_init()
    await StateAdapter.write_many([(context, {}) for context in contexts], 0)
    await StateAdapter.read_many([*contexts, contexts[0], ("signal", "absent")])
    expected = SlotStats(reads=22, read_batches=1, hits=21, misses=1, writes=20, write_batches=1)
    assert stats().slots["state"] == expected


async def test_lists_and_removals_count(deployment: Deployment) -> None:
    await StorageAdapter(True).write_storage_data([{"id": str(number)} for number in range(7)])
    assert len(await StorageAdapter(True).read_storage_data()) == 7
    measure = MeasureAdapter("bucket")
    await measure.write_measure_data({}, "key")
    await measure.remove_measure_data("key")
    storage = SlotStats(listed=7, pages=1, writes=7, write_batches=1)
    assert stats().slots == {"storage": storage, "measure": SlotStats(writes=2, write_batches=2)}
    assert stats().total == SlotStats(listed=7, pages=1, writes=9, write_batches=3)


@pytest.mark.parametrize("candle_blocks", ["tiny"], indirect=True)
async def test_candles_count_by_windows_and_blocks(deployment: Deployment) -> None:
    series = CandleAdapter("BTCUSDT", "1m", "binance")
    assert await series.write_candles_data(candles(8)) == 8
    for _ in range(2):
        assert await series.read_candles_data(8, 0) is not None
    found = stats()
    # Sealing reads nothing of what is written back.
    assert found.slots["candle"] == SlotStats(
        reads=2, read_batches=1, hits=1, misses=1, listed=0, pages=0, writes=8, write_batches=1, blocks=2
    )
    assert found.candle_bytes > 0


async def test_connections_are_those_of_this_loop(deployment: Deployment) -> None:
    await StateAdapter("signal", "counter").write_state_data({}, 0)
    found = stats()
    assert found.mongo_connections
    assert found.redis_connections
    await backtest_mongo.close()
    assert stats() == Stats({})


async def test_another_loop_has_its_own_counters(deployment: Deployment) -> None:
    async def elsewhere() -> Stats:
        async with setup(deployment.config):
            await StateAdapter("signal", "counter").read_state_data()
            return stats()

    await StateAdapter("signal", "counter").write_state_data({}, 0)
    found = await asyncio.to_thread(lambda: asyncio.run(elsewhere()))
    assert found.slots == {"state": SlotStats(reads=1, read_batches=1, hits=1)}  # Redis knows the id
    assert stats().slots == {"state": SlotStats(writes=1, write_batches=1)}


async def test_breaker_is_open_while_redis_is_unreachable(config: dict[str, Any]) -> None:
    gone = {name: value for name, value in config.items() if not name.startswith("CC_REDIS")}
    async with setup({**gone, "CC_REDIS_HOST": "127.0.0.1", "CC_REDIS_PORT": 1}):
        state = StateAdapter("signal", "counter")
        assert stats().redis == "closed"
        for _ in range(5):
            await state.read_state_data()
        assert stats().redis == "open"
        assert stats().redis_connections == 0
        assert stats().slots["state"].misses == 5
        await (await backtest_mongo.get_mongo()).drop_database(current_hub().database.name)


def test_without_an_event_loop_there_are_no_counters() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        stats()


async def test_versions_and_reads_as_of_a_time_are_counted(deployment: Deployment) -> None:
    await setup(CC_HISTORY="state=2,memory")
    state, memory = StateAdapter("signal", "counter"), MemoryAdapter("signal", "notes")
    async with transaction():
        for number in range(3):
            await state.write_state_data({"n": number}, number)
    await state.write_state_data({"n": 3}, 3)
    await memory.write_memory_data({}, "one", 0)
    await memory.remove_memory_data("none")
    await state.read_state_data(when=2)
    async with as_of(1) as past:
        await past.state("signal", "counter").read_state_data()
    await state.read_state_data()
    found = stats().slots
    assert (found["state"].versions, found["state"].as_of, found["state"].pruned) == (4, 2, 0)
    assert (found["memory"].versions, found["memory"].as_of) == (1, 0)
    versions = state._base_store().versions
    assert await versions.prune(state._context, Retention(rows=2)) == 2
    assert stats().slots["state"].pruned == 2
    assert stats().total.versions == 5


async def test_without_history_nothing_of_it_is_counted(deployment: Deployment) -> None:
    state = StateAdapter("signal", "counter")
    await state.write_state_data({}, 0)
    await state.read_state_data(when=2)
    found = stats().slots["state"]
    assert (found.versions, found.as_of, found.pruned) == (0, 0, 0)


async def test_series_with_columns_are_counted(deployment: Deployment, unique: str) -> None:
    series = EquityAdapter(unique, "binance", "1h", "BTCUSDT", True)
    await series.append(equity(1, 2))
    await series.append(equity(3))
    counted = stats().series["equity"]
    assert (counted.series, counted.tail_groups, counted.tail_rows, counted.blocks) == (1, 2, 3, 0)
    assert counted.oldest is not None
    await series.seal()
    counted = stats().series["equity"]
    assert (counted.blocks, counted.block_rows, counted.tail_rows, counted.oldest) == (1, 3, 0, None)
    assert counted.block_bytes > 0
