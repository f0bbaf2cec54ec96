"""Gaps, filling and coverage of series whose grid moves, compared with a model that looks at each candle.

A stored candle is never dropped from a frame nor called missing, in rows, in blocks and in files.

Two series of each kind; ``BACKTEST_GRIDS=50`` gives the long form.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from backtest_mongo import CandleAdapter, types
from backtest_mongo.core.interval_grid import GRIDS
from backtest_mongo.series import coverage as series_coverage
from backtest_mongo.types import INTERVAL_MS, INTERVALS, PRICES, Coverage, Gap
from tests.conftest import Deployment, tiny_blocks
from tests.support import uniform

pytestmark = [pytest.mark.either_driver, pytest.mark.files, pytest.mark.two_pythons]

SERIES_OF_A_KIND: Final = int(os.environ.get("BACKTEST_GRIDS", "2"))
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
NEW_YORK, TOKYO = ZoneInfo("America/New_York"), ZoneInfo("Asia/Tokyo")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def millis(time: datetime) -> int:
    return (time.astimezone(UTC) - EPOCH) // timedelta(milliseconds=1)


def adapter(interval: str, unique: str) -> CandleAdapter:
    return cast("CandleAdapter", uniform.ADAPTERS["candle"]("EURUSD", interval, unique))


def candles(times: list[int]) -> list[Any]:
    rows = []
    for time in times:
        price = float(time // 1000 % 977 + 1)
        rows.append(
            dict(zip(("timestamp", *PRICES), (time, price, price + 1, price - 1, price + 0.5, 7.0), strict=True))
        )
    return rows


# Series as they are


def new_york_days(dice: random.Random) -> list[int]:
    """Days that open at New York's midnight, over a change of its clocks."""
    first = datetime(2024, *dice.choice([(2, 25), (10, 20)]), tzinfo=NEW_YORK)
    return [millis(datetime.combine(first.date() + timedelta(day), first.time(), NEW_YORK)) for day in range(28)]


def forex_hours(dice: random.Random) -> list[int]:
    """Four hours of FX, whose day begins at 17:00 in New York."""
    first = datetime(2023, *dice.choice([(3, 9), (11, 3)]), tzinfo=NEW_YORK)
    opens = [
        datetime.combine(first.date() + timedelta(day), first.time().replace(hour=hour), NEW_YORK)
        for day in range(6)
        for hour in (1, 5, 9, 13, 17, 21)
    ]
    return [millis(time) for time in opens]


def shifted_minutes(dice: random.Random) -> list[int]:
    """Minutes that an outage shifts by 14 s, one way or the other."""
    times = [dice.randrange(10**6) * MINUTE]
    for _ in range(40):
        outage = dice.random() < 0.15
        times.append(
            times[-1] + MINUTE * (dice.randint(1, 9) if outage else 1) + dice.choice([0, 14_000, -14_000]) * outage
        )
    return times


def uneven_minutes(dice: random.Random) -> list[int]:
    """Minutes at any distance, halves of an interval among them."""
    times = [dice.randrange(-(10**6), 10**6) * MINUTE]
    for _ in range(40):
        times.append(
            times[-1] + dice.choice([MINUTE] * 6 + [MINUTE // 2, 89_999, 90_000, 90_001, 150_000, 210_000, 600_001])
        )
    return times


def months(dice: random.Random) -> list[int]:
    start = dice.randrange(1990 * 12, 2020 * 12)
    return [millis(datetime((start + n) // 12, (start + n) % 12 + 1, 1, tzinfo=UTC)) for n in range(30)]


def tokyo_months(dice: random.Random) -> list[int]:
    start = dice.randrange(1990 * 12, 2020 * 12)
    return [millis(datetime((start + n) // 12, (start + n) % 12 + 1, 1, tzinfo=TOKYO)) for n in range(30)]


def regular(interval: str) -> Callable[[random.Random], list[int]]:
    def make(dice: random.Random) -> list[int]:
        step, origin = INTERVAL_MS[interval], dice.choice([0, 0, 1_234])
        first = dice.randrange(50) * step + origin + millis(datetime(2010, 1, 4, tzinfo=UTC))
        return [first + place * step for place in range(40)]

    return make


SERIES: dict[str, tuple[str, Callable[[random.Random], list[int]]]] = {
    "days of New York": ("1d", new_york_days),
    "hours of FX": ("4h", forex_hours),
    "shifted minutes": ("1m", shifted_minutes),
    "uneven minutes": ("1m", uneven_minutes),
    "months": ("1M", months),
    "months of Tokyo": ("1M", tokyo_months),
    **{interval: (interval, regular(interval)) for interval in ("1s", "45m", "1h", "12h", "3d", "1w")},
}


# The model


def month_of(time: int) -> tuple[int, Fraction]:
    """Return the number of a month, and which part of it is over."""
    at = EPOCH + timedelta(milliseconds=time)
    start = datetime(at.year, at.month, 1, tzinfo=UTC)
    end = datetime(at.year + at.month // 12, at.month % 12 + 1, 1, tzinfo=UTC)
    return at.year * 12 + at.month, Fraction(
        (at - start) // timedelta(milliseconds=1), (end - start) // timedelta(milliseconds=1)
    )


def distance(interval: str, before: int, after: int) -> Fraction:
    if interval != "1M":
        return Fraction(after - before, INTERVAL_MS[interval])
    (one, past), (other, later) = month_of(before), month_of(after)
    return other - one + later - past


def shifted(interval: str, time: int, steps: int) -> int:
    """Return the open time so many candles later: months open on the first here, in UTC or in Tokyo."""
    if interval != "1M":
        return time + steps * INTERVAL_MS[interval]
    zone = UTC if time % DAY == 0 else TOKYO
    at = (EPOCH + timedelta(milliseconds=time)).astimezone(zone)
    month = at.year * 12 + at.month - 1 + steps
    return millis(at.replace(year=month // 12, month=month % 12 + 1))


def missing(interval: str, stored: list[int], first: int, end: int) -> list[int]:
    """Return where candles are missing in a half-open range, going over every one of them."""

    def going(time: int, way: int) -> Iterator[int]:
        steps = way
        while shifted(interval, time, steps) < end if way > 0 else shifted(interval, time, steps) >= first:
            yield shifted(interval, time, steps)
            steps += way

    found: list[int] = []
    if not stored:
        return [time for time in (first, *going(first, 1)) if first <= time < end]
    for before, after in pairwise(stored):
        apart = distance(interval, before, after)
        if apart >= Fraction(3, 2):
            found += [shifted(interval, before, step) for step in range(1, round(apart))]
    found += [*going(stored[0], -1), *going(stored[-1], 1)]
    return sorted(time for time in found if first <= time < end)


@pytest.fixture(params=["rows", "blocks"])
def sealed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(series_coverage, "_PLACES", 5)
    if request.param == "blocks":
        tiny_blocks(monkeypatch)
    return bool(request.param == "blocks")


@pytest.mark.heavy
@pytest.mark.parametrize("kind", SERIES)
async def test_gaps_filling_and_coverage_are_what_one_would_find_by_hand(
    deployment: Deployment, unique: str, sealed: bool, kind: str
) -> None:
    interval, make = SERIES[kind]
    for seed in range(SERIES_OF_A_KIND):
        dice = random.Random(f"{kind} {seed}")
        every = make(dice)
        stored = sorted(time for time in every if dice.random() < dice.choice([0.6, 0.9, 1.0])) or every[:1]
        series = adapter(interval, f"{unique}-{seed}")
        assert await series.write_candles_data(candles(stored)) == len(stored)
        if sealed:
            await series.seal()
        assert await series.coverage() == Coverage(stored[0], stored[-1], len(stored))
        await check_range(series, stored, None, every[-1] + 1, every, kind)
        typical = GRIDS[interval].shortest
        for _ in range(5):
            first, end = sorted(dice.randrange(every[0] - 4 * typical, every[-1] + 4 * typical) for _ in range(2))
            await check_range(series, stored, first, end, every, kind)
            await check_range(series, stored, dice.choice(every), dice.choice([None, end]), every, kind)


async def check_range(
    series: CandleAdapter, stored: list[int], start: int | None, end: int | None, every: list[int], kind: str
) -> None:
    interval = str(series.context["interval"])
    if start is not None and end is not None and start > end:
        start, end = end, start
    first, stop = stored[0] if start is None else start, stored[-1] + 1 if end is None else end
    places = missing(interval, stored, first, stop)
    if end is not None:
        gaps = await series.gaps(start, end)
        assert sum(gap.rows for gap in gaps) == len(places)
        assert all(any(gap.start <= place < gap.end for gap in gaps) for place in places)
        assert not any(gap.start <= time < gap.end for gap in gaps for time in stored)
        assert all(one.end <= other.start for one, other in pairwise(gaps))
        assert all(first <= gap.start < gap.end for gap in gaps)
        if start is None and "minutes" not in kind:
            # What the exchange has and the store hasn't is fetched by going over the gaps.
            absent = [time for time in every if stored[0] < time < stored[-1] and time not in stored]
            assert all(any(gap.start <= time < gap.end for gap in gaps) for time in absent)
    by_time = {row["timestamp"]: row for row in candles(stored)}
    for fill in (None, "null", "forward"):
        frame = await series.read_frame(start, end, as_="numpy", fill=cast("Any", fill))
        times = frame["timestamp"].astype(np.int64).tolist()
        inside = [time for time in stored if first <= time < stop]
        assert times == (inside if fill is None else sorted(inside + places))
        close = None
        for row in zip(times, *(frame[name].tolist() for name in PRICES), strict=True):
            if row[0] in by_time:
                assert row == tuple(by_time[row[0]].values())
                close = row[4]
            elif fill == "forward" and close is not None:
                assert row == (row[0], close, close, close, close, 0.0)
            else:
                assert all(value != value for value in row[1:])


# Cases in full


async def test_change_of_clocks_leaves_no_gap_and_drops_no_candle(deployment: Deployment, unique: str) -> None:
    days = [millis(datetime(2024, 3, day, tzinfo=NEW_YORK)) for day in range(5, 16)]
    series = adapter("1d", unique)
    await series.write_candles_data(candles(days))
    assert await series.gaps(end=days[-1] + 1) == []
    frame = await series.read_frame(as_="numpy", fill="forward")
    assert frame["timestamp"].astype(np.int64).tolist() == days
    assert frame["volume"].tolist() == [7.0] * len(days)


async def test_gap_over_a_change_of_clocks_holds_what_the_exchange_has(deployment: Deployment, unique: str) -> None:
    days = [millis(datetime(2024, 3, day, tzinfo=NEW_YORK)) for day in range(5, 16)]
    absent = millis(datetime(2024, 3, 11, tzinfo=NEW_YORK))  # the first one that opens at 04:00 in UTC
    series = adapter("1d", unique)
    await series.write_candles_data(candles([day for day in days if day != absent]))
    assert await series.gaps(end=days[-1] + 1) == [Gap(absent, absent + DAY, 1)]


@pytest.mark.parametrize("rows", [3, 12])
async def test_outage_that_shifts_minutes_counts_only_what_it_took(
    deployment: Deployment, unique: str, rows: int
) -> None:
    before = [place * MINUTE for place in range(rows)]
    after = [(rows + 4 + place) * MINUTE + 14_000 for place in range(rows)]
    series = adapter("1m", unique)
    await series.write_candles_data(candles(before + after))
    assert await series.gaps(end=after[-1] + 1) == [Gap(rows * MINUTE, after[0], 4)]
    frame = await series.read_frame(as_="numpy", fill="null")
    filled = [(rows + place) * MINUTE for place in range(4)]
    assert frame["timestamp"].astype(np.int64).tolist() == before + filled + after
    assert int(np.isnan(frame["close"]).sum()) == 4


@pytest.mark.parametrize(
    ("apart", "rows"), [(89_999, 0), (90_000, 1), (149_999, 1), (150_000, 1), (150_001, 2), (210_000, 3)]
)
async def test_gap_begins_at_one_and_a_half_intervals(
    deployment: Deployment, unique: str, apart: int, rows: int
) -> None:
    """And halves are rounded as Python rounds them, to the even number."""
    series = adapter("1m", unique)
    await series.write_candles_data(candles([0, apart]))
    gaps = await series.gaps(end=apart + 1)
    assert [gap.rows for gap in gaps] == [rows][: bool(rows)]
    assert len((await series.read_frame(as_="numpy", fill="null"))["open"]) == 2 + rows


@pytest.mark.parametrize("interval", INTERVALS)
@pytest.mark.parametrize("offset", [0, 5_000])
async def test_empty_series_lacks_the_whole_stretch(
    deployment: Deployment, unique: str, interval: str, offset: int
) -> None:
    start = millis(datetime(2024, 1, 1, tzinfo=UTC)) + offset
    end = GRIDS[interval].shift(start, 12)
    series = adapter(interval, unique)
    assert await series.gaps(start, end) == [Gap(start, end, 12)]
    assert await series.gaps(start, end - 1) == [Gap(start, end - 1, 12)]
    assert await series.gaps(start, start) == []
    assert await series.gaps() == []
    await series.write_candles_data(candles(list(GRIDS[interval].times(start, 12))))
    assert await series.gaps(start, end) == []


async def test_what_has_not_closed_is_not_missing_in_an_empty_series(
    deployment: Deployment, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(types, "now_ms", lambda: millis(datetime(2024, 3, 31, 23, tzinfo=UTC)))
    start = datetime(2024, 1, 1, tzinfo=UTC)
    march, april = (millis(datetime(2024, month, 1, tzinfo=UTC)) for month in (3, 4))
    assert await adapter("1M", unique).gaps(start) == [Gap(millis(start), march, 2)]
    assert await adapter("1M", unique).gaps(start, datetime(2030, 1, 1, tzinfo=UTC)) == [Gap(millis(start), march, 2)]
    monkeypatch.setattr(types, "now_ms", lambda: april)
    assert await adapter("1M", unique).gaps(start) == [Gap(millis(start), april, 3)]


# Intervals


@pytest.mark.parametrize("interval", INTERVALS)
async def test_candle_is_stored_once_it_has_closed(
    deployment: Deployment, unique: str, interval: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens = millis(datetime(2024, 2, 1, tzinfo=UTC))
    closes = opens + (29 * DAY if interval == "1M" else INTERVAL_MS[interval])
    series = adapter(interval, unique)
    for now, new in ((closes - 1, 0), (closes, 1)):
        monkeypatch.setattr(types, "now_ms", lambda now=now: now)
        frame = {name: [value] for name, value in candles([opens])[0].items()}
        assert (await series.write_frame(frame)).new == new
        assert await adapter(interval, f"{unique}-2").write_candles_data(candles([opens])) == new


@pytest.mark.parametrize("sealing", [False, True])
@pytest.mark.parametrize("kind", ["months", "months of Tokyo", "1w", "1s", "3d"])
async def test_windows_go_by_the_interval_in_memory_rows_and_blocks(
    deployment: Deployment, unique: str, kind: str, sealing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sealing:
        tiny_blocks(monkeypatch)
    interval, make = SERIES[kind]
    dice = random.Random(kind)
    every = make(dice)
    stored = [time for time in every if time != every[17]]
    series = adapter(interval, unique)
    await series.write_candles_data(candles(stored))
    await series.seal()
    for _ in range(3):
        for first in range(len(every) - 6):
            wanted = every[first : first + 5]
            found = await series.read_candles_data(5, wanted[0], wanted[-1])
            assert found == (None if every[17] in wanted else candles(wanted))
        await deployment.forget()
    assert await series.read_candles_data(17, every[0]) == candles(every[:17])
    assert await series.read_candles_data(18, every[0]) is None
    assert (await series.verify()).damaged == {}


@pytest.mark.in_rows("late candles drop no block that is the truth")
@pytest.mark.mongodb("files have no blocks")
@pytest.mark.parametrize("kind", ["months", "1w", "1s", "45m", "12h", "3d"])
async def test_whole_blocks_of_each_interval_are_sealed_and_late_candles_drop_them(
    deployment: Deployment, unique: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_blocks(monkeypatch)
    interval, make = SERIES[kind]
    grid = GRIDS[interval]
    place, _ = grid.locate(make(random.Random(kind))[0])
    every = list(grid.times(grid.time(place - place % 4), 16))
    series = adapter(interval, unique)
    await series.write_candles_data(candles([time for time in every if time != every[6]]))
    await series.seal()
    assert (await series.sealed()).rows == 15
    assert await series.write_candles_data(candles([every[6]])) == 1
    assert (await series.sealed()).rows == 12
    await series.seal()
    assert await series.read_candles_data(16, every[0]) == candles(every)
    assert (await series.verify()).damaged == {}


def test_weeks_open_on_mondays_and_months_on_the_first() -> None:
    week, month = GRIDS["1w"], GRIDS["1M"]
    monday, first = millis(datetime(2024, 1, 1, tzinfo=UTC)), millis(datetime(2024, 2, 1, tzinfo=UTC))
    assert week.locate(monday)[1] == 0
    assert month.locate(first) == (54 * 12 + 1, 0)
    assert month.closes_at(first) == first + 29 * DAY
    assert month.closes_at(first - 8 * HOUR) == first + 29 * DAY - 8 * HOUR
    assert [name for name in INTERVALS if name != "1M"] == list(INTERVAL_MS)
    assert list(GRIDS) == list(INTERVALS)
    assert sorted(INTERVAL_MS.values()) == list(INTERVAL_MS.values())


@pytest.mark.parametrize("interval", INTERVALS)
def test_grid_gives_the_same_for_arrays_as_for_numbers(interval: str) -> None:
    grid, dice = GRIDS[interval], random.Random(interval)
    bound = 2**45
    times = np.array(sorted({dice.randrange(-bound, bound) for _ in range(300)}), np.int64)
    places, past = grid.locate_all(times)
    assert list(zip(places.tolist(), past.tolist(), strict=True)) == [grid.locate(time) for time in times.tolist()]
    assert grid.times_of(places).tolist() == [grid.time(place) for place in places.tolist()]
    steps = np.array([dice.randrange(-50, 50) for _ in times])
    moved = [grid.shift(time, step) for time, step in zip(times.tolist(), steps.tolist(), strict=True)]
    assert grid.shift_all(times, steps).tolist() == moved
    assert [grid.steps(time, other) for time, other in zip(times.tolist(), moved, strict=True)] == steps.tolist()
    near = np.cumsum([dice.choice([1, 1, 1.4, 1.5, 1.6, 2.5, 3.5]) * grid.shortest for _ in range(300)]).astype(
        np.int64
    )
    assert grid.missing_all(near).tolist() == [grid.missing(*pair) for pair in pairwise(near.tolist())]
    now = int(times[150])
    assert grid.open_at(times, now).tolist() == [grid.closes_at(time) > now for time in times.tolist()]
    assert list(grid.times(now, 5)) == [grid.shift(now, step) for step in range(5)]
