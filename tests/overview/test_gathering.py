"""What an overview says, on every storage: which runs there are, what belongs to which, and whatever payloads hold."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import aclosing
from decimal import Decimal
from typing import Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument

from backtest_mongo import SlotSpec, persist
from backtest_mongo.overview import gathering, stored
from backtest_mongo.overview.gathering import gather_overview
from backtest_mongo.overview.model import OpenSignal, Overview, Price, Profit, RunKey, RunStatus, Seen
from backtest_mongo.overview.payloads import is_closed, read_amount, read_notice, read_signal, value_signal
from backtest_mongo.overview.watching import watch_overview
from tests.conftest import Deployment
from tests.support.deadlines import SECONDS

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]

WHEN = 1_704_067_200_000
NAMES = {"symbol": "BTC", "strategyName": "trend", "exchangeName": "binance"}
LONG = {"id": "s-1", "position": "long", "priceOpen": 100.0, "pendingAt": WHEN}


async def session(symbol: str = "BTC", frame: str = "", when: int = WHEN, strategy: str = "trend") -> None:
    await persist.session(strategy, "binance", frame, symbol, backtest=frame != "").write_session_data({"n": 1}, when)


async def recent(symbol: str = "BTC", frame: str = "", when: int = WHEN, **payload: Any) -> None:
    adapter = persist.recent(symbol, "trend", "binance", frame, backtest=frame != "")
    await adapter.write_recent_data({"id": "s-1", **payload}, when)


async def signal(payload: Any, symbol: str = "BTC") -> None:
    await persist.signal(symbol, "trend", "binance").write_signal_data(payload)


async def trades(*rows: dict[str, Any], backtest: bool = True) -> None:
    written = [{"id": f"t-{n}", **NAMES, "status": "closed", **row} for n, row in enumerate(rows)]
    await persist.storage(backtest).write_storage_data(written)


def show(overview: Overview) -> list[tuple[Any, ...]]:
    return [(run.key.symbol, run.key.backtest, run.key.frame_name) for run in overview.runs]


def only(overview: Overview) -> RunStatus:
    (run,) = overview.runs
    return run


async def test_nothing_is_an_empty_overview(deployment: Deployment) -> None:
    assert await gather_overview() == Overview(runs=(), more=0, live=None, backtest=None, problems=())


# Which runs there are


async def test_runs_are_in_order_live_ones_first(deployment: Deployment) -> None:
    await session("ETH", "jan")
    await session("BTC", "jan")
    await session("BTC", "feb")
    await session("ETH")
    await session("BTC", strategy="other")
    await session("")
    found = await gather_overview()
    assert [run.key.strategy_name for run in found.runs] == ["other", *["trend"] * 5]
    assert show(found)[1:] == [
        ("", False, ""),
        ("ETH", False, ""),
        ("BTC", True, "feb"),
        ("BTC", True, "jan"),
        ("ETH", True, "jan"),
    ]
    assert found.runs[1].realised is None  # a session of all symbols has no trades of its own
    some = await gather_overview(2)
    assert (some.runs, some.more) == (found.runs[:2], 4)


async def test_strategy_is_found_by_whatever_it_has_stored(deployment: Deployment) -> None:
    await signal(LONG, "A")
    await persist.schedule("B", "trend", "binance").write_schedule_data({"id": "b"})
    await persist.strategy("C", "trend", "binance").write_strategy_data({"n": 1})
    await persist.partial("D", "trend", "binance").write_partial_data({"n": 1}, "s", WHEN)
    await persist.breakeven("E", "trend", "binance").write_breakeven_data({"n": 1}, "s", WHEN)
    await trades({"symbol": "F"}, {"symbol": "G", "frameName": "jan"})
    await trades({"symbol": "H"}, backtest=False)
    note = {"id": "n", **NAMES, "symbol": "I", "type": "x", "timestamp": WHEN}
    await persist.notification(False).write_notification_data([note])
    assert {*show(await gather_overview())} == {
        *((symbol, None, None) for symbol in "ABCDE"),
        ("F", True, None),
        ("G", True, "jan"),
        ("H", False, ""),
        ("I", False, ""),
    }


async def test_last_bar_is_the_latest_time_that_is_stored(deployment: Deployment, driver: str) -> None:
    await session(when=WHEN)
    await recent(when=WHEN + 1)
    # A file's time is what its payload says.
    latest = Seen(time=WHEN + 1, slot="recent")
    if driver != "files":
        assert only(await gather_overview()).last_bar == latest
        await persist.equity("trend", "binance", "", "BTC").append([{"timestamp": WHEN + 2, "equity": 1.0}])
        latest = Seen(time=WHEN + 2, slot="equity")
        assert only(await gather_overview()).last_bar == latest
    await session(when=WHEN + 3)
    assert only(await gather_overview()).last_bar == Seen(time=WHEN + 3, slot="session")


# Whose signal it is


async def owner(**payload: Any) -> tuple[Any, ...]:
    """Return the run that a signal is shown in, of a live one and two backtests."""
    await session()
    await session(frame="jan")
    await session(frame="feb")
    await signal({**LONG, **payload})
    runs = (await gather_overview()).runs
    (run,) = (run for run in runs if run.signal is not None and run.signal.slot == "signal")
    return run.key.backtest, run.key.frame_name


async def test_frame_of_a_signal_names_its_run(deployment: Deployment) -> None:
    assert await owner(frameName="") == (False, "")
    assert await owner(frameName="feb") == (True, "feb")
    assert await owner(frameName="mar") == (True, "mar")


async def test_id_of_a_signal_names_its_run(deployment: Deployment) -> None:
    await recent(frame="jan", id="s-1")
    assert await owner() == (True, "jan")
    await trades({"id": "s-2", "frameName": "feb", "status": "opened"})
    assert await owner(id="s-2") == (True, "feb")
    note = {"id": "s-4", **NAMES, "frameName": "jan", "signalId": "s-3"}
    await persist.notification(True).write_notification_data([note])
    assert await owner(id="s-3") == (True, "jan")
    assert await owner(id="s-4") == (None, None)


async def test_signal_that_nothing_ties_to_a_run_is_shown_by_itself(deployment: Deployment) -> None:
    assert await owner() == (None, None)
    await recent(frame="jan", id="s-1")
    await recent(frame="feb", id="s-1")
    assert await owner() == (None, None)
    run = next(run for run in (await gather_overview()).runs if run.key.backtest is None)
    assert (run.realised, run.last_bar, run.notice) == (None, None, None)


async def test_open_signal_of_a_backtest_without_a_row_is_in_storage(deployment: Deployment) -> None:
    await session(frame="jan")
    await trades({**LONG, "status": "opened"}, {"profit": 1.0})
    run = only(await gather_overview())
    assert run.signal is not None
    assert (run.signal.slot, run.signal.side, run.signal.since) == ("storage", "long", WHEN)
    assert run.realised == Profit(amount=1.0, trades=1, unknown=0, is_cut=False)
    await signal(None)  # says that nothing is open
    assert only(await gather_overview()).signal is None


async def test_cleared_row_does_not_close_the_signal_of_a_backtest_beside_a_live_run(deployment: Deployment) -> None:
    await session()
    await session(frame="jan")
    await trades({**LONG, "status": "opened", "frameName": "jan"})
    await trades({**LONG, "status": "opened"}, backtest=False)
    await signal(None)
    live, backtest = (await gather_overview()).runs
    assert live.signal is None
    assert backtest.signal is not None


# Profit


async def test_profits_of_closed_signals_are_added(deployment: Deployment) -> None:
    await session(frame="jan")
    await trades(
        {"pnl": {"pnlCost": -2.5, "pnlPercentage": -40.0}},
        {"profit": 10},
        {"pnl": 1.5},
        {"pnlCost": "0.25"},
        {"status": "cancelled", "profit": 100},
        {"status": "opened", "profit": 100},
        {"status": "scheduled", "profit": 100},
        {"symbol": "ETH", "profit": 100},
        {"strategyName": "other", "profit": 100},
        {"exchangeName": "other", "profit": 100},
        {"pnl": {"pnlPercentage": 3.0}},
    )
    run = next(run for run in (await gather_overview()).runs if run.key == only_key("jan"))
    assert run.realised == Profit(amount=9.25, trades=5, unknown=1, is_cut=False)


def only_key(frame: str) -> Any:
    return RunKey(strategy_name="trend", exchange_name="binance", symbol="BTC", frame_name=frame, backtest=True)


async def test_profit_that_may_be_of_another_run_is_unknown(deployment: Deployment) -> None:
    await session(frame="jan")
    await session(frame="feb")
    await trades({"profit": 1.0}, {"profit": 2.0, "frameName": "jan"})
    feb, jan = (await gather_overview()).runs
    assert jan.realised == Profit(amount=2.0, trades=2, unknown=1, is_cut=False)
    assert feb.realised == Profit(amount=0.0, trades=1, unknown=1, is_cut=False)


async def test_only_the_newest_rows_are_read(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "_NEWEST", 2)
    monkeypatch.setattr(gathering, "MOST_ROWS", 4)
    await session(frame="jan")
    await trades(*({"profit": 1.0} for _ in range(3)))
    assert only(await gather_overview()).realised == Profit(amount=3.0, trades=3, unknown=0, is_cut=False)
    await trades(*({"profit": 1.0} for _ in range(6)))
    assert only(await gather_overview()).realised == Profit(amount=4.0, trades=4, unknown=0, is_cut=True)


async def test_contexts_beyond_the_limit_are_a_problem(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "MOST_CONTEXTS", 2)
    for symbol in ("A", "B", "C"):
        await session(symbol)
    found = await gather_overview()
    assert [run.key.symbol for run in found.runs] == ["A", "B"]
    assert found.problems == ("session: only the first 2 contexts are shown",)


async def test_price_is_that_of_the_shortest_interval(deployment: Deployment) -> None:
    await session()
    await signal({**LONG, "frameName": "", "position": "short", "size": 3})
    assert only(await gather_overview()).unrealised is None
    for interval, close in (("1d", 1.0), ("15m", 90.0), ("1h", 2.0)):
        row: Any = {"timestamp": WHEN, "open": close, "high": close, "low": close, "close": close, "volume": 0.0}
        await persist.candle("BTC", interval, "binance").write_candles_data([row])  # type: ignore[arg-type]  # they are intervals
    run = only(await gather_overview())
    assert run.price == Price(interval="15m", time=WHEN, close=90.0)
    assert run.unrealised is not None
    assert dataclasses.astuple(run.unrealised) == (10.0, 30.0)


async def test_newest_notification_that_names_the_run_is_its_own(deployment: Deployment) -> None:
    await session()
    await session(frame="jan")
    rows = [{"id": f"n-{n}", **NAMES, "type": f"t-{n}", "createdAt": WHEN + n} for n in range(3)]
    await persist.notification(False).write_notification_data(rows)
    await persist.notification(False).write_notification_data([{"id": "other", "message": "hello"}])
    found = await gather_overview()
    live, backtest = found.runs
    assert live.notice is not None
    assert (live.notice.type, live.notice.time) == ("t-2", WHEN + 2)
    assert (backtest.notice, found.backtest) == (None, None)
    assert found.live is not None
    assert (found.live.id, found.live.type, found.live.time, found.live.text) == ("other", None, None, "hello")


# Whatever payloads hold

ODD: list[Any] = [
    None,
    True,
    -1,
    2**62,
    1e308,
    5e-324,
    float("inf"),
    float("nan"),
    "",
    "x",
    "[bold]x[/bold]",
    "\x1b[2J",
    "1e999",
    [],
    {},
    {"pnlCost": {}},
    [[]],
    Decimal("1e-400"),
]
FIELDS = (
    *("id", "position", "priceOpen", "size", "pendingAt", "timestamp", "createdAt", "scheduledAt", "frameName"),
    *("status", "pnl", "profit", "closedAt", "priceClose", "symbol", "strategyName", "exchangeName", "type", "message"),
)


@pytest.mark.parametrize("field", FIELDS)
def test_odd_values_are_unknown_or_as_they_are(field: str) -> None:
    for value in ODD:
        payload = {**LONG, **NAMES, "status": "closed", field: value}
        for slot in ("signal", "schedule", "storage"):
            found = read_signal(payload, slot)
            assert found is not None
            assert found.side in ("long", "short", None)
            value_signal(found, Price(interval="1m", time=0, close=1e308))
        is_closed(payload)
        read_amount(payload)
        read_notice(payload)


@pytest.mark.parametrize("payload", [None, 1, "x", [], [1], True, 1.5])
def test_payload_that_is_no_object_is_nothing(payload: Any) -> None:
    assert read_signal(payload, "signal") is None
    assert not is_closed(payload)
    assert dataclasses.astuple(read_notice(payload)) == (None, None, None, None)


def test_profit_is_a_finite_number_or_unknown() -> None:
    tiny = OpenSignal(slot="signal", id=None, side="long", entry=5e-324, stop=None, target=None, size=1e308, since=None)
    assert value_signal(tiny, Price(interval="1m", time=0, close=1e308)) is None
    found = value_signal(dataclasses.replace(tiny, entry=1.0), Price(interval="1m", time=0, close=3.0))
    assert found is not None
    assert (found.percent, found.amount) == (200.0, None)
    for entry in (0.0, None):
        assert value_signal(dataclasses.replace(tiny, entry=entry), Price(interval="1m", time=0, close=3.0)) is None


async def test_odd_rows_break_nothing(deployment: Deployment) -> None:
    await session()
    await signal({**LONG, "frameName": ""})
    rows = [{**NAMES, "status": "closed", name: value, "id": f"{name}-{n}"}
            for n, value in enumerate(ODD) for name in FIELDS if name != "id"]  # fmt: skip
    await persist.storage(False).write_storage_data(rows)
    await persist.notification(False).write_notification_data(rows[:150])
    found = await gather_overview()
    run = next(run for run in found.runs if run.signal is not None)
    assert run.signal is not None
    assert run.signal.id == "s-1"
    assert run.realised is not None
    assert run.realised.trades > 0
    assert found.problems == ()


@pytest.mark.mongodb
async def test_document_of_another_program_is_shown_as_unknown(deployment: Deployment) -> None:
    documents = await deployment.collection(persist._adapters["signal"].spec)
    key = {"strategyName": "trend", "exchangeName": "binance"}
    odd = [*ODD[:-1], [{"position": "long"}], {"position": ["long"], "frameName": 3}]
    await documents.insert_many([{**key, "symbol": f"S{n}", "payload": value} for n, value in enumerate(odd)])
    await documents.insert_many([{**key, "symbol": 5, "payload": {}}, {"payload": {}}, {**key, "symbol": "none"}])
    sessions = await deployment.collection(persist._adapters["session"].spec)
    named = {**key, "frameName": "", "backtest": False}
    await sessions.insert_many([{**named, "symbol": f"S{n}", "when": value} for n, value in enumerate(ODD[:-1])])
    found = await gather_overview()
    runs = {run.key.symbol: run for run in found.runs}
    assert {f"S{n}" for n in range(len(odd))} <= {*runs}
    assert runs[f"S{len(odd) - 1}"].signal is not None
    assert all(run.signal is None or run.signal.side is None for run in found.runs)


@pytest.mark.mongodb
async def test_row_that_can_t_be_decoded_is_a_problem_and_the_others_are_shown(deployment: Deployment) -> None:
    await signal({**LONG, "frameName": ""}, "A")
    await session("B")
    documents = await deployment.collection(persist._adapters["signal"].spec)
    bad = {"symbol": "B", "strategyName": "trend", "exchangeName": "binance"}
    raw = bson.encode({**bad, "payload": {"text": "MARK"}}).replace(b"MARK", b"\xff\xfe\xfd\xfc")  # no UTF-8
    await documents.insert_one(RawBSONDocument(raw))
    found = await gather_overview()
    assert [run.key.symbol for run in found.runs] == ["A", "B"]
    assert found.runs[0].signal is not None
    assert found.runs[1].signal is None
    (problem,) = found.problems
    assert problem.startswith("signal: ")


# Watching


async def test_watch_yields_what_has_changed(deployment: Deployment) -> None:
    await session()
    async with asyncio.timeout(SECONDS), aclosing(watch_overview()) as overviews:
        assert only(await anext(overviews)).signal is None
        await signal({**LONG, "frameName": ""})
        # A change of one slot at a time: whichever overview comes next has it.
        assert only(await anext(overviews)).signal is not None
        await trades({"profit": 2.0}, backtest=False)
        assert only(await anext(overviews)).realised == Profit(amount=2.0, trades=1, unknown=0, is_cut=False)


async def test_watch_reads_the_rows_of_a_slot_again_once_it_has_changed(
    deployment: Deployment, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    read_newest = stored.StoredRows._read_newest

    async def record(self: stored.StoredRows, spec: SlotSpec, *arguments: Any) -> list[Any]:
        read.append(spec.name)
        return await read_newest(self, spec, *arguments)

    monkeypatch.setattr(stored.StoredRows, "_read_newest", record)
    await session()
    async with asyncio.timeout(SECONDS), aclosing(watch_overview()) as overviews:
        await anext(overviews)
        assert {*read} == {"storage", "notification"}
        read.clear()
        await signal({**LONG, "frameName": ""})
        await anext(overviews)
        assert {*read} == (set() if driver != "files" else {"storage", "notification"})
        read.clear()
        await trades({"profit": 2.0}, backtest=False)
        await anext(overviews)
        assert {*read} == ({"storage"} if driver != "files" else {"storage", "notification"})


async def test_watch_that_has_ended_leaves_nothing_open(deployment: Deployment, driver: str) -> None:
    await session()
    async with asyncio.timeout(SECONDS), aclosing(watch_overview()) as overviews:
        await anext(overviews)
    if driver != "files":
        assert deployment.list_watches() == []
