"""Every interval's grid compared with the calendar of ``datetime``, one time and many at once."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest

from backtest_mongo.core.interval_grid import GRIDS, FixedGrid, IntervalGrid, MonthGrid
from backtest_mongo.types import INTERVAL_MS

pytestmark = pytest.mark.either_driver

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIXED = [grid for grid in GRIDS.values() if isinstance(grid, FixedGrid)]
MONTHS = GRIDS["1M"]
MONDAY = datetime(2024, 1, 1, tzinfo=UTC)  # and the first of a month


def millis(*date: int) -> int:
    return (datetime(*date, tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)  # type: ignore[misc,arg-type]  # a date's numbers


def months_of(years: range) -> list[int]:
    return [millis(year, month, 1) for year in years for month in range(1, 13)]


def array(*values: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(values, np.int64)


def test_lengths_are_those_of_the_intervals() -> None:
    assert [grid.name for grid in GRIDS.values()] == [*INTERVAL_MS, "1M"]
    for grid in FIXED:
        assert grid.step == grid.shortest == grid.longest == INTERVAL_MS[grid.name]
    assert (MONTHS.shortest, MONTHS.longest) == (28 * DAY, 31 * DAY)


def test_grid_knows_its_name_and_lengths() -> None:
    months, hours, weeks = MonthGrid("1M"), FixedGrid("1h", 60 * MINUTE), FixedGrid("1w", 7 * DAY, 4 * DAY)
    assert (months.name, months.shortest, months.longest, months.suspect) == ("1M", 28 * DAY, 31 * DAY, 42 * DAY)
    assert (hours.name, hours.step, hours.shortest, hours.longest) == ("1h", 60 * MINUTE, 60 * MINUTE, 60 * MINUTE)
    assert (hours.origin, hours.suspect, weeks.origin) == (0, 90 * MINUTE, 4 * DAY)


@pytest.mark.parametrize("grid", FIXED, ids=lambda grid: grid.name)
def test_places_are_numbered_from_the_epoch(grid: FixedGrid) -> None:
    origin = 4 * DAY if grid.name == "1w" else 0
    assert grid.origin == origin
    for place in (-3, -1, 0, 1, 28_401_120):
        time = grid.time(place)
        assert time == origin + place * grid.step
        assert grid.locate(time) == (place, 0)
        assert grid.locate(time + 1) == (place, 1)
        assert grid.locate(time - 1) == (place - 1, grid.step - 1)
        places, past = grid.locate_all(array(time, time + 1, time - 1))
        assert (places.tolist(), past.tolist()) == ([place, place, place - 1], [0, 1, grid.step - 1])
        assert grid.times_of(array(place, place + 1)).tolist() == [time, time + grid.step]


def test_weeks_open_on_mondays() -> None:
    monday = millis(2024, 1, 1)
    assert GRIDS["1w"].locate(monday)[1] == 0
    assert GRIDS["1w"].locate(monday + 6 * DAY)[1] == 6 * DAY
    assert GRIDS["1w"].locate_all(array(monday, monday + DAY))[1].tolist() == [0, DAY]


@pytest.mark.parametrize("grid", FIXED, ids=lambda grid: grid.name)
def test_steps_undo_a_shift(grid: FixedGrid) -> None:
    first = 1_700_000_000_123
    for steps in (-2, -1, 0, 1, 7):
        time = grid.shift(first, steps)
        assert time == first + steps * grid.step
        assert grid.steps(first, time) == steps
        assert grid.steps(first, time - 1) == steps - 1
        assert grid.shift_all(array(first, first + 5), array(steps, 0)).tolist() == [time, first + 5]
    assert grid.closes_at(first) == first + grid.step
    assert list(grid.times(first, 3)) == [first, first + grid.step, first + 2 * grid.step]
    assert list(grid.times(first, 0)) == []


@pytest.mark.parametrize("grid", FIXED, ids=lambda grid: grid.name)
def test_candles_are_missing_between_two_that_are_one_and_a_half_steps_apart(grid: FixedGrid) -> None:
    step = grid.step
    assert grid.suspect * 2 >= 3 * step > (grid.suspect - 1) * 2
    # Halves go to the even number, as with round().
    cases = [(0, 0), (step, 0), (grid.suspect - 1, 0), (2 * step, 1), (3 * step, 2)]
    cases += [
        (step // 2 * 3, 1),
        (step // 2 * 5, 1),
        (step // 2 * 5 + 1, 2),
        (step // 2 * 7, 3),
        (step // 2 * 7 - 1, 2),
    ]
    for distance, count in cases:
        assert grid.missing(10, 10 + distance) == count, distance
        assert grid.missing_all(array(10, 10 + distance)).tolist() == [count], distance
    assert grid.missing_all(array(0, step, 4 * step, 6 * step)).tolist() == [0, 2, 1]


def test_odd_step_has_no_half() -> None:
    grid = FixedGrid("odd", 7, origin=3)
    assert (grid.suspect, grid.locate(3), grid.time(2)) == (11, (0, 0), 17)
    for distance, count in ((10, 0), (11, 1), (17, 1), (18, 2)):
        assert grid.missing(0, distance) == count
        assert grid.missing_all(array(0, distance)).tolist() == [count]


@pytest.mark.parametrize("grid", GRIDS.values(), ids=lambda grid: grid.name)
def test_range_has_room_for_the_places_that_begin_in_it(grid: IntervalGrid) -> None:
    assert grid.room(0, 0) == grid.room(5, 0) == 0
    assert grid.room(0, 1) == 1
    assert grid.room(0, 3 * grid.shortest) == 3
    assert grid.room(0, 3 * grid.shortest + 1) == 4
    assert grid.room(7, 7 + 3 * grid.shortest) == 3


@pytest.mark.parametrize("grid", FIXED, ids=lambda grid: grid.name)
def test_candle_is_open_until_a_step_after_its_time(grid: FixedGrid) -> None:
    now = 1_700_000_000_000
    times = array(now - grid.step - 1, now - grid.step, now - grid.step + 1, now, now + 1)
    assert grid.open_at(times, now).tolist() == [False, False, True, True, True]


def test_months_are_those_of_the_calendar() -> None:
    opens = months_of(range(1895, 2110))
    first = (1895 - 1970) * 12
    assert [MONTHS.time(place) for place in range(first, first + len(opens))] == opens
    for place, time in enumerate(opens[:-1], first):
        last = opens[place - first + 1] - 1
        assert MONTHS.locate(time) == (place, 0)
        assert MONTHS.locate(last) == (place, last - time)
        assert MONTHS.closes_at(time) == last + 1
    places, past = MONTHS.locate_all(array(*opens))
    assert places.tolist() == list(range(first, first + len(opens)))
    assert not past.any()
    assert MONTHS.times_of(places).tolist() == opens
    assert MONTHS.times_of(places[::2]).tolist() == opens[::2]  # not contiguous
    assert MONTHS.times_of(places.astype(np.int32)).tolist() == opens  # as indexes may be
    assert list(MONTHS.times(opens[0], len(opens))) == opens


@pytest.mark.parametrize("year", [1, 1600, 2000, 2400, 9999])
def test_months_are_numbered_in_every_year(year: int) -> None:
    for month in (1, 2, 3, 12):
        time = millis(year, month, 1)
        assert MONTHS.locate(time) == ((year - 1970) * 12 + month - 1, 0)
        assert MONTHS.time((year - 1970) * 12 + month - 1) == time


@pytest.mark.parametrize(
    ("start", "steps", "end"),
    [
        ((2024, 1, 1), 1, (2024, 2, 1)),
        ((2024, 1, 31, 16), 1, (2024, 2, 29, 16)),
        ((2023, 1, 31, 16), 1, (2023, 2, 28, 16)),
        ((2024, 2, 29, 16), 12, (2025, 2, 28, 16)),
        ((2024, 3, 1), -1, (2024, 2, 1)),
        ((2024, 3, 15), 2, (2024, 5, 15)),
        ((2024, 3, 1), 0, (2024, 3, 1)),
    ],
)
def test_shift_keeps_the_distance_to_the_turn_of_the_month(
    start: tuple[int, ...], steps: int, end: tuple[int, ...]
) -> None:
    first, last = millis(*start), millis(*end)
    assert MONTHS.shift(first, steps) == last
    assert MONTHS.steps(first, last) == steps
    assert MONTHS.steps(first, last - 1) == steps - 1
    assert MONTHS.shift_all(array(first, last), array(steps, 0)).tolist() == [last, last]


@pytest.mark.parametrize(
    ("start", "steps", "end"),
    [
        ((2023, 1, 29), 1, (2023, 2, 28)),
        ((2024, 1, 29), 1, (2024, 2, 29)),
        ((2023, 1, 30, 16), 1, (2023, 2, 28)),
        ((2023, 1, 30, 16), 2, (2023, 3, 30, 16)),
        ((2023, 3, 30, 16), 1, (2023, 4, 30)),
        ((2023, 3, 30, 16), -1, (2023, 2, 28)),
    ],
)
def test_shift_to_a_month_that_is_too_short_leads_to_its_last_day(
    start: tuple[int, ...], steps: int, end: tuple[int, ...]
) -> None:
    assert MONTHS.shift(millis(*start), steps) == millis(*end)
    assert MONTHS.shift_all(array(millis(*start)), array(steps)).tolist() == [millis(*end)]
    assert MONTHS.steps(millis(*start), millis(*end)) == steps


@pytest.mark.parametrize("grid", GRIDS.values(), ids=lambda grid: grid.name)
def test_what_has_closed_is_before_one_time(grid: IntervalGrid) -> None:
    seed = random.Random(7)
    around = [0, 1, -1, HOUR, -HOUR, DAY, -DAY]
    days = [millis(year, month, day) for year in (2023, 2024) for month in (1, 2, 3, 4) for day in (1, 15, 27, 28)]
    days += [day + more * DAY for day in days for more in (1, 2, 3)]
    times = [day + offset for day in days for offset in around]
    times += [seed.randrange(-(10**12), 2 * 10**12) for _ in range(200)]
    for time in times:
        closes = grid.closes_at(time)
        nows = [closes + offset for offset in around]
        nows += [closes + seed.randrange(-3 * DAY, 3 * DAY) for _ in range(5)]
        for now in nows:
            assert (time < grid.closed_before(now)) == (closes <= now), (time, now)
            assert grid.open_at(array(time), now).tolist() == [closes > now], (time, now)
    closings = [grid.closes_at(time) for time in sorted(times)]
    assert closings == sorted(closings)


def test_months_are_missing_from_one_and_a_half_on() -> None:
    assert isinstance(MONTHS, MonthGrid)
    opens = [millis(2023, month, 1) for month in (1, 2, 5, 6, 8)]
    assert [MONTHS.missing(*pair) for pair in pairwise(opens)] == [0, 2, 0, 1]
    assert MONTHS.missing_all(array(*opens)).tolist() == [0, 2, 0, 1]
    assert MONTHS.missing_all(array(*opens)).dtype == np.int64
    assert MONTHS.missing_all(array(opens[0])).tolist() == MONTHS.missing_all(array()).tolist() == []
    start = millis(2023, 1, 1)
    # A month and a half end in the middle of February, 31 + 14 days from the first of January.
    assert [MONTHS.missing(start, start + days * DAY) for days in (42, 44, 45, 58)] == [0, 0, 1, 1]
    assert MONTHS.missing(start, start + MONTHS.suspect - 1) == 0
    # From the middle of June a month and a half end with July.
    middle = millis(2023, 6, 16)
    assert [MONTHS.missing(middle, millis(2023, 7, 31, 23)), MONTHS.missing(middle, millis(2023, 8, 1))] == [0, 1]


def test_month_is_open_until_its_last_day_ends() -> None:
    february, march = millis(2023, 2, 1), millis(2023, 3, 1)
    times = array(february - 1, february, march)
    assert MONTHS.open_at(times, march - 1).tolist() == [False, True, True]
    assert MONTHS.open_at(times, march).tolist() == [False, False, True]
    assert MONTHS.open_at(array(millis(2023, 1, 1)), millis(2023, 1, 31)).tolist() == [True]
    assert MONTHS.open_at(array(millis(2023, 1, 1)), millis(2023, 2, 1)).tolist() == [False]
