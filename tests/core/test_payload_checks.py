"""The check of a payload and its encoding, without a server: every kind of value, where it lies and how deep."""

from __future__ import annotations

import re
import time
import types
from array import array
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any

import bson
import numpy as np
import pytest
from bson.datetime_ms import DatetimeMS

from backtest_mongo import InputError, InputTypeError
from backtest_mongo.core.payload import (
    CODEC,
    MAX_DEPTH,
    MAX_DOCUMENT_BYTES,
    check_payload,
    freeze,
    suggest_conversion,
)
from tests.core.test_payloads import BAD, CHANGED, FAR_DATES, ID, KEPT, MOMENT, OF_TYPE, RESERVED, Position, Side, same

#: What comes back as it was, in value and type.
SAME: list[Any] = [
    *(None, True, False, 0, -1, 2**63 - 1, -(2**63), 1.5, float("inf"), -0.0, "", "a", "ключ", "\0", b"", ID, MOMENT),
    *([], {}, {"ключ": 1, "": 2, "$ref": "x"}, {"$id": 1}, [[1], {"a": [2]}]),
    *(Decimal("1.10"), Decimal("NaN"), Decimal("-Infinity"), Decimal("1" * 34), Decimal("1E-6176")),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad[2])
def test_bad_value_is_refused_by_its_path_and_type(bad: tuple[Any, str, str]) -> None:
    value, problem, kind = bad
    for payload, path in (
        (value, ""),
        ([0, value], "[1]"),
        (("x", value), "[1]"),
        ({"a": 0, "b": value}, ".b"),
        (types.MappingProxyType({"a.b": [{"": value}, 1]}), ".a.b[0]."),
    ):
        with pytest.raises(InputError) as caught:
            check_payload(payload, "data", "state")
        assert str(caught.value) == f"state: data{path} {problem} ({kind})"
        assert caught.value.slot == "state"
        assert (type(caught.value) is InputTypeError) == problem.startswith(OF_TYPE)


@pytest.mark.parametrize(
    ("value", "expected"),
    [*CHANGED, *((value, value) for value in (*SAME, *KEPT, *FAR_DATES))],
    ids=lambda value: type(value).__name__,
)
def test_good_value_is_accepted_and_decoded_as_documented(value: Any, expected: Any) -> None:
    for payload in (value, [value, value], {"a": value, "b": (value,)}):
        check_payload(payload, "data", "state")
    encoded: Any = freeze({"symbol": "BTC"}, "payload", {"a": value, "b": [value]}, "state")
    assert same(bson.decode(bson.encode(encoded), CODEC), {"a": expected, "b": [expected]})


@pytest.mark.parametrize("wrap", [lambda value: [value], lambda value: (value,), lambda value: {"n": value}])
def test_containers_nest_to_a_hundred_levels(wrap: Callable[[Any], Any]) -> None:
    value = wrap(0)
    for _ in range(MAX_DEPTH - 1):
        value = wrap(value)
    check_payload(value, "data", "state")
    kind = type(value).__name__
    with pytest.raises(InputError, match=rf"^state: data.* is nested deeper than 100 levels \({kind}\)$") as caught:
        check_payload(wrap(value), "data", "state")
    assert str(caught.value).count(".n" if kind == "dict" else "[0]") == MAX_DEPTH
    with pytest.raises(InputError, match=r"nested deeper"):
        check_payload(types.MappingProxyType({"a": value}), "data", "state")


class _Zone(tzinfo):
    """A timezone that knows its offset for the given number of times, and then raises what it is given."""

    def __init__(self, answers: int, error: Exception) -> None:
        self.answers = answers
        self.error = error

    def utcoffset(self, _: datetime | None) -> timedelta:
        self.answers -= 1
        if self.answers < 0:
            raise self.error
        return timedelta()

    dst = utcoffset

    def tzname(self, _: datetime | None) -> str:
        raise self.error


@pytest.mark.parametrize(
    ("answers", "error", "problem"),
    [
        (0, LookupError("x"), "is not a point in time: its timezone raised LookupError"),
        (1, LookupError("x"), "can't be converted to UTC: LookupError"),
        (1, OverflowError("x"), "is outside the years 1 to 9999 in UTC"),
    ],
)
def test_timezone_may_raise_anything(answers: int, error: Exception, problem: str) -> None:
    value = datetime(2024, 1, 1, tzinfo=_Zone(answers, error))
    with pytest.raises(InputError) as caught:
        check_payload([value], "data", "state")
    assert str(caught.value) == f"state: data[0] {problem} (datetime)"


@pytest.fixture
def far_west(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine that is behind UTC."""
    monkeypatch.setenv("TZ", "XYZ12")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_zone_of_the_machine_does_not_matter(far_west: None) -> None:
    check_payload(datetime.min.replace(tzinfo=UTC), "data", "state")
    check_payload(datetime.max.replace(tzinfo=UTC), "data", "state")


class _Moment(datetime):
    """A datetime of another library."""


def test_subclass_of_datetime_is_checked_like_a_datetime() -> None:
    check_payload(_Moment(2024, 1, 1, tzinfo=UTC), "data", "state")
    with pytest.raises(InputError, match=r"^state: data is a naive datetime: give it a timezone \(_Moment\)$"):
        check_payload(_Moment(2024, 1, 1), "data", "state")


class _Model:
    def model_dump(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize(
    ("value", "suggestion"),
    [
        (Side.BUY, ": pass its .value"),
        (Position(), ": pass dataclasses.asdict() of it"),
        (_Model(), ": pass its .model_dump()"),
        (np.array([1.0]), ": pass its .tolist()"),
        (Position, ""),
        (_Model, ""),
        (np.array(1.0), ""),
        (np.complex128(1), ""),
        (memoryview(b"x"), ""),
        (array("d", [1.0]), ""),
        (object(), ""),
    ],
)
def test_conversion_is_suggested_where_one_is_known(value: Any, suggestion: str) -> None:
    assert suggest_conversion(value) == suggestion


def test_frozen_document_does_not_change_with_what_it_was_made_of() -> None:
    document: dict[str, Any] = {"payload": {"a": [1]}, "id": ID, "at": MOMENT, "far": DatetimeMS(2**63 - 1)}
    frozen: Any = freeze({"symbol": "BTC"}, "data", document, "state")
    document["payload"]["a"].append(2)
    del document["id"]
    assert frozen["payload"]["a"] == [1]
    assert frozen["id"] == ID
    assert [int(frozen[name]) for name in ("at", "far")] == [1_704_164_645_678, 2**63 - 1]


def test_largest_document_leaves_room_for_what_the_store_adds() -> None:
    key = {"symbol": "BTC"}
    text = "x" * (MAX_DOCUMENT_BYTES - RESERVED - len(bson.encode({"payload": "", **key})))
    assert freeze(key, "payload", text, "state") == text
    message = re.escape("state: the document would be 16,776,961 bytes; MongoDB's limit is 16,777,216")
    with pytest.raises(InputError, match=f"^{message}$") as caught:
        freeze(key, "payload", text + "x", "state")
    assert caught.value.slot == "state"
