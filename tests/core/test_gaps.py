"""What is missing between two candles, cut to a range and to what has closed."""

from __future__ import annotations

import pytest

from backtest_mongo.core.gaps import GapFinder, find_missing
from backtest_mongo.core.interval_grid import GRIDS
from backtest_mongo.types import Gap

pytestmark = pytest.mark.either_driver

MINUTE = 60_000
MS = 1 / MINUTE
GRID = GRIDS["1m"]
LATE = 10**12


def minutes(number: float | None) -> int | None:
    return None if number is None else round(number * MINUTE)


def find_gap(before: int | None, after: int | None, first: int | None, end: int | None, now: int = LATE) -> Gap | None:
    finder = GapFinder(GRID, first, end, now)
    if before is not None:
        gaps = finder.find_after(before) if after is None else finder.find_between(before, after)
    else:
        gaps = finder.find_all([]) if after is None else finder.find_before(after)
    return next(gaps, None)


@pytest.mark.parametrize(
    ("before", "after", "first", "end", "at", "steps"),
    [
        # Between two candles, whole and cut at either end.
        (10, 14, None, None, 10, range(1, 4)),
        (10, 11, None, None, 10, range(1, 1)),
        (10, 14, 12, None, 10, range(2, 4)),
        (10, 14, 11, 13, 10, range(1, 3)),
        (10, 14, 5, 12.5, 10, range(1, 3)),
        (10, 14, 11.5, None, 10, range(2, 4)),
        (10, 14, 13, 13, 10, range(3, 3)),
        (10, 14, 12 + MS, 13 + MS, 10, range(3, 4)),
        # After the last.
        (10, None, None, 13, 10, range(1, 3)),
        (10, None, 12, 15, 10, range(2, 5)),
        # Before the first.
        (None, 14, 11, None, 14, range(-3, 0)),
        (None, 14, 11, 13, 14, range(-3, -1)),
        (None, 14, 11, 20, 14, range(-3, 0)),
        (None, 14, 12 + MS, 13 + MS, 14, range(-1, 0)),
        # Where none is stored.
        (None, None, 11, 14, 11, range(3)),
        (None, None, 11.5, 14, 11.5, range(3)),
        (None, None, None, 14, 0, range(0)),
        (None, 14, None, None, 0, range(0)),
    ],
)
def test_missing_candles_are_counted_from_the_candle_before(
    before: float | None, after: float | None, first: float | None, end: float | None, at: float, steps: range
) -> None:
    found = find_missing(GRID, minutes(before), minutes(after), minutes(first), minutes(end))
    assert found == (round(at * MINUTE), steps)
    if not steps:
        assert find_gap(minutes(before), minutes(after), minutes(first), minutes(end)) is None


def test_without_an_end_every_later_candle_is_missing() -> None:
    at, steps = find_missing(GRID, 10 * MINUTE, None, None, None)
    assert (at, steps.start) == (10 * MINUTE, 1)
    assert steps.stop == (2**63 - 1 - 10 * MINUTE) // MINUTE + 1


@pytest.mark.parametrize(
    ("before", "after", "first", "end", "gap"),
    [
        (10, 14, None, None, (11, 14, 3)),
        (10, 14, 12, None, (12, 14, 2)),
        (10, 14, None, 13, (11, 13, 2)),
        (10, None, None, 13, (11, 13, 2)),
        # A candle that opens before the end belongs to the gap as a whole.
        (10, 14, None, 12.5, (11, 13, 2)),
        (10, None, None, 12.5, (11, 13, 2)),
        (None, 14, 11, 12.5, (11, 13, 2)),
        (None, 14, 11, None, (11, 14, 3)),
        (None, None, 11, 14, (11, 14, 3)),
        (None, None, 11, 13.5, (11, 13.5, 3)),
        # A candle behind that is off the grid of the one before: the gap ends with it.
        (10, 13.25, None, None, (11, 13.25, 2)),
        (10, 12.75, None, None, (10.75, 12.75, 2)),
        (10, 12.75, 10.9, None, (10.9, 12.75, 2)),
        (10, 12.75, 12, None, (12, 12.75, 1)),
        (10, 12.75, None, 12, (10.75, 12, 1)),
    ],
)
def test_gap_has_edges_and_a_count(
    before: float | None, after: float | None, first: float | None, end: float | None, gap: tuple[float, float, int]
) -> None:
    start, stop, count = gap
    expected = Gap(round(start * MINUTE), round(stop * MINUTE), count)
    assert find_gap(minutes(before), minutes(after), minutes(first), minutes(end)) == expected


@pytest.mark.parametrize(
    ("now", "gap"), [(12, (11, 12, 1)), (12.99, (11, 12, 1)), (13, (11, 13, 2)), (14, (11, 14, 3)), (11.99, None)]
)
def test_candle_that_has_not_closed_is_not_missing(now: float, gap: tuple[int, int, int] | None) -> None:
    found = find_gap(10 * MINUTE, 14 * MINUTE, None, None, round(now * MINUTE))
    assert found == (None if gap is None else Gap(gap[0] * MINUTE, gap[1] * MINUTE, gap[2]))
