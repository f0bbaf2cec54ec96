"""One of several processes that write the same fresh keys at the same moment; run by test_races.py.

Reads a job from its command line, says "ready", waits for a line on its standard input, and prints what it saw.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import backtest_mongo
from backtest_mongo.adapters import ADAPTERS
from tests import uniform

TASKS = 8


async def main(job: dict[str, Any]) -> None:
    await backtest_mongo.setup(job["config"])
    spec = ADAPTERS[job["slot"]].spec
    adapter = uniform.adapter(spec, job["unique"])
    await adapter.wait_for_init()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    errors: list[str] = []
    inserted = 0

    async def write(key: str, task: int) -> None:
        nonlocal inserted
        number = job["process"] * TASKS + task
        try:
            if spec.shape == "series":
                first = int(key) * 1_000 * 60_000
                new = await adapter.write_candles_data(uniform.candles(20, first=first, price=float(number + 2)))
                inserted += new
            else:
                await uniform.write(adapter, uniform.payload(spec, number), key)
        except Exception as error:  # whatever it is, the test shows it
            errors.append(repr(error))

    for key in job["keys"]:
        await asyncio.gather(*(write(key, task) for task in range(TASKS)))
    await backtest_mongo.close()
    print(json.dumps({"errors": errors, "inserted": inserted}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
