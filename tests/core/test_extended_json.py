"""Payloads as JSON: the short way for what JSON has gives what the long way gives."""

from __future__ import annotations

import json
import math
import struct
import time
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import bson
import pytest
from bson import Binary, Code, Int64, ObjectId, Timestamp
from hypothesis import HealthCheck, given, settings

from backtest_mongo.core.extended_json import decode_extended, encode_extended, from_json, thaw, to_iso, to_json
from backtest_mongo.core.payload import CODEC, freeze
from tests.core.test_payloads import payloads, same, stored


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(value=payloads)
def test_every_payload_comes_back_the_same_frozen_or_not(value: dict[str, Any]) -> None:
    frozen = freeze({"k": "v"}, "payload", value, "state")
    text = to_json(frozen)
    assert text == to_json(value) == encode_extended(thaw(value))
    assert same(from_json(text), stored(value))
    assert same(decode_extended(text), stored(value))
    assert json.loads(text) is not None


@pytest.mark.parametrize("value", [None, [], [{"a": 1}], {"a": [{}]}, {"$literal": {"$date": 1}}, {'"$': '"$'}])
def test_payload_of_any_kind_comes_back(value: Any) -> None:
    assert from_json(to_json(value)) == value


def test_javascript_is_not_taken_for_text() -> None:
    for value in ({"code": Code("f()")}, {"code": [Code("f()", {"x": 1})]}):
        found = from_json(to_json(value))
        assert found == value
        assert json.loads(to_json(value)) != {"code": "f()"}
        assert bson.encode(found) == bson.encode(value)


def test_long_integers_are_plain() -> None:
    assert to_json(bson.decode(bson.encode({"n": Int64(1)}, codec_options=CODEC))) == '{"n":1}'


@pytest.mark.parametrize("text", ["", "{", "NaN", '{"a":Infinity}', '{"$date":NaN}', "{'a':1}"])
def test_what_is_no_json_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # json's own texts
        from_json(text)


#: In the forms of MongoDB's extended JSON, which other programs read, and as BSON where it has no such form.
FORMS: list[tuple[Any, str]] = [
    (math.inf, '{"$numberDouble":"Infinity"}'),
    (-math.inf, '{"$numberDouble":"-Infinity"}'),
    (math.nan, '{"$numberDouble":"NaN"}'),
    (datetime(2024, 1, 2, 3, 4, 5, 678_000, UTC), '{"$date":"2024-01-02T03:04:05.678Z"}'),
    (datetime(2024, 1, 2, 3, 4, 5, 0, timezone(timedelta(hours=2))), '{"$date":"2024-01-02T01:04:05.000Z"}'),
    (b"ab", '{"$binary":{"base64":"YWI=","subType":"00"}}'),
    (UUID(int=5), '{"$uuid":"00000000-0000-0000-0000-000000000005"}'),
    (Decimal("1.50"), '{"$numberDecimal":"1.50"}'),
    (ObjectId("0123456789abcdef01234567"), '{"$oid":"0123456789abcdef01234567"}'),
    (Timestamp(1, 2), '{"$bson":"DwAAABEAAgAAAAEAAAAA"}'),
    (Binary(b"ab", 5), '{"$bson":"DgAAAAUAAgAAAAVhYgA="}'),
    ("\u00e4", '"\u00e4"'),
]


@pytest.mark.parametrize(("value", "text"), FORMS)
def test_value_has_its_form_and_comes_back(value: Any, text: str) -> None:
    assert to_json({"v": value}) == f'{{"v":{text}}}'
    assert same(from_json(f'{{"v":{text}}}'), {"v": value})


def test_date_is_in_utc_wherever_it_is_written() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        text = to_iso(datetime(2024, 1, 2, 3, 4, 5, 678_900, timezone(timedelta(hours=-5))))
    time.tzset()
    assert text == "2024-01-02T08:04:05.678Z"


def test_nan_of_other_bits_comes_back_as_itself() -> None:
    (value,) = struct.unpack("d", struct.pack("Q", 0x7FF8_0000_0000_0001))
    text = to_json({"v": value})
    assert text.startswith('{"v":{"$bson":')
    assert struct.pack("d", from_json(text)["v"]) == struct.pack("d", value)


#: Objects that only look like extended JSON: no value is written so.
LOOKALIKES = [
    '{"$date":5}',
    '{"$date":"soon"}',
    '{"$date":"2024-01-02T01:04:05.678"}',
    '{"$date":"Z2024-01-02T01:04:05.678"}',
    '{"$binary":"YWI="}',
    '{"$binary":{"base64":"YWI="}}',
    '{"$binary":{"base64":"YWI=","subType":"05"}}',
    '{"$binary":{"base64":"YWI=","subType":"00","more":1}}',
    '{"$binary":{"base64":"Y W I =","subType":"00"}}',
    '{"$binary":{"base64":"YWI=","subType":5}}',
    '{"$binary":{"base64":5,"subType":"00"}}',
    '{"$binary":null}',
    '{"$binary":["base64"]}',
    '{"$bson":"D w A A"}',
    '{"$oid":5}',
    '{"$oid":"0123456789ABCDEF01234567"}',
    '{"$oid":"short"}',
    '{"$uuid":"00000000000000000000000000000005"}',
    '{"$numberDecimal":"many"}',
    '{"$numberDouble":"1.5"}',
    '{"$numberDouble":["NaN"]}',
    '{"$bson":"AAAA"}',
    '{"$literal":5}',
    '{"$date":"2024-01-02T01:04:05.678Z","more":1}',
]


@pytest.mark.parametrize("text", LOOKALIKES)
def test_object_that_only_looks_extended_is_the_payload_s_own(text: str) -> None:
    assert from_json(text) == json.loads(text)
    assert to_json(json.loads(text)) == text


@pytest.mark.parametrize("text", [form for _, form in FORMS if form.startswith("{")])
def test_payload_s_own_object_in_one_of_these_forms_is_marked_as_literal(text: str) -> None:
    value = {"v": json.loads(text)}
    assert to_json(value) == f'{{"v":{{"$literal":{text}}}}}'
    assert from_json(to_json(value)) == value


@pytest.mark.parametrize("text", ["1e999", '{"v":[-1e999]}'])
def test_number_that_is_too_large_for_a_double_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^a number is too large for a double$"):
        decode_extended(text)


@pytest.mark.parametrize(
    "value",
    [
        {"a": math.inf, "b": [-math.inf, "Infinity", 'say "-Infinity"', "\\", '\\"Infinity'], "Infinity": "-Infinity"},
        {"a": math.inf, '"Infinity': {"-Infinity": -math.inf}},
        {"a": math.inf, "b": math.nan},
        {"a": math.inf, "b": {"$date": "Infinity"}},
        {"a": "NaN"},
    ],
)
def test_infinity_beside_words_like_it_comes_back(value: dict[str, Any]) -> None:
    text = to_json(value)
    assert text == encode_extended(thaw(value))
    assert repr(from_json(text)) == repr(value)
