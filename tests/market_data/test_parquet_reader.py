"""Parquet and Feather files: types of columns, rows that are not candles, and which files are refused."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from backtest_mongo.errors import InputError
from backtest_mongo.market_data.candle_chunks import BadLine
from tests.support.candle_files import (
    BARS,
    MINUTE,
    START,
    SYMBOLS,
    list_bad_lines,
    list_bars,
    make_table,
    read_chunks,
)

pytestmark = pytest.mark.either_driver


@pytest.mark.parametrize(
    "time",
    [
        pl.col("timestamp"),
        pl.col("timestamp") // 1000,
        pl.col("timestamp") * 1000,
        pl.col("timestamp") * 1_000_000,
        (pl.col("timestamp") // 1000).cast(pl.Int32),
        (pl.col("timestamp") // 1000).cast(pl.UInt64),
        (pl.col("timestamp") / 1000).cast(pl.Float64),
        pl.from_epoch("timestamp", "ms"),
        pl.from_epoch("timestamp", "ms").dt.cast_time_unit("us"),
        pl.from_epoch("timestamp", "ms").dt.cast_time_unit("ns"),
        pl.from_epoch("timestamp", "ms").dt.replace_time_zone("UTC"),
        pl.from_epoch("timestamp", "ms").dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo"),
        pl.from_epoch("timestamp", "ms").dt.strftime("%Y-%m-%d %H:%M:%S"),
    ],
    ids=str,
)
def test_parquet_times_of_each_type_read_the_same(time: pl.Expr, tmp_path: Path) -> None:
    path = tmp_path / "candles.parquet"
    make_table(BARS).with_columns(time.alias("timestamp")).write_parquet(path)
    found = read_chunks(path)
    assert list_bars(found) == BARS
    assert found[0].lines.tolist() == [1, 2, 3, 4, 5]


def test_parquet_days_are_midnight_utc(tmp_path: Path) -> None:
    rows = [(START + index * 86_400_000, *row[1:]) for index, row in enumerate(BARS)]
    table = (
        make_table(rows).with_columns(pl.from_epoch("timestamp", "ms").cast(pl.Date).alias("date")).drop("timestamp")
    )
    table.write_parquet(tmp_path / "candles.parquet")
    assert list_bars(read_chunks(tmp_path / "candles.parquet")) == rows


def test_parquet_says_that_a_time_without_a_zone_is_utc(tmp_path: Path) -> None:
    path = tmp_path / "candles.parquet"
    naive = make_table(BARS).with_columns(pl.from_epoch("timestamp", "ms").alias("timestamp"))
    naive.write_parquet(path)
    assert "names no zone: taken as UTC" in read_chunks(path)[0].note
    naive.with_columns(pl.col("timestamp").dt.replace_time_zone("UTC")).write_parquet(path)
    assert "zone" not in read_chunks(path)[0].note


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (pl.lit(None, pl.Float64).alias("open"), "open is empty"),
        (pl.lit(math.nan).alias("high"), "high is not finite: 'nan'"),
        (pl.lit(None, pl.Int64).alias("timestamp"), "the time is empty"),
        (pl.lit(1).alias("timestamp"), "'1' is not a time in ms"),
    ],
)
def test_bad_row_of_parquet_is_reported_and_the_rest_is_read(column: pl.Expr, reason: str, tmp_path: Path) -> None:
    table = make_table(BARS)
    table = pl.concat([table[:2], table[2:3].with_columns(column), table[3:]], how="vertical_relaxed")
    table.write_parquet(tmp_path / "candles.parquet")
    found = read_chunks(tmp_path / "candles.parquet")
    assert list_bars(found) == BARS[:2] + BARS[3:]
    assert list_bad_lines(found) == [BadLine(3, reason)]


def test_parquet_prices_of_other_types_are_numbers(tmp_path: Path) -> None:
    table = make_table(BARS).with_columns(
        pl.col("open").cast(pl.Float32),
        pl.col("high").cast(pl.Decimal(18, 4)),
        pl.col("low").cast(pl.String),
        pl.col("volume").cast(pl.Int32),
    )
    table[3, "low"] = "much"
    table.write_parquet(tmp_path / "candles.parquet")
    found = read_chunks(tmp_path / "candles.parquet")
    assert list_bars(found) == BARS[:3] + BARS[4:]
    assert list_bad_lines(found) == [BadLine(4, "low is not a number: 'much'")]


def test_parquet_of_pandas_has_its_time_in_the_index(tmp_path: Path) -> None:
    table = make_table(BARS).to_pandas()
    table.index = table.pop("timestamp").astype("datetime64[ms]").dt.tz_localize("UTC")
    table.index.name = None
    table.to_parquet(tmp_path / "candles.parquet")
    assert list_bars(read_chunks(tmp_path / "candles.parquet")) == BARS


@pytest.mark.parametrize("ending", ["parquet", "feather"])
def test_table_rows_of_a_symbol_are_selected(ending: str, tmp_path: Path) -> None:
    table = make_table(BARS).with_columns(pl.Series("ticker", SYMBOLS))
    path = tmp_path / f"candles.{ending}"
    (table.write_parquet if ending == "parquet" else table.write_ipc)(path)
    (found,) = read_chunks(path, symbol="BTCUSDT")
    assert list_bars([found]) == [BARS[0], BARS[2], BARS[3]]
    assert (found.others, found.lines.tolist()) == (2, [1, 3, 4])
    assert [chunk.symbol for chunk in read_chunks(path)] == ["BTC/USDT", "eth-usdt"]
    with pytest.raises(InputError, match="is of BTC/USDT, eth-usdt, not of SOL"):
        read_chunks(path, symbol="SOL")


def test_parquet_of_several_row_groups_is_read_in_chunks(tmp_path: Path) -> None:
    rows = [(START + index * MINUTE, *BARS[0][1:]) for index in range(120_000)]
    make_table(rows).write_parquet(tmp_path / "candles.parquet", row_group_size=70_000)
    found = read_chunks(tmp_path / "candles.parquet")
    assert len(found) > 2
    assert max(len(chunk.lines) for chunk in found) <= 50_000
    assert list_bars(found) == rows
    assert np.concatenate([chunk.lines for chunk in found]).tolist() == list(range(1, 120_001))
    assert found[-1].position == (tmp_path / "candles.parquet").stat().st_size


def test_parquet_in_a_zip_archive_is_read(tmp_path: Path) -> None:
    content = io.BytesIO()
    make_table(BARS).write_parquet(content)
    with zipfile.ZipFile(tmp_path / "candles.zip", "w") as archive:
        archive.writestr("candles.parquet", content.getvalue())
    assert list_bars(read_chunks(tmp_path / "candles.zip")) == BARS


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (make_table(BARS).rename({"open": "begin"}), "no column for open among timestamp, begin, high"),
        (
            make_table(BARS[:1]).with_columns(pl.col("timestamp") - START),
            "can't determine the unit of its times; the first is '0'",
        ),
        (
            make_table(BARS).with_columns(open=pl.lit(None, pl.Float64)),
            "row 1 is not a candle, nor is any of the next: open is",
        ),
        (make_table(BARS).rename({"high": "low", "low": "high"}), "in 5 of the first 5 rows high is not the highest"),
        (make_table(BARS).with_columns(pl.lit("x").alias("date")).rename({"timestamp": "time"}), "in two columns"),
    ],
)
def test_error_of_an_invalid_parquet_file_says_why(table: pl.DataFrame, words: str, tmp_path: Path) -> None:
    table.write_parquet(tmp_path / "candles.parquet")
    with pytest.raises(InputError) as caught:
        read_chunks(tmp_path / "candles.parquet")
    assert words in str(caught.value)


def test_parquet_without_rows_gives_none(tmp_path: Path) -> None:
    make_table(BARS)[:0].write_parquet(tmp_path / "candles.parquet")
    assert list_bars(read_chunks(tmp_path / "candles.parquet")) == []


def test_parquet_names_the_extra_that_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_table(BARS).write_parquet(tmp_path / "candles.parquet")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'Parquet needs pyarrow \(pip install "backtest-mongo\[frames\]"'):
        read_chunks(tmp_path / "candles.parquet")
