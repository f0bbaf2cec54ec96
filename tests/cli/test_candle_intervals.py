"""Importing and exporting candles of every interval, on and off the usual grid."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from backtest_mongo.core.interval_grid import GRIDS
from backtest_mongo.market_data import exporter
from tests.support.candle_commands import HOUR, MINUTE, START, Database, run_candles, write_csv

pytestmark = [pytest.mark.either_driver, pytest.mark.one_python]


def test_candles_off_the_full_hour_keep_their_grid(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "_PLACES", 10)
    path = write_csv(tmp_path / "a.csv", 100, first=START + 30 * MINUTE, step=HOUR, skip=lambda index: 20 <= index < 55)
    series = ("--symbol", "X", "--interval", "1h", "--exchange", "e")
    run_candles("import", path, *series)
    run_candles("export", *series, "-o", tmp_path / "b.csv", "--fill", "forward", "--start", "2024-01-01 05:00")
    frame = pl.read_csv(tmp_path / "b.csv")
    assert frame["timestamp_ms"].to_list() == [START + 30 * MINUTE + index * HOUR for index in range(5, 100)]
    assert frame.filter(pl.col("volume") == 0)["close"].to_list() == [19.75] * 35


@pytest.mark.parametrize("interval", ["1M", "1w", "1s", "12h"])
def test_interval_of_any_length_is_imported_covered_and_exported_over_the_edges_of_stretches(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interval: str
) -> None:
    monkeypatch.setattr(exporter, "_PLACES", 5)
    opens = list(GRIDS[interval].times(START, 30))
    header, *lines = write_csv(tmp_path / "a.csv", 30).read_text().splitlines()
    rows = [f"{time},{line.partition(',')[2]}" for time, line in zip(opens, lines, strict=True)]
    (tmp_path / "a.csv").write_text("\n".join([header, *rows[:7], *rows[12:]]) + "\n")
    series = ("--symbol", "X", "--interval", interval, "--exchange", "e")
    other = "1h" if interval != "1h" else "1d"
    assert run_candles("import", tmp_path / "a.csv", "--symbol", "X", "--interval", other, "--exchange", "e").code == 1
    assert run_candles("import", tmp_path / "a.csv", *series).code == 0
    (covered,) = json.loads(run_candles("coverage", "--json").out)["series"]
    assert (covered["rows"], covered["missing"], covered["first"], covered["last"]) == (25, 5, opens[0], opens[-1])
    run_candles("export", *series, "-o", tmp_path / "b.csv", "--fill", "forward")
    frame = pl.read_csv(tmp_path / "b.csv")
    assert frame["timestamp_ms"].to_list() == opens
    assert frame.filter(pl.col("volume") == 0)["close"].to_list() == [6.75] * 5
    run_candles("export", *series, "-o", tmp_path / "c.csv")
    assert pl.read_csv(tmp_path / "c.csv")["timestamp_ms"].to_list() == [*opens[:7], *opens[12:]]


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet"])
@pytest.mark.parametrize("interval", GRIDS)
def test_series_of_every_interval_comes_back_out_of_its_export(
    database: Database, tmp_path: Path, interval: str, ending: str
) -> None:
    opens = list(GRIDS[interval].times(-631_152_000_000, 40))  # 1950, where the size does not show the unit
    rows = [f"{time},{at + 1}.1,{at + 2}.7,{at}.3,{at + 1}.9,{at}.5" for at, time in enumerate(opens)]
    (tmp_path / "a.csv").write_text("\n".join(["time,open,high,low,close,volume", *rows]) + "\n")
    series = ("--interval", interval, "--exchange", "e")
    done = run_candles("import", tmp_path / "a.csv", "--symbol", "X", *series)
    assert (done.code, done.line("new"), done.line("bad lines")) == (0, "new 40", "bad lines 0")
    assert "off the grid" not in done.out
    assert run_candles("export", "--symbol", "X", *series, "-o", tmp_path / f"b.{ending}").code == 0
    done = run_candles("import", tmp_path / f"b.{ending}", "--symbol", "Y", *series)
    assert (done.code, done.line("new")) == (0, "new 40")
    first, second = (database.frame(symbol, interval, "e") for symbol in "XY")
    assert first["timestamp"].cast(pl.Int64).to_list() == opens
    assert_frame_equal(first, second)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("interval", GRIDS)
def test_unit_of_times_is_found_by_every_interval(database: Database, tmp_path: Path, interval: str, unit: str) -> None:
    opens = list(GRIDS[interval].times(START - 20 * GRIDS[interval].longest, 40))
    scale = {"s": 1e-3, "ms": 1, "us": 1000, "ns": 1_000_000}[unit]
    rows = [f"{round(time * scale)},1,2,0.5,1.5,3" for time in opens]
    (tmp_path / "a.csv").write_text("\n".join(["time,open,high,low,close,volume", *rows]) + "\n")
    assert (
        run_candles("import", tmp_path / "a.csv", "--symbol", "X", "--interval", interval, "--exchange", "e").code == 0
    )
    assert database.frame("X", interval, "e")["timestamp"].cast(pl.Int64).to_list() == opens


@pytest.mark.parametrize("interval", GRIDS)
def test_file_of_another_interval_is_refused_with_its_name(database: Database, tmp_path: Path, interval: str) -> None:
    files = {}
    for other in GRIDS:
        rows = [f"{time},1,2,0.5,1.5,3" for time in GRIDS[other].times(946_684_800_000, 40)]
        files[other] = tmp_path / f"{other}.csv"
        files[other].write_text("\n".join(["timestamp_ms,open,high,low,close,volume", *rows]) + "\n")
    done = run_candles("import", *files.values(), "--symbol", "X", "--interval", interval, "--exchange", "e")
    assert (done.code, done.line("new"), done.line("unreadable")) == (1, "new 40", "unreadable files 16")
    for other in set(GRIDS) - {interval}:
        assert f"{files[other]}: its candles are {other} apart, not {interval} (" in done.out
