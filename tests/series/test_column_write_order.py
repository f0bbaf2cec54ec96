"""Concurrent writes of series with columns: they take effect in the order of the calls, whichever way each takes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from backtest_mongo import persist
from backtest_mongo.columns.turns import Turns
from backtest_mongo.series.columns import heads, store
from backtest_mongo.sqlite import columns
from tests.conftest import Deployment
from tests.support.built_in_series import equity, trades

pytestmark = [pytest.mark.either_driver, pytest.mark.two_pythons]


@pytest.fixture
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let calls of few rows take each of the ways that there are: of more than 4 rows, and of 10 or more."""
    monkeypatch.setattr(store, "_MANY", 10)
    monkeypatch.setattr(columns, "_FEW", 4)
    monkeypatch.setattr(columns, "_BULK", 10)
    monkeypatch.setattr(heads, "_FRESH_SECONDS", 0.0)
    monkeypatch.setattr(heads, "_RAISING_SECONDS", 0.0)


SIZES = (1, 2, 5, 9, 10, 30)


@pytest.mark.usefixtures("few_rows")
@pytest.mark.parametrize("seed", range(6))
async def test_first_row_wins(deployment: Deployment, unique: str, seed: int) -> None:
    choose = random.Random(seed)
    trade = persist.trade(unique, "binance")
    expected: dict[int, float] = {}
    for round_ in range(4):
        calls = []
        for number in range(12):
            first, price = choose.randrange(40), float(100 * round_ + number)
            ids = range(first, first + choose.choice(SIZES))
            calls.append(trade.append([{**row, "price": price} for row in trades(*ids)]))
            expected = dict.fromkeys(ids, price) | expected
        await asyncio.gather(*calls)
        await asyncio.sleep(choose.choice((0.0, 0.03)))
    found = await trade.read_frame(as_="polars")
    assert dict(zip(found["trade_id"], found["price"], strict=True)) == dict(sorted(expected.items()))


@pytest.mark.usefixtures("few_rows")
@pytest.mark.parametrize("seed", range(6))
async def test_last_row_wins(deployment: Deployment, unique: str, seed: int) -> None:
    choose = random.Random(seed)
    series = persist.equity(unique, "binance", "1m", "BTCUSDT", True)
    expected: dict[int, float] = {}
    for round_ in range(4):
        calls = []
        for number in range(12):
            first, value = choose.randrange(40), float(100 * round_ + number)
            minutes = range(first, first + choose.choice(SIZES))
            calls.append(series.append(equity(*(60_000 * minute for minute in minutes), value=value)))
            expected |= dict.fromkeys(minutes, value)
        await asyncio.gather(*calls)
    found = await series.read_frame(as_="polars")
    assert [*found["equity"]] == [expected[minute] for minute in sorted(expected)]


class Log:
    """Begins writes, and notes the order in which they go on."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.begun: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, times: Sequence[int], *, is_alone: bool = False, shares: bool = False) -> None:
        self.ends[name] = asyncio.Event()

        async def write() -> None:
            async with self.turns.take("series", times[0], times[-1], is_alone=is_alone) as turn:
                self.begun.append(name)
                if shares:
                    turn.share()
                await self.ends[name].wait()

        self.tasks[name] = asyncio.ensure_future(write())

    async def settle(self) -> list[str]:
        """Return what has begun since the last time."""
        for _ in range(10):
            await asyncio.sleep(0)
        begun, self.begun = self.begun, []
        return begun

    async def end(self, *names: str) -> list[str]:
        for name in names:
            self.ends[name].set()
        return await self.settle()


async def test_turns() -> None:
    log = Log()
    log.start("a", (0, 10))
    log.start("b", (0, 10))
    log.start("long", (5, 20), is_alone=True)
    log.start("c", (0, 10))
    log.start("elsewhere", (30, 40))
    log.start("d", (20, 30))
    assert await log.settle() == ["a", "b", "elsewhere"]
    assert await log.end("a") == []
    assert await log.end("b") == ["long"]
    log.start("e", (0, 4))  # which overlaps what waits
    assert await log.settle() == []
    assert await log.end("long") == ["c", "d", "e"]
    assert await log.end("c", "d", "e", "elsewhere") == []
    assert log.turns._lines == {}


async def test_shared_turns() -> None:
    log = Log()
    log.start("look", (0, 10), is_alone=True, shares=True)
    log.start("a", (0, 10))
    log.start("long", (0, 10), is_alone=True)
    assert await log.settle() == ["look", "a"]
    assert await log.end("a") == []
    assert await log.end("look") == ["long"]
    assert await log.end("long") == []
    assert log.turns._lines == {}


async def test_cancelled_turns() -> None:
    log = Log()
    log.start("long", (0, 10), is_alone=True)
    log.start("a", (0, 10))
    log.start("second", (0, 10), is_alone=True)
    log.start("b", (0, 10))
    assert await log.settle() == ["long"]
    log.tasks["a"].cancel()
    log.tasks["second"].cancel()
    assert await log.settle() == []
    assert await log.end("long") == ["b"]
    await log.end("b")
    assert log.turns._lines == {}
