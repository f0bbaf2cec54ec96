"""A process that writes to a directory of files; run by test_files.py.

``state``: replaces a few rows over and over, until it is killed; each says its own simulation time. ``share``: writes
many rows that are its own, and some, such as candles, that another process writes too, and prints how many candles were
new. ``count``: counts a row up with versions.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from backtest_mongo import persist
from tests.support import uniform
from tests.support.counting import count


async def state() -> None:
    for number in itertools.count(1):
        pad = "x" * (number * 997 % 50_000)
        rows = [{"id": f"{index}", "n": number, "pad": pad} for index in range(5)]
        await asyncio.gather(
            persist.state("s", "one").write_state_data({"n": number, "pad": pad}, number),
            persist.memory("s", "b").write_memory_data({"n": number}, f"{number % 7}", number),
            persist.storage(True).write_storage_data(rows),
            persist.candle("BTCUSDT", "1m", "x").write_candles_data(uniform.candles(3, first=number * 180_000)),
        )
        if number == 1:
            print("writing", flush=True)


async def share(name: str) -> None:
    memory, log, state = persist.memory("s", "b"), persist.log(), persist.state("s", "one")
    new = 0
    for number in range(40):
        await memory.write_memory_data({"by": name}, f"{name}-{number:02}", number)
        await log.write_log_data([{"id": f"{name}-{number:02}"}])
        # The same payload never comes at two times, so that a mix of the two shows.
        await state.write_state_data({"by": name, "n": number}, number * 10 + int(name))
        candles = uniform.candles(20, first=number * 600_000, price=float(name) + 1)
        new += await persist.candle("BTCUSDT", "1m", "x").write_candles_data(candles)
    print(new)


if __name__ == "__main__":
    work, directory, *arguments = sys.argv[1:]
    persist.use_files(directory)
    works: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
        "state": state,
        "share": share,
        "count": count,
    }
    asyncio.run(works[work](*arguments))
