"""Charts: what they hold is what is stored, and what can't be drawn is reported."""

from __future__ import annotations

import asyncio
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import altair as alt
import pytest

from backtest_mongo import CandleAdapter, InputError, SignalAdapter, StorageAdapter
from backtest_mongo.market_data.plot import PlotReport, plot_candles
from backtest_mongo.market_data.time_formats import format_utc
from backtest_mongo.types import PRICES, Candle
from tests.conftest import Deployment
from tests.support.charts import HOUR, MARKET, SERIES, Tags, find_rows, get_time, make_signal, read_spec

pytestmark = pytest.mark.one_python


@pytest.fixture
def driver() -> str:
    """One driver for all of it, as drawing is the same on both."""
    return "pymongo"


@pytest.fixture
async def market(deployment: Deployment) -> list[Candle]:
    await CandleAdapter(*SERIES).write_candles_data(MARKET)
    return MARKET


async def test_png_has_the_size_that_was_asked_for_and_shows_trades(market: list[Candle], tmp_path: Path) -> None:
    plain, with_trades = tmp_path / "plain.png", tmp_path / "TRADES.PNG"
    await plot_candles(*SERIES, plain, width=500, height=300)
    await StorageAdapter(True).write_storage_data([make_signal("a", 5, 20, profit=1.0)])
    drawn = await plot_candles(*SERIES, with_trades, width=500, height=300, strategy_name="s")
    assert drawn == PlotReport(with_trades, "1h", 160, 160, 1, {})
    for path in (plain, with_trades):
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        width, height = struct.unpack(">II", content[16:24])
        assert 1000 < width < 1250  # two pixels for each, and the axis of prices
        assert 600 < height < 900
    assert plain.read_bytes() != with_trades.read_bytes()


async def test_page_contains_what_is_stored_and_needs_no_network(market: list[Candle], tmp_path: Path) -> None:
    path = tmp_path / "chart.html"
    drawn = await plot_candles(*SERIES, path, start=get_time(50), end=datetime.fromtimestamp(get_time(100) / 1000, UTC))
    assert drawn == PlotReport(path, "1h", 50, 50, 0, {})
    page, data = path.read_text(encoding="utf-8"), find_rows("volume", read_spec(path))
    tags = Tags()
    tags.feed(page)
    assert {"script", "style"} <= {*tags.found}
    assert not tags.addresses
    expected = [
        {"bar": bar, "time": format_utc(candle["timestamp"])} | {name: candle[name] for name in PRICES}
        for bar, candle in enumerate(MARKET[50:100])
    ]
    assert [{name: row[name] for name in ("bar", "time", *PRICES)} for row in data] == expected
    title = read_spec(path)["title"]
    assert title["text"] == "EURUSD, demo-exchange, 1h, 2017-04-21 11:00 to 2017-04-25 13:00 UTC"
    assert title["subtitle"] == ["50 candles; 1 break in trading left out (dotted)"]


async def test_marks_and_levels_are_at_their_times_and_prices(market: list[Candle], tmp_path: Path) -> None:
    won = make_signal("won", 10, 30, priceStopLoss=1.0, priceTakeProfit=1.2, priceClose=1.075, profit=12.5)
    lost = make_signal("lost", 40, 70, position="short", priceClose=1.08, pnl={"pnlPercentage": -1.25})
    other = make_signal("other", 12, 14, strategyName="another")
    await StorageAdapter(False).write_storage_data([won, lost, other])
    await SignalAdapter("EURUSD", "s", "demo-exchange").write_signal_data(make_signal("open", 100, priceStopLoss=1.05))
    path = tmp_path / "chart.html"
    drawn = await plot_candles(*SERIES, path, strategy_name="s", backtest=False)
    assert drawn.trades == 3
    marks = [(row["kind"], row["bar"], row["price"], row["time"]) for row in find_rows("tip", read_spec(path))]
    assert marks == [
        ("long entry", 10, MARKET[10]["close"], format_utc(get_time(10))),
        ("exit with profit", 30, 1.075, format_utc(get_time(30))),
        ("short entry", 40, MARKET[40]["close"], format_utc(get_time(40))),
        ("exit with loss", 70, 1.08, format_utc(get_time(70))),
        ("long entry", 100, MARKET[100]["close"], format_utc(get_time(100))),
    ]
    assert {row["result"] for row in find_rows("tip", read_spec(path))} == {"+12.50", "-1.25 %", ""}
    lines = {(row["kind"], row["bar"], row["price"], row["last_bar"]) for row in find_rows("last_bar", read_spec(path))}
    assert lines == {
        ("stop", 10, 1.0, 30),
        ("target", 10, 1.2, 30),
        ("entry to exit", 10, MARKET[10]["close"], 30),
        ("entry to exit", 40, MARKET[40]["close"], 70),
        ("stop", 100, 1.05, 159),
    }


async def test_names_with_markup_stay_text(market: list[Candle], tmp_path: Path) -> None:
    name, path = "</script><script>alert(1)</script><!--", tmp_path / "chart.html"
    await StorageAdapter(True).write_storage_data([make_signal(name, 10, 20, strategyName=name, closeReason=name)])
    await plot_candles(*SERIES, path, strategy_name=name, title=name)
    assert {row["signal"] for row in find_rows("tip", read_spec(path))} == {name}
    assert read_spec(path)["title"]["text"] == name
    tags = Tags()
    tags.feed(path.read_text(encoding="utf-8"))
    assert tags.found.count("script") == 2


async def test_pictures_may_be_drawn_at_the_same_time(market: list[Candle], tmp_path: Path) -> None:
    before = (alt.data_transformers.active, dict(alt.data_transformers.options))
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    await asyncio.gather(*(plot_candles(*SERIES, path, width=300, height=200) for path in paths))
    assert len({path.read_bytes() for path in paths}) == 1
    assert (alt.data_transformers.active, dict(alt.data_transformers.options)) == before


async def test_series_without_candles_is_an_error(deployment: Deployment, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^candle: no candle of EURUSD 1h of demo-exchange is stored$"):
        await plot_candles(*SERIES, tmp_path / "chart.png")


async def test_range_without_candles_is_an_error_that_names_the_stored_range(market: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"stored in this range \(stored are 2017-04-19 09:00 to .* UTC\)$"):
        await plot_candles(*SERIES, tmp_path / "chart.png", start=get_time(159) + HOUR)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"path": "chart.svg"}, r"path must end with .png or .html, not 'chart.svg'"),
        ({"width": 10}, "width must be 200 or more, not 10"),
        ({"height": 0}, "height must be 100 or more, not 0"),
        ({"max_candles": 1}, "max_candles must be 2 or more, not 1"),
    ],
)
async def test_bad_arguments_are_refused(deployment: Deployment, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        await plot_candles(*SERIES, **{"path": "chart.png", **arguments})


async def test_too_many_candles_are_merged_and_the_subtitle_says_so(market: list[Candle], tmp_path: Path) -> None:
    path = tmp_path / "chart.html"
    drawn = await plot_candles(*SERIES, path, max_candles=50)
    assert (drawn.interval, drawn.bars, drawn.candles) == ("4h", 42, 160)
    assert read_spec(path)["title"]["subtitle"][0].startswith("160 candles merged into 42 of 4h; 1 break")
    assert sum(row["volume"] for row in find_rows("volume", read_spec(path))) == sum(one["volume"] for one in MARKET)
