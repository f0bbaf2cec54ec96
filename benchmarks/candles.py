"""Compare twenty years of minutes with the bare driver, Parquet and ArcticDB: ``nox -s bench -- --candles``."""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console

from backtest_mongo import CandleAdapter, setup
from backtest_mongo.connection.hub_registry import current_hub
from benchmarks.candle_codecs import measure_codecs
from benchmarks.candle_data import DAY, MINUTE, START, Frame, forex, market
from benchmarks.candle_ingest import drop, measure_ingest
from benchmarks.candle_memory import measure_read, measure_write, save
from benchmarks.candle_stores import (
    adapter,
    bytes_in_mongo,
    bytes_of,
    configured,
    read_rows,
    readers,
    store_elsewhere,
    to_polars,
)
from benchmarks.timing import Clocked, in_turn, seconds

__all__ = ["measure_candles"]

#: The most that polars frames may take of the full series and of a day of it, in multiples of a Parquet file's time;
#: and bytes per sealed candle.
WHOLE_GOAL: Final = 0.8
DAY_GOAL: Final = 0.3
DISK_GOAL: Final = 30.0
#: Rows for measurements that take long and hardly depend on the size.
MOST: Final = 1_000_000
_CODEC_ROWS: Final = 2**19
_DAYS: Final = 100
_WINDOW: Final = 5_000
_WINDOWS: Final = 8


def measure_candles(
    config: Mapping[str, Any], drivers: Sequence[str], rows: int, rounds: int, console: Console
) -> dict[str, Any]:
    """Return all figures of the section about candles, as medians over the rounds."""

    def say(what: str) -> None:
        console.print(f"[dim]candles: {what}[/]", highlight=False)

    say("codecs")
    figures: dict[str, Any] = {"rows": rows, "codecs": measure_codecs(min(rows, _CODEC_ROWS), rounds)}
    for name, frame in (("market", market(rows)), ("forex", forex(min(rows, MOST)))):
        with tempfile.TemporaryDirectory(prefix="backtest-mongo-bench-") as directory:
            figures[name] = _measure_set(config, drivers, name, frame, rounds, Path(directory), say)
    few = market(min(rows, MOST))
    for driver in drivers:
        say(f"ingest of {len(few['timestamp']):,} rows, {driver}")
        figures.setdefault("ingest", []).append(asyncio.run(measure_ingest(config, driver, few, rounds)))
        say(f"windows, {driver}")
        figures.setdefault("windows", []).append(asyncio.run(_measure_windows(config, driver, few, rounds)))
    return figures


def _measure_set(
    config: Mapping[str, Any],
    drivers: Sequence[str],
    name: str,
    frame: Frame,
    rounds: int,
    directory: Path,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Store a set of candles in every store, and return sizes and times."""
    times = frame["timestamp"]
    by_driver = {driver: configured(config, f"bench-{name}", driver) for driver in drivers}
    first = by_driver[drivers[0]]
    say(f"{name}, {len(times):,} rows: written")
    save(frame, directory)
    store_elsewhere(frame, directory)
    written = {"driver": drivers[0], **measure_write(first, name, directory)}
    figures: dict[str, Any] = {"rows": len(times), "whole": [], "day": [], "memory": [written]}
    figures["disk"] = asyncio.run(_measure_disk(first, name, directory))
    for driver, own in by_driver.items():
        say(f"{name}: read, {driver}")
        figures["whole"].append({"driver": driver, **asyncio.run(_measure_whole(own, name, directory, frame, rounds))})
        figures["day"].append({"driver": driver, **asyncio.run(_measure_days(own, name, directory, times))})
        for what in ("polars", "numpy"):
            figures["memory"].append({"driver": driver, **measure_read(own, name, directory, what)})
    for what in ("parquet", "arctic"):
        figures["memory"].append({"driver": None, **measure_read(first, name, directory, what)})
    asyncio.run(drop(first))
    return figures


async def _measure_disk(config: Mapping[str, Any], exchange: str, directory: Path) -> dict[str, Any]:
    """Return bytes per candle on disk."""
    async with setup(config):
        series = adapter(exchange)
        await series.seal()  # including the end of the series
        rows = (await series.coverage()).rows
        assert (await series.sealed()).rows == rows
        items, blocks = [await bytes_in_mongo(name) for name in (CandleAdapter.spec.collection, "candle-blocks")]
    sizes = {
        "blocks": blocks["storageSize"] + blocks["totalIndexSize"],
        "blocks_free": blocks["freeStorageSize"],
        "rows": items["storageSize"],
        "rows_indexes": items["totalIndexSize"],
        **bytes_of(directory),
    }
    found = {name: size / rows for name, size in sizes.items()}
    return {**found, "goal": DISK_GOAL, "met": found["blocks"] <= DISK_GOAL}


async def _measure_whole(
    config: Mapping[str, Any], exchange: str, directory: Path, frame: Frame, rounds: int
) -> dict[str, Any]:
    """Return the seconds to read the whole series into a frame; the bare driver's time is extrapolated."""
    times = frame["timestamp"]
    few = min(len(times), MOST)
    async with setup(config):
        ways = readers(adapter(exchange), directory)
        for name, read in ways.items():  # loads files and pages into memory
            assert np.array_equal((await read(None, None))["close"], frame["close"]), name
        works: dict[str, Clocked] = {name: partial(seconds, partial(read, None, None)) for name, read in ways.items()}
        rows = partial(read_rows, exchange, int(times[0]), int(times[few - 1]) + 1)

        async def clock_rows() -> float:
            taken = await seconds(rows)
            # Motor's thread keeps the documents until its next command, which would free them on another one's time.
            await current_hub().database.command("ping")
            return taken

        found = await in_turn({**works, "rows": clock_rows}, rounds)
    found["rows"] *= len(times) / few
    return {"seconds": found, "rows_read": few, **_judge(found, WHOLE_GOAL)}


async def _measure_days(config: Mapping[str, Any], exchange: str, directory: Path, times: Any) -> dict[str, Any]:
    """Return the median seconds to read a day that starts at a random minute."""
    chosen = random.Random(1).sample(range(len(times) - DAY), _DAYS)
    taken: dict[str, list[float]] = {}
    async with setup(config):
        ways: dict[str, Callable[[int, int], Awaitable[Any]]] = {**readers(adapter(exchange), directory)}
        ways["rows"] = partial(read_rows, exchange)
        for place in (chosen[0], *chosen):
            start, end = int(times[place]), int(times[place + DAY])
            for name, read in ways.items():
                taken.setdefault(name, []).append(await seconds(partial(read, start, end)))
    found = {name: statistics.median(several[1:]) for name, several in taken.items()}
    return {"seconds": found, **_judge(found, DAY_GOAL)}


def _judge(seconds: Mapping[str, float], goal: float) -> dict[str, Any]:
    ratio = seconds["polars"] / seconds["parquet"]
    return {"ratio": ratio, "goal": goal, "met": ratio <= goal}


async def _measure_windows(config: Mapping[str, Any], driver: str, frame: Frame, rounds: int) -> dict[str, Any]:
    """Return the microseconds of a window by ``read_candles_data``, from a sealed and from an unsealed series."""
    own = configured(config, "bench-windows", driver)
    given = to_polars(frame).head((_WINDOWS + 1) * _WINDOW)
    for sealed in (True, False):
        async with setup(own, CC_CANDLE_BLOCKS=sealed):
            await adapter(f"sealed={sealed}").write_frame(given)

    async def read(series: CandleAdapter) -> None:
        for number in range(_WINDOWS):
            current_hub().candle_cache.clear()
            assert await series.read_candles_data(_WINDOW, START + number * _WINDOW * MINUTE) is not None

    async with setup(own):
        works = {sealed: partial(seconds, partial(read, adapter(f"sealed={sealed}"))) for sealed in (True, False)}
        found = await in_turn({"sealed": works[True], "unsealed": works[False]}, max(rounds, 5))
    await drop(own)
    return {
        "driver": driver,
        "rows": _WINDOW,
        **{f"{name}_us": taken / _WINDOWS * 1e6 for name, taken in found.items()},
        "ratio": found["sealed"] / found["unsealed"],
    }
