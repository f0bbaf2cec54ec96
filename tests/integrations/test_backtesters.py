"""Candles for other engines: what needs none of them, and input that is refused."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas
import polars
import pytest

from backtest_mongo import InputError, InputTypeError, persist
from backtest_mongo.integrations.backtesters import (
    make_zipline_ingest,
    to_backtesting,
    to_backtrader,
    to_jesse,
    to_vectorbt,
)
from backtest_mongo.types import PRICES
from tests.engines.backtesters.support import START, Frame, make_candles

MINUTE = 60_000
#: Each with candles of minutes, and nothing else that could be wrong.
FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "backtesting": to_backtesting,
    "jesse": lambda frame: to_jesse(frame, "Binance Spot", "BTC-USDT"),
}


def as_kinds(frame: Frame) -> dict[str, Any]:
    polar = polars.DataFrame(frame).with_columns(polars.col("timestamp").dt.replace_time_zone("UTC"))
    return {"numpy": frame, "polars": polar, "pandas": polar.to_pandas(), "arrow": polar.to_arrow()}


@pytest.mark.parametrize("kind", ["numpy", "polars", "pandas", "arrow"])
def test_minutes_become_the_array_of_jesse(kind: str) -> None:
    frame = make_candles("1m", 100)
    found = to_jesse(as_kinds(frame)[kind], "Binance Spot", "BTC-USDT")
    (item,) = found.values()
    assert list(found) == ["Binance Spot-BTC-USDT"]
    assert (item["exchange"], item["symbol"]) == ("Binance Spot", "BTC-USDT")
    rows = item["candles"]
    assert (rows.shape, rows.dtype) == ((100, 6), np.float64)
    assert rows[:, 0].tolist() == [START + number * MINUTE for number in range(100)]
    for column, name in enumerate(("open", "close", "high", "low", "volume"), 1):
        np.testing.assert_array_equal(rows[:, column], frame[name])


@pytest.mark.parametrize("kind", ["numpy", "polars", "pandas", "arrow"])
def test_candles_become_the_frame_of_backtesting_py(kind: str) -> None:
    frame = make_candles("1h", 50, without=(20,))
    found = to_backtesting(as_kinds(frame)[kind])
    assert list(found.columns) == ["Open", "High", "Low", "Close", "Volume"]
    assert isinstance(found.index, pandas.DatetimeIndex)
    assert found.index.tz is None
    np.testing.assert_array_equal(found.index.to_numpy(), frame["timestamp"])
    for name in PRICES:
        np.testing.assert_array_equal(found[name.capitalize()].to_numpy(), frame[name])


async def test_frame_that_is_read_with_await_is_taken(tmp_path: Any) -> None:
    persist.use_sqlite(tmp_path / "backtest.db")
    candles = persist.candle("BTCUSDT", "1m", "binance")
    frame = make_candles("1m", 50, without=(20, 21))
    await candles.write_frame(frame)
    assert len(to_backtesting(await candles.read_frame())) == 48
    with pytest.raises(InputError, match="the candle of 2024-01-01T00:20:00Z is missing"):
        to_jesse(await candles.read_frame(), "Binance Spot", "BTC-USDT")
    (item,) = to_jesse(await candles.read_frame(fill="forward"), "Binance Spot", "BTC-USDT").values()
    assert item["candles"][20:22, 1:5].tolist() == [[item["candles"][19, 2]] * 4] * 2
    assert item["candles"][20:22, 5].tolist() == [0, 0]
    with pytest.raises(InputError, match="the frame has no prices at 2024-01-01T00:20:00Z"):
        to_backtesting(await candles.read_frame(fill="null"))


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda frame: {name: column[:0] for name, column in frame.items()}, "the frame has no candles"),
        (lambda frame: {name: column[::-1] for name, column in frame.items()}, "2024-01-01T00:08:00Z comes late"),
        (lambda frame: {name: np.repeat(column, 2) for name, column in frame.items()}, "00:00:00Z comes late"),
        (lambda frame: {**frame, "low": np.where(frame["low"] > 0, np.nan, 0)}, "no prices at 2024-01-01T00:00:00Z"),
        (lambda frame: {name: frame[name] for name in frame if name != "high"}, "the frame lacks high"),
    ],
    ids=["empty", "descending", "doubled", "null", "without high"],
)
def test_bad_frame_is_refused(function: Callable[[Any], Any], change: Callable[[Frame], Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        function(change(make_candles("1m", 10)))


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_what_is_no_frame_is_refused(function: Callable[[Any], Any]) -> None:
    with pytest.raises(InputTypeError, match="a frame must be"):
        function("candles")


@pytest.mark.parametrize(
    ("frame", "symbol", "problem"),
    [
        (make_candles("1m", 9, without=(4, 6)), "BTC-USDT", "jesse takes every minute, and the candle of .*:04:00Z"),
        (make_candles("1h", 9), "BTC-USDT", "the candle of 2024-01-01T00:01:00Z is missing"),
        (make_candles("1m", 9, start=START + 1_000), "BTC-USDT", "open at whole minutes, not at 2024-01-01T00:00:01Z"),
        (make_candles("1s", 90), "BTC-USDT", "the frame can't be of 1m: the median distance of its times is 1,000 ms"),
        (make_candles("1m", 9), "BTCUSDT", "jesse's symbols are such as BTC-USDT, not 'BTCUSDT'"),
    ],
)
def test_candles_that_jesse_does_not_take_are_refused(frame: Frame, symbol: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        to_jesse(frame, "Binance Spot", symbol)


@pytest.mark.parametrize(
    ("module", "package", "call"),
    [
        ("backtrader", "backtrader", lambda: to_backtrader(make_candles("1m", 3), "1m")),
        ("vectorbt", "vectorbt", lambda: to_vectorbt({"BTCUSDT": make_candles("1m", 3)}, "1m")),
        ("zipline", "zipline-reloaded", lambda: make_zipline_ingest(list, "1d")),
        ("pandas", "pandas", lambda: to_backtesting(make_candles("1m", 3))),
    ],
)
def test_package_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, module: str, package: str, call: Callable[[], Any]
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == f"candle: {package} is not installed (pip install {package})"
