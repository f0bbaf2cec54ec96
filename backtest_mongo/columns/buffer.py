"""Room for the rows of many blocks, which are put into it as they are decompressed, in any order and by any thread."""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtest_mongo.columns.arrays import STORED_TYPES, ColumnArrays, Values
from backtest_mongo.core.columns import Column
from backtest_mongo.core.specs import SlotSpec

__all__ = ["ColumnBuffer"]


class ColumnBuffer:
    """Room for so many rows, with all columns or those of these names.

    Joining the rows at the end instead would take as much time and memory again.
    """

    def __init__(self, spec: SlotSpec, rows: int, names: Collection[str] | None = None) -> None:
        self._rows = rows
        self._used = 0
        self._time = np.empty(rows, np.int64)
        self._sequence = np.empty(rows, STORED_TYPES[spec.sequence]) if spec.sequence else None
        chosen = (column for column in spec.columns if names is None or column.name in names)
        self._columns = {column.name: _ColumnRoom(column, rows) for column in chosen}

    def reserve(self, rows: int) -> int | None:
        """Return the place of the next rows, ``None`` if there is no room for them."""
        at = self._used
        if at + rows > self._rows:
            return None
        self._used = at + rows
        return at

    def put(self, at: int, rows: ColumnArrays) -> None:
        """Copy rows to their place."""
        part = slice(at, at + len(rows))
        self._time[part] = rows.time
        if self._sequence is not None:
            self._sequence[part] = rows.sequence
        for name, room in self._columns.items():
            room.put(part, rows.values[name])

    def finish(self) -> ColumnArrays:
        """Return what was put in."""
        part = slice(0, self._used)
        sequence = None if self._sequence is None else self._sequence[part]
        return ColumnArrays(
            self._time[part], sequence, {name: room.finish(part) for name, room in self._columns.items()}
        )


class _ColumnRoom:
    """Room for the values of one column."""

    def __init__(self, column: Column, rows: int) -> None:
        self._data: NDArray[Any] = np.empty(rows, STORED_TYPES[column.type])
        self._valid: NDArray[np.bool_] | None = None
        self._codes: dict[str, int] = {}
        self._lock = threading.Lock()

    def put(self, part: slice, values: Values) -> None:
        if values.categories:
            with self._lock:
                codes = [self._codes.setdefault(name, len(self._codes)) for name in values.categories]
            if codes == [*range(len(codes))]:
                self._data[part] = values.data
            else:
                self._data[part] = np.array([*codes, -1], np.int32)[values.data]  # -1, which is null, is the last one
            return
        self._data[part] = values.data
        if values.valid is not None:
            with self._lock:
                if self._valid is None:
                    self._valid = np.ones(len(self._data), bool)
            self._valid[part] = values.valid

    def finish(self, part: slice) -> Values:
        valid = None if self._valid is None else self._valid[part]
        return Values(self._data[part], valid, tuple(self._codes))
