"""Prices and quantities of Nautilus as floats, and back: to the last digit, or not at all.

Nautilus' numbers are integers in units of the last digit that an instrument has, such as cents. A float holds each
number of up to 15 digits so that rounding to the instrument's precision gives it back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from nautilus_trader.model.objects import FIXED_PRECISION
from numpy.typing import NDArray

from backtest_mongo.errors import InputError

__all__ = ["to_doubles", "to_precision"]

#: From here on neighbouring units may round to one float, or a float to the wrong unit.
_LARGEST: Final = 10**15


def to_doubles(values: Sequence[Any], precision: int, slot: str, rows: str, name: str) -> NDArray[np.float64]:
    """Return prices or quantities as floats.

    Args:
        values: one of each row.
        precision: the instrument's, which all of them must have.
        slot: the slot, for errors.
        rows: what errors call the rows.
        name: what they call the value of a row.

    Raises:
        InputError: a value has another precision, or more digits than a float keeps; the message names its place.
    """
    precisions = [value.precision for value in values]
    if precisions.count(precision) != len(precisions):
        place = next(place for place, found in enumerate(precisions) if found != precision)
        raise InputError(
            f"{rows}[{place}].{name} {values[place]} has precision {precisions[place]}, and the instrument {precision}",
            slot=slot,
            hint="numbers are stored without it, and get the instrument's when they are read",
        )
    scale = 10 ** (FIXED_PRECISION - precision)
    raws = [value.raw for value in values]
    units = [raw // scale for raw in raws]
    if units and max(max(units), -min(units)) >= _LARGEST:
        place = next(place for place, unit in enumerate(units) if abs(unit) >= _LARGEST)
        problem = f"{rows}[{place}].{name} {values[place]} has more than the 15 digits that a float keeps"
        raise InputError(problem, slot=slot)
    doubles: NDArray[np.float64] = np.array(units, np.int64) / 10.0**precision
    return doubles


def to_precision(
    values: NDArray[np.float64], precision: int, slot: str, name: str, *, rounding: bool
) -> NDArray[np.float64]:
    """Return stored numbers as floats from which Nautilus makes prices or quantities of some precision.

    Args:
        values: a column.
        precision: the instrument's.
        slot: the slot, for errors.
        name: the column, for errors.
        rounding: whether numbers with more decimals are rounded, and not refused.

    Raises:
        InputError: a number is not finite, too large, or has more decimals; the message names its place.
    """
    scale = 10.0**precision
    with np.errstate(invalid="ignore", over="ignore"):
        units = np.rint(values * scale)
        rounded: NDArray[np.float64] = units / scale
        is_refused = ~(np.abs(units) < _LARGEST)
        if not rounding:
            is_refused |= rounded != values
    if is_refused.any():
        place = int(np.flatnonzero(is_refused)[0])
        value = float(values[place])
        if abs(value * scale) < _LARGEST:
            raise InputError(
                f"row {place}: {name} {value!r} has more decimals than the instrument's precision, {precision}",
                slot=slot,
                hint="rounding=True rounds it",
            )
        raise InputError(f"row {place}: {name} {value!r} can't be a number of precision {precision}", slot=slot)
    return np.require(rounded, requirements=["C", "W"])
