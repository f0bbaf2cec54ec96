"""What mypy and pyright must refuse: nothing here is run.

Each line that is wrong carries an ignore for either, with the rule that it breaks. Both report an error without an
ignore and an ignore without an error, so a mistake that one of them lets pass fails the check. Pyright's settings
are in ``pyrightconfig.json``.
"""

from __future__ import annotations

from typing import Any

import polars

from backtest_mongo import (
    BacktestMongoError,
    CandleAdapter,
    MemoryAdapter,
    RiskAdapter,
    SessionAdapter,
    SignalAdapter,
    SlotSpec,
    StateAdapter,
    StoreError,
    embedded,
    persist,
    set_config,
    setup,
    wait_for_init,
)
from backtest_mongo.contracts import RiskContract, SignalContract


class Half:
    async def read_signal_data(self) -> None: ...


class HalfRisk(RiskContract):
    def __init__(self, risk_name: str, exchange_name: str) -> None: ...


class OtherContext:
    def __init__(self, symbol: str) -> None: ...
    async def wait_for_init(self, initial: bool = True) -> None: ...
    async def read_signal_data(self) -> dict[str, Any] | None: ...
    async def write_signal_data(self, row: Any) -> None: ...


class NotAsync:
    def __init__(self, symbol: str, strategy_name: str, exchange_name: str) -> None: ...
    async def wait_for_init(self, initial: bool = True) -> None: ...
    def read_signal_data(self) -> dict[str, Any] | None: ...
    def write_signal_data(self, row: Any) -> None: ...


async def contexts() -> None:
    SignalAdapter("BTCUSDT", "my_strategy")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    SignalAdapter("BTCUSDT", "my_strategy", "binance", "1m")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    SignalAdapter("BTCUSDT", "my_strategy", 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    SignalAdapter("BTCUSDT", "my_strategy", exchange="binance")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    SessionAdapter("s", "e", "f", True)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    persist.signal("a", "b")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    persist.signla("a", "b", "c")  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    persist.candle("a", "1m", "c", model=dict)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    typed = persist.signal("a", "b", "c", model=Half)
    await typed.write_signal_data({})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await persist.state("a", "b", model=Half).write_state_data(None, 0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    persist.signal("a", "b", "c", upgrade={1: dict})  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    persist.storage("live")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    await SignalAdapter.read_many("BTCUSDT", "my_strategy", "binance")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await SignalAdapter.read_many([5])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    await SignalAdapter.write_many([{"id": "s-1"}])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]


async def methods() -> None:
    signal = SignalAdapter("a", "b", "c")
    await signal.write_signal_data("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await signal.write_signal_data([{"id": "s-1"}])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await signal.read_state_data()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    await signal.write_signal_data({}, 0)  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]
    await StateAdapter("a", "b").write_state_data(None, 0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await StateAdapter("a", "b").read_state_data("2024-01-01")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    await RiskAdapter("a", "b").write_position_data([], "today")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await MemoryAdapter("a", "b").read_memory_data(memory="m")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    await persist.signal("a", "b", "c").write_signal_data(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    signal.dispose()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


async def versions() -> None:
    state = StateAdapter("a", "b")
    count, version = await state.read_state_data(with_version=True)
    await state.write_state_data({}, 0, False, version)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await state.write_state_data({}, 0, expect=count)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await state.write_state_data({}, 0, expect=await state.read_state_data(with_version=True))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await StateAdapter.read_many([("a", "b")], with_version=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    print((await state.read_state_data()).version)  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]


async def awaits() -> None:
    signal = SignalAdapter("a", "b", "c")
    signal.write_signal_data({})  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    wait_for_init()  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    row: dict[str, Any] | None = signal.read_signal_data()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    signal.read_signal_data()["id"]  # type: ignore[index]  # pyright: ignore[reportIndexIssue]
    (await signal.read_signal_data())["id"]  # type: ignore[index]  # pyright: ignore[reportOptionalSubscript]
    for memory_id in MemoryAdapter("a", "b").list_memory_data():  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        print(memory_id)
    await MemoryAdapter("a", "b").list_memory_data()  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    with setup():  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        print(row)
    async with embedded.Servers():  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass


async def candles() -> None:
    adapter = CandleAdapter("a", "1m", "b")
    await adapter.read_candles_data("5", 0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await adapter.write_candles_data({"timestamp": 0})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await adapter.read_frame(as_="xarray")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    await adapter.read_frame(fill="backward")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    await adapter.gaps(20.24)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    frame: polars.DataFrame = await adapter.read_frame(as_="pandas")  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    print(frame)


async def misspelt_candles() -> None:
    CandleAdapter("a", "1n", "b")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    candles = persist.candle("a", "1n", "b")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await candles.write_candles_data([{"timestamp": 0, "open": 1, "high": 1, "low": 1, "close": 1, "volme": 1}])  # type: ignore[typeddict-item, typeddict-unknown-key]  # pyright: ignore[reportArgumentType]
    await candles.write_candles_data([{"timestamp": 0, "open": "1", "high": 1, "low": 1, "close": 1, "volume": 1}])  # type: ignore[typeddict-item]  # pyright: ignore[reportArgumentType]
    for candle in await candles.read_candles_data(1, 0) or ():
        print(candle["clsoe"])  # type: ignore[typeddict-item]  # pyright: ignore[reportGeneralTypeIssues]
    await candles.read_frames()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    await candles.read_frame(as_="xarray")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    persist.signal("a", "b", "c").watch(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    persist.signal("a", "b", "c").coverage()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


class NoIntervalContract:
    """It takes a number where the slot's context has an interval."""

    def __init__(self, symbol: str, interval: int, exchange_name: str) -> None: ...
    async def wait_for_init(self, initial: bool = True) -> None: ...
    async def read_candles_data(self, limit: int, since_timestamp: Any, until_timestamp: Any = None) -> None: ...
    async def write_candles_data(self, candles: Any) -> int:
        return 0


async def configuration() -> None:
    await setup(CC_REDIS_HSOT="redis")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await setup(CC_REDIS_PORT="6379")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await setup("mongodb://localhost")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    set_config(cc_redis_host="redis")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def registry() -> None:
    persist.use(signal=Half)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    persist.use(signal=StateAdapter)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    persist.use(signal=OtherContext)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    persist.use(signal=NotAsync)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    persist.use(candle=NoIntervalContract)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    persist.use(signal=SignalAdapter("a", "b", "c"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    mine: SignalContract = Half()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    HalfRisk("a", "b")  # type: ignore[abstract]  # pyright: ignore[reportAbstractUsage]
    persist.use_files(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    print(mine, persist.order_book("a", "b"))  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


def slots() -> None:
    SlotSpec(name="order_book", shape="table", context=(), key=(), redis=())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    SlotSpec("order_book", "entry", (), (), ())  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    SlotSpec(name="order_book", shape="entry", context="symbol", key=("symbol",), redis=("symbol",))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    SignalAdapter.spec.name = "other"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    persist.register("order_book")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def errors(error: BacktestMongoError, refused: StoreError) -> None:
    print(error.may_be_applied, error.code)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    print(refused.code + 1)  # type: ignore[operator]  # pyright: ignore[reportOptionalOperand]
