"""Payloads as JSON: plain where JSON holds them, and as extended JSON where it doesn't.

What MongoDB would give back for a payload is what the text gives back, to the type. Numbers, texts, lists and objects
look as Node's do. Each other value is an object with one key that starts with a dollar, as in MongoDB's extended JSON;
what has no spelling here goes as BSON. A payload's own object that would be taken for one of these is put in a
``$literal``.

In the slots that hold signals a ``minuteEstimatedTime`` of null means infinity, as JSON has none and Node writes null.
"""

from __future__ import annotations

import json
import math
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from struct import pack
from typing import Any, Final
from uuid import UUID

import bson
from bson import ObjectId
from bson.errors import BSONError
from bson.tz_util import utc

from backtest_mongo.payload import CODEC

__all__ = ["from_text", "to_text"]

_ENDLESS: Final = "minuteEstimatedTime"
_LITERAL: Final = "$literal"
_NULL: Final = "$null"
_BSON: Final = "$bson"


def to_text(value: Any, signals: bool) -> bytes:
    """Return a payload as it was frozen as JSON. ``signals`` says whether it holds signals."""
    thawed = bson.decode(bson.encode({"": value}, codec_options=CODEC), CODEC)[""]
    plain = _plain(thawed, signals)
    return json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def from_text(text: bytes, signals: bool) -> Any:
    """Return the payload.

    Raises:
        ValueError: it is no JSON.
    """
    return _thawed(json.loads(text), signals)


def _plain(value: Any, signals: bool) -> Any:
    kind = type(value)
    if kind is dict:
        found = {name: _plain(item, signals) for name, item in value.items()}
        if signals and _ENDLESS in value:
            if value[_ENDLESS] is None:
                found[_ENDLESS] = {_NULL: True}
            elif value[_ENDLESS] == math.inf:
                found[_ENDLESS] = None
        return {_LITERAL: found} if len(found) == 1 and not _DECODERS.keys().isdisjoint(found) else found
    if kind is list:
        return [_plain(item, signals) for item in value]
    if kind in _PLAIN or (kind is float and math.isfinite(value)):
        return value
    encode: Callable[[Any], Any] = _ENCODERS.get(kind, _as_bson)
    return encode(value)


def _thawed(value: Any, signals: bool) -> Any:
    if isinstance(value, list):
        return [_thawed(item, signals) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((name, held),) = value.items()
        if name == _LITERAL and isinstance(held, dict):
            return _fields(held, signals)
        decode = _DECODERS.get(name)
        if decode is not None:
            with suppress(ValueError, TypeError, KeyError, ArithmeticError, BSONError):
                return decode(held)
            # Else it is somebody's own object, which only looks like one.
    return _fields(value, signals)


def _fields(value: Mapping[str, Any], signals: bool) -> dict[str, Any]:
    return {
        name: math.inf if signals and item is None and name == _ENDLESS else _thawed(item, signals)
        for name, item in value.items()
    }


_PLAIN: Final = frozenset({type(None), bool, int, str})
_NUMBERS: Final = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}


def _as_bson(value: Any) -> dict[str, str]:
    return {_BSON: b64encode(bson.encode({"": value}, codec_options=CODEC)).decode()}


def _number(value: float) -> dict[str, str]:
    name = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    # There are many that are no number, and each is to come back as the one that it was.
    return {"$numberDouble": name} if pack("d", value) == pack("d", _NUMBERS[name]) else _as_bson(value)


def _date(value: datetime) -> dict[str, str]:
    return {"$date": value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"}


def _to_date(text: str) -> datetime:
    return datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=utc)


def _to_bytes(held: Any) -> bytes:
    if set(held) != {"base64", "subType"} or held["subType"] != "00":
        raise ValueError(held)
    return b64decode(held["base64"], validate=True)


def _to_null(held: Any) -> None:
    if held is not True:
        raise ValueError(held)


def _to_literal(held: Any) -> None:
    raise ValueError(held)  # all that are ours have been taken by now


def _of_text(decode: Callable[[str], Any]) -> Callable[[Any], Any]:
    def checked(held: Any) -> Any:
        if type(held) is not str:
            raise TypeError(held)
        return decode(held)

    return checked


_ENCODERS: Final[dict[Any, Callable[[Any], Any]]] = {
    float: _number,
    datetime: _date,
    bytes: lambda value: {"$binary": {"base64": b64encode(value).decode(), "subType": "00"}},
    UUID: lambda value: {"$uuid": str(value)},
    Decimal: lambda value: {"$numberDecimal": str(value)},
    ObjectId: lambda value: {"$oid": str(value)},
}

_DECODERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "$numberDouble": _of_text(_NUMBERS.__getitem__),
    "$date": _of_text(_to_date),
    "$binary": _to_bytes,
    "$uuid": _of_text(UUID),
    "$numberDecimal": _of_text(Decimal),
    "$oid": _of_text(ObjectId),
    _NULL: _to_null,
    _BSON: _of_text(lambda held: bson.decode(b64decode(held, validate=True), CODEC)[""]),
    _LITERAL: _to_literal,
}
