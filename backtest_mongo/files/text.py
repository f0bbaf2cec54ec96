"""Payloads as JSON: plain where JSON has the value, and extended JSON where it doesn't.

A payload comes back from its JSON as it would from MongoDB, types included. Numbers, strings, lists and objects look as
Node writes them. Any other value is an object with one key that starts with a dollar, as in MongoDB's extended JSON, or
holds BSON where this module has no such form. An object of the payload that looks like one of these is wrapped in
``$literal``.

Fields that the engine reads in a form of its own are always plain: those in which null means infinity, and those whose
dates are ISO strings. ``None`` in the former comes back as infinity; in the latter, a string in the engine's form comes
back as a date.
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
from typing import Any, Final, NamedTuple
from uuid import UUID

import bson
from bson import ObjectId
from bson.errors import BSONError
from bson.tz_util import utc

from backtest_mongo.core.payload import CODEC
from backtest_mongo.files.layout import NO_FIELDS, EngineFields, find_holders

__all__ = ["from_text", "to_text"]

_LITERAL: Final = "$literal"
_BSON: Final = "$bson"


class _Plain(NamedTuple):
    """A value that is put into JSON unchanged."""

    value: Any


def to_text(value: Any, fields: EngineFields = NO_FIELDS) -> bytes:
    """Encode a payload as JSON. ``fields`` are those that the engine reads in a form of its own."""
    thawed = bson.decode(bson.encode({"": value}, codec_options=CODEC), CODEC)[""]
    for path in fields.endless:
        for holder, name in find_holders(thawed, path):
            holder[name] = _to_number(holder[name])
    for path in fields.dates:
        for holder, name in find_holders(thawed, path):
            if isinstance(holder[name], datetime):
                holder[name] = _Plain(_to_iso(holder[name]))
    return json.dumps(_encode(thawed), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def from_text(text: bytes, fields: EngineFields = NO_FIELDS) -> Any:
    """Decode the JSON of a payload. ``fields`` are those that the engine reads in a form of its own.

    Raises:
        ValueError: it is not JSON, or has a number that is too large for a double.
    """
    payload = _decode(json.loads(text.decode(), parse_constant=_refuse))
    for path in fields.endless:
        for holder, name in find_holders(payload, path):
            if holder[name] is None:
                holder[name] = math.inf
    for path in fields.dates:
        for holder, name in find_holders(payload, path):
            holder[name] = _parse_engine_date(holder[name])
    return payload


def _to_number(value: Any) -> Any:
    """Convert a value to what the engine's own JSON would have where it reads a number or null."""
    if isinstance(value, Decimal):
        value = (int(value) if value == value.to_integral_value() else float(value)) if value.is_finite() else None
    if isinstance(value, float) and not math.isfinite(value):
        value = None
    if isinstance(value, datetime):
        value = _to_iso(value)
    return value if type(value) in (dict, list) else _Plain(value if type(value) in _AS_JSON else str(value))


def _parse_engine_date(text: Any) -> Any:
    """Return the date of a string in exactly the engine's form; return anything else unchanged."""
    if isinstance(text, str):
        with suppress(ValueError):
            date = _to_date(text)
            return date if _to_iso(date) == text else text
    return text


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _encode(value: Any) -> Any:
    kind = type(value)
    if kind is _Plain:
        return value.value
    if kind is dict:
        encoded = {name: _encode(item) for name, item in value.items()}
        looks_extended = len(encoded) == 1 and not _DECODERS.keys().isdisjoint(encoded) and _decode(encoded) != value
        return {_LITERAL: encoded} if looks_extended else encoded
    if kind is list:
        return [_encode(item) for item in value]
    if kind in _AS_JSON and (kind is not float or math.isfinite(value)):
        return value
    encode: Callable[[Any], Any] = _ENCODERS.get(kind, _encode_bson)
    return encode(value)


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if not isinstance(value, dict):
        if type(value) is float and not math.isfinite(value):
            raise ValueError("a number is too large for a double")
        return value
    if len(value) == 1:
        ((name, held),) = value.items()
        if name == _LITERAL and isinstance(held, dict):
            return _decode_items(held)
        decode = _DECODERS.get(name)
        if decode is not None:
            with suppress(ValueError, TypeError, KeyError, ArithmeticError, BSONError):
                decoded = decode(held)
                if _encode(decoded) == value:
                    return decoded
            # Otherwise it is a payload's own object, which only looks like extended JSON.
    return _decode_items(value)


def _decode_items(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _decode(item) for name, item in value.items()}


_AS_JSON: Final = frozenset({type(None), bool, int, float, str})
_NUMBERS: Final = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}


def _encode_bson(value: Any) -> dict[str, str]:
    return {_BSON: b64encode(bson.encode({"": value}, codec_options=CODEC)).decode()}


def _encode_float(value: float) -> dict[str, str]:
    name = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    # There is more than one NaN, and each must come back as itself.
    return {"$numberDouble": name} if pack("d", value) == pack("d", _NUMBERS[name]) else _encode_bson(value)


def _encode_date(value: datetime) -> dict[str, str]:
    return {"$date": _to_iso(value)}


def _to_iso(value: datetime) -> str:
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _to_date(text: str) -> datetime:
    return datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=utc)


def _to_bytes(held: Any) -> bytes:
    if set(held) != {"base64", "subType"} or held["subType"] != "00":
        raise ValueError(held)
    return b64decode(held["base64"], validate=True)


def _to_literal(held: Any) -> None:
    raise ValueError(held)  # one of this library's has been decoded before


def _decode_str(decode: Callable[[str], Any]) -> Callable[[Any], Any]:
    def decode_checked(held: Any) -> Any:
        if type(held) is not str:
            raise TypeError(held)
        return decode(held)

    return decode_checked


_ENCODERS: Final[dict[Any, Callable[[Any], Any]]] = {
    float: _encode_float,
    datetime: _encode_date,
    bytes: lambda value: {"$binary": {"base64": b64encode(value).decode(), "subType": "00"}},
    UUID: lambda value: {"$uuid": str(value)},
    Decimal: lambda value: {"$numberDecimal": str(value)},
    ObjectId: lambda value: {"$oid": str(value)},
}

_DECODERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "$numberDouble": _decode_str(_NUMBERS.__getitem__),
    "$date": _decode_str(_to_date),
    "$binary": _to_bytes,
    "$uuid": _decode_str(UUID),
    "$numberDecimal": _decode_str(Decimal),
    "$oid": _decode_str(ObjectId),
    _BSON: _decode_str(lambda held: bson.decode(b64decode(held, validate=True), CODEC)[""]),
    _LITERAL: _to_literal,
}
