"""Measure the memory that writing or reading a whole series takes, each in a separate process.

The process is ``python -m benchmarks.series_memory``. It reads an order as JSON from standard input, and prints its
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
from backtest_mongo.columns.arrays import ColumnArrays, Values
from benchmarks.process_memory import read_peak, reset_peak
from benchmarks.series_stores import PEERS, adapter, make_polars
from benchmarks.trade_data import HOUR

__all__ = ["CHUNK", "MEMORY_GOAL", "measure_read", "measure_write", "save"]

#: Peak memory beyond the frame itself, in bytes: of the one that is read, or of a chunk that is written.
MEMORY_GOAL: Final = 300 * 2**20
#: Rows that an importer appends at a time.
CHUNK: Final = 1_000_000
_SIDES: Final = ("buy", "sell")
_TYPES: Final = {"timestamp": "<i8", "trade_id": "<i8", "price": "<f8", "amount": "<f8", "side": "<i4"}


def save(trades: ColumnArrays, directory: Path) -> None:
    """Save the columns, so that the process can load any of their rows."""
    assert trades.values["side"].categories == _SIDES
    columns = {"timestamp": trades.time, "trade_id": np.asarray(trades.sequence)}
    columns |= {name: values.data for name, values in trades.values.items()}
    for name, column in columns.items():
        column.astype(_TYPES[name]).tofile(directory / f"{name}.bin")


def measure_read(config: Mapping[str, Any], exchange: str, directory: Path, what: str) -> dict[str, Any]:
    """Return the peak memory of a process that reads the whole series; ``what`` is ``ours`` or another store."""
    return _run({"do": what, "config": dict(config), "exchange": exchange, "directory": str(directory)})


def measure_write(config: Mapping[str, Any], exchange: str, directory: Path) -> dict[str, Any]:
    """Write the saved trades by ``write_frame``, a chunk at a time, and return the peak memory and the duration."""
    return _run({"do": "write", "config": dict(config), "exchange": exchange, "directory": str(directory)})


def _run(order: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.series_memory"]
    done = subprocess.run(command, input=json.dumps(order), stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    over = found["peak"] - found["frame"]
    return {"what": order["do"], **found, "over": over, "goal": MEMORY_GOAL, "met": over <= MEMORY_GOAL}


def _load(directory: Path, start: int, rows: int) -> ColumnArrays:
    columns = {
        name: np.fromfile(directory / f"{name}.bin", kind, rows, offset=start * np.dtype(kind).itemsize)
        for name, kind in _TYPES.items()
    }
    time, sequence = columns.pop("timestamp"), columns.pop("trade_id")
    values = {name: Values(data, None, _SIDES if name == "side" else ()) for name, data in columns.items()}
    return ColumnArrays(time, sequence, values)


async def _write(exchange: str, directory: Path) -> dict[str, float]:
    series = adapter(exchange)
    await series.coverage()  # import and connect first
    rows = (directory / "timestamp.bin").stat().st_size // 8
    before, taken, size = reset_peak(), 0.0, 0
    for start in range(0, rows, CHUNK):
        frame = make_polars(_load(directory, start, min(CHUNK, rows - start)))
        size = max(size, int(frame.estimated_size()))
        begin = time.perf_counter()
        report = await series.write_frame(frame)
        taken += time.perf_counter() - begin
        assert report.new == len(frame), report
    return {"rows": rows, "before": before, "peak": read_peak(), "frame": size, "seconds": taken}


async def _read(exchange: str, directory: Path, what: str) -> dict[str, float]:
    start = int(_load(directory, 0, 1).time[0])
    peer = None if what == "ours" else PEERS[what](directory)
    series = adapter(exchange)

    async def read(first: int | None, end: int | None) -> Any:
        return await series.read_frame(first, end) if peer is None else peer.read(first, end, None)

    await read(start, start + HOUR)  # import and connect first
    before = reset_peak()
    begin = time.perf_counter()
    frame = await read(None, None)
    taken = time.perf_counter() - begin
    size = int(frame.estimated_size())
    return {"rows": len(frame), "before": before, "peak": read_peak(), "frame": size, "seconds": taken}


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
