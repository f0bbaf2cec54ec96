"""Which rows can't be candles, and why. The first write of a candle wins forever, so impossible ones are never stored.

:func:`explain_problem` judges one candle, :func:`find_impossible_rows` the columns of many, :func:`explain_spacing` the
times of a file or a batch as a whole, and :func:`find_duplicates` the names of columns.

Prices that were adjusted for splits differ in their last digits, so ``open`` and ``close`` may be outside of ``low``
and ``high`` by one part in a billion.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from operator import lt, sub
from typing import TYPE_CHECKING, Any, Final

from backtest_mongo.core.interval_grid import GRIDS
from backtest_mongo.errors import InputError
from backtest_mongo.types import PRICES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "END",
    "START",
    "check_spacing",
    "explain_problem",
    "explain_spacing",
    "find_duplicates",
    "find_impossible_rows",
]

#: The first millisecond of the year 1, and the first one after the year 9999: the range of a datetime.
START: Final = -62_135_596_800_000
END: Final = 253_402_300_800_000

_TOLERANCE: Final = 1e-9
#: A missing time, as in NumPy.
_NO_TIME: Final = -(2**63)
#: Prices that must not be above others.
_ORDER: Final = (
    ("low", "high", "high is below low"),
    ("low", "open", "open is below low"),
    ("open", "high", "open is above high"),
    ("low", "close", "close is below low"),
    ("close", "high", "close is above high"),
)


def explain_problem(candle: Mapping[str, Any]) -> str | None:
    """Return why a candle of finite floats can't be one, with its numbers, or ``None`` if it can."""
    if not START <= candle["timestamp"] < END:
        return f"its time is outside of the years 1 to 9999: {candle['timestamp']} ms"
    for lower, upper, problem in _ORDER:
        small, large = candle[lower], candle[upper]
        if small > large and small - large > _TOLERANCE * max(abs(small), abs(large)):
            return f"{problem}: {lower} {small}, {upper} {large}"
    if candle["volume"] < 0:
        return f"volume is negative: {candle['volume']}"
    return None


def find_impossible_rows(columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.intp]]:
    """Return the numbers of the rows that can't be candles by reason, ascending, each row by its first reason.

    Args:
        columns: ``timestamp`` (int64, milliseconds) and the five columns of floats. A missing time is NumPy's NaT,
            ``-2**63``, and a missing number NaN.
    """
    import numpy as np

    times = columns["timestamp"]
    left = np.ones(len(times), bool)
    found: dict[str, NDArray[np.intp]] = {}

    def note(reason: str, bad: NDArray[np.bool_]) -> None:
        if bad.any():
            bad = bad & left
            rows = np.flatnonzero(bad)
            if len(rows):
                found[reason] = rows
                left[rows] = False

    note("it has no time", times == _NO_TIME)
    note("its time is outside of the years 1 to 9999", (times < START) | (times >= END))
    for name in PRICES:
        note(f"{name} is not a finite number", ~np.isfinite(columns[name]))
    with np.errstate(invalid="ignore", over="ignore"):
        for lower, upper, reason in _ORDER:
            small, large = columns[lower], columns[upper]
            above = small > large
            if above.any():
                above &= small - large > _TOLERANCE * np.maximum(np.abs(small), np.abs(large))
                note(reason, above)
        note("volume is negative", columns["volume"] < 0)
    return found


def explain_spacing(times: list[int] | NDArray[np.int64], interval: str) -> str | None:
    """Return what is wrong with the times of a batch as a whole, or ``None``.

    If the median distance of distinct times is below half the interval, they are in another unit, such as seconds given
    as milliseconds, or of another interval. Times that are missing or outside of the years 1 to 9999 don't count.
    """
    shortest = GRIDS[interval].shortest
    if not isinstance(times, list):
        import numpy as np

        if not (times[1:] > times[:-1]).all() or (len(times) and not START <= times[0] <= times[-1] < END):
            times = np.unique(times[(times >= START) & (times < END)])
        apart = np.diff(times)
        distances = apart.tolist() if len(apart) and 2 * apart.min() < shortest else []
    else:
        if not all(map(lt, times, times[1:])) or (times and not START <= times[0] <= times[-1] < END):
            times = sorted({time for time in times if START <= time < END})
        distances = list(map(sub, times[1:], times))
    if not distances or 2 * min(distances) >= shortest:
        return None
    distances.sort()
    double = distances[(len(distances) - 1) // 2] + distances[len(distances) // 2]
    if double >= shortest:
        return None
    return f"the median distance of its times is {double / 2:,.10g} ms, less than half of {interval}"


def check_spacing(
    times: list[int] | NDArray[np.int64], interval: str, what: str, slot: str, noun: str = "rows"
) -> None:
    """Check the times of a batch as a whole.

    Raises:
        InputError: :func:`explain_spacing` finds something wrong with them; the message begins with ``what``.
    """
    problem = explain_spacing(times, interval)
    if problem is not None:
        raise InputError(
            f"{what} can't be of {interval}: {problem}",
            slot=slot,
            hint=f"times are milliseconds since the epoch: were seconds given, or another interval's {noun}?",
        )


def find_duplicates(names: Iterable[object]) -> list[str]:
    """Return which of a candle's columns occur more than once."""
    counts = Counter(names)
    return [name for name in ("timestamp", *PRICES) if counts[name] > 1]
