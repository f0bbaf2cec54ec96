"""Rows as frames of every library, and frames as rows: what comes back is what was given."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given

from backtest_mongo.columns import frame_output
from backtest_mongo.columns.arrays import ColumnArrays, Values
from backtest_mongo.columns.frame_input import read_frame
from backtest_mongo.columns.frame_output import to_frame
from backtest_mongo.columns.row_input import read_rows
from backtest_mongo.core.columns import Column, Unit
from backtest_mongo.core.frames import Kind
from backtest_mongo.core.specs import SlotSpec
from tests.support.columns import CONTEXT, UNHURRIED, check_arrays, make_spec, samples, to_bits

Sample = tuple[SlotSpec, list[dict[str, Any]]]
KINDS = get_args(Kind)


def read(spec: SlotSpec, frame: Any) -> ColumnArrays:
    """Return the rows of a frame, none of which is refused."""
    rows, doubled, refused = read_frame(spec, CONTEXT, frame)
    assert (doubled, refused) == (0, {})
    check_arrays(spec, rows)
    return rows


def expect(spec: SlotSpec, rows: ColumnArrays, *, is_pandas: bool) -> list[dict[str, Any]]:
    """Return rows as they come back: pandas knows no null in a column of floats but NaN."""
    nullable = {column.name for column in spec.columns if column.nullable}
    found = rows.rows(spec)
    if is_pandas:
        found = [
            {
                name: None if name in nullable and type(value) is float and math.isnan(value) else value
                for name, value in row.items()
            }
            for row in found
        ]
    return to_bits(found)


@pytest.mark.parametrize("kind", KINDS)
@UNHURRIED
@given(sample=samples())
def test_frame_that_was_read_is_written_as_it_was(kind: Kind, sample: Sample) -> None:
    spec, given_ = sample
    rows = read_rows(spec, given_)
    found = read(spec, to_frame(spec, rows, kind))
    assert to_bits(found.rows(spec)) == expect(spec, rows, is_pandas=kind == "pandas")


def to_structured(frame: dict[str, Any]) -> Any:
    masked = any(isinstance(column, np.ma.MaskedArray) for column in frame.values())
    types = [(name, object if column.dtype.kind == "T" else column.dtype) for name, column in frame.items()]
    length = len(frame["timestamp"])
    array = (np.ma.zeros if masked else np.zeros)(length, types)
    for name, column in frame.items():
        array[name] = column
    return array


def in_pieces(frame: Any) -> Any:
    half = len(frame) // 2
    return pa.concat_tables([frame.slice(0, half), frame.slice(half)])


#: Other frames that are made of those that are read.
VARIANTS: dict[str, tuple[Kind, Callable[[Any], Any]]] = {
    "polars in pieces": ("polars", lambda frame: pl.concat([frame[:1], frame[1:]], rechunk=False)),
    "polars with text": ("polars", lambda frame: frame.with_columns(pl.col(pl.Categorical).cast(pl.String))),
    "polars of another unit": ("polars", lambda frame: frame.with_columns(pl.col(pl.Datetime).to_physical())),
    "polars in another order": ("polars", lambda frame: frame.select(reversed(frame.columns))),
    "polars as dicts": ("polars", lambda frame: frame.with_columns(pl.col(pl.Datetime).to_physical()).to_dicts()),
    "pandas with an index of times": ("pandas", lambda frame: frame.set_index("timestamp")),
    "pandas with an index of keys": ("pandas", lambda frame: frame.set_index([*frame.columns[:2]])),
    "pandas with an index of another name": (
        "pandas",
        lambda frame: frame.set_index("timestamp").rename_axis(index="Date"),
    ),
    "pandas with objects": ("pandas", lambda frame: frame.astype(dict.fromkeys(frame.columns[1:], object))),
    "pandas in New York": (
        "pandas",
        lambda frame: frame.assign(timestamp=frame["timestamp"].dt.tz_convert("America/New_York")),
    ),
    "arrow in pieces": ("arrow", in_pieces),
    "arrow of one batch": ("arrow", lambda frame: frame.combine_chunks().to_batches()[0] if len(frame) else frame),
    "numpy as a structured array": ("numpy", to_structured),
    "numpy as lists": ("numpy", lambda frame: {name: column.tolist() for name, column in frame.items()}),
}


@pytest.mark.parametrize("name", VARIANTS)
@UNHURRIED
@given(sample=samples())
def test_frame_of_another_form_is_the_same(name: str, sample: Sample) -> None:
    spec, given_ = sample
    kind, change = VARIANTS[name]
    rows = read_rows(spec, given_)
    frame = to_frame(spec, rows, kind)
    if name == "numpy as lists":
        frame = {**frame, "timestamp": frame["timestamp"].view(np.int64)}
    found = read(spec, change(frame))
    assert to_bits(found.rows(spec)) == expect(spec, rows, is_pandas=kind == "pandas")


@UNHURRIED
@given(sample=samples())
def test_list_of_dicts_is_a_frame(sample: Sample) -> None:
    spec, given_ = sample
    rows = read_rows(spec, given_)
    found, doubled, refused = read_frame(spec, CONTEXT, given_)
    assert (doubled, refused) == (len(given_) - len(rows), {})
    assert to_bits(found.rows(spec)) == to_bits(rows.rows(spec))


# What each library's frame is made of

SPEC_COLUMNS = (
    Column("price", "float64"),
    Column("level", "int8"),
    Column("count", "int64", nullable=True),
    Column("maker", "bool", nullable=True),
    Column("side", "category", nullable=True),
    Column("note", "str", nullable=True),
    Column("fee", "float64", nullable=True),
)


def make_rows(unit: Unit, *, with_nulls: bool = True) -> tuple[SlotSpec, ColumnArrays]:
    spec = make_spec(*SPEC_COLUMNS, unit=unit)
    full = {"price": 1.5, "level": 3, "count": 2**60 + 1, "maker": True, "side": "buy", "note": "a", "fee": 0.25}
    rows: list[dict[str, Any]] = [{"timestamp": at, "number": 7, **full} for at in (1, 2)]
    if with_nulls:
        rows[1] = {"timestamp": 2, "number": 7, "price": math.nan, "level": -3}
    return spec, read_rows(spec, rows)


@pytest.mark.parametrize("unit", get_args(Unit))
def test_polars_frame_has_typed_columns(unit: Unit) -> None:
    spec, rows = make_rows(unit)
    frame = to_frame(spec, rows, "polars")
    assert dict(frame.schema) == {
        "timestamp": pl.Datetime(unit, "UTC"),
        "number": pl.Int64,
        "price": pl.Float64,
        "level": pl.Int8,
        "count": pl.Int64,
        "maker": pl.Boolean,
        "side": pl.Categorical,
        "note": pl.String,
        "fee": pl.Float64,
    }
    assert frame["timestamp"].to_physical().to_list() == [1, 2]
    assert frame.row(1)[3:] == (-3, None, None, None, None, None)
    assert math.isnan(frame["price"][1])


@pytest.mark.parametrize("unit", get_args(Unit))
def test_arrow_table_has_typed_columns(unit: Unit) -> None:
    spec, rows = make_rows(unit)
    table = to_frame(spec, rows, "arrow")
    table.validate(full=True)
    assert [*zip(table.schema.names, map(str, table.schema.types), strict=True)] == [
        ("timestamp", f"timestamp[{unit}, tz=UTC]"),
        ("number", "int64"),
        ("price", "double"),
        ("level", "int8"),
        ("count", "int64"),
        ("maker", "bool"),
        ("side", "dictionary<values=string, indices=int32, ordered=0>"),
        ("note", "large_string"),
        ("fee", "double"),
    ]
    row = table.to_pylist()[1]
    assert [row[name] for name in ("count", "maker", "side", "note", "fee")] == [None] * 5


@pytest.mark.parametrize("unit", get_args(Unit))
def test_pandas_frame_has_nullable_types_where_there_are_nulls(unit: Unit) -> None:
    spec, rows = make_rows(unit)
    frame = to_frame(spec, rows, "pandas")
    kinds = {name: str(kind) for name, kind in frame.dtypes.items()}
    text = kinds.pop("note")
    assert text in ("str", "object")
    assert kinds == {
        "timestamp": f"datetime64[{unit}, UTC]",
        "number": "int64",
        "price": "float64",
        "level": "int8",
        "count": "Int64",
        "maker": "boolean",
        "side": "category",
        "fee": "float64",
    }
    assert frame.iloc[1].isna().tolist() == [False, False, True, False, True, True, True, True, True]
    spec, rows = make_rows(unit, with_nulls=False)
    kinds = {name: str(kind) for name, kind in to_frame(spec, rows, "pandas").dtypes.items()}
    assert (kinds["count"], kinds["maker"]) == ("int64", "bool")


@pytest.mark.parametrize("unit", get_args(Unit))
def test_numpy_arrays_are_masked_where_there_are_nulls(unit: Unit) -> None:
    spec, rows = make_rows(unit)
    frame = to_frame(spec, rows, "numpy")
    assert {name: column.dtype.kind for name, column in frame.items()} == {
        "timestamp": "M",
        "number": "i",
        "price": "f",
        "level": "i",
        "count": "i",
        "maker": "b",
        "side": "O",
        "note": "T",
        "fee": "f",
    }
    assert np.datetime_data(frame["timestamp"].dtype)[0] == unit
    assert {name for name, column in frame.items() if isinstance(column, np.ma.MaskedArray)} == {
        "count",
        "maker",
        "side",
        "note",
        "fee",
    }
    assert frame["side"].tolist() == ["buy", None]


@UNHURRIED
@given(sample=samples())
def test_polars_frame_that_shares_memory_is_the_same(sample: Sample) -> None:
    spec, given_ = sample
    rows = read_rows(spec, given_)
    copied = to_frame(spec, rows, "polars")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frame_output, "_SHARED_ROWS", 0)
        shared = to_frame(spec, rows, "polars")
    assert shared.schema == copied.schema
    assert to_bits(read(spec, shared).rows(spec)) == to_bits(read(spec, copied).rows(spec))


@pytest.mark.parametrize("kind", KINDS)
def test_frame_has_the_columns_that_were_read(kind: Kind) -> None:
    spec, rows = make_rows("us")
    frame = to_frame(spec, rows.select({"side", "price"}), kind)
    names = frame.column_names if kind == "arrow" else [*(frame if kind == "numpy" else frame.columns)]
    assert names == ["timestamp", "number", "price", "side"]


@pytest.mark.parametrize("kind", KINDS)
def test_frame_may_have_no_row(kind: Kind) -> None:
    spec = make_spec(*SPEC_COLUMNS)
    assert len(read(spec, to_frame(spec, ColumnArrays.empty(spec), kind))) == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shared", [0, 2_000_000])
def test_categories_may_have_a_value_twice(kind: Kind, shared: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_output, "_SHARED_ROWS", shared)
    spec = make_spec(Column("side", "category", nullable=True))
    side = Values(np.array([0, 1, 2, -1], np.int32), None, ("buy", "sell", "buy"))
    rows = ColumnArrays(np.arange(4), np.zeros(4, np.int64), {"side": side})
    found = read(spec, to_frame(spec, rows, kind))
    assert [row["side"] for row in found.rows(spec)] == ["buy", "sell", "buy", None]


def test_numbers_are_not_copied_where_a_library_can_use_them(monkeypatch: pytest.MonkeyPatch) -> None:
    spec, rows = make_rows("us", with_nulls=False)
    monkeypatch.setattr(frame_output, "_SHARED_ROWS", 1)
    shared = to_frame(spec, rows, "polars")
    for name, data in (("timestamp", rows.time), ("price", rows.values["price"].data)):
        assert np.shares_memory(shared[name].to_physical().to_numpy(), data)
    assert np.shares_memory(to_frame(spec, rows, "numpy")["price"], rows.values["price"].data)
    assert np.shares_memory(to_frame(spec, rows, "pandas")["price"].to_numpy(), rows.values["price"].data)
    table = to_frame(spec, rows, "arrow")
    assert np.shares_memory(table["price"].chunk(0).to_numpy(), rows.values["price"].data)
    assert np.shares_memory(read(spec, table).values["price"].data, rows.values["price"].data)
