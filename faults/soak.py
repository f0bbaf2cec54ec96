"""Run a long mixed load under which nothing may grow: ``nox -s soak``, or ``python -m faults.soak --help``.

Many tasks read, write, remove, list and cancel over all slots, while Redis is killed and restarted in each cycle. At
the end of a cycle all tasks pause, and the resources of the process are counted. The keys are a bounded set, all of
which are written before the first cycle, so the caches are full and growth is a leak. A line is fitted through the
second half of the samples, and its rise from the first of them to the last is bounded:

- resident memory: 2 % of the median, or 3 MiB if that is more, which the allocator alone may account for
- blocks allocated by Python: 1 %
- tasks, file descriptors, connections to MongoDB: none, that is, less than one
- sockets to Redis, whose number changes with each restart: as many as there are concurrent commands; they are not
  counted as file descriptors

Exits with status 1 if a bound is exceeded, an operation fails, or a read returns anything but the last write.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import re
import resource
import signal
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pymongo
from rich.console import Console
from rich.table import Table

import backtest_mongo
from backtest_mongo import BacktestMongoError, CandleAdapter, StateAdapter, embedded
from backtest_mongo.connection.command_guard import MAX_CONCURRENT
from backtest_mongo.types import Candle
from faults.registers import SPECS, WHEN, Register

CYCLE_SECONDS: Final = 12.0
#: How long Redis is down in each cycle.
OUTAGE_SECONDS: Final = 2.0
KEYS: Final = 2
SERIES: Final = [CandleAdapter(f"SYMBOL{number}", "1m", "soak") for number in range(10)]
CANDLES: Final = 5_000
STEP: Final = 60_000
#: As much as the columns of the series above take, so that the cache is full.
CANDLE_CACHE_MB: Final = 2
RESULTS: Final = Path("fault-results/soak.json")


class Load:
    """The tasks. Each owns its registers, so it knows what they hold."""

    def __init__(self, tasks: int, seed: int) -> None:
        self.done: Counter[str] = Counter()
        self.faults: list[str] = []
        self._random = random.Random(seed)
        self._open = asyncio.Event()
        self._active = 0
        self._idle = asyncio.Event()
        self._workers = [self._work(number) for number in range(tasks)]
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        for series in SERIES:
            await series.write_candles_data([_candle(position) for position in range(CANDLES)])
        self._tasks = [asyncio.create_task(worker) for worker in self._workers]
        self._open.set()

    async def pause(self) -> None:
        """Wait until all tasks and the commands that they left behind are idle."""
        self._open.clear()
        while self._active:
            self._idle.clear()
            await self._idle.wait()
        await asyncio.sleep(1.5)  # longer than a Redis command may go on after its caller stopped waiting

    def resume(self) -> None:
        self._open.set()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        for task in self._tasks:
            if not task.cancelled() and task.exception() is not None:
                self.faults.append(f"a task ended with {task.exception()!r}")

    async def _work(self, number: int) -> None:
        own = {Register(slot, f"{number}-{key}"): 0 for slot in SPECS for key in range(KEYS) if slot != "candle"}
        values: dict[Register, int | None] = dict(own)
        for register in own:
            await self._guarded("write", register.write(0))
        while True:
            await self._open.wait()
            self._active += 1
            try:
                await self._operate(number, values)
            finally:
                self._active -= 1
                if not self._active:
                    self._idle.set()

    async def _operate(self, number: int, values: dict[Register, int | None]) -> None:
        pick = self._random.random()
        register = self._random.choice(list(values))
        is_list = register.spec.shape == "collection"
        if pick < 0.40:
            if not is_list or pick < 0.02:  # rarely, because a list has the rows of all tasks
                found = await self._guarded("list" if is_list else "read", register.read())
                # A list of the newest rows may have lost this one, and a cancelled write may not have been applied.
                if register in values and values[register] != found and register.spec.newest is None:
                    self.faults.append(f"{register.name} is {found}, not {values[register]}")
        elif pick < 0.75:
            values[register] = self._random.randrange(10**6)
            await self._guarded("write", register.write(values[register] or 0))
        elif pick < 0.80 and register.spec.soft_delete:
            values[register] = None
            await self._guarded("remove", register.remove())
        elif pick < 0.85:
            values[register] = await self._cancelled(register)
        elif pick < 0.92:
            await self._window()
        elif pick < 0.93:
            first = self._random.randrange(CANDLES - 50)
            rows = [_candle(position) for position in range(first, first + 50)]
            if await self._guarded("candles", self._random.choice(SERIES).write_candles_data(rows)):
                self.faults.append("a stored candle was written again")
        elif pick < 0.97:
            await self._many(number)
        else:
            register.forget()  # so that the next operation asks Redis

    async def _cancelled(self, register: Register) -> int | None:
        """Cancel a write at a random moment, and return what a read then finds."""
        number = self._random.randrange(10**6)
        task = asyncio.ensure_future(register.write(number))
        await asyncio.sleep(self._random.uniform(0, 0.02))
        task.cancel()
        await asyncio.wait([task])
        self.done["cancelled"] += task.cancelled()
        found: int | None = await self._guarded("read", register.read())
        return found

    async def _window(self) -> None:
        limit = self._random.choice([1, 10, 500])
        first = self._random.randrange(CANDLES - limit)
        found = await self._guarded("window", self._random.choice(SERIES).read_candles_data(limit, first * STEP))
        if not found or len(found) != limit or found[0] != _candle(first):
            self.faults.append("a window differs from what was written")

    async def _many(self, number: int) -> None:
        contexts = [(f"many-{number}", f"b{key}") for key in range(10)]
        value = {"number": self._random.randrange(10**6)}
        await self._guarded("write_many", StateAdapter.write_many([(context, value) for context in contexts], WHEN))
        found = await self._guarded("read_many", StateAdapter.read_many(contexts))
        if found != [value] * 10:
            self.faults.append("read_many differs from what write_many wrote")

    async def _guarded(self, kind: str, call: Any) -> Any:
        try:
            return await call
        except BacktestMongoError as error:
            self.faults.append(f"{kind}: {error}")
        finally:
            self.done[kind] += 1


def _candle(position: int) -> Candle:
    price = 1.0 + position
    return {"timestamp": position * STEP, "open": price, "high": price, "low": price, "close": price, "volume": 1.0}


class Observer:
    """Counts the resources of this process, as the process and the servers see them."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._mongo = pymongo.MongoClient[dict[str, Any]](config["CC_MONGO_CONNECTION_STRING"], appname="observer")
        self._redis_port = config["CC_REDIS_PORT"]

    def sample(self) -> dict[str, float]:
        gc.collect()
        files = _open_files()
        cache = _sockets_to(self._redis_port, files)
        return {
            "memory": int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize(),
            "blocks": sys.getallocatedblocks(),
            "tasks": len(asyncio.all_tasks()),
            "mongo": self._mongo_connections(),
            "redis": cache,
            "files": len(files) - cache,
        }

    def _mongo_connections(self) -> int:
        ours: dict[str, Any] = {"$match": {"appName": "backtest-mongo"}}
        rows = self._mongo.admin.aggregate([{"$currentOp": {"idleConnections": True}}, ours])
        return sum("connectionId" in row for row in rows)

    def close(self) -> None:
        self._mongo.close()


def _open_files() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
        except FileNotFoundError:
            continue  # the descriptor that listed the directory
    return found


def _sockets_to(port: int, files: set[str]) -> int:
    """Count the open sockets to a port, and those whose other end is gone, as only that server is ever killed."""
    tables = {
        name: [line.split() for line in Path(f"/proc/self/net/{name}").read_text().splitlines()[1:]]
        for name in ("tcp", "tcp6", "unix")
    }
    # The kernel stops listing a socket once its other end has reset it.
    listed = {row[9] for row in (*tables["tcp"], *tables["tcp6"])} | {row[6] for row in tables["unix"]}
    there = {row[9] for row in tables["tcp"] if int(row[2].partition(":")[2], 16) == port}
    ours = {match[1] for name in files if (match := re.search(r"socket:\[(\d+)\]", name))}
    return len(ours & there) + len(ours - listed)


def allowance(name: str, median: float) -> float:
    """Return how much a figure may gain over the second half of the samples."""
    spare = {"memory": max(0.02 * median, 3 * 2**20), "blocks": 0.01 * median, "redis": float(MAX_CONCURRENT)}
    return spare.get(name, 0.99)


def judge(samples: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Fit a line through the second half of each figure; return the median, the gain, and the allowed gain."""
    half = samples[len(samples) // 2 :]
    times = [sample["seconds"] for sample in half]
    found = {}
    for name in (key for key in half[0] if key != "seconds"):
        values = [sample[name] for sample in half]
        slope = statistics.linear_regression(times, values).slope
        median = statistics.median(values)
        # Each cycle opens the sockets to Redis anew, so the size of the pool is the bound.
        gained = max(values) if name == "redis" else slope * (times[-1] - times[0])
        figures = {"first": samples[0][name], "median": median, "gained": gained}
        found[name] = {**figures, "may gain": allowance(name, median)}
    return found


async def soak(driver: str, minutes: float, tasks: int, seed: int, servers: embedded.Servers) -> dict[str, Any]:
    """Run the load with one driver, and return the figures."""
    await backtest_mongo.setup(servers.config, CC_MONGO_DRIVER=driver, CC_CANDLE_CACHE_MB=CANDLE_CACHE_MB)
    load, observer = Load(tasks, seed), Observer(servers.config)
    await load.start()
    start = time.monotonic()
    samples: list[dict[str, float]] = []
    while time.monotonic() - start < minutes * 60 or len(samples) < 6:
        os.kill(servers.pid("redis-server"), signal.SIGKILL)
        await asyncio.sleep(OUTAGE_SECONDS)
        await asyncio.to_thread(servers.restart, "redis-server")
        await asyncio.sleep(CYCLE_SECONDS - OUTAGE_SECONDS)
        await load.pause()
        samples.append({"seconds": time.monotonic() - start, **observer.sample()})
        load.resume()
    seconds = time.monotonic() - start
    await load.stop()
    observer.close()
    await backtest_mongo.close()
    return {
        "driver": driver,
        "tasks": tasks,
        "seed": seed,
        "seconds": seconds,
        "redis kills": len(samples),
        "operations": load.done.total(),
        "a second": load.done.total() / seconds,
        "by kind": load.done,
        "faults": load.faults,
        "figures": judge(samples),
        "samples": samples,
    }


def show(result: dict[str, Any]) -> bool:
    """Print the figures, and tell whether all of them are within their bounds."""
    title = (
        f"{result['driver']}: {result['tasks']} tasks, {result['seconds']:.0f} s, {result['operations']:,} operations"
    )
    table = Table("figure", "first", "median", "gained", "may gain", "", title=f"{title} ({result['a second']:,.0f}/s)")
    good = not result["faults"]
    for name, figure in result["figures"].items():
        flat = figure["gained"] <= figure["may gain"]
        good = good and flat
        scale = 2**20 if name == "memory" else 1
        numbers = (f"{figure[column] / scale:,.2f}" for column in ("first", "median", "gained", "may gain"))
        table.add_row(f"{name} (MiB)" if name == "memory" else name, *numbers, "flat" if flat else "GROWS")
    console = Console()
    console.print(table)
    console.print(f"redis was killed {result['redis kills']} times; operations: {dict(result['by kind'])}")
    for fault in result["faults"][:10]:
        console.print(fault, markup=False)
    return good


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run a long mixed load under which nothing may grow.")
    parser.add_argument("--minutes", type=float, default=10.0, help="minutes per driver")
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--driver", choices=["motor", "pymongo", "both"], default="both")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    drivers = ["motor", "pymongo"] if options.driver == "both" else [options.driver]
    results = []
    for driver in drivers:
        with embedded.Servers() as servers:
            results.append(asyncio.run(soak(driver, options.minutes, options.tasks, options.seed, servers)))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1))
    verdicts = [show(result) for result in results]
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
