"""Payloads as JSON: plain where JSON has the value, and extended JSON where it doesn't.

A payload comes back from its JSON as it would from MongoDB, types included. Numbers, strings, lists and objects look as
Node writes them. Any other value is an object with one key that starts with a dollar, as in MongoDB's extended JSON, or
holds BSON where this module has no such form. An object of the payload that looks like one of these is wrapped in
``$literal``.
"""

from __future__ import annotations

import json
import math
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from struct import pack
from typing import Any, Final, NamedTuple, NoReturn
from uuid import UUID

import bson
from bson import Code, ObjectId
from bson.codec_options import TypeDecoder, TypeRegistry
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from bson.tz_util import utc

from backtest_mongo.core.payload import CODEC, DECODERS

__all__ = [
    "JSON_TYPES",
    "Plain",
    "decode_extended",
    "encode_extended",
    "from_json",
    "parse_date",
    "thaw",
    "to_iso",
    "to_json",
]

_LITERAL: Final = "$literal"
_BSON: Final = "$bson"
#: The beginning of every key of extended JSON. A text without it is plain JSON.
_EXTENDED: Final = '"$'

#: The types that JSON has, but for objects and lists.
JSON_TYPES: Final = frozenset({type(None), bool, int, float, str})


#: Infinity as Python's encoder writes it, or a string, which may contain the word.
_INFINITY: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|-?Infinity')


_PLUS_INFINITY: Final = '{"$numberDouble":"Infinity"}'
_MINUS_INFINITY: Final = '{"$numberDouble":"-Infinity"}'


def _write_infinity(found: re.Match[str]) -> str:
    text = found[0]
    return text if text[0] == '"' else f'{{"$numberDouble":"{text}"}}'


class Plain(NamedTuple):
    """A value that is put into JSON unchanged."""

    value: Any


def to_json(value: Any) -> str:
    """Encode a payload, which may be encoded as BSON already, as extended JSON."""
    try:
        # Nearly all payloads hold nothing but what JSON has and, as open signals do, infinity: C does these as a whole.
        text = _dump_numbers(_thaw(value, _PLAIN_CODEC))
    except (TypeError, ValueError, BSONError):
        text = _EXTENDED
    if _EXTENDED in text or "NaN" in text:  # there is more than one NaN
        return encode_extended(thaw(value))
    return _INFINITY.sub(_write_infinity, text) if "Infinity" in text else text


def from_json(text: str) -> Any:
    """Decode what :func:`to_json` returns.

    Raises:
        ValueError: it is not JSON.
    """
    if _EXTENDED not in text:
        return _load(text)
    # Infinity is often all that isn't plain, and C reads it as such. No string has these quotes without backslashes.
    plain = text.replace(_PLUS_INFINITY, "Infinity").replace(_MINUS_INFINITY, "-Infinity")
    return _decode(_load(text)) if _EXTENDED in plain else _load_infinity(plain)


def thaw(value: Any) -> Any:
    """Return a payload as it is read back, of Python's own types."""
    return _thaw(value, CODEC)


def _thaw(value: Any, codec: Any) -> Any:
    if isinstance(value, RawBSONDocument):
        return bson.decode(value.raw, codec)
    return bson.decode(bson.encode({"": value}, codec_options=CODEC), codec)[""]


def encode_extended(thawed: Any) -> str:
    """Encode a payload of Python's own types, in which :class:`Plain` stands for values in a form of their own."""
    return _dump(_encode(thawed))


def decode_extended(text: str) -> Any:
    """Decode extended JSON, whoever wrote it.

    Raises:
        ValueError: it is not JSON, or has a number that is too large for a double.
    """
    return _decode(_load(text))


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_dump: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_dump_numbers: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_load: Final = json.JSONDecoder(parse_constant=_refuse).decode


def _read_infinity(name: str) -> float:
    return -math.inf if name == "-Infinity" else math.inf if name == "Infinity" else _refuse(name)


_load_infinity: Final = json.JSONDecoder(parse_constant=_read_infinity).decode


class _RefusedCode(TypeDecoder):
    """Refuses JavaScript, which is a ``str`` to the JSON encoder and would come back as one."""

    bson_type = Code

    def transform_bson(self, value: Any) -> NoReturn:
        raise TypeError(value)


_PLAIN_CODEC: Final = CODEC.with_options(type_registry=TypeRegistry([*DECODERS, _RefusedCode()]))


def _encode(value: Any) -> Any:
    kind = type(value)
    if kind is Plain:
        return value.value
    if kind is dict:
        encoded = {name: _encode(item) for name, item in value.items()}
        looks_extended = len(encoded) == 1 and not _DECODERS.keys().isdisjoint(encoded) and _decode(encoded) != value
        return {_LITERAL: encoded} if looks_extended else encoded
    if kind is list:
        return [_encode(item) for item in value]
    if kind in JSON_TYPES and (kind is not float or math.isfinite(value)):
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
                if _encode(decoded) == value:  # exactly as this library writes it
                    return decoded
            # Otherwise it is a payload's own object, which only looks like extended JSON.
    return _decode_items(value)


def _decode_items(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _decode(item) for name, item in value.items()}


_NUMBERS: Final = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}


def _encode_bson(value: Any) -> dict[str, str]:
    return {_BSON: b64encode(bson.encode({"": value}, codec_options=CODEC)).decode()}


def _encode_float(value: float) -> dict[str, str]:
    name = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    # There is more than one NaN, and each must come back as itself.
    return {"$numberDouble": name} if pack("d", value) == pack("d", _NUMBERS[name]) else _encode_bson(value)


def _encode_date(value: datetime) -> dict[str, str]:
    return {"$date": to_iso(value)}


def to_iso(value: datetime) -> str:
    """Return an aware datetime as Node writes it: in UTC, with milliseconds and ``Z``."""
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def parse_date(text: str) -> datetime:
    """Return the datetime of ISO text that is in UTC, with or without its ``Z``.

    Raises:
        ValueError: it is none.
    """
    return datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=utc)


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
    "$date": _decode_str(parse_date),
    "$binary": lambda held: b64decode(held["base64"]),
    "$uuid": _decode_str(UUID),
    "$numberDecimal": _decode_str(Decimal),
    "$oid": _decode_str(ObjectId),
    _BSON: _decode_str(lambda held: bson.decode(b64decode(held), CODEC)[""]),
    _LITERAL: _to_literal,
}
