"""One of several processes that go for the same rows at the same moment; run by test_races.py and test_shared_redis.py.

Reads a job a line from its standard input. For each it says "ready", waits for the line that has the moment to start,
and prints what it saw. It ends with its standard input, so it outlives nobody.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

from pymongo import monitoring

import backtest_mongo
from backtest_mongo import ConflictError, SlotSpec
from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.core.config import reset_config
from tests.support import uniform

TASKS = 8
#: Candles that one key of a series stands for.
ROWS = 20
#: Between the moments at which all processes turn to their next key.
STEP_SECONDS = 0.04
DUPLICATE_KEY = 11000


class Commands(monitoring.CommandListener):
    """Counts what the driver sends, by the command's name, and the lost races that the server reports."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.counts[event.command_name] += 1

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        if event.command_name == "update":
            refused = event.reply.get("writeErrors", ())
            self.counts["lost races"] += sum(row["code"] == DUPLICATE_KEY for row in refused)

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        self.counts["lost races"] += event.failure.get("code") == DUPLICATE_KEY


class Racer:
    """Carries out one job."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.spec: SlotSpec = ADAPTERS[job["slot"]].spec
        self.problems: list[str] = []
        self.inserted = 0
        self.seen: Counter[str] = Counter()
        self._start = 0.0

    def adapter(self, key: str) -> Any:
        # A document's key is its context.
        unique = self.job["unique"]
        return uniform.adapter(self.spec, f"{unique}-{key}" if self.spec.shape == "document" else unique)

    async def prepare(self) -> None:
        await self.adapter("0").wait_for_init()

    async def run(self, start: float) -> dict[str, Any]:
        self._start = start
        await getattr(self, self.job["kind"])()
        return {"problems": self.problems, "inserted": self.inserted, "seen": self.seen}

    async def until_turn_of(self, index: int) -> None:
        await asyncio.sleep(max(0.0, self._start + index * STEP_SECONDS - time.time()))

    async def noting(self, call: Awaitable[Any]) -> Any:
        try:
            return await call
        except Exception as error:  # whatever it is, the test shows it
            self.problems.append(repr(error))

    # Kinds of job

    async def one_at_a_time(self) -> None:
        """All tasks write one key, then all the next: each write is alone in its turn of the event loop."""
        for index, key in enumerate(self.job["keys"]):
            await self.until_turn_of(index)
            await asyncio.gather(*(self.noting(self.write([key], task)) for task in range(TASKS)))

    async def all_at_once(self) -> None:
        """All tasks write all keys in one turn of the event loop."""
        await self.until_turn_of(0)
        keys = self.job["keys"]
        if self.spec.shape in ("collection", "series"):
            await asyncio.gather(*(self.noting(self.write(keys, task)) for task in range(TASKS)))
        else:
            await asyncio.gather(*(self.noting(self.write([key], task)) for task in range(TASKS) for key in keys))

    async def write(self, keys: list[str], task: int) -> None:
        spec, number = self.spec, self.job["process"] * TASKS + task
        adapter = self.adapter(keys[0])
        if spec.shape == "series":
            batch = [row for key in keys for row in candles_of(key, float(number + 2))]
            new = await adapter.write_candles_data(batch)
            self.inserted += new
        elif spec.shape == "collection":
            items = [{"id": f"{self.job['unique']}-{key}", **value_of(number)} for key in keys]
            await getattr(adapter, f"write_{spec.noun}_data")(items)
        else:
            value = value_of(number)
            await uniform.write(adapter, [["x", value]] if spec.payload == "list" else value, keys[0])

    async def write_against_remove(self) -> None:
        """Half of the processes write, half remove."""
        adapter, process = self.adapter("0"), self.job["process"]
        remove = getattr(adapter, f"remove_{self.spec.noun}_data", None)
        for index, key in enumerate(self.job["keys"]):
            await self.until_turn_of(index)
            if process % 2:
                assert remove is not None
                calls = [remove(key) for _ in range(TASKS)]
            else:
                calls = [uniform.write(adapter, value_of(process * TASKS + task), key) for task in range(TASKS)]
            await asyncio.gather(*(self.noting(call) for call in calls))

    async def read_against_remove(self) -> None:
        """Of four processes one writes, one removes, and two read and list, for as long as the job says."""
        work = (self._writing, self._removing, self._reading, self._listing)[self.job["process"] % 4]
        await self.until_turn_of(0)
        end = time.monotonic() + self.job["seconds"]
        while time.monotonic() < end:
            await asyncio.gather(*(self.noting(work(key)) for key in self.job["keys"]))

    async def claim(self) -> None:
        """All tasks claim one key that is absent, then all the next; of each key the report has the winners."""
        for index, key in enumerate(self.job["keys"]):
            await self.until_turn_of(index)
            await asyncio.gather(*(self.noting(self._claim(key, task)) for task in range(TASKS)))

    async def _claim(self, key: str, task: int) -> None:
        value = value_of(self.job["process"] * TASKS + task)
        with suppress(ConflictError):
            await uniform.write(self.adapter(key), self._wrap(value), key, if_absent=True)
            self.seen[f"{key} {value['number']}"] += 1

    async def count(self) -> None:
        """All tasks count each key up by one, with versions."""
        await self.until_turn_of(0)
        calls = (self.noting(self._count(key)) for _ in range(TASKS) for key in self.job["keys"])
        await asyncio.gather(*calls)

    async def _count(self, key: str) -> None:
        adapter = self.adapter(key)
        found, version = await uniform.read_version(adapter, key)
        while True:
            value = found[0][1] if found and self.spec.payload == "list" else found
            number = value["number"] + 1 if value else 1
            try:
                await uniform.write(adapter, self._wrap(value_of(number)), key, expect=version)
            except ConflictError as error:
                found, version = error.found, error.version
                self.seen["conflicts"] += 1
            else:
                return

    def _wrap(self, value: dict[str, Any]) -> Any:
        return [["x", value]] if self.spec.payload == "list" else value

    async def _writing(self, key: str) -> None:
        self.seen["written"] += 1
        await uniform.write(self.adapter(key), value_of(self.seen["written"]), key)

    async def _removing(self, key: str) -> None:
        await getattr(self.adapter(key), f"remove_{self.spec.noun}_data")(key)

    async def _reading(self, key: str) -> None:
        self._judge(key, await uniform.read(self.adapter(key), key))

    async def _listing(self, key: str) -> None:
        rows = await uniform.listed(self.adapter(key))
        names = [row[0] for row in rows] if self.spec.items else rows
        if names != sorted(set(names)) or not set(self.job["kept"]) <= set(names):
            self.problems.append(f"listed {names}")
        self.seen["listed"] += 1
        for name, value in rows if self.spec.items else ():
            if name in self.job["keys"]:
                self._judge(name, value)

    async def share_redis_with_another_deployment(self) -> None:
        """Write and read the rows of this process's own deployment, whose keys another one has too.

        Every other round begins like a new process, which knows no id but those in Redis.
        """
        owner, keys = f"deployment-{self.job['process']}", self.job["keys"]
        adapters = {key: self.adapter(key) for key in keys}
        for number in range(self.job["rounds"]):
            if number % 2:
                await backtest_mongo.close()
            value = {"owner": owner, "number": number}
            payload = [["x", value]] if self.spec.payload == "list" else value
            if number % 3 == 0:
                calls = (self.noting(uniform.write(adapters[key], payload, self.entry(key))) for key in keys)
                await asyncio.gather(*calls)
                written = payload
            for _ in range(3):
                for found in (
                    [await uniform.read(adapters[key], self.entry(key)) for key in keys],
                    await asyncio.gather(*(uniform.read(adapters[key], self.entry(key)) for key in keys)),
                ):
                    self.seen["reads"] += len(keys)
                    if found != [uniform.stored(self.spec, written)] * len(keys):
                        self.problems.append(f"{owner} in round {number} read {found}")

    def entry(self, key: str) -> str:
        return f"{self.job['unique']}-{key}"

    def _judge(self, key: str, value: Any) -> None:
        """Note an answer that nobody has written: of a removed row, or of two writes mixed."""
        self.seen["absent" if value is None else "present"] += 1
        if value is not None and value != value_of(value["number"]):
            self.problems.append(f"{key} is {value}")


def value_of(number: int) -> dict[str, Any]:
    return {"number": number, "again": [number] * 50}


def candles_of(key: str, price: float) -> list[dict[str, Any]]:
    return uniform.candles(ROWS, first=int(key) * 1_000 * 60_000, price=price)


async def main() -> None:
    commands = Commands()
    monitoring.register(commands)

    async def next_line() -> str:
        return await asyncio.to_thread(sys.stdin.readline)

    while line := await next_line():
        job = json.loads(line)
        reset_config()  # no field of the job before holds for this one
        await backtest_mongo.setup(job["config"])
        racer = Racer(job)
        await racer.prepare()
        commands.counts.clear()
        print("ready", flush=True)
        report = await racer.run(float(await next_line()))
        print(json.dumps({**report, "commands": commands.counts}), flush=True)
    await backtest_mongo.close()


if __name__ == "__main__":
    asyncio.run(main())
