"""Versions of rows: how they are made, and what a conditional write does with them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

import bson

from backtest_mongo.core.payload import CODEC
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.errors import ConflictError, InputError, InputTypeError
from backtest_mongo.types import Document, Version, Versioned

__all__ = ["ABSENT", "check_version", "is_absent", "is_expected", "make_conflict", "make_version"]

#: The version of a row that is not stored, not even as a removed one.
ABSENT: Final = "v1-absent"
_FORM: Final = re.compile("v1-(?:absent|[0-9a-f]{32})")


def make_version(spec: SlotSpec, row: Mapping[str, Any] | None) -> Version:
    """Return the version of a row.

    It is a digest of when the row was written, by the clock of whoever wrote it, and of its content. So it tells apart
    what two writers store within one millisecond, whichever program they are. Two states of equal content that were
    written in the same millisecond are the same state.

    Args:
        spec: the slot.
        row: ``updatedDate``, the payload, ``when`` and ``removed``, in any form that the store reads back unchanged.
    """
    if row is None:
        return ABSENT
    state = [row.get("updatedDate"), row.get(spec.field), row.get("when"), row.get("removed") is True]
    return f"v1-{blake2b(bson.encode({'': state}, codec_options=CODEC), digest_size=16).hexdigest()}"


def is_absent(spec: SlotSpec, row: Mapping[str, Any] | None) -> bool:
    """Return whether a read without a time finds nothing: no row, a removed one, or one that was cleared."""
    return row is None or row.get("removed") is True or row.get(spec.field) is None


def is_expected(spec: SlotSpec, row: Mapping[str, Any] | None, version: Version, expected: Version | None) -> bool:
    """Return whether a conditional write may replace a row of this version.

    ``expected`` is ``None`` for a write with ``if_absent``.
    """
    return is_absent(spec, row) if expected is None else version == expected


def make_conflict(
    spec: SlotSpec, key: Key, document: Document | None, version: Version, expected: Version | None
) -> ConflictError:
    """Return the error of a conditional write.

    Args:
        spec: the slot.
        key: the natural key.
        document: the row that is there, decoded.
        version: its version.
        expected: the version that was expected, ``None`` for a write with ``if_absent``.
    """
    if expected is None:
        problem = "a row is stored already"
    elif version == ABSENT:
        problem = "the row that it expects is no longer stored"
    elif expected == ABSENT:
        problem = "a row has been stored since its version was read"
    else:
        problem = "the row has changed since its version was read"
    error = ConflictError(
        f"writing failed: {problem}",
        slot=spec.name,
        collection=spec.collection,
        key=dict(zip(spec.key, key, strict=True)),
        hint="nothing was written; found and version of this error say what is there",
    )
    error.found = None if document is None or is_absent(spec, document) else document[spec.field]
    error.version = version
    return error


def check_version(value: object, slot: str) -> Version:
    """Return what a caller gave as ``expect``.

    Raises:
        InputError: it is not a version.
        InputTypeError: it is not even text.
    """
    hint = "a read with with_version=True gives the value and its version"
    if isinstance(value, Versioned):
        raise InputTypeError("expect must be a version, not Versioned", slot=slot, hint="pass its .version")
    if not isinstance(value, str):
        raise InputTypeError(f"expect must be a version (str), not {type(value).__name__}", slot=slot, hint=hint)
    if not _FORM.fullmatch(value):
        raise InputError(f"expect must be a version, not {value[:40]!r} (str)", slot=slot, hint=hint)
    return value
