"""Charts: what they hold is what is stored, and what can't be drawn is told."""

from __future__ import annotations

import asyncio
import json
import re
import struct
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from html.parser import HTMLParser
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import altair as alt
import numpy as np
import pytest
import vl_convert
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest_mongo import CandleAdapter, InputError, SignalAdapter, StorageAdapter
from backtest_mongo.candles.plot import Drawn, plot_candles
from backtest_mongo.candles.plot_bars import Bars, aggregate
from backtest_mongo.candles.plot_chart import chart
from backtest_mongo.candles.plot_trades import Overlay, overlay, read_trades
from backtest_mongo.candles.times import utc
from backtest_mongo.demo.market import load_candles
from backtest_mongo.types import INTERVAL_MS, PRICES, Candle
from tests.conftest import Deployment
from tests.test_cli import run

HOUR = INTERVAL_MS["1h"]
SERIES = ("EURUSD", "1h", "demo-exchange")
MARKET = load_candles(160)
SUNDAY = next(bar for bar in range(1, 160) if MARKET[bar]["timestamp"] - MARKET[bar - 1]["timestamp"] > HOUR)
FRIDAY = SUNDAY - 1


@pytest.fixture
def driver() -> str:
    """One driver for all of it, as drawing is the same on both."""
    return "pymongo"


@pytest.fixture
async def market(deployment: Deployment) -> list[Candle]:
    await CandleAdapter(*SERIES).write_candles_data(MARKET)
    return MARKET


def times(bar: int) -> int:
    return MARKET[bar]["timestamp"]


def signal(name: str, opened: int, closed: int | None = None, **more: Any) -> dict[str, Any]:
    """A row as the demo and the Node package store it."""
    return {
        "id": name,
        "symbol": "EURUSD",
        "strategyName": "s",
        "exchangeName": "demo-exchange",
        "status": "opened" if closed is None else "closed",
        "position": "long",
        "priceOpen": MARKET[opened]["close"],
        "pendingAt": times(opened),
        "closedAt": None if closed is None else times(closed),
        **more,
    }


def bars_of(candles: list[Candle], interval: str = "1h") -> Bars:
    frame = {name: np.array([candle[name] for candle in candles], float) for name in PRICES}
    stamps = np.array([candle["timestamp"] for candle in candles], "datetime64[ms]")
    return Bars.of({"timestamp": stamps, **frame}, interval)


def drawn_over(rows: list[dict[str, Any]], pending: dict[str, Any] | None = None, bars: Bars | None = None) -> Overlay:
    stored, left_out = bars_of(MARKET), Counter[str]()
    trades = list(read_trades(rows, pending, stored, left_out, symbol="EURUSD", strategyName="s"))
    return overlay(trades, stored, bars or stored, left_out)


def spec(path: Path) -> dict[str, Any]:
    """The chart in a page."""
    found = re.search(r"const spec = (\{.*?\});\n", path.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return json.loads(found[1])  # type: ignore[no-any-return]


class Tags(HTMLParser):
    """The tags of a page, and the addresses that they load something from. What is in a script is no tag."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.addresses: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "data", "srcset")]


def rows_with(field: str, chart: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of all data sets of a chart that have a field."""
    sets = [*chart["datasets"].values(), *_inline(chart)]
    return [row for rows in sets for row in rows if field in row]


def _inline(part: Any) -> list[Any]:
    if isinstance(part, list):
        return [rows for one in part for rows in _inline(one)]
    if not isinstance(part, dict):
        return []
    here = [part["data"]["values"]] if "values" in part.get("data", {}) else []
    return here + [rows for one in part.values() for rows in _inline(one)]


async def test_png_has_the_size_that_was_asked_for_and_shows_trades(market: list[Candle], tmp_path: Path) -> None:
    plain, with_trades = tmp_path / "plain.png", tmp_path / "TRADES.PNG"
    await plot_candles(*SERIES, plain, width=500, height=300)
    await StorageAdapter(True).write_storage_data([signal("a", 5, 20, profit=1.0)])
    drawn = await plot_candles(*SERIES, with_trades, width=500, height=300, strategy_name="s")
    assert drawn == Drawn(with_trades, "1h", 160, 160, 1, {})
    for path in (plain, with_trades):
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        width, height = struct.unpack(">II", content[16:24])
        assert 1000 < width < 1250  # two pixels for each, and the prices beside
        assert 600 < height < 900
    assert plain.read_bytes() != with_trades.read_bytes()


async def test_page_holds_what_is_stored_and_needs_no_network(market: list[Candle], tmp_path: Path) -> None:
    path = tmp_path / "chart.html"
    drawn = await plot_candles(*SERIES, path, start=times(50), end=datetime.fromtimestamp(times(100) / 1000, UTC))
    assert drawn == Drawn(path, "1h", 50, 50, 0, {})
    page, data = path.read_text(encoding="utf-8"), rows_with("volume", spec(path))
    tags = Tags()
    tags.feed(page)
    assert {"script", "style"} <= {*tags.found}
    assert not tags.addresses
    expected = [
        {"bar": bar, "time": utc(candle["timestamp"])} | {name: candle[name] for name in PRICES}
        for bar, candle in enumerate(MARKET[50:100])
    ]
    assert [{name: row[name] for name in ("bar", "time", *PRICES)} for row in data] == expected
    title = spec(path)["title"]
    assert title["text"] == "EURUSD, demo-exchange, 1h, 2017-04-21 11:00 to 2017-04-25 13:00 UTC"
    assert title["subtitle"] == ["50 candles; 1 break in trading left out (dotted)"]


async def test_marks_and_levels_are_at_their_times_and_prices(market: list[Candle], tmp_path: Path) -> None:
    won = signal("won", 10, 30, priceStopLoss=1.0, priceTakeProfit=1.2, priceClose=1.075, profit=12.5)
    lost = signal("lost", 40, 70, position="short", priceClose=1.08, pnl={"pnlPercentage": -1.25})
    other = signal("other", 12, 14, strategyName="another")
    await StorageAdapter(False).write_storage_data([won, lost, other])
    await SignalAdapter("EURUSD", "s", "demo-exchange").write_signal_data(signal("open", 100, priceStopLoss=1.05))
    path = tmp_path / "chart.html"
    drawn = await plot_candles(*SERIES, path, strategy_name="s", backtest=False)
    assert drawn.trades == 3
    marks = [(row["kind"], row["bar"], row["price"], row["time"]) for row in rows_with("tip", spec(path))]
    assert marks == [
        ("long entry", 10, MARKET[10]["close"], utc(times(10))),
        ("exit with profit", 30, 1.075, utc(times(30))),
        ("short entry", 40, MARKET[40]["close"], utc(times(40))),
        ("exit with loss", 70, 1.08, utc(times(70))),
        ("long entry", 100, MARKET[100]["close"], utc(times(100))),
    ]
    assert {row["result"] for row in rows_with("tip", spec(path))} == {"+12.50", "-1.25 %", ""}
    lines = {(row["kind"], row["bar"], row["price"], row["last_bar"]) for row in rows_with("last_bar", spec(path))}
    assert lines == {
        ("stop", 10, 1.0, 30),
        ("target", 10, 1.2, 30),
        ("entry to exit", 10, MARKET[10]["close"], 30),
        ("entry to exit", 40, MARKET[40]["close"], 70),
        ("stop", 100, 1.05, 159),
    }


async def test_names_with_markup_stay_text(market: list[Candle], tmp_path: Path) -> None:
    name, path = "</script><script>alert(1)</script><!--", tmp_path / "chart.html"
    await StorageAdapter(True).write_storage_data([signal(name, 10, 20, strategyName=name, closeReason=name)])
    await plot_candles(*SERIES, path, strategy_name=name, title=name)
    assert {row["signal"] for row in rows_with("tip", spec(path))} == {name}
    assert spec(path)["title"]["text"] == name
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


async def test_range_without_candles_is_an_error_that_tells_what_there_is(market: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"stored in this range \(stored are 2017-04-19 09:00 to .* UTC\)$"):
        await plot_candles(*SERIES, tmp_path / "chart.png", start=times(159) + HOUR)


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
    assert spec(path)["title"]["subtitle"][0].startswith("160 candles merged into 42 of 4h; 1 break")
    assert sum(row["volume"] for row in rows_with("volume", spec(path))) == sum(one["volume"] for one in MARKET)


def merged(candles: list[Candle], step: int) -> list[tuple[float, ...]]:
    """Candles of a coarser interval, the plain way."""
    found: list[tuple[float, ...]] = []
    monday = 4 * INTERVAL_MS["1d"] if step == 7 * INTERVAL_MS["1d"] else 0
    for opened, part in groupby(candles, lambda one: (one["timestamp"] - monday) // step * step + monday):
        group = list(part)
        high, low = max(one["high"] for one in group), min(one["low"] for one in group)
        volume = sum(one["volume"] for one in group)
        found.append((opened, group[0]["open"], high, low, group[-1]["close"], volume))
    return found


@st.composite
def series(draw: st.DrawFn) -> tuple[str, list[Candle]]:
    """Candles of any interval with gaps of any length; whole numbers, so that volumes add up in any order."""
    interval = draw(st.sampled_from(list(INTERVAL_MS)))
    first = draw(st.integers(0, 10**6)) * INTERVAL_MS[interval]
    steps = draw(st.lists(st.integers(1, 200) | st.just(1), min_size=1, max_size=60))
    candles: list[Candle] = []
    for position in np.cumsum(steps).tolist():
        low, open_, close, high = sorted(draw(st.lists(st.integers(1, 99), min_size=4, max_size=4)))
        if draw(st.booleans()):
            open_, close = close, open_
        time, volume = first + position * INTERVAL_MS[interval], draw(st.integers(0, 9))
        prices = {"open": float(open_), "high": float(high), "low": float(low), "close": float(close)}
        candles.append({"timestamp": time, **prices, "volume": float(volume)})  # type: ignore[typeddict-item]
    return interval, candles


@given(series(), st.integers(2, 60))
@settings(deadline=None)
def test_merged_candles_are_those_of_the_coarser_interval(given: tuple[str, list[Candle]], most: int) -> None:
    interval, candles = given
    bars = bars_of(candles, interval)
    try:
        coarse = aggregate(bars, most)
    except InputError:
        assert len(merged(candles, 7 * INTERVAL_MS["1d"])) > most
        return
    assert len(coarse) <= most
    names = ("timestamp", *PRICES)
    rows = list(zip(*(coarse.columns[name].tolist() for name in names), strict=True))
    assert rows == merged(candles, coarse.step)
    finer = [one for one in INTERVAL_MS.values() if bars.step < one < coarse.step and one % bars.step == 0]
    assert all(len(merged(candles, one)) > most for one in finer)
    assert (coarse is bars) == (len(bars) <= most)


@given(series())
@settings(deadline=None)
def test_every_tick_begins_a_stretch_of_time(given: tuple[str, list[Candle]]) -> None:
    interval, candles = given
    bars = bars_of(candles, interval)
    stamps = [datetime.fromtimestamp(candle["timestamp"] / 1000, UTC) for candle in candles]
    ticks = bars.ticks()
    assert ticks[0].bars == list(range(len(bars)))
    parts = {"time": "%Y%m%d%H%M", "day": "%Y%m%d", "month": "%Y%m", "year": "%Y"}
    for finer, choice in pairwise(ticks):
        assert 0 < len(choice.bars) < len(finer.bars)
        for bar in choice.bars:
            assert stamps[bar].strftime(parts[choice.kind]) != stamps[bar - 1].strftime(parts[choice.kind])


@pytest.mark.parametrize(
    ("first", "last", "interval", "formats"),
    [(40, 75, "1h", ("%H:%M", "%a %-d %b")), (0, 160, "1h", ("%-d %b", "%Y")), (0, 160, "1d", ("%b", "%Y"))],
    ids=["hours", "days", "daily"],
)
def test_labels_name_the_candles_that_they_stand_under(
    first: int, last: int, interval: str, formats: tuple[str, str]
) -> None:
    candles = MARKET[first:last]
    if interval == "1d":
        day = INTERVAL_MS["1d"]
        candles = [{**one, "timestamp": (17_000 + number) * day} for number, one in enumerate(candles)]
    bars = bars_of(candles, interval)
    drawing = chart(bars, Overlay(), "", [], 900, 300, live=False).to_dict()
    root = ElementTree.fromstring(vl_convert.vegalite_to_svg(drawing))
    labels = [
        (float(re.findall(r"[\d.]+", text.attrib["transform"])[0]), [part.text for part in text])
        for group in root.iter("{http://www.w3.org/2000/svg}g")
        if group.attrib.get("class") == "mark-text role-axis-label"
        for text in group
        if len(text) == 2 and text.attrib.get("opacity") != "0"
    ]
    assert len(labels) >= 4
    for place, lines in labels:
        bar = round(place / 900 * (len(bars) + 1) - 1, 6)
        assert bar == int(bar)
        opened = datetime.fromtimestamp(candles[int(bar)]["timestamp"] / 1000, UTC)
        assert lines == [opened.strftime(one) for one in formats]


def test_no_room_is_left_for_a_weekend_and_a_line_marks_it() -> None:
    assert times(SUNDAY) - times(FRIDAY) > 24 * HOUR
    bars = bars_of(MARKET)
    assert bars.breaks().tolist() == [SUNDAY]
    rows = rows_with("bar", {"datasets": {}, **chart(bars, Overlay(), "", [], 500, 300, live=False).to_dict()})
    assert {"bar": SUNDAY - 0.5} in rows
    assert sorted(row["bar"] for row in rows if "volume" in row) == list(range(160))


@pytest.mark.parametrize(("price", "digits"), [(50_000.0, 0), (50_000.5, 1), (1.07219, 5), (0.00001234, 8), (1 / 3, 8)])
def test_prices_are_shown_in_full(price: float, digits: int) -> None:
    assert bars_of([{**one, "open": 1.0, "high": 1.0, "low": 1.0, "close": price} for one in MARKET]).digits() == digits


def test_trade_in_a_weekend_is_at_the_candle_before() -> None:
    over = drawn_over([signal("a", 10, 20, closedAt=times(FRIDAY) + 5 * HOUR, priceClose=1.0)])
    assert [(mark.kind, mark.bar) for mark in over.marks] == [("long", 10), ("loss", FRIDAY)]


def test_marks_are_at_the_merged_candles_that_hold_their_times() -> None:
    bars = aggregate(bars_of(MARKET), 20)
    over = drawn_over([signal("a", 10, 100, priceClose=2.0)], bars=bars)
    for mark, time in zip(over.marks, (times(10), times(100)), strict=True):
        assert bars.times[mark.bar] <= time < bars.times[mark.bar] + bars.step


def test_node_rows_are_understood() -> None:
    row = {
        "id": "uuid",
        "symbol": "EURUSD",
        "strategyName": "s",
        "position": "short",
        "priceOpen": 1.08,
        "priceTakeProfit": 1.06,
        "priceStopLoss": 1.09,
        "_isScheduled": False,
        "scheduledAt": float(times(3)),
        "pendingAt": float(times(5)),
        "createdAt": times(4),
        "updatedAt": times(9),
        "status": "closed",
        "closeTimestamp": times(8),
        "closeReason": "take_profit",
        "currentPrice": 1.0605,
        "pnl": {"pnlPercentage": 1.4, "priceOpen": 1.0789, "priceClose": 1.0615},
    }
    over = drawn_over([row])
    assert [(mark.kind, mark.bar, mark.price) for mark in over.marks] == [("short", 5, 1.08), ("profit", 8, 1.0605)]
    assert over.marks[1].row(5)["result"] == "+1.40 %"
    del row["currentPrice"]
    assert drawn_over([row]).marks[1].price == 1.0615
    del row["closeTimestamp"]
    assert drawn_over([row]).marks[1].bar == 9


@pytest.mark.parametrize(
    ("more", "price"),
    [
        ({"closeReason": "stop loss", "priceStopLoss": 1.05}, 1.05),
        ({"closeReason": "take_profit", "priceTakeProfit": 1.09}, 1.09),
        ({"closeReason": "take_profit"}, MARKET[20]["close"]),
        ({"closeReason": "the averages crossed", "priceStopLoss": 1.05}, MARKET[20]["close"]),
        ({}, MARKET[20]["close"]),
    ],
)
def test_exit_without_a_price_is_at_what_ended_it_and_counted(more: dict[str, Any], price: float) -> None:
    over = drawn_over([signal("a", 10, 20, **more)])
    assert over.marks[1].price == price
    assert over.summary().endswith("; 1 exit without a price put at stop, target or the candle's close")


#: What is seen of (linear) red, green and blue without one kind of cone, by Machado, Oliveira and Fernandes (2009).
EYES = {
    "all cones": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "no long": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no medium": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no short": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def seen(colour: str, eye: str) -> Any:
    """A colour in CIELAB, where distances are those that are felt: 2 can just be told apart."""
    part = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    xyz = XYZ @ np.clip(np.array(EYES[eye]) @ linear, 0, 1) / XYZ.sum(axis=1)
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize(
    ("one", "other"),
    [("up", "down"), ("long entry", "short entry"), ("exit with profit", "exit with loss"), ("stop", "target")],
)
def test_colours_differ_to_every_kind_of_eye(one: str, other: str, eye: str) -> None:
    rows = [
        signal("a", 1, 9, position="short", priceStopLoss=1.0, priceTakeProfit=1.1, profit=1),
        signal("b", 1, 9, profit=-1),
    ]
    colours: dict[str, str] = {}

    def collect(part: Any) -> None:
        for value in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            collect(value)
        if isinstance(part, dict) and str(part.get("range", [""])[0]).startswith("#"):
            colours.update(zip(part["domain"], part["range"], strict=True))

    collect(chart(bars_of(MARKET), drawn_over(rows), "", [], 500, 300, live=False).to_dict())
    assert np.linalg.norm(seen(colours[one], eye) - seen(colours[other], eye)) > 30


def test_what_can_not_be_drawn_is_counted_by_reason() -> None:
    rows = [
        signal("a", 10, 20, profit=1, priceClose=1.0),
        signal("b", 10, 20, profit=0, priceClose=1.0),
        signal("c", 10, 20, priceOpen="?"),
        signal("d", 10, 20, priceOpen=float("nan")),
        signal("e", 10, 20, pendingAt=None),
        signal("f", 10, 20, position=None),
        signal("g", 10, None, status="scheduled"),
        signal("h", 10, 20, status="cancelled"),
        signal("i", 10, None, status="closed", priceStopLoss=1.0),
    ]
    over = drawn_over(rows)
    assert len(over.trades) == 3
    assert over.summary() == (
        "3 long, 0 short, 1 closed with profit, 1 closed at break-even; left out: 1 exit without a time, 2 not filled, "
        "2 without a price, 1 without a side, 1 without a time"
    )
    assert [line.kind for line in over.lines] == ["entry to exit"] * 2


def test_signals_of_other_times_are_neither_drawn_nor_counted() -> None:
    bars = bars_of(MARKET[50:100])
    rows = [
        signal("before", 10, 20),
        signal("after", 120, 130),
        signal("cancelled before", 10, 20, status="cancelled"),
        signal("no price, after", 120, priceOpen=None),
        signal("around", 10, 130, priceStopLoss=1.0),
    ]
    left_out = Counter[str]()
    over = overlay(read_trades(rows, None, bars, left_out), bars, bars, left_out)
    assert [trade.name for trade in over.trades] == ["around"]
    assert not left_out
    assert [(line.kind, line.bar, line.last_bar) for line in over.lines] == [("stop", 0, 49)]
    assert not over.marks


def test_pending_signal_counts_once() -> None:
    row = signal("a", 10)
    assert len(drawn_over([row], row).trades) == 1
    assert len(drawn_over([], row).trades) == 1
    assert len(drawn_over([row], {**row, "id": "b"}).trades) == 2


_values = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=3) | st.decimals()
)
_times = st.integers(times(0) - 9 * HOUR, times(159) + 9 * HOUR) | st.datetimes(timezones=st.just(UTC))
_names = st.sampled_from(
    ["id", "pendingAt", "timestamp", "closedAt", "priceOpen", "priceStopLoss", "pnl", "priceClose"]
)


@given(
    st.lists(
        st.builds(
            lambda row, position, status: {**row, "position": position, "status": status},
            st.dictionaries(_names, _values | _times | st.dictionaries(st.just("pnlPercentage"), _values)),
            st.sampled_from(["long", "short", None, 1]),
            st.sampled_from(["opened", "closed", "cancelled", "", None]),
        )
    )
)
@settings(deadline=None)
def test_whatever_is_stored_is_drawn_or_left_out(rows: list[dict[str, Any]]) -> None:
    over = drawn_over(rows, rows[0] if rows else None)
    json.dumps([mark.row(5) for mark in over.marks], allow_nan=False)
    json.dumps([vars(line) for line in over.lines], allow_nan=False)
    assert all(0 <= mark.bar < 160 for mark in over.marks)
    assert all(0 <= line.bar <= line.last_bar < 160 for line in over.lines if line.kind != "entry to exit")


async def test_command_draws_what_the_environment_names(
    deployment: Deployment, market: list[Candle], tmp_path: Path
) -> None:
    rows = [signal("a", 10, 20, profit=-1.0, priceClose=1.07), signal("b", 30, status="cancelled")]
    await StorageAdapter(True).write_storage_data(rows)

    async def plot(*more: str) -> tuple[int, str, str]:
        options = ("--symbol", "EURUSD", "--interval", "1h", "--exchange", "demo-exchange", "--strategy", "s")
        done = await asyncio.to_thread(
            run, "candles", "plot", *options, *more, directory=tmp_path, **deployment.environment
        )
        return done.returncode, done.stdout, done.stderr

    done = await plot("--start", "2017-04-19", "--end", "2017-04-25T12:00", "--output", "chart.html")
    printed = "demo-exchange EURUSD 1h: 99 candles, 1 trade of s in chart.html\n"
    assert done == (0, printed, "left out: 1 not filled\n")
    assert {row["kind"] for row in rows_with("tip", spec(tmp_path / "chart.html"))} == {"long entry", "exit with loss"}
    done = await plot("--live", "-o", "chart.png", "--max-candles", "50")
    assert done == (0, "demo-exchange EURUSD 1h: 160 candles as 42 of 4h, 0 trades of s in chart.png\n", "")
    code, printed, errors = await plot("--start", "2020-01-01", "-o", "no.png")
    assert (code, printed) == (1, "")
    assert errors.startswith("backtest-mongo: candle: no candle of EURUSD 1h of demo-exchange is stored in this range")


def test_missing_extra_is_named(tmp_path: Path) -> None:
    # A finder that knows nothing of Altair stands for an installation without it.
    code = """
import asyncio, importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "altair" else find(name, *rest)
from backtest_mongo import InputError
from backtest_mongo.candles.plot import plot_candles
try:
    asyncio.run(plot_candles("EURUSD", "1h", "demo-exchange", "chart.png"))
except InputError as error:
    print(error)
from backtest_mongo.cli import main
sys.argv[1:] = "candles plot --symbol a --interval 1h --exchange b -o chart.png".split()
main()
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    words = 'pip install "backtest-mongo[plot]"'
    assert done.stdout == f"plot_candles needs altair, which is not installed ({words})\n"
    assert (done.returncode, done.stderr) == (2, f"backtest-mongo: altair missing: {words}\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--output", "chart.svg"), "must end in .png or .html"),
        (("--output", "absent/chart.png"), "directory absent does not exist"),
        (("--output", "chart.png", "--start", "soon"), "'soon' is no time"),
        (("--output", "chart.png", "--start", "2020-01-02", "--end", "2020-01-01"), "must come after --start"),
    ],
)
def test_command_refuses_bad_arguments(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    options = ("--symbol", "EURUSD", "--interval", "1h", "--exchange", "demo-exchange")
    done = run("candles", "plot", *options, *arguments, directory=tmp_path, COLUMNS="200", NO_COLOR="1")
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_only_drawing_imports_the_drawing_library() -> None:
    code = """
import sys
from backtest_mongo.candles import plot, plot_command
print({"altair", "vl_convert", "pandas", "polars"} & {*sys.modules})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
