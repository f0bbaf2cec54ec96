"""The reference engine, bar by bar: entries, stops, targets, risk, gaps, kills, and that it can't look ahead."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from backtest_mongo import LeaseHeldError, lease
from backtest_mongo.cli.demo.consistency import find_torn_slots
from backtest_mongo.cli.demo.engine import Bar, Decision, Engine
from backtest_mongo.cli.demo.signals import make_signal
from backtest_mongo.types import Candle
from tests.conftest import Deployment, SQLiteDeployment
from tests.support.deadlines import PROCESS_SECONDS
from tests.support.engine_runs import (
    EXCHANGE,
    FRAME,
    HOUR,
    MARKET,
    SCRIPT,
    START,
    Scripted,
    buy,
    call_after_writes,
    make_engine,
    make_market,
    read_state,
    sell,
    store,
)

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]

ROOT: Final = Path(__file__).parent.parent.parent
GOLDEN: Final = ROOT / "tests" / "golden" / "engine-19.5.0"
FLAT: Final = (100.0, 101.0, 99.0, 100.0)


async def trade(name: str, market: Sequence[Candle], script: Mapping[int, Decision], **rules: Any) -> Engine:
    """Trade a market to its end."""
    await store(market)
    engine = make_engine(Scripted(name, script), **rules)
    await engine.run()
    return engine


async def read_trades(engine: Engine) -> list[tuple[Any, ...]]:
    """Return status, reason, price and hour of the last event of each signal, and its profit."""
    return [
        (row["status"], row.get("closeReason"), row["currentPrice"], hour(row["updatedAt"]), row["pnl"]["pnlCost"])
        for row in await engine.broker.signals.read_storage_data()
        if row["strategyName"] == engine.strategy.name
    ]


def hour(time: int) -> int:
    """Return the number of the hour that ends at a time."""
    return (time - START) // HOUR - 1


# Entries and exits


async def test_market_order_is_opened_at_the_close_and_shown_everywhere(deployment: Deployment, unique: str) -> None:
    engine = await trade(unique, make_market(FLAT, (100, 105, 99, 104)), {0: buy(90, 120)})
    broker, now = engine.broker, START + HOUR
    held = await broker.signal.read_signal_data()
    assert held is not None
    name = f"{unique}-BTCUSDT-{now}"
    assert (held["id"], held["priceOpen"], held["pendingAt"]) == (name, 100.0, now)
    assert await broker.schedule.read_schedule_data() is None
    assert await read_trades(engine) == [("opened", None, 100.0, 0, 0.0)]
    ((key, position),) = await broker.risk.read_position_data()
    assert (key, position["openTimestamp"]) == (f"{unique}_{EXCHANGE}_BTCUSDT", now)
    control = await broker.control.read_strategy_data()
    assert control is not None
    assert (control["pendingSignalId"], control["isPaused"]) == (name, False)
    recent = await broker.recent.read_recent_data()
    assert recent is not None
    assert recent["id"] == name
    (notice,) = (await read_state(engine))["notification"]
    assert (notice["type"], notice["currentPrice"]) == ("signal.opened", 100.0)
    assert [entry["topic"] for entry in (await read_state(engine))["log"]] == ["signal.opened"]
    session = await engine.session.read_session_data()
    assert session == {
        "id": f"BTCUSDT:{unique}:{EXCHANGE}:{FRAME}:backtest",
        "data": {"time": START + HOUR, "bars": 2, "balance": 10_000.0},
        "when": START + 2 * HOUR,
    }
    rows = await engine.equity.read_last(3)
    # 100 of money at a price of 100 are one piece, which has gained 4.
    assert [(row["timestamp"], row["equity"], row["unrealized_pnl"], row["position"]) for row in rows] == [
        (now, 10_000.0, 0.0, 1.0),
        (now + HOUR, pytest.approx(10_004.0), pytest.approx(4.0), 1.0),
    ]


@pytest.mark.parametrize(
    ("order", "candle", "ended"),
    [
        (buy(95, 110), (99, 101, 94, 96), ("stop_loss", 95.0)),
        (sell(105, 90), (101, 106, 99, 104), ("stop_loss", 105.0)),
        (buy(95, 110), (105, 111, 104, 108), ("take_profit", 110.0)),
        (sell(105, 90), (95, 96, 89, 92), ("take_profit", 90.0)),
        # Both are within the bar, and nobody knows which came first: it was the stop.
        (buy(95, 110), (100, 111, 94, 105), ("stop_loss", 95.0)),
        (sell(105, 90), (100, 106, 89, 95), ("stop_loss", 105.0)),
        # The market opens beyond the stop: there is no better price than that.
        (buy(95, 110), (93, 98, 92, 97), ("stop_loss", 93.0)),
        (sell(105, 90), (107, 108, 106, 107), ("stop_loss", 107.0)),
        # It opens beyond the target: what the order asks for is what it gets.
        (buy(95, 110), (112, 113, 111, 112), ("take_profit", 110.0)),
        (buy(95, 110, minuteEstimatedTime=60), (100, 104, 99, 103), ("time_expired", 103.0)),
        (buy(95, 110, minuteEstimatedTime=61), (100, 104, 99, 103), None),
        (buy(95, 110), (100, 109, 96, 103), None),
    ],
)
async def test_candle_ends_a_position(
    deployment: Deployment,
    unique: str,
    order: Decision,
    candle: tuple[float, float, float, float],
    ended: tuple[str, float] | None,
) -> None:
    engine = await trade(unique, make_market(FLAT, candle), {0: order})
    ((status, reason, price, when, profit),) = await read_trades(engine)
    if ended is None:
        assert status == "opened"
        return
    assert (status, reason, price, when) == ("closed", *ended, 1)
    assert isinstance(order, dict)
    assert profit == pytest.approx(ended[1] - 100 if order["position"] == "long" else 100 - ended[1])
    assert engine.progress["balance"] == pytest.approx(10_000 + profit)
    assert await engine.broker.signal.read_signal_data() is None
    assert await engine.broker.risk.read_position_data() == []
    strategy = engine.strategy
    assert isinstance(strategy, Scripted)
    assert [row["closeReason"] for row in strategy.closed] == [reason]


@pytest.mark.parametrize(
    ("candle", "trades"),
    [
        # The target is not taken in the bar of the entry: the market may have been there before.
        ((100, 111, 95, 109), ("opened", None, 96.0, 1)),
        ((100, 101, 92, 98), ("closed", "stop_loss", 93.0, 1)),
        ((100, 101, 97, 98), ("scheduled", None, 100.0, 0)),
    ],
)
async def test_limit_order_waits_for_its_price(
    deployment: Deployment, unique: str, candle: tuple[float, float, float, float], trades: tuple[Any, ...]
) -> None:
    engine = await trade(unique, make_market(FLAT, candle), {0: buy(93, 110, priceOpen=96)})
    ((*found, _),) = await read_trades(engine)
    assert tuple(found) == trades
    waiting = await engine.broker.schedule.read_schedule_data()
    assert (waiting is not None) == (trades[0] == "scheduled")
    assert await find_torn_slots(engine) == []


async def test_limit_order_is_given_up_in_time(deployment: Deployment, unique: str) -> None:
    market = make_market(FLAT, FLAT, FLAT, (100, 101, 90, 100))
    engine = await trade(unique, market, {0: buy(80, 110, priceOpen=95)}, wait_minutes=120)
    assert await read_trades(engine) == [("cancelled", None, 100.0, 2, 0.0)]
    assert await engine.broker.schedule.read_schedule_data() is None


async def test_half_is_closed_halfway_and_the_rest_stops_at_the_entry(deployment: Deployment, unique: str) -> None:
    market = make_market(FLAT, (100, 103, 99, 102), (102, 106, 101, 105), (105, 106, 99, 100))
    engine = await trade(unique, market[:3], {0: buy(90, 110)})
    name = f"{unique}-BTCUSDT-{START + HOUR}"
    held = await engine.broker.signal.read_signal_data()
    assert held is not None
    assert (held["_partial"][0]["percent"], held["_partial"][0]["currentPrice"]) == (50, 105.0)
    assert (held["priceStopLoss"], held["_trailingPriceStopLoss"]) == (90, 100.0)
    levels = {"profitLevels": [10, 20, 30, 40, 50, 60], "lossLevels": [10]}
    assert await engine.broker.partial.read_partial_data(name) == {name: levels}
    assert await engine.broker.breakeven.read_breakeven_data(name) == {name: {"reached": True}}
    (row,) = await engine.equity.read_last(1)
    assert (row["cash"], row["unrealized_pnl"], row["position"]) == pytest.approx((10_002.5, 2.5, 0.5))
    assert await find_torn_slots(engine) == []
    engine = await trade(unique, market, {})
    assert [(*row[:3], pytest.approx(row[4])) for row in await read_trades(engine)] == [
        ("closed", "stop_loss", 100.0, pytest.approx(2.5))
    ]
    kinds = [notice["type"] for notice in await engine.broker.notifications.read_notification_data()]
    assert [kind for kind in kinds if "commit" in kind] == ["partial_profit.commit", "breakeven.commit"]


async def test_order_replaces_what_is_open_and_what_waits(deployment: Deployment, unique: str) -> None:
    market = make_market(FLAT, FLAT, FLAT)
    engine = await trade(unique, market, {0: buy(90, 120), 1: sell(110, 80), 2: sell(120, 80, priceOpen=105)})
    assert [row[:4] for row in await read_trades(engine)] == [
        ("closed", "closed", 100.0, 1),
        ("closed", "closed", 100.0, 2),
        ("scheduled", None, 100.0, 2),
    ]
    engine = await trade(unique, make_market(FLAT, FLAT, FLAT, FLAT), {3: "close"})
    assert (await read_trades(engine))[-1][:2] == ("cancelled", None)


@pytest.mark.parametrize("order", [buy(101, 110), buy(90, 99), sell(99, 90), buy(96, 110, priceOpen=95)])
def test_order_with_its_stop_or_target_on_the_wrong_side_is_refused(order: Any) -> None:
    names = {"symbol": "B", "exchangeName": "e", "strategyName": "s", "frameName": ""}
    with pytest.raises(ValueError, match="can't have its stop at"):
        make_signal(order, names, START, 100.0)


async def test_bar_whose_strategy_fails_leaves_nothing(deployment: Deployment, unique: str) -> None:
    await store(make_market(FLAT, FLAT))
    strategy = Scripted(unique, {0: buy(90, 120), 1: buy(101, 110)})
    engine = make_engine(strategy)
    with pytest.raises(ValueError, match="can't have its stop"):
        await engine.run()
    assert engine.progress["bars"] == 1
    assert [row[0] for row in await read_trades(engine)] == ["opened"]
    assert await strategy.notes.read_memory_data("bars") == {"bars": 1}
    # The same engine can trade it again.
    strategy.script = {}
    await engine.run()
    assert engine.progress["bars"] == 2
    assert [hour(candle["timestamp"] + HOUR) for candle in strategy.seen[-1].candles] == [0, 1]


async def test_costs_are_those_of_both_sides(deployment: Deployment, unique: str) -> None:
    engine = await trade(unique, make_market(FLAT, FLAT), {0: buy(90, 120), 1: "close"}, costs=0.002)
    ((*_, profit),) = await read_trades(engine)
    assert profit == pytest.approx((0.998 / 1.002 - 1) * 100)


# Risk


async def test_risk_profile_limits_what_is_opened(deployment: Deployment, unique: str) -> None:
    market = make_market(FLAT, FLAT, FLAT)
    await store(market, "ETHUSDT")
    await trade(f"{unique}-first", market[:2], {0: buy(90, 120)}, risk=unique)
    second = make_engine(Scripted(f"{unique}-second", {1: buy(90, 120)}), "ETHUSDT", risk=unique)
    await second.run()
    assert await second.broker.signal.read_signal_data() is None
    (notice,) = (await read_state(second))["notification"]
    assert (notice["type"], notice["activePositionCount"]) == ("risk.rejection", 1)
    assert [key for key, _ in await second.broker.risk.read_position_data()] == [f"{unique}-first_{EXCHANGE}_BTCUSDT"]
    # Once the first one is closed, there is room.
    await trade(f"{unique}-first", market, {2: "close"}, risk=unique)
    third = make_engine(Scripted(f"{unique}-third", {2: buy(90, 120)}), "ETHUSDT", risk=unique)
    await third.run()
    assert [key for key, _ in await third.broker.risk.read_position_data()] == [f"{unique}-third_{EXCHANGE}_ETHUSDT"]


async def test_limit_order_is_given_up_if_the_profile_is_full_by_then(deployment: Deployment, unique: str) -> None:
    market = make_market(FLAT, FLAT, (100, 101, 94, 100))
    await store(market, "ETHUSDT")
    script = {0: buy(80, 110, priceOpen=95)}
    waiting = make_engine(Scripted(f"{unique}-waits", script), "ETHUSDT", risk=unique, wait_minutes=600)
    async for candle in waiting.clock():
        if hour(candle["timestamp"]) == 1:  # the third bar
            await trade(f"{unique}-other", market[:2], {1: buy(90, 120)}, risk=unique)
        await waiting.step(candle)
    assert [row[0] for row in await read_trades(waiting)] == ["cancelled"]
    assert await waiting.broker.schedule.read_schedule_data() is None
    assert await find_torn_slots(waiting) == []


class Meddler(Scripted):
    """A strategy in whose bar another one opens a position of the same risk profile, once."""

    engine: Engine
    other: Engine
    candle: Candle
    outside: contextvars.Context
    is_done = False

    async def decide(self, bar: Bar) -> Decision:
        if not self.is_done and hour(bar.now) == 0:
            self.is_done = True
            # Its read of the risk profile, which the limit depends on, comes before this.
            await self.engine.broker.read_other_positions()
            await asyncio.create_task(self.open_other(), context=self.outside)
        return await super().decide(bar)

    async def open_other(self) -> None:
        await self.other.step(self.candle)


async def test_bar_is_traded_again_if_the_profile_has_changed_meanwhile(deployment: Deployment, unique: str) -> None:
    market = make_market(FLAT)
    await store(market)
    strategy = Meddler(f"{unique}-late", {0: buy(90, 120)})
    strategy.outside = contextvars.copy_context()
    strategy.other = make_engine(Scripted(f"{unique}-early", {0: buy(90, 120)}), "ETHUSDT", risk=unique)
    strategy.candle = market[0]
    strategy.engine = make_engine(strategy, risk=unique)
    await strategy.engine.run()
    assert len(strategy.seen) == 2
    assert await strategy.engine.broker.signal.read_signal_data() is None
    positions = await strategy.engine.broker.risk.read_position_data()
    assert [key for key, _ in positions] == [f"{unique}-early_{EXCHANGE}_ETHUSDT"]
    assert strategy.engine.progress["bars"] == 1
    assert (await read_state(strategy.engine))["memory"] == [["bars", {"bars": 1}]]


async def test_position_of_a_strategy_that_is_ahead_is_kept_and_not_counted(
    deployment: Deployment, unique: str
) -> None:
    market = make_market(FLAT, FLAT, FLAT)
    await store(market, "ETHUSDT")
    await trade(f"{unique}-ahead", market, {2: buy(90, 120)}, risk=unique)
    behind = make_engine(Scripted(f"{unique}-behind", {0: buy(90, 120)}), "ETHUSDT", risk=unique)
    await behind.run()
    assert [key.removeprefix(unique) for key, _ in await behind.broker.risk.read_position_data()] == [
        f"-ahead_{EXCHANGE}_BTCUSDT",
        f"-behind_{EXCHANGE}_ETHUSDT",
    ]


async def test_losses_in_a_row_pause_the_strategy(deployment: Deployment, unique: str) -> None:
    down = (100.0, 101.0, 94.0, 100.0)
    script = {number: buy(95, 120) for number in (0, 2, 4, 6, 7)}
    market = make_market(*[FLAT, down] * 4)
    engine = await trade(unique, market, script, losses=2, pause_minutes=180)
    assert [row[:2] for row in await read_trades(engine)] == [
        ("closed", "stop_loss"),
        ("closed", "stop_loss"),
        # That of hour 4 is refused: the second loss was in hour 3, and three hours later it is hour 6.
        ("closed", "stop_loss"),
        ("opened", None),
    ]
    rejected = [row for row in (await read_state(engine))["notification"] if row["type"] == "risk.rejection"]
    assert [row["rejectionNote"] for row in rejected] == ["the strategy is paused"]
    control = await engine.broker.control.read_strategy_data()
    assert control is not None
    assert (control["isPaused"], control["losses"]) == (False, 1)


# The clock


async def test_gap_is_passed_over_and_the_window_goes_across_it(deployment: Deployment, unique: str) -> None:
    market = make_market(FLAT, FLAT, *[None] * 3000, (80, 82, 79, 81), FLAT)
    engine = await trade(unique, market, {1: buy(90, 120)})
    strategy = engine.strategy
    assert isinstance(strategy, Scripted)
    assert [hour(bar.now) for bar in strategy.seen] == [0, 1, 3002, 3003]
    assert [hour(candle["timestamp"] + HOUR) for candle in strategy.seen[2].candles] == [0, 1, 3002]
    # What the gap has done to the position shows at its end.
    assert [row[:4] for row in await read_trades(engine)] == [("closed", "stop_loss", 80.0, 3002)]
    resumed = make_engine(strategy)
    await resumed.resume()
    assert resumed.window == engine.window
    assert [candle async for candle in resumed.clock()] == []


async def test_candles_that_come_later_are_traded_by_the_next_run(deployment: Deployment, unique: str) -> None:
    engine = make_engine(Scripted(unique, {}))
    await engine.run()
    assert (await engine.session.read_session_data(), engine.progress["bars"]) == (None, 0)
    for count in (2, 2, 5):
        await store(make_market(*[FLAT] * count))
        await engine.run()
        assert engine.progress["bars"] == count


class Peeking(Scripted):
    """Trades by everything that it is given, so that anything of the future would change what it does."""

    async def decide(self, bar: Bar) -> Decision:
        await super().decide(bar)
        assert all(candle["timestamp"] + HOUR <= bar.now for candle in bar.candles)
        last = bar.candles[-1]["close"]
        total = sum(candle["high"] - candle["low"] + candle["close"] for candle in bar.candles)
        return buy(last - 3, last + 4) if bar.signal is None and total % 2 < 1 else None


async def test_what_comes_after_a_bar_changes_nothing_in_it(deployment: Deployment, unique: str) -> None:
    waves = [(100.0 + n % 5, 105.0 + n % 7, 97.0 - n % 3, 100.0 + (n * 7) % 4) for n in range(24)]
    for cut in (6, 13):
        name = f"{unique}-{cut}"
        other = [*waves[:cut], *[(50.0, 60.0, 40.0, 45.0)] * 3]
        states = []
        for future, rows in (("NONE", waves[:cut]), ("ONE", waves), ("OTHER", other)):
            symbol = f"{future}{cut}"
            await store(make_market(*rows), symbol)
            engine = make_engine(Peeking(f"{name}-{symbol}", {}), symbol)
            async for candle in engine.clock():
                if engine.progress["bars"] == cut:
                    break
                await engine.step(candle)
            found = json.dumps(await read_state(engine), default=str)
            states.append(json.loads(found.replace(symbol, "SYMBOL")))
        assert states[0]["storage"]
        assert states[0] == states[1] == states[2]


async def test_past_is_what_the_strategy_has_seen(deployment: Deployment, unique: str) -> None:
    await deployment.configure(CC_HISTORY="session,signal,schedule")
    engine = await trade(unique, MARKET, SCRIPT, wait_minutes=120)
    strategy = engine.strategy
    assert isinstance(strategy, Scripted)
    later = await engine.look_back(strategy.seen[-1].now)
    assert later.signal == await engine.broker.signal.read_signal_data()
    for seen, following in itertools.pairwise(strategy.seen):
        past = await engine.look_back(following.now - 1)
        assert (past.now, list(past.candles)) == (seen.now, list(seen.candles))
        # The decision is part of the bar that is looked back at, and so is the money that it made.
        ended = {row["id"]: row["pnl"]["pnlCost"] for row in strategy.closed if row["closeTimestamp"] == seen.now}
        is_left = seen.signal is not None and seen.signal["id"] in ended
        assert past.balance == pytest.approx(seen.balance + (ended[seen.signal["id"]] if is_left else 0.0))  # type: ignore[index]
        if SCRIPT.get(hour(seen.now)) is None:
            assert (past.signal, past.waiting) == (seen.signal, seen.waiting)
    with pytest.raises(LookupError, match="no bar was traded by"):
        await engine.look_back(START)


# Kills


async def test_second_process_is_refused(deployment: Deployment, unique: str) -> None:
    await store(make_market(FLAT))
    engine = make_engine(Scripted(unique, {}))
    async with lease(*engine.owned):
        with pytest.raises(LeaseHeldError):
            await asyncio.create_task(make_engine(Scripted(unique, {})).run())


class _Killed(BaseException):
    """What ends a bar in the place of SIGKILL; nothing handles it."""


async def test_run_that_is_cut_off_at_each_write_ends_as_an_undisturbed_one(
    deployment: Deployment, unique: str
) -> None:
    calm = await trade(f"{unique}-calm", MARKET, SCRIPT, wait_minutes=120)
    left = 0

    def count() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise _Killed

    cuts = 0
    for candle in MARKET:
        for number in itertools.count(1):
            # Nothing is left of the process before but what is stored.
            engine = make_engine(Scripted(f"{unique}-cut", SCRIPT), wait_minutes=120)
            call_after_writes(engine, count)
            await engine.resume()
            assert await find_torn_slots(engine) == []
            clock = engine.clock()
            following = await anext(clock)
            await clock.aclose()
            assert following == candle
            left = number
            try:
                await engine.step(following)
            except _Killed:
                cuts += 1
            else:
                break
            left = 0
    assert cuts > 3 * len(MARKET)
    assert await read_state(engine) == await read_state(calm)
    assert engine.progress == calm.progress


@pytest.mark.heavy
async def test_run_that_is_killed_in_each_bar_ends_as_an_undisturbed_one(deployment: Deployment, unique: str) -> None:
    calm = await trade(f"{unique}-calm", MARKET, SCRIPT)
    database = str(deployment.path) if isinstance(deployment, SQLiteDeployment) else "mongodb"
    killed = 0
    while True:
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "tests.support.engine_worker", f"{unique}-killed", database],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=deployment.environment | {"PATH": ""},
            timeout=PROCESS_SECONDS,
            check=False,
        )
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        killed += 1
        engine = make_engine(Scripted(f"{unique}-killed", SCRIPT))
        await engine.resume()
        assert await find_torn_slots(engine) == []
    assert killed >= len(MARKET) // 2
    assert await read_state(engine) == await read_state(calm)


async def _meddle(engine: Engine, slot: str) -> None:
    """Change a row as a program does that does not know the others."""
    broker, signal = engine.broker, await engine.broker.signal.read_signal_data()
    assert signal is not None
    name, when = signal["id"], signal["pendingAt"]
    match slot:
        case "session":
            data = {**engine.progress, "balance": 1.0}
            await engine.session.write_session_data({"id": engine.session_id, "data": data, "when": when}, when)
        case "schedule":
            await broker.schedule.write_schedule_data({**signal, "id": "another"})
        case "strategy":
            await broker.change_control(pendingSignalId=None)
        case "risk":
            await broker.risk.write_position_data([], when)
        case "recent":
            await broker.recent.write_recent_data({**signal, "id": "another"}, when)
        case "storage":
            await broker.signals.write_storage_data([{**signal, "status": "cancelled"}])
        case "partial":
            await broker.partial.write_partial_data({}, name, when)
        case "breakeven":
            await broker.breakeven.write_breakeven_data({}, name, when)
        case "equity":
            time = engine.window[-1]["timestamp"] + HOUR
            await engine.equity.append([{"timestamp": time, "equity": 1.0, "cash": 1.0}])


@pytest.mark.parametrize(
    "slot", ["session", "schedule", "strategy", "risk", "recent", "storage", "partial", "breakeven", "equity"]
)
async def test_row_that_does_not_fit_the_others_is_found(deployment: Deployment, unique: str, slot: str) -> None:
    engine = await trade(unique, MARKET[:6], SCRIPT)
    assert await find_torn_slots(engine) == []
    await _meddle(engine, slot)
    await engine.resume()
    # The equity is the money of the session and what the signal has made.
    assert await find_torn_slots(engine) == (["equity", "session"] if slot == "session" else [slot])


async def test_lost_signal_is_found_by_all_that_were_told_of_it(deployment: Deployment, unique: str) -> None:
    engine = await trade(unique, MARKET[:6], SCRIPT)
    await engine.broker.signal.write_signal_data(None)
    assert await find_torn_slots(engine) == ["equity", "risk", "storage", "strategy"]


# Rows


def read_golden(pattern: str, kind: str | None = None) -> dict[str, Any]:
    """Return a row that the Node engine wrote: the first one of a type, or of a status."""
    for path in sorted(GOLDEN.glob(pattern)):
        row = None if path.name.startswith(".tmp-") else json.loads(path.read_bytes())
        if row is not None and (kind is None or kind in (row.get("type"), row.get("status"))):
            assert isinstance(row, dict)
            return row
    raise AssertionError(f"no row of {kind} in {pattern}")


def find_shape(row: Mapping[str, Any]) -> dict[str, str]:
    """Return the kinds of a row's fields. A null is an infinity in files, and a price that is nothing yet is absent."""
    kinds = {"int": "number", "float": "number", "NoneType": "null"}
    return {name: kinds.get(type(value).__name__, type(value).__name__) for name, value in row.items()}


async def test_rows_have_the_fields_that_the_engine_gives_them(deployment: Deployment, unique: str) -> None:
    engine = await trade(unique, MARKET[:6], SCRIPT)
    state = await read_state(engine)
    held = read_golden("live/dump/data/signal/BTCUSDT*/*.json")
    assert find_shape(state["signal"]) == find_shape(held)
    for point in ("_peak", "_fall"):
        assert find_shape(state["signal"][point]) == find_shape(held[point])
    assert find_shape(state["signal"]["_partial"][0]) == find_shape(held["_partial"][0])
    shown = read_golden("backtest/dump/data/storage/backtest/d34d6c5e*.json")
    not_in_recent = {"status", "priority", "currentPrice", "closeReason", "closeTimestamp", "createdAt", "updatedAt"}
    assert state["recent"].keys() == shown.keys() - not_in_recent
    ((key, position),) = state["risk"]
    ((golden_key, golden_position), *_) = json.loads(
        (GOLDEN / "live/dump/data/risk/my_risk_binance/positions.json").read_bytes()
    )
    assert (key, golden_key) == (f"NAME_{EXCHANGE}_BTCUSDT", "my_strategy_binance_BTCUSDT")
    assert position.keys() == golden_position.keys()
    ((levels,), (reached,)) = (list(rows[-1].values()) for rows in (state["partial"], state["breakeven"]))
    assert levels.keys() == {"profitLevels", "lossLevels"}
    assert reached == {"reached": True}
    control = read_golden("live/dump/data/strategy/BTCUSDT*/strategy.json")
    assert state["strategy"].keys() - control.keys() == {"losses", "pausedUntil"}
    assert control.keys() <= state["strategy"].keys()
    assert find_shape(state["session"]) == find_shape(read_golden("backtest/dump/session/**/*.json"))
    assert state["log"][0].keys() == read_golden("backtest/dump/data/log/log/*.json").keys()

    engine = await trade(unique, MARKET[:-1], SCRIPT)
    waiting = await engine.broker.schedule.read_schedule_data()
    assert waiting is not None
    assert waiting.keys() == read_golden("live/dump/data/schedule/*/*.json").keys()
    by_status = {row["status"]: row for row in await engine.broker.signals.read_storage_data()}
    assert by_status.keys() == {"closed", "cancelled", "scheduled"}
    for status, row in by_status.items():
        later = {"_partial", "_trailingPriceStopLoss", "currentPrice"}  # fields that not every signal has
        expected = read_golden("*/dump/data/storage/*/*.json", status)
        assert row.keys() - later == expected.keys() - later
    notices = {row["type"]: row for row in await engine.broker.notifications.read_notification_data()}
    assert notices.keys() == {
        *("signal.scheduled", "signal.opened", "signal.closed"),
        *("partial_profit.commit", "breakeven.commit"),
    }
    for kind, row in notices.items():
        expected = read_golden("*/dump/data/notification/*/*.json", kind)
        assert row.keys() ^ expected.keys() <= {"pendingAt", "duration"}
        assert row["pnl"].keys() == expected["pnl"].keys()
    refused = await trade(f"{unique}-refused", MARKET, SCRIPT, positions=0)
    rejected = {row["type"]: row for row in (await read_state(refused))["notification"]}
    expected = read_golden("*/dump/data/notification/*/*.json", "risk.rejection")
    assert {kind: row.keys() for kind, row in rejected.items()} == {"risk.rejection": expected.keys()}
