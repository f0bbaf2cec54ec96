"""The simulation time of rows, as a number, a date or an ISO text, in ``when`` or in the payload."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from backtest_mongo import SLOTS
from backtest_mongo.core.simulation_time import own_time, time_of, to_time

WHEN = 1_700_000_000_000
DATE = datetime.fromtimestamp(WHEN / 1000, UTC)
BY_NAME = {spec.name: spec for spec in SLOTS}


@pytest.mark.parametrize(
    ("value", "time"),
    [
        (WHEN, WHEN),
        (float(WHEN), WHEN),
        (0, 0),
        (-1, -1),
        (-0.0, 0),
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        (float(-(2**63)), -(2**63)),
        (DATE, WHEN),
        (DATE.astimezone(timezone(timedelta(hours=5))), WHEN),
        (DATE.isoformat(), WHEN),
        ("2023-11-14T22:13:20Z", WHEN),
        ("2023-11-15T03:13:20+05:00", WHEN),
        # No times.
        (2**63, None),
        (-(2**63) - 1, None),
        (float(2**63), None),
        (1.5, None),
        (float("nan"), None),
        (float("inf"), None),
        (True, None),
        (False, None),
        (None, None),
        ([WHEN], None),
        (b"1", None),
        ("1.5", None),
        ("", None),
        ("tomorrow", None),
        ("2023-11-14T22:13:20", None),
        (DATE.replace(tzinfo=None), None),
    ],
)
def test_time_is_a_whole_number_an_aware_date_or_its_text(value: Any, time: int | None) -> None:
    found = to_time(value)
    assert found == time
    assert type(found) is type(time)


@pytest.mark.parametrize("name", ["signal", "state", "memory"])
def test_payload_has_its_time_in_when(name: str) -> None:
    spec = BY_NAME[name]
    assert own_time(spec, {"when": WHEN, "timestamp": 1}) == WHEN
    assert own_time(spec, {"timestamp": 1}) is None


def test_recent_payload_has_its_time_in_timestamp_or_when() -> None:
    spec = BY_NAME["recent"]
    assert own_time(spec, {"timestamp": WHEN, "when": 1}) == WHEN
    assert own_time(spec, {"timestamp": "x", "when": 1}) == own_time(spec, {"when": 1}) == 1
    assert own_time(spec, {"timestamp": 0, "when": 1}) == 0


@pytest.mark.parametrize("name", ["risk", "partial", "breakeven"])
def test_payload_of_names_has_no_time(name: str) -> None:
    assert own_time(BY_NAME[name], {"when": WHEN, "timestamp": WHEN}) is None


@pytest.mark.parametrize("payload", [None, [], [{"when": WHEN}], "when", WHEN])
def test_payload_that_is_no_object_has_no_time(payload: Any) -> None:
    assert own_time(BY_NAME["state"], payload) is None


def test_document_has_the_time_of_when_before_that_of_its_payload() -> None:
    spec = BY_NAME["state"]
    assert time_of(spec, {"when": 0, spec.field: {"when": 1}}) == 0
    assert time_of(spec, {"when": None, spec.field: {"when": 1}}) == 1
    assert time_of(spec, {spec.field: {"when": DATE}}) == WHEN
    assert time_of(spec, {spec.field: None}) is None
    assert time_of(spec, {}) is None
