"""Stored candles on the command line: coverage, sealing, verification and deletion."""

from __future__ import annotations

import json
import os
import pty
import re
from pathlib import Path

import polars as pl
import pytest

from tests.support.candle_commands import EUR, EURUSD, HOUR, SERIES, Database, run_candles, start_candles, write_csv

pytestmark = [pytest.mark.either_driver, pytest.mark.one_python]


# Coverage, sealing and verification


def test_coverage_in_json_has_every_gap(database: Database) -> None:
    run_candles("import", EURUSD, *EUR)
    done = run_candles("coverage", "--json")
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
    run_candles("import", EURUSD, *EUR)
    run_candles("import", write_csv(tmp_path / "a.csv", 100, skip=lambda index: index in (10, 11, 50)), *SERIES)
    done = run_candles("coverage", "--gaps", "3")
    assert done.code == 0
    table, _, gaps = done.out.partition("The longest 3 of ")
    assert re.search(r"BTCUSDT 1m +2024-01-01 00:00 +97 +2 +3 +2 min +100 % .*\n *binance +2024-01-01 01:39 *\n", table)
    assert re.search(r"EURUSD 1h +2017-04-19 09:00 +5,000 .*\n *demo +2018-02-\d\d \d\d:00 *\n", table)
    assert gaps.count("demo EURUSD 1h") == 3
    monkeypatch.setenv("COLUMNS", "80")
    assert "…" not in run_candles("coverage").out
    only = run_candles("coverage", "--symbol", "BTCUSDT")
    assert "EURUSD" not in only.out
    assert re.search(r"2024-01-01 00:10\s+2024-01-01 00:12\s+2 min\s+2 *\n", only.out)
    assert "first missing" not in run_candles("coverage", "--gaps", "0").out


@pytest.mark.parametrize("command", ["coverage", "seal", "verify"])
def test_series_that_are_not_stored_are_reported(command: str, database: Database) -> None:
    done = run_candles(command)
    assert (done.code, done.out, done.err) == (1, "", "backtest-mongo: no candles are stored\n")
    run_candles("import", EURUSD, *EUR)
    assert run_candles(command, "--symbol", "EURUSD").code == 0
    done = run_candles(command, "--symbol", "EURUSD", "--interval", "1m")
    assert (done.code, done.err) == (1, "backtest-mongo: no candles of EURUSD 1m are stored\n")


def test_seal_completes_what_an_import_left_open(database: Database) -> None:
    run_candles("import", EURUSD, *EUR)
    database.client[database.name]["candle-blocks"].delete_many({})
    done = run_candles("seal")
    assert done.code == 0
    assert re.search(r"demo EURUSD 1h\s+2\s+5,000\s+100 %", done.out)
    assert re.search(r"demo EURUSD 1h\s+0\s+0\s+100 %", run_candles("seal").out)


def test_verify_finds_a_damaged_block_and_repairs_it(database: Database) -> None:
    run_candles("import", EURUSD, *EUR)
    run_candles("seal")
    done = run_candles("verify")
    assert done.code == 0
    assert re.search(r"demo EURUSD 1h\s+2\s+5,000\s+0\s+0", done.out)
    row = database.client[database.name]["candle-items"].find_one_and_update({}, {"$inc": {"close": 1.0}})
    assert row is not None
    done = run_candles("verify")
    assert done.code == 1
    assert re.search(r"demo EURUSD 1h\s+2\s+5,000\s+1\s+0", done.out)
    assert re.search(r"\ndemo EURUSD 1h 2017-\d\d-\d\d \d\d:00  \w", done.out)
    assert run_candles("verify", "--repair").code == 0
    assert run_candles("verify").code == 0


# Deletion

ARGUMENTS = ("BTCUSDT", "1m", "binance")


@pytest.fixture
def stored(database: Database, tmp_path: Path) -> Database:
    """A block and a half of minutes from the epoch on."""
    path = write_csv(tmp_path / "candles.csv", 6_000, first=0)
    done = run_candles(
        "import", path, *("--symbol", "BTCUSDT", "--interval", "1m", "--exchange", "binance"), "--time-unit", "ms"
    )
    assert done.code == 0
    return database


def test_delete_shows_what_goes_and_refuses_without_a_terminal(stored: Database) -> None:
    done = run_candles("delete", *ARGUMENTS, "--start", "1970-01-01T00:10", "--end", "1970-01-01T01:00")
    assert done.code == 2
    assert done.line("binance BTCUSDT 1m") == "binance BTCUSDT 1m: 50 candles, in 1 sealed block"
    assert done.line("from ") == "from 1970-01-01 00:10 to 1970-01-01 00:59 (UTC)"
    assert "no terminal to ask on, and --yes is not given" in done.err
    assert stored.rows() == 6_000


def test_delete_with_yes_deletes_the_range(stored: Database) -> None:
    done = run_candles("delete", *ARGUMENTS, "--start", "1970-01-01T00:10", "--end", "1970-01-01T01:00", "--yes")
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1] == "binance BTCUSDT 1m: deleted 50 candles and 1 sealed block"
    assert stored.rows() == 5_950
    again = run_candles("delete", *ARGUMENTS, "--start", "1970-01-01T00:10", "--end", "1970-01-01T01:00", "--yes")
    assert (again.code, again.out.strip()) == (0, "binance BTCUSDT 1m: no candles are stored there")
    assert run_candles("delete", *ARGUMENTS, "--yes").code == 0
    assert stored.rows() == 0


@pytest.mark.parametrize(("answer", "left", "code"), [(b"n\n", 6_000, 1), (b"\n", 6_000, 1), (b"y\n", 0, 0)])
def test_delete_asks_on_a_terminal(stored: Database, answer: bytes, left: int, code: int) -> None:
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    process = start_candles("delete", *ARGUMENTS, stdin=theirs)
    out, err = process.communicate()
    os.close(ours)
    os.close(theirs)
    assert (process.returncode, "Delete them?" in out) == (code, True), err
    assert stored.rows() == left


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("BTCUSDT", "2m", "binance", "--yes"), "'2m' is not one of"),
        ((*ARGUMENTS, "--start", "yesterday", "--yes"), "--start"),
        ((*ARGUMENTS, "--start", "2024-01-02", "--end", "2024-01-01", "--yes"), "must come after --start"),
        (("BTCUSDT", "1m"), "exchange_name is missing"),
    ],
)
def test_delete_refuses_mistakes(database: Database, arguments: tuple[str, ...], message: str) -> None:
    done = run_candles("delete", *arguments)
    assert done.code == 2
    assert message in done.error
