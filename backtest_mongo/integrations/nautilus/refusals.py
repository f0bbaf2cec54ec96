"""Errors that name the row which a series or Nautilus can't have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from backtest_mongo.errors import InputError

__all__ = ["END_NS", "check_delta", "check_same", "refuse", "refuse_late"]

#: After the last time, of either kind, that Nautilus' nanoseconds can be.
END_NS: Final = 2**63


def check_delta(ts_init_delta: int) -> None:
    """Refuse what is no distance of times.

    Raises:
        InputError: it is none.
    """
    if type(ts_init_delta) is not int or not 0 <= ts_init_delta < END_NS:
        raise InputError(f"ts_init_delta must be nanoseconds, 0 or more, not {ts_init_delta!r}")


def check_same(rows: Sequence[Any], slot: str, called: str, name: str, wanted: Any) -> None:
    """Refuse rows that don't all have one value.

    Raises:
        InputError: one has another; the message names its place.
    """
    values = [*map(attrgetter(name), rows)]
    if values.count(wanted) != len(values):
        place = next(place for place, value in enumerate(values) if value != wanted)
        raise InputError(f"{called}[{place}].{name} is {values[place]}, and not {wanted}", slot=slot)


def refuse(is_refused: NDArray[np.bool_], slot: str, describe: Callable[[int], str], hint: str | None = None) -> None:
    """Refuse the first of some rows, if there are any.

    Raises:
        InputError: there is one; ``describe`` has its place, and says what is wrong.
    """
    if is_refused.any():
        raise InputError(describe(int(np.flatnonzero(is_refused)[0])), slot=slot, hint=hint)


def refuse_late(values: NDArray[np.uint64], slot: str, rows: str, name: str) -> None:
    """Refuse times that are no 63-bit integers.

    Raises:
        InputError: one is later; the message names its place.
    """
    refuse(values >= END_NS, slot, lambda place: f"{rows}[{place}].{name} {values[place]} is later than 2262")
