"""Event loops of any kind and number: one after another, one a thread, in forks, uvloop's, and with eager tasks."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest
import uvloop

import backtest_mongo
from backtest_mongo import (
    SLOTS,
    CandleAdapter,
    MemoryAdapter,
    SignalAdapter,
    StateAdapter,
    StorageAdapter,
    persist,
    setup,
)
from backtest_mongo.connection import hub_registry
from tests.conftest import Deployment, drop_with, operations
from tests.support import uniform
from tests.support.deadlines import PROCESS_SECONDS, SECONDS
from tests.support.uniform import WHEN, candles, payload

#: Made at import, without an event loop, and used on all of those below.
SIGNAL, MEMORY = SignalAdapter("BTCUSDT", "my_strategy", "binance"), MemoryAdapter("signal", "notes")
SERIES = CandleAdapter("BTCUSDT", "1m", "binance")


@pytest.fixture
def database(config: dict[str, Any], unique: str) -> Iterator[Any]:
    with pymongo.MongoClient[dict[str, Any]](config["CC_MONGO_CONNECTION_STRING"], appname="observer") as client:
        yield client[unique]
        drop_with(client, unique)


def ours(database: Any) -> set[int]:
    """Return the ids of the library's connections that MongoDB knows of."""
    stages: list[dict[str, Any]] = [
        {"$currentOp": {"idleConnections": True, "allUsers": True}},
        {"$match": {"appName": "backtest-mongo"}},
    ]
    return {row["connectionId"] for row in database.client.admin.aggregate(stages) if "connectionId" in row}


def until_gone(database: Any, before: set[int]) -> None:
    deadline = time.monotonic() + SECONDS
    while left := ours(database) - before:
        assert time.monotonic() < deadline, f"connections are left: {left}"
        time.sleep(0.02)  # nothing signals when the server has noticed the end of a connection


# One after another

_loops: list[asyncio.AbstractEventLoop] = []


@pytest.mark.parametrize("number", range(3))
async def test_adapters_of_a_module_work_in_the_loop_of_each_test(deployment: Deployment, number: int) -> None:
    _loops.append(asyncio.get_running_loop())
    assert len({id(loop) for loop in _loops}) == len(_loops)  # pytest-asyncio makes one for each test
    assert await SIGNAL.read_signal_data() is None
    await asyncio.gather(SIGNAL.write_signal_data({"n": number}), MEMORY.write_memory_data({"n": number}, "m", WHEN))
    assert await SERIES.write_candles_data(candles(10, price=number + 2.0)) == 10
    found = await asyncio.gather(SIGNAL.read_signal_data(), MEMORY.read_memory_data("m"))
    assert list(found) == [{"n": number}] * 2
    assert await SERIES.read_candles_data(10, 0) == candles(10, price=number + 2.0)


def test_adapters_of_a_module_and_of_the_registry_work_in_asyncio_run_twice(
    config: dict[str, Any], database: Any, unique: str
) -> None:
    async def run(number: int) -> list[Any]:
        async with setup(config):
            await backtest_mongo.wait_for_init()
            stored = persist.state(unique, "b")
            before = [
                await SIGNAL.read_signal_data(),
                await stored.read_state_data(),
                await SERIES.read_candles_data(5, 0),
            ]
            await SIGNAL.write_signal_data({"n": number})
            await stored.write_state_data({"n": number}, WHEN)
            await SERIES.write_candles_data(candles(5))
            return before

    before = ours(database)
    assert asyncio.run(run(1)) == [None, None, None]
    assert asyncio.run(run(2)) == [{"n": 1}, {"n": 1}, candles(5)]
    assert asyncio.run(run(3)) == [{"n": 2}, {"n": 2}, candles(5)]
    until_gone(database, before)


# Kinds of loop


def _eager() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]  # since 3.12
    return loop


KINDS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
    **({"eager": _eager} if sys.version_info >= (3, 12) else {}),
}


@pytest.fixture(params=KINDS)
def run(request: pytest.FixtureRequest, config: dict[str, Any], database: Any) -> Iterator[Callable[..., Any]]:
    """Runs a coroutine on a loop of one kind, set up and closed; no task and no connection may be left."""

    async def main(coroutine: Coroutine[Any, Any, Any]) -> Any:
        reported: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        async with setup(config):
            result = await coroutine
        deadline = time.monotonic() + SECONDS
        while len(asyncio.all_tasks()) > 1:
            assert time.monotonic() < deadline, asyncio.all_tasks()
            await asyncio.sleep(0.01)  # PyMongo's monitors end in their own time
        gc.collect()
        assert reported == []
        return result

    before = ours(database)
    with asyncio.Runner(loop_factory=KINDS[request.param]) as runner:
        yield lambda coroutine: runner.run(main(coroutine))
    until_gone(database, before)


def test_every_slot_works_on_every_kind_of_loop(run: Callable[..., Any], unique: str) -> None:
    async def main() -> None:
        await backtest_mongo.wait_for_init()
        for spec in SLOTS:
            adapter, key = uniform.adapter(spec, unique), uniform.entry(spec, unique)
            if spec.shape == "series":
                assert await adapter.write_candles_data(candles(100)) == 100
                assert await adapter.read_candles_data(100, 0) == candles(100)
                continue
            assert await uniform.read(adapter, key) == uniform.nothing(spec)
            for number in range(2):
                await uniform.write(adapter, payload(spec, number), key)
                assert await uniform.read(adapter, key) == uniform.stored(spec, payload(spec, number))
            if spec.shape == "bucket":
                assert len(await uniform.listed(adapter)) == 1
                await getattr(adapter, f"remove_{spec.noun}_data")(key)
                assert await uniform.listed(adapter) == []

    run(main())


def test_concurrent_calls_are_batched_on_every_kind_of_loop(run: Callable[..., Any], unique: str) -> None:
    async def main() -> None:
        states = [StateAdapter(unique, f"b{number}") for number in range(100)]
        await states[0].wait_for_init()
        await asyncio.gather(*(state.write_state_data({"n": 0}, WHEN) for state in states))
        before = await operations()
        await asyncio.gather(*(state.write_state_data({"n": number}, WHEN) for number, state in enumerate(states)))
        assert await operations() - before == {"update": 100}
        before = await operations()
        async with asyncio.TaskGroup() as group:
            reads: list[asyncio.Task[Any]] = [group.create_task(state.read_state_data()) for state in states]
        assert await operations() - before == {"query": 1}
        assert [read.result() for read in reads] == [{"n": number} for number in range(100)]
        # One that is alone, and writes of one key, which keep their order.
        assert await states[5].read_state_data() == {"n": 5}
        await asyncio.gather(*(states[0].write_state_data({"n": number}, WHEN) for number in range(20)))
        assert await states[0].read_state_data() == {"n": 19}

    run(main())


def test_cancelled_callers_do_not_affect_others_on_every_kind_of_loop(run: Callable[..., Any], unique: str) -> None:
    async def main() -> None:
        states = [StateAdapter(unique, f"b{number}") for number in range(5)]
        await asyncio.gather(*(state.write_state_data({"n": 0}, WHEN) for state in states))
        for turns in range(25):
            tasks: list[asyncio.Task[Any]] = [
                asyncio.create_task(state.write_state_data({"n": turns}, WHEN)) for state in states
            ]
            tasks += [asyncio.create_task(state.read_state_data()) for state in states]
            for _ in range(turns):
                await asyncio.sleep(0)
            for victim in (turns % 5, 5 + turns % 5):
                tasks[victim].cancel()
            await asyncio.wait(tasks)
            for number, task in enumerate(tasks):
                assert number % 5 == turns % 5 or task.exception() is None
            await states[turns % 5].write_state_data({"n": turns}, WHEN)
            assert await asyncio.gather(*(state.read_state_data() for state in states)) == [{"n": turns}] * 5

    run(main())


def test_lists_and_batches_are_whole_on_every_kind_of_loop(run: Callable[..., Any]) -> None:
    async def main() -> None:
        items = [{"id": f"{number:05}", "n": number} for number in range(2_500)]
        await StorageAdapter(True).write_storage_data(items)
        assert await StorageAdapter(True).read_storage_data() == items
        assert await SERIES.write_candles_data(candles(25_000)) == 25_000
        assert await SERIES.read_candles_data(25_000, 0) == candles(25_000)

    run(main())


# Threads

THREADS = 8


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def in_threads(work: Callable[[int], None]) -> None:
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            barrier.wait()
            work(number)
        except BaseException as error:
            errors.append(error)

    barrier = threading.Barrier(THREADS)
    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.mark.usefixtures("restless")
def test_loops_that_come_and_go_in_threads_keep_to_their_own_connections(
    config: dict[str, Any], database: Any, unique: str
) -> None:
    """Half of the loops end without a close, so those that are made meanwhile release their connections."""

    async def use(number: int, round_: int) -> None:
        state = StateAdapter(unique, f"b{number}")
        assert await state.read_state_data() == ({"n": round_ - 1} if round_ else None)
        await state.write_state_data({"n": round_}, WHEN)
        others = [StateAdapter(unique, f"b{number}-{other}") for other in range(5)]
        await asyncio.gather(*(other.write_state_data({"n": round_}, WHEN) for other in others))
        assert await asyncio.gather(*(other.read_state_data() for other in others)) == [{"n": round_}] * 5
        if (number + round_) % 2:
            await backtest_mongo.close()

    def work(number: int) -> None:
        for round_ in range(6):
            asyncio.run(use(number, round_))

    before = ours(database)
    asyncio.run(setup(config))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # what a loop that ends without a close leaves behind
        in_threads(work)
        asyncio.run(release())
        gc.collect()
    assert hub_registry._hubs == {}
    assert hub_registry._retired == []
    until_gone(database, before)


async def release() -> None:
    """Make the hub of one more loop, which releases the connections of ended loops."""
    hub_registry.current_hub()
    await backtest_mongo.close()


@pytest.mark.usefixtures("restless")
def test_no_hub_is_lost_between_threads(config: dict[str, Any]) -> None:
    async def make_and_close() -> None:
        made = hub_registry.current_hub()
        await backtest_mongo.close()
        assert made._closing is not None, "a hub was lost to another thread, and never closed"

    def work(_: int) -> None:
        with asyncio.Runner() as runner:
            for _ in range(60):
                runner.run(make_and_close())

    asyncio.run(setup(config))
    in_threads(work)
    assert hub_registry._hubs == {}
    assert hub_registry._retired == []


# Forks. A fork of a process with threads is what is tested: Python 3.12 and later warn of it, and PyMongo's own fork
# handler drops the parent's sockets in the child without closing them.

IGNORED = ("-W", "ignore::DeprecationWarning", "-W", "ignore::ResourceWarning")
HEAD = """
    import asyncio, json, multiprocessing, os, signal, sys, threading, time
    from backtest_mongo import StateAdapter, close, get_mongo, setup, wait_for_init
    from backtest_mongo.connection import hub_registry

    CONFIG, UNIQUE = json.loads(sys.argv[1]), sys.argv[2]
    parent_s = StateAdapter(UNIQUE, "parent")

    async def child(number):
        own = StateAdapter(UNIQUE, f"child-{number}")
        assert await parent_s.read_state_data() is not None
        await asyncio.gather(*(own.write_state_data({"n": n}, 1) for n in range(10)))
        assert await own.read_state_data() == {"n": 9}
        await close()

    async def connections():
        client = await get_mongo()
        ours = {"$match": {"appName": "backtest-mongo"}}
        cursor = client.admin.aggregate([{"$currentOp": {"idleConnections": True, "localOps": True}}, ours])
        rows = await (await cursor if asyncio.iscoroutine(cursor) else cursor).to_list(None)
        return {row["connectionId"] for row in rows if "connectionId" in row}
"""
PROCESSES = """
    def target(number):
        asyncio.run(setup(CONFIG))
        asyncio.run(child(number))

    async def parent(method):
        await setup(CONFIG)
        await parent_s.write_state_data({"n": 0}, 1)
        before = await connections()
        context = multiprocessing.get_context(method)
        children = [context.Process(target=target, args=(number,)) for number in range(4)]
        for process in children:
            process.start()
        n = 0
        while any(process.is_alive() for process in children):
            n += 1
            await parent_s.write_state_data({"n": n}, 1)
            assert await parent_s.read_state_data() == {"n": n}
        for process in children:
            process.join()
        assert [process.exitcode for process in children] == [0] * 4
        assert before <= await connections(), "the children closed connections of ours"
        for number in range(4):
            assert await StateAdapter(UNIQUE, f"child-{number}").read_state_data() == {"n": 9}
        await close()

    if __name__ == "__main__":
        asyncio.run(parent(sys.argv[3]))
        print("done")
"""
UNDER_WAY = """
    async def parent():
        await setup(CONFIG)
        await parent_s.write_state_data({"n": 0}, 1)
        pids = []
        for number in range(4):
            states = [StateAdapter(UNIQUE, f"b{n}") for n in range(20)]
            writes = [asyncio.ensure_future(state.write_state_data({"n": number}, 1)) for state in states]
            for _ in range(number):
                await asyncio.sleep(0)
            pid = os.fork()
            if pid == 0:
                asyncio._set_running_loop(None)
                try:
                    asyncio.run(child(number))
                    os._exit(0)
                finally:
                    os._exit(1)
            pids.append(pid)
            await asyncio.gather(*writes)
            assert [await state.read_state_data() for state in states] == [{"n": number}] * 20
        assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 4
        await close()

    asyncio.run(parent())
    print("done")
"""
WHILE_LOCKED = """
    held, forked = threading.Event(), threading.Event()

    def hold():
        with hub_registry._lock:
            held.set()
            forked.wait()

    async def prepare():
        async with setup(CONFIG):
            await parent_s.write_state_data({"n": 0}, 1)

    asyncio.run(prepare())
    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(20)
    pid = os.fork()
    if pid == 0:
        try:
            asyncio.run(asyncio.wait_for(child(0), 30))
            os._exit(0)
        finally:
            os._exit(1)
    forked.set()
    thread.join()
    # A child that waits for the lock, which nobody holds there, would wait for ever.
    deadline = time.monotonic() + 120
    while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.05)  # there is no waiting for a child with a deadline
    if ended == (0, 0):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert ended == (pid, 0), ended
    print("done")
"""


@pytest.mark.parametrize(
    ("script", "arguments"),
    [(PROCESSES, ["fork"]), (PROCESSES, ["spawn"]), (UNDER_WAY, []), (WHILE_LOCKED, [])],
    ids=["multiprocessing fork", "multiprocessing spawn", "operations under way", "another thread holds the lock"],
)
def test_child_processes_have_their_own_connections_and_do_not_touch_the_parent_s(
    config: dict[str, Any], database: Any, unique: str, tmp_path: Path, script: str, arguments: list[str]
) -> None:
    before = ours(database)
    path = tmp_path / "script.py"  # a file, because spawn imports it
    path.write_text(textwrap.dedent(HEAD) + textwrap.dedent(script))
    done = subprocess.run(
        [sys.executable, "-W", "error", *IGNORED, path, json.dumps(config), unique, *arguments],
        capture_output=True,
        text=True,
        timeout=PROCESS_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
    until_gone(database, before)
