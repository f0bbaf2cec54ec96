"""A process that writes to a directory of files; run by test_files.py.

``state``: replaces a few rows over and over, until it is killed; each says its own simulation time. ``share``: writes
many rows that are its own, and some, such as candles, that another process writes too, and prints how many candles were
new. ``everything``: writes and reads a row of every slot, with the registry as it is when nothing was set up.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from backtest_mongo import SLOTS, persist
from tests.support import uniform


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


async def everything() -> None:
    for spec in SLOTS:
        slot = getattr(persist, spec.name)(**uniform.context(spec, "x"))
        await slot.wait_for_init()
        if spec.shape == "series":
            assert await slot.write_candles_data(uniform.candles(3)) == 3
            assert await slot.read_candles_data(3, 0) == uniform.candles(3)
            continue
        await uniform.write(slot, uniform.payload(spec))
        assert await uniform.read(slot) == uniform.stored(spec, uniform.payload(spec))


if __name__ == "__main__":
    work, directory, *arguments = sys.argv[1:]
    if directory:
        persist.use_files(directory)
    works: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
        "state": state,
        "share": share,
        "everything": everything,
    }
    asyncio.run(works[work](*arguments))
