"""`candles plot`: what it draws and prints, and what it refuses."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from backtest_mongo import CandleAdapter, StorageAdapter
from backtest_mongo.types import Candle
from tests.cli.test_cli import run
from tests.conftest import Deployment
from tests.support.charts import MARKET, SERIES, find_rows, make_signal, read_spec

pytestmark = pytest.mark.one_python


@pytest.fixture
def driver() -> str:
    """One driver for all of it, as drawing is the same on both."""
    return "pymongo"


@pytest.fixture
async def market(deployment: Deployment) -> list[Candle]:
    await CandleAdapter(*SERIES).write_candles_data(MARKET)
    return MARKET


async def test_command_draws_what_the_environment_names(
    deployment: Deployment, market: list[Candle], tmp_path: Path
) -> None:
    rows = [make_signal("a", 10, 20, profit=-1.0, priceClose=1.07), make_signal("b", 30, status="cancelled")]
    await StorageAdapter(True).write_storage_data(rows)

    async def plot(*more: str) -> tuple[int, str, str]:
        options = ("--symbol", "EURUSD", "--interval", "1h", "--exchange", "demo-exchange", "--strategy", "s")
        done = await asyncio.to_thread(
            run, "candles", "plot", *options, *more, directory=tmp_path, **deployment.environment
        )
        return done.returncode, done.stdout, done.stderr

    done = await plot("--start", "2017-04-19", "--end", "2017-04-25T12:00", "--output", "chart.html")
    printed = "demo-exchange EURUSD 1h: 99 candles, 1 trade of s in chart.html\n"
    assert done == (0, printed, "left out: 1 not filled\n")
    assert {row["kind"] for row in find_rows("tip", read_spec(tmp_path / "chart.html"))} == {
        "long entry",
        "exit with loss",
    }
    done = await plot("--live", "-o", "chart.png", "--max-candles", "50")
    assert done == (0, "demo-exchange EURUSD 1h: 160 candles as 42 of 4h, 0 trades of s in chart.png\n", "")
    code, printed, errors = await plot("--start", "2020-01-01", "-o", "no.png")
    assert (code, printed) == (1, "")
    assert errors.startswith("backtest-mongo: candle: no candle of EURUSD 1h of demo-exchange is stored in this range")


def test_missing_extra_is_named(tmp_path: Path) -> None:
    # A finder that knows nothing of Altair stands for an installation without it.
    code = """
import asyncio, importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "altair" else find(name, *rest)
from backtest_mongo import InputError
from backtest_mongo.market_data.plot import plot_candles
try:
    asyncio.run(plot_candles("EURUSD", "1h", "demo-exchange", "chart.png"))
except InputError as error:
    print(error)
from backtest_mongo.cli.main import main
sys.argv[1:] = "candles plot --symbol a --interval 1h --exchange b -o chart.png".split()
main()
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    words = 'pip install "backtest-mongo[plot]", or ".[plot]" in a checkout'
    assert done.stdout == f"plot_candles needs altair, which is not installed ({words})\n"
    assert (done.returncode, done.stderr) == (2, f"backtest-mongo: altair missing: {words}\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--output", "chart.svg"), "must end in .png or .html"),
        (("--output", "absent/chart.png"), "directory absent does not exist"),
        (("--output", "chart.png", "--start", "soon"), "'soon' is not a time"),
        (("--output", "chart.png", "--start", "2020-01-02", "--end", "2020-01-01"), "must come after --start"),
    ],
)
def test_command_refuses_bad_arguments(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    options = ("--symbol", "EURUSD", "--interval", "1h", "--exchange", "demo-exchange")
    done = run("candles", "plot", *options, *arguments, directory=tmp_path, COLUMNS="200", NO_COLOR="1")
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_only_drawing_imports_the_drawing_library() -> None:
    code = """
import sys
from backtest_mongo.cli.candles import commands
from backtest_mongo.market_data import plot
print({"altair", "vl_convert", "pandas", "polars"} & {*sys.modules})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
