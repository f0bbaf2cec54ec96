"""What a payload may hold: checked before anything is sent, so that a bad one is refused whole and by its path."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, DecimalException
from enum import Enum
from typing import Any, Final
from uuid import UUID

import bson
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion, TypeDecoder, TypeRegistry
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.raw_bson import DEFAULT_RAW_BSON_OPTIONS, RawBSONDocument

from backtest_mongo.errors import InputError, InputTypeError

__all__ = ["CODEC", "MAX_DEPTH", "MAX_DOCUMENT_BYTES", "WRITE_CODEC", "advice", "check_payload", "freeze"]

#: MongoDB refuses documents nested deeper than 180 levels, the document itself included.
MAX_DEPTH: Final = 100
#: MongoDB's limit for one document, and what the store's own fields take of it.
MAX_DOCUMENT_BYTES: Final = 16 * 1024 * 1024
_RESERVED_BYTES: Final = 256

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1


class _PlainInt(TypeDecoder):
    """Gives 64-bit integers back as ``int``, not as the driver's subclass of it."""

    bson_type = Int64

    def transform_bson(self, value: Any) -> int:
        return int(value)


class _PlainDecimal(TypeDecoder):
    """Gives decimals back as :class:`decimal.Decimal`."""

    bson_type = Decimal128

    def transform_bson(self, value: Any) -> Decimal:
        return value.to_decimal()  # type: ignore[no-any-return]  # it is a Decimal128


def _plain(value: Any) -> Any:
    """Return what stands for a value that BSON has no type for, or the value itself, which BSON then refuses."""
    if isinstance(value, Decimal):
        return Decimal128(value)
    numpy = sys.modules.get("numpy")  # who has a NumPy scalar has imported it
    if numpy is not None and isinstance(value, numpy.number | numpy.bool_):
        item = value.item()
        return item if type(item) in (bool, int, float) else value
    return value


#: How documents are encoded and decoded: datetimes aware and in UTC, ``UUID`` as itself, ``Decimal`` as BSON's decimal,
#: NumPy's numbers as Python's. A date that Python can't hold comes back as ``bson.DatetimeMS`` instead of making the
#: whole list that it stands in unreadable.
CODEC: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    tz_aware=True,
    uuid_representation=UuidRepresentation.STANDARD,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    type_registry=TypeRegistry([_PlainInt(), _PlainDecimal()], fallback_encoder=_plain),
)


#: The same for what has been frozen already. With a type registry PyMongo fails to read a write concern error beside
#: the document that a findAndModify returns, which is what a primary answers that steps down.
WRITE_CODEC: Final[CodecOptions[dict[str, Any]]] = CODEC.with_options(type_registry=TypeRegistry())

# Its dates stay numbers, as one that Python can't hold could not be decoded and sent otherwise.
_RAW: Final = DEFAULT_RAW_BSON_OPTIONS.with_options(
    uuid_representation=UuidRepresentation.STANDARD, datetime_conversion=DatetimeConversion.DATETIME_MS
)


class _Unheld(Exception):
    """Carries what is wrong with a value up through the containers around it, which put its path together."""

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
            raise _Unheld("holds a lone surrogate, which is not valid Unicode", value) from None


def _check_int(value: int, depth: int) -> None:
    if not _INT64_MIN <= value <= _INT64_MAX:
        raise _Unheld("does not fit in 64 bits", value)


def _check_datetime(value: datetime, depth: int) -> None:
    if value.utcoffset() is None:
        raise _Unheld("is a naive datetime: give it a timezone", value)
    try:
        value.astimezone(UTC)
    except OverflowError:
        raise _Unheld("is beyond the years 1 to 9999 in UTC", value) from None


def _check_list(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _Unheld(f"is nested deeper than {MAX_DEPTH} levels", value)
    for index, item in enumerate(value):
        check = _CHECKS.get(type(item), _check_other)
        if check is not _accept:
            try:
                check(item, depth + 1)
            except _Unheld as error:
                error.path.append(f"[{index}]")
                raise


def _check_dict(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _Unheld(f"is nested deeper than {MAX_DEPTH} levels", value)
    for name, item in value.items():
        if not isinstance(name, str):
            raise _Unheld("has a key that is not a str", name, of_type=True)
        if "\0" in name:
            raise _Unheld("has a key with a NUL character", name)
        if not name.isascii():
            try:
                name.encode()
            except UnicodeEncodeError:
                raise _Unheld("has a key with a lone surrogate, which is not valid Unicode", name) from None
        check = _CHECKS.get(type(item), _check_other)
        if check is not _accept:
            try:
                check(item, depth + 1)
            except _Unheld as error:
                error.path.append(f".{name}")
                raise
    if "$ref" in value and "$id" in value:
        raise _Unheld("holds both $ref and $id, which MongoDB's drivers read back as a DBRef", value)


def _check_other(value: Any, depth: int) -> None:
    if isinstance(value, Mapping):
        _check_dict(value, depth)
    elif isinstance(value, list | tuple):
        _check_list(value, depth)
    elif isinstance(value, datetime):
        _check_datetime(value, depth)
    elif isinstance(value, Decimal):
        _check_decimal(value)
    else:
        try:
            # Both ways: what can't be decoded would make its row, and every list that it stands in, unreadable.
            bson.decode(bson.encode({"": value}, codec_options=CODEC), CODEC)
        except Exception:  # bson raises half a dozen kinds, some of its own and some builtin
            raise _Unheld(f"holds what BSON can't{advice(value)}", value, of_type=True) from None


def _check_decimal(value: Decimal) -> None:
    try:
        fits = value.is_nan() or Decimal128(value).to_decimal() == value
    except DecimalException:
        fits = False
    if not fits:
        raise _Unheld("does not fit in the 34 digits of a BSON decimal", value)


def advice(value: object) -> str:
    """Return what to give instead of a value that can't be stored, to be put behind what is wrong with it."""
    # Each of these would come back as something else than it was, so its owner says what is to be stored.
    if isinstance(value, Enum):
        return ": give its .value"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return ": give dataclasses.asdict() of it"
    if hasattr(type(value), "model_dump"):
        return ": give its .model_dump()"
    if hasattr(type(value), "tolist") and getattr(value, "ndim", False) and not isinstance(value, memoryview):
        return ": give its .tolist()"
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
    """Check that BSON holds ``value``, and gives back the same: tuples, which come back as lists, are the exception.

    Raises:
        InputError, InputTypeError: it can't; the message names the path inside the payload, which is called ``name``,
            and the value's type.
    """
    try:
        _CHECKS.get(type(value), _check_other)(value, 1)
    except _Unheld as error:
        kind = InputTypeError if error.of_type else InputError
        message = f"{name}{''.join(reversed(error.path))} {error.problem}"
    else:
        return
    raise kind(message, slot=slot)


def freeze(document: Mapping[str, Any], slot: str) -> Mapping[str, Any]:
    """Return a checked document as it is now, encoded: whoever changes it afterwards changes nothing that is sent.

    Raises:
        InputError: it is over MongoDB's limit.
    """
    encoded = bson.encode(document, codec_options=CODEC)
    if len(encoded) > MAX_DOCUMENT_BYTES - _RESERVED_BYTES:
        raise InputError(
            f"the document would be {len(encoded):,} bytes, and MongoDB holds {MAX_DOCUMENT_BYTES:,} at most",
            slot=slot,
        )
    return RawBSONDocument(encoded, _RAW)
