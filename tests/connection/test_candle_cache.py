"""The candle cache by itself: what it keeps, what it returns, what it drops, and how far it reads ahead."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backtest_mongo.connection.candle_cache import CHUNK, CHUNK_BYTES, CandleCache, SeriesCache
from backtest_mongo.core.arrays import CandleArrays
from backtest_mongo.core.interval_grid import GRIDS

MINUTE = 60_000
CONTEXT = ("binance", "BTCUSDT", "1m")


def candle(position: int, off_grid: int = 0, **changes: Any) -> dict[str, Any]:
    prices = {name: position + number / 8 for number, name in enumerate(("open", "high", "low", "close", "volume"))}
    return {"timestamp": position * MINUTE + off_grid, **prices, **changes}


def candles(*positions: int) -> list[dict[str, Any]]:
    return [candle(position) for position in positions]


def make_cache(chunks: float = 100) -> CandleCache:
    return CandleCache(int(chunks * CHUNK_BYTES))


def series(cache: CandleCache | None = None, context: tuple[str, ...] = CONTEXT) -> SeriesCache:
    return (cache or make_cache()).series(context, GRIDS["1m"])


def put(into: SeriesCache, rows: list[dict[str, Any]], as_arrays: bool) -> None:
    if not as_arrays:
        into.put(rows)
        return
    names = ("open", "high", "low", "close", "volume")
    prices = tuple(np.array([row[name] for row in rows], np.float64) for name in names)
    into.put_arrays(CandleArrays(np.array([row["timestamp"] for row in rows], np.int64), *prices))


WAYS = pytest.mark.parametrize("as_arrays", [False, True], ids=["rows", "arrays"])


@WAYS
def test_rows_are_returned_up_to_the_first_that_is_not_kept(as_arrays: bool) -> None:
    here = series()
    assert here.get(0, 5) == ([], 0)
    put(here, candles(1, 2, 3, 5), as_arrays)
    assert here.get(1, 2) == (candles(1, 2), 2)
    assert here.get(1, 3) == here.get(1, 9) == (candles(1, 2, 3), 3)
    assert here.get(5, 9) == (candles(5), 1)
    assert here.get(0, 9) == here.get(4, 9) == here.get(6, 9) == here.get(1, 0) == ([], 0)


@WAYS
@pytest.mark.parametrize("first", [CHUNK - 2, -2, -CHUNK - 2, 28_333_333 // CHUNK * CHUNK - 2])
def test_rows_go_on_from_one_chunk_into_the_next(first: int, as_arrays: bool) -> None:
    here = series()
    positions = range(first, first + 2 * CHUNK + 4)
    put(here, candles(*positions), as_arrays)
    assert here.get(first, len(positions)) == (candles(*positions), len(positions))
    assert here.get(first, len(positions) + 5) == (candles(*positions), len(positions))
    assert here.get(first + 1, 2) == (candles(first + 1, first + 2), 2)
    assert here.get(first + 2, CHUNK) == (candles(*range(first + 2, first + 2 + CHUNK)), CHUNK)
    assert here.get(first - 1, 9) == ([], 0)


@WAYS
def test_row_is_replaced_by_what_comes_later(as_arrays: bool) -> None:
    here = series()
    put(here, candles(1, 2), as_arrays)
    put(here, [candle(2, open=9.5)], as_arrays)
    assert here.get(1, 2) == ([candle(1), candle(2, open=9.5)], 2)


@WAYS
def test_off_grid_rows_are_not_kept(as_arrays: bool) -> None:
    here = series()
    put(here, [candle(1), candle(1, off_grid=1), candle(2), candle(3, off_grid=MINUTE - 1), candle(5)], as_arrays)
    assert here.get(1, 9) == (candles(1, 2), 2)
    put(here, [candle(7, off_grid=1)], as_arrays)
    assert here.get(7, 1) == ([], 0)
    put(here, [], as_arrays)


@WAYS
def test_series_are_apart(as_arrays: bool) -> None:
    cache = make_cache()
    here, there = series(cache), series(cache, ("binance", "ETHUSDT", "1m"))
    put(here, candles(1), as_arrays)
    put(there, [candle(1, open=7.0)], as_arrays)
    assert here.get(1, 1) == (candles(1), 1)
    assert there.get(1, 1) == ([candle(1, open=7.0)], 1)
    assert series(cache) is here


def test_room_is_what_the_bytes_hold() -> None:
    assert CHUNK_BYTES == 1024 * 41 + 1024
    assert [make_cache(chunks).rows for chunks in (0, 0.99, 1, 2.5)] == [0, 0, CHUNK, 2 * CHUNK]
    cache = make_cache()
    assert cache.bytes == 0
    series(cache).put(candles(0, CHUNK))
    assert cache.bytes == 2 * CHUNK_BYTES
    cache.clear()
    assert cache.bytes == 0
    assert series(cache).get(0, 1) == ([], 0)


@WAYS
def test_least_recently_used_block_is_dropped_when_they_are_full(as_arrays: bool) -> None:
    cache = make_cache(3)
    here = series(cache)
    for number in range(3):
        put(here, candles(number * CHUNK), as_arrays)
    assert here.get(0, 1) == (candles(0), 1)
    put(here, candles(3 * CHUNK), as_arrays)
    assert cache.bytes == 3 * CHUNK_BYTES
    kept = [here.get(number * CHUNK, 1)[1] for number in range(4)]
    assert kept == [1, 0, 1, 1]
    # Writing uses a chunk too.
    put(here, candles(1), as_arrays)
    put(here, candles(4 * CHUNK), as_arrays)
    assert [here.get(number * CHUNK, 1)[1] for number in range(5)] == [1, 0, 0, 1, 1]


@WAYS
def test_forgotten_series_keeps_nothing_and_comes_back_empty(as_arrays: bool) -> None:
    cache = make_cache()
    here, there = series(cache), series(cache, ("binance", "ETHUSDT", "1m"))
    for each in (here, there):
        put(each, candles(1, CHUNK), as_arrays)
        assert not each.is_forgotten
    cache.forget(CONTEXT)
    cache.forget(("none", "of", "them"))
    assert here.is_forgotten
    assert cache.bytes == 2 * CHUNK_BYTES
    put(here, candles(1), as_arrays)  # read before the candles were deleted
    again = series(cache)
    assert again is not here
    assert not again.is_forgotten
    assert again.get(1, 1) == here.get(1, 1) == ([], 0)
    assert there.get(1, 1) == (candles(1), 1)
    put(again, candles(1), as_arrays)
    assert again.get(1, 1) == (candles(1), 1)


class TestReadingAhead:
    def test_lone_window_reads_nothing_ahead(self) -> None:
        here = series()
        assert here.rows_ahead(10, range(10, 20)) == 0
        here.put(candles(5))
        assert here.rows_ahead(10, range(10, 20)) == 0

    def test_window_that_goes_on_from_another_reads_ahead_and_ever_more(self) -> None:
        here = series()
        ahead, first = [], 10
        for _ in range(5):
            here.put(candles(first - 1))
            ahead.append(here.rows_ahead(first, range(first, first + 10)))
            first += 10 + ahead[-1]
        assert ahead == [64, 256, 1024, 4096, 8192]
        here.put(candles(first - 1))
        assert here.rows_ahead(first, range(first, first + 10)) == 8192

    def test_window_of_which_a_part_is_kept_reads_ahead(self) -> None:
        assert series().rows_ahead(15, range(10, 20)) == 64
        assert series().rows_ahead(11, range(10, 20)) == 64

    def test_row_that_was_missing_before_is_looked_for_alone(self) -> None:
        here = series()
        assert here.rows_ahead(15, range(10, 20)) == 64
        for missing in (15, 20, 83):
            assert here.rows_ahead(missing, range(10, 90)) == 0
        assert here.rows_ahead(84, range(10, 90)) == 256
        assert here.rows_ahead(14, range(10, 90)) == 1024
        here = series()
        assert here.rows_ahead(84, range(10, 90)) == 64
        assert here.rows_ahead(90 + 63, range(10, 200)) == 0
        assert here.rows_ahead(90 + 64, range(10, 200)) == 256

    def test_small_cache_is_not_filled_by_one_window(self) -> None:
        here = series(make_cache(1))
        assert [here.rows_ahead(missing, range(10, 20)) for missing in (15, 15 + CHUNK, 15 + 9 * CHUNK)] == [
            64,
            256,
            256,
        ]
        assert series(make_cache(0)).rows_ahead(15, range(10, 20)) == 0
