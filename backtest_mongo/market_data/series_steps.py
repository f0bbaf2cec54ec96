"""What a chart shows of a long series: every row, or, if there are too many, what happened in each step of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from backtest_mongo.core.columns import UNITS_PER_MS, Unit

__all__ = ["Floats", "Points", "StepName", "Steps", "find_step"]

Floats = npt.NDArray[np.float64]

_NAMES: Final = (("ns", 1), ("us", 10**3), ("ms", 10**6), ("s", 10**9), ("min", 60 * 10**9), ("h", 3600 * 10**9))
_DAY: Final = 24 * 3600 * 10**9
#: Steps in nanoseconds: what people count in, from short to long.
_STEPS: Final = (
    *(factor * 10**power for power in range(9) for factor in (1, 2, 5)),
    *(count * 10**9 for count in (1, 2, 5, 10, 15, 30)),
    *(count * 60 * 10**9 for count in (1, 2, 5, 10, 15, 30)),
    *(count * 3600 * 10**9 for count in (1, 2, 3, 4, 6, 8, 12)),
    *(count * _DAY for count in (1, 2, 5, 7, 14, 30, 90, 365, 3650, 36500, 365000)),
)


class StepName(NamedTuple):
    """A step of time: how many of the slot's units it has, and its name, such as ``30 s``."""

    units: int
    name: str


def find_step(span: int, most: int, unit: Unit) -> StepName:
    """Return the shortest step of which at most so many overlap a span of time."""
    nanoseconds = 1_000_000 // UNITS_PER_MS[unit]
    for step in _STEPS:
        if step % nanoseconds == 0 and (span - 1) // (step // nanoseconds) + 2 <= most:
            return StepName(step // nanoseconds, _name_step(step))
    return StepName(_STEPS[-1] // nanoseconds, _name_step(_STEPS[-1]))


def _name_step(step: int) -> str:
    if step % _DAY == 0:
        return f"{step // _DAY:,} d"
    name, length = next((name, length) for name, length in reversed(_NAMES) if step % length == 0)
    return f"{step // length:,} {name}"


@dataclass(frozen=True, slots=True)
class Points:
    """What is drawn: one point per row, or one per step.

    Attributes:
        time: of the row, or of the last row of the step, in the slot's unit.
        last: the value of the row, or of the last row.
        low: the lowest value of the step.
        high: the highest value.
        sums: the sum of amounts in each step, by kind.
        extreme: the lowest of a second value of each row, such as a drawdown.
        kind: of the amount of the row, or of the last row.
        rows: how many rows there are in each.
    """

    time: npt.NDArray[np.int64]
    last: Floats
    low: Floats
    high: Floats
    sums: Floats
    extreme: Floats
    kind: npt.NDArray[np.intp]
    rows: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.time)

    def take(self, places: npt.NDArray[np.intp]) -> Points:
        """Return some of them."""
        return Points(**{name: values[places] for name, values in self.list_fields()})

    def list_fields(self) -> list[tuple[str, npt.NDArray[Any]]]:
        """Return all values by name."""
        return [(one.name, getattr(self, one.name)) for one in fields(self)]


class Steps:
    """Collects rows in order, and merges them into steps of time once there are more than can be drawn.

    Args:
        kinds: how many kinds of amounts there are.
        step: the step.
        most: how many points can be drawn.
    """

    def __init__(self, kinds: int, step: StepName, most: int) -> None:
        self._kinds = kinds
        self._step = step
        self._most = most
        self._parts: list[Points] = []
        self._count = 0
        #: How many rows there are, and the time of the first.
        self.rows: int = 0
        self.first: int = 0
        self.is_merged: bool = False

    def add(
        self,
        time: npt.NDArray[np.int64],
        value: Floats,
        kinds: npt.NDArray[np.intp],
        amount: Floats,
        second: Floats,
    ) -> None:
        """Add rows that follow the ones before.

        Args:
            time: in the slot's unit.
            value: of each row, finite.
            kinds: of each row's amount, from 0.
            amount: of each row.
            second: a second value of each row.
        """
        self.first = self.first if self.rows else int(time[0])
        self.rows += len(time)
        sums = np.zeros((len(time), self._kinds))
        if self._kinds:
            sums[np.arange(len(time)), kinds] = amount
        self._parts.append(Points(time, value, value, value, sums, second, kinds, np.ones(len(time), np.int64)))
        self._count += len(time)
        if self._count > self._most:
            self.is_merged = True
            self._parts = [self._merge(_join(self._parts))]
            # A step may go on in the next part, so steps are merged again each time.
            self._count = len(self._parts[0])

    def _merge(self, points: Points) -> Points:
        starts = np.flatnonzero(np.append(True, np.diff(points.time // self._step.units) != 0))
        ends = np.append(starts[1:], len(points)) - 1
        return Points(
            points.time[ends],
            points.last[ends],
            np.minimum.reduceat(points.low, starts),
            np.maximum.reduceat(points.high, starts),
            np.add.reduceat(points.sums, starts, axis=0),
            np.minimum.reduceat(points.extreme, starts),
            points.kind[ends],
            np.add.reduceat(points.rows, starts),
        )

    def take(self) -> Points | None:
        """Return all points, ``None`` if there is no row."""
        if not self.rows:
            return None
        points = _join(self._parts)
        return self._merge(points) if self.is_merged else points


def _join(parts: Sequence[Points]) -> Points:
    if len(parts) == 1:
        return parts[0]
    every = [dict(part.list_fields()) for part in parts]
    return Points(**{name: np.concatenate([part[name] for part in every]) for name in every[0]})
