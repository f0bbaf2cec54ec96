"""Connections: lazy, one set per event loop, thread and process."""

from __future__ import annotations

import asyncio
import gc
import json
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
import structlog

import backtest_mongo
from backtest_mongo import (
    ConfigError,
    SignalAdapter,
    StateAdapter,
    StoreUnavailableError,
    close,
    get_mongo,
    get_redis,
    setup,
)
from backtest_mongo.connection import hub_registry
from backtest_mongo.connection.hub import Hub
from backtest_mongo.core.config import Config, MongoURI
from tests.conftest import Deployment, drop_database, on_database
from tests.support.deadlines import PROCESS_SECONDS

pytestmark = pytest.mark.either_driver


CONTEXT = ("BTCUSDT", "my_strategy")
NOBODY = "mongodb://127.0.0.1:1/nothing"


async def test_setup_and_adapters_open_no_connection() -> None:
    await setup(CC_MONGO_CONNECTION_STRING=NOBODY, CC_REDIS_PORT=1)
    SignalAdapter(*CONTEXT, "binance")
    backtest_mongo.persist.signal(*CONTEXT, "binance")
    assert not hub_registry._hubs


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
    assert len(hub_registry._hubs) == 1
    assert hub_registry.current_hub() is hub_registry.current_hub()


async def test_uri_without_a_database_uses_the_default_name(servers: dict[str, Any], driver: str) -> None:
    uri = on_database(servers["CC_MONGO_CONNECTION_STRING"], "")
    await setup({**servers, "CC_MONGO_CONNECTION_STRING": uri, "CC_MONGO_DRIVER": driver})
    assert hub_registry.current_hub().database.name == "backtest-kit"
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
    assert hub_registry.current_hub().database.write_concern.document == concern
    await close()


async def test_unacknowledged_writes_are_refused(driver: str) -> None:
    await setup(CC_MONGO_CONNECTION_STRING="mongodb://127.0.0.1:1/x?w=0", CC_MONGO_DRIVER=driver)
    with pytest.raises(ConfigError, match="w=0 asks MongoDB to acknowledge no write"):
        await get_mongo()


@pytest.mark.parametrize(
    ("uri", "seconds"),
    [
        (None, 0.3),  # the default, which has a wtimeoutMS
        ("mongodb://127.0.0.1:1/x?connectTimeoutMS=2000&socketTimeoutMS=2000", 0.3),
        ("mongodb://127.0.0.1:1/x?timeoutMS=700", 0.7),
    ],
)
async def test_server_selection_has_a_deadline_unless_the_uri_sets_one(
    driver: str, uri: str | None, seconds: float
) -> None:
    await setup(CC_MONGO_CONNECTION_STRING=uri, CC_MONGO_TIMEOUT_MS=300, CC_MONGO_DRIVER=driver)
    assert hub_registry.current_hub().mongo.options.timeout == seconds
    await close()


async def test_reads_go_to_the_primary_whatever_the_uri_says(driver: str) -> None:
    uri = "mongodb://127.0.0.1:1/x?readPreference=secondary"
    await setup(CC_MONGO_CONNECTION_STRING=uri, CC_MONGO_DRIVER=driver)
    assert hub_registry.current_hub().database.read_preference == pymongo.ReadPreference.PRIMARY
    await close()


@pytest.mark.parametrize("call", ["read", "write"])
async def test_operation_on_a_missing_mongodb_fails_within_its_deadline(driver: str, call: str) -> None:
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


def test_setup_is_a_coroutine_for_those_who_run_it() -> None:
    asyncio.run(setup(config={"CC_REDIS_HOST": "x"}))
    assert backtest_mongo.get_config().CC_REDIS_HOST == "x"

    async def main() -> None:
        await asyncio.create_task(setup(CC_REDIS_HOST="y"))

    asyncio.run(main())
    assert backtest_mongo.get_config().CC_REDIS_HOST == "y"


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


def test_loop_that_ends_without_close_is_reported_and_the_next_one_works(config: dict[str, Any], unique: str) -> None:
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
            assert len(hub_registry._hubs) == 4
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


def test_fork_opens_its_own_connections(config: dict[str, Any], unique: str) -> None:
    # A fork of a process with threads is what is tested: Python 3.12 and later warn of it, and PyMongo's own fork
    # handler drops the parent's sockets in the child without closing them.
    ignored = ("-W", "ignore::DeprecationWarning", "-W", "ignore::ResourceWarning")
    done = subprocess.run(
        [sys.executable, "-W", "error", *ignored, "-c", textwrap.dedent(FORK), json.dumps(config), unique],
        capture_output=True,
        text=True,
        timeout=PROCESS_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


# What a hub says of its connections, and how it closes them


def make_hub(options: str = "", before: tuple[Hub, ...] = ()) -> Hub:
    """Make a hub of the running loop, on servers that nobody needs."""
    config = Config.model_validate({"CC_MONGO_CONNECTION_STRING": f"{NOBODY}{options}", "CC_REDIS_PORT": 1})
    return Hub(config, asyncio.get_running_loop(), before)


@pytest.mark.parametrize(
    ("options", "is_direct"), [("?directConnection=true", True), ("", False), ("?replicaSet=r", False)]
)
async def test_direct_connection_is_one_that_the_uri_asks_for(options: str, is_direct: bool) -> None:
    hub = make_hub(options)
    assert (hub.is_direct, hub.is_sharded, hub.is_secondary, hub.is_initialized) == (is_direct, False, False, False)
    await hub.close()


async def test_role_of_a_direct_server_is_known_once_it_was_asked_for(config: dict[str, Any]) -> None:
    uri = MongoURI(config["CC_MONGO_CONNECTION_STRING"]).get_secret_value()
    direct = uri if "directConnection=true" in uri else f"{uri}{'&' if '?' in uri else '?'}directConnection=true"
    await setup({**config, "CC_MONGO_CONNECTION_STRING": direct})
    hub = hub_registry.current_hub()
    await hub.discover_role()
    (server,) = hub.mongo.topology_description.server_descriptions().values()
    assert server.server_type_name == "RSPrimary"
    assert not hub.is_secondary
    await close()


async def test_commands_to_the_id_cache_are_timed_by_the_guard_alone_and_sent_once() -> None:
    hub = make_hub()
    options = hub._cache_client.connection_pool.connection_kwargs  # type: ignore[union-attr]  # of one node
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (None, None)
    assert options["retry"].get_retries() == 0
    assert hub.redis is hub.redis
    assert hub.redis is not hub._cache_client
    await hub.close()


async def test_writes_wait_for_those_of_the_hubs_before() -> None:
    before = make_hub()
    with before.writes.hold(), before.reads.hold():
        before.writes.answers = before.reads.answers = 3
        hub = make_hub("", (before,))
        assert (hub.writes.total_answers, hub.reads.total_answers) == (3, 0)
    await before.close()
    await hub.close()


@pytest.mark.parametrize(("options", "seconds"), [("?timeoutMS=0", float("inf")), ("?timeoutMS=100", 0.1), ("", 15.0)])
async def test_deadline_of_operations_is_that_of_the_uri_or_of_the_configuration(options: str, seconds: float) -> None:
    hub = make_hub(options)
    assert hub.operation_seconds == seconds
    await hub.close()


@pytest.mark.parametrize("options", ["?timeoutMS=0", "?timeoutMS=100"])
async def test_close_gives_up_on_writes_without_an_answer_and_says_so(
    monkeypatch: pytest.MonkeyPatch, options: str
) -> None:
    monkeypatch.setattr("backtest_mongo.connection.hub._DRAIN_SECONDS", 0.1)
    monkeypatch.setattr("backtest_mongo.connection.hub._GRACE_SECONDS", 0.1)
    hub = make_hub(options)
    hub.writes.unknown += 5  # before it was closed, and reported to their callers
    with structlog.testing.capture_logs() as lines, hub.writes.hold(), hub.writes.hold():
        await hub.close()
    assert lines == [
        {
            "event": "connections were closed with the outcome of writes unknown: they may have been applied",
            "log_level": "warning",
            "writes": 2,
        }
    ]


async def test_connection_that_can_t_be_closed_is_logged_and_the_others_are_closed() -> None:
    class Stream:
        async def close(self) -> None:
            raise OSError("no matter")

    hub = make_hub()
    hub.streams.add(Stream())
    with structlog.testing.capture_logs() as lines:
        await hub.close()
        await hub.close()
    assert lines == [{"event": "closing a connection failed", "error": "OSError", "log_level": "warning"}]
    assert await hub.id_cache.get(StateAdapter.spec, ("a", "b")) is None
    assert not hub.is_breaker_open
