"""What versions cost: writes of rows whose versions are kept, and reads as of a time among a million of them.

A write is compared with one of the same shape of a slot without versions, and a read as of a time with a lone read of
the same row, by this library and by a plain client's ``find_one``.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from backtest_mongo import DictionaryAdapter, StateAdapter
from benchmarks.documents import make_exchange, make_payload
from benchmarks.timing import Make, Times, interleave

__all__ = ["CONTEXTS", "SETTING", "VERSIONS", "fill", "measure_history"]

#: What the slot of versions is configured by.
SETTING: Final = "state"
#: Contexts, and the versions of each.
CONTEXTS: Final = 1_000
VERSIONS: Final = 1_000
#: Reads at once.
_MANY: Final = 50
_START: Final = 1_600_000_000_000
_MINUTE: Final = 60_000
_CALLS: Final = {"a write with its version": 150, "a read as of a time": 300, "50 reads as of a time at once": 60}
#: The most of another side's time that ours may take, by row.
_GOALS: Final = {
    "a write with its version": {"without": 2.0},
    "a read as of a time": {"lone": 1.4},
    "50 reads as of a time at once": {"one": 12.0},
}


async def fill(database: Any, versions: int) -> dict[str, float]:
    """Store rows with their versions as the library does, in bulk, and return the bytes that a version takes."""
    rows, history = database[StateAdapter.spec.collection], database[StateAdapter.spec.versions]
    for number in range(CONTEXTS):
        await StateAdapter(_name(number), "bars").write_state_data(make_payload(), _START)
        key = {"signalId": _name(number), "bucketName": "bars"}
        stamp = datetime.now(UTC)
        documents = [
            {**key, "when": _START + place * _MINUTE, "payload": make_payload(), "written": stamp, "created": stamp}
            for place in range(1, versions)
        ]
        await history.insert_many(documents, ordered=False)
        last = _START + (versions - 1) * _MINUTE
        origin = {"when": last, "written": stamp}
        await rows.update_one(key, {"$set": {"when": last, "updatedDate": stamp, "origin": origin}})
    sizes = await database.command("collStats", StateAdapter.spec.versions)
    return {
        "bytes": sizes["size"] / sizes["count"],
        "stored": sizes["storageSize"] / sizes["count"],
        "indexes": sizes["totalIndexSize"] / sizes["count"],
    }


async def measure_history(
    plain: Any, rounds: int, versions: int, say: Callable[[str], None]
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Return microseconds of each side per call, their ratios to ours, how the goals came out, and a version's bytes.

    Args:
        plain: the database of a plain client, with ``w=majority``.
        rounds: rounds of each row.
        versions: versions of each of a thousand contexts.
        say: is told what is measured.
    """
    say(f"storing {CONTEXTS * versions:,} versions")
    sizes = await fill(plain, versions)
    sides: dict[str, dict[str, Make]] = {
        "a write with its version": _make_writes(),
        "a read as of a time": {
            "ours": lambda: partial(_read_at, _choose(), versions),
            "lone": lambda: partial(_read, _choose()),
            "plain": lambda: partial(_find, plain, _choose()),
        },
        "50 reads as of a time at once": {
            "ours": lambda: partial(_read_many_at, [_choose() for _ in range(_MANY)], versions),
            "one": lambda: partial(_read_at, _choose(), versions),
            "lone": lambda: partial(_read, _choose()),
        },
    }
    found = []
    for name, calls in _CALLS.items():
        say(name)
        times = {side: Times() for side in sides[name]}
        for _ in range(rounds):
            await interleave(sides[name], calls, times, is_large=False)
        figures = {side: taken.summarize(1) for side, taken in times.items()}
        ratios = {side: figures["ours"]["median_us"] / figure["median_us"] for side, figure in figures.items()}
        goals = {
            side: {"goal": goal, "reached": ratios[side], "met": ratios[side] <= goal}
            for side, goal in _GOALS[name].items()
        }
        found.append({"name": name, "sides": figures, "ratios": ratios, "goals": goals})
    return found, sizes


def _make_writes() -> dict[str, Make]:
    """Return the sides of a write: each bar writes the next version of a row."""
    exchange = make_exchange()
    ours, without = StateAdapter(exchange, "bars"), DictionaryAdapter(exchange, "bars")
    bars = {"ours": 0, "without": 0}

    def next_time(side: str) -> int:
        bars[side] += 1
        return _START + bars[side] * _MINUTE

    return {
        "ours": lambda: partial(ours.write_state_data, make_payload(), next_time("ours")),
        "without": lambda: partial(without.write_dictionary_data, make_payload(), next_time("without")),
    }


def _name(number: int) -> str:
    return f"signal-{number}"


def _choose() -> str:
    return _name(random.randrange(CONTEXTS))


def _choose_time(versions: int) -> int:
    return _START + random.randrange(versions - 1) * _MINUTE + random.randrange(_MINUTE)


async def _read_at(name: str, versions: int) -> None:
    assert await StateAdapter(name, "bars").read_state_data(_choose_time(versions)) is not None


async def _read_many_at(names: list[str], versions: int) -> None:
    await asyncio.gather(*(_read_at(name, versions) for name in names))


async def _read(name: str) -> None:
    assert await StateAdapter(name, "bars").read_state_data() is not None


async def _find(plain: Any, name: str) -> None:
    assert await plain[StateAdapter.spec.collection].find_one({"signalId": name, "bucketName": "bars"}) is not None
