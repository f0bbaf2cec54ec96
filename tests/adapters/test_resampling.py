"""Resampling, read and stored: on MongoDB and on SQLite."""

from __future__ import annotations

from typing import Any

import pytest

from backtest_mongo import Column, InputError, InputTypeError, SlotSpec, as_of, persist
from backtest_mongo.adapters.shapes import resampling
from backtest_mongo.columns import chunks
from tests.conftest import Deployment

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]

MINUTE = 60_000
BEGIN = 1_700_000_040_000  # a whole minute


@pytest.fixture
def trade(deployment: Deployment, unique: str) -> Any:
    return persist.trade("BTCUSDT", unique)


@pytest.fixture
def candle(deployment: Deployment, unique: str) -> Any:
    return persist.candle("BTCUSDT", "1m", unique)


def make_trades(*seconds: float) -> list[dict[str, Any]]:
    """Return trades by their seconds after the beginning, at prices of these seconds."""
    return [
        {"timestamp": BEGIN * 1_000 + int(one * 1e6), "trade_id": at, "price": one + 1.0, "amount": 2.0}
        for at, one in enumerate(seconds)
    ]


def candles_of(frame: Any) -> list[tuple[Any, ...]]:
    times = ((frame["timestamp"].astype("int64") - BEGIN) // MINUTE).tolist()
    return [*zip(times, *(frame[name].tolist() for name in ("open", "high", "low", "close", "volume")), strict=True)]


async def resample(adapter: Any, interval: str = "1m", **options: Any) -> list[tuple[Any, ...]]:
    return candles_of(await adapter.resample(interval, as_="numpy", **options))


async def test_trades_are_read_as_candles(trade: Any) -> None:
    await trade.append(make_trades(0, 30, 59.999999, 60, 200))
    await trade.seal()
    await trade.append(make_trades(0, 30, 59.999999, 60, 200, 210)[5:])
    assert await resample(trade) == [
        (0, 1.0, 60.999999, 1.0, 60.999999, 6.0),
        (1, 61.0, 61.0, 61.0, 61.0, 2.0),
        (3, 201.0, 211.0, 201.0, 211.0, 4.0),
    ]


async def test_interval_that_is_not_over_is_not_shown(trade: Any) -> None:
    await trade.append(make_trades(0, 60, 119, 120))
    assert [row[0] for row in await resample(trade, when=BEGIN + 2 * MINUTE)] == [0, 1]
    assert [row[0] for row in await resample(trade, when=BEGIN + 2 * MINUTE - 1)] == [0]
    async with as_of(BEGIN + MINUTE) as past:
        assert [row[0] for row in await resample(past.trade("BTCUSDT", trade.context["exchange_name"]))] == [0]


async def test_range_has_whole_intervals_alone(trade: Any) -> None:
    await trade.append(make_trades(0, 60, 120, 180))
    inside: dict[str, Any] = {"start": (BEGIN + 1) * 1_000, "end": (BEGIN + 3 * MINUTE - 1) * 1_000}
    assert [row[0] for row in await resample(trade, **inside)] == [1]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of three rows, and calls of two candles."""
    read_chunks = chunks.read_chunks
    monkeypatch.setattr(chunks, "read_chunks", lambda *arguments: read_chunks(*arguments, rows=3))  # type: ignore[misc]
    monkeypatch.setattr(resampling, "_STEP", 2)


@pytest.mark.usefixtures("few")
async def test_candles_of_long_series_are_the_same(trade: Any) -> None:
    await trade.append(make_trades(*range(0, 600, 7)))
    found = await resample(trade)
    assert [row[0] for row in found] == list(range(10))
    assert [row[1] for row in found] == [1.0 + -(-60 * at // 7) * 7 for at in range(10)]
    assert sum(row[5] for row in found) == 2.0 * len(range(0, 600, 7))


@pytest.mark.usefixtures("few")
async def test_stored_candles_continue_where_they_stopped(trade: Any, candle: Any) -> None:
    rows = make_trades(*range(0, 600, 7))
    await trade.append(rows[:40])  # until second 273
    assert (await trade.resample_into(candle)).new == 4
    assert await candle.bounds() == (BEGIN, BEGIN + 3 * MINUTE)
    await trade.append(rows[40:])  # until second 595
    assert (await trade.resample_into(candle)).new == 5
    assert (await trade.resample_into(candle)).new == 0
    assert candles_of(await candle.read_frame(as_="numpy")) == (await resample(trade))[:9]
    report = await trade.resample_into(candle, start=BEGIN * 1_000)
    assert (report.new, report.present, report.refused) == (0, 9, {})


@pytest.mark.usefixtures("few")
async def test_what_a_killed_call_has_left_out_is_stored(trade: Any, candle: Any) -> None:
    await trade.append(make_trades(*range(0, 600, 7)))
    await trade.resample_into(candle)
    whole = candles_of(await candle.read_frame(as_="numpy"))
    # Of the last step one candle is there, and not the one before it.
    await candle.delete(BEGIN + 6 * MINUTE, BEGIN + 7 * MINUTE)
    await candle.delete(BEGIN + 8 * MINUTE)
    assert (await trade.resample_into(candle)).new == 2
    assert candles_of(await candle.read_frame(as_="numpy")) == whole


async def test_interval_whose_trades_may_still_come_is_not_stored(trade: Any, candle: Any) -> None:
    await trade.append(make_trades(0, 59))
    assert (await trade.resample_into(candle)).new == 0
    await trade.append(make_trades(0, 59, 60)[2:])
    assert (await trade.resample_into(candle, delay_ms=1)).new == 0
    assert (await trade.resample_into(candle)).new == 1
    await trade.append([{**make_trades(30)[0], "trade_id": 9}])  # too late
    assert (await trade.resample_into(candle, start=0)).present == 1
    assert candles_of(await candle.read_frame(as_="numpy")) == [(0, 1.0, 60.0, 1.0, 60.0, 4.0)]


async def test_candles_become_longer_ones(candle: Any) -> None:
    hour = BEGIN // (60 * MINUTE) * 60 * MINUTE
    rows = [
        {"timestamp": hour + at * MINUTE, "open": at, "high": at + 2, "low": at - 1.5, "close": at + 1, "volume": 1}
        for at in range(-3, 130)
    ]
    await candle.write_candles_data(rows)
    frame = await candle.resample("1h", as_="numpy")
    times = ((frame["timestamp"].astype("int64") - hour) // (60 * MINUTE)).tolist()
    assert times == [-1, 0, 1, 2]
    assert [frame[name].tolist() for name in ("open", "high", "low", "close", "volume")] == [
        [-3.0, 0.0, 60.0, 120.0],
        [1.0, 61.0, 121.0, 131.0],
        [-4.5, -1.5, 58.5, 118.5],
        [0.0, 60.0, 120.0, 130.0],
        [3.0, 60.0, 60.0, 10.0],
    ]
    assert len((await candle.resample("1h", when=hour + 120 * MINUTE - 1, as_="numpy"))["open"]) == 2
    hours = persist.candle("BTCUSDT", "1h", candle.context["exchange_name"])
    assert (await candle.resample_into(hours)).new == 3
    assert await hours.bounds() == (hour - 60 * MINUTE, hour + 60 * MINUTE)
    assert (await candle.resample_into(hours)).new == 0


async def test_candles_off_the_grid_are_refused(candle: Any) -> None:
    hour = BEGIN // (60 * MINUTE) * 60 * MINUTE
    one = {"open": 1, "high": 1, "low": 1, "close": 1, "volume": 1}
    await candle.write_candles_data([{"timestamp": hour + at * MINUTE - 30_000, **one} for at in range(3)])
    with pytest.raises(InputError, match="is off the grid"):
        await candle.resample("1h")


async def test_series_with_a_grid_takes_candles(trade: Any, unique: str) -> None:
    names = ("open", "high", "low", "close", "volume")
    spec = SlotSpec(
        name=f"bar_{unique[-8:].lower()}",
        shape="series",
        context=("symbol", "interval"),
        key=("symbol", "interval", "timestamp"),
        grid="interval",
        columns=tuple(Column(name, "float64") for name in names),
    )
    persist.register(spec)
    await trade.append(make_trades(0, 60, 200, 300))
    bars = getattr(persist, spec.name)("BTCUSDT", "1m")
    assert (await trade.resample_into(bars)).new == 3
    rows = await bars.read_last(9)
    assert [row["open"] for row in rows] == [1.0, 61.0, 201.0]
    await trade.resample_into(bars)
    assert await bars.read_last(9) == rows


async def test_wrong_arguments_are_refused(trade: Any, candle: Any) -> None:
    await candle.write_candles_data([{"timestamp": BEGIN, "open": 1, "high": 1, "low": 1, "close": 1, "volume": 1}])
    for interval, error in ((5, InputTypeError), ("7m", InputError)):
        with pytest.raises(error, match="interval"):
            await trade.resample(interval)
    with pytest.raises(InputError, match="no column of float64 named 'side'"):
        await trade.resample("1m", price="side")
    with pytest.raises(InputError, match="nothing says which column has prices"):
        await persist.quote("BTCUSDT", "x").resample("1m")
    with pytest.raises(InputTypeError, match="candles must be an adapter of candles"):
        await trade.resample_into(persist.signal("a", "b", "c"))
    with pytest.raises(InputError, match="trade can't store candles"):
        await trade.resample_into(persist.trade("ETHUSDT", "x"))
    with pytest.raises(InputError, match="series that they are made of"):
        await candle.resample_into(persist.candle(**candle.context))
    with pytest.raises(InputError, match="delay_ms"):
        await trade.resample_into(candle, delay_ms=-1)
    with pytest.raises(InputError, match="candles of 1m can't become candles of 1m"):
        await candle.resample("1m")
