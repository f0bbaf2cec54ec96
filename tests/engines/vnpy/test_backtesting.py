"""vnpy's backtesting engines make the same trades on this database as on vnpy_sqlite."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
import vnpy.trader.database
import vnpy_ctastrategy.backtesting
import vnpy_portfoliostrategy.backtesting
from vnpy.trader.constant import Exchange, Interval
from vnpy_ctastrategy.base import BacktestingMode
from vnpy_ctastrategy.strategies.atr_rsi_strategy import AtrRsiStrategy
from vnpy_ctastrategy.strategies.boll_channel_strategy import BollChannelStrategy
from vnpy_ctastrategy.strategies.double_ma_strategy import DoubleMaStrategy
from vnpy_ctastrategy.template import CtaTemplate
from vnpy_portfoliostrategy.strategies.pair_trading_strategy import PairTradingStrategy
from vnpy_portfoliostrategy.strategies.trend_following_strategy import TrendFollowingStrategy

from tests.engines.vnpy.support import START, make_bars, make_ticks

pytestmark = [pytest.mark.engines, pytest.mark.filterwarnings("default")]

LIMITS = (datetime(2024, 1, 1), datetime(2024, 3, 1))


class EveryTick(CtaTemplate):  # type: ignore[misc,unused-ignore]  # Any where vnpy is missing
    """Buys when the price is above the last one, and sells when it is below."""

    author = "test"
    last = 0.0

    def on_init(self) -> None:
        self.load_tick(0)

    def on_tick(self, tick: Any) -> None:
        if not self.pos and tick.last_price > self.last:
            self.buy(tick.ask_price_1 + 1, 1)
        elif self.pos and tick.last_price < self.last:
            self.sell(tick.bid_price_1 - 1, 1)
        self.last = tick.last_price


@pytest.fixture
def databases(database: Any, reference: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """This library's database and vnpy_sqlite's, each made current by the iteration."""

    def iterate() -> Iterator[Any]:
        for one in (database, reference):
            monkeypatch.setattr(vnpy.trader.database, "database", one)
            vnpy_ctastrategy.backtesting.load_bar_data.cache_clear()
            vnpy_ctastrategy.backtesting.load_tick_data.cache_clear()
            vnpy_portfoliostrategy.backtesting.load_bar_data.cache_clear()
            yield one

    return iterate()


def list_trades(engine: Any) -> list[tuple[Any, ...]]:
    return [
        (trade.vt_symbol, trade.datetime, trade.direction, trade.offset, trade.price, trade.volume)
        for trade in engine.get_all_trades()
    ]


def run_cta(strategy: Any, *, mode: Any = BacktestingMode.BAR) -> tuple[Any, ...]:
    engine = vnpy_ctastrategy.backtesting.BacktestingEngine()
    engine.output = lambda _: None
    engine.set_parameters("rb2405.SHFE", Interval.MINUTE, LIMITS[0], 1e-4, 1, 10, 1, 1_000_000, LIMITS[1], mode)
    engine.add_strategy(strategy, {})
    engine.load_data()
    engine.run_backtesting()
    frame = engine.calculate_result()
    return list_trades(engine), engine.calculate_statistics(frame, output=False)


def run_portfolio(strategy: Any, symbols: Sequence[str]) -> tuple[Any, ...]:
    engine = vnpy_portfoliostrategy.backtesting.BacktestingEngine()
    engine.output = lambda _: None
    same = [dict.fromkeys(symbols, value) for value in (1e-4, 1.0, 10.0, 1.0)]
    engine.set_parameters(list(symbols), Interval.MINUTE, LIMITS[0], *same, 1_000_000, LIMITS[1])
    engine.add_strategy(strategy, {})
    engine.load_data()
    engine.run_backtesting()
    frame = engine.calculate_result()
    return list_trades(engine), engine.calculate_statistics(frame, output=False)


@pytest.mark.parametrize("strategy", [AtrRsiStrategy, BollChannelStrategy, DoubleMaStrategy])
def test_cta_strategy_makes_the_same_trades(strategy: Any, databases: Iterator[Any]) -> None:
    bars = make_bars(40_000)
    results = []
    for database in databases:
        database.save_bar_data(copy.deepcopy(bars))
        results.append(run_cta(strategy))
    assert results[0] == results[1]
    assert len(results[0][0]) > 20


def test_strategy_of_ticks_makes_the_same_trades(databases: Iterator[Any]) -> None:
    ticks = make_ticks(2_000, start=START, step=timedelta(seconds=500))
    results = []
    for database in databases:
        database.save_tick_data(copy.deepcopy(ticks))
        results.append(run_cta(EveryTick, mode=BacktestingMode.TICK))
    assert results[0] == results[1]
    assert len(results[0][0]) > 20


@pytest.mark.parametrize("strategy", [TrendFollowingStrategy, PairTradingStrategy])
def test_portfolio_strategy_makes_the_same_trades(strategy: Any, databases: Iterator[Any]) -> None:
    bars = {
        symbol: make_bars(20_000, symbol, Exchange.DCE, seed=seed) for seed, symbol in enumerate(("y2405", "p2405"))
    }
    results = []
    for database in databases:
        for rows in bars.values():
            database.save_bar_data(copy.deepcopy(rows))
        results.append(run_portfolio(strategy, [f"{symbol}.DCE" for symbol in bars]))
    assert results[0] == results[1]
    assert len(results[0][0]) > 5
