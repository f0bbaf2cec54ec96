"""The rows of a series as columns of NumPy arrays.

Rows are in the order of their keys: the time and, where the slot has a sequence, the sequence. Text of few values is an
array of codes and the values; other text is an array of NumPy's variable-width strings.

This module imports NumPy: import it in the functions that need it, not at the top of a module.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from backtest_mongo.core.columns import Column, ColumnType
from backtest_mongo.core.specs import SlotSpec

__all__ = [
    "STORED_TYPES",
    "STRINGS",
    "TIME",
    "ColumnArrays",
    "Mask",
    "Position",
    "Values",
    "find_equal_rows",
    "join_columns",
    "make_nulls",
    "sort_rows",
]

Mask: TypeAlias = NDArray[np.bool_]

#: A place in the order of the rows: before all rows of a time or, with a sequence, before the row that has it.
Position: TypeAlias = tuple[int] | tuple[int, Any]

#: The column of the times.
TIME: Final = "timestamp"
STRINGS: Final = np.dtypes.StringDType()
#: What the values of a column are kept in; of a category, their codes.
STORED_TYPES: Final[Mapping[ColumnType, np.dtype[Any]]] = {
    "float64": np.dtype(np.float64),
    "int64": np.dtype(np.int64),
    "int8": np.dtype(np.int8),
    "bool": np.dtype(np.bool_),
    "category": np.dtype(np.int32),
    "str": STRINGS,
}


@dataclass(frozen=True, slots=True)
class Values:
    """The values of one column.

    Attributes:
        data: an array of the dtype in :data:`STORED_TYPES`. What is null is 0, or the empty string.
        valid: which values are not null; ``None`` if none is. A category has codes of -1 instead.
        categories: the values of a category, each of which is text, by their codes; not all need to occur.
    """

    data: NDArray[Any]
    valid: Mask | None = None
    categories: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.data)

    def take(self, rows: Any) -> Values:
        """Return some of the values, by a slice, a mask or an array of positions."""
        return Values(self.data[rows], None if self.valid is None else self.valid[rows], self.categories)

    def find_nulls(self, column: Column) -> Mask | None:
        """Return which values are null, or ``None`` if none is."""
        if column.type == "category":
            return self.data < 0 if len(self.data) and self.data.min() < 0 else None
        return None if self.valid is None or self.valid.all() else ~self.valid

    def to_list(self, column: Column) -> list[Any]:
        """Return the values as Python objects, ``None`` for what is null."""
        if column.type == "category":
            names = (*self.categories, None)  # which -1 is the code of
            return [names[code] for code in self.data.tolist()]
        values: list[Any] = self.data.tolist()
        nulls = self.find_nulls(column)
        if nulls is not None:
            for at in np.flatnonzero(nulls).tolist():
                values[at] = None
        return values


@dataclass(frozen=True, slots=True)
class ColumnArrays:
    """Rows of one series, by key.

    Attributes:
        time: in the slot's unit since the epoch, UTC.
        sequence: int64 or strings; ``None`` where the slot has none.
        values: by the name of the column, in the slot's order; some of them if only some were read.
    """

    time: NDArray[np.int64]
    sequence: NDArray[Any] | None
    values: Mapping[str, Values]

    @classmethod
    def empty(cls, spec: SlotSpec, names: Iterable[str] | None = None) -> ColumnArrays:
        """Return arrays without a row."""
        chosen = None if names is None else {*names}
        values = {
            column.name: Values(np.empty(0, STORED_TYPES[column.type]))
            for column in spec.columns
            if chosen is None or column.name in chosen
        }
        sequence = np.empty(0, STORED_TYPES[spec.sequence]) if spec.sequence else None
        return cls(np.empty(0, np.int64), sequence, values)

    def __len__(self) -> int:
        return len(self.time)

    def take(self, rows: Any) -> ColumnArrays:
        """Return some of the rows, by a slice, a mask or an array of positions."""
        values = {name: values.take(rows) for name, values in self.values.items()}
        return ColumnArrays(self.time[rows], None if self.sequence is None else self.sequence[rows], values)

    def between(self, first: int, end: int) -> ColumnArrays:
        """Return the rows of the half-open range of times; these must be in order."""
        start, stop = np.searchsorted(self.time, (first, end))
        return self if stop - start == len(self) else self.take(slice(start, stop))

    def get_position(self, row: int) -> Position:
        """Return the position of a row, which is where those before it end."""
        time = int(self.time[row])
        return (time,) if self.sequence is None else (time, self.sequence[row : row + 1].tolist()[0])

    def find_rows(self, start: Position, end: Position) -> slice:
        """Return where the rows from one position to another are, without the latter; these must be in order."""
        return slice(self._locate(start), self._locate(end))

    def _locate(self, position: Position) -> int:
        """Return how many rows come before a position."""
        first = int(np.searchsorted(self.time, position[0]))
        if len(position) == 1 or self.sequence is None:
            return first
        last = int(np.searchsorted(self.time, position[0], "right"))
        sequence = self.sequence[first:last]
        return first + int(np.searchsorted(sequence, np.array(position[1], sequence.dtype)))

    def within(self, start: Position, end: Position) -> ColumnArrays:
        """Return the rows from one position to another, without the latter; these must be in order."""
        rows = self.find_rows(start, end)
        return self if rows.stop - rows.start == len(self) else self.take(rows)

    def without(self, start: Position, end: Position) -> ColumnArrays:
        """Return the rows that :meth:`within` does not."""
        rows = self.find_rows(start, end)
        are_left = np.ones(len(self), bool)
        are_left[rows] = False
        return self.take(are_left)

    def select(self, names: Iterable[str]) -> ColumnArrays:
        """Return the same rows with some of the columns."""
        chosen = {*names}
        values = {name: values for name, values in self.values.items() if name in chosen}
        return ColumnArrays(self.time, self.sequence, values)

    def is_ordered(self) -> bool:
        """Return whether the keys are in ascending order, each once."""
        before, after = self.time[:-1], self.time[1:]
        if self.sequence is None:
            return bool((before < after).all())
        if (before > after).any():
            return False
        same = np.flatnonzero(before == after)
        return bool((self.sequence[same] < self.sequence[same + 1]).all())

    def order(self) -> NDArray[np.intp]:
        """Return the positions of the rows in the order of their keys; of equal keys, in the order that they have."""
        if self.sequence is None:
            return np.argsort(self.time, kind="stable")
        by_sequence = np.argsort(self.sequence, kind="stable")
        return by_sequence[np.argsort(self.time[by_sequence], kind="stable")]

    def are_same_as_next(self) -> Mask:
        """Return for each row but the last whether the next one has the same key; the rows must be in order."""
        same: Mask = self.time[:-1] == self.time[1:]
        if self.sequence is not None:
            same &= self.sequence[:-1] == self.sequence[1:]
        return same

    def contains(self, rows: ColumnArrays) -> Mask:
        """Return which of some rows have a key that one of these has; both must be in order."""
        if not len(self) or not len(rows):
            return np.zeros(len(rows), bool)
        if self.sequence is None or rows.sequence is None:
            at = np.minimum(np.searchsorted(self.time, rows.time), len(self) - 1)
            found: Mask = self.time[at] == rows.time
            return found
        time, sequence = (self.time, rows.time), (self.sequence, rows.sequence)
        both = ColumnArrays(np.concatenate(time), np.concatenate(sequence), {})
        order = both.order()  # one of these comes before one of the others with the same key
        found = np.zeros(len(both), bool)
        found[order[1:][both.take(order).are_same_as_next()]] = True
        return found[len(self) :]

    def rows(self, spec: SlotSpec) -> list[dict[str, Any]]:
        """Return the rows as dicts, of the time, the sequence and the columns."""
        names, lists = [TIME], [self.time.tolist()]
        if self.sequence is not None:
            names.append(spec.key[-1])
            lists.append(self.sequence.tolist())
        for column in spec.columns:
            if column.name in self.values:
                names.append(column.name)
                lists.append(self.values[column.name].to_list(column))
        return [dict(zip(names, row, strict=True)) for row in zip(*lists, strict=True)]


def find_equal_rows(spec: SlotSpec, rows: ColumnArrays, others: ColumnArrays) -> Mask:
    """Return which of some rows have the same values as others, row by row; floats are compared by their bits."""
    equal = np.ones(len(rows), bool)
    for column in spec.columns:
        mine, theirs = rows.values[column.name], others.values[column.name]
        if column.type == "category":
            texts = [np.array([*values.categories, ""], STRINGS)[values.data] for values in (mine, theirs)]
            equal &= (texts[0] == texts[1]) & ((mine.data < 0) == (theirs.data < 0))
            continue
        for values, other in ((mine, theirs), (theirs, mine)):
            if values.valid is not None:
                equal &= values.valid == (True if other.valid is None else other.valid)
        data = [values.data.view(np.int64) if column.type == "float64" else values.data for values in (mine, theirs)]
        equal &= data[0] == data[1]
    return equal


def make_nulls(column: Column, rows: int) -> Values:
    """Return ``rows`` nulls."""
    if column.type == "category":
        return Values(np.full(rows, -1, np.int32))
    return Values(np.zeros(rows, STORED_TYPES[column.type]), np.zeros(rows, bool))


def sort_rows(rows: ColumnArrays, *, keeps_first: bool) -> ColumnArrays:
    """Return rows in the order of their keys; of several with one key the first or the last, in the order given."""
    if rows.is_ordered():
        return rows
    rows = rows.take(rows.order())
    same = rows.are_same_as_next()
    if not same.any():
        return rows
    return rows.take(np.append(True, ~same) if keeps_first else np.append(~same, True))


def join_columns(parts: Sequence[ColumnArrays]) -> ColumnArrays:
    """Return all rows of one or more parts with the same columns, one part after another."""
    if len(parts) == 1:
        return parts[0]
    time = np.concatenate([part.time for part in parts])
    sequences = [part.sequence for part in parts if part.sequence is not None]
    values = {name: _join_values([part.values[name] for part in parts]) for name in parts[0].values}
    return ColumnArrays(time, np.concatenate(sequences) if sequences else None, values)


def _join_values(parts: Sequence[Values]) -> Values:
    if any(part.categories for part in parts):
        return _join_categories(parts)
    valid = None
    if any(part.valid is not None for part in parts):
        valid = np.concatenate([np.ones(len(part), bool) if part.valid is None else part.valid for part in parts])
    return Values(np.concatenate([part.data for part in parts]), valid)


def _join_categories(parts: Sequence[Values]) -> Values:
    first = parts[0].categories
    if all(part.categories == first for part in parts):
        return Values(np.concatenate([part.data for part in parts]), None, first)
    codes: dict[str, int] = {}
    translated = []
    for part in parts:
        table = np.array([*(codes.setdefault(name, len(codes)) for name in part.categories), -1], np.int32)
        translated.append(table[part.data])
    return Values(np.concatenate(translated), None, tuple(codes))
