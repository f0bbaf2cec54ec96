"""Slots with columns of every type, rows of them, and what a series is expected to hold."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from hypothesis import strategies as st

from backtest_mongo import SlotSpec
from backtest_mongo.columns.arrays import STORED_TYPES, TIME, ColumnArrays, Values
from backtest_mongo.core.columns import Column

__all__ = ["COLUMNS", "Rows", "SeriesModel", "list_rows", "make_arrays", "make_spec", "make_uniform", "values"]

COLUMNS: Final = (
    Column("price", "float64"),
    Column("amount", "float64", nullable=True),
    Column("count", "int64"),
    Column("number", "int64", nullable=True),
    Column("level", "int8", nullable=True),
    Column("is_maker", "bool", nullable=True),
    Column("side", "category", nullable=True),
    Column("note", "str", nullable=True),
)
#: The values of rows by key: the time, and the sequence or ``None``.
Rows: TypeAlias = dict[tuple[int, Any], tuple[Any, ...]]

_FLOATS: Final = st.floats(allow_nan=True, allow_infinity=True)
_INTS: Final = st.integers(-(2**63), 2**63 - 1)
values: st.SearchStrategy[tuple[Any, ...]] = st.tuples(
    _FLOATS,
    st.none() | _FLOATS,
    _INTS,
    st.none() | _INTS,
    st.none() | st.integers(-128, 127),
    st.none() | st.booleans(),
    st.sampled_from([None, "buy", "sell", "", "ключ"]),
    st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)


def make_spec(sequence: Literal["", "int64", "str"], *, immutable: bool) -> SlotSpec:
    """Return a slot with a column of every type."""
    return SlotSpec(
        name=f"own_{sequence or 'plain'}_{'first' if immutable else 'last'}",
        shape="series",
        context=("symbol", "strategy_name", "backtest"),
        key=("backtest", "strategyName", "symbol", "timestamp", *(("place",) if sequence else ())),
        unit="us",
        sequence=sequence,
        immutable=immutable,
        columns=COLUMNS,
    )


def make_arrays(spec: SlotSpec, rows: Mapping[tuple[int, Any], Sequence[Any]]) -> ColumnArrays:
    """Return rows in the order of their keys."""
    keys = sorted(rows)
    time = np.array([time for time, _ in keys], np.int64)
    sequence = np.array([place for _, place in keys], STORED_TYPES[spec.sequence]) if spec.sequence else None
    columns = {
        column.name: _make_values(column, [rows[key][at] for key in keys]) for at, column in enumerate(spec.columns)
    }
    return ColumnArrays(time, sequence, columns)


def make_uniform(spec: SlotSpec, first: int, end: int, price: float = 1.0) -> ColumnArrays:
    """Return a row at each time of a half-open range, whose other values follow from it."""
    places: dict[str, Any] = {"": None, "int64": 7, "str": "a"}
    rows = {
        (time, places[spec.sequence]): (price, None, time, 2 * time, time % 100, time % 2 == 0, "buy", f"row {time}")
        for time in range(first, end)
    }
    return make_arrays(spec, rows)


def _make_values(column: Column, given: Sequence[Any]) -> Values:
    if column.type == "category":
        names = tuple(dict.fromkeys(value for value in given if value is not None))
        codes = [-1 if value is None else names.index(value) for value in given]
        return Values(np.array(codes, np.int32), None, names)
    kind = STORED_TYPES[column.type]
    empty: Any = "" if column.type == "str" else 0
    data = np.array([empty if value is None else value for value in given], kind)
    valid = np.array([value is not None for value in given], bool)
    return Values(data, None if valid.all() else valid)


def list_rows(spec: SlotSpec, rows: ColumnArrays) -> list[dict[str, Any]]:
    """Return rows as dicts, of which numbers are equal if all their bits are."""
    return [{name: _freeze(value) for name, value in row.items()} for row in rows.rows(spec)]


def _freeze(value: Any) -> Any:
    return struct.pack(">d", value) if isinstance(value, float) else value


class SeriesModel:
    """What one series holds."""

    def __init__(self, spec: SlotSpec) -> None:
        self.spec = spec
        self.rows: Rows = {}

    def insert(self, rows: Mapping[tuple[int, Any], tuple[Any, ...]]) -> int:
        if not self.spec.immutable:
            self.rows.update(rows)
            return len(rows)
        new = {key: row for key, row in rows.items() if key not in self.rows}
        self.rows.update(new)
        return len(new)

    def delete(self, first: int, end: int) -> int:
        gone = [key for key in self.rows if first <= key[0] < end]
        for key in gone:
            del self.rows[key]
        return len(gone)

    def list(self, first: int, end: int, names: Iterable[str] | None = None) -> list[dict[str, Any]]:
        """Return the rows of a range as :func:`list_rows` does."""
        chosen = [column.name for column in self.spec.columns if names is None or column.name in names]
        found = []
        for key in sorted(self.rows):
            if first <= key[0] < end:
                row = dict(zip((column.name for column in self.spec.columns), self.rows[key], strict=True))
                place = {self.spec.key[-1]: key[1]} if self.spec.sequence else {}
                found.append({TIME: key[0], **place, **{name: _freeze(row[name]) for name in chosen}})
        return found

    def cover(self, end: int) -> tuple[int | None, int | None, int]:
        times = sorted(time for time, _ in self.rows if time < end)
        return (times[0], times[-1], len(times)) if times else (None, None, 0)
