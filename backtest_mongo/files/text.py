"""Payloads as the JSON of files: extended JSON, as :mod:`~backtest_mongo.core.extended_json` has it.

Fields that the engine reads in a form of its own are always plain: those in which null means infinity, and those whose
dates are ISO strings. ``None`` in the former comes back as infinity; in the latter, a string in the engine's form comes
back as a date.
"""

from __future__ import annotations

import math
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from typing import Any

from backtest_mongo.core.extended_json import (
    JSON_TYPES,
    Plain,
    decode_extended,
    encode_extended,
    parse_date,
    thaw,
    to_iso,
)
from backtest_mongo.files.layout import NO_FIELDS, EngineFields, find_holders

__all__ = ["from_text", "to_text"]


def to_text(value: Any, fields: EngineFields = NO_FIELDS) -> bytes:
    """Encode a payload as JSON. ``fields`` are those that the engine reads in a form of its own."""
    thawed = thaw(value)
    for path in fields.endless:
        for holder, name in find_holders(thawed, path):
            holder[name] = _to_number(holder[name])
    for path in fields.dates:
        for holder, name in find_holders(thawed, path):
            if isinstance(holder[name], datetime):
                holder[name] = Plain(to_iso(holder[name]))
    return encode_extended(thawed).encode()


def from_text(text: bytes, fields: EngineFields = NO_FIELDS) -> Any:
    """Decode the JSON of a payload. ``fields`` are those that the engine reads in a form of its own.

    Raises:
        ValueError: it is not JSON, or has a number that is too large for a double.
    """
    payload = decode_extended(text.decode())
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
        value = to_iso(value)
    return value if type(value) in (dict, list) else Plain(value if type(value) in JSON_TYPES else str(value))


def _parse_engine_date(text: Any) -> Any:
    """Return the date of a string in exactly the engine's form; return anything else unchanged."""
    if isinstance(text, str):
        with suppress(ValueError):
            date = parse_date(text)
            return date if to_iso(date) == text else text
    return text
