"""A strategy that goes on from a fork of its live run at any bar ends as the live run did."""

from __future__ import annotations

from typing import Any

import pytest

from backtest_mongo import SLOTS, persist
from backtest_mongo.cli.demo.consistency import find_torn_slots
from backtest_mongo.cli.demo.market import EXCHANGE, INTERVAL, SYMBOL, load_candles
from backtest_mongo.cli.demo.strategy import STRATEGY, make_engine
from backtest_mongo.types import INTERVAL_MS
from tests.support.forks import HISTORY, Forks, Rows

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]

BARS = 260


async def trade(first: int) -> None:
    """Trade from a bar to the last one, as a process does that has just been started."""
    engine = make_engine()
    await engine.resume()
    assert await find_torn_slots(engine) == []
    assert engine.progress["bars"] == first
    await engine.run()
    assert engine.progress["bars"] == BARS


def list_rows(rows: Rows, *, without: Rows | None = None) -> dict[str, list[Any]]:
    """Return all rows in the order of their creation, or of their keys, without those that others don't have."""
    return {
        slot: [(key, row) for key, row in found.items() if without is None or key in without[slot]]
        for slot, found in rows.items()
    }


async def test_strategy_ends_as_the_live_run_did(forks: Forks) -> None:
    await forks.set(CC_HISTORY=HISTORY)
    market = load_candles(BARS)
    closes = [candle["timestamp"] + INTERVAL_MS[INTERVAL] for candle in market]
    await persist.candle(SYMBOL, INTERVAL, EXCHANGE).write_candles_data(market)
    await trade(0)
    live = await forks.read()
    assert {*live} >= {spec.name for spec in SLOTS} - {"candle", "strategy"}  # a pause is a matter of luck
    for bar in (0, 97, 180, BARS - 2, BARS - 1):
        report = await forks.make(closes[bar])
        assert report.is_whole
        async with forks.on(report):
            await trade(bar + 1)
            ended = await forks.read(report.path or report.name)
        # What was removed before the fork was made is not in it; there is nothing else that differs.
        gone = {slot: [row for key, row in rows.items() if key not in ended[slot]] for slot, rows in live.items()}
        assert all(row["removed"] is True for rows in gone.values() for row in rows)
        assert list_rows(ended) == list_rows(live, without=ended)
    assert await forks.read() == live


async def test_fork_of_the_strategy_alone_goes_on_as_well(forks: Forks) -> None:
    """What the demo's strategy keeps under its own name, which is no signal's, is left out, and said."""
    await forks.set(CC_HISTORY=HISTORY)
    market = load_candles(BARS)
    closes = [candle["timestamp"] + INTERVAL_MS[INTERVAL] for candle in market]
    await persist.candle(SYMBOL, INTERVAL, EXCHANGE).write_candles_data(market)
    await trade(0)
    report = await forks.make(closes[180], strategy_name=STRATEGY)
    left = {one.slot for one in report.left_out}
    assert left >= {"memory", "dictionary", "measure", "interval", "risk"}
    whole = await forks.read()
    there = await forks.read(report.path or report.name)
    assert {*there} <= {*whole} - left | {"notification"}
    assert there["storage"].keys() <= whole["storage"].keys()
