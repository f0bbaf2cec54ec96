"""`explain`: what was known at the moments of a trade, on MongoDB and SQLite."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from backtest_mongo import persist, transaction
from backtest_mongo.cli.explain.trade import Trade
from backtest_mongo.errors import InputError
from tests.support.commands import Done, invoke
from tests.support.stored import Stored
from tests.support.trades import CLOSED, MINUTE, OPENED, SCHEDULED, SLOTS_KEPT, TRADE, write_trade
from tests.support.uniform import candles

pytestmark = pytest.mark.one_python

GOLDEN = Path(__file__).parent.parent / "golden" / "engine-19.5.0"


def explain(stored: Stored, *arguments: str, trade: str = TRADE) -> Done:
    return invoke("explain", trade, *arguments, *stored.options)


def read(stored: Stored, *arguments: str, trade: str = TRADE) -> Any:
    done = explain(stored, "--json", *arguments, trade=trade)
    assert (done.code, done.err) == (0, "")
    return json.loads(done.out)


def find_row(moment: Any, slot: str, key: str | None = None) -> Any:
    (row,) = [row for row in moment["rows"] if row["slot"] == slot and row["key"] == key]
    return row


@pytest.fixture
def trade(kept: Stored) -> Stored:
    kept.run(write_trade, CC_HISTORY=SLOTS_KEPT)
    return kept


def test_each_moment_has_what_was_known_then(trade: Stored) -> None:
    found = read(trade)
    assert found["trade"]["id"] == TRADE
    assert found["trade"]["backtest"] is True
    assert found["trade"]["row"]["closeReason"] == "stop_loss"
    assert [(one["events"], one["when"]) for one in found["moments"]] == [
        (["scheduled"], SCHEDULED), (["opened"], OPENED), (["closed"], CLOSED),
    ]  # fmt: skip
    scheduled, opened, closed = found["moments"]
    expected: dict[str, list[Any]] = {
        "schedule": [SCHEDULED, None, None],
        "state": [None, {"minutes": 0, "plan": "hold"}, {"minutes": 90, "plan": "hold"}],
        "session": [{"ticks": 1}] * 3,
    }
    for slot, values in expected.items():
        for moment, value in zip(found["moments"], values, strict=True):
            row = find_row(moment, slot)
            assert row["known"]
            assert (row["value"] and row["value"].get("scheduledAt", row["value"])) == value
    assert [find_row(moment, "signal")["value"] and 1 for moment in found["moments"]] == [None, 1, 1]
    assert [find_row(moment, "signal")["since"] for moment in found["moments"]] == [SCHEDULED - MINUTE, OPENED, OPENED]
    assert [find_row(moment, "memory", "m-1")["value"] for moment in (opened, closed)] == [None, {"price": 50010.0}]
    assert (find_row(opened, "memory", "m-2")["removed"], find_row(closed, "memory", "m-2")["removed"]) == (False, True)
    assert find_row(closed, "memory", "m-2")["since"] == OPENED + 30 * MINUTE
    assert [find_row(moment, "partial", TRADE)["value"] for moment in (opened, closed)] == [
        None,
        {"profitLevels": [10]},
    ]
    positions = [["trend_binance_BTCUSDT", {"position": "long", "priceOpen": 50_000.5}]]
    assert [find_row(moment, "risk")["value"] for moment in found["moments"]] == [[], positions, positions]
    assert find_row(scheduled, "risk")["context"] == {"risk_name": "mine", "exchange_name": "binance"}
    # Breakeven was never written, and keeps no versions.
    assert [find_row(moment, "breakeven", TRADE)["value"] for moment in found["moments"]] == [None] * 3
    assert found["without_versions"] == []
    assert found["notes"] == []


def test_candles_are_the_last_that_had_closed(trade: Stored) -> None:
    found = read(trade)
    opened = found["moments"][1]["candles"]
    assert [*opened] == ["1m", "1h"]
    assert [candle["timestamp"] for candle in opened["1m"]] == [OPENED - MINUTE * left for left in (5, 4, 3, 2, 1)]
    hour = 1_704_067_200_000
    assert [candle["timestamp"] for candle in opened["1h"]] == [hour - 3_600_000 * left for left in (4, 3, 2, 1, 0)]
    assert {*opened["1h"][0]} == {"timestamp", "open", "high", "low", "close", "volume"}
    few = read(trade, "--candles", "2", "--interval", "1h")["moments"][0]["candles"]
    assert [candle["timestamp"] for candle in few["1h"]] == [hour - 3_600_000, hour]
    assert [*few] == ["1h"]
    assert read(trade, "--candles", "0")["moments"][0]["candles"] == {}


def write_series(interval: Any, times: list[int]) -> Any:
    """Return work that writes the trade, and a series with candles of these times."""

    async def write() -> None:
        await write_trade()
        (candle,) = candles(1)
        rows: Any = [{**candle, "timestamp": time} for time in times]
        await persist.candle("BTCUSDT", interval, "binance").write_candles_data(rows)

    return write


def test_candles_behind_a_gap_are_found(kept: Stored) -> None:
    times = [0, 300_000, 600_000, SCHEDULED - 10 * MINUTE]
    kept.run(write_series("5m", times), CC_HISTORY=SLOTS_KEPT)
    found = read(kept, "--interval", "5m")["moments"][0]["candles"]["5m"]
    assert [candle["timestamp"] for candle in found] == times
    assert len(read(kept, "--interval", "5m", "--candles", "2")["moments"][0]["candles"]["5m"]) == 2


def test_candle_that_is_off_the_grid_is_shown_once_it_has_closed(kept: Stored) -> None:
    # The second one opened before midnight, where a candle of the grid begins, and had not closed at the opening.
    times = [OPENED - 250 * MINUTE, OPENED - 110 * MINUTE]
    kept.run(write_series("2h", times), CC_HISTORY=SLOTS_KEPT)
    found = [one["candles"]["2h"] for one in read(kept, "--interval", "2h")["moments"]]
    assert [[candle["timestamp"] for candle in some] for some in found] == [times[:1], times[:1], times]


def test_text_has_a_part_for_each_moment(trade: Stored) -> None:
    done = explain(trade, "--candles", "1")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[:3] == [
        f"trade {TRADE}",
        "  BTCUSDT trend binance jan backtest",
        "  status closed  side long  entry 50000.5  stop 49000.25  target 52000.0  closed by stop_loss",
    ]
    headings = [line for line in lines if line.startswith(("scheduled", "opened", "closed"))]
    assert headings == [
        *("scheduled  2024-01-01T01:30:00Z", "opened  2024-01-01T01:35:00Z", "closed  2024-01-01T03:35:00Z"),
    ]
    assert lines[lines.index(headings[0]) + 1] == "  signal  empty  since 2024-01-01T01:29:00Z"
    opened = lines[lines.index(headings[1]) : lines.index(headings[2])]
    assert "  state plan  since 2024-01-01T01:35:00Z" in opened
    assert "    minutes 0  plan hold" in opened
    assert '    trend_binance_BTCUSDT {"position": "long", "priceOpen": 50000.5}' in opened
    assert "  nothing yet: memory notes m-1, memory notes m-2, partial, breakeven" in opened
    assert any(line.split()[:2] == ["2024-01-01T01:34:00Z", "50000.0"] for line in opened)
    closed = lines[lines.index(headings[2]) :]
    assert "  memory notes m-2  removed  since 2024-01-01T02:05:00Z" in closed


@pytest.mark.parametrize("width", [40, 80, 120])
def test_terminal_is_not_exceeded_and_shows_what_differs(
    trade: Stored, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = explain(trade).out
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")
    done = explain(trade)
    from rich.text import Text

    lines = Text.from_ansi(done.out).plain.splitlines()
    assert [line for line in lines if len(line.rstrip()) > width] == ([f"trade {TRADE}"] if width == 40 else [])
    words = "".join("".join(lines).split())
    for value in ("50000.5", "49000.25", '"priceOpen":50000.5', "stop_loss", "2024-01-01T03:35:00Z"):
        assert value in words
    assert "\x1b[33m90" in done.out  # minutes of the state, which differ
    assert "\x1b[33mhold" in done.out  # at the first moment that has it
    assert done.out.count("\x1b[33mhold") == 1
    assert "\x1b" not in plain


def test_moments_of_one_time_are_one(kept: Stored) -> None:
    async def write() -> None:
        await write_trade(scheduledAt=OPENED)

    kept.run(write, CC_HISTORY=SLOTS_KEPT)
    assert [one["events"] for one in read(kept)["moments"]] == [["scheduled", "opened"], ["closed"]]
    assert "\nscheduled and opened  2024-01-01T01:35:00Z\n" in explain(kept).out


def test_slots_without_versions_are_named_with_what_is_to_be_set(kept: Stored) -> None:
    kept.run(write_trade, CC_HISTORY="memory,risk")
    found = read(kept)
    assert found["without_versions"] == ["signal", "schedule", "state", "partial", "session"]
    opened, closed = found["moments"][1:]
    assert (find_row(opened, "state")["known"], find_row(opened, "state")["value"]) == (False, None)
    assert find_row(closed, "state")["value"] == {"minutes": 90, "plan": "hold"}  # not written since
    assert find_row(closed, "memory", "m-1")["value"] == {"price": 50010.0}
    done = explain(kept)
    assert "  state plan  not known: written since\n" in done.out
    text = " ".join(done.out.split())
    assert "What signal, schedule, state, partial, session held is unknown where it was written since" in text
    assert "CC_HISTORY=signal,schedule,state,partial,session keeps those of later writes." in text


def test_what_is_older_than_its_versions_is_not_known(kept: Stored) -> None:
    async def write() -> None:
        # The last of them is what the first write with a version keeps.
        for time in (SCHEDULED - MINUTE, SCHEDULED + 1):
            await persist.state(TRADE, "plan").write_state_data({"minutes": -1}, time)
            await asyncio.sleep(0.002)  # two times of writing

    kept.run(write)
    kept.run(write_trade, CC_HISTORY=SLOTS_KEPT)
    found = read(kept)
    assert found["without_versions"] == []
    assert [find_row(moment, "state")["known"] for moment in found["moments"]] == [False, True, True]
    assert found["notes"] == ["What state held is unknown where it is older than the versions that are kept."]
    assert "  state plan  not known: older than its versions\n" in explain(kept).out


def test_versions_by_the_clock_are_noted(kept: Stored) -> None:
    async def write() -> None:
        await write_trade()
        await persist.signal("BTCUSDT", "other", "binance").write_signal_data({"id": "other"})
        async with transaction(when=CLOSED):
            row = {"id": "other", "symbol": "BTCUSDT", "strategyName": "other", "exchangeName": "binance"}
            await persist.storage(False).write_storage_data([{**row, "pendingAt": OPENED}])

    kept.run(write, CC_HISTORY=SLOTS_KEPT)
    (note,) = read(kept, trade="other")["notes"]
    assert note == (
        "The versions of signal have the times at which they were written: write it within transaction(when=...) to "
        "have them by simulation time."
    )
    assert read(kept)["notes"] == []


def test_row_without_names_shows_what_is_stored_by_its_id(kept: Stored) -> None:
    async def write() -> None:
        await persist.state("bare", "plan").write_state_data({"n": 1}, OPENED)
        async with transaction(when=CLOSED):
            await persist.storage(False).write_storage_data([{"id": "bare", "openedAt": OPENED}])

    kept.run(write, CC_HISTORY=SLOTS_KEPT)
    found = read(kept, trade="bare")
    (moment,) = found["moments"]
    assert [row["slot"] for row in moment["rows"]] == ["state"]
    assert moment["rows"][0]["value"] == {"n": 1}
    assert "has no symbol and no strategyName and no exchangeName" in found["notes"][0]


def test_trade_that_is_not_stored_is_an_error_with_similar_ones(trade: Stored) -> None:
    for name in (TRADE[:8], TRADE.replace("4000", "4001"), TRADE.upper()):
        done = explain(trade, trade=name)
        assert (done.code, done.out) == (1, "")
        assert f"no trade has the id '{name}' (did you mean {TRADE}?)" in done.error
    assert "`backtest-mongo inspect storage` shows" in explain(trade, trade="nothing like it").error
    done = explain(trade, "--live")
    assert (done.code, done.out) == (1, "")
    assert f"no trade of live trading has the id '{TRADE}' (storage has no signals)" in done.error


def test_trade_of_a_backtest_and_a_live_one_are_told_apart(trade: Stored) -> None:
    async def write() -> None:
        await write_trade(backtest=False, closeReason="by hand")

    trade.run(write)
    done = explain(trade)
    assert (done.code, done.out) == (1, "")
    assert "both a backtest and live trading have a trade" in done.error
    assert read(trade, "--live")["trade"]["row"]["closeReason"] == "by hand"
    assert read(trade, "--backtest")["trade"]["row"]["closeReason"] == "stop_loss"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--candles", "-1"], "'--candles'"), (["--interval", "7m"], "'7m' is not one of 1s, 1m")],
)
def test_mistakes_in_the_arguments_are_reported(arguments: list[str], message: str) -> None:
    done = invoke("explain", "x", *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.error


@pytest.mark.parametrize(
    ("path", "events"),
    [
        ("backtest/dump/data/storage/backtest/226b1ed7-df6b-4000-a605-3119a2f98000.json", "scheduled opened closed"),
        ("backtest/dump/data/storage/backtest/d34d6c5e-d4a4-4000-af18-17a15d7c7000.json", "scheduled,opened closed"),
        ("backtest/dump/data/storage/backtest/3dfdc4c4-616c-4000-afcd-413a79b70000.json", "scheduled cancelled"),
        ("live/dump/data/storage/live/b309355e-d3f4-4000-ac4e-b06e49e56000.json", "scheduled"),
        ("live/dump/data/storage/live/b0e83d56-a7f2-4000-a382-fcf6f6f46000.json", "scheduled,opened"),
    ],
)
def test_moments_of_what_the_engine_stores(path: str, events: str) -> None:
    row = json.loads((GOLDEN / path).read_text())
    moments = Trade(row["id"], True, row).list_moments()
    assert " ".join(",".join(one.events) for one in moments) == events
    assert moments[0].when == row["scheduledAt"]
    if "closed" in events:
        assert moments[-1].when == row["closeTimestamp"]


def test_moments_of_rows_with_other_fields() -> None:
    row = {"openedAt": "2024-01-01T00:00:00Z", "closedAt": 1_704_070_800_000}
    moments = Trade("x", False, row).list_moments()
    assert [(one.events, one.when) for one in moments] == [
        (("opened",), 1_704_067_200_000), (("closed",), 1_704_070_800_000),
    ]  # fmt: skip
    assert Trade("x", False, {"createdAt": 5}).list_moments()[0].events == ("created",)
    with pytest.raises(InputError, match=r"the row of x in storage has no time \(it has none of scheduledAt"):
        Trade("x", False, {"status": "opened"}).list_moments()
