"""A trade whose versions are kept, written as a strategy writes it bar by bar."""

from __future__ import annotations

from typing import Any

from backtest_mongo import persist, transaction

__all__ = ["CLOSED", "MINUTE", "OPENED", "SCHEDULED", "SLOTS_KEPT", "TRADE", "write_trade"]

MINUTE = 60_000
SCHEDULED = 1_704_067_200_000 + 90 * MINUTE  # 2024-01-01 01:30 UTC
OPENED = SCHEDULED + 5 * MINUTE
CLOSED = OPENED + 120 * MINUTE
TRADE = "2e137da0-43a2-4000-a290-e06d2a225000"
SLOTS_KEPT = "signal,schedule,state,memory,partial,risk,session,storage"
_NAMES = {"symbol": "BTCUSDT", "strategyName": "trend", "exchangeName": "binance", "frameName": "jan"}


async def write_trade(backtest: bool = True, **changes: Any) -> None:
    """Write a trade of the id :data:`TRADE`, with everything around it.

    Args:
        backtest: whether it is a backtest's.
        changes: fields of its row in storage.
    """
    signal, schedule = persist.signal("BTCUSDT", "trend", "binance"), persist.schedule("BTCUSDT", "trend", "binance")
    risk, session = persist.risk("mine", "binance"), persist.session("trend", "binance", "jan", "BTCUSDT", backtest)
    state, memory = persist.state(TRADE, "plan"), persist.memory(TRADE, "notes")
    waiting = {"id": TRADE, **_NAMES, "position": "long", "priceOpen": 50_000.5, "scheduledAt": SCHEDULED}
    row = {**waiting, "pendingAt": OPENED, "priceStopLoss": 49_000.25, "priceTakeProfit": 52_000.0}
    ended = {**row, "status": "closed", "closeReason": "stop_loss", "closeTimestamp": CLOSED, "updatedAt": CLOSED}

    async with transaction(when=SCHEDULED - MINUTE):
        await signal.write_signal_data(None)
    await session.write_session_data({"ticks": 1}, SCHEDULED - MINUTE)
    await risk.write_position_data([], SCHEDULED - MINUTE)
    async with transaction(when=SCHEDULED):
        await schedule.write_schedule_data(waiting)
    async with transaction(when=OPENED):
        await schedule.write_schedule_data(None)
        await signal.write_signal_data(row)
    await risk.write_position_data([["trend_binance_BTCUSDT", {"position": "long", "priceOpen": 50_000.5}]], OPENED)
    for number in range(4):
        await state.write_state_data({"minutes": 30 * number, "plan": "hold"}, OPENED + 30 * number * MINUTE)
    await memory.write_memory_data({"price": 50_010.0}, "m-1", OPENED + 10 * MINUTE)
    await memory.write_memory_data({"price": 50_020.0}, "m-2", OPENED + 20 * MINUTE)
    async with transaction(when=OPENED + 30 * MINUTE):
        await memory.remove_memory_data("m-2")
    await persist.partial("BTCUSDT", "trend", "binance").write_partial_data({"profitLevels": [10]}, TRADE, CLOSED)
    await session.write_session_data({"ticks": 2}, CLOSED + MINUTE)
    async with transaction(when=CLOSED):
        await persist.storage(backtest).write_storage_data([{**ended, **changes}])
    for interval, step in (("1m", MINUTE), ("1h", 60 * MINUTE)):
        first = SCHEDULED - 30 * MINUTE - (600 * MINUTE if step > MINUTE else 0)
        rows = [
            {"timestamp": first + place * step, "open": 50_000.0, "high": 50_010.5, "low": 49_990.0}
            | {"close": 50_001.25, "volume": float(place)}
            for place in range(60 if step == MINUTE else 14)
        ]
        await persist.candle("BTCUSDT", interval, "binance").write_candles_data(rows)  # type: ignore[arg-type]
