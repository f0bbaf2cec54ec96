"""What is measured: the same work by this library, and by a client that was given nothing but the connection string.

Each row has two baselines: ``plain`` is that client, and ``own`` is this library's own collection object, whose reads
pass its decoder and whose requests carry its deadline. Each side writes rows of its own, with values that no other
write has.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import count, cycle
from typing import Any, Final

from bson import ObjectId
from pymongo import UpdateOne

from backtest_mongo import CandleAdapter, SignalAdapter
from backtest_mongo.connection.hub_registry import current_hub
from benchmarks.documents import (
    BLOCK,
    CANDLES,
    SIGNALS,
    SignalContext,
    make_candle,
    make_candle_document,
    make_candles,
    make_contexts,
    make_exchange,
    make_key,
    make_payload,
    make_signal_document,
)
from benchmarks.others import Others
from benchmarks.timing import Make, Work

__all__ = ["CASES", "Bench", "Case", "Prepared", "make_bulk_write", "make_upsert", "open_plain", "store_signals"]

MONTH: Final = 44_640
_PRICES: Final = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True)
class Bench:
    """What cases work with: the databases of both baselines by name, the plain client's first, and other libraries."""

    baselines: Mapping[str, Any]
    others: Others

    def signals(self) -> dict[str, Any]:
        return {side: database[SIGNALS] for side, database in self.baselines.items()}

    def candles(self) -> dict[str, Any]:
        return {side: database[CANDLES] for side, database in self.baselines.items()}


@dataclass(frozen=True)
class Prepared:
    """The sides of a case, ready to run, and the number of operations in each call."""

    operations: int
    sides: Mapping[str, Make]


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Args:
        name: what is done.
        against: what the plain client does.
        calls: measured calls of each side in a round.
        prepare: prepares all sides on fresh keys, so that earlier measurements don't speed them up.
        cost: what costs most of the difference to the plain client.
        goals: by what it is held against, the most that this library may take, in multiples of its time; of
            ``processor``, in multiples of the plain client's time of the processor; and of ``seconds``, in seconds.
    """

    name: str
    against: str
    calls: int
    prepare: Callable[[Bench], Awaitable[Prepared]]
    cost: str
    goals: Mapping[str, float]


@asynccontextmanager
async def open_plain(driver: str, uri: str, database: str) -> AsyncIterator[Any]:
    """Return a database of a client that is given nothing but a connection string."""
    client: Any
    if driver == "motor":
        from motor.motor_asyncio import AsyncIOMotorClient

        client = AsyncIOMotorClient(uri)
    else:
        from pymongo import AsyncMongoClient

        client = AsyncMongoClient(uri)
    try:
        yield client[database]
    finally:
        closing = client.close()
        if closing is not None:  # Motor closes synchronously
            await closing


# Signals


async def store_signals(collection: Any, size: int) -> tuple[list[SignalContext], list[ObjectId]]:
    """Store signals in contexts of their own, and return these and the ids of the rows."""
    contexts = make_contexts(size)
    rows = [make_signal_document(context) for context in contexts]
    await collection.insert_many(rows, ordered=False)
    return contexts, [row["_id"] for row in rows]


async def _open_signals(bench: Bench, size: int) -> tuple[list[SignalAdapter], list[SignalContext], list[ObjectId]]:
    """Store signals, and return the adapters, which know their ids."""
    await SignalAdapter("none", "none", "none").read_signal_data()  # creates the indexes
    contexts, ids = await store_signals(bench.signals()["plain"], size)
    await SignalAdapter.read_many(contexts)
    return [SignalAdapter(*context) for context in contexts], contexts, ids


async def _read_alone(bench: Bench) -> Prepared:
    adapters, contexts, ids = await _open_signals(bench, 200)

    def find(collection: Any) -> Make:
        turns = cycle(ids)
        return lambda: partial(collection.find_one, {"_id": next(turns)})

    turns = cycle(adapters)
    sides: dict[str, Make] = {"ours": lambda: next(turns).read_signal_data}
    sides |= {side: find(collection) for side, collection in bench.signals().items()}
    return Prepared(1, sides | await bench.others.make_reads(contexts))


async def _write_alone(bench: Bench) -> Prepared:
    adapters, contexts, _ = await _open_signals(bench, 100)
    turns = cycle(adapters)
    sides: dict[str, Make] = {"ours": lambda: partial(next(turns).write_signal_data, make_payload())}
    for side, collection in bench.signals().items():
        sides[side] = partial(_upsert_next, collection, cycle((await store_signals(collection, 100))[0]))
    return Prepared(1, sides | await bench.others.make_writes(contexts))


def _upsert_next(collection: Any, turns: cycle[SignalContext]) -> Work:
    return make_upsert(collection, next(turns))


def make_upsert(collection: Any, context: SignalContext) -> Work:
    """Return what writes a signal's row without this library."""
    payload = make_payload()

    async def upsert() -> None:
        # With the smallest answer that it can give.
        await collection.find_one_and_update(make_key(context), _make_update(payload), {"_id": 1}, upsert=True)

    return upsert


def _make_update(payload: dict[str, Any]) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {"$set": {"payload": payload, "updatedDate": now}, "$setOnInsert": {"createDate": now, "__v": 0}}


async def _read_at_once(size: int, bench: Bench, *, many: bool = False) -> Prepared:
    adapters, contexts, ids = await _open_signals(bench, size)

    async def gather() -> None:
        await asyncio.gather(*(adapter.read_signal_data() for adapter in adapters))

    def fetch(collection: Any) -> Work:
        return lambda: collection.find({"_id": {"$in": ids}}).to_list(None)

    sides: dict[str, Make] = {"ours": lambda: partial(SignalAdapter.read_many, contexts) if many else gather}
    return Prepared(size, sides | {side: partial(fetch, found) for side, found in bench.signals().items()})


async def _write_at_once(size: int, bench: Bench, *, many: bool = False) -> Prepared:
    adapters, contexts, _ = await _open_signals(bench, size)

    def write() -> Work:
        payloads = [make_payload() for _ in adapters]

        async def gather() -> None:
            pairs = zip(adapters, payloads, strict=True)
            await asyncio.gather(*(adapter.write_signal_data(payload) for adapter, payload in pairs))

        return partial(SignalAdapter.write_many, zip(contexts, payloads, strict=True)) if many else gather

    sides: dict[str, Make] = {"ours": write}
    for side, collection in bench.signals().items():
        sides[side] = partial(make_bulk_write, collection, (await store_signals(collection, size))[0])
    return Prepared(size, sides)


def make_bulk_write(collection: Any, contexts: Sequence[SignalContext]) -> Work:
    """Return what writes many without this library."""
    payloads = [make_payload() for _ in contexts]

    async def write() -> None:
        pairs = zip(contexts, payloads, strict=True)
        rows = [UpdateOne(make_key(context), _make_update(payload), upsert=True) for context, payload in pairs]
        await collection.bulk_write(rows, ordered=False)

    return write


# Candles


async def _open_series(symbols: Iterable[str] = ("BTCUSDT",)) -> list[CandleAdapter]:
    """Return series that nothing is stored of. The indexes are there on all sides."""
    exchange = make_exchange()
    adapters = [CandleAdapter(symbol, "1m", exchange) for symbol in symbols]
    await adapters[0].coverage()
    return adapters


async def _write_live(bench: Bench) -> Prepared:
    """Prepare the next candle of a series, again and again, of which three blocks are sealed."""
    stored = 3 * BLOCK + 100
    (series,) = await _open_series()
    await series.write_candles_data(make_candles(stored))
    await series.seal()
    numbers = count(stored)
    sides: dict[str, Make] = {"ours": lambda: partial(series.write_candles_data, [make_candle(next(numbers))])}
    for side, collection in bench.candles().items():
        exchange = make_exchange()
        await collection.insert_many([make_candle_document(exchange, number) for number in range(stored)])
        sides[side] = partial(_insert_and_find, collection, exchange, count(stored))
    return Prepared(1, sides)


def _insert_and_find(collection: Any, exchange: str, numbers: count[int]) -> Work:
    row = make_candle_document(exchange, next(numbers))

    async def write() -> None:
        await collection.insert_one(row)
        await collection.find({name: row[name] for name in CandleAdapter.spec.key}).to_list(None)

    return write


async def _write_many_live(bench: Bench) -> Prepared:
    """Prepare the next candle of each of 200 series."""
    symbols = [f"SYMBOL{number}" for number in range(200)]
    stored = 10
    all_series = await _open_series(symbols)
    await asyncio.gather(*(series.write_candles_data(make_candles(stored)) for series in all_series))
    numbers = count(stored)

    def write() -> Work:
        rows = [make_candle(next(numbers))]

        async def gather() -> None:
            await asyncio.gather(*(series.write_candles_data(rows) for series in all_series))

        return gather

    def insert(collection: Any, exchange: str, numbers: count[int]) -> Work:
        number = next(numbers)
        rows = [make_candle_document(exchange, number, symbol) for symbol in symbols]
        return partial(collection.insert_many, rows, ordered=False)

    sides: dict[str, Make] = {"ours": write}
    for side, collection in bench.candles().items():
        exchange = make_exchange()
        rows = [make_candle_document(exchange, number, symbol) for number in range(stored) for symbol in symbols]
        await collection.insert_many(rows)
        sides[side] = partial(insert, collection, exchange, count(stored))
    return Prepared(len(symbols), sides)


def _insert(collection: Any, size: int) -> Work:
    """Insert 5,000 at a time documents that were made before the clock started."""
    exchange = make_exchange()
    rows = [make_candle_document(exchange, number) for number in range(size)]

    async def write() -> None:
        for start in range(0, size, 5_000):
            await collection.insert_many(rows[start : start + 5_000], ordered=False)

    return write


async def _import_candles(bench: Bench) -> Prepared:
    size = 50_000
    rows = make_candles(size)
    await _open_series()

    def write() -> Work:
        series = CandleAdapter("BTCUSDT", "1m", make_exchange())

        async def write() -> None:
            assert await series.write_candles_data(rows) == size

        return write

    sides: dict[str, Make] = {"ours": write}
    return Prepared(size, sides | {side: partial(_insert, found, size) for side, found in bench.candles().items()})


async def _import_candles_again(bench: Bench) -> Prepared:
    size = 50_000
    rows = make_candles(size)
    (series,) = await _open_series()
    await series.write_candles_data(rows)

    async def write() -> None:
        assert await series.write_candles_data(rows) == 0

    sides: dict[str, Make] = {"ours": lambda: write}
    return Prepared(size, sides | {side: partial(_insert, found, size) for side, found in bench.candles().items()})


async def _read_window(size: int, bench: Bench) -> Prepared:
    """Prepare windows that are not in this process's memory."""
    windows = 8
    (series,) = await _open_series()
    exchange = series.context["exchange_name"]
    await series.write_candles_data(make_candles(size * windows))
    fields = {"_id": 0, "timestamp": 1, **dict.fromkeys(_PRICES, 1)}
    starts = [make_candle(number * size)["timestamp"] for number in range(windows)]
    end = make_candle(size)["timestamp"] - starts[0]

    def read(turns: cycle[int]) -> Work:
        current_hub().candle_cache.clear()
        return partial(series.read_candles_data, size, next(turns))

    def find(collection: Any, turns: cycle[int]) -> Work:
        query: dict[str, Any] = {"exchangeName": exchange, "symbol": "BTCUSDT", "interval": "1m"}
        since = next(turns)
        query["timestamp"] = {"$gte": since, "$lt": since + end}
        return lambda: collection.find(query, fields).sort("timestamp", 1).batch_size(size + 1).to_list(None)

    sides: dict[str, Make] = {"ours": partial(read, cycle(starts))}
    return Prepared(1, sides | {side: partial(find, found, cycle(starts)) for side, found in bench.candles().items()})


async def _replay_month(_: Bench) -> Prepared:
    """Prepare the replay of a month of minutes with a window of five candles each, starting with an empty cache."""
    (series,) = await _open_series()
    rows = make_candles(MONTH + 5)
    await series.write_candles_data(rows)

    async def replay() -> None:
        for row in rows[:MONTH]:
            assert await series.read_candles_data(5, row["timestamp"]) is not None

    def start() -> Work:
        current_hub().candle_cache.clear()
        return replay

    return Prepared(MONTH, {"ours": start})


CASES: Final = (
    Case(
        "a lone read",
        "`find_one` by `_id`",
        100,
        _read_alone,
        "the turn of the event loop in which calls are batched, and the task that outlives a cancelled caller",
        {"plain": 1.10, "beanie": 1.0, "processor": 1.15},
    ),
    Case(
        "a lone write",
        "`find_one_and_update` with upsert",
        100,
        _write_alone,
        "checking and freezing the payload, and the task that outlives a cancelled caller",
        {"plain": 1.05, "beanie": 1.0, "processor": 1.15},
    ),
    Case(
        "50 reads at once",
        "one `find` with `$in`",
        30,
        partial(_read_at_once, 50),
        "one asyncio task per read",
        {"plain": 1.8},
    ),
    Case(
        "500 reads at once",
        "one `find` with `$in`",
        15,
        partial(_read_at_once, 500),
        "one asyncio task per read",
        {"plain": 2.2},
    ),
    Case(
        "`read_many` of 500",
        "one `find` with `$in`",
        15,
        partial(_read_at_once, 500, many=True),
        "checking each context, and comparing each row's key",
        {"plain": 1.3},
    ),
    Case(
        "50 writes at once",
        "one unordered `bulk_write`",
        20,
        partial(_write_at_once, 50),
        "one asyncio task per write, and encoding each payload before it is sent",
        {"plain": 1.4},
    ),
    Case(
        "500 writes at once",
        "one unordered `bulk_write`",
        8,
        partial(_write_at_once, 500),
        "one asyncio task per write, and encoding each payload before it is sent",
        {"plain": 1.5},
    ),
    Case(
        "`write_many` of 500",
        "one unordered `bulk_write`",
        8,
        partial(_write_at_once, 500, many=True),
        "checking each payload, and encoding it before it is sent",
        {"plain": 1.4},
    ),
    Case(
        "20,000 writes at once",
        "one unordered `bulk_write`",
        1,
        partial(_write_at_once, 20_000),
        "Python's garbage collector, which walks 20,000 tasks again and again",
        {"plain": 2.0},
    ),
    Case(
        "a live candle",
        "`insert_one`, then `find` by the index",
        50,
        _write_live,
        "the id's command to Redis, and looking for blocks that the candle belongs to",
        {"plain": 1.5},
    ),
    Case(
        "200 live candles of as many series, at once",
        "one `insert_many`",
        5,
        _write_many_live,
        "one asyncio task per candle, and looking for blocks after the insert",
        {"plain": 3.0},
    ),
    Case(
        "50,000 candles",
        "`insert_many`, 5,000 each",
        1,
        _import_candles,
        "making the documents, and the ids' commands to Redis",
        {"plain": 1.1},
    ),
    Case(
        "50,000 candles that are stored already",
        "`insert_many` of as many fresh ones",
        1,
        _import_candles_again,
        "reading the times of what is stored from the index",
        {"plain": 1.0},
    ),
    Case(
        "a window of 1,000 candles, not in memory",
        "`find` of the range",
        16,
        partial(_read_window, 1_000),
        "making the dicts",
        {"plain": 1.3},
    ),
    Case(
        "a window of 5,000 candles, not in memory",
        "`find` of the range",
        8,
        partial(_read_window, 5_000),
        "making the dicts",
        {"plain": 1.3},
    ),
    Case(
        "44,640 windows of 5 candles",
        "",
        1,
        _replay_month,
        "making the dicts",
        {"seconds": 1.0},
    ),
)
