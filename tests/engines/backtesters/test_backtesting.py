"""backtesting.py runs on stored candles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from backtesting import Backtest, Strategy

from backtest_mongo.integrations.backtesters import to_backtesting
from backtest_mongo.types import PRICES
from tests.engines.backtesters.support import make_candles, run_example, store

# backtesting.py's own.
pytestmark = [pytest.mark.engines, pytest.mark.filterwarnings("ignore")]


class Buy(Strategy):
    def init(self) -> None: ...

    def next(self) -> None:
        if len(self.data) == 10:
            self.buy(size=2)
        if len(self.data) == 20:
            self.position.close()


@pytest.mark.parametrize("as_", ["polars", "pandas", "arrow", "numpy"])
def test_trade_is_at_the_prices_and_times_that_are_stored(storage: str, as_: Any) -> None:
    candles = store("ETHUSDT", "1h", make_candles("1h", 40, without=(15,)))
    result = Backtest(to_backtesting(candles.read_frame(as_=as_)), Buy, cash=10_000).run()
    stored = candles.read_frame(as_="numpy")
    (trade,) = result["_trades"].to_dict("records")
    # Orders of a bar are filled at the open of the next one.
    assert (trade["EntryPrice"], trade["ExitPrice"]) == (stored["open"][10], stored["open"][20])
    times = [trade[name].to_datetime64() for name in ("EntryTime", "ExitTime")]
    assert times == [stored["timestamp"][10], stored["timestamp"][20]]


def test_frame_has_all_candles(storage: str) -> None:
    candles = store("ETHUSDT", "1d", make_candles("1d", 30, without=(5, 6)))
    frame, stored = to_backtesting(candles.read_frame()), candles.read_frame(as_="numpy")
    assert list(frame.columns) == ["Open", "High", "Low", "Close", "Volume"]
    assert isinstance(frame.index, pandas.DatetimeIndex)
    assert frame.index.tz is None
    np.testing.assert_array_equal(frame.index.to_numpy(), stored["timestamp"])
    np.testing.assert_array_equal(frame.to_numpy(), np.column_stack([stored[name] for name in PRICES]))


def test_example_prints_what_the_page_shows(tmp_path: Path) -> None:
    run_example("backtesting.py", tmp_path)
