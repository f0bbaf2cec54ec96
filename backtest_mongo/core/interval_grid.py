"""The grid of each interval: when its candles open, place after place. Pure arithmetic, in milliseconds, UTC.

Places are numbered from the epoch: by minutes for ``1m``, by months for ``1M``. Weeks open on Mondays, months on their
first day, and all others at multiples of their length since the epoch.

A series need not keep to the grid of its interval, and its own grid may move: daily candles that open at midnight in
New York move with daylight saving time. So missing candles are counted by the distance between two candles, and
``shift`` works from any time: one month from 31 January, 16:00, which is 1 February in Shanghai, is 29 February, 16:00.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from backtest_mongo.types import INTERVAL_MS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]

__all__ = ["GRIDS", "FixedGrid", "IntervalGrid", "MonthGrid"]

_DAY: Final = 86_400_000
#: Days before each month of a year that is no leap year.
_DAYS_BEFORE: Final = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)
#: From 1 January of the year 1 to the epoch.
_EPOCH_DAYS: Final = 719_162
#: The Gregorian calendar repeats itself.
_CYCLE_MONTHS: Final = 4_800
_CYCLE: Final = 146_097 * _DAY


class IntervalGrid(ABC):
    """The grid of one interval.

    Attributes:
        name: the interval.
        shortest: the least time from one place to the next.
        longest: the most.
        suspect: the least distance of two candles between which one may be missing.
    """

    name: str
    shortest: int
    longest: int
    suspect: int

    @abstractmethod
    def locate(self, time: int) -> tuple[int, int]:
        """Return the place that a time lies in, and its grid offset: how long after the place's open time it is."""

    @abstractmethod
    def time(self, place: int) -> int:
        """Return the open time of a place."""

    @abstractmethod
    def shift(self, time: int, steps: int) -> int:
        """Return the open time ``steps`` candles after that of a candle, which may be off-grid."""

    @abstractmethod
    def steps(self, first: int, time: int) -> int:
        """Return how many whole steps lead from ``first`` to ``time``, rounded down: the inverse of :meth:`shift`."""

    @abstractmethod
    def missing(self, before: int, after: int) -> int:
        """Return how many candles are missing between two: none if they are less than 1.5 intervals apart."""

    @abstractmethod
    def times(self, first: int, count: int) -> Iterable[int]:
        """Return ``count`` open times, the first of which is ``first``."""

    def closes_at(self, time: int) -> int:
        """Return when the candle that opens at ``time`` closes."""
        return self.shift(time, 1)

    @abstractmethod
    def closed_before(self, now: int) -> int:
        """Return the time before which every candle has closed by ``now``, and from which on none has."""

    def room(self, first: int, end: int) -> int:
        """Return how many places a half-open range has, or a few more."""
        return max(0, -((first - end) // self.shortest))

    # Many at a time

    @abstractmethod
    def locate_all(self, times: Numbers) -> tuple[Numbers, Numbers]:
        """Return the place of each time, and its grid offset."""

    @abstractmethod
    def times_of(self, places: Numbers) -> Numbers:
        """Return the open time of each place."""

    @abstractmethod
    def shift_all(self, times: Numbers, steps: Numbers) -> Numbers:
        """Return each time shifted by its number of steps."""

    @abstractmethod
    def missing_all(self, times: Numbers) -> Numbers:
        """Return how many candles are missing after each of the ascending times but the last."""

    @abstractmethod
    def open_at(self, times: Numbers, now: int) -> NDArray[np.bool_]:
        """Return which candles have not closed by ``now``."""


class FixedGrid(IntervalGrid):
    """Places of one length, ``step``, one of which begins at ``origin``."""

    def __init__(self, name: str, step: int, origin: int = 0) -> None:
        self.name = name
        self.step = step
        self.shortest: int = step
        self.longest: int = step
        self.origin = origin
        self.suspect: int = -(-3 * step // 2)

    def locate(self, time: int) -> tuple[int, int]:
        return divmod(time - self.origin, self.step)

    def time(self, place: int) -> int:
        return place * self.step + self.origin

    def shift(self, time: int, steps: int) -> int:
        return time + steps * self.step

    def closes_at(self, time: int) -> int:
        return time + self.step

    def closed_before(self, now: int) -> int:
        return now - self.step + 1

    def steps(self, first: int, time: int) -> int:
        return (time - first) // self.step

    def missing(self, before: int, after: int) -> int:
        distance = after - before
        if distance < self.suspect:
            return 0
        whole, rest = divmod(distance, self.step)
        # Halves are rounded to even, as by round(), but without the error of floats.
        return whole - 1 + (2 * rest > self.step or (2 * rest == self.step and whole % 2))

    def times(self, first: int, count: int) -> range:
        return range(first, first + count * self.step, self.step)

    def locate_all(self, times: Numbers) -> tuple[Numbers, Numbers]:
        import numpy as np

        places, offsets = np.divmod(times - self.origin if self.origin else times, self.step)
        return places, offsets

    def times_of(self, places: Numbers) -> Numbers:
        times = places * self.step
        if self.origin:
            times += self.origin
        return times

    def shift_all(self, times: Numbers, steps: Numbers) -> Numbers:
        return times + steps * self.step

    def missing_all(self, times: Numbers) -> Numbers:
        import numpy as np

        distances = np.diff(times)
        whole, rest = np.divmod(distances, self.step)
        whole += (2 * rest > self.step) | ((2 * rest == self.step) & (whole % 2 == 1))
        return np.where(distances < self.suspect, 0, whole - 1)

    def open_at(self, times: Numbers, now: int) -> NDArray[np.bool_]:
        return times > now - self.step


class MonthGrid(IntervalGrid):
    """Calendar months in UTC; places are numbered by months since January 1970.

    An exchange ahead of UTC opens its months in the last hours of the UTC month before. So a candle that opens on the
    last day of a month counts as the next month's. Any other closes at the latest when the last day of the next month
    begins: what opens earlier never closes later.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.shortest: int = 28 * _DAY
        self.longest: int = 31 * _DAY
        # A month and a half are 43.5 days at least.
        self.suspect: int = 42 * _DAY

    def locate(self, time: int) -> tuple[int, int]:
        place = time * _CYCLE_MONTHS // _CYCLE  # or off by one
        while self.time(place) > time:
            place -= 1
        while self.time(place + 1) <= time:
            place += 1
        return place, time - self.time(place)

    def time(self, place: int) -> int:
        year, month = divmod(place, 12)
        years = year + 1969
        leap = year + 1970
        is_leap = leap % 4 == 0 and (leap % 100 != 0 or leap % 400 == 0)
        days = 365 * years + years // 4 - years // 100 + years // 400 + _DAYS_BEFORE[month] + (is_leap and month > 1)
        return (days - _EPOCH_DAYS) * _DAY

    def shift(self, time: int, steps: int) -> int:
        place, _ = self.locate(time + _DAY)
        opens = self.time(place + steps)
        return min(opens + time - self.time(place), self.time(place + steps + 1) - _DAY)

    def closed_before(self, now: int) -> int:
        place, _ = self.locate(now + _DAY)
        opens = self.time(place)
        return min(self.time(place - 1) + now - opens + 1, opens - _DAY)

    def steps(self, first: int, time: int) -> int:
        steps = self.locate(time)[0] - self.locate(first)[0]  # or too many, by one or two
        while self.shift(first, steps) > time:
            steps -= 1
        return steps

    def missing(self, before: int, after: int) -> int:
        if after - before < self.suspect:
            return 0
        months = 0.0
        for time, sign in ((after, 1), (before, -1)):
            place, past = self.locate(time)
            months += sign * (place + past / (self.time(place + 1) - self.time(place)))
        return round(months) - 1 if months >= 1.5 else 0

    def times(self, first: int, count: int) -> Iterable[int]:
        return (self.shift(first, steps) for steps in range(count))

    def locate_all(self, times: Numbers) -> tuple[Numbers, Numbers]:
        import numpy as np

        places = times.view("datetime64[ms]").astype("datetime64[M]").view(np.int64)
        return places, times - self.times_of(places)

    def times_of(self, places: Numbers) -> Numbers:
        import numpy as np

        months: Any = np.ascontiguousarray(places, np.int64).view("datetime64[M]")
        times: Numbers = months.astype("datetime64[ms]").view(np.int64)
        return times

    def shift_all(self, times: Numbers, steps: Numbers) -> Numbers:
        import numpy as np

        places, _ = self.locate_all(times + _DAY)
        opens = self.times_of(places + steps)
        latest = self.times_of(places + steps + 1) - _DAY
        shifted: Numbers = np.minimum(opens + (times - self.times_of(places)), latest)
        return shifted

    def missing_all(self, times: Numbers) -> Numbers:
        import numpy as np

        found = np.zeros(max(0, len(times) - 1), np.int64)
        for at in np.flatnonzero(np.diff(times) >= self.suspect).tolist():
            found[at] = self.missing(int(times[at]), int(times[at + 1]))
        return found

    def open_at(self, times: Numbers, now: int) -> NDArray[np.bool_]:
        import numpy as np

        is_open: NDArray[np.bool_] = times > now - self.longest
        for at in np.flatnonzero(is_open & (times <= now - self.shortest)).tolist():
            is_open[at] = self.closes_at(int(times[at])) > now
        return is_open


_MONDAY: Final = 4 * _DAY  # the epoch was a Thursday

#: The grid of each interval, from short to long.
GRIDS: Final[Mapping[str, IntervalGrid]] = {
    **{name: FixedGrid(name, step, _MONDAY if name == "1w" else 0) for name, step in INTERVAL_MS.items()},
    "1M": MonthGrid("1M"),
}
