"""Whether a killed engine has left whole bars: rows of all slots, which only fit each other if they are of one bar."""

from __future__ import annotations

import math
from typing import Any

from backtest_mongo.cli.demo.engine import Engine
from backtest_mongo.cli.demo.signals import make_equity, name_position

__all__ = ["find_torn_slots"]


async def find_torn_slots(engine: Engine) -> list[str]:
    """Return the slots with rows that don't fit the session of an engine that has just resumed, or else the signal."""
    broker, torn = engine.broker, set[str]()

    def check(slot: str, *, fits: bool) -> None:
        if not fits:
            torn.add(slot)

    signal, waiting = await broker.signal.read_signal_data(), await broker.schedule.read_schedule_data()
    name, context = signal["id"] if signal else None, engine.context.items()
    stored = {row["id"]: row for row in await broker.signals.read_storage_data() if context <= row.items()}
    by_status: dict[str, list[str]] = {}
    for row in stored.values():
        by_status.setdefault(row["status"], []).append(row["id"])
    check("storage", fits=by_status.get("opened", []) == ([name] if name else []))
    check("schedule", fits=by_status.get("scheduled", []) == ([waiting["id"]] if waiting else []))
    profits = [row["pnl"]["pnlCost"] for row in stored.values() if row["status"] == "closed"]
    check("session", fits=math.isclose(engine.initial_balance + sum(profits), engine.progress["balance"]))

    control, recent = await broker.read_control(), await broker.recent.read_recent_data()
    opened = max((row for row in stored.values() if row["pendingAt"]), key=lambda row: row["pendingAt"], default=None)
    check("strategy", fits=(control["pendingSignalId"], control["lastPendingId"]) == (name, opened and opened["id"]))
    check("recent", fits=(recent and recent["id"]) == (opened and opened["id"]))
    positions = {key: row["openTimestamp"] for key, row in await broker.risk.read_position_data()}
    held = positions.get(name_position(engine.context))
    check("risk", fits=held == (signal["pendingAt"] if signal else None))
    if signal is not None:
        levels = (await broker.partial.read_partial_data(signal["id"])).get(signal["id"], {"profitLevels": []})
        check("partial", fits=("_partial" in signal) == (50 in levels["profitLevels"]))
        check(
            "breakeven", fits=("_partial" in signal) == bool(await broker.breakeven.read_breakeven_data(signal["id"]))
        )
    if engine.progress["time"] is not None:
        check("equity", fits=await _fits_equity(engine, signal))
    return sorted(torn)


async def _fits_equity(engine: Engine, signal: Any) -> bool:
    """Return whether the row of the last bar is the one that fits the balance and the signal; there may be one more."""
    last = engine.window[-1]
    now = last["timestamp"] + engine.length
    row = await engine.equity.read_asof(now)
    return row == make_equity(signal, engine.progress["balance"], last["close"], now, engine.broker.costs)
