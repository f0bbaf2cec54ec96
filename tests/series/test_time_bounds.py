"""Bounds that are finer than the unit of a series, whose rows are at whole units."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction
from math import ceil, floor
from typing import Any

import pandas as pd
import pytest

from backtest_mongo import persist
from backtest_mongo.core.columns import UNITS_PER_MS, Unit
from backtest_mongo.core.unit_times import round_to_units
from tests.conftest import Deployment
from tests.support.built_in_series import equity, trades

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]


@pytest.fixture
async def at_milliseconds(deployment: Deployment, unique: str) -> Any:
    series = persist.equity(unique, "binance", "1h", "BTCUSDT", True)
    await series.append(equity(1, 2, 3, 4))
    return series


def micros(count: int) -> datetime:
    return datetime.fromtimestamp(0, UTC).replace(microsecond=count)


async def read_range(series: Any, *bounds: Any) -> list[int]:
    frame = await series.read_frame(*bounds, as_="numpy")
    return [int(time) for time in frame["timestamp"].astype("i8")]


async def test_range_has_the_rows_between_its_bounds(at_milliseconds: Any) -> None:
    series = at_milliseconds
    assert await read_range(series, micros(1_001), micros(3_000)) == [2]
    assert await read_range(series, micros(1_000), micros(3_001)) == [1, 2, 3]
    assert await read_range(series, "1970-01-01T00:00:00.001000001Z", "1970-01-01T00:00:00.003000001Z") == [2, 3]


async def test_rows_outside_of_the_bounds_are_not_deleted(at_milliseconds: Any) -> None:
    series = at_milliseconds
    assert await series.delete(micros(1_001), micros(3_001)) == 2
    assert await read_range(series) == [1, 4]


async def test_row_after_a_time_is_not_the_one_at_it(at_milliseconds: Any) -> None:
    series = at_milliseconds
    found = [await series.read_asof(micros(count)) for count in (999, 1_000, 1_999, 2_000)]
    assert [row and row["timestamp"] for row in found] == [None, 1, 1, 2]


async def test_nanoseconds_of_a_bound_count(deployment: Deployment, unique: str) -> None:
    series = persist.trade(unique, "binance")
    await series.append(trades(1, 2))
    row = await series.read_asof(pd.Timestamp(1_999_999, unit="ns", tz="UTC"))
    assert row is not None
    assert row["timestamp"] == 1_000
    assert await read_range(series, pd.Timestamp(1_000_001, unit="ns", tz="UTC")) == [2_000]


@pytest.mark.parametrize("unit", UNITS_PER_MS)
@pytest.mark.parametrize("round_", [ceil, floor])
def test_bounds_are_rounded_from_all_of_their_digits(unit: Unit, round_: Any) -> None:
    exact = Fraction(1_700_000_000_123_456_789 * UNITS_PER_MS[unit], 1_000_000)
    stamp = pd.Timestamp(1_700_000_000_123_456_789, tz="UTC")
    for value in (stamp, stamp.isoformat(), stamp.to_datetime64()):
        assert round_to_units(value, unit, round_) == round_(exact)


def test_integer_is_the_count_of_units() -> None:
    assert round_to_units(5, "ns", ceil) == 5
    for value in (2**63 - 1, -(2**63)):
        with pytest.raises(ValueError, match="must fit in 64 bits"):
            round_to_units(value, "ns", ceil)
