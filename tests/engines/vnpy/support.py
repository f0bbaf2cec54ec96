"""Bars and ticks, and two databases whose answers are compared."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from vnpy.trader.constant import Exchange, Interval
from vnpy.trader.object import BarData, TickData

from tests.engines.vnpy.conftest import ZONE

__all__ = ["EVER", "START", "Both", "make_bars", "make_ticks"]

START = datetime(2024, 1, 2, 9, 30, tzinfo=ZoneInfo(ZONE))
#: Limits that all rows lie in.
EVER = (datetime(1990, 1, 1), datetime(2100, 1, 1))


def make_bars(
    count: int,
    symbol: str = "rb2405",
    exchange: Any = Exchange.SHFE,
    interval: Any = Interval.MINUTE,
    *,
    start: datetime = START,
    step: timedelta = timedelta(minutes=1),
    seed: int = 0,
) -> list[Any]:
    """Return bars of a random walk."""
    source = random.Random(seed)
    price, bars = 4_000.0, []
    for number in range(count):
        opened, price = price, price + source.gauss(0, 4)
        high, low = max(opened, price) + source.random(), min(opened, price) - source.random()
        volume = float(source.randrange(1, 1_000))
        bars.append(
            BarData(
                gateway_name="TEST",
                symbol=symbol,
                exchange=exchange,
                datetime=start + number * step,
                interval=interval,
                volume=volume,
                turnover=volume * price,
                open_interest=source.random() * 1e6,
                open_price=opened,
                high_price=high,
                low_price=low,
                close_price=price,
            )
        )
    return bars


#: The fields of a tick that are numbers.
NUMBERS = [field.name for field in fields(TickData) if field.init and field.default == 0]


def make_ticks(
    count: int,
    symbol: str = "rb2405",
    exchange: Any = Exchange.SHFE,
    *,
    start: datetime = START,
    step: timedelta = timedelta(microseconds=500_001),
    seed: int = 0,
) -> list[Any]:
    """Return ticks with a value of its own in each field."""
    source = random.Random(seed)
    ticks = []
    for number in range(count):
        tick = TickData(gateway_name="TEST", symbol=symbol, exchange=exchange, datetime=start + number * step)
        tick.name = "螺纹钢2405"
        tick.localtime = None if number % 3 == 0 else (tick.datetime + timedelta(microseconds=77)).replace(tzinfo=None)
        for name in NUMBERS:
            setattr(tick, name, round(source.random() * 10_000, 2))
        ticks.append(tick)
    return ticks


@dataclass
class Both:
    """Asks both databases; their answers have to be equal.

    Attributes:
        ours: the database of this library.
        theirs: of vnpy_sqlite.
    """

    ours: Any
    theirs: Any

    def save_bars(self, bars: Sequence[Any], *, stream: bool = False) -> None:
        self._save("save_bar_data", bars, stream)

    def save_ticks(self, ticks: Sequence[Any], *, stream: bool = False) -> None:
        self._save("save_tick_data", ticks, stream)

    def _save(self, method: str, rows: Sequence[Any], stream: bool) -> None:
        # vnpy_sqlite empties the objects that it saves.
        for database in (self.ours, self.theirs):
            assert getattr(database, method)(copy.deepcopy(rows), stream=stream) is True

    def ask(self, method: str, *args: Any) -> Any:
        """Return the answer to a call, which both give."""
        ours, theirs = (self._plain(getattr(database, method)(*args)) for database in (self.ours, self.theirs))
        assert ours == theirs
        return ours

    def _plain(self, answer: Any) -> Any:
        if not isinstance(answer, list):
            return answer
        if not answer or isinstance(answer[0], BarData | TickData):
            return [vars(row) for row in answer]
        names = ("symbol", "exchange", "interval", "count", "start", "end")
        rows = [tuple(getattr(row, name, None) for name in names) for row in answer]
        return sorted(rows, key=str)

    def compare_all(self) -> int:
        """Compare overviews, and all rows that they name; return how many rows there are."""
        total = 0
        for symbol, exchange, interval, count, start, end in self.ask("get_bar_overview"):
            assert len(self.ask("load_bar_data", symbol, exchange, interval, start, end)) == count
            total += count
        for symbol, exchange, _, count, start, end in self.ask("get_tick_overview"):
            assert len(self.ask("load_tick_data", symbol, exchange, start, end)) == count
            total += count
        return total
