"""Stored values as text: for people, and as JSON for programs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from bson import json_util
from bson.decimal128 import Decimal128
from bson.json_util import RELAXED_JSON_OPTIONS

__all__ = ["as_json", "for_people", "iso"]


def iso(millis: int) -> str:
    """Return milliseconds since the epoch as ISO 8601 in UTC; a number that no date can show stays one."""
    try:
        time = datetime.fromtimestamp(millis / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return str(millis)
    return time.strftime("%Y-%m-%dT%H:%M:%S") + (f".{millis % 1000:03}Z" if millis % 1000 else "Z")


def for_people(value: Any) -> str:
    """Return a value as indented JSON, with what JSON has no form for as plain text."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes):
        return f"<{len(value):,} bytes>"
    return str(value)


def as_json(value: Any) -> str:
    """Return a value in one line of MongoDB's relaxed extended JSON, from which every type can be told again."""
    return json_util.dumps(_extended(value), json_options=RELAXED_JSON_OPTIONS, ensure_ascii=False)


def _extended(value: Any) -> Any:
    # What the library decodes to types of Python's own, which extended JSON has no name for.
    if isinstance(value, dict):
        return {name: _extended(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_extended(part) for part in value]
    return Decimal128(value) if isinstance(value, Decimal) else value
