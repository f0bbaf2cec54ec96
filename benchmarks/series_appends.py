"""Append trades as they come, in turn with the inserts of a plain client."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, Final

from backtest_mongo import setup
from backtest_mongo.columns.arrays import ColumnArrays
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.core.background import finish_background
from benchmarks.candle_stores import configured
from benchmarks.cases import open_plain
from benchmarks.series_stores import adapter, create_plain_index, make_documents
from benchmarks.timing import Make, Times, Work, interleave
from benchmarks.trade_data import TRADE, make_trades

__all__ = ["APPENDS", "Appends", "measure_appends"]

_COLLECTION: Final = "trades"


@dataclass(frozen=True)
class Appends:
    """A way to append.

    Attributes:
        name: what is done.
        per_call: rows of a call.
        turn: calls of a side before it is the other one's turn.
        share: how many of the run's rows are appended, one in so many.
        small_share: the same of a run of fewer than a million rows.
        goal: the most that ours may take, in multiples of the plain client's time.
    """

    name: str
    per_call: int
    turn: int
    share: int
    small_share: int
    goal: float


APPENDS: Final = (Appends("one row", 1, 10_000, 10, 20, 1.3), Appends("1,000 rows", 1_000, 250, 1, 1, 1.0))
#: Rows that are appended at most.
_MOST: Final = 1_000_000


async def measure_appends(config: Mapping[str, Any], driver: str, appends: Appends, rows: int) -> dict[str, Any]:
    """Return the microseconds of each side per row, over all of its rows.

    Sealing goes on in the background. A turn ends when it has, and after the last turn the rest is sealed, so that all
    of it is in our time and none in that of the plain client.
    """
    in_turn = appends.per_call * appends.turn
    share = appends.share if rows >= _MOST else appends.small_share
    turns = max(1, min(_MOST, rows // share) // in_turn)
    trades = make_trades((turns + 1) * in_turn)  # a turn of each does not count
    own = configured(config, "bench-appends", driver)
    uri = f"{config['CC_MONGO_CONNECTION_STRING']}&w=majority"
    exchange = f"appends-{appends.per_call}"
    async with setup(own), open_plain(driver, uri, "bench-appends-plain") as plain:
        series, collection = adapter(exchange), plain[_COLLECTION]
        await create_plain_index(collection)
        await series.coverage()  # create the indexes

        async def append_one(rows: Sequence[Mapping[str, Any]]) -> None:
            for row in rows:
                await series.append([row])
            await finish_background()

        async def append_many(rows: Sequence[Mapping[str, Any]]) -> None:
            for at in range(0, len(rows), appends.per_call):
                await series.append(rows[at : at + appends.per_call])
            await finish_background()

        async def insert_one(documents: Sequence[dict[str, Any]]) -> None:
            for document in documents:
                await collection.insert_one(document)

        async def insert_many(documents: Sequence[dict[str, Any]]) -> None:
            for at in range(0, len(documents), appends.per_call):
                await collection.insert_many(documents[at : at + appends.per_call], ordered=False)

        is_single = appends.per_call == 1
        sides: dict[str, Make] = {
            "ours": _make_turns(trades, in_turn, append_one if is_single else append_many, _make_rows),
            "plain": _make_turns(
                trades,
                in_turn,
                insert_one if is_single else insert_many,
                partial(make_documents, exchange=exchange),
            ),
        }
        times = {side: Times() for side in sides}
        await interleave(sides, turns, times, is_large=True)
        start = time.perf_counter()
        sealed = await series.seal()
        rest = time.perf_counter() - start
        size, stored = await series.size(), await collection.count_documents({})
        stored_rows = size.block_rows
        expected = len(trades) if turns > 1 else in_turn
        assert (stored_rows, size.tail_rows, stored) == (expected, 0, expected), (size, stored)
        for database in (current_hub().database, plain):
            await database.client.drop_database(database.name)
    total = {side: sum(taken.wall) for side, taken in times.items()}
    total["ours"] += rest
    ratio = total["ours"] / total["plain"]
    appended = turns * in_turn
    return {
        "driver": driver,
        "name": appends.name,
        "rows": appended,
        **{f"{side}_us": taken / appended * 1e6 for side, taken in total.items()},
        "blocks": size.blocks,
        "sealed_last": sealed.rows,
        "ratio": ratio,
        "goal": appends.goal,
        "met": ratio <= appends.goal,
    }


def _make_rows(trades: ColumnArrays) -> list[dict[str, Any]]:
    return trades.rows(TRADE)


def _make_turns(
    trades: ColumnArrays,
    length: int,
    work: Callable[[list[dict[str, Any]]], Any],
    make: Callable[[ColumnArrays], list[dict[str, Any]]],
) -> Make:
    """Return what makes the work of the next turn, before the clock starts."""
    starts: Iterator[int] = count(0, length)

    def make_next() -> Work:
        start = next(starts)
        return partial(work, make(trades.take(slice(start, start + length))))

    return make_next
