"""Writes of one key: the server carries each of them out, in the order of their calls, however many there are."""

from __future__ import annotations

import asyncio
import os
import random
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final

import pymongo
import pytest
from pymongo.synchronous.change_stream import CollectionChangeStream

import backtest_mongo
from backtest_mongo import (
    SLOTS,
    CandleAdapter,
    MeasureAdapter,
    MemoryAdapter,
    PartialAdapter,
    SignalAdapter,
    SlotSpec,
    StateAdapter,
    StorageAdapter,
)
from tests.conftest import Deployment
from tests.support import uniform
from tests.support.failing_servers import FailingServer
from tests.support.short_deadlines import LONG_MS, shorten_deadline
from tests.support.uniform import WHEN, candles

pytestmark = [pytest.mark.heavy, pytest.mark.either_driver]

SEED: Final = int(os.environ.get("BACKTEST_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
REMOVED: Final = "removed"
#: A value that ends what a change stream is read for.
LAST: Final = "last"


class Sent:
    """What a server wrote, in its own order: a change stream of a slot's collection."""

    def __init__(self, database: Any, spec: SlotSpec) -> None:
        self._spec = spec
        self._collection = database[spec.collection]
        self._stream: CollectionChangeStream[Any] = self._collection.watch(full_document_before_change=None)

    def by_key(self) -> dict[str, list[Any]]:
        """Return the values that each key has had, to the last one that there is now."""
        self._collection.insert_one({self._spec.key[-1]: LAST, **dict.fromkeys(self._spec.key[:-1], LAST)})
        names: dict[Any, str] = {}
        found: defaultdict[str, list[Any]] = defaultdict(list)
        for event in self._stream:
            oid = event["documentKey"]["_id"]
            if event["operationType"] == "insert":
                document = event["fullDocument"]
                names[oid] = document[self._spec.key[-1]]
                if names[oid] == LAST:
                    break
            else:
                document = event["updateDescription"]["updatedFields"]
            found[names[oid]].append(_number(document))
        self._stream.close()
        return dict(found)


def _number(document: dict[str, Any]) -> Any:
    """Return the number that a change of a document writes."""
    if document.get("removed") is True:
        return REMOVED
    value = document.get("payload", document.get("positions"))
    if isinstance(value, list):
        value = value[0][1]
    return document["payload.n"] if value is None else value["n"]


@pytest.fixture
def observer(config: dict[str, Any], deployment: Deployment) -> Iterator[Any]:
    with pymongo.MongoClient[dict[str, Any]](config["CC_MONGO_CONNECTION_STRING"], appname="observer") as client:
        yield client[deployment.name]


def write(spec: SlotSpec, adapter: Any, key: str, number: int) -> Coroutine[Any, Any, None]:
    value = {"n": number}
    return uniform.write(adapter, [["x", value]] if spec.payload == "list" else value, key)


@pytest.mark.shapes("document", "entry", "collection", "bucket")
async def test_many_writes_of_one_key_are_all_sent_in_order(
    deployment: Deployment, observer: Any, unique: str, spec: SlotSpec
) -> None:
    adapter = uniform.adapter(spec, unique)
    await adapter.wait_for_init()
    sent = Sent(observer, spec)
    await asyncio.gather(*(write(spec, adapter, "k", number) for number in range(100)))
    (numbers,) = (await asyncio.to_thread(sent.by_key)).values()
    assert numbers == list(range(100))


@pytest.mark.parametrize("rows", [1, 10])
async def test_first_of_several_writes_of_one_candle_wins(deployment: Deployment, unique: str, rows: int) -> None:
    await CandleAdapter("BTCUSDT", "1m", unique).wait_for_init()
    for number in range(20):
        series = CandleAdapter(f"S{number}", "1m", unique)
        given: list[list[Any]] = [[{**row, "volume": float(writer)} for row in candles(rows)] for writer in range(5)]
        counts = await asyncio.gather(*map(series.write_candles_data, given))
        assert counts == [rows, 0, 0, 0, 0]
        assert await series.read_candles_data(rows, 0) == given[0]


async def test_thousand_concurrent_writes_of_one_key_all_succeed(
    deployment: Deployment, observer: Any, unique: str
) -> None:
    state = StateAdapter(unique, "s")
    await shorten_deadline(10_000, state)
    sent = Sent(observer, StateAdapter.spec)
    outcomes = await asyncio.gather(
        *(state.write_state_data({"n": number}, WHEN) for number in range(1_000)), return_exceptions=True
    )
    assert [outcome for outcome in outcomes if outcome is not None] == []
    assert await state.read_state_data() == {"n": 999}
    assert (await asyncio.to_thread(sent.by_key))["s"] == list(range(1_000))


async def test_writes_of_one_key_may_take_longer_than_the_deadline_of_each_request(
    failing: FailingServer, failing_config: dict[str, Any], unique: str
) -> None:
    await backtest_mongo.setup({**failing_config, "CC_MONGO_TIMEOUT_MS": LONG_MS})
    try:
        state = StateAdapter(unique, "s")
        await shorten_deadline(2_500, state)
        sent = Sent(failing.client[unique], StateAdapter.spec)
        failing.hold("findAndModify", "update", milliseconds=250)
        # All of them take twice as long as any may.
        outcomes = await asyncio.gather(
            *(state.write_state_data({"n": number}, WHEN) for number in range(20)), return_exceptions=True
        )
        failing.end()
        assert outcomes == [None] * 20
        assert (await asyncio.to_thread(sent.by_key))["s"] == list(range(20))
    finally:
        await backtest_mongo.close()


async def test_cost_of_a_write_does_not_grow_with_the_writes_of_its_key(deployment: Deployment, unique: str) -> None:
    """Counts what the event loop is asked to do, which no other process changes."""
    state = StateAdapter(unique, "s")
    await state.write_state_data({"n": 0}, WHEN)
    loop: Any = asyncio.get_running_loop()
    plain, calls = loop.call_soon, 0

    def call_soon(*arguments: Any, **keywords: Any) -> Any:
        nonlocal calls
        calls += 1
        return plain(*arguments, **keywords)

    async def for_each_write(count: int) -> float:
        nonlocal calls
        calls = 0
        await asyncio.gather(*(state.write_state_data({"n": number}, WHEN) for number in range(count)))
        return calls / count

    loop.call_soon = call_soon
    try:
        few, many = await for_each_write(20), await for_each_write(400)
    finally:
        del loop.call_soon
    assert many < 2 * few


class Trial:
    """Calls of every kind for a few keys, and the order in which they were made."""

    def __init__(self, unique: str, rng: random.Random) -> None:
        self.unique, self.rng = unique, rng
        self.number = 0
        #: By slot and key, what was called.
        self.called: dict[str, defaultdict[str, list[Any]]] = {
            name: defaultdict(list) for name in ("state", "signal", "memory", "measure", "partial", "storage")
        }
        self.memory, self.measure = MemoryAdapter(unique, "notes"), MeasureAdapter(unique)
        self.partial = PartialAdapter(unique, "my_strategy", "binance")
        self.storage = StorageAdapter(True)
        self.kinds: list[Callable[[], Coroutine[Any, Any, None]]] = [
            self.state, self.states, self.signal, self.signals, self.write_memory, self.remove_memory,
            self.write_measure, self.remove_measure, self.write_partial, self.write_storage, self.write_and_read,
        ]  # fmt: skip

    def next(self, slot: str, key: str) -> int:
        self.number += 1
        self.called[slot][key].append(self.number)
        return self.number

    def key(self) -> str:
        return self.rng.choice("ab")

    async def state(self) -> None:
        key = self.key()
        await StateAdapter(self.unique, key).write_state_data({"n": self.next("state", key)}, WHEN)

    async def states(self) -> None:
        keys = self.rng.choice(["a", "ab", "ba", "aba", "bbb"])
        pairs = [((self.unique, key), {"n": self.next("state", key)}) for key in keys]
        await StateAdapter.write_many(pairs, WHEN)

    async def signal(self) -> None:
        key = self.key()
        await SignalAdapter(self.unique, key, "binance").write_signal_data({"n": self.next("signal", key)})

    async def signals(self) -> None:
        pairs = [((self.unique, key, "binance"), {"n": self.next("signal", key)}) for key in "ab"]
        await SignalAdapter.write_many(pairs)

    async def write_memory(self) -> None:
        key = self.key()
        await self.memory.write_memory_data({"n": self.next("memory", key)}, key, WHEN)

    async def remove_memory(self) -> None:
        key = self.key()
        self.called["memory"][key].append(REMOVED)
        await self.memory.remove_memory_data(key)

    async def write_measure(self) -> None:
        key = self.key()
        await self.measure.write_measure_data({"n": self.next("measure", key)}, key)

    async def remove_measure(self) -> None:
        key = self.key()
        self.called["measure"][key].append(REMOVED)
        await self.measure.remove_measure_data(key)

    async def write_partial(self) -> None:
        key = self.key()
        await self.partial.write_partial_data({"n": self.next("partial", key)}, key, WHEN)

    async def write_storage(self) -> None:
        keys = self.rng.choice(["a", "b", "ab", "ba"])
        await self.storage.write_storage_data([{"id": key, "n": self.next("storage", key)} for key in keys])

    async def write_and_read(self) -> None:
        """Write, read what was written, and write again, while others wait for their turn."""
        key = self.key()
        state = StateAdapter(self.unique, key)
        for _ in range(2):
            number = self.next("state", key)
            await state.write_state_data({"n": number}, WHEN)
            found = await state.read_state_data()
            assert found is not None
            called = self.called["state"][key]
            assert called.index(found["n"]) >= called.index(number), f"{found['n']} is older than {number}"

    async def run(self) -> None:
        tasks = []
        for _ in range(self.rng.randrange(5, 40)):
            tasks.append(asyncio.ensure_future(self.rng.choice(self.kinds)()))
            if self.rng.random() < 0.5:
                for _ in range(self.rng.randrange(12)):
                    await asyncio.sleep(0)
            elif self.rng.random() < 0.2:
                await asyncio.sleep(self.rng.uniform(0, 0.003))
        await asyncio.gather(*tasks)

    async def check(self) -> None:
        for slot, adapter in (("memory", self.memory), ("measure", self.measure), ("partial", self.partial)):
            for key, called in self.called[slot].items():
                self._compare(slot, key, called, await uniform.read(adapter, key))
        for key, called in self.called["state"].items():
            self._compare("state", key, called, await StateAdapter(self.unique, key).read_state_data())
        for key, called in self.called["signal"].items():
            self._compare("signal", key, called, await SignalAdapter(self.unique, key, "binance").read_signal_data())
        rows = {row["id"]: row for row in await self.storage.read_storage_data()}
        for key, called in self.called["storage"].items():
            self._compare("storage", key, called, rows[key])

    def _compare(self, slot: str, key: str, called: list[Any], found: Any) -> None:
        expected = None if called[-1] == REMOVED else called[-1]
        assert (found and found["n"]) == expected, f"{slot} {key}: {called[-5:]} were called last"


@pytest.fixture
async def warm(deployment: Deployment, unique: str) -> None:
    """Indexes are there."""
    await asyncio.gather(*(uniform.adapter(spec, unique).wait_for_init() for spec in SLOTS))


@pytest.mark.usefixtures("warm")
async def test_last_call_wins_and_every_write_can_be_read_in_any_mixture(
    deployment: Deployment, unique: str, observer: Any
) -> None:
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    for trial in range(30):
        some = Trial(f"{unique}-{trial}", rng)
        await some.run()
        await some.check()


@pytest.mark.usefixtures("warm")
async def test_every_write_of_a_mixture_is_sent_in_the_order_of_calls(
    deployment: Deployment, unique: str, observer: Any
) -> None:
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    specs = {spec.name: spec for spec in SLOTS}
    for attempt in range(8):
        trial = Trial(f"{unique}-{attempt}", rng)
        streams = {slot: Sent(observer, specs[slot]) for slot in ("memory", "measure", "partial", "storage")}
        await trial.run()
        for slot, stream in streams.items():
            sent = await asyncio.to_thread(stream.by_key)
            for key, called in trial.called[slot].items():
                # A removal of what isn't there, or is removed already, changes nothing.
                assert sent.get(key, []) == _effective(called), f"{slot} {key}"
        await (await deployment.collection(StorageAdapter.spec)).delete_many({})
        for name in ("memory", "measure", "partial"):
            await (await deployment.collection(specs[name])).delete_many({})
        await deployment.forget()


def _effective(called: list[Any]) -> list[Any]:
    found: list[Any] = []
    for value in called:
        if value != REMOVED or (found and found[-1] != REMOVED):
            found.append(value)
    return found


@pytest.mark.parametrize("kind", ["single", "batch", "list", "remove"])
async def test_next_call_of_an_answered_caller_queues_behind_waiting_calls(
    deployment: Deployment, unique: str, kind: str
) -> None:
    memory, storage = MemoryAdapter(unique, "notes"), StorageAdapter(True)

    async def call(number: int) -> None:
        if kind == "list":
            await storage.write_storage_data([{"id": "k", "n": number}])
        elif kind == "batch":
            await SignalAdapter.write_many([((unique, name, "binance"), {"n": number}) for name in "ab"])
        elif kind == "remove" and number % 2:
            await memory.remove_memory_data("k")
        else:
            await memory.write_memory_data({"n": number}, "k", WHEN)

    async def found() -> Any:
        if kind == "list":
            return (await storage.read_storage_data())[0]["n"]
        if kind == "batch":
            row = await SignalAdapter(unique, "b", "binance").read_signal_data()
        else:
            row = await memory.read_memory_data("k")
        return row and row["n"]

    number = 0
    called: list[int] = []
    done: list[int] = []

    async def call_again_and_again() -> None:
        nonlocal number
        for _ in range(4):
            number += 1
            own = number
            called.append(own)
            await call(own)
            done.append(own)

    await call(0)
    for _ in range(10):
        # Each of these is answered while the others wait, and calls again at once.
        await asyncio.gather(*(call_again_and_again() for _ in range(5)))
        if kind == "remove" and number % 2:
            assert await found() is None
        else:
            assert await found() == number
    assert done == called
