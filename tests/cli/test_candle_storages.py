"""The candle commands on every storage: what is imported is shown, exported as it was, and deleted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.candle_commands import MINUTE, START, run_candles, write_csv
from tests.support.stored import Stored

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]

WORDS = ("BTCUSDT", "1m", "binance")
OPTIONS = ("--symbol", "BTCUSDT", "--interval", "1m", "--exchange", "binance")


def test_candles_are_imported_shown_exported_and_deleted(stored: Stored, tmp_path: Path) -> None:
    if stored.kind == "files":
        stored.path.mkdir()
    file = write_csv(tmp_path / "a.csv", 50)
    for _ in range(2):  # the second one finds them there
        done = run_candles("import", file, *OPTIONS, *stored.options)
        assert done.code == 0, done
    assert "50" in done.out
    (series,) = json.loads(run_candles("coverage", *stored.options, "--json").out)["series"]
    assert (series["symbol"], series["interval"], series["exchange"]) == WORDS
    assert (series["first"], series["last"], series["rows"]) == (START, START + 49 * MINUTE, 50)
    assert series["gaps"] == []
    assert series["bytes"] > 0
    done = run_candles("coverage", *WORDS, *stored.options)
    assert (done.code, done.err) == (0, "")
    assert "BTCUSDT 1m" in done.out
    exported = []
    for name, given in (("b.csv", WORDS), ("c.csv", OPTIONS)):
        done = run_candles("export", *given, "-o", tmp_path / name, *stored.options)
        assert (done.code, done.out) == (0, f"binance BTCUSDT 1m: 50 rows in {tmp_path / name}\n")
        exported.append((tmp_path / name).read_text())
    assert exported[0] == exported[1]
    done = run_candles("delete", *WORDS, "--end", str(START + 10 * MINUTE), "--yes", *stored.options)
    assert done.code == 0
    assert "10 candles" in done.out
    (series,) = json.loads(run_candles("coverage", "symbol=BTCUSDT", *stored.options, "--json").out)["series"]
    assert (series["first"], series["rows"]) == (START + 10 * MINUTE, 40)
    named = ("symbol=BTCUSDT", "interval=1m", "exchange_name=binance")
    assert run_candles("delete", *named, "--yes", *stored.options).code == 0
    done = run_candles("coverage", *stored.options)
    assert done.code == 1
    assert "no candles are stored" in done.err
    done = run_candles("export", *WORDS, "-o", tmp_path / "d.csv", *stored.options)
    assert (done.code, (tmp_path / "d.csv").exists()) == (1, False)
    assert "no candles of binance BTCUSDT 1m are stored" in done.err


def test_sqlite_file_is_made_by_an_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = write_csv(tmp_path / "a.csv", 5)
    assert run_candles("import", file, *OPTIONS, "--sqlite", "new.db").code == 0
    assert json.loads(run_candles("coverage", "--json", "--sqlite", "new.db").out)["series"][0]["rows"] == 5
    done = run_candles("import", file, *OPTIONS, "--files", "new")
    assert (done.code, (tmp_path / "new").exists()) == (1, False)
    assert "there is no directory new" in done.err


@pytest.mark.parametrize("command", ["seal", "verify", "plot"])
@pytest.mark.parametrize("option", ["--sqlite", "--files"])
def test_commands_of_mongodb_alone_say_so(command: str, option: str, tmp_path: Path) -> None:
    output = ["-o", tmp_path / "a.html"] if command == "plot" else []
    done = run_candles(command, *WORDS, *output, option, tmp_path / "x")
    what = "SQLite files" if option == "--sqlite" else "JSON files"
    assert (done.code, done.err) == (2, f"backtest-mongo: this command does not work on {what}: name --mongo\n")


def test_series_is_named_once_and_whole(tmp_path: Path) -> None:
    out = ("-o", tmp_path / "a.csv")
    for arguments, message in (
        ((*WORDS, "--symbol", "ETH"), "symbol is given twice"),
        (WORDS[:2], "exchange_name is missing: give exchange_name=VALUE"),
        (("BTCUSDT", "7m", "binance"), "'7m' is not one of 1s, 1m"),
        (("interval=7m",), "'7m' is not one of 1s, 1m"),
        ((*WORDS, "more"), "4 parts of a key were given"),
    ):
        done = run_candles("export", *arguments, *out)
        assert done.code == 2
        assert message in done.error
