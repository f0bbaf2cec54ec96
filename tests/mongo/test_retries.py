"""A standalone whose answers are lost: the write is applied, the driver does not retry it, so the library must."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import (
    CandleAdapter,
    LogAdapter,
    MemoryAdapter,
    SlotSpec,
    StateAdapter,
    StorageAdapter,
    StoreUnavailableError,
    set_config,
)
from backtest_mongo.connection.loop_clock import LoopClock
from backtest_mongo.connection.operation import Attempts
from faults.proxy import Proxy
from faults.topology import Mongod
from tests.conftest import Deployment, drop_database
from tests.support import uniform
from tests.support.short_deadlines import shorten_deadline, until_in_time
from tests.support.uniform import WHEN, candles, entry, payload, read, stored, write

pytestmark = [pytest.mark.either_driver, pytest.mark.two_pythons]

POINTS = ("document", "entry", "bucket")
DEADLINE_MS = 1_500


@pytest.fixture
def proxy(standalone: Mongod) -> Iterator[Proxy]:
    with Proxy(standalone.port) as started:
        yield started


@pytest.fixture
async def lossy(servers: dict[str, Any], driver: str, unique: str, proxy: Proxy) -> AsyncIterator[Deployment]:
    """The library on a standalone behind the proxy."""
    uri = f"mongodb://127.0.0.1:{proxy.port}/{unique}"
    config = {**servers, "CC_MONGO_CONNECTION_STRING": uri, "CC_MONGO_DRIVER": driver}
    await backtest_mongo.setup(config)
    yield Deployment(config, unique)
    proxy.pass_on()
    await backtest_mongo.setup(config)  # a test may have shortened its deadline
    await drop_database(unique)
    await backtest_mongo.close()


@pytest.fixture(params=[None, "r"], ids=["plain", "run"])
def named(lossy: Deployment, request: pytest.FixtureRequest) -> Deployment:
    """The same, where rows are written without a run and, by other updates, within one."""
    set_config(CC_RUN=request.param)
    return lossy


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Awaitable[None]]], None]:
    """Do something between an attempt whose answer was lost and the next one."""

    def register(work: Callable[[], Awaitable[None]]) -> None:
        wait_for_next = Attempts.wait_for_next

        async def after_that(self: Attempts, error: Exception) -> bool:
            await work()
            return await wait_for_next(self, error)

        monkeypatch.setattr(Attempts, "wait_for_next", after_that)

    return register


async def once(proxy: Proxy, *words: bytes, after: int = 0) -> None:
    """Cut the next answer to a request with one of the words, and no other."""
    proxy.cuts = 0
    proxy.cut(*words, after=after)
    while not proxy.cuts:  # noqa: ASYNC110  # the proxy runs in a thread of its own
        await asyncio.sleep(0.001)
    proxy.pass_on()


async def test_equal_row_of_another_run_is_not_taken_for_the_write_that_was_lost(
    lossy: Deployment, unique: str, proxy: Proxy, meanwhile: Callable[..., None]
) -> None:
    collection = await lossy.collection(StateAdapter.spec)

    async def take_over() -> None:
        proxy.pass_on()
        named = {"$set": {"origin": {"run": "another", "written": "$$NOW"}, "updatedDate": "$$NOW"}}
        await collection.update_many({}, [named])

    state = StateAdapter(unique, "s")
    await state.write_state_data({"n": 0}, WHEN)
    meanwhile(take_over)
    for run in (None, "r"):
        set_config(CC_RUN=run)
        proxy.cut(b"findAndModify", b"update", after=0)
        with pytest.raises(StoreUnavailableError, match="another writer has written the row since"):
            await state.write_state_data({"n": 1}, WHEN)


@pytest.mark.shapes(*POINTS, "collection")
async def test_write_whose_answer_is_lost_succeeds_once(  # or of which only the beginning comes
    lossy: Deployment, unique: str, spec: SlotSpec, proxy: Proxy
) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    await write(adapter, payload(spec, 0), key)
    for number, (after, run) in enumerate(((0, None), (20, None), (0, "r"), (20, "r")), start=1):
        set_config(CC_RUN=run)
        losing = asyncio.ensure_future(once(proxy, b"findAndModify", b"update", after=after))
        await write(adapter, payload(spec, number), key)
        await losing
        assert await read(adapter, key) == stored(spec, payload(spec, number))
    assert len(await lossy.rows(spec)) == 1


async def test_batch_of_writes_whose_answer_is_lost_succeeds(named: Deployment, unique: str, proxy: Proxy) -> None:
    states = [StateAdapter(unique, f"s{number}") for number in range(200)]
    await states[0].write_state_data({"n": -1}, WHEN)
    losing = asyncio.ensure_future(once(proxy, b"update"))
    await asyncio.gather(*(state.write_state_data({"n": n}, WHEN) for n, state in enumerate(states)))
    await losing
    assert [await state.read_state_data() for state in states] == [{"n": n} for n in range(200)]
    assert len(await named.rows(StateAdapter.spec)) == 200


async def test_long_list_whose_answer_is_lost_is_complete_and_in_order(
    named: Deployment, unique: str, proxy: Proxy
) -> None:
    rows = [{"id": f"{unique}-{number * 7919 % 3_000}", "n": number} for number in range(3_000)]
    await LogAdapter().write_log_data(rows[:1])
    losing = asyncio.ensure_future(once(proxy, b"update"))
    await LogAdapter().write_log_data(rows)
    await losing
    assert await LogAdapter().read_log_data(limit=5_000) == rows


async def test_batch_of_candles_whose_answer_is_lost_counts_each_candle_once(
    lossy: Deployment, unique: str, proxy: Proxy
) -> None:
    series = CandleAdapter("BTCUSDT", "1m", unique)
    assert await series.write_candles_data(candles(100, price=7.0)) == 100
    losing = asyncio.ensure_future(once(proxy, b"insert"))
    assert await series.write_candles_data(candles(15_000)) == 14_900
    await losing
    assert await series.read_candles_data(15_000, 0) == candles(100, price=7.0) + candles(15_000)[100:]
    assert await series.write_candles_data(candles(15_000)) == 0


async def test_candles_of_many_series_whose_answer_is_lost_count_once(
    lossy: Deployment, unique: str, proxy: Proxy
) -> None:
    series = [CandleAdapter(f"S{number}", "1m", unique) for number in range(100)]
    await series[3].write_candles_data(candles(1, price=7.0))
    losing = asyncio.ensure_future(once(proxy, b"insert"))
    new = await asyncio.gather(*(one.write_candles_data(candles(1)) for one in series))
    await losing
    assert new == [int(number != 3) for number in range(100)]
    assert len(await lossy.rows(CandleAdapter.spec)) == 100
    assert await series[3].read_candles_data(1, 0) == candles(1, price=7.0)


async def test_list_of_more_than_one_batch_is_read_again(lossy: Deployment, unique: str, proxy: Proxy) -> None:
    log = LogAdapter()
    rows = [{"id": f"{number:04}", "text": "x" * 30_000} for number in range(700)]  # over 16 MB, the most of one reply
    await log.write_log_data(rows)
    losing = asyncio.ensure_future(once(proxy, b"getMore"))
    assert await log.read_log_data(limit=700) == rows
    await losing


async def test_list_whose_page_takes_more_than_one_reply_is_complete(lossy: Deployment) -> None:
    storage = StorageAdapter(False)
    rows = [{"id": f"{number:04}", "text": "x" * 30_000} for number in range(1_100)]
    await storage.write_storage_data(rows)
    assert await storage.read_storage_data() == rows


async def test_index_creation_whose_answer_is_lost_is_retried(named: Deployment, unique: str, proxy: Proxy) -> None:
    losing = asyncio.ensure_future(once(proxy, b"createIndexes"))
    await StateAdapter(unique, "s").write_state_data({"n": 1}, WHEN)
    await losing
    assert "signalId_1_bucketName_1" in await (await named.collection(StateAdapter.spec)).index_information()


async def test_remove_whose_answer_is_lost_removes(named: Deployment, unique: str, proxy: Proxy) -> None:
    memory = MemoryAdapter(unique, "notes")
    await memory.write_memory_data({"n": 1}, "m", WHEN)
    losing = asyncio.ensure_future(once(proxy, b"update"))
    await memory.remove_memory_data("m")
    await losing
    assert await memory.read_memory_data("m") is None
    (row,) = await named.rows(MemoryAdapter.spec)
    assert row["payload"] == {"n": 1, "removed": True}


async def test_retried_write_does_not_bring_back_a_replaced_value(
    named: Deployment, unique: str, proxy: Proxy, meanwhile: Callable[..., None]
) -> None:
    state = StateAdapter(unique, "s")
    await state.write_state_data({"n": 0}, WHEN)
    collection = await named.collection(StateAdapter.spec)

    async def replace() -> None:
        proxy.pass_on()
        stamped = {"$currentDate": {"updatedDate": True}}
        await collection.update_many({}, {"$set": {"payload": {"by": "another"}}, **stamped})

    meanwhile(replace)
    proxy.cut(b"findAndModify", b"update", after=0)
    with pytest.raises(StoreUnavailableError, match="another writer has written the row since") as caught:
        await state.write_state_data({"n": 1}, WHEN)
    assert caught.value.may_be_applied
    assert (caught.value.slot, caught.value.key) == ("state", {"signalId": unique, "bucketName": "s"})
    assert await state.read_state_data() == {"by": "another"}
    proxy.cut(b"update", after=0)
    outcomes = await asyncio.gather(
        *(StateAdapter(unique, f"{name}").write_state_data({"n": 2}, WHEN) for name in "stu"), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailableError] * 3
    assert await state.read_state_data() == {"by": "another"}


async def test_retried_list_write_does_not_bring_back_a_replaced_value(
    named: Deployment, unique: str, proxy: Proxy, meanwhile: Callable[..., None]
) -> None:
    storage = StorageAdapter(True)
    rows = [{"id": f"{number}", "n": 1} for number in range(5)]
    collection = await named.collection(StorageAdapter.spec)

    async def replace() -> None:
        proxy.pass_on()
        replaced = {"$set": {"payload": {"id": "3", "by": "another"}}, "$currentDate": {"updatedDate": True}}
        await collection.update_one({"signalId": "3"}, replaced)

    meanwhile(replace)
    await storage.write_storage_data([{"id": "3", "n": 0}])
    proxy.cut(b"update", after=0)
    with pytest.raises(StoreUnavailableError, match="another writer has written the row since"):
        await storage.write_storage_data(rows)
    assert {"id": "3", "by": "another"} in await storage.read_storage_data()


async def test_retried_remove_does_not_remove_a_later_write(
    named: Deployment, unique: str, proxy: Proxy, meanwhile: Callable[..., None]
) -> None:
    memory = MemoryAdapter(unique, "notes")
    await memory.write_memory_data({"n": 0}, "m", WHEN)
    collection = await named.collection(MemoryAdapter.spec)

    async def write_again() -> None:
        proxy.pass_on()
        written = {"payload": {"n": 1}, "removed": False}
        await collection.update_many({}, {"$set": written, "$currentDate": {"updatedDate": True}})

    meanwhile(write_again)
    proxy.cut(b"update", after=0)
    with pytest.raises(StoreUnavailableError, match="another writer has written the row since"):
        await memory.remove_memory_data("m")
    assert await memory.read_memory_data("m") == {"n": 1}


@pytest.mark.usefixtures("closing")
async def test_no_operation_exceeds_its_deadline_in_a_black_hole(lossy: Deployment, unique: str, proxy: Proxy) -> None:
    state, storage = StateAdapter(unique, "s"), StorageAdapter(False)
    series = CandleAdapter("BTCUSDT", "1m", unique)
    await state.write_state_data({"n": 0}, WHEN)
    await storage.write_storage_data([{"id": "1"}])
    await series.write_candles_data(candles(10))
    await shorten_deadline(DEADLINE_MS, state, storage, series)

    async def timed(work: Awaitable[Any]) -> tuple[Any, float]:
        started = clock.now()
        try:
            return await work, clock.now() - started
        except StoreUnavailableError as error:
            return error, clock.now() - started

    async def read_alone(number: int) -> Any:
        for _ in range(3 * number):
            await asyncio.sleep(0)  # one turn after another, so that each is sent alone
        return await StateAdapter(unique, f"s{number}").read_state_data()

    clock = LoopClock()  # which leaves out that the machine is busy
    alarm = clock.set_alarm(float("inf"), lambda: None)
    proxy.swallow()
    outcomes = await asyncio.gather(
        # More than the driver has threads or connections for, and many that wait for one another.
        *(timed(read_alone(number)) for number in range(60)),
        *(timed(state.write_state_data({"n": number}, WHEN)) for number in range(20)),
        timed(storage.read_storage_data()),
        timed(storage.write_storage_data([{"id": "2"}])),
        timed(series.write_candles_data(candles(20))),
        timed(series.read_candles_data(20, 0)),
        timed(MemoryAdapter(unique, "m").remove_memory_data("x")),
    )
    proxy.pass_on()
    alarm.cancel()
    assert [type(outcome) for outcome, _ in outcomes] == [StoreUnavailableError] * len(outcomes)
    assert max(seconds for _, seconds in outcomes) < 3 * DEADLINE_MS / 1000  # queued for one deadline, sent for another
    assert await until_in_time(state.read_state_data) is not None


@pytest.mark.usefixtures("lossy")
async def test_error_says_whether_a_write_may_have_been_applied(unique: str, proxy: Proxy) -> None:
    state = StateAdapter(unique, "s")
    await state.write_state_data({"n": 0}, WHEN)
    await shorten_deadline(DEADLINE_MS, state)
    await until_in_time(lambda: state.write_state_data({"n": 0}, WHEN))
    proxy.refuse()
    with pytest.raises(StoreUnavailableError) as reading:
        await state.read_state_data()
    with pytest.raises(StoreUnavailableError, match="it may or may not have been applied") as writing:
        await state.write_state_data({"n": 1}, WHEN)
    assert (reading.value.may_be_applied, writing.value.may_be_applied) == (False, True)


@pytest.mark.usefixtures("closing")
async def test_operations_wait_for_a_server_that_recovers(lossy: Deployment, unique: str, proxy: Proxy) -> None:
    state = StateAdapter(unique, "s")
    await state.write_state_data({"n": 0}, WHEN)
    proxy.refuse()
    working = asyncio.ensure_future(state.write_state_data({"n": 1}, WHEN))
    reading = asyncio.ensure_future(StorageAdapter(False).read_storage_data())
    await asyncio.sleep(0.3)
    proxy.pass_on()
    await working
    assert await reading == []
    assert await state.read_state_data() == {"n": 1}
