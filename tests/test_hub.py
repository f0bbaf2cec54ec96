"""Connections: lazy, one set per event loop, closed without a trace."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import textwrap
import threading
import warnings
from typing import Any

import motor.motor_asyncio
import pymongo
import pytest
import redis.asyncio

import backtest_mongo
from backtest_mongo import (
    ConfigError,
    InitError,
    SignalAdapter,
    StateAdapter,
    StoreUnavailableError,
    close,
    get_mongo,
    get_redis,
    hub,
    setup,
    wait_for_init,
)
from tests.conftest import Deployment, drop_database

pytestmark = pytest.mark.either_driver

CONTEXT = ("BTCUSDT", "my_strategy")
NOBODY = "mongodb://127.0.0.1:1/nothing"


async def test_setup_and_adapters_open_no_connection() -> None:
    await setup(CC_MONGO_CONNECTION_STRING=NOBODY, CC_REDIS_PORT=1)
    SignalAdapter(*CONTEXT, "binance")
    backtest_mongo.persist.signal(*CONTEXT, "binance")
    assert not hub._hubs


def test_adapters_need_no_event_loop() -> None:
    assert SignalAdapter(*CONTEXT, "binance").context["symbol"] == "BTCUSDT"


async def test_raw_clients_are_the_driver_s_own(deployment: Deployment, driver: str) -> None:
    kind = motor.motor_asyncio.AsyncIOMotorClient if driver == "motor" else pymongo.AsyncMongoClient
    client = await get_mongo()
    assert isinstance(client, kind)
    assert await get_mongo() is client
    assert (await client.admin.command("ping"))["ok"] == 1
    cache = await get_redis()
    assert isinstance(cache, redis.asyncio.Redis)
    assert await get_redis() is cache
    assert await cache.ping() is True


async def test_adapters_share_one_set_of_connections(deployment: Deployment, unique: str) -> None:
    await asyncio.gather(
        SignalAdapter(*CONTEXT, unique).read_signal_data(), StateAdapter(unique, "b").read_state_data()
    )
    assert len(hub._hubs) == 1
    assert hub.current_hub() is hub.current_hub()


@pytest.mark.usefixtures("driver_garbage")
async def test_uri_without_a_database_uses_the_default_name(servers: dict[str, Any], driver: str) -> None:
    uri = servers["CC_MONGO_CONNECTION_STRING"].partition("?")[0].rpartition("/")[0]
    await setup({**servers, "CC_MONGO_CONNECTION_STRING": f"{uri}/", "CC_MONGO_DRIVER": driver})
    assert hub.current_hub().database.name == "backtest-kit"
    await close()


@pytest.mark.parametrize(
    ("options", "concern"),
    [
        ("", {"w": "majority"}),
        ("?wtimeoutMS=15000", {"w": "majority", "wtimeout": 15000}),
        ("?w=1", {"w": 1}),
        ("?w=majority&journal=true", {"w": "majority", "j": True}),
        ("?journal=true", {"w": "majority", "j": True}),
    ],
)
async def test_writes_use_majority_unless_the_uri_says_otherwise(
    driver: str, options: str, concern: dict[str, Any]
) -> None:
    await setup(CC_MONGO_CONNECTION_STRING=f"mongodb://127.0.0.1:1/x{options}", CC_MONGO_DRIVER=driver)
    assert hub.current_hub().database.write_concern.document == concern
    await close()


async def test_unacknowledged_writes_are_refused(driver: str) -> None:
    await setup(CC_MONGO_CONNECTION_STRING="mongodb://127.0.0.1:1/x?w=0", CC_MONGO_DRIVER=driver)
    with pytest.raises(ConfigError, match="w=0 asks MongoDB to acknowledge nothing"):
        await get_mongo()


@pytest.mark.parametrize(
    ("uri", "seconds"),
    [
        (None, 0.3),  # the default, which has a wtimeoutMS
        ("mongodb://127.0.0.1:1/x?connectTimeoutMS=2000&socketTimeoutMS=2000", 0.3),
        ("mongodb://127.0.0.1:1/x?timeoutMS=700", 0.7),
    ],
)
async def test_time_limit_holds_unless_the_uri_has_one(driver: str, uri: str | None, seconds: float) -> None:
    await setup(CC_MONGO_CONNECTION_STRING=uri, CC_MONGO_TIMEOUT_MS=300, CC_MONGO_DRIVER=driver)
    assert hub.current_hub().mongo.options.timeout == seconds
    await close()


async def test_reads_go_to_the_primary_whatever_the_uri_says(driver: str) -> None:
    uri = "mongodb://127.0.0.1:1/x?readPreference=secondary"
    await setup(CC_MONGO_CONNECTION_STRING=uri, CC_MONGO_DRIVER=driver)
    assert hub.current_hub().database.read_preference == pymongo.ReadPreference.PRIMARY
    await close()


# Waiting for the servers


async def test_wait_for_init_returns_when_both_servers_answer(deployment: Deployment, unique: str) -> None:
    await wait_for_init()
    await SignalAdapter(*CONTEXT, unique).wait_for_init()


async def test_wait_for_init_of_an_adapter_prepares_its_collection(deployment: Deployment, unique: str) -> None:
    adapter = StateAdapter(unique, "b")
    await adapter.wait_for_init(initial=False)
    assert not hub._hubs
    await adapter.wait_for_init()
    collection = await deployment.collection(StateAdapter.spec)
    assert "signalId_1_bucketName_1" in await collection.index_information()


@pytest.mark.usefixtures("driver_garbage")
async def test_wait_for_init_names_the_missing_servers_without_credentials(
    driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "INIT_SECONDS", 0.3)
    await setup(
        CC_MONGO_CONNECTION_STRING="mongodb://user:s3cr3t@127.0.0.1:1/x",
        CC_REDIS_PORT=2,
        CC_REDIS_PASSWORD="s3cr3t",
        CC_MONGO_DRIVER=driver,
    )
    with pytest.raises(InitError) as caught:
        await wait_for_init()
    text = str(caught.value)
    assert "MongoDB at 127.0.0.1:1 did not answer within 0.3 s" in text
    assert "Redis at 127.0.0.1:2 did not answer within 0.3 s" in text
    assert "s3cr3t" not in text + repr(caught.value)
    await close()


async def test_wait_for_init_names_redis_alone_and_can_be_tried_again(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "INIT_SECONDS", 0.5)
    await setup({**config, "CC_REDIS_PORT": 2})
    for _ in range(2):
        with pytest.raises(InitError, match=r"^wait_for_init: Redis at 127.0.0.1:2 did not answer"):
            await wait_for_init()
    monkeypatch.undo()
    await setup(config)
    await wait_for_init()
    await close()


async def test_wait_for_init_outwaits_a_server_that_starts_late(config: dict[str, Any]) -> None:
    async def pipe(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(4096):
            target.write(data)
        target.close()
        await target.wait_closed()

    async def serve(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        reader, writer = await asyncio.open_connection(config["CC_REDIS_HOST"], config["CC_REDIS_PORT"])
        await asyncio.gather(pipe(source, writer), pipe(reader, target))
        served.set()

    served = asyncio.Event()
    port = await _free_port()
    await setup({**config, "CC_REDIS_HOST": "127.0.0.1", "CC_REDIS_PORT": port})
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(wait_for_init())
        for _ in range(100):  # turns of the loop, enough for a refused connection
            await asyncio.sleep(0)
        assert not waiting.done()
        server = await asyncio.start_server(serve, "127.0.0.1", port)
    await served.wait()
    await close()
    server.close()


async def _free_port() -> int:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


async def test_refusal_is_told_at_once(config: dict[str, Any]) -> None:
    await setup({**config, "CC_REDIS_USER": "stranger", "CC_REDIS_PASSWORD": "wrong"})
    with pytest.raises(InitError, match=r"Redis at .* refuses us: AuthenticationError"):
        await wait_for_init()
    await close()


@pytest.mark.usefixtures("driver_garbage")
@pytest.mark.parametrize("call", ["read", "write"])
async def test_operation_on_a_missing_mongodb_fails_within_its_time(driver: str, call: str) -> None:
    await setup(
        CC_MONGO_CONNECTION_STRING="mongodb://user:s3cr3t@127.0.0.1:1/x",
        CC_MONGO_TIMEOUT_MS=300,
        CC_REDIS_PORT=2,
        CC_MONGO_DRIVER=driver,
    )
    signal = SignalAdapter(*CONTEXT, "binance")
    async with asyncio.timeout(10):
        with pytest.raises(StoreUnavailableError, match=r"^signal: .* failed: MongoDB at \S+ is unavailable") as caught:
            await (signal.read_signal_data() if call == "read" else signal.write_signal_data({}))
    assert caught.value.collection == "signal-items"
    assert "s3cr3t" not in str(caught.value) + repr(vars(caught.value))
    await close()


# Closing


async def test_close_is_idempotent_and_the_next_operation_connects_again(deployment: Deployment, unique: str) -> None:
    signal = SignalAdapter(*CONTEXT, unique)
    await signal.write_signal_data({"n": 1})
    await close()
    await close()
    assert await signal.read_signal_data() == {"n": 1}


async def test_close_that_is_cancelled_closes_all_the_same(config: dict[str, Any], unique: str) -> None:
    await setup(config)
    await SignalAdapter(*CONTEXT, unique).read_signal_data()
    await get_redis()
    for _ in range(30):
        closing = asyncio.ensure_future(close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
    await close()
    assert hub._retired == []
    assert hub._hubs == {}


async def test_close_with_operations_under_way_leaves_nothing_open(config: dict[str, Any], unique: str) -> None:
    for turns in (0, 1, 5, 20, 50, 100):
        await setup(config)
        await wait_for_init()
        states = [StateAdapter(unique, f"b{number}") for number in range(10)]
        writes = [asyncio.ensure_future(state.write_state_data({"n": 1}, 1)) for state in states]
        for _ in range(turns):
            await asyncio.sleep(0)
        await close()
        for outcome in await asyncio.gather(*writes, return_exceptions=True):
            assert outcome is None or isinstance(outcome, StoreUnavailableError)
        await close()  # an operation that started late has connected again
    async with setup(config):
        await drop_database(unique)
    async with asyncio.timeout(20):
        while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.01)


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


async def test_async_with_closes_at_the_end(config: dict[str, Any], unique: str) -> None:
    async with setup(config):
        await SignalAdapter(*CONTEXT, unique).read_signal_data()
        assert hub._hubs
    assert not hub._hubs


async def test_async_with_closes_after_an_error(config: dict[str, Any]) -> None:
    async def fail() -> None:
        async with setup(config):
            await get_redis()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert not hub._hubs


def test_setup_is_a_coroutine_for_those_who_run_it() -> None:
    asyncio.run(setup(config={"CC_REDIS_HOST": "x"}))
    assert backtest_mongo.get_config().CC_REDIS_HOST == "x"

    async def main() -> None:
        await asyncio.create_task(setup(CC_REDIS_HOST="y"))

    asyncio.run(main())
    assert backtest_mongo.get_config().CC_REDIS_HOST == "y"


async def test_nothing_is_left_open_after_close(config: dict[str, Any], unique: str) -> None:
    before = _sockets()
    for _ in range(3):
        async with setup(config):
            await wait_for_init()
            await asyncio.gather(*(SignalAdapter(*CONTEXT, f"{unique}{n}").read_signal_data() for n in range(20)))
            await (await get_redis()).ping()
    # Motor's monitor threads see the end at their next wake-up, which is half a second away.
    async with asyncio.timeout(20):
        while _sockets() > before or len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110  # nothing tells of either
            await asyncio.sleep(0.01)


def _sockets() -> int:
    count = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
        except OSError:
            continue
    return count


async def test_changed_configuration_takes_effect_and_the_old_connections_are_closed(
    config: dict[str, Any], unique: str
) -> None:
    signal = SignalAdapter(*CONTEXT, unique)
    await setup(config)
    await signal.write_signal_data({"n": 1})
    other = config["CC_MONGO_CONNECTION_STRING"].replace(f"/{unique}", f"/{unique}-2")
    await setup({**config, "CC_MONGO_CONNECTION_STRING": other})
    assert hub._hubs == {}
    assert hub._retired == []
    assert await signal.read_signal_data() is None
    backtest_mongo.set_config(config)
    assert await signal.read_signal_data() == {"n": 1}
    assert len(hub._retired) == 1  # nobody has awaited its end yet
    await close()
    assert hub._retired == []
    for name in (unique, f"{unique}-2"):
        await drop_database(name)
    await close()


# Event loops, threads, processes


def test_two_event_loops_one_after_another(config: dict[str, Any], unique: str) -> None:
    async def write() -> None:
        async with setup(config):
            await SignalAdapter(*CONTEXT, unique).write_signal_data({"n": 1})

    async def read() -> Any:
        async with setup(config):
            found = await SignalAdapter(*CONTEXT, unique).read_signal_data()
            await drop_database(unique)
            return found

    asyncio.run(write())
    assert asyncio.run(read()) == {"n": 1}


def test_loop_that_ends_without_close_is_told_and_the_next_one_works(config: dict[str, Any], unique: str) -> None:
    async def forgetful() -> None:
        await setup(config)
        await SignalAdapter(*CONTEXT, unique).write_signal_data({"n": 1})

    async def careful() -> Any:
        async with setup(config):
            found = await SignalAdapter(*CONTEXT, unique).read_signal_data()
            await drop_database(unique)
            return found

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(forgetful())
        assert asyncio.run(careful()) == {"n": 1}
        gc.collect()
    assert "an event loop ended with backtest_mongo's connections open" in {
        str(warning.message).partition(";")[0] for warning in caught if warning.category is ResourceWarning
    }


def test_threads_with_a_loop_each(config: dict[str, Any], unique: str) -> None:
    found: dict[int, Any] = {}
    barrier = threading.Barrier(4)

    def run(number: int) -> None:
        async def main() -> None:
            state = StateAdapter(unique, f"b{number}")
            await state.write_state_data({"n": number}, 1)
            barrier.wait()
            found[number] = await state.read_state_data()
            assert len(hub._hubs) == 4
            barrier.wait()
            await close()

        asyncio.run(main())

    asyncio.run(setup(config))
    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: {"n": number} for number in range(4)}

    async def drop() -> None:
        await drop_database(unique)
        await close()

    asyncio.run(drop())


FORK = """
    import asyncio, os, sys, json
    from backtest_mongo import SignalAdapter, setup, close, get_mongo

    config, unique = json.loads(sys.argv[1]), sys.argv[2]
    signal = SignalAdapter("BTCUSDT", "my_strategy", unique)

    async def child():
        found = await signal.read_signal_data()
        await signal.write_signal_data({"n": 2})
        await close()
        return found

    async def parent():
        await setup(config)
        await signal.write_signal_data({"n": 1})
        pid = os.fork()
        if pid == 0:
            # The parent's loop is not the child's: it runs one of its own.
            asyncio._set_running_loop(None)
            code = 0 if asyncio.run(child()) == {"n": 1} else 3
            os._exit(code)
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            await signal.read_signal_data()
        assert await signal.read_signal_data() == {"n": 2}
        await (await get_mongo()).drop_database(unique)
        await close()

    asyncio.run(parent())
    print("done")
"""


def test_fork_has_connections_of_its_own(config: dict[str, Any], unique: str) -> None:
    # A fork of a process with threads is what is tested: Python 3.12 and later warn of it, and PyMongo's own fork
    # handler drops the parent's sockets in the child without closing them.
    ignored = ("-W", "ignore::DeprecationWarning", "-W", "ignore::ResourceWarning")
    done = subprocess.run(
        [sys.executable, "-W", "error", *ignored, "-c", textwrap.dedent(FORK), json.dumps(config), unique],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
