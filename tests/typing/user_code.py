"""What a user writes: mypy (strict) and pyright must accept all of it. Nothing here is run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, assert_type

import pandas
import polars
import pyarrow

import backtest_mongo
from backtest_mongo import (
    SLOTS,
    CandleAdapter,
    MemoryAdapter,
    RiskAdapter,
    SessionAdapter,
    SignalAdapter,
    SlotSpec,
    StateAdapter,
    StorageAdapter,
    persist,
    setup,
    stats,
)
from backtest_mongo.contracts import SignalContract
from backtest_mongo.snapshot import SlotStats
from backtest_mongo.types import Candle, Gap, WriteReport


async def adapters() -> None:
    await setup()
    await setup({"CC_REDIS_PORT": 6379}, CC_REDIS_HOST="redis")
    signal = SignalAdapter("BTCUSDT", "my_strategy", exchange_name="binance")
    await signal.write_signal_data({"id": "s-1", "priceOpen": 50_000.5})
    await signal.write_signal_data(None)
    assert_type(await signal.read_signal_data(), dict[str, Any] | None)

    assert_type(await SignalAdapter.read_many([("a", "b", "c"), {"symbol": "a"}]), list[dict[str, Any] | None])
    await SignalAdapter.write_many([(("a", "b", "c"), {"id": "s-1"}), (("a", "b", "d"), None)])
    await StateAdapter.write_many([(("a", "b"), {"n": 1})], when=0)

    candles = CandleAdapter("BTCUSDT", "1m", "binance")
    assert_type(await candles.read_candles_data(5, 0), list[Candle] | None)
    row: Candle = {"timestamp": 0, "open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0, "volume": 1.0}
    assert_type(await candles.write_candles_data([row]), int)

    assert_type(await candles.read_frame(), polars.DataFrame)
    assert_type(await candles.read_frame(0, None, "pandas"), pandas.DataFrame)
    assert_type(await candles.read_frame(end=datetime.now(UTC), as_="arrow", fill="forward"), pyarrow.Table)
    arrays = await candles.read_frame(as_="numpy")
    assert_type(await candles.write_frame(arrays), WriteReport)
    assert_type((await candles.write_frame(arrays)).refused, dict[str, list[int]])
    assert_type(await candles.gaps(0, 10), list[Gap])
    first: int | None = (await candles.coverage()).first
    async for series in CandleAdapter.list_series():
        assert_type(series, CandleAdapter)
        await series.write_candles_data([{**row, "timestamp": first or 0}])

    when = datetime.now(UTC)
    await RiskAdapter("my_risk", "binance").write_position_data([["key", {"signal": {}}]], when)
    await SessionAdapter("s", "e", "f").write_session_data({}, 1_700_000_000_000)
    await SessionAdapter("s", "e", "f", "BTCUSDT", True).wait_for_init()
    state = StateAdapter(signal_id="s-1", bucket_name="counter")
    await state.write_state_data({"count": 1}, when=when)
    state.dispose()
    memory = MemoryAdapter("s-1", "notes")
    assert_type(await memory.has_memory_data("m-1"), bool)
    assert_type(memory.list_memory_data(when=when), AsyncIterator[tuple[str, dict[str, Any]]])
    async for memory_id, note in memory.list_memory_data():
        assert_type(memory_id, str)
        assert_type(note, dict[str, Any])
    assert_type(await StorageAdapter(True).read_storage_data(), list[dict[str, Any]])


class MySignal:
    def __init__(self, symbol: str, strategy_name: str, exchange_name: str) -> None:
        self.row: dict[str, Any] | None = None

    async def wait_for_init(self, initial: bool = True) -> None: ...

    async def read_signal_data(self) -> dict[str, Any] | None:
        return self.row

    async def write_signal_data(self, row: Any) -> None:
        self.row = row


async def registry() -> None:
    signal = persist.signal("BTCUSDT", "my_strategy", "binance")
    assert_type(signal, SignalContract)
    await signal.write_signal_data({"id": "s-1"})
    persist.use(signal=MySignal)
    persist.use_dummy()
    mine: SignalContract = MySignal("a", "b", "c")
    ours: SignalContract = SignalAdapter("a", "b", "c")
    await mine.write_signal_data(None)
    await ours.wait_for_init()


async def lifecycle() -> None:
    async with setup():
        await backtest_mongo.wait_for_init()
        await (await backtest_mongo.get_redis()).get("key")
    await backtest_mongo.close()
    backtest_mongo.get_config().CC_MONGO_CONNECTION_STRING.get_secret_value()
    assert_type(SLOTS, tuple[SlotSpec, ...])
    assert_type(stats().total.hits, int)
    assert_type(stats().slots, dict[str, SlotStats])
