"""`wait_for_init`: when it returns, what it waits out, and what it reports."""

from __future__ import annotations

import asyncio
from typing import Any

import pymongo
import pytest
import structlog

from backtest_mongo import InitError, SignalAdapter, StateAdapter, close, setup, wait_for_init
from backtest_mongo.connection import hub_registry, readiness
from tests.conftest import Deployment
from tests.support.deadlines import INIT_SECONDS
from tests.support.failing_servers import FailingServer

pytestmark = pytest.mark.either_driver

CONTEXT = ("BTCUSDT", "my_strategy")


async def test_wait_for_init_returns_when_both_servers_answer(deployment: Deployment, unique: str) -> None:
    await wait_for_init()
    await SignalAdapter(*CONTEXT, unique).wait_for_init()


async def test_wait_for_init_of_an_adapter_prepares_its_collection(deployment: Deployment, unique: str) -> None:
    adapter = StateAdapter(unique, "b")
    await adapter.wait_for_init(initial=False)
    assert not hub_registry._hubs
    await adapter.wait_for_init()
    collection = await deployment.collection(StateAdapter.spec)
    assert "signalId_1_bucketName_1" in await collection.index_information()


async def test_wait_for_init_names_the_missing_servers_without_credentials(
    driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "INIT_SECONDS", 0.3)
    monkeypatch.setattr(readiness, "COMMAND_SECONDS", 0.1)  # for a Redis that is not required
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
    assert "; Redis at 127.0.0.1:2 did not answer within 0.3 s: ConnectionError" in text
    hint = "check that it runs, and its address, user and password; wait_for_init can be called again"
    assert caught.value.hint == hint
    assert "s3cr3t" not in text + repr(caught.value)
    await close()


async def test_wait_for_init_names_redis_alone_and_can_be_tried_again(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "INIT_SECONDS", INIT_SECONDS)
    await setup({**config, "CC_REDIS_PORT": 2})
    for _ in range(2):
        with pytest.raises(InitError, match=r"^wait_for_init: Redis at 127.0.0.1:2 did not answer"):
            await wait_for_init()
    monkeypatch.undo()
    await setup(config)
    await wait_for_init()
    await close()


async def test_wait_for_init_waits_for_a_server_that_starts_late(config: dict[str, Any]) -> None:
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


async def test_wait_for_init_waits_for_a_slow_server(on_failing: FailingServer) -> None:
    on_failing.fail("ping", mode={"times": 2}, errorCode=50)  # MaxTimeMSExpired
    await wait_for_init()


async def test_server_that_stays_slow_is_reported_as_such(
    on_failing: FailingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "INIT_SECONDS", 0.5)
    on_failing.fail("ping", errorCode=50)  # MaxTimeMSExpired
    with pytest.raises(InitError, match=r"MongoDB at \S+ did not answer within 0.5 s: (error 50|TimeoutError)"):
        await wait_for_init()


@pytest.mark.parametrize("required", [True, False])
async def test_nothing_is_logged_of_servers_that_answer(config: dict[str, Any], required: bool) -> None:
    await setup({**config, "CC_REDIS_REQUIRED": required})
    with structlog.testing.capture_logs() as lines:
        await wait_for_init()
    assert lines == []
    await close()


async def test_wait_for_init_ends_with_its_caller_s_timeout(on_failing: FailingServer) -> None:
    on_failing.hold("ping", milliseconds=4_000, times=1)
    with pymongo.timeout(0.2), pytest.raises(InitError) as caught:
        await wait_for_init()
    assert "did not answer within" in str(caught.value)
    assert "within 15 s" not in str(caught.value)


async def test_server_that_denies_access_is_reported_at_once(on_failing: FailingServer) -> None:
    on_failing.fail("ping", mode="alwaysOn", errorCode=13)
    with pytest.raises(InitError, match=r"^wait_for_init: MongoDB at \S+ denies access: error 13"):
        await wait_for_init()
    on_failing.end()
    await wait_for_init()


async def test_servers_that_have_answered_are_not_asked_again(on_failing: FailingServer, unique: str) -> None:
    await wait_for_init()
    on_failing.fail("ping", mode="alwaysOn", errorCode=13)
    await StateAdapter(unique, "b").wait_for_init()
    with pytest.raises(InitError):
        await wait_for_init()


async def _free_port() -> int:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


async def test_refusal_is_reported_at_once(config: dict[str, Any]) -> None:
    await setup({**config, "CC_REDIS_USER": "stranger", "CC_REDIS_PASSWORD": "wrong"})
    with pytest.raises(InitError, match=r"Redis at .* denies access: AuthenticationError"):
        await wait_for_init()
    await close()
