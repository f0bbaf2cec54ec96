"""The trades on a chart: rows of Node and of this library, whole or not."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest_mongo.market_data.plot_bars import merge_bars
from backtest_mongo.market_data.plot_trades import build_overlay, read_trades
from tests.support.charts import FRIDAY, HOUR, MARKET, get_time, make_bars, make_overlay, make_signal

pytestmark = pytest.mark.one_python


def test_trade_in_a_weekend_is_at_the_candle_before() -> None:
    over = make_overlay([make_signal("a", 10, 20, closedAt=get_time(FRIDAY) + 5 * HOUR, priceClose=1.0)])
    assert [(mark.kind, mark.bar) for mark in over.marks] == [("long", 10), ("loss", FRIDAY)]


def test_marks_are_at_the_merged_candles_that_hold_their_times() -> None:
    bars = merge_bars(make_bars(MARKET), 20)
    over = make_overlay([make_signal("a", 10, 100, priceClose=2.0)], bars=bars)
    for mark, time in zip(over.marks, (get_time(10), get_time(100)), strict=True):
        assert bars.times[mark.bar] <= time < bars.times[mark.bar] + bars.step


def test_node_rows_are_understood() -> None:
    row = {
        "id": "uuid",
        "symbol": "EURUSD",
        "strategyName": "s",
        "position": "short",
        "priceOpen": 1.08,
        "priceTakeProfit": 1.06,
        "priceStopLoss": 1.09,
        "_isScheduled": False,
        "scheduledAt": float(get_time(3)),
        "pendingAt": float(get_time(5)),
        "createdAt": get_time(4),
        "updatedAt": get_time(9),
        "status": "closed",
        "closeTimestamp": get_time(8),
        "closeReason": "take_profit",
        "currentPrice": 1.0605,
        "pnl": {"pnlPercentage": 1.4, "priceOpen": 1.0789, "priceClose": 1.0615},
    }
    over = make_overlay([row])
    assert [(mark.kind, mark.bar, mark.price) for mark in over.marks] == [("short", 5, 1.08), ("profit", 8, 1.0605)]
    assert over.marks[1].row(5)["result"] == "+1.40 %"
    del row["currentPrice"]
    assert make_overlay([row]).marks[1].price == 1.0615
    del row["closeTimestamp"]
    assert make_overlay([row]).marks[1].bar == 9


@pytest.mark.parametrize(
    ("more", "price"),
    [
        ({"closeReason": "stop loss", "priceStopLoss": 1.05}, 1.05),
        ({"closeReason": "take_profit", "priceTakeProfit": 1.09}, 1.09),
        ({"closeReason": "take_profit"}, MARKET[20]["close"]),
        ({"closeReason": "the averages crossed", "priceStopLoss": 1.05}, MARKET[20]["close"]),
        ({}, MARKET[20]["close"]),
    ],
)
def test_exit_without_a_price_is_at_what_ended_it_and_counted(more: dict[str, Any], price: float) -> None:
    over = make_overlay([make_signal("a", 10, 20, **more)])
    assert over.marks[1].price == price
    assert over.summarize().endswith("; 1 exit without a price, drawn at the stop, the target or the candle's close")


def test_what_can_not_be_drawn_is_counted_by_reason() -> None:
    rows = [
        make_signal("a", 10, 20, profit=1, priceClose=1.0),
        make_signal("b", 10, 20, profit=0, priceClose=1.0),
        make_signal("c", 10, 20, priceOpen="?"),
        make_signal("d", 10, 20, priceOpen=float("nan")),
        make_signal("e", 10, 20, pendingAt=None),
        make_signal("f", 10, 20, position=None),
        make_signal("g", 10, None, status="scheduled"),
        make_signal("h", 10, 20, status="cancelled"),
        make_signal("i", 10, None, status="closed", priceStopLoss=1.0),
    ]
    over = make_overlay(rows)
    assert len(over.trades) == 3
    assert over.summarize() == (
        "3 long, 0 short, 1 closed with profit, 1 closed at break-even; left out: 1 exit without a time, 2 not filled, "
        "2 without a price, 1 without a side, 1 without a time"
    )
    assert [line.kind for line in over.lines] == ["entry to exit"] * 2


def test_signals_of_other_times_are_neither_drawn_nor_counted() -> None:
    bars = make_bars(MARKET[50:100])
    rows = [
        make_signal("before", 10, 20),
        make_signal("after", 120, 130),
        make_signal("cancelled before", 10, 20, status="cancelled"),
        make_signal("no price, after", 120, priceOpen=None),
        make_signal("around", 10, 130, priceStopLoss=1.0),
    ]
    left_out = Counter[str]()
    over = build_overlay(read_trades(rows, None, bars, left_out), bars, bars, left_out)
    assert [trade.name for trade in over.trades] == ["around"]
    assert not left_out
    assert [(line.kind, line.bar, line.last_bar) for line in over.lines] == [("stop", 0, 49)]
    assert not over.marks


def test_pending_signal_counts_once() -> None:
    row = make_signal("a", 10)
    assert len(make_overlay([row], row).trades) == 1
    assert len(make_overlay([], row).trades) == 1
    assert len(make_overlay([row], {**row, "id": "b"}).trades) == 2


_values = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=3) | st.decimals()
)
_times = st.integers(get_time(0) - 9 * HOUR, get_time(159) + 9 * HOUR) | st.datetimes(timezones=st.just(UTC))
_names = st.sampled_from(
    ["id", "pendingAt", "timestamp", "closedAt", "priceOpen", "priceStopLoss", "pnl", "priceClose"]
)


@given(
    st.lists(
        st.builds(
            lambda row, position, status: {**row, "position": position, "status": status},
            st.dictionaries(_names, _values | _times | st.dictionaries(st.just("pnlPercentage"), _values)),
            st.sampled_from(["long", "short", None, 1]),
            st.sampled_from(["opened", "closed", "cancelled", "", None]),
        )
    )
)
@settings(deadline=None)
def test_whatever_is_stored_is_drawn_or_left_out(rows: list[dict[str, Any]]) -> None:
    over = make_overlay(rows, rows[0] if rows else None)
    json.dumps([mark.row(5) for mark in over.marks], allow_nan=False)
    json.dumps([vars(line) for line in over.lines], allow_nan=False)
    assert all(0 <= mark.bar < 160 for mark in over.marks)
    assert all(0 <= line.bar <= line.last_bar < 160 for line in over.lines if line.kind != "entry to exit")
