"""The measured faults of the Node package, one by one, each with what happens here instead."""

from __future__ import annotations

import pytest

from backtest_mongo import CandleAdapter, MeasureAdapter, MemoryAdapter, StateAdapter, StorageAdapter, types
from backtest_mongo.mongo.store import MongoStore
from tests.conftest import Deployment, operations
from tests.support.uniform import WHEN, candles

pytestmark = pytest.mark.either_driver


async def test_colliding_redis_keys_never_return_another_row(deployment: Deployment, unique: str) -> None:
    one, other = MeasureAdapter(f"{unique}:b"), MeasureAdapter(unique)
    assert one.spec.redis_key((f"{unique}:b", "c")) == one.spec.redis_key((unique, "b:c"))
    await one.write_measure_data({"of": "one"}, "c")
    await deployment.forget()
    assert await other.read_measure_data("b:c") is None
    await other.write_measure_data({"of": "other"}, "b:c")
    await deployment.forget()
    assert await one.read_measure_data("c") == {"of": "one"}
    assert await other.read_measure_data("b:c") == {"of": "other"}


async def test_eleven_hundred_memories_are_listed_as_eleven_hundred(deployment: Deployment, unique: str) -> None:
    memory = MemoryAdapter(unique, "notes")
    store = memory._store()
    assert isinstance(store, MongoStore)
    await store.upsert_many(
        [((unique, "notes", f"m{index:04}"), {"payload": {"n": index}, "removed": False, "when": WHEN})
         for index in range(1_100)]
    )  # fmt: skip
    rows = [row async for row in memory.list_memory_data()]
    assert rows == [(f"m{index:04}", {"n": index}) for index in range(1_100)]


async def test_eleven_hundred_stored_signals_are_read_as_eleven_hundred(deployment: Deployment) -> None:
    storage = StorageAdapter(True)
    rows = [{"id": f"s{index:04}"} for index in range(1_100)]
    await storage.write_storage_data(rows)
    assert await storage.read_storage_data() == rows


async def test_removed_key_written_again_without_removed_is_visible(deployment: Deployment, unique: str) -> None:
    measure = MeasureAdapter(unique)
    await measure.write_measure_data({"id": "k", "data": 1, "removed": False}, "k")
    await measure.remove_measure_data("k")
    await measure.write_measure_data({"id": "k", "data": 2}, "k")
    assert await measure.read_measure_data("k") == {"id": "k", "data": 2}


async def test_open_candle_is_not_stored_for_good(
    deployment: Deployment, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = CandleAdapter("BTCUSDT", "1h", unique)
    half, whole = candles(1, price=1.0), candles(1, price=2.0)
    monkeypatch.setattr(types, "now_ms", lambda: 1_800_000)
    await series.write_candles_data(half)
    monkeypatch.setattr(types, "now_ms", lambda: 3_600_000)
    await series.write_candles_data(whole)
    assert await series.read_candles_data(1, 0) == whole


async def test_read_respects_when(deployment: Deployment, unique: str) -> None:
    state = StateAdapter(unique, "counter")
    await state.write_state_data({"count": 1}, WHEN)
    assert await state.read_state_data(WHEN - 1) is None


async def test_window_is_one_query_and_batch_queries_rows_and_blocks_once(
    deployment: Deployment, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = CandleAdapter("BTCUSDT", "1m", unique)
    monkeypatch.setattr(types, "now_ms", lambda: 60_000 * 2_000)
    await series.write_candles_data(candles(1))
    before = await operations()
    await series.write_candles_data(candles(1_000, first=60_000))
    # Of rows, of blocks, and twice of how the series is stored.
    assert await operations() - before in ({"query": 4, "insert": 1_000}, {"query": 6, "insert": 1_000})
    before = await operations()
    for _ in range(3):  # what was read once is not asked for again
        assert await series.read_candles_data(1_001, 0) is not None
    assert await operations() - before == {"query": 1}


async def test_batch_of_a_past_time_sends_no_further_query(deployment: Deployment, unique: str) -> None:
    series = CandleAdapter("BTCUSDT", "1m", unique)
    await series.write_candles_data(candles(1))
    before = await operations()
    await series.write_candles_data(candles(1_000, first=60_000))
    assert await operations() - before in ({"query": 4, "insert": 1_000}, {"query": 6, "insert": 1_000})
    before = await operations()
    for _ in range(3):
        assert await series.read_candles_data(1_001, 0) is not None
    assert await operations() - before == {"query": 2}


async def test_collections_have_only_indexes_that_a_query_uses(deployment: Deployment, unique: str) -> None:
    await CandleAdapter("BTCUSDT", "1m", unique).write_candles_data(candles(1))
    collection = await deployment.collection(CandleAdapter.spec)
    names = set(await collection.index_information())
    assert names == {"_id_", "exchangeName_1_symbol_1_interval_1_timestamp_1"}
