"""A process that writes one series with columns until it is killed; run by test_process_kills.py.

It makes numbered calls: each has rows that follow from its number, so the test knows them. It prints a line once a call
has returned: its number, and what it returned. Blocks are so small that nearly every call makes some.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import pytest

import backtest_mongo
from backtest_mongo import persist
from backtest_mongo.columns import merging
from backtest_mongo.mongo import abandoned
from backtest_mongo.series.columns import blocks, heads, store
from backtest_mongo.series.columns import merging as mongo_merging
from backtest_mongo.sqlite import column_documents, column_sealing, columns

__all__ = ["Call", "Key", "make_call", "make_row", "open_series", "shrink"]

#: The slot of which the first row of a key wins.
FIRST: Final = "trade"
#: Times that each call has for itself.
OWN: Final = 10
#: Calls back that one may have rows of.
_BACK: Final = 30

#: The time and the sequence, which is 0 where a slot has none.
Key = tuple[int, int]


@dataclass(frozen=True)
class Call:
    """What one call writes.

    Attributes:
        kind: ``append`` stores its rows together, ``several`` appends each by a call of its own, all at once.
        keys: the keys of its rows, none of which comes twice.
    """

    kind: Literal["append", "several", "frame", "seal"]
    keys: tuple[Key, ...]


def make_call(slot: str, number: int) -> Call:
    """Return the call of a number: most have rows of their own, and some rows that come late, or that others have."""
    chance = random.Random(number)
    ids = (1, 2) if slot == FIRST else (0,)
    if number % 9 == 8:
        return Call("seal", ())

    def pick(count: int) -> Iterator[Key]:
        for _ in range(count):
            yield OWN * chance.randrange(max(0, number - _BACK), number + 1) + chance.choice((0, 1, 7)), ids[0]

    own = OWN * number
    if number % 4 == 3:
        frame = [(own + place, id_) for place in range(6) for id_ in ids]
        return Call("frame", tuple(dict.fromkeys([*frame, *pick(chance.choice((0, 4)))])))
    if number % 5 == 2:
        return Call("several", tuple(dict.fromkeys([(own, ids[0]), (own + 1, ids[-1]), *pick(2)])))
    if number % 3 == 0:
        return Call("append", tuple(dict.fromkeys([(own, ids[0]), (own, ids[-1]), *pick(3)])))
    return Call("append", ((own, ids[0]),) if chance.random() < 0.7 else tuple(pick(1)))


def make_row(slot: str, key: Key, number: int) -> dict[str, Any]:
    """Return the row that the call of a number has of a key."""
    time, id_ = key
    if slot == FIRST:
        side = (None, "buy", "sell")[number % 3]
        return {"timestamp": time, "trade_id": id_, "price": number + 0.5, "amount": float(time), "side": side}
    cash = None if number % 3 else float(number)
    return {"timestamp": time, "equity": number + 0.5, "cash": cash, "unrealized_pnl": float(time), "position": None}


def open_series(slot: str, name: str) -> Any:
    """Return a series of the storage that the registry has chosen."""
    return persist.trade(name, "x") if slot == FIRST else persist.equity(name, "x", "jan", "BTC", True)


def shrink(patch: pytest.MonkeyPatch) -> None:
    """Make blocks of eight rows, merge small groups once there are a few, and wait less for those that were killed."""
    patch.setattr(merging, "BLOCK_ROWS", 8)
    patch.setattr(mongo_merging, "SEALED_GROUPS", 6)
    patch.setattr(store, "SEALED_GROUPS", 6)
    patch.setattr(store, "_MANY", 6)
    patch.setattr(blocks, "PAGE", 2)
    # As long as the process holds still for less, which it does for more on a busy machine, as in production.
    patch.setattr(heads, "_FRESH_SECONDS", 0.02)
    patch.setattr(heads, "_RAISING_SECONDS", 0.04)
    patch.setattr(abandoned, "IDLE_SECONDS", 0.5)
    for module in (column_documents, column_sealing):
        patch.setattr(module, "BLOCK_ROWS", 8)
    patch.setattr(column_sealing, "_RUN_ROWS", 20)
    patch.setattr(column_sealing, "SMALL_ROWS", 3)
    patch.setattr(columns, "_LARGE", 3)
    patch.setattr(columns, "_BULK", 6)
    patch.setattr(columns, "_GROUPS", 4)
    patch.setattr(columns, "_UNSEEN", 2)


async def make(series: Any, slot: str, number: int) -> int:
    """Make a call, and return how many rows were new."""
    call = make_call(slot, number)
    rows = [make_row(slot, key, number) for key in call.keys]
    if call.kind == "seal":
        await series.seal()
        return 0
    if call.kind == "frame":
        return int((await series.write_frame(rows)).new)
    if call.kind == "several":
        return sum(await asyncio.gather(*(series.append([row]) for row in rows)))
    return int(await series.append(rows))


async def work(job: dict[str, Any]) -> None:
    shrink(pytest.MonkeyPatch())
    if job["sqlite"]:
        persist.use_sqlite(job["sqlite"])
    else:
        await backtest_mongo.setup(job["config"])
    slot = job["slot"]
    series = open_series(slot, job["name"])
    for number in range(job["start"], job["end"]):
        print(number, await make(series, slot, number), flush=True)
    await series.seal()
    await backtest_mongo.close()


if __name__ == "__main__":
    asyncio.run(work(json.loads(sys.argv[1])))
