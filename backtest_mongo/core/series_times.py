"""The times of a series with columns, which count milliseconds, microseconds or nanoseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from backtest_mongo.core.columns import MOST_NEGATIVE, UNITS_PER_MS
from backtest_mongo.core.interval_grid import GRIDS, IntervalGrid
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.types import SeriesTime, to_series_millis

__all__ = ["find_grid", "find_known_end", "to_units"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MOST = 2**63 - 1


def to_units(spec: SlotSpec, value: SeriesTime) -> int:
    """Return a time in the slot's unit; what is finer is cut off. An integer is in this unit already.

    Raises:
        TypeError: it is neither an integer, a datetime nor text.
        ValueError: it is a naive datetime or text that is not ISO 8601, or doesn't fit in 64 bits.
    """
    if isinstance(value, str | datetime):
        millis = to_series_millis(value)  # which checks it
        time = datetime.fromisoformat(value.strip()) if isinstance(value, str) else value
        time = time if time.tzinfo else time.replace(tzinfo=UTC)
        micros = (time - _EPOCH) // _MICROSECOND
        units = {"ms": millis, "us": micros, "ns": 1_000 * micros}[spec.unit]
    else:
        units = to_series_millis(value)
    if not MOST_NEGATIVE < units < _MOST:
        raise ValueError("must fit in 64 bits (int)")
    return units


def find_grid(spec: SlotSpec, context: Key) -> IntervalGrid | None:
    """Return the grid of a series, ``None`` if it has none. The context is in the order of the key."""
    if not spec.grid:
        return None
    name = context[spec.key.index("interval")] if spec.grid == "interval" else spec.grid
    return GRIDS[name]


def find_known_end(spec: SlotSpec, context: Key, when: int) -> int:
    """Return the time before which rows are known at a simulation time, in the slot's unit.

    Args:
        spec: of the slot.
        context: of the series, in the order of the key.
        when: milliseconds since the epoch. On a grid a row is known when its interval is over.
    """
    grid = find_grid(spec, context)
    if grid is not None:
        return grid.shift(when, -1) + 1
    return min(max(when * UNITS_PER_MS[spec.unit] + 1, MOST_NEGATIVE), _MOST)
