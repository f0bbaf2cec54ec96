"""Times as text."""

from __future__ import annotations

import pytest

from backtest_mongo.market_data.time_formats import format_utc, parse_time

pytestmark = pytest.mark.either_driver


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-31", "2024-01-31 00:00"),
        ("20240131", "2024-01-31 00:00"),
        ("2024.01.31 12:30", "2024-01-31 12:30"),
        ("2024/01/31 12:30:15", "2024-01-31 12:30:15"),
        ("31.01.2024", "2024-01-31 00:00"),
        ("2024-01-31T12:30:00+02:00", "2024-01-31 10:30"),
        ("2024-01-31 12:30:00 UTC", "2024-01-31 12:30"),
        ("1706702400", "2024-01-31 12:00"),
        ("1706702400.0", "2024-01-31 12:00"),
        ("1706702400000", "2024-01-31 12:00"),
        ("1.7067024e12", "2024-01-31 12:00"),
        ("-631152000", "1950-01-01 00:00"),
    ],
)
def test_time_in_text_is_understood(text: str, expected: str) -> None:
    assert format_utc(parse_time(text)) == expected


@pytest.mark.parametrize("text", ["", "now", "12:30", "01/31/2024", "2024-02-30", "2024", "1e400", "١٢٣٤٥٦٧٨٩٠"])
def test_text_that_is_not_a_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time" if text else "the time is empty"):
        parse_time(text)
