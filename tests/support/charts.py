"""Charts of the demo's candles: what is drawn on them, and what a page of them holds."""

from __future__ import annotations

import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from backtest_mongo.cli.demo.market import load_candles
from backtest_mongo.market_data.plot_bars import Bars
from backtest_mongo.market_data.plot_trades import Overlay, build_overlay, read_trades
from backtest_mongo.types import INTERVAL_MS, PRICES, Candle, Interval

HOUR = INTERVAL_MS["1h"]
SERIES: tuple[str, Interval, str] = ("EURUSD", "1h", "demo-exchange")
MARKET = load_candles(160)
SUNDAY = next(bar for bar in range(1, 160) if MARKET[bar]["timestamp"] - MARKET[bar - 1]["timestamp"] > HOUR)
FRIDAY = SUNDAY - 1


def get_time(bar: int) -> int:
    return MARKET[bar]["timestamp"]


def make_signal(name: str, opened: int, closed: int | None = None, **more: Any) -> dict[str, Any]:
    """A row as the demo and the Node package store it."""
    return {
        "id": name,
        "symbol": "EURUSD",
        "strategyName": "s",
        "exchangeName": "demo-exchange",
        "status": "opened" if closed is None else "closed",
        "position": "long",
        "priceOpen": MARKET[opened]["close"],
        "pendingAt": get_time(opened),
        "closedAt": None if closed is None else get_time(closed),
        **more,
    }


def make_bars(candles: list[Candle], interval: str = "1h") -> Bars:
    frame = {name: np.array([candle[name] for candle in candles], float) for name in PRICES}
    stamps = np.array([candle["timestamp"] for candle in candles], "datetime64[ms]")
    return Bars.from_frame({"timestamp": stamps, **frame}, interval)


def make_overlay(
    rows: list[dict[str, Any]], pending: dict[str, Any] | None = None, bars: Bars | None = None
) -> Overlay:
    stored, left_out = make_bars(MARKET), Counter[str]()
    trades = list(read_trades(rows, pending, stored, left_out, symbol="EURUSD", strategyName="s"))
    return build_overlay(trades, stored, bars or stored, left_out)


def read_spec(path: Path) -> dict[str, Any]:
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


def find_rows(field: str, chart: dict[str, Any]) -> list[dict[str, Any]]:
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
