"""Reading frames: every kind, ranges, filled gaps, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest_mongo import CandleAdapter, InputError, persist, types
from backtest_mongo.core.arrays import CandleArrays
from backtest_mongo.core.frames import fill_gaps
from backtest_mongo.types import PRICES, Gap
from tests.conftest import operations
from tests.support.frames import GRID, KINDS, MINUTE, NAMES, OFFSETS, make_arrays, to_lists

pytestmark = pytest.mark.either_driver


@pytest.mark.parametrize("kind", KINDS)
async def test_frame_has_the_six_columns_typed_and_in_the_order_of_time(series: CandleAdapter, kind: Any) -> None:
    await series.write_frame(make_arrays(3, 1, 2, 5))
    found = await series.read_frame(as_=kind)
    assert to_lists(found) == {name: column.tolist() for name, column in make_arrays(1, 2, 3, 5).items()}
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
        found = to_lists(await series.read_frame(*arguments, as_=kind))
        assert found == {name: [] for name in NAMES}
    await series.write_frame(make_arrays(1))
    assert to_lists(await series.read_frame(0, MINUTE, as_=kind))["open"] == []


async def test_range_is_half_open_and_takes_aware_datetimes(series: CandleAdapter) -> None:
    await series.write_frame(make_arrays(*range(10)))
    expected = {name: column.tolist() for name, column in make_arrays(3, 4, 5).items()}
    for start, end in (
        (3 * MINUTE, 6 * MINUTE),
        (2 * MINUTE + 1, 5 * MINUTE + 1),
        (datetime(1970, 1, 1, 0, 3, tzinfo=UTC), datetime(1970, 1, 1, 0, 6, tzinfo=UTC)),
    ):
        assert to_lists(await series.read_frame(start, end, as_="numpy")) == expected
    assert len((await series.read_frame(7 * MINUTE, as_="numpy"))["open"]) == 3
    assert len((await series.read_frame(end=7 * MINUTE, as_="numpy"))["open"]) == 7


@pytest.mark.parametrize("kind", KINDS)
async def test_fill_chooses_what_takes_the_place_of_missing_candles(series: CandleAdapter, kind: Any) -> None:
    await series.write_frame(make_arrays(2, 5))
    gone = to_lists(await series.read_frame(MINUTE, 7 * MINUTE, kind))
    null = to_lists(await series.read_frame(MINUTE, 7 * MINUTE, kind, "null"))
    forward = to_lists(await series.read_frame(MINUTE, 7 * MINUTE, kind, "forward"))
    assert gone["close"] == [2.3, 5.3]
    assert null["timestamp"] == forward["timestamp"] == [position * MINUTE for position in range(1, 7)]
    assert null["close"] == [None, 2.3, None, None, 5.3, None]
    assert forward["close"] == [None, 2.3, 2.3, 2.3, 5.3, 5.3]
    assert forward["open"] == [None, 2.0, 2.3, 2.3, 5.0, 5.3]
    assert forward["volume"] == [None, 2.4, 0.0, 0.0, 5.4, 0.0]
    inner = to_lists(await series.read_frame(as_=kind, fill="null"))
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
    data = make_arrays(*inside)
    candles_ = CandleArrays(*data.values())
    lowest, highest = (None if place is None else place * MINUTE for place in (first, end))
    whole, missing = fill_gaps(candles_, GRID, lowest, highest, how)
    start = first if first is not None else inside[0] if inside else None
    stop = end if end is not None else inside[-1] + 1 if inside else None
    expected: list[tuple[Any, ...]] = []
    last = None
    for place in range(start, stop) if start is not None and stop is not None else ():
        if place in inside:
            last = [place + offset for offset in OFFSETS.values()]
            expected.append((place * MINUTE, *last))
        elif how == "forward" and last is not None:
            expected.append((place * MINUTE, *([last[3]] * 4), 0.0))
            last = list(expected[-1][1:])
        else:
            expected.append((place * MINUTE, *([None] * 5)))
    found = to_lists({"timestamp": whole.timestamp, **dict(zip(PRICES, whole.prices, strict=True))})
    assert list(zip(*found.values(), strict=True)) == expected
    assert (missing is not None) == any(row[1] is None for row in expected)


async def test_fill_of_endless_range_is_refused(series: CandleAdapter) -> None:
    await series.write_frame(make_arrays(1))
    with pytest.raises(InputError, match=r"fill='null' would make 76,\d{3},\d{3},\d{3},\d{3} rows"):
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
async def test_missing_library_is_reported_with_what_to_install(
    series: CandleAdapter, monkeypatch: pytest.MonkeyPatch, kind: Any, library: str
) -> None:
    from importlib import util

    find = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == library else find(name))
    with pytest.raises(InputError, match=rf"needs {library}, which is not installed \(pip install .*\[frames\]"):
        await series.read_frame(as_=kind)


async def test_times_of_a_series_may_be_text_everywhere(series: CandleAdapter, monkeypatch: pytest.MonkeyPatch) -> None:
    first = 1_733_011_200_000 // MINUTE  # 2024-12-01
    await series.write_frame(make_arrays(*range(first - 1, first + 10)))
    found = await series.read_frame("2024-12-01", "2024-12-01T01:05+01:00", "numpy")
    assert to_lists(found)["timestamp"] == [(first + at) * MINUTE for at in range(5)]
    assert await series.gaps("2024-12-01 00:05", "2024-12-01T00:12Z") == [
        Gap((first + 10) * MINUTE, (first + 12) * MINUTE, 2)
    ]
    assert await series.read_candles_data(3, "2024-12-01", "2024-12-01T00:02") is not None
    assert await series.read_candles_data(3, "2024-12-01", "2024-12-01T00:01") is None
    for wrong in ("yesterday", "12/01/2024", "1733011200000", ""):
        with pytest.raises(InputError, match=r"^candle: start must be ISO 8601, as in 2024-12-01"):
            await series.read_frame(wrong)
        with pytest.raises(InputError, match=r"^candle: end must be ISO 8601"):
            await series.gaps(end=wrong)
        with pytest.raises(InputError, match=r"^candle: since_timestamp must be ISO 8601"):
            await series.read_candles_data(1, wrong)


@pytest.mark.in_rows("rows are asked for, too")
async def test_reading_a_sealed_day_takes_one_query(series: CandleAdapter) -> None:
    await series.write_frame(make_arrays(*range(8192)))
    before = await operations()
    assert len((await series.read_frame(0, 1440 * MINUTE, as_="numpy"))["open"]) == 1440
    assert await operations() - before == {"query": 1}


async def test_dummy_has_no_candles_and_needs_no_server() -> None:
    persist.use_dummy()
    series: Any = persist.candle("BTCUSDT", "1m", "binance")
    assert (await series.read_frame()).shape == (0, 6)
    assert await series.write_frame(make_arrays(1)) == types.WriteReport(0, 1, {})
    assert await series.coverage() == types.Coverage(None, None, 0)
    assert await series.gaps(0, MINUTE) == [Gap(0, MINUTE, 1)]
    assert await series.seal() == types.SealReport(0, 0)
    assert (await series.verify()).damaged == {}
