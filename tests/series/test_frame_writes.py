"""Writing frames: every kind as people have it, rows that can't be stored, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest_mongo import CandleAdapter, InputError, InputTypeError, types
from backtest_mongo.core.arrays import CandleArrays
from backtest_mongo.core.frame_input import read_columns, select_storable
from backtest_mongo.types import PRICES
from tests.conftest import Deployment
from tests.support.frames import GRID, KINDS, MINUTE, make_arrays, make_frame, to_lists
from tests.support.uniform import candles

pytestmark = pytest.mark.either_driver


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_of_frame_is_stored_and_read_back_equal(series: CandleAdapter, kind: str) -> None:
    report = await series.write_frame(make_frame(kind, *range(1000)))
    assert report == types.WriteReport(1000, 0, {})
    assert to_lists(await series.read_frame(as_="numpy")) == {
        k: v.tolist() for k, v in make_arrays(*range(1000)).items()
    }
    read = await series.read_frame(as_=kind)  # type: ignore[call-overload]
    assert await series.write_frame(read) == types.WriteReport(0, 1000, {})


VARIANTS: dict[str, Any] = {
    "structured array": lambda: np.array(
        list(zip(*make_arrays(1, 2).values(), strict=True)), [("timestamp", "i8"), *((name, "f8") for name in PRICES)]
    ),
    "lists": lambda: {name: column.tolist() for name, column in make_arrays(1, 2).items()},
    "integers": lambda: {**make_arrays(1, 2), "open": np.array([1, 2], np.int32), "volume": np.array([1, 2], np.uint8)},
    "float32": lambda: {**make_arrays(1, 2), "open": np.array([1, 2], np.float32)},
    "times in nanoseconds": lambda: {**make_arrays(1, 2), "timestamp": np.array([60, 120], "M8[s]").astype("M8[ns]")},
    "pandas with times as its index": lambda: pd.DataFrame(make_arrays(1, 2)).set_index(
        pd.DatetimeIndex(np.array([60, 120], "M8[s]"), tz="UTC").tz_convert("Asia/Tokyo")
    )[list(PRICES)],
    "pandas, nullable": lambda: pd.DataFrame(make_arrays(1, 2)).convert_dtypes(),
    "pandas on arrow": lambda: pd.DataFrame(make_arrays(1, 2)).convert_dtypes(dtype_backend="pyarrow"),
    "pandas, milliseconds": lambda: pd.DataFrame(make_arrays(1, 2)),
    "polars, milliseconds": lambda: pl.DataFrame(make_arrays(1, 2)),
    "polars in another zone": lambda: pl.DataFrame(make_arrays(1, 2)).with_columns(
        pl.col("timestamp").cast(pl.Datetime("ms", "UTC")).dt.convert_time_zone("Asia/Tokyo").dt.cast_time_unit("us")
    ),
    "arrow in chunks": lambda: pa.concat_tables([pa.table(make_arrays(1)), pa.table(make_arrays(2))]),
    "arrow batch": lambda: pa.RecordBatch.from_pydict({name: pa.array(col) for name, col in make_arrays(1, 2).items()}),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variant_of_a_frame_is_understood(name: str) -> None:
    found = read_columns(VARIANTS[name]())
    assert found.timestamp.tolist() == [MINUTE, 2 * MINUTE]
    assert found.close.tolist() == [1.3, 2.3]
    assert {column.dtype for column in found.prices} == {np.dtype(np.float64)}


def capital(index: Any) -> pd.DataFrame:
    """A frame as pandas' users have them, with times as its index."""
    data = {name.capitalize(): column for name, column in make_arrays(1, 2).items() if name != "timestamp"}
    return pd.DataFrame(data, index=index)


def two_levels(order: tuple[str, str]) -> pd.DataFrame:
    """A frame of yfinance's, with the prices of two tickers."""
    parts = {}
    for ticker, more in (("BTC-USD", 0.0), ("AAPL", 100.0)):
        for name, column in capital(None).items():
            parts[(name, ticker) if order[0] == "Price" else (ticker, name)] = column + more
    made = pd.DataFrame(parts)
    made.columns = pd.MultiIndex.from_tuples(list(parts), names=order)
    made.index = pd.DatetimeIndex(np.array([60, 120], "M8[s]"), tz="UTC", name="Datetime")
    return made


FOUND: dict[str, tuple[Callable[[], Any], str | None]] = {
    "an aware index": (lambda: capital(pd.DatetimeIndex(np.array([60, 120], "M8[s]"), tz="UTC")), None),
    "an aware index by another name": (
        lambda: capital(pd.DatetimeIndex(np.array([60, 120], "M8[s]"), tz="UTC", name="Date").tz_convert("Asia/Tokyo")),
        None,
    ),
    "a naive index with its zone": (lambda: capital(pd.DatetimeIndex(np.array([60, 120], "M8[s]"))), "UTC"),
    "a naive index of another zone": (
        lambda: capital(pd.DatetimeIndex(np.array([32_460, 32_520], "M8[s]"))),
        "Asia/Tokyo",
    ),
    "naive polars with its zone": (
        lambda: pl.DataFrame(make_arrays(1, 2)).with_columns(pl.col("timestamp").cast(pl.Datetime("ms"))),
        "UTC",
    ),
    "naive arrow with its zone": (
        lambda: pa.table({**make_arrays(1, 2), "timestamp": pa.array([60, 120], pa.timestamp("s"))}),
        "UTC",
    ),
    "freqtrade": (
        lambda: pd.DataFrame({**make_arrays(1, 2), "date": pd.to_datetime([60, 120], unit="s", utc=True)}).drop(
            columns="timestamp"
        ),
        None,
    ),
    "yfinance": (lambda: two_levels(("Price", "Ticker")), None),
    "yfinance by ticker": (lambda: two_levels(("Ticker", "Price")), None),
    "ccxt": (lambda: [list(row) for row in zip(*(c.tolist() for c in make_arrays(1, 2).values()), strict=True)], None),
    "ccxt as tuples": (lambda: list(zip(*(c.tolist() for c in make_arrays(1, 2).values()), strict=True)), None),
}


@pytest.mark.parametrize("name", FOUND)
async def test_frame_of_another_tool_is_stored(series: CandleAdapter, name: str, unique: str) -> None:
    make, tz = FOUND[name]
    own = CandleAdapter("BTC/USD", "1m", unique)
    assert await own.write_frame(make(), tz) == types.WriteReport(2, 0, {})
    assert to_lists(await own.read_frame(as_="numpy")) == {key: c.tolist() for key, c in make_arrays(1, 2).items()}


async def test_empty_frame_is_no_error(series: CandleAdapter) -> None:
    assert await series.write_frame([]) == types.WriteReport(0, 0, {})


async def test_rows_of_a_list_with_nulls_are_refused_singly(series: CandleAdapter) -> None:
    rows = [[60_000, 1.0, 2.0, 0.5, 1.5, 3.0], [120_000, 1.0, 2.0, 0.5, 1.5, None]]
    assert await series.write_frame(rows) == types.WriteReport(1, 0, {"volume is not a finite number": [1]})


BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "no frame": ([1], InputTypeError, "a frame must be a polars or pandas DataFrame, .* not list"),
    "none": (None, InputTypeError, "not NoneType"),
    "lazy": (pl.LazyFrame(make_arrays(1)), InputTypeError, "not LazyFrame"),
    "missing": (
        {"timestamp": [1], "open": [1]},
        InputError,
        "lacks high, low, close, volume; its columns are timestamp, open",
    ),
    "lengths": ({**make_arrays(1, 2), "low": np.zeros(3)}, InputError, "differ in length"),
    "text": ({**make_arrays(1), "low": ["1.0"]}, InputTypeError, "low must hold numbers, not <U3"),
    "bool": ({**make_arrays(1), "low": [True]}, InputTypeError, "low must hold numbers, not bool"),
    "float times": ({**make_arrays(1), "timestamp": [1.5]}, InputTypeError, "timestamp must be milliseconds"),
    "naive polars": (
        pl.DataFrame(make_arrays(1)).with_columns(pl.col("timestamp").cast(pl.Datetime("ms"))),
        InputError,
        "timestamp is naive",
    ),
    "naive pandas": (
        pd.DataFrame({**make_arrays(1), "timestamp": pd.to_datetime([1])}),
        InputError,
        "timestamp is naive",
    ),
    "twice": (
        pd.DataFrame(np.zeros((1, 7)), columns=["timestamp", *PRICES, "close"]),
        InputError,
        "the frame has close more than once",
    ),
    "twice by other names": (
        pd.DataFrame({**make_arrays(1), "Close": [1.0]}).drop(columns="close").rename(columns={"volume": "Close"}),
        InputError,
        "lacks",
    ),
    "naive index": (
        capital(pd.DatetimeIndex(["2024-01-01", "2024-01-02"])),
        InputError,
        r"write_frame\(frame, tz=\.\.\.\)",
    ),
    "seconds by name": (
        pd.DataFrame(make_arrays(1)).rename(columns={"timestamp": "unix"}),
        InputError,
        "frame's unix may not be in milliseconds",
    ),
    "seven fields": (
        [[1, 1, 1, 1, 1, 1, 1]],
        InputError,
        "rows of a list must be timestamp, open, .* some have 7 fields",
    ),
    "other tickers": (
        two_levels(("Price", "Ticker"))[[(n.capitalize(), "AAPL") for n in PRICES]],
        InputError,
        "columns of AAPL, not of BTCUSDT",
    ),
    "naive arrow": (
        pa.table({**make_arrays(1), "timestamp": pa.array([1], pa.timestamp("ms"))}),
        InputError,
        "is naive",
    ),
}


@pytest.mark.parametrize("name", BAD)
async def test_bad_frame_is_refused_before_anything_is_stored(series: CandleAdapter, name: str) -> None:
    bad, kind, message = BAD[name]
    with pytest.raises(kind, match=f"^candle: .*{message}"):
        await series.write_frame(bad)
    assert (await series.coverage()).rows == 0


async def test_rows_that_cannot_be_stored_are_reported_by_reason_and_the_rest_is_stored(
    series: CandleAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(types, "now_ms", lambda: 10 * MINUTE)
    await series.write_candles_data(candles(1, first=2 * MINUTE, price=7.0))
    data = make_arrays(4, 1, 2, 1, 9, 10, 3, 6)
    data["high"][6] = float("nan")
    data["volume"][7] = float("inf")
    report = await series.write_frame(data)
    assert report == types.WriteReport(
        new=3,
        present=1,
        refused={
            "high is not a finite number": [6],
            "volume is not a finite number": [7],
            "it has not closed yet": [5],
            "a row before it has the same time": [3],
        },
    )
    found = to_lists(await series.read_frame(as_="numpy"))
    assert found["timestamp"] == [MINUTE, 2 * MINUTE, 4 * MINUTE, 9 * MINUTE]
    assert found["close"] == [1.3, candles(1, price=7.0)[0]["close"], 4.3, 9.3]


@pytest.mark.parametrize("library", [pl.DataFrame, pd.DataFrame, pa.table])
def test_nulls_are_rows_that_cannot_be_stored(library: Any) -> None:
    data: dict[str, list[Any]] = {name: column.tolist() for name, column in make_arrays(1, 2, 3, 4).items()}
    data["low"][1] = None
    made = library(data)
    _, refused = select_storable(read_columns(made), GRID, 10 * MINUTE)
    assert refused == {"low is not a finite number": [1]}
    data["timestamp"][2] = None
    made = library(data)
    if library is pd.DataFrame:
        made["timestamp"] = made["timestamp"].astype("Int64")
    kept, refused = select_storable(read_columns(made), GRID, 10 * MINUTE)
    assert refused == {"it has no time": [2], "low is not a finite number": [1]}
    assert kept.timestamp.tolist() == [MINUTE, 4 * MINUTE]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 12), st.sampled_from([1.0, 2.0, float("nan"), float("inf")])), max_size=20))
def test_what_is_stored_and_what_is_refused_are_the_frame(rows: list[tuple[int, float]]) -> None:
    data = make_arrays(*(place for place, _ in rows))
    data["open"] = np.array([price for _, price in rows], float)
    data["high"], data["low"] = np.full(len(rows), 20.0), np.zeros(len(rows))
    kept, refused = select_storable(CandleArrays(*data.values()), GRID, 10 * MINUTE)
    numbers = sorted(number for some in refused.values() for number in some)
    assert len(numbers) == len(set(numbers)) == len(rows) - len(kept)
    first: dict[int, float] = {}
    for place, price in rows:
        if price < 3 and place < 10:
            first.setdefault(place * MINUTE, price)
    assert dict(zip(kept.timestamp.tolist(), kept.open.tolist(), strict=True)) == dict(sorted(first.items()))


@pytest.mark.parametrize(
    ("tz", "message"),
    [
        ("Berlin", "tz 'Berlin' is not a time zone"),
        (1, "tz must be the name of a zone or a tzinfo, not int"),
        ("Europe/Berlin", "2024-10-27T02:30:00.000 in row 0 is skipped or repeated in Europe/Berlin"),
    ],
)
async def test_invalid_zone_is_refused(series: CandleAdapter, tz: Any, message: str) -> None:
    naive = capital(pd.DatetimeIndex(["2024-10-27 02:30", "2024-10-27 03:30"]))
    with pytest.raises(ValueError, match=f"^candle: .*{message}"):
        await series.write_frame(naive, tz)
    aware = capital(pd.DatetimeIndex(["2024-10-27 02:30", "2024-10-27 03:30"], tz="UTC"))
    with pytest.raises(InputError, match="tz is for naive times"):
        await series.write_frame(aware, "UTC")
    assert (await series.coverage()).rows == 0


async def test_frames_write_no_ids_to_redis(series: CandleAdapter, deployment: Deployment, unique: str) -> None:
    await series.write_frame(make_arrays(1))
    assert await deployment.cached(f"candle_cache:{unique}:BTCUSDT:1m:{MINUTE}") is None
    assert await series.read_candles_data(1, MINUTE) is not None
