"""Stored values as text: times, durations, sizes, shares, and payloads as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from backtest_mongo.core.control_characters import escape_controls

__all__ = [
    "format_bytes",
    "format_compact",
    "format_duration",
    "format_extended_json",
    "format_iso_time",
    "format_payload",
    "format_share",
]

_DURATIONS: Final = (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000), ("ms", 1))


def format_iso_time(millis: int) -> str:
    """Format milliseconds since the epoch as ISO 8601 in UTC; a number outside the range of dates stays a number."""
    try:
        time = datetime.fromtimestamp(millis / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return str(millis)
    return time.strftime("%Y-%m-%dT%H:%M:%S") + (f".{millis % 1000:03}Z" if millis % 1000 else "Z")


def format_duration(millis: int) -> str:
    """Format a duration in its two largest units, such as ``2 d 1 h``."""
    parts: list[tuple[int, str]] = []
    for name, unit in _DURATIONS:
        count, millis = divmod(millis, unit)
        if count or parts:
            parts.append((count, name))
    return " ".join(f"{count:,} {name}" for count, name in parts[:2] if count) or "0 s"


def format_bytes(count: int) -> str:
    """Format a number of bytes, such as ``1.5 MB``."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.1f} {unit}"


def format_share(part: int, whole: int) -> str:
    """Format a share as a whole percentage, which is ``100 %`` only if nothing is missing."""
    return f"{100 * part // whole} %" if whole else "-"


def format_payload(value: Any) -> str:
    """Format a value as indented JSON, with plain text for what JSON can't represent."""
    return escape_controls(json.dumps(value, indent=2, ensure_ascii=False, default=_to_plain), keep_lines=True)


def format_compact(value: Any) -> str:
    """Format a value as JSON on one line, with plain text for what JSON can't represent."""
    return escape_controls(json.dumps(value, ensure_ascii=False, default=_to_plain))


def _to_plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes):
        return f"<{len(value):,} bytes>"
    return str(value)


def format_extended_json(value: Any) -> str:
    """Format a value as one line of MongoDB's relaxed extended JSON, which keeps every type."""
    from bson import json_util
    from bson.json_util import RELAXED_JSON_OPTIONS

    return escape_controls(json_util.dumps(_to_bson(value), json_options=RELAXED_JSON_OPTIONS, ensure_ascii=False))


def _to_bson(value: Any) -> Any:
    from bson.decimal128 import Decimal128

    # The library decodes decimals to a type of Python's own, which extended JSON has no name for.
    if isinstance(value, dict):
        return {name: _to_bson(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_to_bson(part) for part in value]
    return Decimal128(value) if isinstance(value, Decimal) else value
