"""Forks of series with columns: the rows that were known, of one strategy or of all, and of every market."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import EquityAdapter, TradeAdapter, persist
from tests.support.built_in_series import equity, shrink_blocks, trades
from tests.support.column_stores import shrink_bytes
from tests.support.forks import Forks

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]


def equity_of(strategy: str, *, backtest: bool = True) -> EquityAdapter:
    return persist.equity(strategy, "binance", "1h", "BTCUSDT", backtest)


def trades_of(symbol: str) -> TradeAdapter:
    return persist.trade(symbol, "binance")


async def write_all(*, backtest: bool = True) -> None:
    await equity_of("trend", backtest=backtest).append(equity(1, 2, 3))
    await equity_of("trend", backtest=backtest).seal()
    await equity_of("trend", backtest=backtest).append(equity(4, 5))
    await equity_of("drift", backtest=backtest).append(equity(2))
    await trades_of("BTCUSDT").append(trades(1, 2, 3, 4))
    await trades_of("LATER").append(trades(9))


async def test_fork_has_the_rows_that_were_known(forks: Forks) -> None:
    await write_all()
    report = await forks.make(at=3)
    assert report.rows == {"trade": 3, "equity": 4}
    async with forks.on(report):
        assert await equity_of("trend").read_last(9) == equity(1, 2, 3)
        assert await equity_of("drift").read_last(9) == equity(2)
        assert await trades_of("BTCUSDT").read_last(9) == trades(1, 2, 3)
        assert [one.context["symbol"] async for one in find_trades().list_series()] == ["BTCUSDT"]
        await equity_of("trend").append(equity(4, value=7.0))
        assert await equity_of("trend").read_last(1) == equity(4, value=7.0)
    assert await equity_of("trend").read_last(9) == equity(1, 2, 3, 4, 5)


def find_trades() -> Any:
    return persist._get_implementation(TradeAdapter.spec)


async def test_fork_of_a_strategy_has_its_series_and_those_of_markets(forks: Forks) -> None:
    await write_all()
    report = await forks.make(at=9, strategy_name="drift")
    assert (report.rows, report.left_out) == ({"trade": 5, "equity": 1}, ())
    async with forks.on(report):
        assert await equity_of("trend").read_last(9) == []
        assert await equity_of("drift").read_last(9) == equity(2)


async def test_dry_run_counts_what_would_be_copied(forks: Forks) -> None:
    await write_all()
    report = await forks.make(at=3, dry_run=True)
    assert report.rows == {"trade": 3, "equity": 4}


async def test_live_series_become_those_of_a_backtest(forks: Forks) -> None:
    await write_all(backtest=False)
    report = await forks.make(at=9, as_backtest=True)
    async with forks.on(report):
        assert await equity_of("trend").read_last(9) == equity(1, 2, 3, 4, 5)
        assert await equity_of("trend", backtest=False).read_last(9) == []


async def test_live_series_that_would_take_the_place_of_a_backtest_s_are_refused(forks: Forks) -> None:
    await write_all(backtest=False)
    await equity_of("trend").append(equity(1))
    with pytest.raises(backtest_mongo.InputError, match=r"1 live series would get the key of a backtest series: trend"):
        await forks.make(at=9, as_backtest=True)


async def test_what_is_damaged_is_left_out_and_listed(forks: Forks, monkeypatch: pytest.MonkeyPatch) -> None:
    if forks.is_file:
        monkeypatch.setattr("backtest_mongo.sqlite.columns._BULK", 4)
        monkeypatch.setattr("backtest_mongo.sqlite.column_documents.BLOCK_ROWS", 4)
    else:
        shrink_blocks(monkeypatch)
    rows = equity(*range(1, 13))
    await equity_of("trend").write_frame(rows)
    await damage(forks, start=5)
    report = await forks.make(at=99)
    assert report.rows == {"equity": 8}
    assert [(one.slot, one.key["strategyName"]) for one in report.unknown] == [("equity", "trend")]
    async with forks.on(report):
        assert await equity_of("trend").read_last(99) == [*rows[:4], *rows[8:]]


async def test_fork_has_all_rows_of_a_time_that_is_in_several_blocks(
    forks: Forks, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink_bytes(monkeypatch, 300, 400)
    rows = [{**row, "timestamp": 1_000 + at // 30} for at, row in enumerate(trades(*range(90)))]
    await trades_of("BTCUSDT").write_frame(rows)
    report = await forks.make(at=9)
    assert report.rows == {"trade": 90}
    async with forks.on(report):
        assert await trades_of("BTCUSDT").read_last(99) == rows


async def damage(forks: Forks, start: int) -> None:
    if forks.is_file:
        with contextlib.closing(sqlite3.connect(forks.source)) as connection, connection:
            connection.execute("UPDATE \"equity-blocks\" SET document = x'00' WHERE start = ?", (start,))
    else:
        blocks = (await backtest_mongo.get_mongo())[forks.source]["equity-blocks"]
        await blocks.update_one({"start": start}, {"$set": {"columns": {}}})
