"""The rules for candles by themselves: one candle, columns of many, the times of a batch, the names of columns."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest

from backtest_mongo.core.candle_rules import (
    END,
    START,
    explain_problem,
    explain_spacing,
    find_duplicates,
    find_impossible_rows,
)
from backtest_mongo.types import PRICES
from tests.core.test_candle_rules import FIELDS, IMPOSSIBLE, MINUTE, candle

NOT_A_TIME = -(2**63)
#: At the ends of what a candle may be.
POSSIBLE: list[dict[str, Any]] = [
    {},
    {"timestamp": START},
    {"timestamp": END - 1},
    {"volume": 0.0},
    {"volume": -0.0},
    {"open": 12.0, "close": 9.0},
    {"open": 9.0, "close": 12.0},
    {"open": 12.0 * (1 + 0.9e-9)},
    {"close": 9.0 * (1 - 0.9e-9)},
    {"open": 0.0, "high": 0.0, "low": 0.0, "close": 0.0},
    {"open": -1.0, "high": -1.0, "low": -2.0, "close": -2.0 * (1 + 0.9e-9)},
]
#: Reasons, in the order in which the columns of a frame are judged.
BAD: list[tuple[dict[str, Any], str]] = [
    ({"timestamp": NOT_A_TIME, "open": math.nan}, "it has no time"),
    ({"timestamp": START - 1, "volume": -1.0}, "its time is outside of the years 1 to 9999"),
    ({"timestamp": END, "high": 1.0}, "its time is outside of the years 1 to 9999"),
    *(({"low": 99.0, name: value}, f"{name} is not a finite number")
      for name in PRICES for value in (math.nan, math.inf, -math.inf)),
    ({"high": 8.0, "open": 7.0}, "high is below low"),
    ({"open": 8.0, "close": 13.0}, "open is below low"),
    ({"open": 13.0, "close": 8.0}, "open is above high"),
    ({"close": 8.0, "volume": -1.0}, "close is below low"),
    ({"close": 13.0, "volume": -1.0}, "close is above high"),
    ({"close": 9.0 * (1 - 1.1e-9)}, "close is below low"),
    ({"open": 12.0 * (1 + 1.1e-9)}, "open is above high"),
    ({"open": -1.0, "high": -1.0 * (1 + 1.1e-9), "low": -3.0, "close": -2.0}, "open is above high"),
    ({"volume": -5e-324}, "volume is negative"),
]  # fmt: skip


def columns(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        name: np.array([row[name] for row in rows], np.int64 if name == "timestamp" else np.float64) for name in FIELDS
    }


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_problem_of_a_candle_has_its_numbers(name: str) -> None:
    changes, _, problem = IMPOSSIBLE[name]
    found = explain_problem(candle(**changes))
    assert found is not None
    assert found.startswith(problem) or found.endswith(problem)


@pytest.mark.parametrize("changes", POSSIBLE)
def test_candle_at_the_end_of_what_is_possible_is_one(changes: dict[str, Any]) -> None:
    assert explain_problem(candle(**changes)) is None
    assert find_impossible_rows(columns([candle(), candle(**changes)])) == {}


def test_rows_are_found_by_their_first_reason() -> None:
    rows = [candle()]
    expected: dict[str, list[int]] = {}
    for changes, reason in (*BAD, *BAD):
        expected.setdefault(reason, []).append(len(rows))
        rows += [candle(**changes), candle()]
    found = find_impossible_rows(columns(rows))
    assert {reason: numbers.tolist() for reason, numbers in found.items()} == expected
    assert list(found) == list(expected)
    assert find_impossible_rows(columns([])) == {}


def test_extreme_numbers_are_judged_without_a_warning() -> None:
    large: dict[str, Any] = {"open": 1.7e308, "low": -1.7e308, "high": -1.6e308, "close": -1.7e308}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = [candle(close=math.nan), candle(**large), candle(volume=math.nan), candle(open=math.inf, high=math.inf)]
        found = find_impossible_rows(columns(rows))
    assert {reason: numbers.tolist() for reason, numbers in found.items()} == {
        "open is not a finite number": [3],
        "close is not a finite number": [0],
        "volume is not a finite number": [2],
        "open is above high": [1],
    }


def explain(times: list[int], interval: str = "1m") -> str | None:
    """Return what is found, which is the same for a list and for an array."""
    found = explain_spacing(times, interval)
    assert explain_spacing(np.array(times, np.int64), interval) == found
    return found


def message(median: str, interval: str = "1m") -> str:
    return f"the median distance of its times is {median} ms, less than half of {interval}"


@pytest.mark.parametrize(
    ("times", "found"),
    [
        ([], None),
        ([0], None),
        ([0, 0, 0], None),
        ([0, MINUTE], None),
        ([0, MINUTE // 2], None),
        ([0, MINUTE // 2 - 1], message("29,999")),
        ([MINUTE // 2 - 1, 0], message("29,999")),
        ([0, 60], message("60")),
        ([0, 60, 0, 60], message("60")),
        # The median of an even number of distances is between the two in the middle.
        ([0, 60, 181], message("90.5")),
        ([0, 10, 60_000], None),
        ([0, 10, 59_999], message("29,999.5")),
        ([0, 10, 30, 60_000, 60_010, 200_000], message("20")),
        ([0, 10, 60_000, 120_000], None),
        ([0, 10, 20, 120_000], message("10")),
        ([120_000, 20, 0, 10], message("10")),
        ([0, 40, 10], message("20")),
        ([0, 20, 10, 40], message("10")),
        # Times that are none don't count.
        ([NOT_A_TIME, 0, MINUTE], None),
        ([START - 1, START, START + MINUTE], None),
        ([END - MINUTE, END - 1, END], None),
        ([START - 10, START - 5, START - 1], None),
        ([END, END + 1, END + 2], None),
        ([END - 10, END], None),
        ([END, END - 10], None),
        ([START, START + 10], message("10")),
        ([START + 10, START], message("10")),
        ([END - 11, END - 1], message("10")),
        ([0, 10, 2**62], message("10")),
    ],
)
def test_times_of_a_batch_are_too_dense_by_their_median_distance(times: list[int], found: str | None) -> None:
    assert explain(times) == found


def test_times_are_too_dense_for_one_interval_and_not_for_another() -> None:
    times = [place * MINUTE for place in range(5)]
    assert explain(times, "1m") is explain(times, "1s") is None
    assert explain(times, "3m") == message("60,000", "3m")
    # A month has 28 days at least.
    days = 14 * 86_400_000
    assert explain([0, days], "1M") is None
    assert explain([0, days - 1], "1M") == message("1,209,599,999", "1M")


def test_columns_that_are_there_twice_are_named_in_order() -> None:
    names = ["volume", "timestamp", "close", "symbol", "symbol", "volume", "timestamp", "timestamp", None]
    assert find_duplicates(iter(names)) == ["timestamp", "volume"]
    assert find_duplicates(FIELDS) == []
    assert find_duplicates([*PRICES, *PRICES]) == list(PRICES)
