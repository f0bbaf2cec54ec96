"""Durations, sizes and shares as text."""

from __future__ import annotations

import pytest

from backtest_mongo.cli.formatting import format_bytes, format_duration, format_share
from tests.support.candle_commands import HOUR

pytestmark = pytest.mark.either_driver


@pytest.mark.parametrize(
    ("millis", "words"),
    [
        (0, "0 s"),
        (1, "1 ms"),
        (60_000, "1 min"),
        (49 * HOUR, "2 d 1 h"),
        (48 * HOUR + 1, "2 d"),
        (90_061_000, "1 d 1 h"),
    ],
)
def test_length_has_the_two_largest_units(millis: int, words: str) -> None:
    assert format_duration(millis) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (99_960, "100 kB"), (1_500_000, "1.5 MB"), (10**15, "1000 TB")],
)
def test_size_has_its_unit(count: int, words: str) -> None:
    assert format_bytes(count) == words


def test_share_is_whole_only_where_nothing_is_missing() -> None:
    assert [format_share(*parts) for parts in ((0, 0), (0, 5), (9_999, 10_000), (5, 5))] == [
        "-",
        "0 %",
        "99 %",
        "100 %",
    ]
