"""Charts of trades and of equity: what is drawn of how many rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backtest_mongo import EquityAdapter, InputError, InputTypeError, SignalAdapter, TradeAdapter
from backtest_mongo.market_data import plot_series
from backtest_mongo.market_data.exact_times import format_exact_time, parse_exact_time
from backtest_mongo.market_data.series_steps import Points, StepName, Steps, find_step
from tests.conftest import Deployment
from tests.support.charts import read_spec

pytestmark = pytest.mark.either_driver

#: 2024-01-01 00:00 UTC.
START = 1_704_067_200_000_000
SECOND = 1_000_000


def collect(parts: list[list[tuple[int, float, int, float, float]]], step: StepName, most: int) -> Points:
    steps = Steps(2, step, most)
    for part in parts:
        time, value, kind, amount, second = zip(*part, strict=True)
        steps.add(np.array(time), np.array(value), np.array(kind), np.array(amount), np.array(second))
    points = steps.take()
    assert points is not None
    assert points.rows.sum() == steps.rows == sum(map(len, parts))
    return points


@pytest.mark.parametrize("size", [1, 7, 100, 1_000])
def test_steps_lose_neither_an_extreme_nor_an_amount(size: int) -> None:
    random = np.random.default_rng(1)
    times = np.sort(random.integers(0, 10_000, 1_000))
    rows = [
        (int(time), float(value), int(kind), float(amount), float(second))
        for time, value, kind, amount, second in zip(
            times,
            random.normal(size=1_000),
            random.integers(0, 2, 1_000),
            random.integers(1, 9, 1_000),
            random.normal(size=1_000),
            strict=True,
        )
    ]
    points = collect([rows[at : at + size] for at in range(0, 1_000, size)], StepName(100, ""), 120)
    steps = sorted({time // 100 for time in times.tolist()})
    assert len(points) == len(steps)
    for place, step in enumerate(steps):
        inside = [row for row in rows if row[0] // 100 == step]
        assert points.time[place] == inside[-1][0]
        assert points.last[place] == inside[-1][1]
        assert points.low[place] == min(row[1] for row in inside)
        assert points.high[place] == max(row[1] for row in inside)
        assert points.sums[place].tolist() == [sum(row[3] for row in inside if row[2] == kind) for kind in (0, 1)]
        assert points.extreme[place] == min(row[4] for row in inside)
        assert points.rows[place] == len(inside)


def test_few_rows_are_points_of_their_own() -> None:
    points = collect([[(5, 1.0, 0, 2.0, 0.0), (5, 2.0, 1, 3.0, -1.0)], [(6, 1.5, 0, 1.0, -0.5)]], StepName(100, ""), 3)
    assert (points.time.tolist(), points.kind.tolist()) == ([5, 5, 6], [0, 1, 0])
    assert points.low.tolist() == points.high.tolist() == points.last.tolist() == [1.0, 2.0, 1.5]


@pytest.mark.parametrize(
    ("span", "unit", "step"),
    [
        (1, "ms", "1 ms"),
        (5, "us", "1 us"),
        (5, "ns", "1 ns"),
        (98_000, "us", "1 ms"),
        (99_001, "us", "2 ms"),
        (60 * SECOND, "us", "1 s"),
        (3_600 * SECOND, "us", "1 min"),
        (86_400_000, "ms", "15 min"),
        (365 * 86_400_000, "ms", "5 d"),
        (9_000 * 365 * 86_400_000, "ms", "36,500 d"),
        (2**63 - 1, "ns", "3,650 d"),
    ],
)
def test_step_is_the_shortest_that_people_count_in(span: int, unit: Any, step: str) -> None:
    found = find_step(span, 100, unit)
    assert found.name == step
    assert (span - 1) // found.units + 2 <= 100


def read_page(path: Path) -> dict[str, Any]:
    """Return the specification of a page's chart, with the data of each layer in its place."""
    page = read_spec(path)
    for part in page["vconcat"]:
        for layer in part["layer"]:
            data = layer.get("data") or part["data"]  # which layers may share
            layer["rows"] = page["datasets"][data["name"]] if "name" in data else data["values"]
    return page


async def test_single_trades_are_drawn_with_their_sides(deployment: Deployment, unique: str, tmp_path: Path) -> None:
    sides = ["buy", "SELL", None, "odd"]
    rows = [
        {"timestamp": START + at, "trade_id": at, "price": 1.0 + at, "amount": 0.5 * at, "side": side}
        for at, side in enumerate(sides)
    ]
    await TradeAdapter("BTC<USDT", unique).append(rows)
    report = await plot_series(TradeAdapter("BTC<USDT", unique), tmp_path / "a.html")
    assert (report.rows, report.points, report.step, report.left_out) == (4, 4, None, 0)
    page = read_page(tmp_path / "a.html")
    assert page["title"]["text"] == f"trade, BTC<USDT, {unique}, 2024-01-01 00:00 to 2024-01-01 00:00:00.000003 UTC"
    assert page["title"]["subtitle"] == ["4 trades"]
    marks = page["vconcat"][0]["layer"][1]["rows"]
    assert [(row["last"], row["side"], row["amount"]) for row in marks] == [
        (1.0, "buy", 0.0),
        (2.0, "sell", 0.5),
        (3.0, "unknown", 1.0),
        (4.0, "unknown", 1.5),
    ]
    assert marks[1]["time"] == pytest.approx(START / 1_000 + 0.001, abs=1e-3)


async def test_many_trades_are_drawn_as_steps_that_the_subtitle_names(
    deployment: Deployment, unique: str, tmp_path: Path
) -> None:
    trades = TradeAdapter("BTCUSDT", unique)
    count = 5_000
    price = np.full(count, 100.0)
    price[1_234], price[3_456] = 1.0, 999.0
    frame = {
        "timestamp": START + SECOND * np.arange(count),
        "trade_id": np.arange(count),
        "price": price,
        "amount": np.full(count, 2.0),
        "side": np.array(["buy", "sell"] * (count // 2), object),
    }
    await trades.write_frame(frame)
    report = await plot_series(trades, tmp_path / "a.html", max_points=100, title="a title")
    assert (report.rows, report.step) == (count, "1 min")
    page = read_page(tmp_path / "a.html")
    assert page["title"]["text"] == "a title"
    assert page["title"]["subtitle"] == [
        "5,000 trades in 84 steps of 1 min, of each the lowest, the highest and the last price"
    ]
    steps = page["vconcat"][0]["layer"][0]["rows"]
    assert (min(row["low"] for row in steps), max(row["high"] for row in steps)) == (1.0, 999.0)
    assert sum(row["trades"] for row in steps) == count
    amounts = page["vconcat"][1]["layer"][0]["rows"]
    assert {side: sum(row["amount"] for row in amounts if row["side"] == side) for side in ("buy", "sell")} == {
        "buy": count,
        "sell": count,
    }


async def test_equity_is_drawn_with_the_distance_from_its_peak(
    deployment: Deployment, unique: str, tmp_path: Path
) -> None:
    equity = EquityAdapter("trend", unique, "2024")
    values = [100.0, 110.0, 99.0, float("nan"), 104.5, 120.0, 60.0]
    await equity.append([{"timestamp": START // 1_000 + at, "equity": value} for at, value in enumerate(values)])
    report = await plot_series(equity, tmp_path / "a.html")
    assert (report.rows, report.left_out) == (6, 1)
    page = read_page(tmp_path / "a.html")
    assert page["title"]["subtitle"] == [
        "6 rows; left out: 1 without a finite equity",
        "from 100.00 to 60.00; deepest drawdown -60.00",
    ]
    drawn = page["vconcat"][1]["layer"][0]["rows"]
    assert [row["drawdown"] for row in drawn] == [0.0, 0.0, -11.0, -5.5, 0.0, -60.0]
    report = await plot_series(equity, tmp_path / "b.html", max_points=5)
    assert report.step == "2 ms"
    drawn = read_page(tmp_path / "b.html")["vconcat"][1]["layer"][0]["rows"]
    assert [row["drawdown"] for row in drawn] == [0.0, -11.0, -5.5, -60.0]


async def test_chart_of_nothing_is_refused(deployment: Deployment, unique: str, tmp_path: Path) -> None:
    equity = EquityAdapter("trend", unique, "2024")
    with pytest.raises(InputError, match="no row of this series is stored"):
        await plot_series(equity, tmp_path / "a.html")
    await equity.append([{"timestamp": 5, "equity": float("inf")}])
    with pytest.raises(InputError, match="no row with a finite equity is stored in that range"):
        await plot_series(equity, tmp_path / "a.html")
    with pytest.raises(InputError, match="max_points must be 2 or more, not 1"):
        await plot_series(equity, tmp_path / "a.html", max_points=1)
    with pytest.raises(InputTypeError, match="plot_series takes the adapter of a series with columns"):
        await plot_series(SignalAdapter("a", "b", "c"), tmp_path / "a.html")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("time", "unit", "text"),
    [
        (START, "us", "2024-01-01 00:00"),
        (START + 1, "us", "2024-01-01 00:00:00.000001"),
        (START + SECOND, "us", "2024-01-01 00:00:01"),
        (START * 1_000 + 120, "ns", "2024-01-01 00:00:00.00000012"),
        (START // 1_000 + 5, "ms", "2024-01-01 00:00:00.005"),
        (2**62, "ms", "4611686018427387904 ms"),
        (-1, "us", "1969-12-31 23:59:59.999999"),
    ],
)
def test_times_are_written_with_the_digits_that_they_need(time: int, unit: Any, text: str) -> None:
    assert format_exact_time(time, unit) == text
    if not text.endswith("ms"):
        assert parse_exact_time(text, unit) == time


@pytest.mark.parametrize(
    "text", ["2024.01.01 00:00:00.000001", "1704067200.000001", "1704067200000001", "2024-01-01T00:00:00.000001000Z"]
)
def test_time_of_a_person_is_read_to_the_last_digit(text: str) -> None:
    assert parse_exact_time(text, "us") == START + 1
    with pytest.raises(ValueError, match="has digits that are lost in milliseconds"):
        parse_exact_time(text, "ms")
