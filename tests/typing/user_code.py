"""What a user writes: mypy (strict) and pyright (strict) must accept all of it. Nothing here is run."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, assert_type

import pandas
import polars
import pyarrow
from numpy.typing import NDArray
from pydantic import BaseModel

import backtest_mongo
from backtest_mongo import (
    SLOTS,
    BacktestMongoError,
    BreakevenAdapter,
    CandleAdapter,
    Change,
    ConflictError,
    InitError,
    InputError,
    LogAdapter,
    MeasureAdapter,
    MemoryAdapter,
    PartialAdapter,
    PayloadError,
    RecentAdapter,
    RiskAdapter,
    SessionAdapter,
    SignalAdapter,
    SlotSpec,
    StateAdapter,
    StorageAdapter,
    StoreError,
    StoreUnavailableError,
    embedded,
    get_config,
    persist,
    set_config,
    setup,
    stats,
    sync,
)
from backtest_mongo import models as engine_models
from backtest_mongo.contracts import (
    CandleContract,
    RiskContract,
    SignalContract,
    StateContract,
)
from backtest_mongo.telemetry.stats import CommitStats, SlotStats
from backtest_mongo.typed import TypedSignalAdapter
from backtest_mongo.types import (
    Candle,
    Coverage,
    DeleteReport,
    Gap,
    Interval,
    SealReport,
    VerifyReport,
    Version,
    Versioned,
    WriteReport,
)

WHEN = 1_700_000_000_000


async def lifecycle() -> None:
    await setup()
    await setup({"CC_REDIS_PORT": 6379}, CC_REDIS_HOST="redis", CC_MONGO_DRIVER=os.environ["DRIVER"])
    await setup(CC_REDIS_HOST=None, CC_REDIS_PASSWORD="secret", CC_CANDLE_BLOCKS=False)
    set_config(CC_MONGO_TIMEOUT_MS=5_000)
    async with setup():
        await backtest_mongo.wait_for_init()
        await (await backtest_mongo.get_redis()).get("key")
    await backtest_mongo.close()
    backtest_mongo.install()
    backtest_mongo.set_logger(logging.getLogger("engine"))
    assert_type(get_config().CC_MONGO_CONNECTION_STRING.get_secret_value(), str)
    assert_type(get_config().CC_REDIS_PORT, int)
    assert_type(stats().total.hits, int)
    assert_type(stats().slots, dict[str, SlotStats])
    assert_type(stats().commits, CommitStats)


class Row(BaseModel):
    id: str
    price_open: float


@dataclass
class Note:
    text: str


async def models(when: datetime) -> None:
    signal = persist.signal("BTCUSDT", "my_strategy", "binance", model=Row)
    assert_type(signal, TypedSignalAdapter[Row])
    assert_type(await signal.read_signal_data(), Row | None)
    assert_type(await signal.read_signal_data(with_version=True), Versioned[Row | None])
    await signal.write_signal_data(Row(id="s-1", price_open=1))
    await signal.write_signal_data(None, if_absent=True)
    assert_type(await type(signal).read_many([("a", "b", "c")]), list[Row | None])
    await type(signal).write_many([(("a", "b", "c"), None), (("a", "b", "d"), Row(id="s", price_open=1))])
    upgraded = persist.state("s-1", "b", model=Note, upgrade={1: lambda payload: {"text": payload}})
    assert_type(await upgraded.read_state_data(when), Note | None)
    await upgraded.write_state_data(Note("a"), when)
    risk = persist.risk("my_risk", "binance", model=engine_models.OpenPosition)
    assert_type(await risk.read_position_data(), list[engine_models.OpenPosition])
    assert_type(await persist.partial("a", "b", "c", model=Note).read_partial_data("s-1"), Note | None)
    storage = persist.storage(backtest=True, model=engine_models.StorageSignal)
    assert_type(await storage.read_storage_data(symbol="BTCUSDT"), list[engine_models.StorageSignal])
    await storage.write_storage_data(await storage.read_storage_data())
    memory = persist.memory("s-1", "notes", model=Note, upgrade=lambda payload, version: payload, schema_version=3)
    assert_type(memory.list_memory_data(), AsyncIterator[tuple[str, Note]])
    assert_type(await memory.newest_memory_data(1), list[tuple[str, Note]])
    async with backtest_mongo.as_of(when) as past:
        assert_type(await past.signal("a", "b", "c", model=Row).read_signal_data(), Row | None)
    sync_signal = sync.persist.signal("a", "b", "c", model=Row)
    assert_type(sync_signal.read_signal_data(), Row | None)
    assert_type(sync_signal, sync.TypedSignalAdapter[Row])
    try:
        await signal.read_signal_data()
    except PayloadError as error:
        assert_type(error.path, str)
        assert_type(error.context, Mapping[str, str | bool] | None)


async def servers() -> None:
    with embedded.Servers() as running:
        assert_type(running, embedded.Servers)
        assert_type(running.directory, Path)
        async with setup(running.config):
            await persist.state("signal-1", "counter").write_state_data({}, WHEN)
        await setup(**running.config)
    embedded.Servers(Path("data")).stop()


async def adapters(when: datetime) -> None:
    signal = SignalAdapter("BTCUSDT", "my_strategy", exchange_name="binance")
    await signal.write_signal_data({"id": "s-1", "priceOpen": 50_000.5})
    await signal.write_signal_data(None)
    assert_type(await signal.read_signal_data(), dict[str, Any] | None)
    assert_type(signal.context, dict[str, str | bool])
    assert_type(signal.spec, SlotSpec)

    risk = RiskAdapter("my_risk", "binance")
    await risk.write_position_data([["key", {"signal": {}}]], when)
    assert_type(await risk.read_position_data(), list[Any])
    await PartialAdapter("a", "b", "c").write_partial_data({"level": 1}, "signal-1", when)
    assert_type(await BreakevenAdapter("a", "b", "c").read_breakeven_data("signal-1", when=0), dict[str, Any])
    await RecentAdapter("a", "b", "c", "", backtest=True).write_recent_data({}, when)
    await SessionAdapter("s", "e", "f").write_session_data({}, WHEN)
    await SessionAdapter("s", "e", "f", "BTCUSDT", True).wait_for_init()
    assert_type(await StorageAdapter(True).read_storage_data(), list[dict[str, Any]])
    assert_type(await StorageAdapter(True).read_storage_data(symbol="BTCUSDT", since=when), list[dict[str, Any]])
    await LogAdapter().write_log_data(({"id": "1"}, {"id": "2"}))
    assert_type(await LogAdapter().read_log_data(limit=5), list[dict[str, Any]])

    measure = MeasureAdapter("answers")
    await measure.write_measure_data({}, "key")
    assert_type(measure.list_measure_data(), AsyncIterator[str])
    state = StateAdapter(signal_id="s-1", bucket_name="counter")
    await state.write_state_data({"count": 1}, when=when)
    state.dispose()
    memory = MemoryAdapter("s-1", "notes")
    assert_type(await memory.has_memory_data("m-1"), bool)
    assert_type(memory.list_memory_data(when=when), AsyncIterator[tuple[str, dict[str, Any]]])
    assert_type(memory.list_memory_data(prefix="a"), AsyncIterator[tuple[str, dict[str, Any]]])
    assert_type(memory.range_memory_data("a", newest_first=True), AsyncIterator[tuple[str, dict[str, Any]]])
    assert_type(await memory.newest_memory_data(1, prefix="a", when=when), list[tuple[str, dict[str, Any]]])
    async for memory_id, note in memory.list_memory_data():
        assert_type(memory_id, str)
        assert_type(note, dict[str, Any])


async def versions(flag: bool) -> None:
    signal = SignalAdapter("a", "b", "c")
    assert_type(await signal.read_signal_data(with_version=False), dict[str, Any] | None)
    read = await signal.read_signal_data(with_version=True)
    assert_type(read, Versioned[dict[str, Any] | None])
    either = await signal.read_signal_data(with_version=flag)
    assert_type(either, dict[str, Any] | None | Versioned[dict[str, Any] | None])
    value, version = await PartialAdapter("a", "b", "c").read_partial_data("s-1", with_version=True)
    assert_type(value, dict[str, Any])
    assert_type(version, Version)
    positions = (await RiskAdapter("a", "b").read_position_data(WHEN, with_version=True)).value
    assert_type(positions, list[Any])
    try:
        await signal.write_signal_data(read.value, expect=read.version)
        await StateAdapter("a", "b").write_state_data({}, WHEN, if_absent=True)
        await persist.measure("answers").write_measure_data({}, "key", expect="v1-absent")
    except ConflictError as error:
        await signal.write_signal_data(error.found, expect=error.version)


async def many(symbols: Sequence[str]) -> None:
    contexts = [(symbol, "my_strategy", "binance") for symbol in symbols]
    assert_type(await SignalAdapter.read_many(contexts), list[dict[str, Any] | None])
    assert_type(await SignalAdapter.read_many([("a", "b", "c"), {"symbol": "a"}]), list[dict[str, Any] | None])
    await SignalAdapter.write_many([(("a", "b", "c"), {"id": "s-1"}), (("a", "b", "d"), None)])
    await SignalAdapter.write_many((context, {"id": "s-1"}) for context in contexts)
    await StateAdapter.write_many([(("a", "b"), {"n": 1})], when=0)
    assert_type(await RiskAdapter.read_many([("a", "b")], datetime.now(UTC)), list[list[Any]])


async def candles(row: Candle) -> None:
    adapter = CandleAdapter("BTCUSDT", "1m", "binance")
    assert_type(await adapter.read_candles_data(5, 0), list[Candle] | None)
    assert_type(await adapter.write_candles_data([row]), int)
    for candle in await adapter.read_candles_data(limit=1, since_timestamp=datetime.now(UTC)) or []:
        assert_type(candle["close"], float)

    assert_type(await adapter.read_frame(), polars.DataFrame)
    assert_type(await adapter.read_frame(as_="polars", fill="null"), polars.DataFrame)
    assert_type(await adapter.read_frame(0, None, "pandas"), pandas.DataFrame)
    assert_type(await adapter.read_frame(as_="pandas"), pandas.DataFrame)
    assert_type(await adapter.read_frame(end=datetime.now(UTC), as_="arrow", fill="forward"), pyarrow.Table)
    assert_type(await adapter.read_frame(0, 10, "arrow"), pyarrow.Table)
    arrays = await adapter.read_frame(as_="numpy")
    assert_type(arrays, dict[str, NDArray[Any]])
    assert_type(await adapter.read_frame(0, 10, "numpy"), dict[str, NDArray[Any]])
    assert_type(await adapter.write_frame(arrays), WriteReport)
    assert_type((await adapter.write_frame(arrays)).refused, dict[str, list[int]])
    assert_type(await adapter.gaps(0, 10), list[Gap])
    assert_type(await adapter.coverage(), Coverage)
    assert_type(await adapter.seal(), SealReport)
    assert_type(await adapter.verify(repair=True), VerifyReport)
    first: int | None = (await adapter.coverage()).first
    async for series in CandleAdapter.list_series():
        assert_type(series, CandleAdapter)
        await series.write_candles_data([{**row, "timestamp": first or 0}])


async def errors() -> None:
    try:
        await StateAdapter("a", "b").write_state_data({}, 0)
    except StoreUnavailableError as error:
        assert_type(error.may_be_applied, bool)
    except StoreError as error:
        assert_type(error.code, int | None)
    except BacktestMongoError as error:
        assert_type(error.slot, str | None)
        assert_type(error.collection, str | None)
        assert_type(error.key, dict[str, Any] | None)
        assert_type(error.hint, str | None)
        assert_type(error.message, str)
    unavailable: type[StoreUnavailableError] = InitError
    mistakes: tuple[type[ValueError], ...] = (InputError, backtest_mongo.ConfigError)
    mistaken_type: type[TypeError] = backtest_mongo.InputTypeError
    print(unavailable, mistakes, mistaken_type)


class MySignal:
    def __init__(self, symbol: str, strategy_name: str, exchange_name: str) -> None:
        self.row: dict[str, Any] | None = None

    async def wait_for_init(self, initial: bool = True) -> None: ...

    async def read_signal_data(self) -> dict[str, Any] | None:
        return self.row

    async def write_signal_data(self, row: Mapping[str, Any] | None) -> None:
        self.row = None if row is None else dict(row)


class MyRisk(RiskContract):
    """Derived from the contract, which an object of a class that lacks a method could not be made of."""

    def __init__(self, risk_name: str, exchange_name: str) -> None: ...

    async def wait_for_init(self, initial: bool = True) -> None: ...

    async def read_position_data(self, when: int | datetime | None = None) -> list[Any]:
        return []

    async def write_position_data(self, positions: Sequence[Any], when: int | datetime) -> None: ...


async def registry() -> None:
    signal = persist.signal("BTCUSDT", "my_strategy", "binance")
    assert_type(signal, SignalAdapter)
    assert_type(persist.candle("BTCUSDT", interval="1m", exchange_name="binance"), CandleAdapter)
    assert_type(persist.memory("s-1", "notes"), MemoryAdapter)
    await signal.write_signal_data({"id": "s-1"})
    await persist.session("s", "e", "f").write_session_data({}, WHEN)
    persist.use(signal=MySignal, risk=MyRisk)
    persist.use(signal=SignalAdapter, candle=CandleAdapter, memory=MemoryAdapter)
    persist.use(state=lambda signal_id, bucket_name: StateAdapter(signal_id, f"my-{bucket_name}"))
    persist.use_dummy()
    persist.use_files("dump")
    persist.use_files(Path("dump"))
    persist.use_files("dump", slots=("log", "notification"))
    persist.use_dummy(slots=["log"])
    persist.use_mongo(slots={"log"})
    mine: SignalContract = MySignal("a", "b", "c")
    ours: SignalContract = SignalAdapter("a", "b", "c")
    state: StateContract = StateAdapter("a", "b")
    await mine.write_signal_data(None)
    await ours.wait_for_init()
    await state.write_state_data({}, 0)


class MyCandles:
    """It has what the contract asks for and nothing else; an interval may be any text to it."""

    def __init__(self, symbol: str, interval: str, exchange_name: str) -> None: ...

    async def wait_for_init(self, initial: bool = True) -> None: ...

    async def read_candles_data(
        self, limit: int, since_timestamp: int | datetime | str, until_timestamp: int | datetime | str | None = None
    ) -> list[Candle] | None:
        return None

    async def write_candles_data(self, candles: Sequence[Candle]) -> int:
        return len(candles)


async def registry_has_what_every_backend_has(interval: Interval) -> None:
    persist.use(candle=MyCandles)
    candles = persist.candle("BTCUSDT", interval, "binance")
    contract: CandleContract = candles
    assert_type(await contract.read_candles_data(1, 0), list[Candle] | None)
    assert_type(await candles.read_frame(), polars.DataFrame)
    assert_type(await candles.read_frame(as_="numpy"), dict[str, NDArray[Any]])
    assert_type(await candles.write_frame(await candles.read_frame()), WriteReport)
    assert_type(await candles.coverage(), Coverage)
    assert_type(await candles.gaps(), list[Gap])
    assert_type(await candles.delete(0, 10), DeleteReport)
    await candles.write_candles_data([{"timestamp": WHEN, "open": 1, "high": 2.5, "low": 0.5, "close": 2, "volume": 0}])
    signal = persist.signal("BTCUSDT", "my_strategy", "binance")
    assert_type(signal.context, dict[str, str | bool])
    assert_type(await signal.read_many([("BTCUSDT", "my_strategy", "binance")]), list[dict[str, Any] | None])
    async with signal.watch() as changes:
        async for change in changes:
            assert_type(change, Change)
            assert_type(changes.token, str | None)


class OrderBook(Protocol):
    """What a user says of a slot of his own, which type checkers can't read from its row."""

    async def read_order_book_data(self, side: str, when: int | None = None) -> dict[str, Any]: ...
    async def write_order_book_data(self, data: Mapping[str, Any], side: str, when: int) -> None: ...


async def own_slot() -> None:
    spec = SlotSpec(
        name="order_book",
        shape="entry",
        context=("symbol", "exchange_name"),
        key=("exchangeName", "symbol", "side"),
        redis=("exchangeName", "symbol", "side"),
        when=True,
    )
    assert_type(SLOTS, tuple[SlotSpec, ...])
    assert_type(spec.class_name, str)
    assert_type(persist.register(spec), Any)
    checked: Callable[[str, str], OrderBook] = persist.register(spec)
    assert_type(await checked("BTCUSDT", "binance").read_order_book_data("bid"), dict[str, Any])
    registered: OrderBook = getattr(persist, "order_book")("BTCUSDT", "binance")  # noqa: B009  # as in the docs
    await registered.write_order_book_data({"price": 50_000.5}, "bid", when=WHEN)
    persist.use(order_book=checked)
