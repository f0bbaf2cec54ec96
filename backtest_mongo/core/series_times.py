"""How far a series with columns is known at a simulation time, and the grid that its rows are on."""

from __future__ import annotations

from backtest_mongo.core.columns import MOST_NEGATIVE, UNITS_PER_MS
from backtest_mongo.core.interval_grid import GRIDS, IntervalGrid
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.errors import InputError

__all__ = ["find_grid", "find_known_end"]

_MOST = 2**63 - 1


def find_grid(spec: SlotSpec, context: Key) -> IntervalGrid | None:
    """Return the grid of a series, ``None`` if the slot has none.

    Args:
        spec: of the slot.
        context: the context's values, in the order of the slot's key.

    Raises:
        InputError: the context's interval is unknown.
    """
    if not spec.grid:
        return None
    name = str(context[spec.key.index("interval")]) if spec.grid == "interval" else spec.grid
    if name not in GRIDS:
        raise InputError(f"interval {name!r} (str) is unknown", slot=spec.name, hint=f"known are {' '.join(GRIDS)}")
    return GRIDS[name]


def find_known_end(spec: SlotSpec, context: Key, when: int) -> int:
    """Return the time before which rows are known at a simulation time, in the slot's unit.

    Args:
        spec: of the slot.
        context: the context's values, in the order of the slot's key.
        when: milliseconds since the epoch. On a grid a row is known when its interval is over.

    Raises:
        InputError: the context's interval is unknown.
    """
    grid = find_grid(spec, context)
    end = when * UNITS_PER_MS[spec.unit] + 1 if grid is None else grid.closed_before(when)
    return min(max(end, MOST_NEGATIVE), _MOST)
