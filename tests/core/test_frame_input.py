"""Frames to be stored: what is read from each kind, what is refused and in which words, without a store."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from backtest_mongo import InputError, InputTypeError
from backtest_mongo.core.arrays import CandleArrays
from backtest_mongo.core.frame_input import NOT_CLOSED, read_columns, select_storable
from backtest_mongo.types import PRICES
from tests.series.test_frame_writes import FOUND, VARIANTS, capital, two_levels
from tests.support.frames import GRID, MINUTE, NAMES, make_arrays

NO_TIME = -(2**63)
ONE = {name: column.tolist() for name, column in make_arrays(1).items()}
SECONDS = np.array([60, 120], "M8[s]")


def read(frame: Any, tz: Any = None, symbol: str = "BTC/USD") -> dict[str, list[Any]]:
    """Return the columns of a frame as lists, nulls as None."""
    found = read_columns(frame, tz, symbol)
    assert found.timestamp.dtype == np.int64
    assert {column.dtype for column in found.prices} == {np.dtype(np.float64)}
    times = [None if time == NO_TIME else time for time in found.timestamp.tolist()]
    prices = [[None if value != value else value for value in column.tolist()] for column in found.prices]
    return dict(zip(NAMES, (times, *prices), strict=True))


def lists(*positions: int) -> dict[str, list[Any]]:
    return {name: column.tolist() for name, column in make_arrays(*positions).items()}


def rows(*positions: int) -> list[list[Any]]:
    return [list(row) for row in zip(*lists(*positions).values(), strict=True)]


@pytest.mark.parametrize("name", [*FOUND, *VARIANTS])
def test_frame_as_people_have_it_is_read(name: str) -> None:
    make, tz = FOUND.get(name) or (VARIANTS[name], None)
    found, expected = read(make(), tz), lists(1, 2)
    if name in ("integers", "float32"):
        expected |= {"open": [1.0, 2.0]} | ({"volume": [1.0, 2.0]} if name == "integers" else {})
    assert found == expected


MASKED = np.ma.masked_array([60_000, 120_000], [False, True])
#: Frames with nulls: in the second row of the time, or of the low.
NULLS: dict[str, tuple[Any, str]] = {
    "masked times": ({**make_arrays(1, 2), "timestamp": MASKED}, "timestamp"),
    "masked typed times": (
        {**make_arrays(1, 2), "timestamp": np.ma.masked_array(SECONDS, [False, True])},
        "timestamp",
    ),
    "list with a masked time": ({**lists(1, 2), "timestamp": [60_000, np.ma.masked]}, "timestamp"),
    "NaT": ({**make_arrays(1, 2), "timestamp": np.array([60, "NaT"], "M8[s]")}, "timestamp"),
    "polars time": (pl.DataFrame({**lists(1, 2), "timestamp": [60_000, None]}), "timestamp"),
    "arrow time": (pa.table({**lists(1, 2), "timestamp": [60_000, None]}), "timestamp"),
    "arrow typed time": (
        pa.table({**lists(1, 2), "timestamp": pa.array([60, None], pa.timestamp("s", tz="UTC"))}),
        "timestamp",
    ),
    "unsigned polars time": (
        pl.DataFrame({**lists(1, 2), "timestamp": pl.Series([60_000, None], dtype=pl.UInt64)}),
        "timestamp",
    ),
    "unsigned arrow time": (pa.table({**lists(1, 2), "timestamp": pa.array([60_000, None], pa.uint64())}), "timestamp"),
    "unsigned pandas time": (
        pd.DataFrame({**lists(1, 2), "timestamp": pd.array([60_000, None], dtype="UInt64")}),
        "timestamp",
    ),
    "pandas time on arrow": (
        pd.DataFrame({**lists(1, 2), "timestamp": pd.array([60_000, None], dtype="int64[pyarrow]")}),
        "timestamp",
    ),
    "pandas time": (
        pd.DataFrame({**lists(1, 2), "timestamp": pd.array([60_000, None], dtype="Int64")}),
        "timestamp",
    ),
    "pandas typed time": (
        pd.DataFrame({**lists(1, 2), "timestamp": pd.DatetimeIndex(np.array([60, "NaT"], "M8[s]"), tz="UTC")}),
        "timestamp",
    ),
    "masked price": ({**make_arrays(1, 2), "low": np.ma.masked_array([59_999.5, 1], [False, True])}, "low"),
    "masked integers": ({**make_arrays(1, 2), "low": np.ma.masked_array([1, 1], [False, True])}, "low"),
    "list with a masked price": ({**lists(1, 2), "low": (59_999.5, np.ma.masked)}, "low"),
    "polars price": (pl.DataFrame({**lists(1, 2), "low": [0.5, None]}), "low"),
    "arrow price": (pa.table({**lists(1, 2), "low": [0.5, None]}), "low"),
    "pandas price": (pd.DataFrame({**lists(1, 2), "low": pd.array([1, None], dtype="Int64")}), "low"),
    "row of a list": ([rows(1)[0], [120_000, 2.0, 2.5, None, 2.3, 2.4]], "low"),
}


@pytest.mark.parametrize("name", NULLS)
def test_nulls_are_missing_times_and_numbers(name: str) -> None:
    frame, column = NULLS[name]
    found, expected = read(frame), lists(1, 2)
    assert found.pop(column)[1] is None
    expected.pop(column)
    assert found == expected


def test_times_hold_where_they_say_or_where_the_caller_says() -> None:
    tokyo = timezone(timedelta(hours=9))
    naive = pd.DatetimeIndex(np.array([60 + 9 * 3600, 120 + 9 * 3600], "M8[s]"))
    for tz in ("Asia/Tokyo", tokyo):
        assert read(capital(naive), tz)["timestamp"] == [MINUTE, 2 * MINUTE]
    assert read(capital(naive.tz_localize(tokyo)))["timestamp"] == [MINUTE, 2 * MINUTE]
    columns = {**make_arrays(1, 2), "timestamp": naive.to_numpy()}
    assert read(columns, "Asia/Tokyo")["timestamp"] == [MINUTE, 2 * MINUTE]
    # NumPy's times are in UTC, as it says itself.
    assert read({**columns, "timestamp": SECONDS})["timestamp"] == [MINUTE, 2 * MINUTE]
    missing = {**columns, "timestamp": np.array([60 + 9 * 3600, "NaT"], "M8[s]")}
    assert read(missing, tokyo)["timestamp"] == [MINUTE, None]


UNSIGNED: dict[str, Callable[[Any], Any]] = {
    "numpy": lambda times: {**make_arrays(1, 2, 3, 4), "timestamp": times},
    "list": lambda times: {**make_arrays(1, 2, 3, 4), "timestamp": [*times]},
    "polars": lambda times: pl.DataFrame({**make_arrays(1, 2, 3, 4), "timestamp": times}),
    "pandas": lambda times: pd.DataFrame({**make_arrays(1, 2, 3, 4), "timestamp": times}),
    "pandas, nullable": lambda times: pd.DataFrame(
        {**make_arrays(1, 2, 3, 4), "timestamp": pd.array(times, dtype=f"UInt{8 * times.itemsize}")}
    ),
    "pandas on arrow": lambda times: pd.DataFrame(
        {**make_arrays(1, 2, 3, 4), "timestamp": pd.array(times, dtype=pd.ArrowDtype(pa.from_numpy_dtype(times.dtype)))}
    ),
    "arrow": lambda times: pa.table({**make_arrays(1, 2, 3, 4), "timestamp": pa.array(times)}),
}


@pytest.mark.parametrize("name", UNSIGNED)
def test_times_may_be_counted_without_a_sign(name: str) -> None:
    found = read_columns(UNSIGNED[name](np.array([60, 120, 180, 240], np.uint8)))
    assert found.timestamp.tolist() == [60, 120, 180, 240]
    large = np.array([60_000, 2**64 - 1, 2**63, 2**63 - 1], np.uint64)
    kept, refused = select_storable(read_columns(UNSIGNED[name](large)), GRID, 10 * MINUTE)
    assert kept.timestamp.tolist() == [60_000]
    assert refused == {"its time is outside of the years 1 to 9999": [1, 2, 3]}


def test_frame_without_rows_has_columns_of_any_type() -> None:
    nothing: dict[str, list[Any]] = {name: [] for name in NAMES}
    empty: list[Any] = [[], (), nothing, pl.DataFrame(nothing), pd.DataFrame(nothing)]
    for frame in empty:
        assert read(frame) == nothing


def test_index_of_times_is_the_time_where_there_is_no_timestamp() -> None:
    index = pd.DatetimeIndex(SECONDS, tz="UTC")
    with_lengths = capital(index).assign(length=pd.to_timedelta([1, 2]), end=index)
    assert read(with_lengths) == lists(1, 2)
    own = pd.DataFrame(make_arrays(3, 4)).set_index(index)
    assert read(own) == lists(3, 4)


def test_columns_of_one_symbol_are_taken() -> None:
    for order in (("Price", "Ticker"), ("Ticker", "Price")):
        frame = two_levels(order)
        assert read(frame, symbol="BTCUSD") == lists(1, 2)
        assert read(frame, symbol="aapl")["open"] == [101.0, 102.0]
        single = frame.xs("AAPL", axis=1, level="Ticker", drop_level=False)
        assert read(single, symbol="")["close"] == [101.3, 102.3]


KINDS = (
    "a polars or pandas DataFrame, a PyArrow Table, a mapping or a structured array of NumPy's, or ccxt's lists of "
    "[time, open, high, low, close, volume]"
)
NAIVE = (
    InputError,
    "the frame's timestamp is naive: its time zone is unknown",
    "name the zone: write_frame(frame, tz=...) takes UTC, America/New_York, ...",
)
NOT_NAIVE = (InputError, "tz is for naive times, and the frame's timestamp has a zone", None)
CHOOSE = "take one symbol's columns with frame.xs(SYMBOL, axis=1, level=...)"
UNIT = "use typed times, or a column timestamp in milliseconds"
CLOCKS = "the clocks change then: make the times aware"
BERLIN = np.array(["2024-10-27T01:30", "2024-10-27T02:30", "2024-03-31T02:30"], "M8[ms]")


def renamed(**names: str) -> pd.DataFrame:
    return pd.DataFrame(make_arrays(1)).rename(columns=names)


def typed(kind: Any) -> pd.DataFrame:
    return pd.DataFrame({**make_arrays(1), "timestamp": kind})


def polars_of(zone: str | None) -> pl.DataFrame:
    return pl.DataFrame(make_arrays(1)).with_columns(pl.col("timestamp").cast(pl.Datetime("ms", zone)))


BAD: dict[str, tuple[Any, Any, type[InputError], str, str | None]] = {
    "no frame": ([1], None, InputTypeError, f"a frame must be {KINDS}, not list", None),
    "no rows of lists": ([[1] * 6, 1], None, InputTypeError, f"a frame must be {KINDS}, not list", None),
    "text": ("abc", None, InputTypeError, f"a frame must be {KINDS}, not str", None),
    "plain array": (np.zeros((2, 6)), None, InputTypeError, f"a frame must be {KINDS}, not ndarray", None),
    "series": (pl.Series([1]), None, InputTypeError, f"a frame must be {KINDS}, not Series", None),
    "pandas series": (pd.Series([1]), None, InputTypeError, f"a frame must be {KINDS}, not Series", None),
    "arrow array": (pa.array([1]), None, InputTypeError, f"a frame must be {KINDS}, not Int64Array", None),
    "lacking": (
        {"Timestamp": [1], "open": [1], "x": []}, None, InputError,
        "the frame lacks high, low, close, volume; its columns are Timestamp, open, x", None,
    ),
    "empty": ({}, None, InputError, f"the frame lacks {', '.join(NAMES)}; its columns are none", None),
    "twice": (
        pd.DataFrame(np.zeros((1, 8)), columns=[*NAMES, "close", "open"]), None, InputError,
        "the frame has open, close more than once", None,
    ),
    "two columns of the time": (
        renamed(timestamp="date").assign(time=1), None, InputError,
        "the frame has a date and a time in two columns", "combine them",
    ),
    **{
        f"{name} of a unit": (
            renamed(timestamp=name), None, InputError,
            f"the frame's {name} may not be in milliseconds", UNIT,
        )
        for name in ("time_s", "Unix", "epoch", "ts_event")
    },
    "lengths": (
        {**make_arrays(1, 2), "low": np.zeros(3)}, None, InputError,
        "the frame's columns differ in length: [(2,), (3,)]", None,
    ),
    "two dimensions": (
        {name: np.array([[60_000]]) for name in NAMES}, None, InputError,
        "the frame's columns differ in length: [(1, 1)]", None,
    ),
    "text for numbers": ({**ONE, "low": ["1.0"]}, None, InputTypeError,
                         "the frame's low must hold numbers, not <U3", None),
    "masked text": ({**ONE, "low": np.ma.masked_array(["1.0"], [False])}, None, InputTypeError,
                    "the frame's low must hold numbers, not <U3", None),
    "float times": ({**ONE, "timestamp": [1.5]}, None, InputTypeError,
                    "the frame's timestamp must be milliseconds (integers) or typed times, not float64", None),
    "lengths of time": (
        {**ONE, "timestamp": np.array([1], "m8[ms]")}, None, InputTypeError,
        "the frame's timestamp must be milliseconds (integers) or typed times, not timedelta64[ms]", None,
    ),
    "naive polars": (polars_of(None), None, *NAIVE),
    "naive pandas": (typed(pd.to_datetime([1])), None, *NAIVE),
    "naive arrow": (pa.table({**make_arrays(1), "timestamp": pa.array([1], pa.timestamp("ms"))}), None, *NAIVE),
    "zone for aware times": (typed(pd.to_datetime([1], utc=True)), UTC, *NOT_NAIVE),
    "zone for aware polars": (polars_of("UTC"), "UTC", *NOT_NAIVE),
    "zone for aware arrow": (
        pa.table({**make_arrays(1), "timestamp": pa.array([1], pa.timestamp("ms", tz="UTC"))}), "UTC", *NOT_NAIVE,
    ),
    "zone for milliseconds": (make_arrays(1), "UTC", *NOT_NAIVE),
    "unknown zone": (make_arrays(1), "Berlin", InputError, "tz 'Berlin' is not a time zone", None),
    "bad zone": (make_arrays(1), "../x", InputError, "tz '../x' is not a time zone", None),
    "no zone": (make_arrays(1), 1, InputTypeError, "tz must be the name of a zone or a tzinfo, not int", None),
    "time that is shown twice": (
        {**make_arrays(1, 2, 3), "timestamp": BERLIN}, "Europe/Berlin", InputError,
        "the frame's time 2024-10-27T02:30:00.000 in row 1 is skipped or repeated in Europe/Berlin", CLOCKS,
    ),
    "seven fields": (
        [[1] * 6, [1] * 7, [1] * 8], None, InputError,
        f"rows of a list must be {', '.join(NAMES)}: some have 7 fields", None,
    ),
    "other symbols": (
        two_levels(("Price", "Ticker")), None, InputError, "the frame has columns of BTC-USD, AAPL, not of ETH", CHOOSE,
    ),
    "levels without prices": (
        two_levels(("Price", "Ticker")).rename(columns={"Open": "O"}), None, InputError,
        "the frame's columns have two levels, neither of which names open and close", None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_frame_is_refused_in_its_words(name: str) -> None:
    frame, tz, kind, message, hint = BAD[name]
    with pytest.raises(InputError) as caught:
        read_columns(frame, tz, "ETH")
    assert (type(caught.value), caught.value.message, caught.value.hint) == (kind, message, hint)
    assert caught.value.slot == "candle"


def test_column_that_is_there_twice_by_other_names_is_named() -> None:
    frame = renamed(open="Open").assign(OPEN=1.0)
    with pytest.raises(InputError, match=r"^candle: the frame: open occurs twice in timestamp, Open,") as caught:
        read_columns(frame)
    assert caught.value.slot == "candle"


def test_typed_times_may_have_the_name_of_a_unit() -> None:
    index = pd.to_datetime([60, 120], unit="s", utc=True)
    for name in ("unix", "time_s", "epoch_ns"):
        frame = pd.DataFrame({name: index, **{price: make_arrays(1, 2)[price] for price in PRICES}})
        assert read(frame) == lists(1, 2)
        typed_arrow = pa.table({**make_arrays(1, 2), "timestamp": pa.array([60, 120], pa.timestamp("s", tz="UTC"))})
        names = [name if column == "timestamp" else column for column in typed_arrow.column_names]
        assert read(typed_arrow.rename_columns(names)) == lists(1, 2)
    assert read(renamed(timestamp="time_ms")) == lists(1)
    assert read(renamed(timestamp="Open time")) == lists(1)


# What is stored


def candles(*positions: float, **changes: dict[int, float]) -> CandleArrays:
    data = make_arrays(*(round(position * MINUTE) for position in positions), step=1)
    for name, values in changes.items():
        for at, value in values.items():
            data[name][at] = value
    return CandleArrays(*data.values())


def positions(found: CandleArrays) -> list[float]:
    assert (found.close - found.timestamp).round(6).tolist() == [0.3] * len(found)
    return [time / MINUTE for time in found.timestamp.tolist()]


def test_rows_that_can_be_stored_are_taken_in_the_order_of_time() -> None:
    whole = candles(1, 2, 3)
    kept, refused = select_storable(whole, GRID, 10 * MINUTE)
    assert kept is whole
    assert refused == {}
    kept, refused = select_storable(candles(3, 1, 2), GRID, 10 * MINUTE)
    assert (positions(kept), refused) == ([1, 2, 3], {})
    kept, refused = select_storable(candles(), GRID, 10 * MINUTE)
    assert (positions(kept), refused) == ([], {})


def test_candle_is_stored_once_it_has_closed() -> None:
    assert NOT_CLOSED == "it has not closed yet"
    kept, refused = select_storable(candles(8, 9, 9.001, 12), GRID, 10 * MINUTE)
    assert (positions(kept), refused) == ([8, 9], {NOT_CLOSED: [2, 3]})


def test_first_of_several_rows_of_one_time_is_stored() -> None:
    again = "a row before it has the same time"
    kept, refused = select_storable(candles(2, 1, 2, 1, 1, 3), GRID, 10 * MINUTE)
    assert (positions(kept), refused) == ([1, 2, 3], {again: [2, 3, 4]})
    kept, refused = select_storable(candles(1, 1), GRID, 10 * MINUTE)
    assert (positions(kept), refused) == ([1], {again: [1]})
    kept, refused = select_storable(candles(1, 1, volume={0: -1.0}), GRID, 10 * MINUTE)
    assert (positions(kept), refused) == ([1], {"volume is negative": [0]})


def test_row_is_refused_by_its_first_reason() -> None:
    found = candles(1, 2, 11, 11, 3, 3, volume={1: -1.0, 2: -1.0}, high={4: 0.0})
    kept, refused = select_storable(found, GRID, 10 * MINUTE)
    assert positions(kept) == [1, 3]
    assert refused == {"high is below low": [4], "volume is negative": [1, 2], NOT_CLOSED: [3]}
    kept, refused = select_storable(candles(11, 12), GRID, 10 * MINUTE)
    assert (positions(kept), refused) == ([], {NOT_CLOSED: [0, 1]})
