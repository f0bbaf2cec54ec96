"""What can't be a candle is never stored: refused with reason and place, at every door that candles come in by."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest_mongo import CandleAdapter, InputError, import_dump, persist
from backtest_mongo.core.candle_rules import END, START, explain_problem, explain_spacing, find_impossible_rows
from backtest_mongo.types import INTERVAL_MS, INTERVALS, PRICES, Coverage, WriteReport
from tests.conftest import Deployment
from tests.support import uniform

pytestmark = [pytest.mark.either_driver, pytest.mark.files, pytest.mark.two_pythons]

MINUTE = 60_000
FIELDS = ("timestamp", *PRICES)


def series(unique: str, interval: str = "1m") -> CandleAdapter:
    return cast("CandleAdapter", uniform.ADAPTERS["candle"]("BTCUSDT", interval, unique))


def candle(place: int = 0, **changes: Any) -> Any:
    row = {"timestamp": place * MINUTE, "open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 1.0}
    return {**row, **changes}


def frame(rows: list[dict[str, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    return {name: np.array([row[name] for row in rows]) for name in FIELDS}


#: What can't be, the reason of a row of a frame, and what the error of a list says.
IMPOSSIBLE: dict[str, tuple[dict[str, Any], str, str]] = {
    "high below low": ({"high": 8.0}, "high is below low", "high is below low: low 9.0, high 8.0"),
    "open above": ({"open": 12.1}, "open is above high", "open is above high: open 12.1, high 12.0"),
    "open below": ({"open": 8.9}, "open is below low", "open is below low: low 9.0, open 8.9"),
    "close above": ({"close": 12.1}, "close is above high", "close is above high: close 12.1, high 12.0"),
    "close below": ({"close": 8.9}, "close is below low", "close is below low: low 9.0, close 8.9"),
    "just above": ({"close": 12.0 * (1 + 2e-9)}, "close is above high", "close is above high"),
    "negative volume": ({"volume": -0.5}, "volume is negative", "volume is negative: -0.5"),
    "year 0": (
        {"timestamp": START - 1},
        "its time is outside of the years 1 to 9999",
        "its time is outside of the years 1 to 9999: -62135596800001 ms",
    ),
    "year 10000": ({"timestamp": END}, "its time is outside of the years 1 to 9999", "253402300800000 ms"),
    "nanoseconds": ({"timestamp": 1_700_000_000_000_000_000}, "its time is outside of the years 1 to 9999", "ms"),
    "ends": ({"open": 1.7e308, "low": -1.7e308, "high": -1.6e308}, "open is above high", "open is above high"),
}


@pytest.mark.parametrize("count", [4, 700])
@pytest.mark.parametrize("name", IMPOSSIBLE)
async def test_list_with_an_impossible_candle_is_refused_as_a_whole_with_its_index(
    deployment: Deployment, unique: str, name: str, count: int
) -> None:
    changes, _, message = IMPOSSIBLE[name]
    rows = [candle(place) for place in range(count)]
    rows[count - 2] |= changes
    with pytest.raises(InputError, match=rf"^candle: candles\[{count - 2}\] can't be a candle: ") as caught:
        await series(unique).write_candles_data(rows)
    assert message in str(caught.value)
    assert await series(unique).coverage() == Coverage(None, None, 0)


@pytest.mark.parametrize("kind", ["numpy", "polars", "pandas", "arrow"])
async def test_impossible_candle_of_a_frame_is_refused_with_its_row_number(
    deployment: Deployment, unique: str, kind: str
) -> None:
    rows = [candle(place) for place in range(30)]
    expected: dict[str, list[int]] = {}
    for at, (changes, reason, _) in enumerate(IMPOSSIBLE.values()):
        rows[2 * at + 1] |= changes
        expected.setdefault(reason, []).append(2 * at + 1)
    make: Any = {"numpy": dict, "polars": pl.DataFrame, "pandas": pd.DataFrame, "arrow": pa.table}[kind]
    report = await series(unique).write_frame(make(frame(rows)))
    assert report == WriteReport(30 - len(IMPOSSIBLE), 0, expected)
    assert (await series(unique).coverage()).rows == 30 - len(IMPOSSIBLE)


GOOD: dict[str, dict[str, Any]] = {
    "flat": dict.fromkeys(("open", "high", "low", "close"), 5.0),
    "no volume": {"volume": 0.0},
    "adjusted": {"open": 12.0 * (1 + 9e-10), "close": 9.0 * (1 - 9e-10)},
    "adjusted, flat": {"open": 0.1 + 0.2, "high": 0.3, "low": 0.1 + 0.2, "close": 0.3},
    "below zero": {"open": -37.0, "high": -36.0, "low": -40.0, "close": -40.0 * (1 + 9e-10)},
    "zero": {**dict.fromkeys(("open", "high", "low", "close"), 0.0)},
    "tiny": {"open": 2e-308, "high": 3e-308, "low": 1e-308, "close": 2e-308},
    "huge": dict.fromkeys(PRICES, 1.7e308),
    "first year": {"timestamp": START},
    "whole numbers": {"open": 10, "high": 12, "low": 9, "close": 11, "volume": 0},
}


@pytest.mark.parametrize("name", GOOD)
async def test_possible_candle_is_stored(deployment: Deployment, unique: str, name: str) -> None:
    row = candle(**GOOD[name])
    assert await series(unique).write_candles_data([row]) == 1
    assert await series(f"{unique}-2").write_frame(frame([row])) == WriteReport(1, 0, {})
    assert await series(unique).read_candles_data(1, row["timestamp"]) == [row]


# Masked, missing, twice


def masked(values: Any, *places: int) -> Any:
    return np.ma.array(values, mask=np.isin(np.arange(len(values)), places))


MASKED: dict[str, Callable[[Any], Any]] = {
    "column": lambda rows: {**frame(rows), "close": masked(frame(rows)["close"], 1, 2)},
    "whole numbers": lambda rows: {**frame(rows), "close": masked(np.array([11, 11, 11, 11]), 1, 2)},
    "list": lambda rows: {**frame(rows), "close": [11.0, np.ma.masked, np.ma.masked, 11.0]},
    "structured": lambda rows: np.ma.array(
        np.array([tuple(row.values()) for row in rows], [("timestamp", "i8"), *((name, "f8") for name in PRICES)]),
        mask=cast("Any", [(0, 0, 0, 0, place in (1, 2), 0) for place in range(4)]),
    ),
    "lists": lambda rows: [
        [np.ma.masked if name == "close" and place in (1, 2) else value for name, value in row.items()]
        for place, row in enumerate(rows)
    ],
    "pandas": lambda rows: pd.DataFrame(frame(rows)).assign(close=pd.array([11, None, None, 11], "Int64")),
    "polars": lambda rows: pl.DataFrame(frame(rows)).with_columns(close=pl.Series([11, None, None, 11])),
    "arrow": lambda rows: pa.table({**cast("Any", frame(rows)), "close": pa.array([11, None, None, 11])}),
}


@pytest.mark.parametrize("name", MASKED)
async def test_masked_number_counts_as_missing(deployment: Deployment, unique: str, name: str) -> None:
    rows = [candle(place) for place in range(4)]
    report = await series(unique).write_frame(MASKED[name](rows))
    assert report == WriteReport(2, 0, {"close is not a finite number": [1, 2]})


@pytest.mark.parametrize("kind", ["M8[ms]", "i8", "list"])
async def test_masked_time_counts_as_missing(deployment: Deployment, unique: str, kind: str) -> None:
    rows = [candle(place) for place in range(4)]
    times: Any = (
        masked(frame(rows)["timestamp"].astype(kind), 2) if kind != "list" else [0, MINUTE, np.ma.masked, 180_000]
    )
    assert await series(unique).write_frame({**frame(rows), "timestamp": times}) == WriteReport(
        3, 0, {"it has no time": [2]}
    )


@pytest.mark.parametrize("value", [np.ma.masked, pd.NA, pd.NaT, None, math.nan, -math.inf])
@pytest.mark.parametrize("name", FIELDS)
async def test_value_of_none_refuses_the_whole_list(deployment: Deployment, unique: str, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^candle: candles\[1\]\.{name} "):
        await series(unique).write_candles_data([candle(), candle(1, **{name: value})])
    assert (await series(unique).coverage()).rows == 0


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("library", ["pandas", "arrow"])
async def test_duplicate_column_refuses_the_frame(deployment: Deployment, unique: str, name: str, library: str) -> None:
    columns = [(key, values) for key, values in frame([candle(), candle(1)]).items()]
    columns.append((name, dict(columns)[name] + 1))
    names, values = [key for key, _ in columns], [pa.array(column) for _, column in columns]
    table = pa.Table.from_arrays(values, names=names)
    both = pd.concat([pd.Series(column, name=key) for key, column in columns], axis=1)
    with pytest.raises(InputError, match=f"^candle: the frame has {name} more than once"):
        await series(unique).write_frame(table if library == "arrow" else both)


# Batches


@pytest.mark.parametrize("count", [2, 3, 900])
@pytest.mark.parametrize("interval", INTERVALS)
async def test_batch_of_another_unit_or_interval_is_refused(
    deployment: Deployment, unique: str, interval: str, count: int
) -> None:
    step = INTERVAL_MS.get(interval, 28 * 86_400_000)
    start = 1_700_000_000
    seconds = [candle(timestamp=start + place * max(1, step // 1000)) for place in range(count)]
    close = [candle(timestamp=1000 * start + place * (step // 2 - 1)) for place in range(count)]
    here = series(unique, interval)
    for rows in (seconds, close, [*close[::-1], *close]):
        with pytest.raises(
            InputError, match=rf"^candle: candles can't be of {interval}: the median distance of its times"
        ):
            await here.write_candles_data(rows)
        with pytest.raises(InputError, match=rf"^candle: the frame can't be of {interval}: .*were seconds given"):
            await here.write_frame(frame(rows))
    assert await here.coverage() == Coverage(None, None, 0)
    half = [candle(timestamp=place * (-step // 2)) for place in range(count)]
    assert await here.write_candles_data(half) == count


async def test_repeated_or_stray_rows_do_not_make_another_interval(deployment: Deployment, unique: str) -> None:
    rows = [candle(place) for place in (0, 1, 2, 3, 4)]
    stray = [candle(timestamp=2 * MINUTE + 1), candle(timestamp=3 * MINUTE + 1)]
    assert await series(unique).write_candles_data([*rows, *rows, *stray]) == 7
    assert await series(f"{unique}-2").write_candles_data([candle(), candle()]) == 1


@given(
    times=st.lists(st.integers(-10, 400), max_size=30),
    interval=st.sampled_from(["1s", "1m"]),
    unit=st.sampled_from([100, 7_000]),
)
def test_density_is_judged_by_the_median(times: list[int], interval: str, unit: int) -> None:
    given_ = [time * unit for time in times]
    distances = np.diff(sorted({*given_}))
    is_dense = len(distances) > 0 and np.median(distances) < INTERVAL_MS[interval] / 2
    assert (explain_spacing(given_, interval) is not None) == is_dense
    assert (explain_spacing(np.array(given_, np.int64), interval) is not None) == is_dense


numbers = st.sampled_from([0.0, -1.0, 1.0, 1.0 + 5e-10, 1.0 + 5e-9, 2.0, 1e300, -1e300])


@given(st.lists(st.tuples(*[numbers] * 5), max_size=20))
def test_rows_and_columns_follow_the_same_rules(rows: list[tuple[float, ...]]) -> None:
    candles = [dict(zip(FIELDS, (0, *row), strict=True)) for row in rows]
    columns = {
        name: np.array([row[name] for row in candles], np.int64 if name == "timestamp" else float) for name in FIELDS
    }
    by_row = {row: reason for reason, found in find_impossible_rows(columns).items() for row in found.tolist()}
    for at, row in enumerate(candles):
        problem = explain_problem(row)
        assert (problem is None) == (at not in by_row)
        assert problem is None or problem.startswith(by_row[at])


# Other doors


async def test_dummy_checks_its_input_too() -> None:
    persist.use_dummy()
    nothing: Any = persist.candle("BTCUSDT", "1m", "binance")
    with pytest.raises(InputError, match=r"candles\[0\] can't be a candle: high is below low"):
        await nothing.write_candles_data([candle(high=1.0)])
    assert (await nothing.write_frame(frame([candle(high=1.0)]))).refused == {"high is below low": [0]}


@pytest.mark.mongodb("it is what comes out of files")
async def test_impossible_candle_of_a_dump_is_left_out_and_reported(
    deployment: Deployment, unique: str, tmp_path: Path
) -> None:
    directory = tmp_path / "data" / "candle" / unique / "BTCUSDT" / "1m"
    directory.mkdir(parents=True)
    for place, changes in enumerate([{}, {"high": 1.0}, {"volume": -1.0}]):
        row = candle(place, **cast("Any", changes))
        (directory / f"{row['timestamp']}.json").write_text(json.dumps(row))
    report = await import_dump(tmp_path, apply=True)
    assert sorted(problem.problem for problem in report.problems) == [
        "it can't be a candle: high is below low: low 9.0, high 1.0",
        "it can't be a candle: volume is negative: -1.0",
    ]
    assert (await series(unique).coverage()).rows == 1


# What is stored already


@pytest.mark.mongodb("another program writes into MongoDB")
@pytest.mark.parametrize("time", [2**62, -(2**62), END, START - 1, 9e17])
async def test_time_beyond_dates_does_not_break_coverage_and_gaps_of_any_series(
    deployment: Deployment, unique: str, time: Any
) -> None:
    from rich.console import Console

    from backtest_mongo.cli.candles.coverage import coverage_to_json, measure_coverage, print_coverage
    from backtest_mongo.cli.candles.series_filter import SeriesFilter

    rows = [candle(place) for place in range(5)]
    await series(unique).write_candles_data(rows)
    await series(f"{unique}-2").write_candles_data(rows)
    key = {"exchangeName": unique, "symbol": "BTCUSDT", "interval": "1m"}
    await (await deployment.collection(CandleAdapter.spec)).insert_one({**key, **candle(timestamp=time)})
    ends = sorted([0, 4 * MINUTE, int(time)])
    assert await series(unique).coverage() == Coverage(ends[0], ends[-1], 6)
    (gap,) = await series(unique).gaps(end=ends[-1] + 1 if time > 0 else 5 * MINUTE)
    assert gap.start in (5 * MINUTE, int(time) + MINUTE)
    assert gap.end in (0, int(time)) or time > 0
    found = await measure_coverage(SeriesFilter(None, None, None))
    assert [one.coverage.rows for one in found] == [6, 5]
    console = Console(width=120, record=True)
    print_coverage(console, found, 5)
    assert f"{int(time)} ms" in console.export_text().replace("\n", "")
    assert coverage_to_json(found)["series"][0]["rows"] == 6
    assert (await series(unique).read_candles_data(5, 0)) == rows


async def test_file_with_a_time_beyond_dates_does_not_break_the_series(tmp_path: Path) -> None:
    persist.use_files(tmp_path)
    here: Any = persist.candle("BTCUSDT", "1m", "binance")
    rows = [candle(place) for place in range(5)]
    await here.write_candles_data(rows)
    directory = tmp_path / "data" / "candle" / "binance" / "BTCUSDT" / "1m"
    for time in (2**62 - 1, 10**30):
        (directory / f"{time}.json").write_text(json.dumps(candle(timestamp=time)))
    assert await here.coverage() == Coverage(0, 2**62 - 1, 6)
    assert [gap.start for gap in await here.gaps(end=6 * MINUTE)] == [5 * MINUTE]
    assert (await here.read_frame(as_="numpy"))["timestamp"].astype(int).tolist() == [
        *range(0, 5 * MINUTE, MINUTE),
        2**62 - 1,
    ]
    assert await here.read_candles_data(5, 0) == rows
