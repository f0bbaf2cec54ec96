"""vectorbt runs on the stored candles of several symbols."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import vectorbt

from backtest_mongo import InputError
from backtest_mongo.integrations.backtesters import to_vectorbt
from tests.engines.backtesters.support import START, make_candles, run_example, store

# vectorbt's own.
pytestmark = [pytest.mark.engines, pytest.mark.filterwarnings("ignore")]

HOUR = 3_600_000


def index_of(*numbers: int) -> Any:
    return pandas.to_datetime([START + number * HOUR for number in numbers], unit="ms", utc=True)


def test_symbols_have_one_index_and_nothing_outside_of_their_candles(storage: str) -> None:
    bitcoin = store("BTCUSDT", "1h", make_candles("1h", 100))
    ether = store("ETHUSDT", "1h", make_candles("1h", 70, start=START + 50 * HOUR))
    data = to_vectorbt({"BTCUSDT": bitcoin.read_frame(), "ETHUSDT": ether.read_frame()}, "1h")
    for name in ("Open", "High", "Low", "Close", "Volume"):
        values = data.get(name)
        assert list(values.columns) == ["BTCUSDT", "ETHUSDT"]
        assert list(values.index) == list(index_of(*range(120)))
        for symbol, candles, begin, end in (("BTCUSDT", bitcoin, 0, 100), ("ETHUSDT", ether, 50, 120)):
            stored = candles.read_frame(as_="numpy")[name.lower()]
            np.testing.assert_array_equal(values[symbol].to_numpy()[begin:end], stored)
            assert values[symbol].isna().sum() == 120 - (end - begin)
    assert data.wrapper.freq == pandas.Timedelta("1h")
    assert data.get("Close").index.freq == pandas.Timedelta("1h")


def test_portfolio_buys_and_sells_at_stored_prices(storage: str) -> None:
    bitcoin = store("BTCUSDT", "1h", make_candles("1h", 100))
    ether = store("ETHUSDT", "1h", make_candles("1h", 70, start=START + 50 * HOUR))
    close = to_vectorbt({"BTCUSDT": bitcoin.read_frame(), "ETHUSDT": ether.read_frame()}, "1h").get("Close")
    entries, exits = (close.notna() & (np.arange(len(close)) == number)[:, None] for number in (60, 90))
    portfolio = vectorbt.Portfolio.from_signals(close, entries, exits, init_cash=1_000, fees=0)
    for symbol, shift in (("BTCUSDT", 0), ("ETHUSDT", 50)):
        stored = (bitcoin if symbol == "BTCUSDT" else ether).read_frame(as_="numpy")["close"]
        expected = stored[90 - shift] / stored[60 - shift] - 1
        assert portfolio.total_return()[symbol] == pytest.approx(expected)
    assert not portfolio.value().isna().any().any()


def test_symbol_that_lacks_a_candle_which_another_one_has_is_refused() -> None:
    frames = {"BTCUSDT": make_candles("1h", 10), "ETHUSDT": make_candles("1h", 10, without=(4, 7))}
    with pytest.raises(InputError, match="ETHUSDT lacks the candle of 2024-01-01T04:00:00Z, which another symbol has"):
        to_vectorbt(frames, "1h")


def test_time_without_any_candle_is_left_out() -> None:
    frames = {symbol: make_candles("1d", 9, without=(5, 6)) for symbol in ("AAPL", "MSFT")}
    data = to_vectorbt(frames, "1d")
    assert list(data.get("Close").index) == list(index_of(*(24 * day for day in (0, 1, 2, 3, 4, 7, 8))))
    assert data.wrapper.freq == pandas.Timedelta("1d")


def test_settings_of_the_user_do_not_change_it() -> None:
    frames = {"BTCUSDT": make_candles("1h", 10), "ETHUSDT": make_candles("1h", 6)}
    settings = vectorbt.settings["data"]
    before = dict(settings)
    settings.update(tz_convert="America/New_York", missing_index="drop")
    try:
        assert list(to_vectorbt(frames, "1h").get("Close").index) == list(index_of(*range(10)))
    finally:
        settings.update(before)


@pytest.mark.parametrize(
    ("frames", "interval", "problem"),
    [
        ({}, "1h", "frames is empty"),
        ({"BTCUSDT": make_candles("1M", 3)}, "1M", "intervals of one length, not 1M"),
        ({"BTCUSDT": make_candles("1h", 3)}, "2m", "there is no interval '2m'"),
        ({"BTCUSDT": make_candles("1h", 0)}, "1h", "the frame of BTCUSDT has no candles"),
    ],
)
def test_bad_input_is_refused(frames: Any, interval: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        to_vectorbt(frames, interval)


def test_example_prints_what_the_page_shows(tmp_path: Path) -> None:
    run_example("vectorbt", tmp_path)
