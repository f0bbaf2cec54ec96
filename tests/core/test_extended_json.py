"""Payloads as JSON: the short way for what JSON has gives what the long way gives."""

from __future__ import annotations

import json
from typing import Any

import bson
import pytest
from bson import Code, Int64
from hypothesis import HealthCheck, given, settings

from backtest_mongo.core.extended_json import decode_extended, encode_extended, from_json, thaw, to_json
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
