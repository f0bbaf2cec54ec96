"""A chart as it is drawn: labels, weekends and colours."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import vl_convert

from backtest_mongo.market_data.plot_chart import build_chart
from backtest_mongo.market_data.plot_trades import Overlay
from backtest_mongo.types import INTERVAL_MS
from tests.support.charts import FRIDAY, HOUR, MARKET, SUNDAY, find_rows, get_time, make_bars, make_overlay, make_signal

pytestmark = pytest.mark.one_python


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
    bars = make_bars(candles, interval)
    drawing = build_chart(bars, Overlay(), "", [], 900, 300, live=False).to_dict()
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
    assert get_time(SUNDAY) - get_time(FRIDAY) > 24 * HOUR
    bars = make_bars(MARKET)
    assert bars.breaks().tolist() == [SUNDAY]
    rows = find_rows("bar", {"datasets": {}, **build_chart(bars, Overlay(), "", [], 500, 300, live=False).to_dict()})
    assert {"bar": SUNDAY - 0.5} in rows
    assert sorted(row["bar"] for row in rows if "volume" in row) == list(range(160))


#: What is seen of (linear) red, green and blue without one kind of cone, by Machado, Oliveira and Fernandes (2009).
EYES = {
    "all cones": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "no long": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no medium": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no short": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def convert_to_lab(colour: str, eye: str) -> Any:
    """A colour in CIELAB, where distances are perceived ones: 2 can just be distinguished."""
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
def test_colours_differ_for_every_kind_of_colour_vision(one: str, other: str, eye: str) -> None:
    rows = [
        make_signal("a", 1, 9, position="short", priceStopLoss=1.0, priceTakeProfit=1.1, profit=1),
        make_signal("b", 1, 9, profit=-1),
    ]
    colours: dict[str, str] = {}

    def collect(part: Any) -> None:
        for value in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            collect(value)
        if isinstance(part, dict) and str(part.get("range", [""])[0]).startswith("#"):
            colours.update(zip(part["domain"], part["range"], strict=True))

    collect(build_chart(make_bars(MARKET), make_overlay(rows), "", [], 500, 300, live=False).to_dict())
    assert np.linalg.norm(convert_to_lab(colours[one], eye) - convert_to_lab(colours[other], eye)) > 30
