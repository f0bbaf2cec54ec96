"""A process that opens the store and does one job: ``python -m ... module:factory DIRECTORY JOB ARGUMENTS``.

It says what it has done, a line of JSON each, and goes on when it reads a line. It ends when its input ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from backtest_mongo import SLOTS, ConflictError
from backtest_mongo.testing.conformance.loading import load_factory
from backtest_mongo.testing.conformance.slots import MINUTE, WHEN, get_slot, make_candles, make_payload

SPECS: Final = {spec.name: spec for spec in SLOTS}


def say(what: Any) -> None:
    print(json.dumps(what), flush=True)


async def hear() -> bool:
    """Wait until the test says so; return whether there is anything more to do."""
    return bool(await asyncio.to_thread(sys.stdin.readline))


async def write(store: Any, slots: list[str], key: str) -> None:
    """Write a row of each slot, say so, and stay."""
    for slot in slots:
        spec = SPECS[slot]
        if spec.shape == "series":
            say(await get_slot(store, spec).adapter.write_candles_data(make_candles(5)))
        else:
            await get_slot(store, spec).write(make_payload(spec), key)
            say("written")
    await hear()


async def read(store: Any, slots: list[str], key: str) -> None:
    """Say of each slot whether what :func:`write` writes is there."""
    found = [get_slot(store, SPECS[slot]) for slot in slots]
    say([await slot.read(key) == slot.wrap(make_payload(slot.spec)) for slot in found])


async def remove(store: Any, slot: str, key: str) -> None:
    await get_slot(store, SPECS[slot]).remove(key)
    say("removed")
    await hear()


async def count_up(store: Any, slot: str, key: str) -> None:
    """Write numbers until it is killed, and say each once it is stored."""
    found = get_slot(store, SPECS[slot])
    number = 0
    while True:
        number += 1
        value = {"number": number, "filler": "x" * (number * 997 % 20_000), "again": number}
        await found.write(value, key, WHEN + number)
        say(number)


async def fill(store: Any, slots: list[str], key: str, name: str, count: int) -> None:
    """Write entries of its own into contexts that others write, too, and one that all of them write."""
    found = [get_slot(store, SPECS[slot]) for slot in slots]
    say("ready")
    await hear()
    for number in range(count):
        for slot in found:
            await slot.write(make_payload(slot.spec, number), f"{name}-{number:04}")
            await slot.write({"by": name, "again": name}, key)
    say("done")


async def insert(store: Any, price: float, windows: int) -> None:
    """Write candles that others write, too, and say how many were new."""
    candles = get_slot(store, SPECS["candle"]).adapter
    say("ready")
    await hear()
    new = 0
    for number in range(windows):
        new += await candles.write_candles_data(make_candles(5, number * 3 * MINUTE, price=price))
    say(new)


async def add(store: Any, slot: str, key: str, count: int) -> None:
    """Count a row up, by versions."""
    found = get_slot(store, SPECS[slot])
    say("ready")
    await hear()
    value, version = await found.read_version(key)
    for _ in range(count):
        while True:
            try:
                await found.write({"n": (value or {"n": 0})["n"] + 1}, key, expect=version)
            except ConflictError as conflict:
                value, version = conflict.found, conflict.version
            else:
                break
        value, version = await found.read_version(key)
    say("done")


async def commit(store: Any, names: list[str], number: int) -> None:
    """Write rows in a transaction, wait before its end, and again after it."""
    async with store.transaction(when=WHEN):
        for name in names:
            await get_slot(store, SPECS[name]).write(make_payload(SPECS[name], number), "entry")
        say("open")
        await hear()
    say("committed")
    await hear()


async def hold(store: Any, slot: str, ttl: float) -> None:
    """Own a context, and write a number for each line that is read; say the error that ends it."""
    found = get_slot(store, SPECS[slot])
    number = 0
    try:
        async with store.lease(found.adapter, ttl=ttl, wait=0.0):
            say("held")
            while await hear():
                number += 1
                await found.write({"n": number})
                say(number)
    except Exception as error:
        say(type(error).__name__)
    else:
        say("given back")


JOBS: Final[dict[str, Callable[..., Awaitable[None]]]] = {
    job.__name__: job for job in (write, read, remove, count_up, fill, insert, add, commit, hold)
}


async def main(name: str, directory: str, job: str, arguments: str) -> None:
    async with load_factory(name)(Path(directory)) as store:
        await JOBS[job](store, *json.loads(arguments))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
