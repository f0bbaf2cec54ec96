"""Cancellation at every await: nobody gets a wrong answer afterwards, and nothing is left behind.

400 cancellations that hit for each driver; ``BACKTEST_CANCELS=10000`` gives the long form, ``BACKTEST_SEED`` repeats
the choices of a storm. Each storm prints its seed and how many of each kind of call it cancelled (``pytest -s``).
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any, Final

import pymongo
import pytest
import redis

import backtest_mongo
from backtest_mongo import (
    CandleAdapter,
    MeasureAdapter,
    MemoryAdapter,
    StateAdapter,
    StorageAdapter,
    StoreUnavailableError,
)
from tests.conftest import Deployment, drop_database
from tests.mongo.test_races import FailingMongod, fail, on_standalone, start_failing_mongod
from tests.support.deadlines import SECONDS
from tests.support.queues import read_one, write_one
from tests.support.uniform import WHEN, candles

pytestmark = pytest.mark.either_driver

CANCELS: Final = int(os.environ.get("BACKTEST_CANCELS", "400"))
SEED: Final = int(os.environ.get("BACKTEST_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
KEYS: Final = 6
CANDLES: Final = 50


class Register:
    """What a read of one key may give, by all that was written to it and how each of the writes ended."""

    def __init__(self) -> None:
        self.possible: set[int | None] = {None}
        self._under_way: set[int | None] = set()
        self._begun: list[int | None] = []

    def began(self, value: int | None) -> None:
        self._begun.append(value)
        self._under_way.add(value)

    def ended(self, value: int | None, outcome: str) -> None:
        """Note how a write ended: ``done``; ``cancelled``, by now applied or never; or ``unknown``, perhaps later."""
        if outcome == "done":
            # Nothing that was called before it comes after it.
            self.possible = {value}
            self._under_way.clear()
        else:
            self.possible.add(value)
            if outcome == "cancelled":
                self._under_way.discard(value)

    def reading(self) -> Callable[[int | None, str], None]:
        """Begin a read; what it gives is then to be judged by the function that is returned."""
        allowed, begun = self.possible | self._under_way, len(self._begun)

        def judge(value: int | None, where: str) -> None:
            since = self._begun[begun:]
            assert value in allowed.union(since), f"{where} is {value}, not of {allowed.union(since)}"
            if not self._under_way and not since and value in self.possible:
                # It is this value from now on: none that was seen after another goes back to it.
                self.possible = {value}

        return judge


class Storm:
    """Calls of every kind, and the registers that say which answers are right."""

    def __init__(self, unique: str, rng: random.Random) -> None:
        self.unique, self.rng = unique, rng
        self.number = 0
        self.states = [StateAdapter(unique, f"b{key}") for key in range(KEYS)]
        self.memory, self.measure = MemoryAdapter(unique, "notes"), MeasureAdapter(unique)
        self.storage = StorageAdapter(True)
        self.series = CandleAdapter("BTCUSDT", "1m", unique)
        self.registers: dict[str, list[Register]] = {
            name: [Register() for _ in range(KEYS)] for name in ("state", "memory", "measure", "storage")
        }
        #: Coroutine functions that make their call, and note what it gave.
        self.calls: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "read": self.read,
            "write": self.write,
            "read_many": self.read_many,
            "write_many": self.write_many,
            "memory_write": self.memory_write,
            "memory_remove": self.memory_remove,
            "memory_list": self.memory_list,
            "measure_write": self.measure_write,
            "measure_read": self.measure_read,
            "storage_write": self.storage_write,
            "storage_list": self.storage_list,
            "candles_write": self.candles_write,
            "candles_read": self.candles_read,
            "init": self.init,
            "close": self.close,
        }

    def some_key(self) -> int:
        return self.rng.randrange(KEYS)

    async def written(self, slot: str, values: dict[int, int | None], call: Awaitable[Any]) -> None:
        registers = self.registers[slot]
        for key, value in values.items():
            registers[key].began(value)
        outcome = "unknown"
        try:
            await call
            outcome = "done"
        except asyncio.CancelledError:
            task = asyncio.current_task()
            # A second cancellation ends the wait for what is under way.
            outcome = "cancelled" if task is not None and task.cancelling() == 1 else "unknown"
            raise
        except StoreUnavailableError:
            pass  # a close came between
        finally:
            for key, value in values.items():
                registers[key].ended(value, outcome)

    def next(self) -> int:
        self.number += 1
        return self.number

    # Kinds of call

    async def read(self) -> None:
        key = self.some_key()
        await self.judged("state", [key], _listed(self.states[key].read_state_data()))

    async def judged(self, slot: str, keys: Sequence[int], call: Awaitable[list[Any]]) -> None:
        judges = [self.registers[slot][key].reading() for key in keys]
        rows = await call
        for key, row, judge in zip(keys, rows, judges, strict=True):
            if row is not None:
                assert row["key"] == key, f"{slot} {key} got the answer for {row['key']}"
            judge(None if row is None else row["n"], f"{slot} {key}")

    async def write(self) -> None:
        key, number = self.some_key(), self.next()
        call = self.states[key].write_state_data({"key": key, "n": number}, WHEN)
        await self.written("state", {key: number}, call)

    async def read_many(self) -> None:
        contexts = [(self.unique, f"b{key}") for key in range(KEYS)]
        await self.judged("state", range(KEYS), StateAdapter.read_many(contexts))

    async def write_many(self) -> None:
        values: dict[int, int | None] = {key: self.next() for key in range(KEYS)}
        pairs = [((self.unique, f"b{key}"), {"key": key, "n": number}) for key, number in values.items()]
        await self.written("state", values, StateAdapter.write_many(pairs, WHEN))

    async def memory_write(self) -> None:
        key, number = self.some_key(), self.next()
        call = self.memory.write_memory_data({"key": key, "n": number}, f"m{key}", WHEN)
        await self.written("memory", {key: number}, call)

    async def memory_remove(self) -> None:
        key = self.some_key()
        await self.written("memory", {key: None}, self.memory.remove_memory_data(f"m{key}"))

    async def memory_list(self) -> None:
        async def rows() -> list[Any]:
            found = {name: row async for name, row in self.memory.list_memory_data()}
            return [found.get(f"m{key}") for key in range(KEYS)]

        await self.judged("memory", range(KEYS), rows())

    async def measure_write(self) -> None:
        key, number = self.some_key(), self.next()
        call = self.measure.write_measure_data({"key": key, "n": number}, f"k{key}")
        await self.written("measure", {key: number}, call)

    async def measure_read(self) -> None:
        key = self.some_key()
        await self.judged("measure", [key], _listed(self.measure.read_measure_data(f"k{key}")))

    async def storage_write(self) -> None:
        values: dict[int, int | None] = {key: self.next() for key in self.rng.sample(range(KEYS), 3)}
        items = [{"id": f"s{key}", "key": key, "n": number} for key, number in values.items()]
        await self.written("storage", values, self.storage.write_storage_data(items))

    async def storage_list(self) -> None:
        async def rows() -> list[Any]:
            found = {row["id"]: row for row in await self.storage.read_storage_data()}
            return [found.get(f"s{key}") for key in range(KEYS)]

        await self.judged("storage", range(KEYS), rows())

    async def candles_write(self) -> None:
        first = self.rng.randrange(20) * CANDLES * 60_000
        await self.series.write_candles_data(candles(CANDLES, first=first))

    async def candles_read(self) -> None:
        first = self.rng.randrange(20) * CANDLES * 60_000
        found = await self.series.read_candles_data(CANDLES, first)
        # A batch is not a transaction: a cancelled one may be there in part.
        assert found is None or found == candles(CANDLES, first=first)

    async def init(self) -> None:
        if self.rng.random() < 0.3:
            await backtest_mongo.close()
        await self.rng.choice([backtest_mongo.wait_for_init, self.states[0].wait_for_init, self.series.wait_for_init])()

    async def close(self) -> None:
        await backtest_mongo.close()

    # The storm itself

    async def cancelled(self, name: str, pause: Callable[[], Awaitable[None]], *, twice: bool = False) -> bool:
        """Make a call and cancel it after a pause; tell whether the cancellation hit."""
        task = asyncio.ensure_future(self.calls[name]())
        await pause()
        task.cancel()
        if twice:
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()  # what it raised, if it did
        return task.cancelled()

    async def check_all(self) -> None:
        for call in (self.read_many, self.memory_list, self.storage_list, self.candles_read):
            await call()
        for slot in (self.read, self.measure_read):
            await slot()


async def _listed(call: Awaitable[Any]) -> list[Any]:
    return [await call]


@pytest.fixture
def problems() -> Iterator[list[str]]:
    """What the event loop's exception handler receives: errors that nobody retrieved, tasks that were destroyed."""
    errors: list[str] = []
    yield errors
    gc.collect()
    assert errors == []


@pytest.fixture
async def storm(
    deployment: Deployment, config: dict[str, Any], unique: str, problems: list[str]
) -> AsyncIterator[Storm]:
    """A storm over a fresh database, after which no task and no connection may be left."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: problems.append(repr(context)))
    await backtest_mongo.close()
    with (
        pymongo.MongoClient[dict[str, Any]](config["CC_MONGO_CONNECTION_STRING"], appname="observer") as mongo,
        redis.Redis(config["CC_REDIS_HOST"], int(config["CC_REDIS_PORT"])) as cache,
    ):
        before = await asyncio.to_thread(connections, mongo, cache)
        yield Storm(unique, random.Random(SEED))
        await backtest_mongo.close()
        deadline = time.monotonic() + SECONDS
        while True:
            left = await asyncio.to_thread(connections, mongo, cache) - before
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            if not left and not tasks:
                break
            assert time.monotonic() < deadline, f"left behind: {left}, {tasks}"
            await asyncio.sleep(0.02)  # nothing signals when a server has noticed the end of a connection


def connections(mongo: pymongo.MongoClient[dict[str, Any]], cache: Any) -> set[str]:
    """Return the connections of this library that both servers know of."""
    stages: list[dict[str, Any]] = [
        {"$currentOp": {"idleConnections": True, "allUsers": True}},
        {"$match": {"appName": "backtest-mongo"}},
    ]
    found = {f"mongo {row['connectionId']}" for row in mongo.admin.aggregate(stages) if "connectionId" in row}
    return found | {f"redis {row['id']}" for row in cache.client_list() if row.get("cmd") != "client|list"}


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def kinds() -> list[str]:
    return list(Storm("any", random.Random(0)).calls)


@pytest.mark.parametrize("kind", kinds())
async def test_cancelled_in_any_turn_of_the_event_loop(storm: Storm, kind: str) -> None:
    await storm.write_many()
    survived, hits, count = 0, 0, 0
    while survived < 3 and count < 400:
        hit = await storm.cancelled(kind, lambda: turns(count))  # noqa: B023  # called at once
        hits += hit
        survived += not hit
        # Each of the first turns, in which most of our own awaits are; then further and further apart.
        count += 1 + count // 20
        await storm.check_all()
    assert hits >= 1
    await settle(storm)


@pytest.mark.heavy
@pytest.mark.both_drivers
async def test_many_cancellations_leave_right_results_and_nothing_else(storm: Storm) -> None:
    rng = storm.rng
    print(f"seed {SEED}")
    seconds = await durations(storm)
    hits: Counter[str] = Counter()
    for trial in range(20 * CANCELS):
        name = rng.choice(list(storm.calls))
        bystanders = [asyncio.ensure_future(storm.calls[rng.choice(["read", "measure_read", "storage_list"])]())]
        if name not in ("close", "init"):
            # In the same turn, so that they are batched with the one that is cancelled.
            bystanders += [asyncio.ensure_future(storm.read()) for _ in range(2)]
        seconds_long = rng.uniform(0, 1.2 * seconds[name])
        pause = (lambda: turns(rng.randrange(12))) if rng.random() < 0.3 else (lambda: asyncio.sleep(seconds_long))  # noqa: B023
        hits[name] += await storm.cancelled(name, pause, twice=rng.random() < 0.2)
        for outcome in await asyncio.gather(*bystanders, return_exceptions=True):
            if not isinstance(outcome, StoreUnavailableError) or name not in ("close", "init"):
                assert outcome is None, outcome
        if trial % 10 == 0:
            await storm.check_all()
        if hits.total() >= CANCELS:
            break
    print(f"{hits.total()} of {trial + 1} cancellations hit: {dict(hits)}")
    assert hits.total() >= CANCELS
    assert len(hits) == len(storm.calls)
    await settle(storm)


@pytest.mark.parametrize("turns_between", [1, 2, 3])
async def test_caller_that_is_cancelled_twice_while_connecting_blocks_nobody_else(
    storm: Storm, turns_between: int
) -> None:
    # Reads of different slots, so that each is a call of its own to the driver, which has just begun to connect.
    names = ("read", "measure_read", "memory_list", "storage_list", "candles_read", "read")
    for count in range(16):
        await backtest_mongo.close()
        tasks = [asyncio.ensure_future(storm.calls[name]()) for name in names]
        await turns(count)
        for _ in range(2):
            tasks[3].cancel()
            await turns(turns_between)
        done, waiting = await asyncio.wait(tasks, timeout=SECONDS)
        for task in waiting:
            task.cancel()
        assert not waiting, f"cancelled after {count} turns, and {len(waiting)} others never got an answer"
        for task in done - {tasks[3]}:
            task.result()


async def durations(storm: Storm) -> dict[str, float]:
    """Return how long each kind of call takes when nobody cancels it."""
    found: dict[str, list[float]] = {name: [] for name in storm.calls}
    for _ in range(5):
        for name, call in storm.calls.items():
            start = time.perf_counter()
            await call()
            found[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in found.items()}


async def settle(storm: Storm) -> None:
    """Check that what was cancelled comes after nothing: each key keeps its last acknowledged value."""
    await storm.write_many()
    for key in range(KEYS):
        await storm.measure.write_measure_data({"key": key, "n": -key}, f"k{key}")
        await storm.memory.write_memory_data({"key": key, "n": -key}, f"m{key}", WHEN)
    for _ in range(5):
        await storm.read_many()
        assert [len(storm.registers["state"][key].possible) for key in range(KEYS)] == [1] * KEYS
        for key in range(KEYS):
            assert await storm.measure.read_measure_data(f"k{key}") == {"key": key, "n": -key}
            assert await storm.memory.read_memory_data(f"m{key}") == {"key": key, "n": -key}
        await asyncio.sleep(0.01)  # longer than what was under way takes


# A cancelled call that the server is still busy with


@pytest.fixture(scope="module")
def slow_mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FailingMongod]:
    mongod = start_failing_mongod(tmp_path_factory.mktemp("slow"))
    yield mongod
    mongod.stop(kill=True)


@pytest.fixture
async def slow(slow_mongod: FailingMongod, config: dict[str, Any], unique: str) -> AsyncIterator[None]:
    await backtest_mongo.setup(on_standalone(slow_mongod, config, unique))
    yield
    await fail("off")
    await drop_database(unique)
    await backtest_mongo.close()


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("cancels", [1, 2])
@pytest.mark.parametrize("kind", ["single", "batch", "list", "remove"])
async def test_cancelled_call_is_never_applied_after_a_later_write(unique: str, kind: str, cancels: int) -> None:
    await write_one(kind, unique, 0)
    command = "findAndModify" if kind == "single" else "update"
    before = await fail({"times": 1}, failCommands=[command], blockConnection=True, blockTimeMS=400)
    first = asyncio.ensure_future(write_one(kind, unique, 1))
    wait = {"waitForFailPoint": "failCommand", "timesEntered": before + 1, "maxTimeMS": 20_000}
    client = await backtest_mongo.get_mongo()
    await client.admin.command(wait)
    for _ in range(cancels):
        first.cancel()
        await turns(3)
    await asyncio.wait([first])
    assert first.cancelled()
    await write_one(kind, unique, 2)
    deadline = time.monotonic() + 0.8  # twice as long as the server holds the first one
    while time.monotonic() < deadline:
        assert await read_one(kind, unique) == 2
        await asyncio.sleep(0.02)


async def test_cancelled_write_never_replaces_a_later_one(
    deployment: Deployment, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = StateAdapter(unique, "counter")
    await state.write_state_data({"n": 0}, 1)
    collection = type(state._store()._collection)  # type: ignore[attr-defined]  # the driver's, to make it slow
    real, started = collection.find_one_and_update, asyncio.Event()

    async def slow(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not started.is_set():
            started.set()
            await asyncio.sleep(0.1)  # the delay that is simulated
        return await real(self, *args, **kwargs)

    monkeypatch.setattr(collection, "find_one_and_update", slow)
    first = asyncio.ensure_future(state.write_state_data({"n": 1}, 1))
    await started.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await state.write_state_data({"n": 2}, 1)
    assert await state.read_state_data() == {"n": 2}
    await asyncio.sleep(0.15)  # longer than the delay: what could still arrive has arrived
    assert await state.read_state_data() == {"n": 2}
