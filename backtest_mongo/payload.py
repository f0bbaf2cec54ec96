"""What a payload may hold: checked before anything is sent, so that a bad one is refused whole and by its path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, NoReturn
from uuid import UUID

import bson
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion, TypeDecoder, TypeRegistry
from bson.int64 import Int64

from backtest_mongo.errors import InputError, InputTypeError

__all__ = ["CODEC", "MAX_DEPTH", "MAX_DOCUMENT_BYTES", "check_payload", "check_size"]

#: MongoDB refuses documents nested deeper than 180 levels, the document itself included.
MAX_DEPTH: Final = 100
#: MongoDB's limit for one document.
MAX_DOCUMENT_BYTES: Final = 16 * 1024 * 1024

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1


class _PlainInt(TypeDecoder):
    """Gives 64-bit integers back as ``int``, not as the driver's subclass of it."""

    bson_type = Int64

    def transform_bson(self, value: Any) -> int:
        return int(value)


#: How documents are decoded: datetimes aware and in UTC, ``UUID`` as itself. A date that Python can't hold comes back
#: as ``bson.DatetimeMS`` instead of making the whole list that it stands in unreadable.
CODEC: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    tz_aware=True,
    uuid_representation=UuidRepresentation.STANDARD,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    type_registry=TypeRegistry([_PlainInt()]),
)


def _accept(value: Any, path: str, slot: str, depth: int) -> None:
    pass


def _refuse(path: str, slot: str, problem: str, value: object) -> NoReturn:
    raise InputError(f"{path} {problem} ({type(value).__name__})", slot=slot)


def _check_str(value: str, path: str, slot: str, depth: int) -> None:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            _refuse(path, slot, "holds a lone surrogate, which is not valid Unicode", value)


def _check_int(value: int, path: str, slot: str, depth: int) -> None:
    if not _INT64_MIN <= value <= _INT64_MAX:
        _refuse(path, slot, "does not fit in 64 bits", value)


def _check_datetime(value: datetime, path: str, slot: str, depth: int) -> None:
    if value.utcoffset() is None:
        _refuse(path, slot, "is a naive datetime: give it a timezone", value)


def _check_list(value: Any, path: str, slot: str, depth: int) -> None:
    if depth >= MAX_DEPTH:
        _refuse(path, slot, f"is nested deeper than {MAX_DEPTH} levels", value)
    for index, item in enumerate(value):
        check = _CHECKS.get(type(item))
        if check is not _accept:
            (check or _check_other)(item, f"{path}[{index}]", slot, depth + 1)


def _check_dict(value: Any, path: str, slot: str, depth: int) -> None:
    if depth >= MAX_DEPTH:
        _refuse(path, slot, f"is nested deeper than {MAX_DEPTH} levels", value)
    for name, item in value.items():
        if type(name) is not str and not isinstance(name, str):
            raise InputTypeError(f"{path} has a key that is not a str ({type(name).__name__})", slot=slot)
        if "\0" in name:
            _refuse(path, slot, "has a key with a NUL character", name)
        _check_str(name, f"a key of {path}", slot, depth)
        check = _CHECKS.get(type(item))
        if check is not _accept:
            (check or _check_other)(item, f"{path}.{name}", slot, depth + 1)
    if "$ref" in value and "$id" in value:
        _refuse(path, slot, "holds both $ref and $id, which MongoDB's drivers read back as a DBRef", value)


def _check_other(value: Any, path: str, slot: str, depth: int) -> None:
    if isinstance(value, Mapping):
        return _check_dict(value, path, slot, depth)
    if isinstance(value, list | tuple):
        return _check_list(value, path, slot, depth)
    if isinstance(value, datetime):
        return _check_datetime(value, path, slot, depth)
    try:
        bson.encode({"": value}, codec_options=CODEC)
    except Exception as error:  # bson raises half a dozen kinds, some of its own and some builtin
        raise InputTypeError(f"{path} holds a {type(value).__name__}, which BSON can't", slot=slot) from error
    return None


_CHECKS: Final[dict[type, Callable[[Any, str, str, int], None]]] = {
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


def check_payload(value: object, path: str, slot: str) -> None:
    """Check that BSON holds ``value``, and gives back the same: tuples, which come back as lists, are the exception.

    Raises:
        InputError, InputTypeError: it can't; the message names the path inside the payload and the value's type.
    """
    (_CHECKS.get(type(value)) or _check_other)(value, path, slot, 1)


def check_size(document: Mapping[str, Any], slot: str) -> None:
    """Refuse a document that is over MongoDB's limit, before a part of a batch is sent.

    Raises:
        InputError: it is.
    """
    size = len(bson.encode(document, codec_options=CODEC))
    if size > MAX_DOCUMENT_BYTES:
        raise InputError(
            f"the document would be {size:,} bytes, and MongoDB holds {MAX_DOCUMENT_BYTES:,} at most",
            slot=slot,
        )
