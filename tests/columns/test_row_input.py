"""Rows as dicts: what is taken as it is, and what is refused, by its place."""

from __future__ import annotations

import math
from collections import OrderedDict
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given

from backtest_mongo import InputError, InputTypeError, types
from backtest_mongo.columns.row_input import check_now, read_rows
from backtest_mongo.core.columns import UNITS, Column, Unit
from backtest_mongo.core.series_times import find_grid
from backtest_mongo.core.slots import SERIES
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.core.unit_times import UNIT_NAMES
from tests.support.columns import CONTEXT, UNHURRIED, check_arrays, make_spec, resolve, samples, to_bits

TRADE = next(spec for spec in SERIES if spec.name == "trade")
NOW = 1_700_000_000_000_000
ROW = {"timestamp": NOW, "trade_id": 5, "price": 50_000.1, "amount": 0.5, "side": "buy"}


@UNHURRIED
@given(samples())
def test_rows_are_kept_in_order_each_key_once(sample: tuple[SlotSpec, list[dict[str, Any]]]) -> None:
    spec, rows = sample
    found = read_rows(spec, rows)
    check_arrays(spec, found)
    assert to_bits(found.rows(spec)) == to_bits(resolve(spec, rows))


@UNHURRIED
@given(samples())
def test_nulls_may_be_left_out(sample: tuple[SlotSpec, list[dict[str, Any]]]) -> None:
    spec, rows = sample
    left_out = [{name: value for name, value in row.items() if value is not None} for row in rows]
    assert to_bits(read_rows(spec, left_out).rows(spec)) == to_bits(resolve(spec, rows))


@pytest.mark.parametrize("kind", [OrderedDict, MappingProxyType])
def test_any_mapping_is_a_row(kind: Any) -> None:
    assert read_rows(TRADE, (kind(ROW),)).rows(TRADE) == [ROW]


def test_many_slots_are_read_in_turn() -> None:
    some = [make_spec(Column("price", "int64" if number % 2 else "str")) for number in range(600)]
    for spec in [*some, *some[:3]]:
        value = 1 if spec.columns[0].type == "int64" else "one"
        row = {"timestamp": NOW, "number": 1, "price": value}
        assert read_rows(spec, [row]).rows(spec) == [row]


class _Side(StrEnum):
    BUY = "buy"


TAKEN: list[tuple[Any, object, object]] = [
    ("float64", 5, 5.0),
    ("float64", 2**53, 2.0**53),
    ("float64", 2**60, 2.0**60),
    ("float64", np.float64(0.1), 0.1),
    ("float64", np.float32(0.1), float(np.float32(0.1))),
    ("float64", np.int8(-3), -3.0),
    ("float64", np.uint64(2**63), 2.0**63),
    ("float64", np.longdouble(0.5), 0.5),
    ("float64", Decimal("0.1"), 0.1),
    ("float64", Decimal("50000.10"), 50_000.1),
    ("float64", Decimal("123456789.123456"), 123_456_789.123456),
    ("float64", Decimal.from_float(0.1), 0.1),
    ("float64", Decimal("-Infinity"), -math.inf),
    ("float64", Fraction(1, 4), 0.25),
    ("float64", math.inf, math.inf),
    ("int64", 5.0, 5),
    ("int64", np.uint64(7), 7),
    ("int64", np.float32(-4), -4),
    ("int64", Decimal("12.00"), 12),
    ("int64", Fraction(6, 2), 3),
    ("int64", -(2**63), -(2**63)),
    ("int64", -(2.0**63), -(2**63)),
    ("int64", 2**63 - 1, 2**63 - 1),
    ("int8", np.int64(-128), -128),
    ("int8", 127.0, 127),
    ("bool", np.True_, True),
    ("category", np.str_("buy"), "buy"),
    ("category", _Side.BUY, "buy"),
    ("str", _Side.BUY, "buy"),
    ("str", "a\0", "a\0"),
    ("str", "\U0001f600", "\U0001f600"),
]


@pytest.mark.parametrize(("kind", "value", "expected"), TAKEN)
@pytest.mark.parametrize("nullable", [False, True])
def test_value_that_is_kept_exactly_is_taken(kind: Any, value: object, expected: object, nullable: bool) -> None:
    spec = make_spec(Column("value", kind, nullable))
    other = {**({} if nullable else {"value": expected}), "timestamp": 2, "number": 1}
    found = read_rows(spec, [{"timestamp": 1, "number": 1, "value": value}, other]).rows(spec)[0]["value"]
    assert type(found) is type(expected)
    assert found == expected


def test_nan_is_a_value_and_not_null() -> None:
    spec = make_spec(Column("value", "float64", nullable=True))
    values = [math.nan, Decimal("NaN"), np.float32("nan"), None]
    rows = [{"timestamp": at, "number": 1, "value": value} for at, value in enumerate(values)]
    found = [row["value"] for row in read_rows(spec, rows).rows(spec)]
    assert [value is not None and math.isnan(value) for value in found] == [True, True, True, False]


NUMBER = "must be a number, not"
WHOLE = "must be a whole number, not"
#: The column's type, the value, the error and its words after the place.
REFUSED: list[tuple[Any, object, type[InputError], str]] = [
    ("float64", "1.5", InputTypeError, f"{NUMBER} str"),
    ("float64", True, InputTypeError, f"{NUMBER} bool"),
    ("float64", np.True_, InputTypeError, f"{NUMBER} bool"),
    ("float64", None, InputTypeError, f"{NUMBER} NoneType"),
    ("float64", [1.5], InputTypeError, f"{NUMBER} list"),
    ("float64", 1j, InputTypeError, f"{NUMBER} complex"),
    ("float64", np.timedelta64(1, "s"), InputTypeError, f"{NUMBER} timedelta64"),
    ("float64", np.array([1.5]), InputTypeError, f"{NUMBER} ndarray"),
    ("float64", 2**53 + 1, InputError, "must not lose digits in a float64, unlike 9007199254740993 (int)"),
    ("float64", np.int64(2**53 + 1), InputError, "must not lose digits in a float64, unlike 9007199254740993 (int64)"),
    ("float64", 10**400, InputError, f"must fit in a float64, not 1{'0' * 39} (int)"),
    (
        "float64",
        Decimal("0.1234567890123456789"),
        InputError,
        "must not lose digits in a float64, unlike 0.1234567890123456789 (Decimal)",
    ),
    ("float64", Decimal("1e400"), InputError, "must not lose digits in a float64, unlike 1E+400 (Decimal)"),
    ("float64", Decimal("sNaN"), InputError, "must fit in a float64, not sNaN (Decimal)"),
    ("float64", Fraction(1, 3), InputError, "must not lose digits in a float64, unlike 1/3 (Fraction)"),
    ("int64", 1.5, InputError, f"{WHOLE} 1.5 (float)"),
    ("int64", math.nan, InputError, f"{WHOLE} nan (float)"),
    ("int64", math.inf, InputError, f"{WHOLE} inf (float)"),
    ("int64", Decimal("NaN"), InputError, f"{WHOLE} NaN (Decimal)"),
    ("int64", Decimal("1.5"), InputError, f"{WHOLE} 1.5 (Decimal)"),
    ("int64", "5", InputTypeError, f"{WHOLE} str"),
    ("int64", False, InputTypeError, f"{WHOLE} bool"),
    ("int64", None, InputTypeError, f"{WHOLE} NoneType"),
    ("int64", np.timedelta64(1, "s"), InputTypeError, f"{WHOLE} timedelta64"),
    ("int64", 2**63, InputError, f"must be from {-(2**63)} to {2**63 - 1}, not {2**63} (int)"),
    ("int64", 2.0**63, InputError, f"must be from {-(2**63)} to {2**63 - 1}, not {2.0**63} (float)"),
    ("int64", np.uint64(2**63), InputError, f"must be from {-(2**63)} to {2**63 - 1}, not {2**63} (uint64)"),
    ("int8", 128, InputError, "must be from -128 to 127, not 128 (int)"),
    ("int8", -129, InputError, "must be from -128 to 127, not -129 (int)"),
    ("bool", 1, InputTypeError, "must be a bool, not int"),
    ("bool", None, InputTypeError, "must be a bool, not NoneType"),
    ("bool", "true", InputTypeError, "must be a bool, not str"),
    ("category", 5, InputTypeError, "must be a str, not int"),
    ("category", None, InputTypeError, "must be a str, not NoneType"),
    ("category", b"buy", InputTypeError, "must be a str, not bytes"),
    ("category", "\ud800", InputError, "holds a lone surrogate, which is not valid Unicode (str)"),
    ("str", "a\udfff", InputError, "holds a lone surrogate, which is not valid Unicode (str)"),
    ("str", 5, InputTypeError, "must be a str, not int"),
]


@pytest.mark.parametrize(("kind", "value", "error", "words"), REFUSED)
@pytest.mark.parametrize("nullable", [False, True])
def test_value_that_would_change_is_refused_by_its_place(
    kind: Any, value: object, error: type[InputError], words: str, nullable: bool
) -> None:
    if nullable and value is None:
        return
    spec = make_spec(Column("value", kind, nullable))
    good = {"float64": 1.5, "int64": 1, "int8": 1, "bool": True}.get(kind, "a")
    rows: list[dict[str, Any]] = [{"timestamp": at, "number": 1, "value": good} for at in range(4)]
    rows[3]["value"] = value
    if nullable:
        del rows[1]["value"]
    with pytest.raises(error) as caught:
        read_rows(spec, rows)
    assert type(caught.value) is error
    assert str(caught.value) == f"sample: rows[3].value {words}"


BROKEN: dict[str, tuple[Any, type[InputError], str]] = {
    "not a list": (ROW, InputTypeError, "rows must be a list, not dict"),
    "not a dict": ([ROW, [1, 2, 3, 4, 5]], InputTypeError, "rows[1] must be a dict, not list"),
    "no row": ([ROW, None], InputTypeError, "rows[1] must be a dict, not NoneType"),
    "no column": ([ROW, {**ROW, "price": ...}], InputTypeError, "rows[1].price must be a number, not ellipsis"),
    "unknown column": (
        [ROW, {**ROW, "pricee": 1.0}],
        InputError,
        "rows[1] has the unknown column 'pricee' (dict) (did you mean price?)",
    ),
    "column by a number": (
        [{**ROW, 5: 1.0}],
        InputError,
        "rows[0] has the unknown column 5 (dict) (known are timestamp, trade_id, price, amount, side)",
    ),
    "column instead of another": (
        [{**{name: value for name, value in ROW.items() if name != "side"}, "sid": "buy"}],
        InputError,
        "rows[0] has the unknown column 'sid' (dict) (did you mean side?)",
    ),
    "no sequence": (
        [ROW, {name: value for name, value in ROW.items() if name != "trade_id"}],
        InputError,
        "rows[1] lacks trade_id (dict)",
    ),
    "no time and no price": ([{"trade_id": 1, "amount": 1.0}], InputError, "rows[0] lacks timestamp, price (dict)"),
    "null sequence": (
        [{**ROW, "trade_id": None}],
        InputTypeError,
        "rows[0].trade_id must be a whole number, not NoneType",
    ),
    "sequence of a type": (
        [{**ROW, "trade_id": "5"}],
        InputTypeError,
        "rows[0].trade_id must be a whole number, not str",
    ),
    "null time": (
        [{**ROW, "timestamp": None}],
        InputTypeError,
        "rows[0].timestamp must be microseconds (int) or an aware datetime, not NoneType",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_row_that_is_none_is_refused_by_its_place(name: str) -> None:
    rows, error, words = BROKEN[name]
    with pytest.raises(error) as caught:
        read_rows(TRADE, rows)
    assert type(caught.value) is error
    assert str(caught.value) == f"trade: {words}"


def read_time(value: object, unit: Unit = "us") -> int:
    spec = make_spec(unit=unit)
    rows = [{"timestamp": time, "number": 1, "price": 1.0} for time in (value, 5)]
    found = read_rows(spec, rows)
    return next(int(time) for time in found.time.tolist() if time != 5)


EAST = timezone(timedelta(hours=5, minutes=30))
TIMES: list[tuple[object, Unit, int]] = [
    (NOW, "us", NOW),
    (np.int64(NOW), "us", NOW),
    (datetime(2024, 12, 1, 9, 30, tzinfo=UTC), "ms", 1_733_045_400_000),
    (datetime(2024, 12, 1, 15, 0, 0, 123_000, tzinfo=EAST), "ms", 1_733_045_400_123),
    (datetime(2024, 12, 1, 9, 30, 0, 123_456, tzinfo=UTC), "us", 1_733_045_400_123_456),
    (datetime(2024, 12, 1, 9, 30, 0, 123_456, tzinfo=UTC), "ns", 1_733_045_400_123_456_000),
    (datetime(1, 1, 1, tzinfo=UTC), "us", -62_135_596_800_000_000),
    (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), "us", 253_402_300_799_999_999),
    (pd.Timestamp("2024-12-01T09:30:00.123456789", tz="UTC"), "ns", 1_733_045_400_123_456_789),
    (pd.Timestamp("1969-12-31T23:59:59.999999999", tz="UTC"), "ns", -1),
    (np.datetime64("2024-12-01T09:30:00.123"), "ms", 1_733_045_400_123),
    (np.datetime64("2024-12", "M"), "us", 1_733_011_200_000_000),
    (np.datetime64("2024-12-01T09:30:00.123456789"), "ns", 1_733_045_400_123_456_789),
    (np.datetime64("1970-01-01T00:00:00.000000007000"), "ns", 7),
    ("2024-12-01", "ms", 1_733_011_200_000),
    ("2024-12-01T09:30Z ", "ms", 1_733_045_400_000),
    ("2024-12-01T15:00:00.123+05:30", "ms", 1_733_045_400_123),
    ("2024-12-01 09:30:00,123456", "us", 1_733_045_400_123_456),
    ("2024-12-01T09:30:00.123456789Z", "ns", 1_733_045_400_123_456_789),
    ("2024-12-01T09:30:00.12345678900Z", "ns", 1_733_045_400_123_456_789),
    ("2024-12-01T09:30:00.123000000Z", "ms", 1_733_045_400_123),
    ("1969-12-31T23:59:59.999999999Z", "ns", -1),
    ("2024-W48-7T09:30:00.5Z", "ms", 1_733_045_400_500),
]


@pytest.mark.parametrize(("value", "unit", "expected"), TIMES)
def test_time_is_kept_to_the_last_digit(value: object, unit: Unit, expected: int) -> None:
    assert read_time(value, unit) == expected


YEARS = "must be of the years 1 to 9999"
ENDS = "must be between -2**63 and 2**63 - 1"
BAD_TIMES: list[tuple[object, Unit, type[InputError], str]] = [
    (True, "us", InputTypeError, "must be microseconds (int) or an aware datetime, not bool"),
    (1.5e9, "ns", InputTypeError, "must be nanoseconds (int) or an aware datetime, not float"),
    (np.timedelta64(5, "s"), "us", InputTypeError, "must be microseconds (int) or an aware datetime, not timedelta64"),
    (
        datetime(2024, 12, 1, 9, 30, 0, 123_456, tzinfo=UTC),
        "ms",
        InputError,
        "has digits that are lost in milliseconds: 2024-12-01 09:30:00.123456+00:00",
    ),
    (
        pd.Timestamp("2024-12-01T09:30:00.123456789", tz="UTC"),
        "us",
        InputError,
        "has digits that are lost in microseconds: 2024-12-01 09:30:00.123456789+00:00",
    ),
    (
        "2024-12-01T09:30:00.1234567Z",
        "us",
        InputError,
        "has digits that are lost in microseconds: 2024-12-01T09:30:00.1234567Z",
    ),
    (
        np.datetime64("2024-12-01T09:30:00.0001"),
        "ms",
        InputError,
        "has digits that are lost in milliseconds: 2024-12-01T09:30:00.000100",
    ),
    (np.datetime64("NaT", "us"), "ms", InputError, "must not be missing (datetime64)"),
    (np.datetime64("NaT", "ns"), "ms", InputError, "must not be missing (datetime64)"),
    (pd.NaT, "ms", InputError, "must not be missing (NaTType)"),
    *(
        (
            datetime(2024, 12, 1),
            unit,
            InputError,
            f"must not be a naive datetime: give it a timezone, as in datetime.now(UTC), or give {UNIT_NAMES[unit]}",
        )
        for unit in UNITS
    ),
    ("yesterday", "ms", InputError, "must be ISO 8601, as in 2024-12-01 or 2024-12-01T09:30Z, not 'yesterday'"),
    (
        "2024-12-01T09:30:00+01:00:00.5",
        "us",
        InputError,
        "must have a fraction of seconds only, not '2024-12-01T09:30:00+01:00:00.5'",
    ),
    (253_402_300_800_000, "ms", InputError, f"{YEARS}: 253402300800000 ms"),
    (-62_135_596_800_001, "ms", InputError, f"{YEARS}: -62135596800001 ms"),
    (253_402_300_800_000_000, "us", InputError, f"{YEARS}: 253402300800000000 us"),
    (2**70, "us", InputError, f"{YEARS}: {2**70} us"),
    *((time, "ns", InputError, f"{ENDS}: {time} ns") for time in (2**63, 2**63 - 1, -(2**63))),
    (datetime(2300, 1, 1, tzinfo=UTC), "ns", InputError, f"{ENDS}: 10413792000000000000 ns"),
]


@pytest.mark.parametrize(("value", "unit", "error", "words"), BAD_TIMES)
def test_time_that_would_lose_digits_is_refused(value: object, unit: Unit, error: type[InputError], words: str) -> None:
    with pytest.raises(error) as caught:
        read_time(value, unit)
    assert type(caught.value) is error
    assert str(caught.value) == f"sample: rows[0].timestamp {words}"


# Grids

HOURLY = make_spec(unit="ms", sequence="", grid="1h")
HOUR = 3_600_000


def hours(*places: float) -> list[dict[str, Any]]:
    return [{"timestamp": round(place * HOUR), "price": place} for place in places]


def test_rows_whose_interval_has_not_ended_are_skipped() -> None:
    rows = read_rows(HOURLY, hours(1, 2, 3, 4))
    for now, count in ((2 * HOUR - 1, 0), (2 * HOUR, 1), (4 * HOUR - 1, 2), (4 * HOUR, 3), (5 * HOUR, 4)):
        assert check_now(HOURLY, CONTEXT, rows, now).time.tolist() == [place * HOUR for place in range(1, count + 1)]


def test_clock_says_which_intervals_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(types, "now_ms", lambda: 3 * HOUR)
    assert len(check_now(HOURLY, CONTEXT, read_rows(HOURLY, hours(1, 2, 3)))) == 2


def test_rows_without_a_grid_are_all_known() -> None:
    rows = read_rows(TRADE, [ROW])
    assert find_grid(TRADE, CONTEXT) is None
    assert check_now(TRADE, CONTEXT, rows, 0) is rows


def test_grid_may_be_the_interval_of_the_context() -> None:
    spec = make_spec(unit="ms", sequence="", grid="interval", context=("symbol", "interval"))
    rows = read_rows(spec, hours(1, 2, 3))
    assert len(check_now(spec, ("1h", "BTCUSDT"), rows, 3 * HOUR)) == 2
    with pytest.raises(InputError, match=r"interval '7h' \(str\) is unknown"):
        find_grid(spec, ("7h", "BTCUSDT"))


def test_times_in_another_unit_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        check_now(HOURLY, CONTEXT, read_rows(HOURLY, hours(1, 1.001, 1.002)), 9 * HOUR)
    assert str(caught.value) == (
        "sample: rows can't be of 1h: the median distance of its times is 3,600 ms, less than half of 1h "
        "(times are milliseconds since the epoch: were seconds given, or another interval's rows?)"
    )
