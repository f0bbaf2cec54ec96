"""What type checkers must refuse: each line marked with an ignore is an error, and an ignore too many is one, too."""

from __future__ import annotations

from backtest_mongo import CandleAdapter, MemoryAdapter, RiskAdapter, SignalAdapter, StateAdapter, persist
from backtest_mongo.contracts import SignalContract


class Half:
    async def read_signal_data(self) -> None: ...


async def refused() -> None:
    SignalAdapter("BTCUSDT", "my_strategy")  # type: ignore[call-arg]
    SignalAdapter("BTCUSDT", "my_strategy", 5)  # type: ignore[arg-type]
    await SignalAdapter("a", "b", "c").write_signal_data("text")  # type: ignore[arg-type]
    await SignalAdapter("a", "b", "c").read_state_data()  # type: ignore[attr-defined]
    await StateAdapter("a", "b").write_state_data({})  # type: ignore[call-arg]
    await StateAdapter("a", "b").write_state_data(None, 0)  # type: ignore[arg-type]
    await RiskAdapter("a", "b").write_position_data([], "today")  # type: ignore[arg-type]
    await CandleAdapter("a", "1m", "b").read_candles_data("5", 0)  # type: ignore[arg-type]
    await CandleAdapter("a", "1m", "b").read_frame(as_="xarray")  # type: ignore[call-overload]
    await CandleAdapter("a", "1m", "b").gaps("2024")  # type: ignore[arg-type]
    await MemoryAdapter("a", "b").read_memory_data(memory="m")  # type: ignore[call-arg]
    persist.signal("a", "b")  # type: ignore[call-arg]
    mine: SignalContract = Half()  # type: ignore[assignment]
    await mine.wait_for_init()
