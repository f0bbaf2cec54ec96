"""Exporting candles: every digit, ranges and filled gaps, and what happens to the file."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from backtest_mongo.market_data import exporter
from backtest_mongo.types import PRICES
from tests.support.candle_commands import EUR, EURUSD, HOUR, Database, run_candles, write_csv

pytestmark = [pytest.mark.either_driver, pytest.mark.one_python]


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".csv.gz"])
def test_export_can_be_imported_again_to_the_last_digit(ending: str, database: Database, tmp_path: Path) -> None:
    run_candles("import", EURUSD, *EUR)
    path = tmp_path / f"candles{ending}"
    done = run_candles("export", *EUR, "--output", path)
    assert (done.code, done.out, done.err) == (0, f"demo EURUSD 1h: 5,000 rows in {path}\n", "")
    assert os.listdir(tmp_path) == [path.name]
    again = run_candles("import", path, "--symbol", "AGAIN", "--interval", "1h", "--exchange", "demo")
    assert (again.code, again.line("new")) == (0, "new 5,000")
    assert_frame_equal(database.frame("AGAIN", "1h", "demo"), database.frame("EURUSD", "1h", "demo"), check_exact=True)


def test_export_of_several_stretches_is_whole(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_candles("import", EURUSD, *EUR)
    monkeypatch.setattr(exporter, "_PLACES", 100)
    run_candles("export", *EUR, "-o", tmp_path / "candles.parquet")
    frame = pl.read_parquet(tmp_path / "candles.parquet")
    assert_frame_equal(frame, database.frame("EURUSD", "1h", "demo"), check_exact=True)
    metadata = pq.read_schema(tmp_path / "candles.parquet").metadata
    assert (metadata[b"symbol"], metadata[b"interval"], metadata[b"exchange_name"]) == (b"EURUSD", b"1h", b"demo")


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2017-05-01", "2017-06-01"),
        ("2017-05-01T10:30:00+02:00", None),
        (None, "2017-06-03 12:30"),
        ("1493596800000", "1496275200000"),
        ("2000-01-01", "2100-01-01"),
    ],
)
def test_export_of_a_range_is_half_open(
    start: str | None, end: str | None, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "_PLACES", 333)
    run_candles("import", EURUSD, *EUR)
    given = [*(["--start", start] if start else []), *(["--end", end] if end else [])]
    assert run_candles("export", *EUR, "-o", tmp_path / "a.parquet", *given).code == 0
    frame = database.frame("EURUSD", "1h", "demo")
    times = {
        "2017-05-01T10:30:00+02:00": "2017-05-01 08:30",
        "1493596800000": "2017-05-01",
        "1496275200000": "2017-06-01",
    }
    bounds = [pl.lit(times.get(text, text)).str.to_datetime(time_zone="UTC") if text else None for text in (start, end)]
    if bounds[0] is not None:
        frame = frame.filter(pl.col("timestamp") >= bounds[0])
    if bounds[1] is not None:
        frame = frame.filter(pl.col("timestamp") < bounds[1])
    assert len(frame) > 0
    assert_frame_equal(pl.read_parquet(tmp_path / "a.parquet"), frame, check_exact=True)


@pytest.mark.parametrize("fill", ["null", "forward"])
@pytest.mark.parametrize("places", [50_000, 777])
def test_filled_export_is_what_a_filled_read_gives(
    fill: str, places: int, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "_PLACES", places)
    run_candles("import", EURUSD, *EUR)
    done = run_candles("export", *EUR, "-o", tmp_path / "a.parquet", "--fill", fill)
    expected = database.frame("EURUSD", "1h", "demo", fill=fill)
    assert done.out.startswith(f"demo EURUSD 1h: {len(expected):,} rows in ")
    assert len(expected) > 5000
    assert_frame_equal(pl.read_parquet(tmp_path / "a.parquet"), expected, check_exact=True)
    run_candles("export", *EUR, "-o", tmp_path / "a.csv", "--fill", fill)
    assert_frame_equal(pl.read_csv(tmp_path / "a.csv").select(PRICES), expected.select(PRICES), check_exact=True)


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
def test_export_states_the_unit_of_its_times(ending: str, database: Database, tmp_path: Path) -> None:
    series = ("--symbol", "OLD", "--interval", "1d", "--exchange", "nyse")
    # One candle of 1970, whose time could be seconds of 1980.
    for number, first in enumerate((345_600_000, -157_766_400_000)):
        again = ("--symbol", f"AGAIN{number}", "--interval", "1d", "--exchange", "nyse")
        path = write_csv(tmp_path / "a.csv", 1 if number == 0 else 9000, first=first, step=24 * HOUR)
        assert run_candles("import", path, *series, "--time-unit", "ms").code == 0
        exported = tmp_path / f"b{ending}"
        assert run_candles("export", *series, "-o", exported, "--force").code == 0
        assert run_candles("import", exported, *again).code == 0
        assert_frame_equal(database.frame(f"AGAIN{number}", "1d", "nyse"), database.frame("OLD", "1d", "nyse"))


def test_export_that_fails_leaves_no_file_and_keeps_the_old_one(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    run_candles("import", EURUSD, *EUR)
    monkeypatch.setattr(exporter._Csv, "write", full)
    done = run_candles("export", *EUR, "-o", tmp_path / "a.csv")
    assert (done.code, done.err) == (1, "backtest-mongo: [Errno 28] No space left on device\n")
    assert os.listdir(tmp_path) == []
    (tmp_path / "a.csv").write_text("old")
    assert run_candles("export", *EUR, "-o", tmp_path / "a.csv", "--force").code == 1
    assert os.listdir(tmp_path) == ["a.csv"]
    assert (tmp_path / "a.csv").read_text() == "old"


def test_export_does_not_overwrite_unless_forced(database: Database, tmp_path: Path) -> None:
    run_candles("import", EURUSD, *EUR)
    path = tmp_path / "a.csv"
    path.write_text("old")
    done = run_candles("export", *EUR, "-o", path)
    assert (done.code, path.read_text()) == (2, "old")
    assert "--force replaces it" in done.error
    assert run_candles("export", *EUR, "-o", path, "--force").code == 0
    assert path.read_text().count("\n") == 5001


def test_export_of_nothing_is_reported(database: Database, tmp_path: Path) -> None:
    done = run_candles("export", *EUR, "-o", tmp_path / "a.csv")
    assert (done.code, done.err) == (1, "backtest-mongo: no candles of demo EURUSD 1h are stored\n")
    run_candles("import", EURUSD, *EUR)
    done = run_candles("export", *EUR, "-o", tmp_path / "a.csv", "--start", "2020-01-01")
    assert (done.code, done.err) == (1, "backtest-mongo: no candles of demo EURUSD 1h are stored in that range\n")
    assert os.listdir(tmp_path) == []
