"""What is measured: pairs of the same work, once by the bare driver and once by this library."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import Any, Final, TypeAlias

from bson import ObjectId
from pymongo import ReturnDocument, UpdateOne

from backtest_mongo import CandleAdapter, SignalAdapter
from backtest_mongo.hub import current_hub

__all__ = ["CASES", "Case", "Prepared", "Work"]

Work: TypeAlias = Callable[[], Awaitable[Any]]

MINUTE: Final = 60_000
MONTH: Final = 44_640
#: About 300 bytes, as a signal has.
PAYLOAD: Final = {
    "id": "signal-1",
    "position": "long",
    "priceOpen": 50_000.5,
    "priceTakeProfit": 51_000.0,
    "priceStopLoss": 49_000.0,
    "minuteEstimatedTime": float("inf"),
    "timestamp": 1_700_000_000_000,
    "note": "a moving-average crossover on the hourly candles of the last two weeks",
    "nested": {"levels": [10, 20, 30], "reached": []},
}

_serial = count()


@dataclass(frozen=True)
class Prepared:
    """Both sides of a case, ready to run, and how many operations each of them is."""

    operations: int
    ours: Work
    bare: Work | None = None


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Args:
        name: what is done.
        goal: the most that ours may cost, in multiples of the bare driver's time; or in seconds, where there is no
            bare side.
        reference: what the Node package was measured at, in microseconds an operation.
        prepare: makes both sides, on fresh keys: what was measured before must not make it faster.
        writes: whether the write concern matters.
    """

    name: str
    goal: float
    reference: float | None
    prepare: Callable[[], Awaitable[Prepared]]
    writes: bool = False


def _contexts(size: int) -> list[tuple[str, str, str]]:
    run = next(_serial)
    return [(f"SYMBOL{number}", f"strategy-{run}", "binance") for number in range(size)]


def _signals(size: int) -> list[SignalAdapter]:
    return [SignalAdapter(*context) for context in _contexts(size)]


async def _stored_signals(size: int) -> tuple[list[SignalAdapter], list[ObjectId], Any]:
    signals = _signals(size)
    await asyncio.gather(*(signal.write_signal_data(PAYLOAD) for signal in signals))
    collection = current_hub().database[SignalAdapter.spec.collection]
    rows = await collection.find({"strategyName": signals[0].context["strategy_name"]}, {"_id": 1}).to_list(None)
    return signals, [row["_id"] for row in rows], collection


def _one_after_another(works: list[Callable[[], Awaitable[Any]]]) -> Work:
    async def run() -> None:
        for work in works:
            await work()

    return run


async def read_in_sequence() -> Prepared:
    signals, ids, collection = await _stored_signals(200)

    def find(oid: ObjectId) -> Callable[[], Awaitable[Any]]:
        return lambda: collection.find_one({"_id": oid})

    return Prepared(
        200,
        _one_after_another([signal.read_signal_data for signal in signals]),
        _one_after_another([find(oid) for oid in ids]),
    )


def read_at_once(size: int) -> Callable[[], Awaitable[Prepared]]:
    async def prepare() -> Prepared:
        signals, ids, collection = await _stored_signals(size)

        async def ours() -> None:
            await asyncio.gather(*(signal.read_signal_data() for signal in signals))

        async def bare() -> None:
            await collection.find({"_id": {"$in": ids}}).to_list(None)

        return Prepared(size, ours, bare)

    return prepare


def _filter(signal: SignalAdapter) -> dict[str, Any]:
    symbol, strategy, exchange = signal.context.values()
    return {"symbol": symbol, "strategyName": strategy, "exchangeName": exchange}


def _update() -> dict[str, Any]:
    now = datetime.now(UTC)
    return {"$set": {"payload": PAYLOAD, "updatedDate": now}, "$setOnInsert": {"createDate": now, "__v": 0}}


async def write_in_sequence() -> Prepared:
    signals, _, collection = await _stored_signals(100)

    def upsert(signal: SignalAdapter) -> Callable[[], Awaitable[Any]]:
        return lambda: collection.find_one_and_update(
            _filter(signal), _update(), projection={"_id": 1}, upsert=True, return_document=ReturnDocument.AFTER
        )

    return Prepared(
        100,
        _one_after_another([partial(signal.write_signal_data, PAYLOAD) for signal in signals]),
        _one_after_another([upsert(signal) for signal in signals]),
    )


def write_at_once(size: int) -> Callable[[], Awaitable[Prepared]]:
    async def prepare() -> Prepared:
        signals, _, collection = await _stored_signals(size)

        async def ours() -> None:
            await asyncio.gather(*(signal.write_signal_data(PAYLOAD) for signal in signals))

        async def bare() -> None:
            operations = [UpdateOne(_filter(signal), _update(), upsert=True) for signal in signals]
            await collection.bulk_write(operations, ordered=False)

        return Prepared(size, ours, bare)

    return prepare


def candles(size: int) -> list[dict[str, Any]]:
    return [
        {"timestamp": index * MINUTE, "open": 1.5, "high": 2.5, "low": 0.5, "close": 1.25, "volume": 10.0}
        for index in range(size)
    ]


def _series() -> CandleAdapter:
    return CandleAdapter("BTCUSDT", "1m", f"exchange-{next(_serial)}")


def _documents(size: int) -> Iterator[dict[str, Any]]:
    exchange, now = f"exchange-{next(_serial)}", datetime.now(UTC)
    for row in candles(size):
        key = {"exchangeName": exchange, "symbol": "BTCUSDT", "interval": "1m", "timestamp": row["timestamp"]}
        yield {**row, **key, "createDate": now, "updatedDate": now, "__v": 0}


def write_candles(size: int) -> Callable[[], Awaitable[Prepared]]:
    async def prepare() -> Prepared:
        series, rows, documents = _series(), candles(size), list(_documents(size))
        await series.read_candles_data(1, 0)  # the indexes are there on both sides
        collection = current_hub().database[CandleAdapter.spec.collection]

        async def ours() -> None:
            assert await series.write_candles_data(rows) == size

        async def bare() -> None:
            await collection.insert_many(documents, ordered=False)

        return Prepared(size, ours, bare)

    return prepare


def write_candles_again(size: int) -> Callable[[], Awaitable[Prepared]]:
    async def prepare() -> Prepared:
        series, rows, documents = _series(), candles(size), list(_documents(size))
        await series.write_candles_data(rows)
        collection = current_hub().database[CandleAdapter.spec.collection]

        async def ours() -> None:
            assert await series.write_candles_data(rows) == 0

        async def bare() -> None:
            await collection.insert_many(documents, ordered=False)

        return Prepared(size, ours, bare)

    return prepare


def read_window(size: int) -> Callable[[], Awaitable[Prepared]]:
    """A window that this process has not seen: each run reads another one."""

    async def prepare() -> Prepared:
        runs = 8
        series = _series()
        await series.write_candles_data(candles(size * runs))
        exchange = series.context["exchange_name"]
        collection = current_hub().database[CandleAdapter.spec.collection]
        hub = current_hub()

        async def ours() -> None:
            for run in range(runs):
                hub.candles.clear()
                assert await series.read_candles_data(size, run * size * MINUTE) is not None

        async def bare() -> None:
            fields = {"_id": 0, "timestamp": 1, "open": 1, "high": 1, "low": 1, "close": 1, "volume": 1}
            for run in range(runs):
                since = run * size * MINUTE
                query: dict[str, Any] = {"exchangeName": exchange, "symbol": "BTCUSDT", "interval": "1m"}
                query["timestamp"] = {"$gte": since, "$lt": since + size * MINUTE}
                rows = await collection.find(query, fields).sort("timestamp", 1).batch_size(size + 1).to_list(None)
                assert len(rows) == size

        return Prepared(runs, ours, bare)

    return prepare


async def virtual_month() -> Prepared:
    """A month of minutes replayed, a window of five candles each, first touch included."""
    series = _series()
    await series.write_candles_data(candles(MONTH + 5))

    async def ours() -> None:
        current_hub().candles.clear()
        for step in range(MONTH):
            assert await series.read_candles_data(5, step * MINUTE) is not None

    return Prepared(MONTH, ours)


CASES: Final = (
    Case("read, one after another", 1.15, 900, read_in_sequence),
    Case("read, 50 at once", 2.0, 365, read_at_once(50)),
    Case("read, 500 at once", 2.0, None, read_at_once(500)),
    Case("write, one after another", 1.15, 1300, write_in_sequence, writes=True),
    Case("write, 50 at once", 2.0, None, write_at_once(50), writes=True),
    Case("write, 500 at once", 2.0, None, write_at_once(500), writes=True),
    Case("100,000 candles written", 1.5, 950, write_candles(100_000), writes=True),
    Case("100,000 candles written again", 2.0, 950, write_candles_again(100_000), writes=True),
    Case("window of 1,000 candles", 1.3, 680_000, read_window(1_000)),
    Case("window of 5,000 candles", 1.3, 3_400_000, read_window(5_000)),
    Case("44,640 windows of 5 candles", 1.0, 6_600, virtual_month),
)
