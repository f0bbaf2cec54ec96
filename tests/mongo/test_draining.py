"""Writes under way when connections are closed or replaced: they are carried to their end before anything overtakes."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

import backtest_mongo
from backtest_mongo import (
    BacktestMongoError,
    CandleAdapter,
    MemoryAdapter,
    SignalAdapter,
    StateAdapter,
    StoreUnavailableError,
    set_config,
    setup,
)
from backtest_mongo.cli.command_runner import run_command
from backtest_mongo.connection.batching import Lanes, Queue
from backtest_mongo.connection.operation import Attempts
from faults.proxy import Proxy
from tests.support.deadlines import SECONDS
from tests.support.failing_servers import WRITES, FailingServer
from tests.support.queues import read_one, write_one
from tests.support.short_deadlines import LONG_MS, shorten_deadline, until_in_time
from tests.support.uniform import WHEN, candles

pytestmark = [pytest.mark.heavy, pytest.mark.either_driver]
pytest_plugins = ["pytester"]

HOLD_MS: Final = 1_500
#: Long enough for what is held, and short enough to wait for.
DEADLINE_MS: Final = 2_000
KINDS: Final = ("single", "batch", "list", "remove")


#: What a test has begun; it is awaited at its end whatever becomes of the test.
_begun: list[asyncio.Future[Any]] = []


@pytest.fixture
async def awaited(on_failing: FailingServer) -> AsyncIterator[None]:
    """The library set up on a failing server; nothing that a test has begun outlives it."""
    yield
    await asyncio.gather(*_begun, return_exceptions=True)
    _begun.clear()


def start(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    task = asyncio.create_task(work)
    _begun.append(task)
    return task


async def begin(kind: str, unique: str, failing: FailingServer, count: int = 1) -> list[asyncio.Task[Any]]:
    """Begin the writes 1, 2, ... of one key, the first of which the server holds; they are queued when it returns."""
    await write_one(kind, unique, 0)
    failing.hold(*WRITES, milliseconds=HOLD_MS, times=1)
    tasks = [start(write_one(kind, unique, number)) for number in range(1, count + 1)]
    await failing.until_held()
    return tasks


def outcome(task: asyncio.Task[Any] | asyncio.Future[Any]) -> str:
    """Tell what has become of a write."""
    if not task.done():
        return "under way"
    if task.cancelled():
        return "cancelled"
    error = task.exception()
    return "stored" if error is None else f"{type(error).__name__}: {error}"


async def assert_stays(kind: str, unique: str, number: int) -> None:
    """Check that nothing comes after the last write, for as long as the server held the first one."""
    clock = asyncio.get_running_loop().time
    end = clock() + 1.3 * HOLD_MS / 1000
    while clock() < end:
        assert await read_one(kind, unique) == number
        await asyncio.sleep(0.02)


async def close_by_itself(config: dict[str, Any]) -> None:
    await backtest_mongo.close()


async def close_twice(config: dict[str, Any]) -> None:
    await asyncio.gather(backtest_mongo.close(), backtest_mongo.close())


async def close_when_cancelled(config: dict[str, Any]) -> None:
    closing = start(backtest_mongo.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])
    await backtest_mongo.close()


async def set_up_again(config: dict[str, Any]) -> None:
    await setup(CC_CANDLE_CACHE_MB=3)


async def leave_setup(config: dict[str, Any]) -> None:
    async with setup():
        pass


async def set_another_config(config: dict[str, Any]) -> None:
    set_config(CC_CANDLE_CACHE_MB=3)


DOORS: Final[dict[str, Callable[[dict[str, Any]], Coroutine[Any, Any, None]]]] = {
    "close": close_by_itself,
    "close twice": close_twice,
    "close cancelled": close_when_cancelled,
    "setup": set_up_again,
    "async with setup": leave_setup,
    "set_config": set_another_config,
}


@pytest.mark.usefixtures("awaited")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("door", DOORS)
async def test_write_after_connections_were_closed_is_never_overtaken(
    failing: FailingServer, failing_config: dict[str, Any], unique: str, kind: str, door: str
) -> None:
    (held,) = await begin(kind, unique, failing)
    await DOORS[door](failing_config)
    if door != "set_config":  # which is no coroutine, so that whoever comes next waits
        assert outcome(held) == "stored"
    await write_one(kind, unique, 2)
    assert outcome(held) == "stored"
    await assert_stays(kind, unique, 2)


@pytest.mark.usefixtures("awaited")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("door", ["close", "setup", "async with setup"])
async def test_write_during_a_change_of_connections_waits_for_pending_writes(
    failing: FailingServer, failing_config: dict[str, Any], unique: str, kind: str, door: str
) -> None:
    (held,) = await begin(kind, unique, failing)
    closing = start(DOORS[door](failing_config))
    for _ in range(3):
        await asyncio.sleep(0)
    meanwhile = start(write_one(kind, unique, 2))
    await asyncio.gather(held, closing, meanwhile)
    await assert_stays(kind, unique, 2)


@pytest.mark.usefixtures("awaited")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("door", ["close", "setup", "async with setup", "set_config"])
async def test_queued_writes_are_sent_while_the_server_answers(
    failing: FailingServer, failing_config: dict[str, Any], unique: str, kind: str, door: str
) -> None:
    tasks = await begin(kind, unique, failing, count=8)
    await DOORS[door](failing_config)
    if door == "set_config":
        await backtest_mongo.close()
    assert list(map(outcome, tasks)) == ["stored"] * 8
    assert await read_one(kind, unique) == 8


@pytest.mark.usefixtures("awaited")
async def test_queue_of_many_batches_is_sent_before_the_end(failing: FailingServer, unique: str) -> None:
    states = [StateAdapter(unique, f"b{number:05}") for number in range(12_000)]
    await states[0].write_state_data({"n": -1}, WHEN)
    failing.hold("update", milliseconds=200)
    tasks = [start(state.write_state_data({"n": n}, WHEN)) for n, state in enumerate(states)]
    await failing.until_held()
    await backtest_mongo.close()
    assert Counter(map(outcome, tasks)) == {"stored": len(tasks)}
    assert failing.client[unique]["state-items"].count_documents({}) == len(states)


def test_lanes_open_once_each_of_those_before_was_idle() -> None:
    first, second = Lanes(1), Lanes(1)
    first.calls += 1
    second.calls += 1
    third = Lanes(1, [first, second])
    first.leave(1)
    first.calls += 1  # what is called on connections that are replaced already
    second.leave(1)
    assert asyncio.run(is_sent(third))


async def is_sent(lanes: Lanes) -> bool:
    """Tell whether a call on these lanes is carried out."""

    async def prepare() -> bool:
        return True

    async def work(_: Attempts) -> bool:
        return True

    def give_up(doing: str, key: Any, reason: str, was_sent: bool) -> StoreUnavailableError:
        return StoreUnavailableError(reason)

    def translate(doing: str, error: Exception, key: Any) -> BacktestMongoError:
        return BacktestMongoError(str(error))

    queue: Queue[Any, Any] = Queue(lanes, float("inf"), prepare, give_up, translate, is_write=True)
    call = asyncio.ensure_future(queue.run(work, "writing"))
    done, _ = await asyncio.wait([call], timeout=SECONDS)
    return call in done and call.result()


@pytest.mark.usefixtures("awaited")
@pytest.mark.parametrize("rows", [10, 600, 25_000])
async def test_pending_candles_are_stored_when_close_returns(failing: FailingServer, unique: str, rows: int) -> None:
    series = CandleAdapter("BTCUSDT", "1m", unique)
    await series.write_candles_data(candles(1))
    failing.hold("insert", milliseconds=HOLD_MS, times=1)
    writing = start(series.write_candles_data(candles(rows)))
    await failing.until_held()
    await backtest_mongo.close()
    stored = failing.client[unique]["candle-items"].count_documents({})
    assert stored > 1, "the insert under way was not awaited"
    await writing
    await backtest_mongo.close()
    assert failing.client[unique]["candle-items"].count_documents({}) == rows


# Loops, one after another


def in_one_loop(main: Coroutine[Any, Any, None], config: dict[str, Any]) -> None:
    async def run() -> None:
        await setup(config)
        try:
            await main
        finally:
            await backtest_mongo.close()

    asyncio.run(run())


@pytest.fixture
def idle(failing: FailingServer) -> Iterator[None]:
    """For tests without an event loop of pytest's."""
    _begun.clear()
    yield
    _begun.clear()
    failing.end()
    asyncio.run(failing.until_idle())


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("kind", KINDS)
def test_next_loop_is_never_overtaken_by_the_one_before(
    failing: FailingServer, failing_config: dict[str, Any], unique: str, kind: str
) -> None:
    async def first() -> None:
        task = asyncio.create_task(background())
        while not began.is_set():  # noqa: ASYNC110  # the server is asked in a thread
            await asyncio.sleep(0.01)
        await failing.until_held()
        tasks.append(task)

    async def background() -> None:
        await write_one(kind, unique, 0)
        failing.hold(*WRITES, milliseconds=HOLD_MS, times=1)
        began.set()
        await write_one(kind, unique, 1)

    async def second() -> None:
        await write_one(kind, unique, 2)
        await assert_stays(kind, unique, 2)

    began, tasks = asyncio.Event(), list[asyncio.Task[Any]]()
    in_one_loop(first(), failing_config)
    assert list(map(outcome, tasks)) == ["stored"]
    in_one_loop(second(), failing_config)


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("kind", KINDS)
def test_end_of_a_command_awaits_its_pending_writes(
    failing: FailingServer,
    failing_config: dict[str, Any],
    unique: str,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in failing_config.items():
        monkeypatch.setenv(name, str(value))

    async def work() -> None:
        tasks.extend(await begin(kind, unique, failing, count=3))

    async def next_command() -> None:
        await write_one(kind, unique, 4)
        await assert_stays(kind, unique, 4)

    tasks: list[asyncio.Task[Any]] = []
    run_command(work)
    assert list(map(outcome, tasks)) == ["stored"] * 3
    run_command(next_command)


USER_TEST = """
import asyncio
import pytest
from backtest_mongo import StateAdapter

background = []

@pytest.mark.asyncio(loop_scope="session")
async def test_leaves_a_pending_write(backtest_store):
    import pymongo
    state = StateAdapter("signal", "s")
    await state.write_state_data({"n": 0}, 0)
    with pymongo.MongoClient(URI) as client:
        data = {"appName": "backtest-mongo", "failCommands": ["findAndModify"], "blockConnection": True}
        before = client.admin.command(
            {"configureFailPoint": "failCommand", "mode": {"times": 1}, "data": {**data, "blockTimeMS": HOLD_MS}}
        )
        background.append(asyncio.ensure_future(state.write_state_data({"n": 1}, 0)))
        for n in (2, 3):
            background.append(asyncio.ensure_future(state.write_state_data({"n": n}, 0)))
        wait = {"waitForFailPoint": "failCommand", "timesEntered": before["count"] + 1, "maxTimeMS": 60_000}
        await asyncio.to_thread(client.admin.command, wait)

@pytest.mark.asyncio(loop_scope="session")
async def test_finds_it_applied():
    assert [task.done() for task in background] == [True] * 3
    assert [task.exception() for task in background] == [None] * 3
"""


@pytest.mark.usefixtures("idle")
def test_end_of_the_plugin_s_fixture_awaits_pending_writes_of_the_test(
    pytester: pytest.Pytester,
    failing: FailingServer,
    failing_config: dict[str, Any],
    driver: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in failing_config.items():
        monkeypatch.setenv(name, str(value))
    uri = failing_config["CC_MONGO_CONNECTION_STRING"]
    pytester.makepyfile(USER_TEST.replace("URI", repr(uri)).replace("HOLD_MS", str(HOLD_MS)))
    arguments = ("-p", "pytest_backtest_mongo", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-W", "error")
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = session")
    outcome = pytester.runpytest_subprocess(*arguments, f"--backtest-driver={driver}")
    outcome.assert_outcomes(passed=2)
    asyncio.run(failing.until_idle())
    # What comes after the end of a test's database would make it anew.
    assert [name for name in failing.client.list_database_names() if name.startswith("backtest-test-")] == []


# A server that never answers


@contextmanager
def black_hole(failing: FailingServer) -> Iterator[Proxy]:
    with Proxy(failing.port) as proxy:
        yield proxy
        proxy.pass_on()


@pytest.fixture
async def behind_proxy(failing: FailingServer, failing_config: dict[str, Any], unique: str) -> AsyncIterator[Proxy]:
    """The library on a server behind a proxy, whose indexes are there."""
    with black_hole(failing) as proxy:
        uri = f"mongodb://127.0.0.1:{proxy.port}/{unique}?directConnection=true"
        await setup({**failing_config, "CC_MONGO_CONNECTION_STRING": uri, "CC_MONGO_TIMEOUT_MS": LONG_MS})
        state, signal = StateAdapter(unique, "s"), SignalAdapter(unique, "s", "binance")
        memory = MemoryAdapter(unique, "notes")

        async def write_all() -> None:
            await state.write_state_data({"n": 0}, WHEN)
            await signal.write_signal_data({"n": 0})
            await memory.write_memory_data({"n": 0}, "m", WHEN)

        await write_all()
        await shorten_deadline(DEADLINE_MS, state, signal, memory)
        await until_in_time(write_all)  # so that writes are prepared, too
        yield proxy
        proxy.pass_on()
        await asyncio.gather(*_begun, return_exceptions=True)
        _begun.clear()
        await backtest_mongo.close()


@pytest.mark.parametrize("door", ["close", "setup", "async with setup"])
async def test_close_gives_up_on_a_server_that_never_answers_with_one_warning(
    behind_proxy: Proxy,
    failing_config: dict[str, Any],
    unique: str,
    door: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    backtest_mongo.set_logger(logging.getLogger("test"))
    behind_proxy.swallow()
    writes: list[Coroutine[Any, Any, Any]] = [
        StateAdapter(unique, "s").write_state_data({"n": 1}, WHEN),
        SignalAdapter(unique, "s", "binance").write_signal_data({"n": 1}),
        MemoryAdapter(unique, "notes").write_memory_data({"n": 1}, "m", WHEN),
        # Behind the first of them, and so never sent.
        *(StateAdapter(unique, "s").write_state_data({"n": number}, WHEN) for number in range(2, 7)),
    ]
    tasks = [start(work) for work in writes]
    # The requests are on their way when connections have taken them, which only time can show.
    await asyncio.sleep(DEADLINE_MS / 4000)
    async with asyncio.timeout(20 * DEADLINE_MS / 1000):  # it would be for ever
        await DOORS[door](failing_config)
    assert [task.done() for task in tasks] == [True] * 8
    errors = [task.exception() for task in tasks]
    assert [type(error) for error in errors] == [StoreUnavailableError] * 8
    sent = [getattr(error, "may_be_applied", None) for error in errors]
    assert sent[:3] == [True] * 3
    assert not all(sent), "those behind an unanswered write were sent all the same"
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    unknown = [text for text in warnings if "unknown" in text]
    assert len(unknown) == 1, warnings
    assert str(sent.count(True)) in unknown[0]


@pytest.mark.usefixtures("awaited")
async def test_end_without_pending_writes_warns_of_nothing(
    failing_config: dict[str, Any], unique: str, caplog: pytest.LogCaptureFixture
) -> None:
    backtest_mongo.set_logger(logging.getLogger("test"))
    for door in DOORS.values():
        await write_one("single", unique, 1)
        await door(failing_config)
        await backtest_mongo.close()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.usefixtures("awaited")
async def test_drained_write_is_acknowledged_without_a_warning(
    failing: FailingServer, unique: str, caplog: pytest.LogCaptureFixture
) -> None:
    backtest_mongo.set_logger(logging.getLogger("test"))
    tasks = await begin("single", unique, failing, count=4)
    await backtest_mongo.close()
    assert list(map(outcome, tasks)) == ["stored"] * 4
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
