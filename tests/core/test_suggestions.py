"""The hint for a name that does not exist."""

from __future__ import annotations

import pytest

from backtest_mongo.core.suggestions import suggest

KNOWN = ["Signal", "schedule", "RISK"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("signl", "did you mean Signal?"),
        ("SIGNALS", "did you mean Signal?"),
        ("shedule", "did you mean schedule?"),
        ("Risc", "did you mean RISK?"),
        ("candle", "known are Signal, schedule, RISK"),
        ("", "known are Signal, schedule, RISK"),
    ],
)
def test_closest_name_is_suggested_whatever_its_case(name: str, hint: str) -> None:
    assert suggest(name, iter(KNOWN)) == hint
