"""How a row of a slot is written in the columns of its table, and read from them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, TypeAlias

from backtest_mongo.core.extended_json import from_json, to_json
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.errors import StoreError
from backtest_mongo.types import Document

__all__ = ["Row", "decode_row", "encode_row", "name_state", "now"]

#: What a statement returns of a row: its payload, and its ``when`` and ``removed`` if the slot has them.
Row: TypeAlias = tuple[Any, ...]


def now() -> int:
    """Return the time that is noted in rows, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def encode_row(spec: SlotSpec, fields: Document) -> Row:
    """Return the columns of a row's payload, and of its ``when`` and ``removed`` if the slot has them."""
    when = (fields["when"],) if spec.when else ()
    removed = (int(fields.get("removed", False)),) if spec.soft_delete else ()
    return (to_json(fields[spec.field]), *when, *removed)


def decode_row(spec: SlotSpec, key: Key, row: Sequence[Any], path: str) -> Document:
    """Return the document of a row's columns.

    Raises:
        StoreError: they hold no JSON.
    """
    try:
        payload = from_json(row[0])
    except (ValueError, RecursionError, TypeError):
        raise StoreError(
            f"reading failed: the row holds no JSON: {path}",
            slot=spec.name,
            collection=spec.collection,
            key=dict(zip(spec.key, key, strict=True)),
            hint="repair the row's payload with the sqlite3 shell, or write the row again",
        ) from None
    document: Document = dict(zip(spec.key, key, strict=True))
    document[spec.field] = payload
    if spec.when:
        document["when"] = row[1]
    if spec.soft_delete:
        document["removed"] = bool(row[-1])
    return document


def name_state(spec: SlotSpec, row: Row | None) -> Document | None:
    """Return what a version is made of, out of a row's columns and when it was written: the payload as it is stored."""
    if row is None:
        return None
    return {
        spec.field: row[0],
        "when": row[1] if spec.when else None,
        "removed": spec.soft_delete and bool(row[-2]),
        "updatedDate": row[-1],
    }
