"""What a chart has along its time axis: candles side by side, the breaks between them, and where the ticks go.

A chart counts bars, not hours: nights and weekends without trade take no room. So this tells which bar a time is in,
and which bars begin an hour, a day or a month.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from backtest_mongo.candles.times import utc
from backtest_mongo.errors import InputError
from backtest_mongo.types import INTERVAL_MS, PRICES

__all__ = ["Bars", "Ticks", "aggregate", "range_expressions", "tick_expressions"]

_HOUR: Final = INTERVAL_MS["1h"]
_DAY: Final = INTERVAL_MS["1d"]
_WEEK: Final = 7 * _DAY
#: What candles can be drawn as, from fine to coarse.
_LADDER: Final[Mapping[str, int]] = {**INTERVAL_MS, "1w": _WEEK}
#: Weeks begin on Mondays, and the epoch was a Thursday.
_MONDAY: Final = 4 * _DAY
#: Steps of ticks within a day.
_STEPS: Final = tuple(minutes * 60_000 for minutes in (1, 5, 15, 30, 60, 120, 180, 360, 720))
_MOST_DIGITS: Final = 8

# Expressions of Vega's. x is the number of a bar, and `arrays` are there by their names.
_SHOWN: Final = "(domain('x')[1] - domain('x')[0])"
_FIRST: Final = "clamp(floor(domain('x')[0]), 0, length(times) - 1)"
_LAST: Final = "clamp(ceil(domain('x')[1]) + 1, 1, length(times))"
_TICK_PIXELS: Final = 90
#: Room above and below the prices.
_MARGIN: Final = 0.06
_LABELS: Final = {
    "time": ("%H:%M", "%a %-d %b"),
    "day": ("%-d %b", "%Y"),
    "month": ("%b", "%Y"),
    "year": ("%Y",),
}

_Numbers = npt.NDArray[Any]


class Ticks(NamedTuple):
    """The bars that begin a stretch of time: an hour, a day, a month; ``kind`` says how to name them."""

    kind: str
    bars: list[int]


@dataclass(frozen=True)
class Bars:
    """Candles in the order of time; ``columns`` has ``timestamp`` (int64, milliseconds UTC) and five of float64.

    ``interval`` is that of the bars, whose length is ``step``, and ``merged`` how many stored candles they are made of.
    """

    interval: str
    columns: Mapping[str, _Numbers]
    merged: int

    @classmethod
    def of(cls, frame: Mapping[str, _Numbers], interval: str) -> Bars:
        """Take what ``read_frame(as_="numpy")`` gives: ``timestamp`` is of datetime64."""
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
        return _LADDER[self.interval]

    @property
    def end(self) -> int:
        """The time at which the last bar closes."""
        return int(self.times[-1]) + self.step

    def at(self, time: int) -> int | None:
        """Return the bar that a time is in, or the one before it if the market was closed; ``None`` outside of all."""
        if not self.times[0] <= time < self.end:
            return None
        return int(np.searchsorted(self.times, time, side="right")) - 1

    def breaks(self) -> npt.NDArray[np.int64]:
        """Return the bars before which time was left out, those after the longest breaks first."""
        jumps = np.diff(self.times)
        found = np.flatnonzero(jumps > self.step)
        return found[np.argsort(-jumps[found], kind="stable")] + 1

    def digits(self) -> int:
        """Return how many decimals show every price in full: 5 for most currencies, 8 at most."""
        prices = np.concatenate([self.columns[name] for name in ("open", "high", "low", "close")])
        for digits in range(_MOST_DIGITS):
            if np.allclose(np.round(prices, digits), prices, rtol=1e-12, atol=10.0 ** -(_MOST_DIGITS + 2)):
                return digits
        return _MOST_DIGITS

    def rows(self) -> list[dict[str, Any]]:
        """Return the data of a chart: a dict a bar, with its number, its time in words, its prices and its way."""
        columns = {name: values.tolist() for name, values in self.columns.items() if name != "timestamp"}
        columns["bar"] = list(range(len(self)))
        columns["time"] = [utc(time) for time in self.times.tolist()]
        columns["way"] = np.where(self.columns["close"] >= self.columns["open"], "up", "down").tolist()
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    def ticks(self) -> list[Ticks]:
        """Return the choices of ticks, from the finest to the coarsest, each with fewer than the one before."""
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
        """Return what the expressions of :func:`tick_expressions` and :func:`range_expressions` look into."""
        names = {"lows": "low", "highs": "high", "volumes": "volume", "times": "timestamp"}
        ticks = self.ticks()
        return {
            **{name: self.columns[column].tolist() for name, column in names.items()},
            "ticks": [choice.bars for choice in ticks],
            "kinds": [choice.kind for choice in ticks],
        }


def tick_expressions(bars: Bars, width: int) -> tuple[str, str]:
    """Return an expression for which choice of ticks to take, and one for the text at a tick, given ``choice``.

    It is the finest for which ``width`` pixels have room, so it depends on what is visible.
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


def range_expressions(low: str | None, high: str) -> tuple[str, str]:
    """Return expressions for the ends of what is visible of two arrays, with a margin; without ``low`` from 0 on."""
    most = f"extent(slice({high}, {_FIRST}, {_LAST}))[1]"
    if low is None:
        return "0", f"{1 + _MARGIN} * {most}"
    least = f"extent(slice({low}, {_FIRST}, {_LAST}))[0]"
    margin = f"{_MARGIN} * ({most} - {least})"
    return f"{least} - {margin}", f"{most} + {margin}"


def aggregate(bars: Bars, most: int) -> Bars:
    """Merge bars into the finest coarser interval that leaves ``most`` of them or fewer; none if there are no more.

    A coarse bar opens on the grid of its interval in UTC, weeks on Mondays. At both ends it may lack candles.

    Raises:
        InputError: too many even as weeks.
    """
    if len(bars) <= most:
        return bars
    for interval, step in _LADDER.items():
        if step <= bars.step or step % bars.step:
            continue
        origin = _MONDAY if step == _WEEK else 0
        opened = (bars.times - origin) // step * step + origin
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
