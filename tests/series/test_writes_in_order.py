"""Of concurrent writes of one candle in a process the one that was called first wins, however large they are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest

from backtest_mongo import CandleAdapter
from backtest_mongo.errors import StoreUnavailableError
from backtest_mongo.series.rows import CandleRows
from backtest_mongo.series.writing import CandleWriter
from backtest_mongo.types import Candle
from tests.conftest import tiny_blocks
from tests.support.uniform import candles

pytestmark = pytest.mark.either_driver

MINUTE: Final = 60_000

Rows = list[Candle]


async def by_candles(series: CandleAdapter, rows: Rows) -> int:
    return await series.write_candles_data(rows)


async def by_frame(series: CandleAdapter, rows: Rows) -> int:
    columns: dict[str, list[Any]] = {name: [dict(row)[name] for row in rows] for name in rows[0]}
    return (await series.write_frame(columns)).new


WAYS: Final[dict[str, Callable[[CandleAdapter, Rows], Awaitable[int]]]] = {"candles": by_candles, "frame": by_frame}


def of_writer(writer: int, rows: Rows) -> Rows:
    return [Candle({**row, "volume": float(writer)}) for row in rows]


@pytest.mark.parametrize("way", WAYS)
async def test_large_write_is_not_overtaken_by_a_small_one(series: CandleAdapter, way: str) -> None:
    large = of_writer(1, candles(CandleRows.many))
    some = of_writer(2, large[:1] + large[-1:] + candles(1, first=CandleRows.many * MINUTE))
    counts = await asyncio.gather(WAYS[way](series, large), by_candles(series, some))
    assert list(counts) == [len(large), 1]
    assert await series.read_candles_data(len(large) + 1, 0) == large + some[-1:]


@pytest.mark.parametrize("way", WAYS)
async def test_writes_of_many_stretches_are_queued_at_the_call(
    series: CandleAdapter, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_blocks(monkeypatch)
    large = of_writer(1, candles(200))  # sixteen blocks of four rows at a time
    others = [of_writer(2, large[190:]), of_writer(3, candles(300)), of_writer(4, large[:5])]
    counts = await asyncio.gather(WAYS[way](series, large), *(by_candles(series, rows) for rows in others))
    assert list(counts) == [200, 0, 100, 0]
    assert await series.read_candles_data(300, 0) == large + others[1][200:]
    assert (await series.verify()).damaged == {}


async def test_small_write_that_was_called_first_wins_over_a_large_one(series: CandleAdapter) -> None:
    large, small = of_writer(1, candles(600)), of_writer(2, candles(1, first=599 * MINUTE))
    counts = await asyncio.gather(by_candles(series, small), by_candles(series, large))
    assert list(counts) == [1, 599]
    assert await series.read_candles_data(600, 0) == large[:-1] + small


@pytest.mark.in_rows("it replaces a step by which rows are written")
async def test_write_behind_a_failed_or_cancelled_one_is_carried_out(
    series: CandleAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_blocks(monkeypatch)
    prepare, is_asked = CandleWriter._prepare, asyncio.Event()

    async def wait(self: CandleWriter, *arguments: Any, **options: Any) -> None:
        monkeypatch.setattr(CandleWriter, "_prepare", prepare)
        is_asked.set()
        await asyncio.Event().wait()

    async def fail(self: CandleWriter, *arguments: Any, **options: Any) -> None:
        monkeypatch.setattr(CandleWriter, "_prepare", wait)
        raise StoreUnavailableError("the test lets it fail")

    rows = candles(200)
    monkeypatch.setattr(CandleWriter, "_prepare", fail)
    failing, cancelled, gone, going = (
        asyncio.ensure_future(by_candles(series, of_writer(writer, rows))) for writer in range(4)
    )
    await is_asked.wait()
    gone.cancel()  # while it waits behind the one before
    cancelled.cancel()
    assert await going == 200
    with pytest.raises(StoreUnavailableError):
        await failing
    for writing in (cancelled, gone):
        with pytest.raises(asyncio.CancelledError):
            await writing
    assert await series.read_candles_data(200, 0) == of_writer(3, rows)
