"""The time axis of a chart: bars side by side, the breaks between them, and the ticks.

The axis counts bars, not hours: nights and weekends without trading take no space. So this finds the bar of a time, and
the bars that begin an hour, a day or a month.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from backtest_mongo.core.interval_grid import GRIDS
from backtest_mongo.errors import InputError
from backtest_mongo.market_data.time_formats import format_utc
from backtest_mongo.types import INTERVAL_MS, PRICES

__all__ = ["Bars", "Ticks", "count_digits", "make_range_expressions", "make_tick_expressions", "merge_bars"]

_HOUR: Final = INTERVAL_MS["1h"]
_DAY: Final = INTERVAL_MS["1d"]
_WEEK: Final = INTERVAL_MS["1w"]
#: Weeks begin on Mondays, and the epoch was a Thursday.
_MONDAY: Final = 4 * _DAY
#: Steps of ticks within a day.
_STEPS: Final = tuple(minutes * 60_000 for minutes in (1, 5, 15, 30, 60, 120, 180, 360, 720))
_MOST_DIGITS: Final = 8

# Vega expressions: x is the number of a bar, and the arrays of `Bars.arrays` are available by name.
_SHOWN: Final = "(domain('x')[1] - domain('x')[0])"
_FIRST: Final = "clamp(floor(domain('x')[0]), 0, length(times) - 1)"
_LAST: Final = "clamp(ceil(domain('x')[1]) + 1, 1, length(times))"
_TICK_PIXELS: Final = 90
#: The margin above and below the prices.
_MARGIN: Final = 0.06
_LABELS: Final = {
    "time": ("%H:%M", "%a %-d %b"),
    "day": ("%-d %b", "%Y"),
    "month": ("%b", "%Y"),
    "year": ("%Y",),
}

_Numbers = npt.NDArray[Any]


class Ticks(NamedTuple):
    """The bars that begin an hour, a day or a month; ``kind`` chooses their labels."""

    kind: str
    bars: list[int]


@dataclass(frozen=True)
class Bars:
    """Candles in the order of time.

    Attributes:
        interval: the interval of the bars.
        columns: ``timestamp`` (int64, milliseconds, UTC) and five columns of float64.
        merged: how many stored candles the bars are made of.
    """

    interval: str
    columns: Mapping[str, _Numbers]
    merged: int

    @classmethod
    def from_frame(cls, frame: Mapping[str, _Numbers], interval: str) -> Bars:
        """Convert a frame of ``read_frame(as_="numpy")``, whose ``timestamp`` is datetime64."""
        columns = {name: frame[name] for name in PRICES}
        columns["timestamp"] = frame["timestamp"].astype("datetime64[ms]").astype(np.int64)
        return cls(interval, columns, len(columns["timestamp"]))

    def __len__(self) -> int:
        return len(self.times)

    @property
    def times(self) -> npt.NDArray[np.int64]:
        return self.columns["timestamp"]

    @property
    def step(self) -> int:
        """The length of the interval in milliseconds; of months the longest."""
        return GRIDS[self.interval].longest

    @property
    def end(self) -> int:
        """The time at which the last bar closes."""
        return GRIDS[self.interval].closes_at(int(self.times[-1]))

    def at(self, time: int) -> int | None:
        """Return the bar of a time, or the one before if the market was closed; ``None`` outside all bars."""
        if not self.times[0] <= time < self.end:
            return None
        return int(np.searchsorted(self.times, time, side="right")) - 1

    def breaks(self) -> npt.NDArray[np.int64]:
        """Return the bars that follow a break, longest breaks first."""
        jumps = np.diff(self.times)
        found = np.flatnonzero(GRIDS[self.interval].missing_all(self.times))
        return found[np.argsort(-jumps[found], kind="stable")] + 1

    def digits(self) -> int:
        """Return how many decimals show every price in full, at most 8: 5 for most currencies."""
        return count_digits(np.concatenate([self.columns[name] for name in ("open", "high", "low", "close")]))

    def rows(self) -> list[dict[str, Any]]:
        """Return the data of a chart: one dict per bar, with its number, time as text, prices and direction."""
        columns = {name: values.tolist() for name, values in self.columns.items() if name != "timestamp"}
        columns["bar"] = list(range(len(self)))
        columns["time"] = [format_utc(time) for time in self.times.tolist()]
        columns["way"] = np.where(self.columns["close"] >= self.columns["open"], "up", "down").tolist()
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    def ticks(self) -> list[Ticks]:
        """Return the choices of ticks, from the finest to the coarsest, each with fewer ticks than the one before."""
        stamps = self.times.astype("datetime64[ms]")
        months = stamps.astype("datetime64[M]").astype(np.int64)
        choices = [("time", self.times // step) for step in _STEPS if step > self.step and step % self.step == 0]
        choices += [
            ("day", self.times // _DAY),
            ("day", (self.times - _MONDAY) // _WEEK),
            ("month", months),
            ("month", months // 3),
            ("year", months // 12),
            ("year", months // 60),
        ]
        found = [Ticks("time" if self.step < _DAY else "day", list(range(len(self))))]
        for kind, stretch in choices:
            bars = (np.flatnonzero(np.diff(stretch)) + 1).tolist()
            if 0 < len(bars) < len(found[-1].bars):
                found.append(Ticks(kind, bars))
        return found

    def arrays(self) -> dict[str, list[Any]]:
        """Return the arrays that the expressions below refer to."""
        names = {"lows": "low", "highs": "high", "volumes": "volume", "times": "timestamp"}
        ticks = self.ticks()
        return {
            **{name: self.columns[column].tolist() for name, column in names.items()},
            "ticks": [choice.bars for choice in ticks],
            "kinds": [choice.kind for choice in ticks],
        }


def count_digits(prices: npt.NDArray[np.float64]) -> int:
    """Return how many decimals show every price in full, at most 8."""
    for digits in range(_MOST_DIGITS):
        if np.allclose(np.round(prices, digits), prices, rtol=1e-12, atol=10.0 ** -(_MOST_DIGITS + 2)):
            return digits
    return _MOST_DIGITS


def make_tick_expressions(bars: Bars, width: int) -> tuple[str, str]:
    """Return an expression for the choice of ticks, and one for the label of a tick, given ``choice``.

    The finest choice that fits into ``width`` pixels is taken, which depends on the visible range.
    """
    ticks = bars.ticks()
    choice = str(len(ticks) - 1)
    for index in reversed(range(len(ticks) - 1)):
        choice = f"{len(ticks[index].bars)} * {_SHOWN} / {len(bars)} < {width // _TICK_PIXELS} ? {index} : ({choice})"
    text = "''"
    for kind, formats in _LABELS.items():
        lines = ", ".join(f"utcFormat(times[datum.value], '{line}')" for line in formats)
        text = f"kinds[choice] == '{kind}' ? [{lines}] : ({text})"
    return choice, text


def make_range_expressions(low: str | None, high: str) -> tuple[str, str]:
    """Return expressions for the visible range of two arrays, with a margin; without ``low`` it begins at 0."""
    most = f"extent(slice({high}, {_FIRST}, {_LAST}))[1]"
    if low is None:
        return "0", f"{1 + _MARGIN} * {most}"
    least = f"extent(slice({low}, {_FIRST}, {_LAST}))[0]"
    margin = f"{_MARGIN} * ({most} - {least})"
    return f"{least} - {margin}", f"{most} + {margin}"


def merge_bars(bars: Bars, most: int) -> Bars:
    """Merge bars into the finest coarser interval that leaves at most ``most`` of them.

    A coarse bar opens on the grid of its interval in UTC, weeks on Mondays. The first and the last may lack candles.

    Raises:
        InputError: there are too many even as weeks.
    """
    if len(bars) <= most:
        return bars
    for interval in INTERVAL_MS:
        grid = GRIDS[interval]
        # A bar belongs to the week that it opens in: three days divide no week.
        if grid.shortest <= bars.step or (grid.shortest % bars.step and interval != "1w"):
            continue
        opened = grid.times_of(grid.locate_all(bars.times)[0])
        starts = np.concatenate(([0], np.flatnonzero(np.diff(opened)) + 1))
        if len(starts) <= most:
            ends = np.concatenate((starts[1:], [len(bars)])) - 1
            columns = bars.columns
            merged = {
                "timestamp": opened[starts],
                "open": columns["open"][starts],
                "high": np.maximum.reduceat(columns["high"], starts),
                "low": np.minimum.reduceat(columns["low"], starts),
                "close": columns["close"][ends],
                "volume": np.add.reduceat(columns["volume"], starts),
            }
            return Bars(interval, merged, bars.merged)
    raise InputError(f"{len(bars):,} candles are too many to draw, also as weeks", hint="give start and end")
