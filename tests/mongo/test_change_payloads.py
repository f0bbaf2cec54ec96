"""Payloads of which events name the parts that have changed, without a server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backtest_mongo.mongo import change_payloads
from backtest_mongo.mongo.change_payloads import UNKNOWN, ChangePayloads

NOW = datetime(2024, 1, 1, tzinfo=UTC)


def update(removed: Any = (), truncated: Any = None, **fields: Any) -> dict[str, Any]:
    arrays = [{"field": path, "newSize": size} for path, size in (truncated or {}).items()]
    named = {path.replace("__", "."): value for path, value in fields.items()}
    return {"updatedFields": named, "removedFields": list(removed), "truncatedArrays": arrays}


def keep(payload: Any) -> ChangePayloads:
    payloads = ChangePayloads()
    payloads.put(1, payload)
    return payloads


@pytest.mark.parametrize(
    ("before", "changed", "after"),
    [
        ({"n": 1, "m": 2}, update(payload__n=3), {"n": 3, "m": 2}),
        ({"n": 1}, update(payload__m={"a": [1]}), {"n": 1, "m": {"a": [1]}}),
        ({"n": 1, "m": 2}, update(removed=["payload.n"]), {"m": 2}),
        ({"a": {"b": {"c": 1}}}, update(payload__a__b__c=2), {"a": {"b": {"c": 2}}}),
        ({"a": [1, 2, 3]}, update(payload__a__1=5), {"a": [1, 5, 3]}),
        ({"a": [1, 2]}, update(payload__a__2=3, payload__a__3=4), {"a": [1, 2, 3, 4]}),
        ({"a": [1, 2, 3]}, update(truncated={"payload.a": 1}, payload__a__0=9), {"a": [9]}),
        ({"a": [{"x": 1}]}, update(payload__a__0__x=2), {"a": [{"x": 2}]}),
        ({"0": {"1": 2}}, update(payload__0__1=3), {"0": {"1": 3}}),
        ({"a.b": 1, "c": 2}, update(**{"payload.a.b": 3}), {"a.b": 3, "c": 2}),
        ([1, [2]], update(payload__1__0=3), [1, [3]]),
        ({"n": 1}, update(when=5, payloads__n=2), {"n": 1}),
        (None, update(), None),
    ],
)
def test_parts_are_applied(before: Any, changed: dict[str, Any], after: Any) -> None:
    payloads = keep(before)
    assert payloads.apply(1, "payload", changed) == after
    assert payloads.apply(2, "payload", changed) is UNKNOWN


@pytest.mark.parametrize(
    ("before", "changed"),
    [
        ({"a": {"b": 1}, "a.b": 2}, update(**{"payload.a.b": 3})),
        ({"a": 1}, update(**{"payload.a.b": 3})),
        ({"a": [1]}, update(**{"payload.a.x": 3})),
        ({"a": [1]}, update(**{"payload.a.5": 3})),
        ({"a": [1]}, update(**{"payload.a.5.b": 3})),
    ],
)
def test_path_that_is_not_clear_makes_the_payload_unknown(before: Any, changed: dict[str, Any]) -> None:
    payloads = keep(before)
    assert payloads.apply(1, "payload", changed) is UNKNOWN
    assert payloads.apply(1, "payload", update()) is UNKNOWN


def test_payload_belongs_to_its_caller() -> None:
    value = {"a": [1]}
    payloads = keep(value)
    value["a"].append(2)
    found = payloads.apply(1, "payload", update())
    found["a"].append(3)
    assert payloads.apply(1, "payload", update()) == {"a": [1]}


def test_row_that_was_read_beside_the_stream_waits_for_the_first_later_event() -> None:
    payloads = ChangePayloads()
    payloads.put(1, {"n": 5, "m": 5}, NOW)
    earlier, later = NOW - timedelta(milliseconds=1), NOW + timedelta(milliseconds=1)
    assert payloads.apply(1, "payload", update(payload__n=1, updatedDate=earlier)) is UNKNOWN
    assert payloads.apply(1, "payload", update(payload__n=1)) is UNKNOWN
    assert payloads.apply(1, "payload", update(payload__n=5, updatedDate=NOW)) == {"n": 5, "m": 5}
    assert payloads.apply(1, "payload", update(payload__n=6, updatedDate=later)) == {"n": 6, "m": 5}


def test_those_that_were_kept_first_are_dropped_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_payloads, "KEPT_BYTES", 1_000)
    payloads = ChangePayloads()
    for oid in range(5):
        payloads.put(oid, {"x": "x" * 300})
    known = [payloads.apply(oid, "payload", update()) is not UNKNOWN for oid in range(5)]
    assert known == [False, False, True, True, True]
    payloads.put(9, {"x": "x" * 2_000})
    assert [payloads.apply(oid, "payload", update()) for oid in (4, 9)] == [UNKNOWN, UNKNOWN]
    payloads.put(1, 1)
    payloads.clear()
    assert payloads.apply(1, "payload", update()) is UNKNOWN
