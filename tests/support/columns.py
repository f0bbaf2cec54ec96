"""Slots with columns, rows of them, and what such rows are, by Hypothesis."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from backtest_mongo.columns.arrays import STORED_TYPES, ColumnArrays
from backtest_mongo.core.columns import COLUMN_TYPES, UNITS, Column, Unit
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.core.unit_times import find_time_range

#: A machine may be busy.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
CONTEXT = ("binance", "BTCUSDT")

#: Text that UTF-8 has, of any alphabet, with NUL and with line ends.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "float64": st.floats(),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "int8": st.integers(-128, 127),
    "bool": st.booleans(),
    "category": st.sampled_from(["buy", "sell", "", "ё", "a\0"]) | TEXT,
    "str": TEXT,
}


def make_spec(
    *columns: Column,
    unit: Unit = "us",
    sequence: Any = "int64",
    immutable: bool = True,
    grid: str = "",
    context: tuple[str, ...] = ("symbol", "exchange_name"),
) -> SlotSpec:
    return SlotSpec(
        name="sample",
        shape="series",
        context=context,
        key=(
            *sorted({"exchange_name": "exchangeName"}.get(name, name) for name in context),
            "timestamp",
            *(["number"] if sequence else []),
        ),
        columns=columns or (Column("price", "float64"),),
        unit=unit,
        sequence=sequence,
        immutable=immutable,
        grid=grid,
    )


@st.composite
def specs(draw: st.DrawFn) -> SlotSpec:
    columns = [
        Column(f"column_{at}", draw(st.sampled_from(COLUMN_TYPES)), draw(st.booleans()))
        for at in range(draw(st.integers(1, 5)))
    ]
    sequence = draw(st.sampled_from(["", "int64", "str"]))
    return make_spec(*columns, unit=draw(st.sampled_from(UNITS)), sequence=sequence, immutable=draw(st.booleans()))


@st.composite
def rows_of(draw: st.DrawFn, spec: SlotSpec, min_size: int = 0) -> list[dict[str, Any]]:
    """Rows in any order, some of which have the same key."""
    first, last = find_time_range(spec.unit)
    near = draw(st.integers(first, last - 3))
    fields: dict[str, st.SearchStrategy[Any]] = {
        "timestamp": st.integers(near, near + 3) | st.integers(first, last),
    }
    if spec.sequence:
        fields[spec.key[-1]] = (
            st.sampled_from([1, 2] if spec.sequence == "int64" else ["", "b"]) | (VALUES[spec.sequence])
        )
    for column in spec.columns:
        values = VALUES[column.type]
        fields[column.name] = st.none() | values if column.nullable else values
    return draw(st.lists(st.fixed_dictionaries(fields), min_size=min_size, max_size=12))


@st.composite
def samples(draw: st.DrawFn, min_size: int = 0) -> tuple[SlotSpec, list[dict[str, Any]]]:
    spec = draw(specs())
    return spec, draw(rows_of(spec, min_size))


def key_of(spec: SlotSpec, row: dict[str, Any]) -> tuple[Any, ...]:
    return (row["timestamp"], row[spec.key[-1]]) if spec.sequence else (row["timestamp"],)


def resolve(spec: SlotSpec, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what is stored of rows: each key once, in order."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        if spec.immutable:
            found.setdefault(key_of(spec, row), row)
        else:
            found[key_of(spec, row)] = row
    return [found[key] for key in sorted(found)]


def to_bits(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows in which floats are their bits, so that NaN equals itself, and 0.0 differs from -0.0."""
    return [
        {name: struct.pack("<d", value) if type(value) is float else value for name, value in row.items()}
        for row in rows
    ]


def check_arrays(spec: SlotSpec, arrays: ColumnArrays) -> None:
    """Check that rows are as :class:`ColumnArrays` says."""
    assert arrays.time.dtype == np.int64
    assert arrays.is_ordered()
    assert (arrays.sequence is None) == (not spec.sequence)
    if arrays.sequence is not None and spec.sequence:
        assert arrays.sequence.dtype == STORED_TYPES[spec.sequence]
    assert [*arrays.values] == [column.name for column in spec.columns]
    for column in spec.columns:
        values = arrays.values[column.name]
        assert values.data.dtype == STORED_TYPES[column.type]
        assert values.data.shape == (len(arrays),)
        assert values.data.flags.c_contiguous
        nulls = values.find_nulls(column)
        if nulls is not None:
            assert column.nullable
            if column.type != "category":
                assert not values.data[nulls].astype(bool).any()
        if column.type == "category":
            assert values.data.max(initial=-1) < len(values.categories)
            assert {*map(type, values.categories)} <= {str}
