"""Frames: what they look like, what they accept, and what the index tells of a series."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest_mongo import CandleAdapter, InputError, InputTypeError, persist, types
from backtest_mongo.arrays import CandleArrays
from backtest_mongo.frame_input import columns, storable
from backtest_mongo.frames import filled
from backtest_mongo.hub import current_hub
from backtest_mongo.types import PRICES, Gap
from tests.conftest import Deployment, operations
from tests.uniform import candles

pytestmark = pytest.mark.either_driver

MINUTE = 60_000
KINDS = ("polars", "pandas", "numpy", "arrow")
NAMES = ["timestamp", *PRICES]


@pytest.fixture
def series(deployment: Deployment, unique: str) -> CandleAdapter:
    return CandleAdapter("BTCUSDT", "1m", unique)


def arrays(*positions: int, step: int = MINUTE) -> dict[str, Any]:
    times = np.array(positions, np.int64) * step
    return {"timestamp": times, **{name: times / step + at / 10 for at, name in enumerate(PRICES)}}


def frame(kind: str, *positions: int) -> Any:
    """A frame of each kind, with one more column than is asked for."""
    data = {**arrays(*positions), "trades": np.zeros(len(positions))}
    times = data["timestamp"].view("datetime64[ms]")
    match kind:
        case "polars":
            return pl.DataFrame(data).with_columns(pl.col("timestamp").cast(pl.Datetime("ms", "UTC")))
        case "pandas":
            return pd.DataFrame({**data, "timestamp": pd.DatetimeIndex(times, tz="UTC")})
        case "arrow":
            return pa.table({**data, "timestamp": pa.array(times, pa.timestamp("ms", tz="UTC"))})
        case _:
            return {**data, "timestamp": times}


def plain(frame_: Any) -> dict[str, list[Any]]:
    """The columns of a frame of any kind, as lists: times as numbers, nulls and NaN as None."""
    if isinstance(frame_, pl.DataFrame):
        frame_ = {name: frame_[name].to_physical().fill_null(float("nan")).to_numpy() for name in frame_.columns}
    elif isinstance(frame_, pa.Table):
        frame_ = {name: frame_[name].to_numpy() for name in frame_.column_names}
    elif isinstance(frame_, pd.DataFrame):
        frame_ = {name: frame_[name].to_numpy() for name in frame_.columns}
        frame_["timestamp"] = np.array([time.value // 10**6 for time in frame_["timestamp"]])
    times = np.asarray(frame_["timestamp"])
    found = {
        "timestamp": times.astype("datetime64[ms]").astype(int).tolist() if times.dtype.kind == "M" else times.tolist()
    }
    return found | {name: [None if x != x else x for x in frame_[name].tolist()] for name in list(frame_)[1:]}


# Reading


@pytest.mark.parametrize("kind", KINDS)
async def test_frame_has_the_six_columns_typed_and_in_the_order_of_time(series: CandleAdapter, kind: Any) -> None:
    await series.write_frame(arrays(3, 1, 2, 5))
    found = await series.read_frame(as_=kind)
    assert plain(found) == {name: column.tolist() for name, column in arrays(1, 2, 3, 5).items()}
    match found:
        case pl.DataFrame():
            assert found.schema == {"timestamp": pl.Datetime("ms", "UTC"), **dict.fromkeys(PRICES, pl.Float64)}
        case pd.DataFrame():
            assert str(found.dtypes["timestamp"]) == "datetime64[ms, UTC]"
            assert set(map(str, found.dtypes[list(PRICES)])) == {"float64"}
        case pa.Table():
            assert found.schema.field("timestamp").type == pa.timestamp("ms", tz="UTC")
        case _:
            assert {str(column.dtype) for column in found.values()} == {"datetime64[ms]", "float64"}


@pytest.mark.parametrize("kind", KINDS)
async def test_frame_of_nothing_has_its_columns(series: CandleAdapter, kind: Any) -> None:
    for arguments in ((), (0, 5 * MINUTE), (5, 5)):
        found = plain(await series.read_frame(*arguments, as_=kind))
        assert found == {name: [] for name in NAMES}
    await series.write_frame(arrays(1))
    assert plain(await series.read_frame(0, MINUTE, as_=kind))["open"] == []


async def test_range_is_half_open_and_takes_aware_datetimes(series: CandleAdapter) -> None:
    await series.write_frame(arrays(*range(10)))
    expected = {name: column.tolist() for name, column in arrays(3, 4, 5).items()}
    for start, end in (
        (3 * MINUTE, 6 * MINUTE),
        (2 * MINUTE + 1, 5 * MINUTE + 1),
        (datetime(1970, 1, 1, 0, 3, tzinfo=UTC), datetime(1970, 1, 1, 0, 6, tzinfo=UTC)),
    ):
        assert plain(await series.read_frame(start, end, as_="numpy")) == expected
    assert len((await series.read_frame(7 * MINUTE, as_="numpy"))["open"]) == 3
    assert len((await series.read_frame(end=7 * MINUTE, as_="numpy"))["open"]) == 7


@pytest.mark.parametrize("kind", KINDS)
async def test_fill_chooses_what_stands_in_a_gap(series: CandleAdapter, kind: Any) -> None:
    await series.write_frame(arrays(2, 5))
    gone = plain(await series.read_frame(MINUTE, 7 * MINUTE, kind))
    null = plain(await series.read_frame(MINUTE, 7 * MINUTE, kind, "null"))
    forward = plain(await series.read_frame(MINUTE, 7 * MINUTE, kind, "forward"))
    assert gone["close"] == [2.3, 5.3]
    assert null["timestamp"] == forward["timestamp"] == [position * MINUTE for position in range(1, 7)]
    assert null["close"] == [None, 2.3, None, None, 5.3, None]
    assert forward["close"] == [None, 2.3, 2.3, 2.3, 5.3, 5.3]
    assert forward["open"] == [None, 2.0, 2.3, 2.3, 5.0, 5.3]
    assert forward["volume"] == [None, 2.4, 0.0, 0.0, 5.4, 0.0]
    inner = plain(await series.read_frame(as_=kind, fill="null"))
    assert inner["close"] == [2.3, None, None, 5.3]


@given(
    st.lists(st.integers(0, 30), unique=True, max_size=12).map(sorted),
    st.none() | st.integers(-3, 15),
    st.none() | st.integers(16, 34),
    st.sampled_from(["null", "forward"]),
)
def test_filling_is_what_one_would_do_by_hand(
    positions: list[int], first: int | None, end: int | None, how: Any
) -> None:
    inside = [p for p in positions if (first is None or p >= first) and (end is None or p < end)]
    data = arrays(*inside)
    candles_ = CandleArrays(*data.values())
    lowest, highest = (None if place is None else place * MINUTE for place in (first, end))
    whole, missing = filled(candles_, MINUTE, lowest, highest, how)
    start = first if first is not None else inside[0] if inside else None
    stop = end if end is not None else inside[-1] + 1 if inside else None
    expected: list[tuple[Any, ...]] = []
    last = None
    for place in range(start, stop) if start is not None and stop is not None else ():
        if place in inside:
            last = [place + at / 10 for at in range(5)]
            expected.append((place * MINUTE, *last))
        elif how == "forward" and last is not None:
            expected.append((place * MINUTE, *([last[3]] * 4), 0.0))
            last = list(expected[-1][1:])
        else:
            expected.append((place * MINUTE, *([None] * 5)))
    found = plain({"timestamp": whole.timestamp, **dict(zip(PRICES, whole.prices, strict=True))})
    assert list(zip(*found.values(), strict=True)) == expected
    assert (missing is not None) == any(row[1] is None for row in expected)


async def test_fill_of_endless_range_is_refused(series: CandleAdapter) -> None:
    await series.write_frame(arrays(1))
    with pytest.raises(InputError, match=r"fill='null' would make 153,\d{3},\d{3},\d{3},\d{3} rows"):
        await series.read_frame(0, 2**63 - 1, "numpy", "null")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"as_": "xarray"}, "as_ must be one of polars, pandas, numpy, arrow, not 'xarray'"),
        ({"as_": "numpy", "fill": "zero"}, "fill must be None, null or forward, not 'zero'"),
        ({"start": 5, "end": 4}, "start must not come after end: 5 is later than 4"),
        ({"start": datetime(2024, 1, 1)}, "start must not be a naive datetime"),
        ({"end": 1.5}, "end must be milliseconds"),
    ],
)
async def test_bad_arguments_are_refused(series: CandleAdapter, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^candle: {message}"):
        await series.read_frame(**arguments)


@pytest.mark.parametrize(("kind", "library"), [("polars", "polars"), ("arrow", "pyarrow"), ("pandas", "pandas")])
async def test_missing_library_is_told_with_what_to_install(
    series: CandleAdapter, monkeypatch: pytest.MonkeyPatch, kind: Any, library: str
) -> None:
    from importlib import util

    find = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == library else find(name))
    with pytest.raises(InputError, match=rf"needs {library}, which is not installed \(pip install .*\[frames\]"):
        await series.read_frame(as_=kind)


# Writing


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_of_frame_is_stored_and_read_back_equal(series: CandleAdapter, kind: str) -> None:
    report = await series.write_frame(frame(kind, *range(1000)))
    assert report == types.WriteReport(1000, 0, {})
    assert plain(await series.read_frame(as_="numpy")) == {k: v.tolist() for k, v in arrays(*range(1000)).items()}
    read = await series.read_frame(as_=kind)  # type: ignore[call-overload]
    assert await series.write_frame(read) == types.WriteReport(0, 1000, {})


VARIANTS: dict[str, Any] = {
    "structured array": lambda: np.array(
        list(zip(*arrays(1, 2).values(), strict=True)), [("timestamp", "i8"), *((name, "f8") for name in PRICES)]
    ),
    "lists": lambda: {name: column.tolist() for name, column in arrays(1, 2).items()},
    "integers": lambda: {**arrays(1, 2), "open": np.array([1, 2], np.int32), "volume": np.array([1, 2], np.uint8)},
    "float32": lambda: {**arrays(1, 2), "open": np.array([1, 2], np.float32)},
    "times in nanoseconds": lambda: {**arrays(1, 2), "timestamp": np.array([60, 120], "M8[s]").astype("M8[ns]")},
    "pandas with times as its index": lambda: pd.DataFrame(arrays(1, 2)).set_index(
        pd.DatetimeIndex(np.array([60, 120], "M8[s]"), tz="UTC").tz_convert("Asia/Tokyo")
    )[list(PRICES)],
    "pandas, nullable": lambda: pd.DataFrame(arrays(1, 2)).convert_dtypes(),
    "pandas on arrow": lambda: pd.DataFrame(arrays(1, 2)).convert_dtypes(dtype_backend="pyarrow"),
    "pandas, milliseconds": lambda: pd.DataFrame(arrays(1, 2)),
    "polars, milliseconds": lambda: pl.DataFrame(arrays(1, 2)),
    "polars in another zone": lambda: pl.DataFrame(arrays(1, 2)).with_columns(
        pl.col("timestamp").cast(pl.Datetime("ms", "UTC")).dt.convert_time_zone("Asia/Tokyo").dt.cast_time_unit("us")
    ),
    "arrow in chunks": lambda: pa.concat_tables([pa.table(arrays(1)), pa.table(arrays(2))]),
    "arrow batch": lambda: pa.RecordBatch.from_pydict({name: pa.array(col) for name, col in arrays(1, 2).items()}),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variant_of_a_frame_is_understood(name: str) -> None:
    found = columns(VARIANTS[name]())
    assert found.timestamp.tolist() == [MINUTE, 2 * MINUTE]
    assert found.close.tolist() == [1.3, 2.3]
    assert {column.dtype for column in found.prices} == {np.dtype(np.float64)}


BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "no frame": ([1], InputTypeError, "a frame must be a polars or pandas DataFrame, .* not list"),
    "none": (None, InputTypeError, "not NoneType"),
    "lazy": (pl.LazyFrame(arrays(1)), InputTypeError, "not LazyFrame"),
    "missing": (
        {"timestamp": [1], "open": [1]},
        InputError,
        "lacks high, low, close, volume; its columns are timestamp, open",
    ),
    "lengths": ({**arrays(1, 2), "low": np.zeros(3)}, InputError, "differ in length"),
    "text": ({**arrays(1), "low": ["1.0"]}, InputTypeError, "low must hold numbers, not <U3"),
    "bool": ({**arrays(1), "low": [True]}, InputTypeError, "low must hold numbers, not bool"),
    "float times": ({**arrays(1), "timestamp": [1.5]}, InputTypeError, "timestamp must be milliseconds"),
    "naive polars": (
        pl.DataFrame(arrays(1)).with_columns(pl.col("timestamp").cast(pl.Datetime("ms"))),
        InputError,
        "timestamp is naive",
    ),
    "naive pandas": (pd.DataFrame({**arrays(1), "timestamp": pd.to_datetime([1])}), InputError, "timestamp is naive"),
    "naive arrow": (pa.table({**arrays(1), "timestamp": pa.array([1], pa.timestamp("ms"))}), InputError, "is naive"),
}


@pytest.mark.parametrize("name", BAD)
async def test_bad_frame_is_refused_before_anything_is_stored(series: CandleAdapter, name: str) -> None:
    bad, kind, message = BAD[name]
    with pytest.raises(kind, match=f"^candle: .*{message}"):
        await series.write_frame(bad)
    assert (await series.coverage()).rows == 0


async def test_rows_that_cannot_be_stored_are_reported_by_reason_and_the_rest_goes_in(
    series: CandleAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(types, "now_ms", lambda: 10 * MINUTE)
    await series.write_candles_data(candles(1, first=2 * MINUTE, price=7.0))
    data = arrays(4, 1, 2, 1, 9, 10, 3, 6)
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
    found = plain(await series.read_frame(as_="numpy"))
    assert found["timestamp"] == [MINUTE, 2 * MINUTE, 4 * MINUTE, 9 * MINUTE]
    assert found["close"] == [1.3, candles(1, price=7.0)[0]["close"], 4.3, 9.3]


@pytest.mark.parametrize("library", [pl.DataFrame, pd.DataFrame, pa.table])
def test_nulls_are_rows_that_cannot_be_stored(library: Any) -> None:
    data: dict[str, list[Any]] = {name: column.tolist() for name, column in arrays(1, 2, 3, 4).items()}
    data["low"][1] = None
    made = library(data)
    _, refused = storable(columns(made), MINUTE, 10 * MINUTE)
    assert refused == {"low is not a finite number": [1]}
    data["timestamp"][2] = None
    made = library(data)
    if library is pd.DataFrame:
        made["timestamp"] = made["timestamp"].astype("Int64")
    kept, refused = storable(columns(made), MINUTE, 10 * MINUTE)
    assert refused == {"it has no time": [2], "low is not a finite number": [1]}
    assert kept.timestamp.tolist() == [MINUTE, 4 * MINUTE]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 12), st.sampled_from([1.0, 2.0, float("nan"), float("inf")])), max_size=20))
def test_what_is_stored_and_what_is_refused_are_the_frame(rows: list[tuple[int, float]]) -> None:
    data = arrays(*(place for place, _ in rows))
    data["open"] = np.array([price for _, price in rows], float)
    kept, refused = storable(CandleArrays(*data.values()), MINUTE, 10 * MINUTE)
    numbers = sorted(number for some in refused.values() for number in some)
    assert len(numbers) == len(set(numbers)) == len(rows) - len(kept)
    first: dict[int, float] = {}
    for place, price in rows:
        if price < 3 and place < 10:
            first.setdefault(place * MINUTE, price)
    assert dict(zip(kept.timestamp.tolist(), kept.open.tolist(), strict=True)) == dict(sorted(first.items()))


async def test_frames_write_no_ids_to_redis(series: CandleAdapter, deployment: Deployment, unique: str) -> None:
    await series.write_frame(arrays(1))
    assert await deployment.cached(f"candle_cache:{unique}:BTCUSDT:1m:{MINUTE}") is None
    assert await series.read_candles_data(1, MINUTE) is not None


# What is there


async def test_coverage_and_gaps_tell_what_is_still_to_be_fetched(
    series: CandleAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(types, "now_ms", lambda: 20 * MINUTE)
    assert await series.coverage() == types.Coverage(None, None, 0)
    assert await series.gaps() == []
    assert await series.gaps(5 * MINUTE) == [Gap(5 * MINUTE, 20 * MINUTE, 15)]
    await series.write_frame(arrays(3, 4, 8, 15))
    assert await series.coverage() == types.Coverage(3 * MINUTE, 15 * MINUTE, 4)
    inner = [Gap(5 * MINUTE, 8 * MINUTE, 3), Gap(9 * MINUTE, 15 * MINUTE, 6)]
    assert await series.gaps() == [*inner, Gap(16 * MINUTE, 20 * MINUTE, 4)]
    assert await series.gaps(0, 16 * MINUTE) == [Gap(0, 3 * MINUTE, 3), *inner]
    assert await series.gaps(datetime(1970, 1, 1, 0, 6, tzinfo=UTC), 7 * MINUTE + 1) == [Gap(6 * MINUTE, 8 * MINUTE, 2)]
    assert await series.gaps(3 * MINUTE, 5 * MINUTE) == []
    assert await series.gaps(30 * MINUTE) == []
    assert await series.gaps(-2 * MINUTE, 0) == [Gap(-2 * MINUTE, 0, 2)]


async def test_gaps_of_a_long_series_are_found_over_the_edges_of_its_queries(
    series: CandleAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backtest_mongo import series_index

    monkeypatch.setattr(series_index, "_PLACES", 4)
    stored = [0, 1, 3, 4, 7, 8, 9, 10, 11, 12, 30, 31]
    await series.write_frame(arrays(*stored))
    gaps = await series.gaps(0, 34 * MINUTE)
    assert [t // MINUTE for gap in gaps for t in range(gap.start, gap.end, MINUTE)] == sorted({*range(34)} - {*stored})
    assert await series.coverage() == types.Coverage(0, 31 * MINUTE, 12)


async def test_index_alone_answers_and_by_one_query(
    series: CandleAdapter, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    await series.write_frame(arrays(*range(500), *range(600, 1000)))
    database = current_hub().database
    await database.command("profile", 2)
    try:
        assert (await series.coverage()).rows == 900
        assert len(await series.gaps(end=1000 * MINUTE)) == 1
    finally:
        await database.command("profile", 0)
    ran = await database["system.profile"].find({"ns": f"{deployment.name}.candle-items"}).to_list(None)
    assert ran
    assert sum(query["docsExamined"] for query in ran) == 0
    # And the two ends of the series, which bound what is looked through.
    assert [query["keysExamined"] for query in ran] == [900, 1, 1, 900]


async def test_what_is_sealed_is_not_looked_through(series: CandleAdapter, deployment: Deployment) -> None:
    stored = [*range(4096), *range(4200, 8192), *range(8192, 12288), *range(12290, 12300)]
    await series.write_frame(arrays(*stored))
    await series.seal()
    database = current_hub().database
    await database.command("profile", 2)
    try:
        assert await series.coverage() == types.Coverage(0, 12299 * MINUTE, len(stored))
        gaps = await series.gaps(0, 12301 * MINUTE)
        assert [(gap.start // MINUTE, gap.rows) for gap in gaps] == [(4096, 104), (12288, 2), (12300, 1)]
    finally:
        await database.command("profile", 0)
    ran = await database["system.profile"].find({"ns": {"$regex": "candle-"}}).to_list(None)
    assert sum(query["docsExamined"] for query in ran) == 0
    assert sum(query["keysExamined"] for query in ran) < 5000  # of 12,194: a block with gaps is, and the open one


async def test_series_are_listed_in_order(deployment: Deployment, unique: str) -> None:
    contexts = [("ETHUSDT", "1h", unique), ("BTCUSDT", "1m", unique), ("BTCUSDT", "1h", f"{unique}2")]
    for context in contexts:
        await CandleAdapter(*context).write_candles_data(candles(3))
    rows = await deployment.collection(CandleAdapter.spec)
    for symbol, interval in (("BTCUSDT", "1w"), ("", "1m")):  # which no adapter takes
        await rows.insert_one({"exchangeName": unique, "symbol": symbol, "interval": interval, "timestamp": 0})
    found = [tuple(adapter.context.values()) async for adapter in CandleAdapter.list_series()]
    assert found == [contexts[1], contexts[0], contexts[2]]


async def test_reading_a_sealed_day_takes_one_query(series: CandleAdapter) -> None:
    await series.write_frame(arrays(*range(8192)))
    before = await operations()
    assert len((await series.read_frame(0, 1440 * MINUTE, as_="numpy"))["open"]) == 1440
    assert await operations() - before == {"query": 1}


async def test_dummy_has_no_candles_and_needs_no_server() -> None:
    persist.use_dummy()
    series: Any = persist.candle("BTCUSDT", "1m", "binance")
    assert (await series.read_frame()).shape == (0, 6)
    assert await series.write_frame(arrays(1)) == types.WriteReport(0, 1, {})
    assert await series.coverage() == types.Coverage(None, None, 0)
    assert await series.gaps(0, MINUTE) == [Gap(0, MINUTE, 1)]
    assert await series.seal() == types.SealReport(0, 0)
    assert (await series.verify()).damaged == {}


LIBRARIES = "print(*sorted({'numpy', 'polars', 'pandas', 'pyarrow', 'pcodec'} & set(sys.modules)))"


def run(code: str, **variables: str) -> str:
    environment = {**os.environ, **variables}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return done.stdout.strip()


def test_importing_the_package_imports_no_library_of_arrays() -> None:
    assert run(f"import backtest_mongo, sys; {LIBRARIES}") == ""


async def test_small_writes_and_reads_import_no_library_of_arrays(deployment: Deployment, unique: str) -> None:
    code = f"""
import asyncio, sys, backtest_mongo
async def main():
    async with backtest_mongo.setup():
        series = backtest_mongo.CandleAdapter("BTCUSDT", "1m", "{unique}")
        assert await series.write_candles_data({candles(3)!r}) == 3
        assert await series.read_candles_data(3, 0) == {candles(3)!r}
asyncio.run(main())
{LIBRARIES}
"""
    assert await asyncio.to_thread(run, code, **{name: str(value) for name, value in deployment.config.items()}) == ""
