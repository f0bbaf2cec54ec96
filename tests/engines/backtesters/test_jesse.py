"""jesse's research backtest runs on stored candles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jesse import research, strategies

from backtest_mongo.integrations.backtesters import to_jesse
from tests.engines.backtesters.support import make_candles, run_example, store

# jesse's own, and those of what it uses.
pytestmark = [pytest.mark.engines, pytest.mark.filterwarnings("ignore")]

EXCHANGE = "Binance Perpetual Futures"
CONFIG = {
    "starting_balance": 10_000,
    "fee": 0,
    "type": "futures",
    "futures_leverage": 2,
    "futures_leverage_mode": "cross",
    "exchange": EXCHANGE,
    "warm_up_candles": 0,
}
#: The order of jesse's columns.
COLUMNS = ("timestamp", "open", "close", "high", "low", "volume")


@pytest.fixture(autouse=True)
def _directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jesse makes directories where it runs."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("fast_mode", [False, True])
def test_strategy_sees_the_candles_that_this_library_makes_of_minutes(storage: str, fast_mode: bool) -> None:
    bitcoin = store("BTCUSDT", "1m", make_candles("1m", 600))
    ether = store("ETHUSDT", "1m", make_candles("1m", 600, price=20))
    seen: dict[str, Any] = {}

    class Recorder(strategies.Strategy):
        def should_long(self) -> bool:
            seen[self.symbol] = np.array(self.candles)
            return bool(self.index == 3)

        def go_long(self) -> None:
            self.buy = 1, self.price

        def should_cancel_entry(self) -> bool:
            return True

        def update_position(self) -> None:
            if self.index == 50:
                self.liquidate()

    candles = to_jesse(bitcoin.read_frame(), EXCHANGE, "BTC-USDT") | to_jesse(ether.read_frame(), EXCHANGE, "ETH-USDT")
    routes = [
        {"exchange": EXCHANGE, "symbol": symbol, "timeframe": "5m", "strategy": Recorder}
        for symbol in ("BTC-USDT", "ETH-USDT")
    ]
    result = research.backtest(CONFIG, routes, [], candles, fast_mode=fast_mode)
    profit = 0.0
    for symbol, series in (("BTC-USDT", bitcoin), ("ETH-USDT", ether)):
        frame = series.resample("5m", as_="numpy")
        expected = np.column_stack([frame[name].astype(np.float64) for name in COLUMNS])
        np.testing.assert_allclose(seen[symbol], expected[: len(seen[symbol])])
        assert len(seen[symbol]) > 60
        profit += frame["close"][50] - frame["close"][3]
    assert result["metrics"]["total"] == 2
    assert result["metrics"]["net_profit"] == pytest.approx(profit)


def test_example_prints_what_the_page_shows(tmp_path: Path) -> None:
    run_example("jesse", tmp_path)
