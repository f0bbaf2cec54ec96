"""Commits whose answers are lost, that meet conflicts, or whose callers are cancelled: applied once, or never."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlsplit

import pymongo
import pytest
from pymongo import monitoring

import backtest_mongo
from backtest_mongo import (
    CommitUnknownError,
    LeaseLostError,
    StoreError,
    StoreUnavailableError,
    lease,
    persist,
    transaction,
)
from backtest_mongo.core.counters import get_commit_counts
from faults.proxy import Proxy
from faults.topology import Mongod, temporary_directory
from tests.conftest import Deployment
from tests.support.bars import own, read_bar, write_bar
from tests.support.deadlines import SECONDS
from tests.support.failing_servers import FailingServer
from tests.support.scopes import outside
from tests.support.short_deadlines import LONG_MS, shorten_deadline, until_in_time
from tests.support.uniform import WHEN

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]

COMMIT: Final = b"commitTransaction"
SHORT_MS: Final = 2_000


@pytest.fixture(params=["motor", "pymongo"])
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def proxy(servers: dict[str, Any], driver: str, unique: str) -> AsyncIterator[Proxy]:
    """The library behind a proxy, on a replica set of one."""
    with Proxy(urlsplit(servers["CC_MONGO_CONNECTION_STRING"]).port or 27017) as proxy:
        uri = f"mongodb://127.0.0.1:{proxy.port}/{unique}?directConnection=true"
        config = {**servers, "CC_MONGO_CONNECTION_STRING": uri, "CC_MONGO_DRIVER": driver}
        await backtest_mongo.setup({**config, "CC_MONGO_TIMEOUT_MS": LONG_MS})
        await warm()
        await shorten_deadline(SHORT_MS, persist.state(unique, "one"), persist.storage(True))
        await until_in_time(warm)
        yield proxy
        proxy.pass_on()
        await backtest_mongo.close()
        with pymongo.MongoClient[dict[str, Any]](servers["CC_MONGO_CONNECTION_STRING"]) as client:
            client.drop_database(unique)


async def warm() -> None:
    """Do once what a first lease and a first transaction do, in collections that no test looks at."""
    signal: Any = persist.signal("any", "any", "any")
    async with lease(signal), transaction(when=WHEN):
        await signal.write_signal_data({"n": 0})


# Lost answers.


@pytest.mark.parametrize("is_leased", [False, True])
async def test_commit_whose_answer_is_lost_is_applied_once(proxy: Proxy, unique: str, is_leased: bool) -> None:
    async with own(unique) if is_leased else contextlib.nullcontext():
        await write_bar(unique, 1)
        proxy.cut(COMMIT, after=0, every=2)
        for n in range(2, 12):
            await write_bar(unique, n)
            assert await outside(read_bar(unique)) == n
        proxy.pass_on()
    assert proxy.cuts
    assert await read_bar(unique) == 11
    database = (await backtest_mongo.get_mongo())[unique]
    rows = await database[persist.state("a", "b").spec.collection].find().to_list(None)
    assert len(rows) == 2


@pytest.mark.parametrize("is_leased", [False, True])
async def test_commit_whose_answers_are_all_lost_is_unknown_until_it_is_settled(
    proxy: Proxy, unique: str, is_leased: bool
) -> None:
    async with own(unique) if is_leased else contextlib.nullcontext():
        await write_bar(unique, 1)
        unknown = get_commit_counts().unknown
        proxy.cut(COMMIT, after=0)
        with pytest.raises(CommitUnknownError, match=r"commit_again\(\)") as caught:
            await write_bar(unique, 2)
        assert caught.value.may_be_applied
        assert get_commit_counts().unknown == unknown + 1
        with pytest.raises(StoreUnavailableError):
            await caught.value.commit_again()
        proxy.pass_on()
        for _ in range(3):
            await caught.value.commit_again()
            assert await outside(read_bar(unique)) == 2
            assert await read_bar(unique) == 2
        await write_bar(unique, 3)
        await caught.value.commit_again()  # which is not to bring the second bar back
        assert await read_bar(unique) == 3
    assert await read_bar(unique) == 3


@pytest.mark.parametrize("is_leased", [False, True])
async def test_commit_that_never_arrives_is_unknown_and_is_then_applied_once(
    proxy: Proxy, unique: str, is_leased: bool
) -> None:
    async with own(unique) if is_leased else contextlib.nullcontext():
        await write_bar(unique, 1)
        events.on_start = lambda name: proxy.swallow() if name == COMMIT.decode() else None
        try:
            with pytest.raises(CommitUnknownError) as caught:
                await write_bar(unique, 2)
        finally:
            events.on_start = None
        proxy.pass_on()
        await caught.value.commit_again()
        assert await read_bar(unique) == 2
    assert await read_bar(unique) == 2


async def test_what_waits_behind_an_unknown_commit_is_told_that_it_was_not_sent(proxy: Proxy, unique: str) -> None:
    async with own(unique):
        await write_bar(unique, 1)
        proxy.cut(COMMIT, after=0)
        with pytest.raises(CommitUnknownError):
            await write_bar(unique, 2)
        with pytest.raises(
            StoreUnavailableError, match="the transaction before was committed is still unknown"
        ) as next_one:
            await write_bar(unique, 3)
        assert not isinstance(next_one.value, CommitUnknownError)
        assert not next_one.value.may_be_applied
        with pytest.raises(StoreUnavailableError, match=r"^reading failed: whether the transaction before") as read:
            await persist.state(unique, "one").read_state_data()
        assert not read.value.may_be_applied
        proxy.pass_on()
        assert (await read_bar(unique)) in (1, 2)


async def test_next_commit_under_a_lease_settles_an_unknown_one(proxy: Proxy, unique: str) -> None:
    async with own(unique):
        await write_bar(unique, 1)
        proxy.cut(COMMIT, after=0)
        with pytest.raises(CommitUnknownError):
            await write_bar(unique, 2)
        proxy.pass_on()
        assert await read_bar(unique) == 2  # what is known is not believed any more
        await write_bar(unique, 3)
    assert await read_bar(unique) == 3


async def test_unknown_commit_of_waiting_bars_is_settled_and_nothing_is_applied_twice(
    proxy: Proxy, unique: str
) -> None:
    async with own(unique, commit_every=4, max_delay=600) as mine:
        for n in range(1, 4):
            await write_bar(unique, n)
        proxy.cut(COMMIT, after=0)
        with pytest.raises(CommitUnknownError):
            await mine.flush()
        proxy.pass_on()
        await write_bar(unique, 4)
        assert await read_bar(unique) == 4
        await mine.flush()
        assert await outside(read_bar(unique)) == 4
    assert await read_bar(unique) == 4


async def test_lease_whose_taking_is_not_answered_is_taken_all_the_same(proxy: Proxy, unique: str) -> None:
    await write_bar(unique, 1)
    proxy.cut(COMMIT, after=0, every=2)
    for n in range(2, 8):
        async with own(unique):
            await write_bar(unique, n)
    proxy.pass_on()
    assert proxy.cuts
    assert await read_bar(unique) == 7


@pytest.mark.parametrize("command", ["update", "commitTransaction"])
async def test_lease_is_taken_through_a_failover(on_failing: FailingServer, unique: str, command: str) -> None:
    """Also where the commands are carried out, and their answers are lost more often than the driver repeats them."""
    async with own(unique):  # so that what is left to be sent is the taking alone
        await write_bar(unique, 1)
    on_failing.fail(command, mode={"times": 3}, closeConnection=True)
    async with own(unique):
        await write_bar(unique, 2)
    assert await read_bar(unique) == 2


async def test_lease_whose_taking_is_not_answered_in_time_can_be_taken_again(proxy: Proxy, unique: str) -> None:
    async with own(unique, ttl=5):
        await write_bar(unique, 1)
    proxy.cut(COMMIT, after=0)
    with pytest.raises(StoreUnavailableError):
        await own(unique, ttl=5).__aenter__()
    proxy.pass_on()
    async with own(unique, wait=SECONDS):  # it may be held until its ttl is over
        await write_bar(unique, 2)
    assert await read_bar(unique) == 2


async def test_server_that_is_gone_is_an_error_and_nothing_is_stored(proxy: Proxy, unique: str) -> None:
    await write_bar(unique, 1)
    proxy.refuse()
    with pytest.raises(StoreUnavailableError) as caught:
        await write_bar(unique, 2)
    assert not isinstance(caught.value, CommitUnknownError)
    assert not caught.value.may_be_applied
    proxy.pass_on()
    assert await read_bar(unique) == 1
    await write_bar(unique, 2)
    assert await read_bar(unique) == 2


# Conflicts.


async def test_conflicts_repeat_the_transaction_from_its_buffer(on_failing: FailingServer, unique: str) -> None:
    await write_bar(unique, 1)
    runs, before = 0, get_commit_counts().conflicts
    on_failing.fail("update", mode={"times": 3}, errorCode=112, errorLabels=["TransientTransactionError"])
    async with transaction(when=WHEN):
        runs += 1
        await persist.state(unique, "one").write_state_data({"n": 2})
        await persist.storage(True).write_storage_data([{"id": "0002", "n": 2}])
        await persist.state(unique, "other").write_state_data({"n": 2})
    assert runs == 1
    assert get_commit_counts().conflicts == before + 3
    assert await read_bar(unique) == 2


@pytest.mark.parametrize("code", [112, 24, 246, 251])
@pytest.mark.parametrize("is_leased", [False, True])
async def test_commit_that_is_answered_with_a_transient_error_is_sent_again(
    on_failing: FailingServer, unique: str, code: int, is_leased: bool
) -> None:
    async with own(unique) if is_leased else contextlib.nullcontext():
        await write_bar(unique, 1)
        on_failing.fail(
            "commitTransaction", mode={"times": 2}, errorCode=code, errorLabels=["TransientTransactionError"]
        )
        await write_bar(unique, 2)
    assert await read_bar(unique) == 2


async def test_rivals_for_the_same_rows_are_committed_one_after_another(deployment: Deployment, unique: str) -> None:
    names, runs = [f"{number}" for number in range(4)], 0

    async def rival(number: int) -> None:
        nonlocal runs
        for n in range(5):
            async with transaction(when=WHEN):
                runs += 1
                for name in names if number % 2 else reversed(names):
                    await persist.state(unique, name).write_state_data({"by": number, "n": n})

    await asyncio.gather(*(outside(rival(number)) for number in range(6)))
    assert runs == 30
    found = await type(persist.state("a", "b")).read_many([(unique, name) for name in names])
    assert found[0] is not None
    assert found == [found[0]] * 4


async def test_rows_that_stay_locked_are_an_error_and_nothing_is_stored(deployment: Deployment, unique: str) -> None:
    await write_bar(unique, 1)
    await backtest_mongo.close()
    backtest_mongo.set_config(CC_MONGO_TIMEOUT_MS=SHORT_MS)
    one = persist.state(unique, "one")
    with pymongo.MongoClient[dict[str, Any]](deployment.config["CC_MONGO_CONNECTION_STRING"]) as client:
        rows = client[deployment.name][one.spec.collection]
        with client.start_session() as session, session.start_transaction():
            rows.update_one({"bucketName": "one"}, {"$set": {"payload.n": 9}}, session=session)
            with pytest.raises(StoreUnavailableError) as caught:
                await write_bar(unique, 2)
            session.abort_transaction()
    assert not caught.value.may_be_applied
    backtest_mongo.set_config(CC_MONGO_TIMEOUT_MS=LONG_MS)
    assert await read_bar(unique) == 1
    await write_bar(unique, 2)
    assert await read_bar(unique) == 2


# Cancellation.


class _Events(monitoring.CommandListener):
    """Calls a function when a command of a transaction is sent, and when it is answered."""

    def __init__(self) -> None:
        self.on_start: Callable[[str], Any] | None = None
        self.on_step: Callable[[str], Any] | None = None

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if self.on_start is not None:
            self.on_start(event.command_name)
        self._step(event.command_name)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        self._step(event.command_name)

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        self._step(event.command_name)

    def _step(self, name: str) -> None:
        if self.on_step is not None:
            self.on_step(name)


events: Final = _Events()
monitoring.register(events)


@pytest.mark.parametrize("is_leased", [False, True])
async def test_commit_whose_caller_is_cancelled_at_any_step_is_whole(
    deployment: Deployment, unique: str, is_leased: bool
) -> None:
    """At each command that is sent and each answer in turn, until a commit is over before its turn comes."""
    loop = asyncio.get_running_loop()
    async with own(unique) if is_leased else contextlib.nullcontext():
        await write_bar(unique, 1)
        n, step, hits = 1, 0, 0
        while True:
            left = step
            task = asyncio.create_task(write_bar(unique, n + 1))

            def count(_: str, task: asyncio.Task[None] = task) -> None:
                nonlocal left
                left -= 1
                if left < 0:
                    events.on_step = None
                    loop.call_soon_threadsafe(task.cancel)

            events.on_step = count
            (outcome,) = await asyncio.gather(task, return_exceptions=True)
            events.on_step = None
            assert outcome is None or isinstance(outcome, asyncio.CancelledError)
            hits += outcome is not None
            found = await outside(read_bar(unique))
            assert found == await read_bar(unique)
            assert found == n + 1 if outcome is None else found in (n, n + 1)
            n, step = found, step + 1
            if left >= 0:
                break
        await write_bar(unique, n + 1)
    assert hits >= 6
    assert await read_bar(unique) == n + 1


@pytest.mark.parametrize("is_leased", [False, True])
@pytest.mark.parametrize("times", [1, 3])
async def test_cancellation_of_a_commit_that_is_under_way_waits_for_it(
    on_failing: FailingServer, unique: str, is_leased: bool, times: int
) -> None:
    async with own(unique) if is_leased else contextlib.nullcontext():
        await write_bar(unique, 1)
        on_failing.hold("commitTransaction", milliseconds=700, times=1)
        task = asyncio.create_task(write_bar(unique, 2))
        await on_failing.until_held()
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        if times == 1:
            assert await outside(read_bar(unique)) == 2
        await write_bar(unique, 3)
    assert await read_bar(unique) == 3


async def test_callers_own_timeout_does_not_tear_a_commit(on_failing: FailingServer, unique: str) -> None:
    await write_bar(unique, 1)
    on_failing.hold("commitTransaction", milliseconds=700, times=1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(write_bar(unique, 2), 0.3)
    assert await read_bar(unique) == 2


# Clocks.


@pytest.mark.parametrize("minutes", [-10, 10])
async def test_clock_of_the_client_may_be_minutes_off(
    deployment: Deployment, unique: str, minutes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leases are measured by the server's clock, and by one of the client's that nobody sets."""
    async with own(unique, ttl=30) as mine:
        now, now_ns = time.time, time.time_ns
        monkeypatch.setattr(time, "time", lambda: now() + 60 * minutes)
        monkeypatch.setattr(time, "time_ns", lambda: now_ns() + 60 * 10**9 * minutes)
        await write_bar(unique, 1)
        with pytest.raises(backtest_mongo.LeaseHeldError):
            await outside(own(unique).__aenter__())
        await write_bar(unique, 2)
        assert len(mine.contexts) == 3
    assert await read_bar(unique) == 2


# Standalone servers.


@pytest.fixture(scope="module")
def standalone() -> Any:
    with temporary_directory() as directory:
        server = Mongod(directory / "standalone")
        server.start()
        yield server
        server.stop(kill=True)


async def test_standalone_is_refused_at_the_beginning_of_the_block(
    standalone: Mongod, servers: dict[str, Any], driver: str, unique: str, closing: None
) -> None:
    config = {**servers, "CC_MONGO_CONNECTION_STRING": standalone.uri(unique), "CC_MONGO_DRIVER": driver}
    await backtest_mongo.setup(config)
    state = persist.state(unique, "s")
    for block in (transaction, lambda: lease(state)):
        with pytest.raises(StoreError, match=r"standalone.*--replSet rs0.*rs\.initiate\(\)"):
            await block().__aenter__()
    await state.write_state_data({"n": 1}, WHEN)
    assert await state.read_state_data() == {"n": 1}
    with standalone.client() as client:
        assert "leases" not in client[unique].list_collection_names()


async def test_standalone_that_should_keep_versions_is_refused_by_the_first_write(
    standalone: Mongod, servers: dict[str, Any], driver: str, unique: str, closing: None
) -> None:
    config = {**servers, "CC_MONGO_CONNECTION_STRING": standalone.uri(unique), "CC_MONGO_DRIVER": driver}
    await backtest_mongo.setup(config, CC_HISTORY="state,memory")
    state, memory, signal = persist.state(unique, "s"), persist.memory(unique, "m"), persist.signal("s", unique, "x")
    writes: list[Callable[[], Awaitable[None]]] = [
        lambda: state.write_state_data({"n": 1}, WHEN),
        lambda: type(state).write_many([(state.context, {"n": 1})], when=WHEN),
        lambda: memory.write_memory_data({"n": 1}, "a", WHEN),
        lambda: memory.remove_memory_data("a"),
    ]
    for write in writes:
        with pytest.raises(StoreError, match=r"standalone.*--replSet rs0.*rs\.initiate\(\)"):
            await write()
    await signal.write_signal_data({"n": 1})
    assert await signal.read_signal_data() == {"n": 1}
    with standalone.client() as client:
        names = client[unique].list_collection_names()
        assert [name for name in names if client[unique][name].count_documents({})] == [signal.spec.collection]


# Takeovers.


async def test_commit_that_is_in_doubt_when_its_lease_is_taken_is_not_applied_later(proxy: Proxy, unique: str) -> None:
    one = persist.state(unique, "one")

    async def work() -> None:
        async with own(unique, ttl=600) as mine:
            await write_bar(unique, 1)
            events.on_start = lambda name: proxy.swallow() if name == COMMIT.decode() else None
            try:
                with pytest.raises(CommitUnknownError) as caught:
                    await write_bar(unique, 2)
            finally:
                events.on_start = None
            proxy.pass_on()
            assert await type(one)._base_store().committer.release_by_force(mine.contexts[0])
            await outside(take())
            await caught.value.commit_again()

    async def take() -> None:
        async with own(unique):
            await write_bar(unique, 2)
            await write_bar(unique, 3)

    with pytest.raises(LeaseLostError):
        await work()
    assert await read_bar(unique) == 3
