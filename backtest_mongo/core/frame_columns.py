"""The columns of a frame by their names, whichever library it is of, and what they have in common.

This module imports NumPy: import it in the functions that need it, or in modules that are imported that way.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import tzinfo
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from backtest_mongo.core.time_zones import NO_TIME, localize
from backtest_mongo.errors import InputError, InputTypeError

__all__ = ["Times", "find_library", "find_time_zone", "list_columns", "localize_times", "take_times", "unmask"]


class Times(NamedTuple):
    """A column of times.

    Attributes:
        data: ``datetime64`` in UTC, or in the zone of naive times if there is one; otherwise integers.
        masked: which are missing besides those that are NaT, ``None`` if none is.
    """

    data: NDArray[Any]
    masked: NDArray[np.bool_] | None

    @property
    def is_typed(self) -> bool:
        return self.data.dtype.kind == "M"


def list_columns(frame: object) -> list[tuple[str, Any]] | None:
    """Return the columns of a frame with their names, of which some may be equal; ``None`` if it is none of these.

    Those are a ``DataFrame`` of polars, a ``Table`` of PyArrow, a mapping, and a structured array of NumPy.
    """
    library = type(frame).__module__.partition(".")[0]
    if library == "polars" and hasattr(frame, "get_columns"):
        return [(column.name, column) for column in frame.get_columns()]
    if library == "pyarrow" and hasattr(frame, "column_names"):
        return [(name, frame.column(index)) for index, name in enumerate(frame.column_names)]  # type: ignore[attr-defined]  # a Table
    if isinstance(frame, Mapping):
        return [(str(name), column) for name, column in frame.items()]
    if isinstance(frame, np.ndarray) and frame.dtype.names:
        return [(name, frame[name]) for name in frame.dtype.names]
    return None


def find_library(column: object) -> str | None:
    """Return the library of a column, if it is one that knows zones and nulls."""
    library = type(column).__module__.partition(".")[0]
    return library if library in ("polars", "pandas", "pyarrow") else None


def find_time_zone(tz: object, slot: str) -> tzinfo | None:
    """Return the zone of naive times.

    Raises:
        InputError: there is no zone of this name.
        InputTypeError: it is neither a name nor a zone.
    """
    if not isinstance(tz, str):
        if tz is not None and not isinstance(tz, tzinfo):
            raise InputTypeError(f"tz must be the name of a zone or a tzinfo, not {type(tz).__name__}", slot=slot)
        return tz
    try:
        return ZoneInfo(tz)
    except (ValueError, OSError, KeyError):
        raise InputError(f"tz {tz!r} is not a time zone", slot=slot) from None


def take_times(column: Any, zone: tzinfo | None, slot: str, unit: str = "milliseconds") -> Times:
    """Return a column of times. It must be aware if its library knows zones; NumPy's are in UTC.

    Args:
        column: of a frame.
        zone: of naive times.
        slot: for the error.
        unit: what integers count, for the error.

    Raises:
        InputError: they are naive and there is no zone, or the reverse.
        InputTypeError: they are neither times nor integers.
    """
    library = find_library(column)
    kind = str(column.dtype if hasattr(column, "dtype") else getattr(column, "type", ""))
    typed = kind.lower().startswith(("datetime", "timestamp"))
    aware = bool(library) and typed and _has_zone(column)
    if zone is not None and (aware or not typed):
        raise InputError("tz is for naive times, and the frame's timestamp has a zone", slot=slot)
    if library and typed and not aware and zone is None:
        raise InputError(
            "the frame's timestamp is naive: its time zone is unknown",
            slot=slot,
            hint="name the zone: write_frame(frame, tz=...) takes UTC, America/New_York, ...",
        )
    is_counted = column.dtype.kind in "iu" if library == "pandas" else bool(library) and "int" in kind.lower()
    if library == "pandas" and aware:
        column = (column.dt if hasattr(column, "dt") else column).tz_convert(None).to_numpy()
    elif library == "pandas" and not is_counted:
        column = column.to_numpy()
    times, masked = _take_integers(column) if is_counted else unmask(column)
    if times.dtype.kind not in "Miu" and len(times):
        raise InputTypeError(
            f"the frame's timestamp must be {unit} (integers) or typed times, not {kind or times.dtype}", slot=slot
        )
    return Times(times, masked)


def _take_integers(column: Any) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Return the integers of a library's column, and which of them are null if any are."""
    if hasattr(column, "isna"):
        kind = np.uint64 if column.dtype.kind == "u" else np.int64
        values, nulls = column.to_numpy(kind, na_value=0), np.asarray(column.isna())
    else:
        values, nulls = np.asarray(column.fill_null(0)), np.asarray(column.is_null())
    return values, nulls if nulls.any() else None


def _has_zone(column: Any) -> bool:
    kind = column.dtype if hasattr(column, "dtype") else column.type
    return any(getattr(kind, name, None) is not None for name in ("tz", "time_zone")) or "tz=" in str(kind)


def unmask(column: Any) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Return a column's values, and which of them are masked if any can be."""
    masks: Any = sys.modules.get("numpy.ma")  # if it isn't imported, nothing is masked
    if masks is None:
        return np.asarray(column), None
    if isinstance(column, list | tuple) and any(value is masks.masked for value in column):
        masked = np.array([value is masks.masked for value in column])
        known = [value for value in column if value is not masks.masked]
        values = np.zeros(len(column), np.asarray(known).dtype)
        values[~masked] = known
        return values, masked
    if isinstance(column, masks.MaskedArray):
        return np.asarray(column.data), masks.getmaskarray(column)
    return np.asarray(column), None


def localize_times(millis: NDArray[np.int64], zone: tzinfo, slot: str) -> NDArray[np.int64]:
    """Convert local times of a zone, in milliseconds, to UTC; missing ones stay so.

    Raises:
        InputError: the clocks of the zone skip one of them, or show it twice.
    """
    found = localize(millis, zone)
    lost = np.flatnonzero((found == NO_TIME) & (millis != NO_TIME))
    if len(lost):
        first = np.datetime64(int(millis[lost[0]]), "ms")
        raise InputError(
            f"the frame's time {first} in row {lost[0]} is skipped or repeated in {zone}",
            slot=slot,
            hint="the clocks change then: make the times aware",
        )
    return found
