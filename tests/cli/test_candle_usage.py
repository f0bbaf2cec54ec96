"""The candle commands without their arguments, a server or an extra, and their help."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.candle_commands import EUR, EURUSD, SERIES, run_candles, write_csv

pytestmark = [pytest.mark.either_driver, pytest.mark.two_pythons]


def usage(*arguments: object) -> str:
    done = run_candles(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert "Traceback" not in done.err
    return done.error


def test_wrong_arguments_are_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    path = write_csv(tmp_path / "a.csv", 1)
    series = SERIES[:2] + SERIES[4:]
    out = ("export", *SERIES, "-o")
    assert "'7m' is not one of 1s, 1m, 3m, 5m" in usage("import", path, "--interval", "7m", *series)
    assert "'1x' is not one of 1s, 1m, 3m, 5m" in usage("coverage", "--interval", "1x")
    assert "Missing option '--interval'" in usage("import", path, *series)
    assert "does not exist" in usage("import", tmp_path / "absent.csv", *SERIES)
    assert "'h' is not one of auto, s, ms, us, ns" in usage("import", path, *SERIES, "--time-unit", "h")
    names = ("--columns", "time,open,high,low,close")
    assert "no column for volume among time, open, high, low, close" in usage("import", path, *SERIES, *names)
    assert "must end in .parquet, .csv, .csv.gz" in usage(*out, tmp_path / "a.json")
    assert "does not exist" in usage(*out, tmp_path / "absent" / "a.csv")
    assert "'soon' is not a time" in usage(*out, tmp_path / "b.csv", "--start", "soon")
    assert "must come after --start" in usage(*out, tmp_path / "b.csv", "--start", "2024-01-02", "--end", "2024-01-01")
    assert "'0' is not one of null, forward" in usage(*out, tmp_path / "b.csv", "--fill", "0")


@pytest.mark.parametrize(
    "command", [["import", EURUSD, *EUR], ["export", *EUR, "-o", "a.csv"], ["coverage"], ["seal"], ["verify"]]
)
def test_missing_server_is_one_line(command: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("CC_MONGO_CONNECTION_STRING", f"mongodb://127.0.0.1:{free.getsockname()[1]}/nowhere")
        monkeypatch.setenv("CC_MONGO_TIMEOUT_MS", "300")
        done = run_candles(*command)
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
from backtest_mongo.cli.main import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code, "candles", *arguments], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (2, "")
    install = f'pip install "backtest-mongo[{extra}]", or ".[{extra}]" in a checkout'
    assert done.stderr == f"backtest-mongo: {missing} missing: {install}\n"


# Help


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("", "import export coverage seal verify plot"),
        ("import", "Exits with status 0 if every line was a candle, 1 if lines or files were not"),
        ("export", "The file appears when it is complete"),
        ("coverage", "A gap lies between the first and the last stored candle"),
        ("seal", "Large imports seal as they go"),
        ("verify", "Exits with status 1 if a block is damaged; with --repair, only if one could not be repaired"),
    ],
)
def test_help_wraps_and_says_the_exit_status(command: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    done = run_candles(*command.split(), "--help")
    assert done.code == 0
    text = " ".join(done.out.replace("│", " ").split())
    if command:
        assert words in text
        # A paragraph whose lines were kept would have short ones in its middle.
        prose = re.split(r"\n(?:Arguments|Options):\n", done.out)[0].strip().split("\n")[2:]
        for line, after in pairwise(prose):
            assert not line.strip() or not after.strip() or len(line.strip() + " " + after.split()[0]) > 67
    else:
        assert all(f" {word} " in text for word in words.split())
