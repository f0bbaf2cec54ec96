"""The simulation time of a row, whoever wrote it and in whatever form."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.types import Document, to_millis

__all__ = ["own_time", "time_of", "to_time"]

#: The fields of a payload that hold a row's simulation time, for slots where it isn't only ``when``.
_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "recent": ("timestamp", "when"),
    "risk": (),
    "partial": (),
    "breakeven": (),
}


def time_of(spec: SlotSpec, document: Document) -> int | None:
    """Return the simulation time of a document in milliseconds: its ``when``, or the time in its payload."""
    time = to_time(document.get("when"))
    return own_time(spec, document.get(spec.field)) if time is None else time


def own_time(spec: SlotSpec, payload: Any) -> int | None:
    """Return the simulation time in a payload, which may be a number, a date or ISO text, in milliseconds."""
    if not isinstance(payload, dict):
        return None
    times = (to_time(payload.get(name)) for name in _FIELDS.get(spec.name, ("when",)))
    return next((time for time in times if time is not None), None)


def to_time(value: Any) -> int | None:
    """Return a time in milliseconds, or ``None`` if ``value`` is not a time."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime):
        return None if value.tzinfo is None else to_millis(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if value == value // 1 and -(2**63) <= value < 2**63 else None
