"""Importing candles from files: what is stored, skipped, refused and reported."""

from __future__ import annotations

import gzip
import re
import signal
import time
from pathlib import Path

import polars as pl
import pytest

from tests.support.candle_commands import HOUR, MINUTE, SERIES, START, Database, run_candles, start_candles, write_csv
from tests.support.deadlines import PROCESS_SECONDS

pytestmark = [pytest.mark.either_driver, pytest.mark.two_pythons]


def test_import_stores_the_candles_of_a_file(database: Database, tmp_path: Path) -> None:
    done = run_candles("import", write_csv(tmp_path / "a.csv", 1000), *SERIES)
    assert (done.code, done.line("new")) == (0, "new 1,000")
    assert done.out.startswith("binance BTCUSDT 1m: 1,000 candles in 1 file\n")
    assert done.err == f"{tmp_path}/a.csv: commas, header; volume from 'volume', time from 'timestamp' in ms\n"
    frame = database.frame("BTCUSDT", "1m", "binance")
    assert len(frame) == 1000
    assert frame.row(999)[1:] == (999.25, 1000.0, 999.0, 999.75, 1998.5)
    assert frame["timestamp"].cast(pl.Int64)[999] == START + 999 * MINUTE


def test_repeated_import_skips_stored_candles(database: Database, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", 1000)
    run_candles("import", path, *SERIES)
    write_csv(path, 1200)
    done = run_candles("import", path, *SERIES)
    assert (done.line("new"), done.line("already there")) == ("new 200", "already there 1,000")
    done = run_candles("import", path, *SERIES)
    assert (done.code, done.line("new"), done.line("already there")) == (0, "new 0", "already there 1,200")


def test_import_with_newest_candles_first_stores_them_all(database: Database, tmp_path: Path) -> None:
    head, *rows = write_csv(tmp_path / "a.csv", 1000).read_text().splitlines()
    (tmp_path / "a.csv").write_text("\n".join([head, *reversed(rows)]))
    assert run_candles("import", tmp_path / "a.csv", *SERIES).line("new") == "new 1,000"
    assert database.frame("BTCUSDT", "1m", "binance")["timestamp"].is_sorted()


def test_import_of_a_directory_reads_its_files_and_names_the_others(database: Database, tmp_path: Path) -> None:
    write_csv(tmp_path / "BTCUSDT-1m-2024-01.csv", 100)
    packed = gzip.compress(write_csv(tmp_path / "x", 100, first=START + 100 * MINUTE).read_bytes())
    (tmp_path / "BTCUSDT-1m-2024-02.csv.gz").write_bytes(packed)
    done = run_candles("import", tmp_path, *SERIES)
    assert (done.code, done.line("new")) == (0, "new 200")
    assert done.out.startswith("binance BTCUSDT 1m: 200 candles in 2 files\n")
    assert done.err.startswith(f"ignored: {tmp_path}/x\n")
    assert done.err.count("commas, header") == 1  # what is understood the same way is said once


def test_bad_lines_are_listed_and_the_rest_is_stored(database: Database, tmp_path: Path) -> None:
    head, *rows = write_csv(tmp_path / "a.csv", 100).read_text().splitlines()
    rows[10:10] = ["x,y"] * 30
    (tmp_path / "a.csv").write_text("\n".join([head, *rows]))
    done = run_candles("import", tmp_path / "a.csv", *SERIES)
    assert (done.code, done.line("new"), done.line("bad lines")) == (1, "new 100", "bad lines 30")
    listed = [line for line in done.out.splitlines() if line.startswith(str(tmp_path))]
    assert listed == [f"{tmp_path}/a.csv:{number}  2 fields instead of 6" for number in range(12, 32)]
    assert done.out.endswith("\nand 10 more bad lines\n")
    assert database.rows() == 100


def test_open_candle_is_counted_and_is_no_failure(database: Database, tmp_path: Path) -> None:
    now = int(time.time() * 1000) // HOUR * HOUR
    path = write_csv(tmp_path / "a.csv", 15, first=now - 9 * HOUR, step=HOUR)
    done = run_candles("import", path, "--symbol", "BTCUSDT", "--interval", "1h", "--exchange", "binance")
    # The clock may pass a full hour between the two lines.
    new = database.rows()
    assert new in (9, 10)
    assert (done.code, done.line("new")) == (0, f"new {new}")
    assert done.line("still open").startswith(f"still open {15 - new} ")
    assert "refused" not in done.out


def test_file_of_another_interval_is_refused(database: Database, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", 100, step=HOUR)
    good = write_csv(tmp_path / "b.csv", 10)
    done = run_candles("import", path, good, *SERIES)
    assert (done.code, done.line("new"), done.line("unreadable files")) == (1, "new 10", "unreadable files 1")
    assert f"{path}: its candles are 1h apart, not 1m (--any-spacing if" in done.out
    done = run_candles("import", path, "--any-spacing", *SERIES)
    assert (done.code, done.line("new")) == (0, "new 99")
    assert done.line("already there") == "already there 1"


def test_off_grid_candles_are_counted(database: Database, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", 10)
    path.write_text(path.read_text() + f"{START + 20 * MINUTE + 1000},1,1,1,1,1\n")
    done = run_candles("import", path, *SERIES)
    assert (done.code, done.line("new")) == (0, "new 11")
    assert done.line("off the grid") == "off the grid 1 stored, but not on the grid of their file's first candle"


def test_unreadable_file_does_not_stop_the_others(database: Database, tmp_path: Path) -> None:
    broken, empty, archive = tmp_path / "a.csv.gz", tmp_path / "b.csv", tmp_path / "d.zip"
    archive.write_bytes(b"PK\x03\x04 and no more")
    broken.write_bytes(gzip.compress(b"timestamp,open\n" * 10_000)[:50])
    empty.write_text("")
    done = run_candles("import", broken, archive, empty, write_csv(tmp_path / "c.csv", 10), *SERIES)
    assert (done.code, done.line("new"), done.line("unreadable files")) == (1, "new 10", "unreadable files 3")
    assert f"{archive}: can't be read: File is not a zip file" in done.out
    assert f"{broken}: can't be read: Compressed file ended" in done.out
    assert f"{empty}: has no candles" in done.out


def test_columns_and_unit_can_be_named(database: Database, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("".join(f"x,{index * 60},4.0,1.0,2.0,3.0,5.0\n" for index in range(5)))
    names = ("--columns", "-,time,high,low,open,close,volume", "--time-unit", "s")
    done = run_candles("import", tmp_path / "a.csv", *names, *SERIES)
    assert (done.code, done.line("new")) == (0, "new 5")
    frame = database.frame("BTCUSDT", "1m", "binance")
    assert frame.row(0)[1:] == (2.0, 4.0, 1.0, 3.0, 5.0)
    assert frame["timestamp"].cast(pl.Int64).to_list() == [index * MINUTE for index in range(5)]


def test_file_in_which_nothing_can_be_read_is_a_failure(database: Database, tmp_path: Path) -> None:
    for number, text in enumerate(("", "\n\n", "timestamp,open,high,low,close,volume\n", "<html>\n")):
        (tmp_path / f"{number}.csv").write_text(text)
    done = run_candles("import", tmp_path, *SERIES)
    assert (done.code, done.line("new"), done.line("unreadable files")) == (1, "new 0", "unreadable files 4")
    assert done.out.count("has no candles") == 3


def test_refused_row_is_a_failure_and_the_rest_is_stored(database: Database, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", 10)
    path.write_text(path.read_text() + f"{START},1.0,2.0,0.5,1.5,1.0\n")
    done = run_candles("import", path, *SERIES)
    assert (done.code, done.line("new")) == (1, "new 10")
    assert f"a row before it has the same time: {path}:12".replace(" ", "") in "".join(done.out.split())


def test_rows_that_are_wider_than_the_header_store_nothing(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "Date,Open,High,Low,Close,Volume\n" + "".join(f"2024-01-01 00:0{at},1,2,0.5,1.5,1,234,567\n" for at in range(9))
    )
    done = run_candles("import", path, *SERIES)
    assert (done.code, done.line("new"), database.rows()) == (1, "new 0", 0)
    assert "no line has 6 fields like its header: line 2 has 8" in done.out
    assert "--columns names the columns in their order" in done.out


def symbols(path: Path, names: dict[str, str]) -> Path:
    rows = "".join(
        f"{name},2024-01-0{day},{price},{price},{price},{price},{day}\n"
        for day in range(1, 6)
        for name, price in names.items()
    )
    path.write_text("symbol,date,open,high,low,close,volume\n" + rows)
    return path


DAILY = ("--interval", "1d", "--exchange", "nasdaq")


def test_only_rows_of_the_requested_symbol_are_stored(database: Database, tmp_path: Path) -> None:
    path = symbols(tmp_path / "a.csv", {"AAPL": "180", "FB": "350"})
    done = run_candles("import", path, "--symbol", "fb", *DAILY)
    assert (done.code, done.line("new"), done.line("other symbols")) == (0, "new 5", "other symbols 5 skipped")
    assert database.frame("fb", "1d", "nasdaq")["close"].to_list() == [350.0] * 5
    done = run_candles("import", path, "--symbol", "META", *DAILY)
    assert (done.code, done.line("new")) == (1, "new 0")
    assert "is of AAPL, FB, not of META (--symbol takes one of them)" in done.out


def test_all_symbols_of_a_file_are_stored_where_none_is_named(database: Database, tmp_path: Path) -> None:
    done = run_candles("import", symbols(tmp_path / "a.csv", {"AAPL": "180", "FB": "350"}), *DAILY)
    assert (done.code, done.line("new")) == (0, "new 10")
    assert done.out.startswith("nasdaq 2 symbols 1d: 10 candles in 1 file\n")
    assert database.frame("AAPL", "1d", "nasdaq")["close"].to_list() == [180.0] * 5
    assert database.frame("FB", "1d", "nasdaq")["close"].to_list() == [350.0] * 5
    done = run_candles("import", write_csv(tmp_path / "b.csv", 5), "--interval", "1m", "--exchange", "nasdaq")
    assert (done.code, done.line("new")) == (1, "new 0")
    assert "b.csv: names no symbol (--symbol names it)" in done.out


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ETHUSDT-1m-2024-01.csv", "its name says ETHUSDT, not BTCUSDT (--force stores it)"),
        ("ETH_USDT-1m.csv", "its name says ETH_USDT, not BTCUSDT"),
        ("Binance_ETHUSDT_1min.csv", "its name says ETHUSDT, not BTCUSDT"),
        ("DAT_ASCII_EURUSD_M1_2023.csv", "its name says EURUSD, not BTCUSDT"),
        ("BTCUSDT-1h-2024-01.csv", "its name says another interval than 1m (--force stores them)"),
    ],
)
def test_file_named_after_another_series_is_refused_unless_forced(
    name: str, words: str, database: Database, tmp_path: Path
) -> None:
    path = write_csv(tmp_path / name, 10)
    done = run_candles("import", path, *SERIES)
    assert (done.code, done.line("new"), database.rows()) == (1, "new 0", 0)
    assert f"{name}: {words}" in done.out
    assert run_candles("import", path, *SERIES, "--force").code == 0
    assert database.rows() == 10


@pytest.mark.parametrize(
    "name", ["BTCUSDT-1m-2024-01.csv", "BTC_USDT-1m.csv", "candles-1h.csv", "data_1h.csv", "ETH.csv"]
)
def test_file_whose_name_contradicts_nothing_is_read(name: str, database: Database, tmp_path: Path) -> None:
    assert run_candles("import", write_csv(tmp_path / name, 10), *SERIES).code == 0


def test_read_options_are_passed_on(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("when;o;h;l;c\n1/2/24 01:00;1,234;1,500;1,100;1,300\n")
    options = ("--time-format", "%d/%m/%y %H:%M", "--time-zone", "Europe/Berlin", "--decimal", "comma", "--no-volume")
    done = run_candles("import", path, *SERIES, *options, "--columns", "time,open,high,low,close")
    assert (done.code, done.line("new")) == (0, "new 1")
    frame = database.frame("BTCUSDT", "1m", "binance")
    assert frame["timestamp"].dt.strftime("%Y-%m-%d %H:%M").to_list() == ["2024-02-01 00:00"]
    assert frame.row(0)[1:] == (1.234, 1.5, 1.1, 1.3, 0.0)
    for option, wrong in (("--decimal", "dot"), ("--time-zone", "Berlin"), ("--time-unit", "hours")):
        assert run_candles("import", path, *SERIES, option, wrong).code == 2


@pytest.mark.heavy
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_interrupted_import_is_resumed(number: signal.Signals, database: Database, tmp_path: Path) -> None:
    total = 120_000
    path = write_csv(tmp_path / "a.csv", total)
    process = start_candles("import", path, *SERIES)
    while not database.rows():
        assert process.poll() is None
    process.send_signal(number)
    _, errors = process.communicate(timeout=PROCESS_SECONDS)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    assert "Traceback" not in errors
    before = database.rows()
    assert 0 < before < total
    done = run_candles("import", path, *SERIES)
    assert done.code == 0
    # What the server was given when the process was killed lands after the count.
    present = int(done.line("already there").split()[-1].replace(",", ""))
    assert before <= present < total
    assert done.line("new") == f"new {total - present:,}"
    assert database.rows() == total
    frame = database.frame("BTCUSDT", "1m", "binance", as_="numpy")
    assert (frame["open"] == [index + 0.25 for index in range(total)]).all()
    assert run_candles("verify").code == 0


def test_impossible_candles_are_bad_lines_with_place_and_numbers(database: Database, tmp_path: Path) -> None:
    lines = write_csv(tmp_path / "a.csv", 20).read_text().splitlines()
    broken = {
        2: "high is below low: low 1.75, high 1.0",
        4: "open is above high: open 9.0, high 4.0",
        6: "volume is negative: -1.0",
    }
    time = [START + index * MINUTE for index in range(20)]
    lines[2] = f"{time[1]},1.25,1.0,1.75,1.25,1"
    lines[4] = f"{time[3]},9.0,4.0,3.0,3.5,1"
    lines[6] = f"{time[5]},5.25,6.0,5.0,5.75,-1.0"
    lines[8] = f"{time[7]},7.25,8.0,7.0,7.000000001,1"
    for name in ("a.csv", "b.parquet"):
        path = tmp_path / name
        if name == "a.csv":
            path.write_text("\n".join(lines) + "\n")
        else:
            pl.read_csv(tmp_path / "a.csv").write_parquet(path)
        done = run_candles("import", path, *SERIES)
        assert (done.code, done.line("bad lines")) == (1, "bad lines 3")
        assert "refused" not in done.out
        for line, reason in broken.items():
            assert f"{path}:{line + 1 - name.endswith('parquet')}  {reason}\n" in done.out
    assert database.rows() == 17


def test_header_without_a_name_for_the_time_is_replaced_by_columns(database: Database, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", 9)
    path.write_text(path.read_text().removeprefix("timestamp,"))
    done = run_candles("import", path, *SERIES)
    assert (done.code, database.rows()) == (1, 0)
    assert "--columns names the columns in their order" in done.out
    with path.open("a") as file:
        file.write(f"{START + 9 * MINUTE},1,2,0.5,1.5,1,234\n")
    done = run_candles("import", path, *SERIES, "--columns", "time,open,high,low,close,volume")
    assert (done.code, database.rows(), done.line("bad lines")) == (1, 9, "bad lines 1")
    assert f"{path}:11  7 fields instead of 6" in done.out
    assert database.frame("BTCUSDT", "1m", "binance")["volume"].to_list() == [index * 2 + 0.5 for index in range(9)]
    done = run_candles("import", path, *SERIES, "--columns", "time,open,high,low,close,volume,-,-")
    assert (done.code, done.line("new")) == (1, "new 0")


@pytest.mark.parametrize("rows", [2, 50])
def test_file_whose_times_are_too_dense_for_its_interval_is_refused_despite_any_spacing(
    database: Database, tmp_path: Path, rows: int
) -> None:
    dense = write_csv(tmp_path / "dense.csv", rows, step=20_000)
    fine = write_csv(tmp_path / "fine.csv", 5)
    done = run_candles("import", dense, fine, *SERIES, "--any-spacing")
    assert (done.code, done.line("new"), done.line("unreadable")) == (1, "new 5", "unreadable files 1")
    problem = "its candles can't be of 1m: the median distance of its times is 20,000 ms, less than half of 1m"
    assert f"{dense}: {problem}" in done.out
    assert "refused" not in done.out
    assert database.rows() == 5


def test_file_that_becomes_too_dense_is_refused_from_there_on(database: Database, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", 60_000)
    late = [f"{START + 60_000 * MINUTE + index * 1000},1,2,0.5,1.5,3\n" for index in range(60_000)]
    with path.open("a") as file:
        file.writelines(late)
    done = run_candles("import", path, *SERIES)
    assert (done.code, done.line("unreadable")) == (1, "unreadable files 1")
    read = re.search(r"less than half of 1m; stored before line ([\d]+): ([\d,]+) candles", done.out)
    assert read is not None, done.out
    stored = int(read.group(2).replace(",", ""))
    assert database.rows() == stored == int(read.group(1)) - 2
    times = database.frame("BTCUSDT", "1m", "binance")["timestamp"].cast(pl.Int64).to_list()
    assert times == list(range(START, START + stored * MINUTE, MINUTE))[: len(times)]


def test_directory_without_candle_files_is_reported(tmp_path: Path) -> None:
    done = run_candles("import", tmp_path, *SERIES)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"backtest-mongo: {tmp_path}: has no candle files (they end in .csv")
