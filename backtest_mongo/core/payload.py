"""What a payload may hold. It is checked before anything is sent, and a bad one is refused as a whole, by its path."""

from __future__ import annotations

import dataclasses
import marshal
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, DecimalException
from enum import Enum
from typing import Any, Final
from uuid import UUID

import bson
from bson.binary import UuidRepresentation
from bson.code import Code
from bson.codec_options import CodecOptions, DatetimeConversion, TypeDecoder, TypeRegistry
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.raw_bson import DEFAULT_RAW_BSON_OPTIONS, RawBSONDocument

from backtest_mongo.errors import InputError, InputTypeError

__all__ = [
    "CODEC",
    "DECODERS",
    "MAX_DEPTH",
    "MAX_DOCUMENT_BYTES",
    "RAW_CODEC",
    "WRITE_CODEC",
    "check_payload",
    "freeze",
    "make_copier",
    "make_plain",
    "suggest_conversion",
    "thaw",
]

#: MongoDB refuses documents nested deeper than 180 levels, the document itself included.
MAX_DEPTH: Final = 100
#: MongoDB's limit for one document, and the part of it that is kept for the store's own fields.
MAX_DOCUMENT_BYTES: Final = 16 * 1024 * 1024
_RESERVED_BYTES: Final = 256

#: The type of a document in a document.
_DOCUMENT: Final = 3

#: Later versions remember every object, in case it comes twice.
_MARSHAL_VERSION: Final = 2

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1


class _PlainInt(TypeDecoder):
    """Reads 64-bit integers as ``int``, not as the driver's subclass of it."""

    bson_type = Int64

    def transform_bson(self, value: Any) -> int:
        return int(value)


class _PlainDecimal(TypeDecoder):
    """Reads decimals as :class:`decimal.Decimal`."""

    bson_type = Decimal128

    def transform_bson(self, value: Any) -> Decimal:
        return value.to_decimal()  # type: ignore[no-any-return]  # it is a Decimal128


def _convert(value: Any) -> Any:
    """Return what is stored in place of a value that BSON has no type for, or the value itself, which BSON refuses."""
    if isinstance(value, Decimal):
        return Decimal128(value)
    numpy = sys.modules.get("numpy")  # whoever has a NumPy scalar has imported it
    if numpy is not None and isinstance(value, numpy.number | numpy.bool_):
        item = value.item()
        return item if type(item) in (bool, int, float) else value
    return value


#: What reads values of BSON as other types than PyMongo does.
DECODERS: Final[list[TypeDecoder]] = [_PlainInt(), _PlainDecimal()]
#: How documents are encoded and decoded: datetimes aware and in UTC, ``UUID`` as itself, ``Decimal`` as BSON's decimal,
#: NumPy's numbers as Python's. A date that Python can't hold is read as ``bson.DatetimeMS``, as it would otherwise make
#: the whole list that it is in unreadable.
CODEC: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    tz_aware=True,
    uuid_representation=UuidRepresentation.STANDARD,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    type_registry=TypeRegistry(DECODERS, fallback_encoder=_convert),
)
#: The same for what is already encoded. With a type registry PyMongo can't read a write concern error next to the
#: document of a findAndModify, which is how a primary answers while it steps down.
WRITE_CODEC: Final[CodecOptions[dict[str, Any]]] = CODEC.with_options(type_registry=TypeRegistry())
#: For replies whose documents are decoded one by one, by :data:`CODEC`.
RAW_CODEC: Final[CodecOptions[Any]] = WRITE_CODEC.with_options(document_class=RawBSONDocument)


def _refuse(value: Any) -> Any:
    raise TypeError(f"what is in a {type(value).__name__} can't be replaced")


#: What becomes of the driver's own types; ``None`` for containers.
_PLAIN: Final[dict[type, Callable[[Any], Any] | None]] = {
    dict: None,
    list: None,
    Int64: int,
    Decimal128: Decimal128.to_decimal,
    DBRef: _refuse,
    Code: _refuse,
}


def make_plain(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document that was decoded by :data:`WRITE_CODEC`, changed to what :data:`CODEC` makes of it.

    The driver applies the type registry only to replies of a cursor. This takes less than decoding a second time.

    Raises:
        TypeError: the document holds a type whose parts can't be replaced.
    """
    containers: list[Any] = [document]
    for container in containers:  # which grows meanwhile
        for place, value in container.items() if type(container) is dict else enumerate(container):
            kind = type(value)
            if kind in _PLAIN:
                convert = _PLAIN[kind]
                if convert is None:
                    containers.append(value)
                else:
                    container[place] = convert(value)
    return document


# Dates stay numbers, as one that Python can't hold could not be decoded and sent.
_RAW: Final = DEFAULT_RAW_BSON_OPTIONS.with_options(
    uuid_representation=UuidRepresentation.STANDARD, datetime_conversion=DatetimeConversion.DATETIME_MS
)


class _Unstorable(Exception):
    """Carries what is wrong with a value up through the containers around it, each of which adds a part of its path."""

    def __init__(self, problem: str, value: object, *, of_type: bool = False) -> None:
        self.problem = f"{problem} ({type(value).__name__})"
        self.of_type = of_type
        self.path: list[str] = []


def _accept(value: Any, depth: int) -> None:
    return None


def _check_str(value: str, depth: int) -> None:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _Unstorable("holds a lone surrogate, which is not valid Unicode", value) from None


def _check_int(value: int, depth: int) -> None:
    if not _INT64_MIN <= value <= _INT64_MAX:
        raise _Unstorable("does not fit in 64 bits", value)


def _check_datetime(value: datetime, depth: int) -> None:
    try:
        is_naive = value.utcoffset() is None
    except Exception as error:  # the caller's timezone may raise anything, and pandas' NaT has none
        raise _Unstorable(f"is not a point in time: its timezone raised {type(error).__name__}", value) from None
    if is_naive:
        raise _Unstorable("is a naive datetime: give it a timezone", value)
    try:
        value.astimezone(UTC)
    except OverflowError:
        raise _Unstorable("is outside the years 1 to 9999 in UTC", value) from None
    except Exception as error:  # as above
        raise _Unstorable(f"can't be converted to UTC: {type(error).__name__}", value) from None


def _check_list(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _Unstorable(f"is nested deeper than {MAX_DEPTH} levels", value)
    for index, item in enumerate(value):
        check = _CHECKS.get(type(item), _check_other)
        if check is not _accept and not (check is _check_str and item.isascii()):
            try:
                check(item, depth + 1)
            except _Unstorable as error:
                error.path.append(f"[{index}]")
                raise


def _check_dict(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _Unstorable(f"is nested deeper than {MAX_DEPTH} levels", value)
    for name, item in value.items():
        if type(name) is not str or not name.isascii() or "\0" in name:
            _check_name(name)
        check = _CHECKS.get(type(item), _check_other)
        if check is not _accept and not (check is _check_str and item.isascii()):  # a call less for most texts
            try:
                check(item, depth + 1)
            except _Unstorable as error:
                error.path.append(f".{name}")
                raise
    if "$ref" in value and "$id" in value:
        raise _Unstorable("holds both $ref and $id, which MongoDB's drivers read back as a DBRef", value)


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        raise _Unstorable("has a key that is not a str", name, of_type=True)
    if "\0" in name:
        raise _Unstorable("has a key with a NUL character", name)
    try:
        name.encode()
    except UnicodeEncodeError:
        raise _Unstorable("has a key with a lone surrogate, which is not valid Unicode", name) from None


def _check_other(value: Any, depth: int) -> None:
    if isinstance(value, Mapping):
        _check_dict(value, depth)
    elif isinstance(value, list | tuple):
        _check_list(value, depth)
    elif isinstance(value, datetime):
        _check_datetime(value, depth)
        _check_bson(value)
    elif isinstance(value, Decimal):
        _check_decimal(value)
    else:
        _check_bson(value)


def _check_bson(value: object) -> None:
    try:
        # Both ways: what can't be decoded would make its row, and every list with that row, unreadable.
        bson.decode(bson.encode({"": value}, codec_options=CODEC), CODEC)
    except Exception:  # bson raises half a dozen types, its own and builtin ones
        raise _Unstorable(f"can't be stored as BSON{suggest_conversion(value)}", value, of_type=True) from None


def _check_decimal(value: Decimal) -> None:
    try:
        fits = value.is_nan() or Decimal128(value).to_decimal() == value
    except DecimalException:
        fits = False
    if not fits:
        raise _Unstorable("does not fit in the 34 digits of a BSON decimal", value)


def suggest_conversion(value: object) -> str:
    """Return the end of a message that a value can't be stored: what to pass instead, or nothing."""
    # Each of these would be read back as something else, so the caller has to choose what is stored.
    if isinstance(value, Enum):
        return ": pass its .value"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return ": pass dataclasses.asdict() of it"
    if hasattr(type(value), "model_dump"):
        return ": pass its .model_dump()"
    if hasattr(type(value), "tolist") and getattr(value, "ndim", False) and not isinstance(value, memoryview):
        return ": pass its .tolist()"
    return ""


_CHECKS: Final[dict[type, Callable[[Any, int], None]]] = {
    type(None): _accept,
    bool: _accept,
    float: _accept,
    bytes: _accept,
    UUID: _accept,
    int: _check_int,
    str: _check_str,
    datetime: _check_datetime,
    list: _check_list,
    tuple: _check_list,
    dict: _check_dict,
}


def check_payload(value: object, name: str, slot: str) -> None:
    """Check that ``value`` can be stored and read back unchanged, save for tuples, which are read as lists.

    Args:
        value: the payload.
        name: what the payload is called, with which paths in messages begin.
        slot: the slot that it is for.

    Raises:
        InputError: it can't be stored. The message names the path inside the payload, and the type of the value there.
        InputTypeError: the same, if the type is at fault.
    """
    try:
        _CHECKS.get(type(value), _check_other)(value, 1)
    except _Unstorable as error:
        kind = InputTypeError if error.of_type else InputError
        message = f"{name}{''.join(reversed(error.path))} {error.problem}"
    else:
        return
    raise kind(message, slot=slot)


def freeze(key: Mapping[str, Any], field: str, value: object, slot: str) -> object:
    """Encode a checked payload, so that a later change to it changes nothing that is sent.

    Args:
        key: the natural key of the document that will hold it.
        field: the document's field for it.
        value: the payload.
        slot: the slot that it is for.

    Raises:
        InputError: the document would be over MongoDB's limit.
    """
    encoded = bson.encode({field: value, **key}, codec_options=CODEC)
    if len(encoded) > MAX_DOCUMENT_BYTES - _RESERVED_BYTES:
        raise InputError(
            f"the document would be {len(encoded):,} bytes; MongoDB's limit is {MAX_DOCUMENT_BYTES:,}",
            slot=slot,
        )
    # Behind the size of the document there are the type of its first field, its name, and its own size if it is one.
    if encoded[4] != _DOCUMENT:
        return RawBSONDocument(encoded, _RAW)[field]
    begin = 4 + 1 + len(field.encode()) + 1
    return RawBSONDocument(encoded[begin : begin + int.from_bytes(encoded[begin : begin + 4], "little")], _RAW)


def thaw(frozen: Any) -> Any:
    """Decode what :func:`freeze` has returned."""
    if type(frozen) is RawBSONDocument:
        raw = frozen.raw
        try:
            return make_plain(bson.decode(raw, WRITE_CODEC))
        except TypeError:  # it holds a type whose parts can't be replaced
            return bson.decode(raw, CODEC)
    if frozen is None:
        return None
    return bson.decode(bson.encode({"": frozen}, codec_options=CODEC), CODEC)[""]


def make_copier(frozen: Any) -> tuple[Callable[[bytes], Any], bytes]:
    """Return a function and what to call it with, which makes a payload for each caller out of a frozen one.

    For payloads of Python's own types, which are nearly all, it takes a fifth of what ``copy.deepcopy`` does. The bytes
    never leave the process.
    """
    payload = thaw(frozen)
    try:
        return marshal.loads, marshal.dumps(payload, _MARSHAL_VERSION)
    except ValueError:  # it holds what Python's own types don't have: dates, decimals, identifiers
        return lambda _: thaw(frozen), b""
