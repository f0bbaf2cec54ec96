"""backtrader runs on stored candles: it sees all of them, and none before it has closed."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import backtrader
import numpy as np
import pytest

from backtest_mongo import InputError
from backtest_mongo.core.interval_grid import GRIDS
from backtest_mongo.integrations.backtesters import to_backtrader
from backtest_mongo.types import PRICES
from tests.engines.backtesters.support import Frame, make_candles, run_example, store

# backtrader's own.
pytestmark = [pytest.mark.engines, pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")]

Row = tuple[Any, ...]


def run(*feeds: Any, resampled: Any = None) -> list[list[Row]]:
    """Return the bars of each feed in the order in which a strategy sees them, each with the number of its step."""

    class Recorder(backtrader.Strategy):
        def __init__(self) -> None:
            self.seen: list[list[Row]] = [[] for _ in self.datas]
            self.steps = 0

        # Also before the feed of longer intervals has its first bar.
        def prenext(self) -> None:
            self.next()

        def next(self) -> None:
            self.steps += 1
            for data, seen in zip(self.datas, self.seen, strict=True):
                if len(data) > len(seen):
                    time = data.datetime.datetime(0)
                    seen.append((self.steps, time, *(getattr(data, name)[0] for name in PRICES)))

    cerebro = backtrader.Cerebro(stdstats=False)
    for feed in feeds:
        cerebro.adddata(feed)
    for options in resampled or ():
        cerebro.resampledata(feeds[0], **options)
    cerebro.addstrategy(Recorder)
    (strategy,) = cerebro.run()
    seen: list[list[Row]] = strategy.seen
    return seen


def list_prices(frame: Frame) -> list[Row]:
    return list(zip(*(frame[name].tolist() for name in PRICES), strict=True))


def to_millis(times: list[datetime]) -> list[int]:
    """Return naive times of UTC, which backtrader keeps to some microseconds."""
    return [round((time - datetime(1970, 1, 1)).total_seconds() * 1_000) for time in times]


@pytest.mark.parametrize("interval", ["1s", "1m", "15m", "4h", "1d", "3d", "1w", "1M"])
def test_strategy_sees_each_candle_a_millisecond_before_its_end(storage: str, interval: str) -> None:
    candles = store("BTCUSDT", interval, make_candles(interval, 20, without=(7, 8)))
    (seen,) = run(to_backtrader(candles.read_frame(), interval))
    stored = candles.read_frame(as_="numpy")
    assert [row[2:] for row in seen] == list_prices(stored)
    times = stored["timestamp"].astype(np.int64).tolist()
    assert to_millis([row[1] for row in seen]) == [GRIDS[interval].closes_at(time) - 1 for time in times]


@pytest.mark.parametrize(
    ("interval", "unit", "count"),
    [("1s", "Seconds", 1), ("45m", "Minutes", 45), ("4h", "Minutes", 240), ("3d", "Days", 3), ("1w", "Weeks", 1)],
)
def test_feed_has_the_interval_and_the_parameters_that_are_given(interval: str, unit: str, count: int) -> None:
    feed = to_backtrader(make_candles(interval, 3), interval, name="BTCUSDT")
    assert (feed._timeframe, feed._compression) == (getattr(backtrader.TimeFrame, unit), count)
    assert feed._name == "BTCUSDT"


@pytest.mark.parametrize(
    ("frame", "interval", "problem"),
    [
        (make_candles("1m", 9), "1h", "the frame can't be of 1h: the median distance of its times is 60,000 ms"),
        (make_candles("1m", 9), "1min", "there is no interval '1min'"),
        (make_candles("1m", 0), "1m", "the frame has no candles"),
    ],
)
def test_bad_input_is_refused(frame: Frame, interval: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        to_backtrader(frame, interval)


def test_bars_that_backtrader_resamples_are_those_of_this_library(storage: str) -> None:
    candles = store("BTCUSDT", "1m", make_candles("1m", 3 * 24 * 60))
    hours = {"timeframe": backtrader.TimeFrame.Minutes, "compression": 60}
    days = {"timeframe": backtrader.TimeFrame.Days, "compression": 1}
    _, hourly, daily = run(to_backtrader(candles.read_frame(), "1m"), resampled=(hours, days))
    for seen, interval in ((hourly, "1h"), (daily, "1d")):
        expected = list_prices(candles.resample(interval, as_="numpy"))
        assert [row[2:6] for row in seen] == [row[:4] for row in expected]
        assert [row[6] for row in seen] == pytest.approx([row[4] for row in expected])


def test_feed_of_hours_beside_one_of_minutes_does_not_look_ahead(storage: str) -> None:
    candles = store("BTCUSDT", "1m", make_candles("1m", 24 * 60))
    feeds = to_backtrader(candles.read_frame(), "1m"), to_backtrader(candles.resample("1h"), "1h")
    minutes, hours = run(*feeds)
    assert len(minutes) == 24 * 60
    # Each hour is seen at the step of its last minute.
    assert [row[0] for row in hours] == [minutes[number * 60 + 59][0] for number in range(24)]
    assert [row[5] for row in hours] == [minutes[number * 60 + 59][5] for number in range(24)]


def test_example_prints_what_the_page_shows(tmp_path: Path) -> None:
    run_example("backtrader", tmp_path)
