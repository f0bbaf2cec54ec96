"""The commands that carry candles in and out of the database, and look after what is stored."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal
from pymongo import MongoClient
from typer.testing import CliRunner

import backtest_mongo
from backtest_mongo import CandleAdapter, setup
from backtest_mongo.candles import exporting
from backtest_mongo.candles.lengths import length, share, size
from backtest_mongo.cli import _app
from backtest_mongo.types import PRICES

pytestmark = pytest.mark.either_driver

PROJECT = Path(backtest_mongo.__file__).parent.parent
EURUSD = PROJECT / "backtest_mongo" / "demo" / "eurusd-1h.csv"
MINUTE = 60_000
HOUR = 60 * MINUTE
START = 1_704_067_200_000  # 2024-01-01 00:00 UTC
SERIES = ("--symbol", "BTCUSDT", "--interval", "1m", "--exchange", "binance")
EUR = ("--symbol", "EURUSD", "--interval", "1h", "--exchange", "demo")


@dataclass
class Database:
    """A database of its own that the environment names, and raw access to it."""

    name: str
    environment: dict[str, str]
    client: MongoClient[dict[str, Any]]

    def rows(self) -> int:
        return self.client[self.name]["candle-items"].count_documents({})

    def frame(self, symbol: str, interval: str, exchange: str, **options: Any) -> pl.DataFrame:
        async def read() -> pl.DataFrame:
            async with setup():
                frame: pl.DataFrame = await CandleAdapter(symbol, interval, exchange).read_frame(**options)
                return frame

        return asyncio.run(read())


@pytest.fixture
def database(servers: dict[str, Any], unique: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    uri = urlsplit(servers["CC_MONGO_CONNECTION_STRING"])._replace(path=f"/{unique}").geturl()
    environment = {name: str(value) for name, value in {**servers, "CC_MONGO_CONNECTION_STRING": uri}.items() if value}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "100")
    with MongoClient[dict[str, Any]](uri) as client:
        yield Database(unique, environment, client)
        client.drop_database(unique)


@dataclass
class Done:
    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """What stands on standard error, out of its frame and in one line."""
        return " ".join(self.err.replace("│", " ").split())

    def line(self, start: str) -> str:
        """Return the one line of the output that starts so, with single spaces."""
        (line,) = [line for line in self.out.splitlines() if line.startswith(start)]
        return " ".join(line.split())


def candles(*arguments: object) -> Done:
    """Run a command in this process."""
    result = CliRunner().invoke(_app(), ["candles", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


def started(*arguments: object, **streams: Any) -> subprocess.Popen[str]:
    """Start a command as a process of its own, which inherits the environment."""
    command = [sys.executable, "-m", "backtest_mongo.cli", "candles", *map(str, arguments)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.Popen(command, text=True, env={**os.environ, "PYTHONPATH": str(PROJECT)}, **streams)


def written(
    path: Path, rows: int, *, first: int = START, step: int = MINUTE, skip: Callable[[int], bool] = bool
) -> Path:
    """Write a CSV file of candles, in which price and volume tell the place."""
    skipped = (lambda index: False) if skip is bool else skip
    path.write_text(
        "timestamp,open,high,low,close,volume\n"
        + "".join(
            f"{first + index * step},{index}.25,{index + 1}.0,{index}.0,{index}.75,{index * 2}.5\n"
            for index in range(rows)
            if not skipped(index)
        )
    )
    return path


# import


def test_import_stores_the_candles_of_a_file(database: Database, tmp_path: Path) -> None:
    done = candles("import", written(tmp_path / "a.csv", 1000), *SERIES)
    assert (done.code, done.line("new")) == (0, "new 1,000")
    assert done.out.startswith("binance BTCUSDT 1m: 1,000 candles in 1 file\n")
    assert done.err == f"{tmp_path}/a.csv: commas, header; volume from 'volume', time from 'timestamp'\n"
    frame = database.frame("BTCUSDT", "1m", "binance")
    assert len(frame) == 1000
    assert frame.row(999)[1:] == (999.25, 1000.0, 999.0, 999.75, 1998.5)
    assert frame["timestamp"].cast(pl.Int64)[999] == START + 999 * MINUTE


def test_import_again_passes_over_what_is_stored(database: Database, tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", 1000)
    candles("import", path, *SERIES)
    written(path, 1200)
    done = candles("import", path, *SERIES)
    assert (done.line("new"), done.line("already there")) == ("new 200", "already there 1,000")
    done = candles("import", path, *SERIES)
    assert (done.code, done.line("new"), done.line("already there")) == (0, "new 0", "already there 1,200")


def test_import_of_newest_candles_first_stores_them_all(database: Database, tmp_path: Path) -> None:
    head, *rows = written(tmp_path / "a.csv", 1000).read_text().splitlines()
    (tmp_path / "a.csv").write_text("\n".join([head, *reversed(rows)]))
    assert candles("import", tmp_path / "a.csv", *SERIES).line("new") == "new 1,000"
    assert database.frame("BTCUSDT", "1m", "binance")["timestamp"].is_sorted()


def test_import_of_a_directory_reads_its_files_and_names_the_others(database: Database, tmp_path: Path) -> None:
    written(tmp_path / "BTCUSDT-1m-2024-01.csv", 100)
    packed = gzip.compress(written(tmp_path / "x", 100, first=START + 100 * MINUTE).read_bytes())
    (tmp_path / "BTCUSDT-1m-2024-02.csv.gz").write_bytes(packed)
    done = candles("import", tmp_path, *SERIES)
    assert (done.code, done.line("new")) == (0, "new 200")
    assert done.out.startswith("binance BTCUSDT 1m: 200 candles in 2 files\n")
    assert done.err.startswith(f"ignored: {tmp_path}/x\n")
    assert done.err.count("commas, header") == 1  # what is understood the same way is said once


def test_bad_lines_are_listed_and_the_rest_goes_in(database: Database, tmp_path: Path) -> None:
    head, *rows = written(tmp_path / "a.csv", 100).read_text().splitlines()
    rows[10:10] = ["x,y"] * 30
    (tmp_path / "a.csv").write_text("\n".join([head, *rows]))
    done = candles("import", tmp_path / "a.csv", *SERIES)
    assert (done.code, done.line("new"), done.line("bad lines")) == (1, "new 100", "bad lines 30")
    listed = [line for line in done.out.splitlines() if line.startswith(str(tmp_path))]
    assert listed == [f"{tmp_path}/a.csv:{number}  2 fields instead of 6" for number in range(12, 32)]
    assert done.out.endswith("\nand 10 bad lines more\n")
    assert database.rows() == 100


def test_candle_that_has_not_closed_is_refused_with_its_line(database: Database, tmp_path: Path) -> None:
    now = int(time.time() * 1000) // HOUR * HOUR
    path = written(tmp_path / "a.csv", 15, first=now - 9 * HOUR, step=HOUR)
    done = candles("import", path, "--symbol", "BTCUSDT", "--interval", "1h", "--exchange", "binance")
    # The clock may pass a full hour between the two lines.
    new = database.rows()
    assert new in (9, 10)
    assert (done.code, done.line("new")) == (0, f"new {new}")
    places = ", ".join(f"{path}:{number}" for number in range(new + 2, new + 5))
    text = " ".join(done.out.split())
    assert f"refused {15 - new} it has not closed yet: " in text
    assert places.replace(" ", "") in done.out.replace("\n", "").replace(" ", "")


def test_file_of_another_interval_is_refused(database: Database, tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", 100, step=HOUR)
    good = written(tmp_path / "b.csv", 10)
    done = candles("import", path, good, *SERIES)
    assert (done.code, done.line("new"), done.line("unreadable files")) == (1, "new 10", "unreadable files 1")
    assert f"{path}: its candles are 1h apart, not 1m (--any-spacing if" in done.out
    done = candles("import", path, "--any-spacing", *SERIES)
    assert (done.code, done.line("new")) == (0, "new 99")
    assert done.line("already there") == "already there 1"


def test_candles_beside_the_grid_are_counted(database: Database, tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", 10)
    path.write_text(path.read_text() + f"{START + 20 * MINUTE + 1000},1,1,1,1,1\n")
    done = candles("import", path, *SERIES)
    assert (done.code, done.line("new")) == (0, "new 11")
    assert done.line("off the grid") == "off the grid 1 stored, but not on the grid of their file's first candle"


def test_file_that_can_not_be_read_keeps_no_other_from_it(database: Database, tmp_path: Path) -> None:
    broken, empty = tmp_path / "a.csv.gz", tmp_path / "b.csv"
    broken.write_bytes(gzip.compress(b"timestamp,open\n" * 10_000)[:50])
    empty.write_text("")
    done = candles("import", broken, empty, written(tmp_path / "c.csv", 10), *SERIES)
    assert (done.code, done.line("new"), done.line("unreadable files")) == (1, "new 10", "unreadable files 1")
    assert f"{broken}: can't be read: Compressed file ended" in done.out


def test_columns_and_unit_can_be_named(database: Database, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("".join(f"x,{index * 60},4.0,1.0,2.0,3.0,5.0\n" for index in range(5)))
    names = ("--columns", "-,time,high,low,open,close,volume", "--time-unit", "s")
    done = candles("import", tmp_path / "a.csv", *names, *SERIES)
    assert (done.code, done.line("new")) == (0, "new 5")
    frame = database.frame("BTCUSDT", "1m", "binance")
    assert frame.row(0)[1:] == (2.0, 4.0, 1.0, 3.0, 5.0)
    assert frame["timestamp"].cast(pl.Int64).to_list() == [index * MINUTE for index in range(5)]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_import_that_is_ended_in_the_middle_is_carried_on(
    number: signal.Signals, database: Database, tmp_path: Path
) -> None:
    total = 120_000
    path = written(tmp_path / "a.csv", total)
    process = started("import", path, *SERIES)
    while not database.rows():
        assert process.poll() is None
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    assert "Traceback" not in errors
    before = database.rows()
    assert 0 < before < total
    done = candles("import", path, *SERIES)
    assert done.code == 0
    # What the server was given when the process was killed lands after the count.
    present = int(done.line("already there").split()[-1].replace(",", ""))
    assert before <= present < total
    assert done.line("new") == f"new {total - present:,}"
    assert database.rows() == total
    frame = database.frame("BTCUSDT", "1m", "binance", as_="numpy")
    assert (frame["open"] == [index + 0.25 for index in range(total)]).all()
    assert candles("verify").code == 0


def test_progress_is_shown_on_a_terminal_and_nowhere_else(database: Database, tmp_path: Path) -> None:
    path = written(tmp_path / "candles.csv", 100_000)
    ours, theirs = pty.openpty()
    process = started("import", path, *SERIES, stderr=theirs)
    os.close(theirs)
    shown = b""
    while part := _read(ours):
        shown += part
    os.close(ours)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output.splitlines()[0]) == (0, "binance BTCUSDT 1m: 100,000 candles in 1 file")
    plain = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", shown).decode()
    assert "candles.csv" in plain
    assert re.search(r"[\d.]+/[\d.]+ MB", plain)
    assert re.search(r"[\d,]+ rows/s", plain)
    assert "rows/s" not in candles("import", path, *SERIES).err


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # Linux's way to say that the other side is closed
        return b""


# export


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".csv.gz"])
def test_export_can_be_imported_again_to_the_last_digit(ending: str, database: Database, tmp_path: Path) -> None:
    candles("import", EURUSD, *EUR)
    path = tmp_path / f"candles{ending}"
    done = candles("export", *EUR, "--output", path)
    assert (done.code, done.out, done.err) == (0, f"demo EURUSD 1h: 5,000 rows in {path}\n", "")
    assert os.listdir(tmp_path) == [path.name]
    again = candles("import", path, "--symbol", "AGAIN", "--interval", "1h", "--exchange", "demo")
    assert (again.code, again.line("new")) == (0, "new 5,000")
    assert_frame_equal(database.frame("AGAIN", "1h", "demo"), database.frame("EURUSD", "1h", "demo"), check_exact=True)


def test_export_of_several_stretches_is_whole(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    candles("import", EURUSD, *EUR)
    monkeypatch.setattr(exporting, "_PLACES", 100)
    candles("export", *EUR, "-o", tmp_path / "candles.parquet")
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
    monkeypatch.setattr(exporting, "_PLACES", 333)
    candles("import", EURUSD, *EUR)
    given = [*(["--start", start] if start else []), *(["--end", end] if end else [])]
    assert candles("export", *EUR, "-o", tmp_path / "a.parquet", *given).code == 0
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
    monkeypatch.setattr(exporting, "_PLACES", places)
    candles("import", EURUSD, *EUR)
    done = candles("export", *EUR, "-o", tmp_path / "a.parquet", "--fill", fill)
    expected = database.frame("EURUSD", "1h", "demo", fill=fill)
    assert done.out.startswith(f"demo EURUSD 1h: {len(expected):,} rows in ")
    assert len(expected) > 5000
    assert_frame_equal(pl.read_parquet(tmp_path / "a.parquet"), expected, check_exact=True)
    candles("export", *EUR, "-o", tmp_path / "a.csv", "--fill", fill)
    assert_frame_equal(pl.read_csv(tmp_path / "a.csv").select(PRICES), expected.select(PRICES), check_exact=True)


def test_candles_beside_the_full_hour_stay_on_their_grid(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "_PLACES", 10)
    path = written(tmp_path / "a.csv", 100, first=START + 30 * MINUTE, step=HOUR, skip=lambda index: 20 <= index < 55)
    series = ("--symbol", "X", "--interval", "1h", "--exchange", "e")
    candles("import", path, *series)
    candles("export", *series, "-o", tmp_path / "b.csv", "--fill", "forward", "--start", "2024-01-01 05:00")
    frame = pl.read_csv(tmp_path / "b.csv")
    assert frame["timestamp"].to_list() == [START + 30 * MINUTE + index * HOUR for index in range(5, 100)]
    assert frame.filter(pl.col("volume") == 0)["close"].to_list() == [19.75] * 35


def test_export_that_fails_leaves_no_file_and_keeps_the_old_one(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    candles("import", EURUSD, *EUR)
    monkeypatch.setattr(exporting._Csv, "write", full)
    done = candles("export", *EUR, "-o", tmp_path / "a.csv")
    assert (done.code, done.err) == (1, "backtest-mongo: [Errno 28] No space left on device\n")
    assert os.listdir(tmp_path) == []
    (tmp_path / "a.csv").write_text("old")
    assert candles("export", *EUR, "-o", tmp_path / "a.csv", "--force").code == 1
    assert os.listdir(tmp_path) == ["a.csv"]
    assert (tmp_path / "a.csv").read_text() == "old"


def test_export_does_not_overwrite_unless_forced(database: Database, tmp_path: Path) -> None:
    candles("import", EURUSD, *EUR)
    path = tmp_path / "a.csv"
    path.write_text("old")
    done = candles("export", *EUR, "-o", path)
    assert (done.code, path.read_text()) == (2, "old")
    assert "--force replaces it" in done.error
    assert candles("export", *EUR, "-o", path, "--force").code == 0
    assert path.read_text().count("\n") == 5001


def test_export_of_nothing_is_told(database: Database, tmp_path: Path) -> None:
    done = candles("export", *EUR, "-o", tmp_path / "a.csv")
    assert (done.code, done.err) == (1, "backtest-mongo: no candles of demo EURUSD 1h are stored\n")
    candles("import", EURUSD, *EUR)
    done = candles("export", *EUR, "-o", tmp_path / "a.csv", "--start", "2020-01-01")
    assert (done.code, done.err) == (1, "backtest-mongo: no candles of demo EURUSD 1h are stored in that range\n")
    assert os.listdir(tmp_path) == []


# coverage, seal, verify


def test_coverage_in_json_has_every_gap(database: Database) -> None:
    candles("import", EURUSD, *EUR)
    done = candles("coverage", "--json")
    assert (done.code, done.err) == (0, "")
    (series,) = json.loads(done.out)["series"]
    times = pl.read_csv(EURUSD)["timestamp"]
    steps = times.diff().drop_nulls()
    assert (series["exchange"], series["symbol"], series["interval"]) == ("demo", "EURUSD", "1h")
    assert (series["first"], series["last"], series["rows"]) == (times[0], times[-1], 5000)
    assert series["missing"] == (times[-1] - times[0]) // HOUR + 1 - 5000
    assert series["gaps"] == [
        {"start": time + HOUR, "end": time + step, "rows": step // HOUR - 1}
        for time, step in zip(times, steps, strict=False)
        if step > HOUR
    ]
    assert series["sealed_rows"] == 5000
    assert series["bytes"] > series["sealed_bytes"] > 0


def test_coverage_shows_each_series_and_the_longest_gaps(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    candles("import", EURUSD, *EUR)
    candles("import", written(tmp_path / "a.csv", 100, skip=lambda index: index in (10, 11, 50)), *SERIES)
    done = candles("coverage", "--gaps", "3")
    assert done.code == 0
    table, _, gaps = done.out.partition("The longest 3 of ")
    assert re.search(r"BTCUSDT 1m +2024-01-01 00:00 +97 +2 +3 +2 min +100 % .*\n *binance +2024-01-01 01:39 *\n", table)
    assert re.search(r"EURUSD 1h +2017-04-19 09:00 +5,000 .*\n *demo +2018-02-\d\d \d\d:00 *\n", table)
    assert gaps.count("demo EURUSD 1h") == 3
    monkeypatch.setenv("COLUMNS", "80")
    assert "…" not in candles("coverage").out
    only = candles("coverage", "--symbol", "BTCUSDT")
    assert "EURUSD" not in only.out
    assert re.search(r"2024-01-01 00:10\s+2024-01-01 00:12\s+2 min\s+2 *\n", only.out)
    assert "first missing" not in candles("coverage", "--gaps", "0").out


@pytest.mark.parametrize("command", ["coverage", "seal", "verify"])
def test_series_that_are_not_stored_are_told(command: str, database: Database) -> None:
    done = candles(command)
    assert (done.code, done.out, done.err) == (1, "", "backtest-mongo: no candles are stored\n")
    candles("import", EURUSD, *EUR)
    assert candles(command, "--symbol", "EURUSD").code == 0
    done = candles(command, "--symbol", "EURUSD", "--interval", "1m")
    assert (done.code, done.err) == (1, "backtest-mongo: no candles of EURUSD 1m are stored\n")


def test_seal_seals_what_an_import_has_left(database: Database) -> None:
    candles("import", EURUSD, *EUR)
    database.client[database.name]["candle-blocks"].delete_many({})
    done = candles("seal")
    assert done.code == 0
    assert re.search(r"demo EURUSD 1h\s+2\s+5,000\s+100 %", done.out)
    assert re.search(r"demo EURUSD 1h\s+0\s+0\s+100 %", candles("seal").out)


def test_verify_finds_a_damaged_block_and_repairs_it(database: Database) -> None:
    candles("import", EURUSD, *EUR)
    candles("seal")
    done = candles("verify")
    assert done.code == 0
    assert re.search(r"demo EURUSD 1h\s+2\s+5,000\s+0\s+0", done.out)
    row = database.client[database.name]["candle-items"].find_one_and_update({}, {"$inc": {"close": 1.0}})
    assert row is not None
    done = candles("verify")
    assert done.code == 1
    assert re.search(r"demo EURUSD 1h\s+2\s+5,000\s+1\s+0", done.out)
    assert re.search(r"\ndemo EURUSD 1h 2017-\d\d-\d\d \d\d:00  \w", done.out)
    assert candles("verify", "--repair").code == 0
    assert candles("verify").code == 0


# What goes wrong


def usage(*arguments: object) -> str:
    done = candles(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert "Traceback" not in done.err
    return " ".join(done.err.replace("│", " ").split())


def test_wrong_arguments_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    path = written(tmp_path / "a.csv", 1)
    series = SERIES[:2] + SERIES[4:]
    out = ("export", *SERIES, "-o")
    assert "'7m' is not one of 1m, 3m, 5m" in usage("import", path, "--interval", "7m", *series)
    assert "'1x' is not one of 1m, 3m, 5m" in usage("coverage", "--interval", "1x")
    assert "Missing option '--interval'" in usage("import", path, *series)
    assert "does not exist" in usage("import", tmp_path / "absent.csv", *SERIES)
    assert "'h' is not one of auto, s, ms, us, ns" in usage("import", path, *SERIES, "--time-unit", "h")
    names = ("--columns", "time,open,high,low,close")
    assert "no column for volume among time, open, high, low, close" in usage("import", path, *SERIES, *names)
    assert "must end in .parquet, .csv, .csv.gz" in usage(*out, tmp_path / "a.json")
    assert "does not exist" in usage(*out, tmp_path / "absent" / "a.csv")
    assert "'soon' is no time" in usage(*out, tmp_path / "b.csv", "--start", "soon")
    assert "must come after --start" in usage(*out, tmp_path / "b.csv", "--start", "2024-01-02", "--end", "2024-01-01")
    assert "'0' is not one of null, forward" in usage(*out, tmp_path / "b.csv", "--fill", "0")


def test_directory_without_candle_files_is_told(tmp_path: Path) -> None:
    done = candles("import", tmp_path, *SERIES)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"backtest-mongo: {tmp_path}: has no candle files (they end in .csv")


@pytest.mark.parametrize(
    "command", [["import", EURUSD, *EUR], ["export", *EUR, "-o", "a.csv"], ["coverage"], ["seal"], ["verify"]]
)
def test_missing_server_is_one_line(command: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("CC_MONGO_CONNECTION_STRING", f"mongodb://127.0.0.1:{free.getsockname()[1]}/nowhere")
        monkeypatch.setenv("CC_MONGO_TIMEOUT_MS", "300")
        done = candles(*command)
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-1].startswith("backtest-mongo: candle: ")
    assert "MongoDB at 127.0.0.1:" in done.err
    assert "Traceback" not in done.err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("missing", "extra", "arguments"),
    [
        ("pyarrow", "frames", ["export", *SERIES, "-o", "a.parquet"]),
        ("altair", "plot", ["plot", *SERIES, "-o", "a.png"]),
    ],
)
def test_missing_extra_is_named(missing: str, extra: str, arguments: list[str], tmp_path: Path) -> None:
    code = f"""
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == {missing!r} else find(name, *rest)
from backtest_mongo.cli import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code, "candles", *arguments], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f'backtest-mongo: {missing} missing: pip install "backtest-mongo[{extra}]"\n'


# Help and words


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("", "import export coverage seal verify plot"),
        ("import", "Exits with 0 if every line was a candle, with 1 if lines or files were not"),
        ("export", "The file appears when it is complete"),
        ("coverage", "A gap lies between the first and the last stored candle"),
        ("seal", "Large imports seal as they go"),
        ("verify", "Exits with 1 if a block is damaged; with --repair only if one could not be repaired"),
    ],
)
def test_help_flows_and_says_how_a_command_ends(command: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    done = candles(*command.split(), "--help")
    assert done.code == 0
    text = " ".join(done.out.replace("│", " ").split())
    if command:
        assert words in text
        # A paragraph whose lines were kept would have short ones in its middle.
        prose = done.out.partition("╭")[0].strip().split("\n")[2:]
        for line, after in pairwise(prose):
            assert not line.strip() or not after.strip() or len(line.strip() + " " + after.split()[0]) > 67
    else:
        assert all(f" {word} " in text for word in words.split())


@pytest.mark.parametrize(
    ("millis", "words"),
    [
        (0, "0 s"),
        (1, "1 ms"),
        (60_000, "1 min"),
        (49 * HOUR, "2 d 1 h"),
        (48 * HOUR + 1, "2 d"),
        (90_061_000, "1 d 1 h"),
    ],
)
def test_length_has_the_two_largest_units(millis: int, words: str) -> None:
    assert length(millis) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (99_960, "100 kB"), (1_500_000, "1.5 MB"), (10**15, "1000 TB")],
)
def test_size_has_its_unit(count: int, words: str) -> None:
    assert size(count) == words


def test_share_is_whole_only_where_nothing_is_missing() -> None:
    assert [share(0, 0), share(0, 5), share(9_999, 10_000), share(5, 5)] == ["-", "0 %", "99 %", "100 %"]
