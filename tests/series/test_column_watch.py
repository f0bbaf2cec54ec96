"""Watches of series with columns on MongoDB: one change for each group of rows, and for each range."""

from __future__ import annotations

from typing import Any

import pytest

from backtest_mongo import EquityAdapter, TradeAdapter
from backtest_mongo.core.watch import Watch
from backtest_mongo.series.columns.tail import SeriesTail
from tests.conftest import Deployment
from tests.support.built_in_series import equity, shrink_blocks, trades
from tests.support.changes import take_change, take_changes

pytestmark = pytest.mark.either_driver


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_blocks(monkeypatch)


@pytest.fixture
def trade(deployment: Deployment, unique: str) -> TradeAdapter:
    return TradeAdapter("BTCUSDT", unique)


async def take_last(changes: Watch, trade: TradeAdapter) -> list[Any]:
    """Return the payloads of the changes until now, and the one of a row that is written to know where they end."""
    await trade.append(trades(999))
    payloads: list[Any] = []
    while not payloads or payloads[-1] != trades(999):
        payloads.append((await take_change(changes)).payload)
    return payloads[:-1]


async def test_rows_of_one_call_are_one_change(trade: TradeAdapter) -> None:
    async with trade.watch() as changes, TradeAdapter.watch_all() as every:
        await trade.append(trades(1, 2))
        await TradeAdapter("ETHUSDT", "elsewhere").append(trades(7))
        await trade.append(trades(2, 3))
        first, second = await take_changes(changes, 2)
        of_all = await take_changes(every, 3)
    assert (first.kind, first.slot, first.key, first.when) == ("written", "trade", None, None)
    assert first.context == trade.context
    assert [first.payload, second.payload] == [trades(1, 2), trades(3)]  # 2 was stored already
    assert [change.payload for change in of_all] == [trades(1, 2), trades(7), trades(3)]


@pytest.mark.usefixtures("small")
async def test_neither_sealing_nor_a_row_that_is_stored_is_a_change(trade: TradeAdapter) -> None:
    async with trade.watch() as changes:
        await trade.append(trades(1, 2, 8))
        await trade.append(trades(9))
        await trade.seal()
        assert await trade.append(trades(2, 3, 8)) == 1  # blocks have two of them, so they are taken back
        assert await trade.append(trades(2)) == 0
        assert await take_last(changes, trade) == [trades(1, 2, 8), trades(9), trades(3)]


@pytest.mark.usefixtures("small")
async def test_frame_and_deleted_ranges_are_changes_with_their_bounds(trade: TradeAdapter) -> None:
    async with trade.watch() as changes:
        await trade.write_frame(trades(1, 2, 3, 4))
        await trade.append(trades(6, 7))
        assert await trade.delete(2_000, 7_000) == 4
        tail_written = {"start": 1_000, "end": 4_001, "rows": 4}
        found = await take_changes(changes, 4)
        assert [(change.kind, change.key) for change in found] == [
            ("written", None),
            ("written", None),
            ("deleted", None),
            ("deleted", None),
        ]
        assert [change.payload for change in found] == [
            tail_written,
            trades(6, 7),
            {"start": 6_000, "end": 7_000, "rows": 1},
            {"start": 2_000, "end": 4_001, "rows": 3},
        ]
        assert await trade.delete() == 2
        assert {change.payload["rows"] for change in await take_changes(changes, 2)} == {1}
        assert await take_last(changes, trade) == []


@pytest.mark.usefixtures("small")
async def test_frame_that_stores_nothing_is_no_change(trade: TradeAdapter) -> None:
    await trade.write_frame(trades(1, 2, 3, 4))
    async with trade.watch() as changes:
        report = await trade.write_frame(trades(1, 2, 3, 4))
        assert report.new == 0
        assert await take_last(changes, trade) == []


async def test_replaced_rows_are_changes(deployment: Deployment, unique: str) -> None:
    series = EquityAdapter(unique, "binance", "1h", "BTCUSDT", True)
    async with series.watch() as changes:
        await series.append(equity(1, 2))
        await series.seal()
        await series.append(equity(2, value=3.0))
        first, second = await take_changes(changes, 2)
    assert [first.payload, second.payload] == [equity(1, 2), equity(2, value=3.0)]


@pytest.mark.usefixtures("small")
async def test_watch_resumes_after_the_token_of_a_change(trade: TradeAdapter) -> None:
    async with trade.watch() as changes:
        await trade.append(trades(1))
        token = (await take_change(changes)).token
    await trade.append(trades(2))
    await trade.write_frame(trades(3, 4, 5, 6))
    async with trade.watch(token) as changes:
        payloads = [change.payload for change in await take_changes(changes, 2)]
    assert payloads == [trades(2), {"start": 3_000, "end": 6_001, "rows": 4}]


@pytest.mark.usefixtures("small")
async def test_rows_whose_writer_died_before_it_checked_them_are_reported_when_they_are_sealed(
    trade: TradeAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def die(*_: Any) -> None:
        raise KeyError("killed")

    await trade.append(trades(1, 8))
    await trade.seal()
    async with trade.watch() as changes:
        with monkeypatch.context() as patch:
            patch.setattr(SeriesTail, "confirm", die)
            with pytest.raises(KeyError):
                await trade.append(trades(3))
        await trade.seal()
        assert await take_last(changes, trade) == [{"start": 3_000, "end": 3_001, "rows": 1}]


async def test_dropped_collection_is_a_change_without_rows(deployment: Deployment, trade: TradeAdapter) -> None:
    await trade.append(trades(1))
    async with trade.watch() as changes:
        await (await deployment.collection(TradeAdapter.spec)).drop()
        change = await take_change(changes)
    assert (change.kind, change.context, change.payload) == ("deleted", trade.context, None)
