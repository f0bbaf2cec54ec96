"""Measure the memory that reading or writing a whole series takes, each in a separate process.

The process is ``python -m benchmarks.candle_memory``. It reads an order as JSON from standard input, and prints its
figures as JSON.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from backtest_mongo import setup
from benchmarks.candle_data import COLUMNS, DAY, MINUTE, START, Frame
from benchmarks.candle_stores import adapter, readers
from benchmarks.process_memory import read_peak, reset_peak

__all__ = ["MEMORY_GOAL", "measure_read", "measure_write", "save"]

#: Peak memory beyond the frame itself, in bytes.
MEMORY_GOAL: Final = 300 * 2**20


def save(frame: Frame, directory: Path) -> None:
    """Save the columns for the process to load."""
    for name, column in frame.items():
        np.save(directory / f"{name}.npy", column)


def measure_read(config: Mapping[str, Any], exchange: str, directory: Path, what: str) -> dict[str, Any]:
    """Return the peak memory of a process that reads a whole series; ``what`` is one of the names of ``readers()``."""
    return _run({"do": what, "config": dict(config), "exchange": exchange, "directory": str(directory)})


def measure_write(config: Mapping[str, Any], exchange: str, directory: Path) -> dict[str, Any]:
    """Store the saved candles by ``write_frame`` in a process, and return its peak memory and duration."""
    return _run({"do": "write", "config": dict(config), "exchange": exchange, "directory": str(directory)})


def _run(order: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.candle_memory"]
    done = subprocess.run(command, input=json.dumps(order), stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    over = found["peak"] - found["frame"]
    return {"what": order["do"], **found, "over": over, "goal": MEMORY_GOAL, "met": over <= MEMORY_GOAL}


async def _read(exchange: str, directory: Path, what: str) -> dict[str, float]:
    read = readers(adapter(exchange), directory)[what]
    await read(START + DAY * MINUTE, START + 2 * DAY * MINUTE)  # import and connect first
    before = reset_peak()
    start = time.perf_counter()
    frame = await read(None, None)
    taken = time.perf_counter() - start
    rows = len(frame["timestamp"]) if isinstance(frame, dict) else len(frame)
    return {"before": before, "peak": read_peak(), "frame": rows * 8 * len(COLUMNS), "seconds": taken}


async def _write(exchange: str, directory: Path) -> dict[str, float]:
    frame = {name: np.load(directory / f"{name}.npy") for name in COLUMNS}
    series = adapter(exchange)
    await series.coverage()
    before = reset_peak()
    start = time.perf_counter()
    report = await series.write_frame(frame)
    taken = time.perf_counter() - start
    assert report.new == len(frame["timestamp"]), report
    size = sum(column.nbytes for column in frame.values())
    return {"before": before - size, "peak": read_peak(), "frame": size, "seconds": taken}


async def _main() -> None:
    order = json.load(sys.stdin)
    directory = Path(order["directory"])
    async with setup(order["config"]):
        if order["do"] == "write":
            found = await _write(order["exchange"], directory)
        else:
            found = await _read(order["exchange"], directory, order["do"])
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(_main())
