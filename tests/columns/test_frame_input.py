"""Frames to be stored: the types that a column takes, what is refused as a whole, and what row by row."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any, get_args

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest_mongo import InputError, InputTypeError, types
from backtest_mongo.columns.frame_input import read_frame
from backtest_mongo.core.columns import Column, ColumnType, Unit
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.core.unit_times import NANOSECONDS, find_time_range
from tests.support.columns import CONTEXT, UNHURRIED, check_arrays, make_spec

US = [1_700_000_000_000_000, 1_700_000_000_000_001, 1_700_000_000_000_002]


def read_values(kind: ColumnType, values: Any, *, nullable: bool = False) -> list[Any]:
    """Return the values of a column of this type as they are stored, if no row is refused."""
    spec = make_spec(Column("value", kind, nullable), sequence="")
    found, doubled, refused = read_frame(spec, CONTEXT, frame_of(values))
    assert (doubled, refused) == (0, {})
    check_arrays(spec, found)
    return found.values["value"].to_list(spec.columns[0])


def frame_of(values: Any) -> Any:
    """Return a frame of the library that a column is of."""
    times = np.arange(len(values))
    if isinstance(values, pl.Series):
        return pl.DataFrame({"timestamp": times, "value": values})
    if isinstance(values, pd.Series):
        return pd.DataFrame({"timestamp": times, "value": values})
    if isinstance(values, pa.Array | pa.ChunkedArray):
        table: Any = {"timestamp": times, "value": values}
        return pa.table(table)
    return {"timestamp": times, "value": values}


TAKEN: dict[str, tuple[ColumnType, Any, list[Any]]] = {
    "float32": ("float64", np.array([0.5, 0.1], np.float32), [0.5, float(np.float32(0.1))]),
    "float16": ("float64", np.array([0.5, 2], np.float16), [0.5, 2.0]),
    "long double": ("float64", np.array([0.5, np.nan, 2], np.longdouble)[::2], [0.5, 2.0]),
    "big-endian": ("float64", np.array([0.5, 2], ">f8"), [0.5, 2.0]),
    "every other": ("float64", np.array([0.5, 9, 2])[::2], [0.5, 2.0]),
    "integers as floats": ("float64", np.array([1, 2**53]), [1.0, 2.0**53]),
    "large integers as floats": ("float64", np.array([2**60, -(2**63)]), [2.0**60, -(2.0**63)]),
    "large unsigned as floats": ("float64", np.array([2**63, 2**64 - 2**11], np.uint64), [2.0**63, 2.0**64 - 2**11]),
    "floats as integers": ("int64", np.array([1.0, -(2.0**63)]), [1, -(2**63)]),
    "unsigned as integers": ("int64", np.array([1, 2**63 - 1], np.uint64), [1, 2**63 - 1]),
    "int64 as int8": ("int8", np.array([-128, 127]), [-128, 127]),
    "uint8 as int8": ("int8", np.array([0, 127], np.uint8), [0, 127]),
    "floats as int8": ("int8", np.array([-128.0, 127.0]), [-128, 127]),
    "list": ("float64", [1, 2.5, Decimal("0.1")], [1.0, 2.5, 0.1]),
    "objects": ("int64", np.array([1, 2.0], object), [1, 2]),
    "list of bools": ("bool", [True, np.False_], [True, False]),
    "fixed width": ("category", np.array(["buy", "sell", "buy"]), ["buy", "sell", "buy"]),
    "variable width": ("category", np.array(["buy", "sell"], np.dtypes.StringDType()), ["buy", "sell"]),
    "fixed width as text": ("str", np.array(["a", "bc"]), ["a", "bc"]),
    "polars floats": ("float64", pl.Series([0.5, 2.0], dtype=pl.Float32), [0.5, 2.0]),
    "polars unsigned": ("int64", pl.Series([1, 2], dtype=pl.UInt64), [1, 2]),
    "polars int8": ("float64", pl.Series([1, -2], dtype=pl.Int8), [1.0, -2.0]),
    "polars of 128 bits": ("int64", pl.Series([1, -2], dtype=pl.Int128), [1, -2]),
    "polars decimals": ("float64", pl.Series([Decimal("0.10"), Decimal("2.5")]), [0.1, 2.5]),
    "polars bools": ("bool", pl.Series([True, False]), [True, False]),
    "polars enum": ("category", pl.Series(["b", "a"], dtype=pl.Enum(["a", "b", "c"])), ["b", "a"]),
    "polars categorical as text": ("str", pl.Series(["b", "a"], dtype=pl.Categorical), ["b", "a"]),
    "polars text": ("category", pl.Series(["b", "a", "b"]), ["b", "a", "b"]),
    "polars objects": ("category", pl.Series(["b", "a"], dtype=pl.Object), ["b", "a"]),
    "pandas Int64": ("int64", pd.Series([1, 2], dtype="Int64"), [1, 2]),
    "pandas UInt64": ("float64", pd.Series([1, 2], dtype="UInt64"), [1.0, 2.0]),
    "pandas Float32": ("float64", pd.Series([0.5, 2], dtype="Float32"), [0.5, 2.0]),
    "pandas boolean": ("bool", pd.Series([True, False], dtype="boolean"), [True, False]),
    "pandas integers on arrow": ("int8", pd.Series([1, 2], dtype="int64[pyarrow]"), [1, 2]),
    "pandas floats on arrow": ("float64", pd.Series([1.5, 2], dtype="float[pyarrow]"), [1.5, 2.0]),
    "pandas bools on arrow": ("bool", pd.Series([True, False], dtype="bool[pyarrow]"), [True, False]),
    "pandas text on arrow": ("category", pd.Series(["b", "a"], dtype=pd.ArrowDtype(pa.string())), ["b", "a"]),
    "pandas dictionary on arrow": (
        "category",
        pd.Series(["b", "a"], dtype=pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string()))),
        ["b", "a"],
    ),
    "pandas text": ("category", pd.Series(["b", "a", "b"], dtype="string"), ["b", "a", "b"]),
    "pandas objects": ("category", pd.Series(["b", "a", "b"], dtype=object), ["b", "a", "b"]),
    "pandas objects as floats": ("float64", pd.Series([1, Decimal("0.1")], dtype=object), [1.0, 0.1]),
    "pandas category": ("category", pd.Series(["b", "a"], dtype="category"), ["b", "a"]),
    "pandas category with others": ("str", pd.Series(["b", "a"], dtype=pd.CategoricalDtype([1, "a", "b"])), ["b", "a"]),
    "arrow dictionaries in pieces": (
        "category",
        pa.chunked_array([pa.array(["a", "b"]).dictionary_encode(), pa.array(["c", "b"]).dictionary_encode()]),
        ["a", "b", "c", "b"],
    ),
    "arrow dictionary as text": ("str", pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
    "arrow large text": ("category", pa.array(["a", "b"], pa.large_string()), ["a", "b"]),
    "arrow view of text": ("category", pa.array(["a", "b"], pa.string_view()), ["a", "b"]),
    "arrow text": ("str", pa.array(["a", "b"]), ["a", "b"]),
    "arrow half floats": ("float64", pa.array(np.array([0.5, 2], np.float16)), [0.5, 2.0]),
    "arrow decimals": ("float64", pa.array([Decimal("0.10"), Decimal("2.50")]), [0.1, 2.5]),
    "arrow decimals as integers": ("int64", pa.array([Decimal("1.0"), Decimal("2.0")]), [1, 2]),
    "arrow uint8": ("int8", pa.array([1, 2], pa.uint8()), [1, 2]),
}


@pytest.mark.parametrize("name", TAKEN)
@pytest.mark.parametrize("nullable", [False, True])
def test_type_whose_values_are_kept_is_taken(name: str, nullable: bool) -> None:
    kind, values, expected = TAKEN[name]
    found = read_values(kind, values, nullable=nullable)
    assert found == expected
    assert [*map(type, found)] == [*map(type, expected)]


NULLS: dict[str, tuple[ColumnType, Any]] = {
    "masked floats": ("float64", np.ma.masked_array([0.5, 9.0], [False, True])),
    "masked integers": ("int8", np.ma.masked_array([5, 999], [False, True])),
    "masked text": ("category", np.ma.masked_array(["a", "b"], [False, True])),
    "masked value in a list": ("float64", [0.5, np.ma.masked]),
    "none in a list": ("bool", [True, None]),
    "none among objects": ("str", np.array(["a", None], object)),
    "polars floats": ("float64", pl.Series([0.5, None])),
    "polars integers": ("int64", pl.Series([5, None])),
    "polars bools": ("bool", pl.Series([True, None])),
    "polars text": ("category", pl.Series(["a", None])),
    "polars long text": ("str", pl.Series(["a", None])),
    "polars categorical": ("category", pl.Series(["a", None], dtype=pl.Categorical)),
    "polars decimals": ("float64", pl.Series([Decimal("0.5"), None])),
    "pandas NaN": ("int64", pd.Series([5, math.nan])),
    "pandas Int64": ("int64", pd.Series([5, None], dtype="Int64")),
    "pandas Float64": ("float64", pd.Series([5, None], dtype="Float64")),
    "pandas boolean": ("bool", pd.Series([True, None], dtype="boolean")),
    "pandas objects": ("category", pd.Series(["a", None], dtype=object)),
    "pandas objects with NaN": ("str", pd.Series(["a", math.nan], dtype=object)),
    "pandas bools as objects": ("bool", pd.Series([True, None], dtype=object)),
    "pandas text": ("category", pd.Series(["a", None], dtype="string")),
    "pandas category": ("category", pd.Series(["a", None], dtype="category")),
    "pandas category as text": ("str", pd.Series(["a", None], dtype="category")),
    "pandas on arrow": ("int64", pd.Series([5, None], dtype="int64[pyarrow]")),
    "arrow floats": ("float64", pa.array([0.5, None])),
    "arrow integers": ("int8", pa.array([5, None], pa.int64())),
    "arrow bools": ("bool", pa.array([True, None])),
    "arrow text": ("category", pa.array(["a", None])),
    "arrow long text": ("str", pa.array(["a", None])),
    "arrow dictionary": ("category", pa.array(["a", None]).dictionary_encode()),
    "arrow null in a dictionary": (
        "category",
        pa.DictionaryArray.from_arrays(pa.array([1, 0]), pa.array([None, "a"])),
    ),
    "arrow dictionary as text": ("str", pa.array(["a", None]).dictionary_encode()),
    "arrow decimals": ("int64", pa.array([Decimal(5), None])),
}


@pytest.mark.parametrize("name", NULLS)
def test_nulls_are_kept_or_refused_by_their_row(name: str) -> None:
    kind, values = NULLS[name]
    first, second = read_values(kind, values, nullable=True)
    assert first is not None
    assert second is None
    found, doubled, refused = read_frame(make_spec(Column("value", kind), sequence=""), CONTEXT, frame_of(values))
    assert (len(found), doubled, refused) == (1, 0, {"value is null": [1]})
    assert found.values["value"].to_list(Column("value", kind)) == [first]


@pytest.mark.parametrize("values", [pl.Series([None, None]), pa.nulls(2), pd.Series([None, None]), [None, None]])
@pytest.mark.parametrize("kind", get_args(ColumnType))
def test_column_of_nothing_but_nulls_has_any_type(kind: ColumnType, values: Any) -> None:
    assert read_values(kind, values, nullable=True) == [None, None]


def test_nan_is_null_only_in_nullable_columns_of_pandas() -> None:
    nan = [math.nan, 1.0]
    for values in (np.array(nan), pl.Series(nan), pa.array(nan), nan, pd.Series(nan), pd.Series(nan, dtype=object)):
        assert math.isnan(read_values("float64", values)[0])
        is_null = read_values("float64", values, nullable=True)[0] is None
        assert is_null == isinstance(values, pd.Series)


WHOLE = "must hold whole numbers"
REFUSED: dict[str, tuple[ColumnType, Any, type[InputError], str]] = {
    "fractions": ("int64", np.array([1, 1.5, math.nan, math.inf]), InputError, f"{WHOLE} of int64: rows 1, 2, 3"),
    "floats beyond": ("int64", np.array([2.0**63]), InputError, f"{WHOLE} of int64: row 0"),
    "float beyond int8": ("int8", pl.Series([1.0, 128.0]), InputError, f"{WHOLE} of int8: row 1"),
    "digits of integers": (
        "float64",
        np.array([2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1]),
        InputError,
        "must not lose digits in a float64: rows 1, 2, 3",
    ),
    "digits of unsigned": (
        "float64",
        pa.array([2**64 - 1, 5, None], pa.uint64()),
        InputError,
        "must not lose digits in a float64: row 0",
    ),
    "digits of long doubles": (
        "float64",
        np.array([1, 2, 3], np.longdouble) / 3,
        InputError,
        "must not lose digits in a float64: rows 0, 1",
    ),
    "unsigned beyond": (
        "int64",
        pd.Series([1, 2**63], dtype="UInt64"),
        InputError,
        f"must be from {-(2**63)} to {2**63 - 1}: row 1",
    ),
    "int64 beyond int8": ("int8", np.array([127, 128, -129]), InputError, "must be from -128 to 127: rows 1, 2"),
    "uint8 beyond int8": ("int8", pl.Series([127, 255], dtype=pl.UInt8), InputError, "must be from -128 to 127: row 1"),
    "many rows": (
        "int8",
        np.full(2_000, 999),
        InputError,
        "must be from -128 to 127: rows 0, 1, 2, 3, 4 and 1,995 more",
    ),
    "decimals": (
        "float64",
        pl.Series([Decimal("0.5"), Decimal("0.12345678901234567890")]),
        InputError,
        "must not lose digits in a float64, unlike 0.12345678901234567890 (Decimal): row 1",
    ),
    "number in a list": ("float64", [1.0, "2", None], InputTypeError, "must be a number, not str: row 1"),
    "text for numbers": ("float64", pl.Series(["1"]), InputTypeError, "must be a number, not str: row 0"),
    "category for numbers": (
        "float64",
        pd.Series(["1"], dtype="category"),
        InputTypeError,
        "must hold numbers, not category",
    ),
    "bools for numbers": ("float64", np.array([True]), InputTypeError, "must hold numbers, not bool"),
    "bools for integers": ("int64", pl.Series([True]), InputTypeError, "must hold whole numbers, not Boolean"),
    "numbers for bools": ("bool", pa.array([1, 0]), InputTypeError, "must hold booleans, not int64"),
    "numbers for text": ("category", pl.Series([1]), InputTypeError, "must hold text, not Int64"),
    "numbers for long text": ("str", np.array([1.5]), InputTypeError, "must hold text, not float64"),
    "numbers in categories": (
        "category",
        pd.Series(["a", 5, 5], dtype="category"),
        InputTypeError,
        "must be a str, not int: rows 1, 2",
    ),
    "surrogates": (
        "category",
        pd.Series(["a", "\ud800"], dtype=object),
        InputError,
        "holds a lone surrogate, which is not valid Unicode (str): row 1",
    ),
    "surrogates in a list": (
        "str",
        ["a", "\ud800"],
        InputError,
        "holds a lone surrogate, which is not valid Unicode (str): row 1",
    ),
    "bytes": ("str", np.array([b"a"]), InputTypeError, "must hold text, not |S1"),
    "times": ("int64", np.array([5], "M8[s]"), InputTypeError, "must hold whole numbers, not datetime64[s]"),
    "lengths": ("int64", np.array([5], "m8[s]"), InputTypeError, "must hold whole numbers, not timedelta64[s]"),
    "two dimensions": ("float64", np.ones((2, 2)), InputError, "must have one dimension, not 2"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("nullable", [False, True])
def test_column_that_would_change_is_refused(name: str, nullable: bool) -> None:
    kind, values, error, words = REFUSED[name]
    if nullable and isinstance(values, pd.Series) and values.dtype.kind == "f":
        return
    with pytest.raises(error) as caught:
        read_values(kind, values, nullable=nullable)
    assert type(caught.value) is error
    assert str(caught.value) == f"sample: the frame's value {words}"


GOOD = {"timestamp": US, "number": [1, 2, 3], "price": [1.0, 2.0, 3.0]}
SPEC = make_spec(Column("price", "float64"), Column("side", "category", nullable=True))
KNOWN = "a polars or pandas DataFrame, a PyArrow Table, a mapping or a structured NumPy array, or a list of dicts"
BROKEN: dict[str, tuple[Any, type[InputError], str]] = {
    "no frame": (5, InputTypeError, f"a frame must be {KNOWN}, not int"),
    "no column": ({}, InputError, "the frame lacks timestamp, number, price; its columns are none"),
    "missing": (
        pl.DataFrame({"timestamp": US, "price": [1.0] * 3}),
        InputError,
        "the frame lacks number; its columns are timestamp, price",
    ),
    "unknown": (
        {**GOOD, "sides": ["a"] * 3},
        InputError,
        "the frame has the unknown column 'sides' (did you mean side?)",
    ),
    "unknown index": (
        pd.DataFrame({**GOOD, "symbol": "a"}).set_index("symbol"),
        InputError,
        "the frame has the unknown column 'symbol' (known are timestamp, number, price, side)",
    ),
    "twice": (
        pd.DataFrame([[1, 1, 1.0, 1.0]], columns=["timestamp", "number", "price", "price"]),
        InputError,
        "the frame has price more than once",
    ),
    "twice in arrow": (
        pa.table([pa.array([1])] * 4, ["timestamp", "number", "price", "price"]),
        InputError,
        "the frame has price more than once",
    ),
    "lazy": (
        pl.LazyFrame(GOOD),
        InputTypeError,
        "a frame must be a DataFrame of polars, not a LazyFrame (collect() it first)",
    ),
    "lengths": ({**GOOD, "price": [1.0]}, InputError, "the frame's columns differ in length: 3 times, 1 of price"),
    "no dict": ([{"timestamp": 1}, [1]], InputTypeError, "a list of rows must hold dicts, not list in row 1"),
    "unknown key": (
        [{"timestamp": 1, "number": 1, "price": 1.0}, {"size": 1}],
        InputError,
        "the frame has the unknown column 'size' (did you mean side?)",
    ),
    "sequence": (
        {**GOOD, "number": ["1", "2", "3"]},
        InputTypeError,
        "the frame's number must be a whole number, not str: rows 0, 1, 2",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_frame_that_is_none_is_refused(name: str) -> None:
    frame, error, words = BROKEN[name]
    with pytest.raises(error) as caught:
        read_frame(SPEC, CONTEXT, frame)
    assert type(caught.value) is error
    assert str(caught.value) == f"sample: {words}"


def test_list_without_a_row_is_a_frame() -> None:
    found, doubled, refused = read_frame(SPEC, CONTEXT, [])
    check_arrays(SPEC, found)
    assert (len(found), doubled, refused) == (0, 0, {})


# Rows


def test_rows_are_refused_by_their_positions() -> None:
    frame = {
        "timestamp": np.ma.masked_array([3, 2, 1, 2**62, 5, 4], [True, False, False, False, False, False]),
        "number": [1, None, 1, 1, 1, 1],
        "price": [None, None, 1.0, 1.0, None, 2.0],
    }
    found, doubled, refused = read_frame(SPEC, CONTEXT, frame)
    assert refused == {
        "it has no time": [0],
        "its time is outside of the years 1 to 9999": [3],
        "number is null": [1],
        "price is null": [4],
    }
    assert doubled == 0
    assert found.rows(SPEC) == [
        {"timestamp": 1, "number": 1, "price": 1.0, "side": None},
        {"timestamp": 4, "number": 1, "price": 2.0, "side": None},
    ]


@pytest.mark.parametrize("immutable", [True, False])
def test_rows_with_one_key_are_doubles(immutable: bool) -> None:
    spec = make_spec(Column("price", "float64"), immutable=immutable)
    frame = {"timestamp": [2, 1, 2, 1, 2], "number": [7, 7, 7, 8, 7], "price": [1.0, 2.0, 3.0, 4.0, 5.0]}
    found, doubled, refused = read_frame(spec, CONTEXT, frame)
    assert found.values["price"].data.tolist() == [2.0, 4.0, 1.0 if immutable else 5.0]
    assert (doubled, refused) == (2, {})


def test_refused_rows_are_no_doubles() -> None:
    spec = make_spec(Column("price", "float64"))
    frame = {"timestamp": [1, 1], "number": [7, 7], "price": [None, 2.0]}
    found, doubled, refused = read_frame(spec, CONTEXT, frame)
    assert found.values["price"].data.tolist() == [2.0]
    assert (doubled, refused) == (0, {"price is null": [0]})


HOUR = 3_600_000
HOURLY = make_spec(Column("price", "float64"), unit="ms", sequence="", grid="1h")


def test_rows_whose_interval_has_not_ended_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(types, "now_ms", lambda: 3 * HOUR)
    frame = pd.DataFrame({"price": [3.0, 2.0, 1.0]}, pd.DatetimeIndex(np.array([3, 2, 1], "M8[h]"), tz="UTC"))
    found, doubled, refused = read_frame(HOURLY, CONTEXT, frame)
    assert found.time.tolist() == [HOUR, 2 * HOUR]
    assert (doubled, refused) == (0, {"it has not closed yet": [0]})


def test_times_of_another_interval_are_refused() -> None:
    frame = {"timestamp": np.arange(5) * 60_000, "price": np.ones(5)}
    with pytest.raises(InputError, match="the frame can't be of 1h: the median distance of its times is 60,000 ms"):
        read_frame(HOURLY, CONTEXT, frame)


# Times


def read_times(times: Any, unit: Unit = "us", tz: Any = None) -> list[int]:
    spec = make_spec(Column("price", "float64"), unit=unit, sequence="")
    price = np.ones(len(times))
    if isinstance(times, pl.Series):
        frame: Any = pl.DataFrame({"timestamp": times, "price": price})
    elif isinstance(times, pd.Index):
        frame = pd.DataFrame({"price": price}, times)
    elif isinstance(times, pd.Series):
        frame = pd.DataFrame({"timestamp": times, "price": price})
    elif isinstance(times, pa.Array):
        columns: Any = {"timestamp": times, "price": price}
        frame = pa.table(columns)
    else:
        frame = {"timestamp": times, "price": price}
    found, doubled, refused = read_frame(spec, CONTEXT, frame, tz)
    assert (doubled, refused) == (0, {})
    return [*map(int, found.time.tolist())]


NUMPY_UNITS = ["Y", "M", *NANOSECONDS]


@UNHURRIED
@given(
    st.lists(st.integers(-(2**63) + 1, 2**63 - 1) | st.integers(-(10**6), 10**6), min_size=1, max_size=5),
    st.sampled_from(NUMPY_UNITS),
    st.sampled_from([1, 1, 3, 1_000]),
    st.sampled_from(get_args(Unit)),
)
def test_typed_times_are_kept_to_the_last_digit(counts: list[int], name: str, step: int, unit: Unit) -> None:
    step = 1 if name in ("Y", "M") else step
    spec = make_spec(Column("price", "float64"), unit=unit, sequence="")
    first, last = find_time_range(unit)
    per_unit = {"ms": 10**6, "us": 10**3, "ns": 1}[unit]

    def convert(count: int) -> Fraction | None:
        if name in ("Y", "M"):
            if abs(count) > 10**6:
                return None
            months = count * 12 if name == "Y" else count
            if not -1969 * 12 <= months < (9999 - 1969) * 12:
                return None
            day = datetime(1970 + months // 12, months % 12 + 1, 1, tzinfo=UTC)
            nanoseconds = Fraction((day - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(days=1) * 86_400 * 10**9)
        else:
            nanoseconds = count * step * NANOSECONDS[name]
        found = nanoseconds / per_unit
        return found if first <= found <= last else None

    expected = [convert(count) for count in counts]
    frame = {"timestamp": np.array(counts, np.int64).view(f"M8[{step}{name}]"), "price": np.ones(len(counts))}
    lossy = [str(at) for at, time in enumerate(expected) if time is not None and time.denominator > 1]
    if lossy:
        with pytest.raises(InputError, match=f"the frame's timestamp has digits that are lost in .*: rows? {lossy[0]}"):
            read_frame(spec, CONTEXT, frame)
        return
    found, _, refused = read_frame(spec, CONTEXT, frame)
    assert found.time.tolist() == sorted({int(time) for time in expected if time is not None})
    assert [*refused.values()] == [[at for at, time in enumerate(expected) if time is None]] * (None in expected)


AWARE = [datetime(2024, 12, 1, 9, 30, 0, 123_456, tzinfo=UTC), datetime(2024, 12, 2, tzinfo=UTC)]
STAMPS = [1_733_045_400_123_456, 1_733_097_600_000_000]
TIMES: dict[str, Any] = {
    "integers": np.array(STAMPS),
    "unsigned": np.array(STAMPS, np.uint64),
    "list": STAMPS,
    "objects": AWARE,
    "text": ["2024-12-01T09:30:00.123456Z", "2024-12-02"],
    "masked": np.ma.masked_array(STAMPS, [False, False]),
    "numpy": np.array(STAMPS, "M8[us]"),
    "numpy, ns": np.array(STAMPS, "M8[us]").astype("M8[ns]"),
    "polars": pl.Series(AWARE, dtype=pl.Datetime("us", "UTC")),
    "polars in Tokyo": pl.Series(AWARE, dtype=pl.Datetime("ns", "UTC")).dt.convert_time_zone("Asia/Tokyo"),
    "polars integers": pl.Series(STAMPS),
    "pandas": pd.Series(AWARE),
    "pandas objects": pd.Series(AWARE, dtype=object),
    "pandas index": pd.DatetimeIndex(AWARE).tz_convert("Asia/Tokyo"),
    "pandas Int64": pd.Series(STAMPS, dtype="Int64"),
    "pandas on arrow": pd.Series(AWARE, dtype=pd.ArrowDtype(pa.timestamp("ns", "UTC"))),
    "arrow": pa.array(AWARE, pa.timestamp("us", "UTC")),
    "arrow in Tokyo": pa.array(AWARE, pa.timestamp("ns", "Asia/Tokyo")),
    "arrow integers": pa.array(STAMPS),
}


COUNTED = {"integers", "unsigned", "list", "masked", "polars integers", "pandas Int64", "arrow integers"}


@pytest.mark.parametrize("name", TIMES)
def test_times_of_any_library_are_read(name: str) -> None:
    assert read_times(TIMES[name]) == STAMPS


@pytest.mark.parametrize("name", sorted(TIMES.keys() - COUNTED))
def test_typed_times_are_read_in_the_unit_of_the_slot(name: str) -> None:
    assert read_times(TIMES[name], "ns") == [stamp * 1_000 for stamp in STAMPS]
    with pytest.raises(InputError, match=r"has digits that are lost in milliseconds.*row"):
        read_times(TIMES[name], "ms")


NAIVE = [datetime(2024, 12, 1, 18, 30, 0, 123_456), datetime(2024, 12, 2, 9)]


@pytest.mark.parametrize(
    "times",
    [
        NAIVE,
        np.array(NAIVE, "M8[us]"),
        pl.Series(NAIVE),
        pd.Series(NAIVE),
        pd.Series(NAIVE, dtype=object),
        pd.DatetimeIndex(NAIVE),
        pa.array(NAIVE),
    ],
    ids=lambda times: type(times).__name__,
)
def test_naive_times_hold_where_the_caller_says(times: Any) -> None:
    for tz in ("Asia/Tokyo", timezone(timedelta(hours=9))):
        assert read_times(times, tz=tz) == STAMPS
        assert read_times(times, "ns", tz) == [stamp * 1_000 for stamp in STAMPS]


BAD_TIMES: dict[str, tuple[Any, Any, type[InputError], str]] = {
    "naive": (pl.Series(NAIVE), None, InputError, "the frame's timestamp is naive: its time zone is unknown"),
    "naive objects": (NAIVE, None, InputError, "the frame's timestamp must not be a naive datetime"),
    "aware with a zone": (pl.Series(AWARE), "UTC", InputError, "tz is for naive times"),
    "aware objects with a zone": (
        AWARE,
        "UTC",
        InputTypeError,
        "must be naive datetimes if there is a tz, not datetime: rows 0, 1",
    ),
    "integers with a zone": (np.array(STAMPS), "UTC", InputError, "tz is for naive times"),
    "no zone": (np.array(STAMPS), "Atlantis", InputError, "tz 'Atlantis' is not a time zone"),
    "zone of a type": (np.array(STAMPS), 5, InputTypeError, "tz must be the name of a zone or a tzinfo, not int"),
    "text": (
        pl.Series(["2024-12-01"]),
        None,
        InputTypeError,
        "the frame's timestamp must be microseconds .integers. or typed times, not String",
    ),
    "floats": (np.array([1.5]), None, InputTypeError, "must be microseconds .integers. or typed times, not float64"),
    "skipped": (
        pl.Series([datetime(2024, 3, 10, 2, 30)]),
        "America/New_York",
        InputError,
        "the frame's time 2024-03-10T02:30:00.000 in row 0 is skipped or repeated in America/New_York",
    ),
    "two dimensions": (
        np.ones((2, 2), np.int64),
        None,
        InputError,
        "the frame's timestamp must have one dimension, not 2",
    ),
}


@pytest.mark.parametrize("name", BAD_TIMES)
def test_times_that_are_unclear_are_refused(name: str) -> None:
    times, tz, error, words = BAD_TIMES[name]
    with pytest.raises(error, match=words) as caught:
        read_times(times, tz=tz)
    assert type(caught.value) is error


MISSING: dict[str, Any] = {
    "NaT": np.array([STAMPS[0], "NaT"], "M8[us]"),
    "masked": np.ma.masked_array(STAMPS, [False, True]),
    "masked typed": np.ma.masked_array(np.array(STAMPS, "M8[us]"), [False, True]),
    "objects": [AWARE[0], None],
    "NaT of pandas in a list": [AWARE[0], pd.NaT],
    "NaT of NumPy in a list": [AWARE[0], np.datetime64("NaT", "us")],
    "polars": pl.Series([AWARE[0], None]),
    "polars integers": pl.Series([STAMPS[0], None]),
    "pandas": pd.Series([AWARE[0], None]),
    "pandas objects": pd.Series([AWARE[0], pd.NaT], dtype=object),
    "pandas Int64": pd.Series([STAMPS[0], None], dtype="Int64"),
    "arrow": pa.array([AWARE[0], None]),
    "arrow integers": pa.array([STAMPS[0], None]),
}


@pytest.mark.parametrize("name", MISSING)
def test_rows_without_a_time_are_refused(name: str) -> None:
    times = MISSING[name]
    spec = make_spec(Column("price", "float64"), sequence="")
    frame: Any = {"timestamp": times, "price": [1.0, 2.0]}
    if isinstance(times, pl.Series):
        frame = pl.DataFrame(frame)
    elif isinstance(times, pd.Series):
        frame = pd.DataFrame(frame)
    elif isinstance(times, pa.Array):
        frame = pa.table(frame)
    found, _, refused = read_frame(spec, CONTEXT, frame)
    assert found.time.tolist() == STAMPS[:1]
    assert refused == {"it has no time": [1]}


FAR: dict[str, tuple[Any, Any]] = {
    "integers": (np.array([2**62, 5]), None),
    "unsigned": (np.array([2**63 + 5, 5], np.uint64), None),
    "objects": ([2**80, 5], None),
    "typed": (np.array([2**40, 0], "M8[D]"), None),
    "years": (np.array([2**40, 0], "M8[Y]"), None),
    "local": (np.array(["9999-12-31T23:59", "1970-01-01"], "M8[s]"), "America/New_York"),
}


@pytest.mark.parametrize("name", FAR)
def test_times_that_no_row_can_have_are_refused(name: str) -> None:
    times, tz = FAR[name]
    spec = make_spec(Column("price", "float64"), sequence="")
    found, _, refused = read_frame(spec, CONTEXT, {"timestamp": times, "price": [1.0, 2.0]}, tz)
    assert len(found) == 1
    assert refused == {"its time is outside of the years 1 to 9999": [0]}


@pytest.mark.parametrize(
    "times",
    [
        np.array(["2300-01-01", "2024-12-01"], "M8[s]"),
        np.array([2**63 - 1, 1_733_011_200_000_000_000], "M8[ns]"),
        np.array([2**63 - 1, 1_733_011_200_000_000_000]),
        [-(2**63), 1_733_011_200_000_000_000],
    ],
)
def test_nanoseconds_must_be_between_the_ends_of_64_bits(times: Any) -> None:
    spec: SlotSpec = make_spec(Column("price", "float64"), sequence="", unit="ns")
    found, _, refused = read_frame(spec, CONTEXT, {"timestamp": times, "price": [1.0, 2.0]})
    assert found.time.tolist() == [1_733_011_200_000_000_000]
    assert refused == {"its time is not between -2**63 and 2**63 - 1": [0]}
