"""Measure candles that are kept in blocks without rows: ``python -m benchmarks.candle_blocks``.

In one run, in turn: a frame written into an empty series and to Parquet with zstd, and random windows read from blocks
without rows and from sealed blocks beside rows. Then bytes per candle, as the server counts them and, once the
collection is compacted, on the disk. It starts servers of its own, and prints JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import polars as pl
import pymongo

from backtest_mongo import CandleAdapter, embedded, setup
from backtest_mongo.connection.hub_registry import current_hub
from benchmarks.candle_data import FULL, MINUTE, Frame, market
from benchmarks.candle_ingest import drop
from benchmarks.candle_stores import adapter, configured, to_polars
from benchmarks.timing import in_turn, seconds

__all__ = ["main", "measure_blocks"]

#: The most that writing may take, in multiples of Parquet's time, and bytes per candle.
WRITE_GOAL: Final = 8.0
BYTES_GOAL: Final = 12.0
#: Candles of the series that windows are read from, of a window, and the number of windows.
_READ: Final = 500_000
_WINDOWS: Final = (100, 600, 2_000)
_COUNT: Final = 100


async def measure_blocks(config: Mapping[str, Any], rows: int, rounds: int) -> dict[str, Any]:
    """Return the figures, times as medians over the rounds."""
    own = {**configured(config, "bench-blocks", "pymongo"), "CC_CANDLE_CACHE_MB": 0, "CC_CANDLE_ROWS": False}
    frame = market(rows)
    given = to_polars(frame)
    with tempfile.TemporaryDirectory(prefix="backtest-mongo-bench-") as directory:
        parquet = Path(directory) / "candles.parquet"
        works = {"ours": partial(_write, own, given), "parquet": partial(_write_parquet, given, parquet)}
        times = await in_turn(works, rounds)
        size = parquet.stat().st_size
    ratio = times["ours"] / times["parquet"]
    figures: dict[str, Any] = {
        "rows": rows,
        "write": {**times, "ratio": ratio, "goal": WRITE_GOAL, "met": ratio <= WRITE_GOAL},
        "parquet_bytes": size / rows,
    }
    async with setup(own):
        await adapter("blocks").write_frame(given)
        figures["bytes"] = await asyncio.to_thread(_measure_bytes, own, rows)
        figures["windows"] = await _measure_windows(own, market(min(rows, _READ)), rounds)
    await drop(own)
    return figures


async def _write(config: Mapping[str, Any], frame: pl.DataFrame) -> float:
    async with setup(config):
        series = adapter("blocks")
        taken = await seconds(partial(series.write_frame, frame))
        assert (await series.coverage()).rows == len(frame)
    await drop(config)
    return taken


async def _write_parquet(frame: pl.DataFrame, path: Path) -> float:
    async def write() -> None:
        frame.write_parquet(path, compression="zstd")

    return await seconds(write)


def _measure_bytes(config: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """Return bytes per candle of everything that the series takes, indexes included."""
    with pymongo.MongoClient[dict[str, Any]](config["CC_MONGO_CONNECTION_STRING"]) as client:
        database = client.get_default_database()
        names = [name for name in database.list_collection_names() if name.startswith("candle-")]
        before = [database.command("collStats", name) for name in names]
        for name in names:
            database.command("compact", name, force=True)
        client.admin.command("fsync")
        after = [database.command("collStats", name) for name in names]
    data = sum(one["size"] + one["totalIndexSize"] for one in before) / rows
    disk = sum(one["storageSize"] + one["totalIndexSize"] for one in after) / rows
    return {"data": data, "disk": disk, "goal": BYTES_GOAL, "met": max(data, disk) <= BYTES_GOAL}


async def _measure_windows(config: Mapping[str, Any], frame: Frame, rounds: int) -> list[dict[str, Any]]:
    """Return milliseconds for a random window, from blocks without rows and from sealed blocks."""
    first, rows = int(frame["timestamp"][0]), len(frame["timestamp"])
    sealed = adapter("sealed")
    await setup(CC_CANDLE_ROWS=True)
    await sealed.write_frame(to_polars(frame))
    chance = random.Random(20)  # windows, and no secrets
    found = []
    for length in _WINDOWS:
        starts = [first + chance.randrange(rows - length - 5_000) * MINUTE for _ in range(_COUNT)]
        works = {
            name: partial(_read, series, starts, length)
            for name, series in (("blocks", adapter("blocks")), ("sealed", sealed))
        }
        times = await in_turn(works, rounds)
        found.append({"length": length, **{f"{name}_ms": taken * 1e3 for name, taken in times.items()}})
    assert not await current_hub().candle_database["candle-items"].count_documents({"exchangeName": "blocks"}, limit=1)
    return found


async def _read(series: CandleAdapter, starts: Sequence[int], length: int) -> float:
    async def read() -> None:
        for start in starts:
            assert await series.read_candles_data(length, start) is not None

    return await seconds(read) / len(starts)


def main() -> None:
    """Run it on embedded servers, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=FULL, help="candles that are written (default: twenty years)")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with embedded.Servers() as servers:
        figures = asyncio.run(measure_blocks(servers.config, arguments.rows, arguments.rounds))
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
