"""Candles as frames, and the rows that take the place of missing ones, without a store."""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime
from importlib.machinery import ModuleSpec
from typing import Any, get_args

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from backtest_mongo import InputError
from backtest_mongo.core import frames
from backtest_mongo.core.arrays import CandleArrays
from backtest_mongo.core.frames import Fill, check_arguments, fill_gaps, to_frame
from backtest_mongo.core.interval_grid import GRIDS
from backtest_mongo.types import PRICES
from tests.support.frames import KINDS, MINUTE, NAMES, make_arrays, to_lists


def arrays(*positions: float) -> CandleArrays:
    return CandleArrays(**make_arrays(*(round(position * MINUTE) for position in positions), step=1))


def fill(
    positions: tuple[float, ...],
    first: float | None = None,
    end: float | None = None,
    how: Fill = "null",
    before: float | None = None,
    after: float | None = None,
) -> tuple[list[float], list[Any], list[Any]]:
    """Return the positions of the rows, and their closes and volumes; ``None`` for what is null."""
    first, end, before, after = (None if at is None else round(at * MINUTE) for at in (first, end, before, after))
    whole, missing = fill_gaps(arrays(*positions), GRIDS["1m"], first, end, how, before, after)
    nulls = np.zeros(len(whole), bool) if missing is None else missing
    assert missing is None or missing.any()
    for column in whole.prices:
        assert np.isnan(column).tolist() == nulls.tolist()
    closes, volumes = (
        [None if is_null else value for value, is_null in zip(column.tolist(), nulls, strict=True)]
        for column in (whole.close, whole.volume)
    )
    flat = [value is not None and volume == 0 for value, volume in zip(closes, volumes, strict=True)]
    for column in (whole.open, whole.high, whole.low):
        assert column[flat].tolist() == whole.close[flat].tolist()
    return [time / MINUTE for time in whole.timestamp.tolist()], closes, volumes


def values(*positions: float | None, offset: float = 0.3) -> list[float | None]:
    """Return the closes of candles at these positions; ``offset`` gives their volumes."""
    return [None if position is None else position * MINUTE + offset for position in positions]


@pytest.mark.parametrize(
    ("positions", "first", "end", "before", "after", "rows", "known"),
    [
        ((1, 2, 3), None, None, None, None, [1, 2, 3], [1, 2, 3]),
        ((1, 3, 6), None, None, None, None, [1, 2, 3, 4, 5, 6], [1, None, 3, None, None, 6]),
        ((3,), 1, None, None, None, [1, 2, 3], [None, None, 3]),
        ((3,), None, 6, None, None, [3, 4, 5], [3, None, None]),
        ((3, 5), 2, 7, None, None, [2, 3, 4, 5, 6], [None, 3, None, 5, None]),
        # The candles around the range decide on the grid, and how many are missing.
        ((3,), 1, None, 0.25, None, [1.25, 2.25, 3], [None, None, 3]),
        ((3,), None, 6, None, 5, [3, 4], [3, None]),
        ((3,), 2, 5, 1, 6, [2, 3, 4], [None, 3, None]),
        ((), 1, 4, None, None, [1, 2, 3], [None] * 3),
        ((), 1, 4, 0.5, None, [1.5, 2.5, 3.5], [None] * 3),
        ((), 1, 4, None, 6.5, [1.5, 2.5, 3.5], [None] * 3),
        ((), 1, 1, None, None, [], []),
        ((), None, 4, None, None, [], []),
        ((), 1, None, None, None, [], []),
        # A grid that moves.
        ((1, 3.25, 5.25), None, None, None, None, [1, 2, 3.25, 4.25, 5.25], [1, None, 3.25, None, 5.25]),
    ],
)
def test_missing_candles_are_rows_without_values(
    positions: Any, first: Any, end: Any, before: Any, after: Any, rows: Any, known: Any
) -> None:
    found, closes, volumes = fill(positions, first, end, "null", before, after)
    assert found == rows
    assert closes == values(*known)
    assert volumes == values(*known, offset=0.4)


@pytest.mark.parametrize(
    ("positions", "first", "end", "rows", "carried"),
    [
        ((1, 3, 6), None, None, [1, 2, 3, 4, 5, 6], [1, 1, 3, 3, 3, 6]),
        ((3, 5), 1, 7, [1, 2, 3, 4, 5, 6], [None, None, 3, 3, 5, 5]),
        ((1, 2), None, None, [1, 2], [1, 2]),
        ((), 1, 3, [1, 2], [None, None]),
        ((), 1, 1, [], []),
    ],
)
def test_close_before_is_carried_forward_without_volume(
    positions: Any, first: Any, end: Any, rows: Any, carried: Any
) -> None:
    found, closes, volumes = fill(positions, first, end, "forward")
    assert found == rows
    assert closes == values(*carried)
    assert volumes == [
        None if at is None else at * MINUTE + 0.4 if at in positions and at == row else 0.0
        for row, at in zip(rows, carried, strict=True)
    ]


def test_months_that_are_missing_open_on_their_first_days() -> None:
    days = [int(datetime(2024, month, 1, tzinfo=UTC).timestamp()) * 1000 for month in range(1, 8)]
    whole, missing = fill_gaps(arrays(days[1] / MINUTE, days[4] / MINUTE), GRIDS["1M"], days[0], days[6], "null")
    assert whole.timestamp.tolist() == days[:6]
    assert missing is not None
    assert missing.tolist() == [True, False, True, True, False, True]


def test_frame_of_too_many_rows_is_refused_before_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    assert frames._MOST_ROWS == 100_000_000
    monkeypatch.setattr(frames, "_MOST_ROWS", 5)
    assert fill((1, 5))[0] == [1, 2, 3, 4, 5]
    for how in get_args(Fill):
        with pytest.raises(InputError) as caught:
            fill((1, 5), 0, how=how)
        assert str(caught.value) == (f"candle: fill={how!r} would make 6 rows (choose a shorter range)")
        assert caught.value.slot == "candle"
    monkeypatch.setattr(frames, "_MOST_ROWS", 1_000)
    with pytest.raises(InputError, match=r"would make 1,001 rows"):
        fill((), 0, 1_001)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", [None, "null", "forward"])
def test_every_kind_and_every_way_to_fill_is_accepted(kind: str, how: str | None) -> None:
    check_arguments(kind, how, "candle")


@pytest.mark.parametrize(
    ("kind", "how", "problem", "hint"),
    [
        ("dask", None, "as_ must be one of polars, pandas, numpy, arrow, not 'dask'", None),
        (None, None, "as_ must be one of polars, pandas, numpy, arrow, not None", None),
        (["numpy"], None, "as_ must be one of polars, pandas, numpy, arrow, not ['numpy']", None),
        ("numpy", "back", "fill must be None, null or forward, not 'back'", None),
        ("numpy", "", "fill must be None, null or forward, not ''", None),
        *(
            (kind, None, f"as_={kind!r} needs {library}, which is not installed",
             'pip install "backtest-mongo[frames]", or ".[frames]" in a checkout; as_="numpy" needs nothing more')
            for kind, library in (("polars", "polars"), ("pandas", "pandas"), ("arrow", "pyarrow"))
        ),
    ],
)  # fmt: skip
def test_frame_that_can_t_be_made_is_refused(
    kind: Any, how: Any, problem: str, hint: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_nothing(name: str) -> ModuleSpec | None:
        return None

    monkeypatch.setattr(importlib.util, "find_spec", find_nothing)
    check_arguments("numpy", None, "candle")
    with pytest.raises(InputError) as caught:
        check_arguments(kind, how, "trade")
    assert (caught.value.slot, caught.value.message, caught.value.hint) == ("trade", problem, hint)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("null", [(), (0,), (1, 3), tuple(range(11))])
def test_frame_has_a_time_in_every_row_and_nothing_else_in_those_that_are_missing(
    kind: Any, null: tuple[int, ...]
) -> None:
    candles = arrays(*range(11))
    missing = np.isin(np.arange(11), null)
    for column in candles.prices:
        column[missing] = np.nan
    frame = to_frame(candles, missing if null else None, kind)
    found = to_lists(frame)
    assert list(found) == NAMES
    assert found["timestamp"] == [at * MINUTE for at in range(11)]
    for name, column in zip(PRICES, candles.prices, strict=True):
        assert found[name] == [
            None if is_null else value for value, is_null in zip(column.tolist(), missing, strict=True)
        ]


def test_frame_has_its_library_s_types() -> None:
    candles = arrays(1, 2)
    polars_frame = to_frame(candles, np.array([False, True]), "polars")
    assert isinstance(polars_frame, pl.DataFrame)
    assert dict(polars_frame.schema) == {"timestamp": pl.Datetime("ms", "UTC"), **dict.fromkeys(PRICES, pl.Float64)}
    assert polars_frame["open"].null_count() == 1
    table = to_frame(candles, np.array([False, True]), "arrow")
    assert isinstance(table, pa.Table)
    assert table.schema.types == [pa.timestamp("ms", tz="UTC"), *[pa.float64()] * 5]
    assert [table[name].null_count for name in NAMES] == [0, 1, 1, 1, 1, 1]
    assert to_frame(candles, None, "arrow")["open"].null_count == 0
    frame = to_frame(candles, None, "pandas")
    assert isinstance(frame, pd.DataFrame)
    assert [str(kind) for kind in frame.dtypes] == ["datetime64[ms, UTC]", *["float64"] * 5]
    columns = to_frame(candles, None, "numpy")
    assert [str(column.dtype) for column in columns.values()] == ["datetime64[ms]", *["float64"] * 5]
    assert np.shares_memory(columns["open"], candles.open)
