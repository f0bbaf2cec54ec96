"""Local times and their zones, beside those of ``datetime``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from backtest_mongo.core.time_zones import FIRST, LAST, NO_TIME, localize

DAY = 86_400_000
EPOCH = datetime(1970, 1, 1)
PARIS = ZoneInfo("Europe/Paris")


def millis(*date: int) -> int:
    return (datetime(*date) - EPOCH) // timedelta(milliseconds=1)  # type: ignore[arg-type]  # a date's numbers


def convert(zone: tzinfo, *times: int) -> list[int]:
    found = localize(np.array(times, np.int64), zone)
    assert found.dtype == np.int64
    return [int(time) for time in found]


@pytest.mark.parametrize(
    ("local", "hours"),
    [
        ((2024, 1, 1), 1),
        ((2024, 7, 1, 12, 34, 56, 789_000), 2),
        ((2024, 3, 31, 1, 59, 59, 999_000), 1),
        ((2024, 3, 31, 3), 2),
        ((2024, 10, 27, 1, 59, 59, 999_000), 2),
        ((2024, 10, 27, 3), 1),
    ],
)
def test_local_time_is_converted_by_the_offset_of_its_date(local: tuple[int, ...], hours: int) -> None:
    assert convert(PARIS, millis(*local)) == [millis(*local) - hours * 3_600_000]


@pytest.mark.parametrize(
    "local", [(2024, 3, 31, 2), (2024, 3, 31, 2, 59, 59, 999_000), (2024, 10, 27, 2), (2024, 10, 27, 2, 45)]
)
def test_local_time_that_is_skipped_or_shown_twice_is_missing(local: tuple[int, ...]) -> None:
    assert convert(PARIS, millis(*local), millis(2024, 1, 1)) == [NO_TIME, millis(2023, 12, 31, 23)]


def test_many_times_are_converted_each_by_its_own_offset() -> None:
    times = [millis(2024, month, day, 5, 6, 7) for month in range(1, 13) for day in (1, 28)]
    aware = [(EPOCH + timedelta(milliseconds=time)).replace(tzinfo=PARIS) for time in times]
    assert convert(PARIS, *times) == [round(one.timestamp() * 1000) for one in aware]
    assert convert(PARIS) == []


def test_offset_may_change_at_any_second_before_1972_and_have_seconds() -> None:
    # On 11 March 1911 Paris set its clocks back by 9 minutes and 21 seconds, to Greenwich's time.
    midnight, seconds = millis(1911, 3, 11), 561_000
    assert convert(PARIS, midnight - seconds - 1, midnight) == [midnight - 2 * seconds - 1, midnight]
    assert convert(PARIS, midnight - seconds, midnight - 1) == [NO_TIME, NO_TIME]
    # Monrovia was 44 minutes and a half behind it until 1972.
    before, after = millis(1971, 12, 31, 23, 59, 59), millis(1972, 1, 1)
    assert convert(ZoneInfo("Africa/Monrovia"), before, after) == [before + 2_670_000, after + 2_670_000]


def test_first_and_last_day_of_all_and_missing_times_are_missing() -> None:
    zone = timezone(timedelta(hours=1))
    assert convert(zone, NO_TIME, FIRST + DAY - 1, FIRST, LAST, LAST - DAY + 1, 2**63 - 1) == [NO_TIME] * 6
    hour = 3_600_000
    assert convert(zone, FIRST + DAY, LAST - DAY) == [FIRST + DAY - hour, LAST - DAY - hour]
    assert convert(UTC, -1, 0, 1) == [-1, 0, 1]


class _NoZone(tzinfo):
    def utcoffset(self, _: datetime | None) -> None:
        return None

    dst = tzname = utcoffset


def test_zone_without_an_offset_has_no_times() -> None:
    assert convert(_NoZone(), 0, DAY) == [NO_TIME, NO_TIME]
