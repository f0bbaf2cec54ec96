"""Candles as engines get them, and the examples of their page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from backtest_mongo.core.interval_grid import GRIDS
from backtest_mongo.sync import persist
from backtest_mongo.types import PRICES

ROOT = Path(__file__).resolve().parents[3]
START = 1_704_067_200_000  # 2024-01-01, a Monday
EXCHANGE = "binance"

Frame = dict[str, Any]


def make_candles(
    interval: str, count: int, *, start: int = START, without: Collection[int] = (), price: float = 100.0
) -> Frame:
    """Return candles of a random walk but for some, given by their numbers, as a frame of NumPy's."""
    numbers = np.array([number for number in range(count) if number not in without])
    grid = GRIDS[interval]
    random = np.random.default_rng(count)
    close = price * np.exp(random.standard_normal(len(numbers)).cumsum() / 1_000)
    open_ = np.append(price, close)[:-1]
    high, low = np.maximum(open_, close) * 1.001, np.minimum(open_, close) * 0.999
    volume = random.integers(1, 1_000, len(numbers)).astype(float)
    times = grid.shift_all(np.full(len(numbers), start), numbers)
    columns = dict(zip(PRICES, (open_, high, low, close, volume), strict=True))
    return {"timestamp": times.astype("datetime64[ms]"), **columns}


def store(symbol: str, interval: str, frame: Frame) -> Any:
    """Store candles, and return their series."""
    registry: Any = persist
    candles = registry.candle(symbol, interval, EXCHANGE)
    assert candles.write_frame(frame).new == len(frame["timestamp"])
    return candles


def run_example(heading: str, directory: Path) -> None:
    """Run the example below a heading of the page, after the one that stores candles, and compare what they print."""
    page = (ROOT / "docs" / "backtesters.md").read_text()
    head, *sections = re.split(r"^## ", page, flags=re.MULTILINE)
    (section,) = (section for section in sections if section.startswith(f"{heading}\n"))
    code, shown = (
        "\n".join(block for part in (head, section) for block in re.findall(rf"^```{kind}\n(.*?)^```", part, _WHOLE))
        for kind in ("python", "text")
    )
    # Engines use what NumPy and pandas have deprecated.
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT), "ZIPLINE_ROOT": str(directory)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [line for line in shown.splitlines() if line]


_WHOLE = re.DOTALL | re.MULTILINE
