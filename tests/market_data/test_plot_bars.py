"""The bars of a chart: merged candles, breaks in trading, and ticks."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import groupby, pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest_mongo import InputError
from backtest_mongo.market_data.plot_bars import Bars, merge_bars
from backtest_mongo.types import INTERVAL_MS, PRICES, Candle
from tests.support.charts import MARKET, make_bars


def test_months_and_days_over_a_change_of_clocks_have_no_breaks_but_where_candles_are_missing() -> None:
    def bars(interval: str, *times: datetime) -> Bars:
        stamps = [round(time.timestamp() * 1000) for time in times]
        return make_bars([{**MARKET[0], "timestamp": stamp} for stamp in stamps], interval)

    months = bars("1M", *(datetime(2024, month, 1, tzinfo=UTC) for month in (1, 2, 3, 5, 6)))
    assert months.breaks().tolist() == [3]
    assert months.end == round(datetime(2024, 7, 1, tzinfo=UTC).timestamp() * 1000)
    new_york = ZoneInfo("America/New_York")
    days = bars("1d", *(datetime(2024, 11, day, tzinfo=new_york) for day in (1, 2, 3, 4, 5, 7)))
    assert days.breaks().tolist() == [5]


def merged(candles: list[Candle], step: int) -> list[tuple[float, ...]]:
    """Candles of a coarser interval, the plain way."""
    found: list[tuple[float, ...]] = []
    monday = 4 * INTERVAL_MS["1d"] if step == 7 * INTERVAL_MS["1d"] else 0
    for opened, part in groupby(candles, lambda one: (one["timestamp"] - monday) // step * step + monday):
        group = list(part)
        high, low = max(one["high"] for one in group), min(one["low"] for one in group)
        volume = sum(one["volume"] for one in group)
        found.append((opened, group[0]["open"], high, low, group[-1]["close"], volume))
    return found


@st.composite
def series(draw: st.DrawFn) -> tuple[str, list[Candle]]:
    """Candles of any interval with gaps of any length; whole numbers, so that volumes add up in any order."""
    interval = draw(st.sampled_from(list(INTERVAL_MS)))
    monday = 4 * INTERVAL_MS["1d"] if interval == "1w" else 0
    latest = 250_000_000_000_000 // INTERVAL_MS[interval] - 60 * 200  # the last is before the year 10000
    first = draw(st.integers(0, min(10**6, latest))) * INTERVAL_MS[interval] + monday
    steps = draw(st.lists(st.integers(1, 200) | st.just(1), min_size=1, max_size=60))
    candles: list[Candle] = []
    for position in np.cumsum(steps).tolist():
        low, open_, close, high = sorted(draw(st.lists(st.integers(1, 99), min_size=4, max_size=4)))
        if draw(st.booleans()):
            open_, close = close, open_
        time, volume = first + position * INTERVAL_MS[interval], draw(st.integers(0, 9))
        prices = {"open": float(open_), "high": float(high), "low": float(low), "close": float(close)}
        candles.append({"timestamp": time, **prices, "volume": float(volume)})  # type: ignore[typeddict-item]
    return interval, candles


@given(series(), st.integers(2, 60))
@settings(deadline=None)
def test_merged_candles_are_those_of_the_coarser_interval(given: tuple[str, list[Candle]], most: int) -> None:
    interval, candles = given
    bars = make_bars(candles, interval)
    try:
        coarse = merge_bars(bars, most)
    except InputError:
        assert len(merged(candles, 7 * INTERVAL_MS["1d"])) > most
        return
    assert len(coarse) <= most
    names = ("timestamp", *PRICES)
    rows = list(zip(*(coarse.columns[name].tolist() for name in names), strict=True))
    assert rows == merged(candles, coarse.step)
    finer = [one for one in INTERVAL_MS.values() if bars.step < one < coarse.step and one % bars.step == 0]
    assert all(len(merged(candles, one)) > most for one in finer)
    assert (coarse is bars) == (len(bars) <= most)


@given(series())
@settings(deadline=None)
def test_every_tick_begins_a_stretch_of_time(given: tuple[str, list[Candle]]) -> None:
    interval, candles = given
    bars = make_bars(candles, interval)
    stamps = [datetime.fromtimestamp(candle["timestamp"] / 1000, UTC) for candle in candles]
    ticks = bars.ticks()
    assert ticks[0].bars == list(range(len(bars)))
    parts = {"time": "%Y%m%d%H%M", "day": "%Y%m%d", "month": "%Y%m", "year": "%Y"}
    for finer, choice in pairwise(ticks):
        assert 0 < len(choice.bars) < len(finer.bars)
        for bar in choice.bars:
            assert stamps[bar].strftime(parts[choice.kind]) != stamps[bar - 1].strftime(parts[choice.kind])


@pytest.mark.parametrize(("price", "digits"), [(50_000.0, 0), (50_000.5, 1), (1.07219, 5), (0.00001234, 8), (1 / 3, 8)])
def test_prices_are_shown_in_full(price: float, digits: int) -> None:
    assert (
        make_bars([{**one, "open": 1.0, "high": 1.0, "low": 1.0, "close": price} for one in MARKET]).digits() == digits
    )
