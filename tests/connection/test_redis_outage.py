"""Redis is only a cache of ids: lost, wiped, stale, poisoned or unreachable, it never changes what a read returns."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog
from bson import ObjectId

import backtest_mongo
from backtest_mongo import InitError, SlotSpec, StateAdapter
from backtest_mongo.connection import id_cache as cache
from backtest_mongo.connection.hub_registry import current_hub
from faults.proxy import Proxy
from tests.conftest import Deployment
from tests.support import uniform
from tests.support.deadlines import SECONDS
from tests.support.uniform import WHEN, candles, entry, payload, read, write

pytestmark = pytest.mark.either_driver

POINTS = ("document", "entry", "bucket")


@pytest.fixture
async def without_redis(deployment: Deployment) -> Deployment:
    await backtest_mongo.setup({**deployment.config, "CC_REDIS_PORT": 1})
    return deployment


@pytest.fixture
async def hanging_redis(deployment: Deployment) -> AsyncIterator[Deployment]:
    """A Redis that takes connections and never answers."""

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while await reader.read(4096):
                continue
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    await backtest_mongo.setup({**deployment.config, "CC_REDIS_HOST": "127.0.0.1", "CC_REDIS_PORT": port})
    yield deployment
    await backtest_mongo.setup(deployment.config)
    server.close()


@pytest.mark.shapes("document", "entry", "collection", "bucket")
async def test_every_slot_works_without_redis(without_redis: Deployment, unique: str, spec: SlotSpec) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    assert await read(adapter, key) == uniform.nothing(spec)
    await write(adapter, payload(spec), key)
    assert await read(adapter, key) == uniform.stored(spec, payload(spec))
    if spec.shape == "bucket":
        await getattr(adapter, f"remove_{spec.noun}_data")(key)
        assert await read(adapter, key) is None


async def test_candles_work_without_redis(without_redis: Deployment, unique: str) -> None:
    series = backtest_mongo.CandleAdapter("BTCUSDT", "1m", unique)
    assert await series.write_candles_data(candles(1_000)) == 1_000
    assert await series.read_candles_data(1_000, 0) == candles(1_000)


@pytest.mark.wait_budget
async def test_frozen_redis_counts_as_dead(hanging_redis: Deployment, unique: str) -> None:
    state = StateAdapter(unique, "counter")
    async with asyncio.timeout(SECONDS):
        for number in range(20):
            await state.write_state_data({"n": number}, WHEN)
            assert await state.read_state_data() == {"n": number}


async def test_breaker_opens_with_one_warning_and_closes_with_one_line(
    deployment: Deployment, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr("backtest_mongo.connection.breaker.monotonic", lambda: clock[0])
    state = StateAdapter(unique, "counter")
    await state.write_state_data({"n": 0}, WHEN)
    hub = current_hub()
    good = hub.id_cache._redis
    tried: list[int] = []

    class Dead:
        async def get(self, key: str) -> None:
            tried.append(1)
            raise ConnectionError("down")

        set = get

    with structlog.testing.capture_logs() as lines:
        hub.id_cache._redis = Dead()  # type: ignore[assignment]  # stands for a server that is gone
        for _ in range(50):
            assert await StateAdapter(unique, "absent").read_state_data() is None
        assert len(tried) == 5
        clock[0] += 5
        for _ in range(50):
            await StateAdapter(unique, "absent").read_state_data()
        assert len(tried) == 6
        hub.id_cache._redis = good
        clock[0] += 5
        for _ in range(3):
            await StateAdapter(unique, "absent").read_state_data()
    assert [line["log_level"] for line in lines] == ["warning", "info"]
    assert lines[0]["error"] == "ConnectionError"
    assert "Redis answers again: circuit breaker closed" in lines[1]["event"]


@pytest.mark.shapes(*POINTS)
async def test_flushed_redis_changes_no_result_and_is_filled_again(
    deployment: Deployment, unique: str, spec: SlotSpec
) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    await write(adapter, payload(spec), key)
    redis_key = uniform.redis_key(adapter, key)
    await deployment.forget()
    await (await backtest_mongo.get_redis()).delete(redis_key)
    assert await read(adapter, key) == payload(spec)
    (row,) = await deployment.rows(spec)
    assert await deployment.cached(redis_key) == str(row["_id"])


RUBBISH: list[Any] = [
    b"",
    b"\xff\xfe\x00",
    b"not an id",
    b"zzzzzzzzzzzzzzzzzzzzzzzz",
    b"\xff" * 24,
    b"0" * 24,
    b"x" * 100_000,
    b"ABCDEFABCDEFABCDEFABCDEF",
]


@pytest.mark.shapes(*POINTS)
async def test_garbage_in_redis_changes_no_result_and_is_replaced(
    deployment: Deployment, unique: str, spec: SlotSpec
) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    redis_key = uniform.redis_key(adapter, key)
    raw = await backtest_mongo.get_redis()
    for value in RUBBISH:
        await raw.set(redis_key, value)
        assert await read(adapter, key) == uniform.nothing(spec)
    await write(adapter, payload(spec), key)
    (row,) = await deployment.rows(spec)
    for value in RUBBISH:
        await deployment.forget()
        raw = await backtest_mongo.get_redis()
        await raw.set(redis_key, value)
        assert await read(adapter, key) == payload(spec)
        assert await deployment.cached(redis_key) == str(row["_id"])
    await deployment.forget()
    raw = await backtest_mongo.get_redis()
    await raw.delete(redis_key)
    await raw.lpush(redis_key, "a list where text is expected")
    assert await read(adapter, key) == payload(spec)


@pytest.mark.shapes(*POINTS)
async def test_id_of_another_row_never_returns_that_row(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    one, other = uniform.adapter(spec, unique), uniform.adapter(spec, f"{unique}-2")
    await write(one, payload(spec, 1), "one")
    await write(other, payload(spec, 2), "other")
    stranger = await deployment.cached(uniform.redis_key(other, "other"))
    assert stranger is not None
    await deployment.forget()
    await (await backtest_mongo.get_redis()).set(uniform.redis_key(one, "one"), stranger)
    assert await read(one, "one") == payload(spec, 1)


async def test_concurrent_calls_do_not_open_the_breaker_of_a_healthy_redis(deployment: Deployment, unique: str) -> None:
    with structlog.testing.capture_logs() as lines:
        await asyncio.gather(*(StateAdapter(unique, f"b{number}").read_state_data() for number in range(400)))
    assert lines == []


async def test_row_that_was_deleted_and_recreated_is_found(deployment: Deployment, unique: str) -> None:
    state = StateAdapter(unique, "counter")
    await state.write_state_data({"n": 1}, WHEN)
    collection = await deployment.collection(StateAdapter.spec)
    await collection.delete_many({})
    assert await state.read_state_data() is None
    fresh = {"_id": ObjectId(), "signalId": unique, "bucketName": "counter", "payload": {"n": 2}, "when": WHEN}
    await collection.insert_one(fresh)
    assert await state.read_state_data() == {"n": 2}
    assert await deployment.cached(f"state_cache:{unique}:counter") == str(fresh["_id"])


async def test_entry_is_not_sent_again_when_redis_is_known_to_have_it(deployment: Deployment, unique: str) -> None:
    state = StateAdapter(unique, "counter")
    await state.write_state_data({"n": 1}, WHEN)
    raw = await backtest_mongo.get_redis()
    before = (await raw.info("commandstats")).get("cmdstat_set", {}).get("calls", 0)
    for number in range(10):
        await state.write_state_data({"n": number}, WHEN)
        await state.read_state_data()
    assert (await raw.info("commandstats"))["cmdstat_set"]["calls"] == before


async def test_entry_that_redis_missed_is_sent_with_the_next_write(deployment: Deployment, unique: str) -> None:
    state = StateAdapter(unique, "counter")
    hub = current_hub()
    good = hub.id_cache._redis

    class Dead:
        async def set(self, *_: Any) -> None:
            raise TimeoutError

    hub.id_cache._redis = Dead()  # type: ignore[assignment]  # stands for a server that is gone
    await state.write_state_data({"n": 1}, WHEN)
    hub.id_cache._redis = good
    assert await deployment.cached(f"state_cache:{unique}:counter") is None
    await state.write_state_data({"n": 2}, WHEN)
    assert await deployment.cached(f"state_cache:{unique}:counter") is not None


def test_local_ids_are_bounded_and_the_least_recently_used_goes_first() -> None:
    ids = cache.LocalIds(entries=3)
    oids = [ObjectId() for _ in range(4)]
    for number in range(3):
        ids.put("state", (number,), oids[number], published=True)
    assert ids.get("state", (0,)) == oids[0]
    ids.put("state", (3,), oids[3], published=True)
    assert len(ids) == 3
    assert ids.get("state", (1,)) is None
    assert ids.get("state", (0,)) == oids[0]
    assert ids.get("signal", (0,)) is None


async def test_init_without_redis_fails_where_it_is_required(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backtest_mongo.connection.readiness.INIT_SECONDS", 0.5)
    await backtest_mongo.setup({**deployment.config, "CC_REDIS_PORT": 1})
    with pytest.raises(InitError, match=r"Redis at 127\.0\.0\.1:1 did not answer"):
        await backtest_mongo.wait_for_init()


async def test_init_without_redis_warns_where_it_is_not_required(deployment: Deployment, unique: str) -> None:
    await backtest_mongo.setup({**deployment.config, "CC_REDIS_PORT": 1, "CC_REDIS_REQUIRED": False})
    with structlog.testing.capture_logs() as lines:
        await backtest_mongo.wait_for_init()
        await StateAdapter(unique, "counter").wait_for_init()
    assert [line["log_level"] for line in lines] == ["warning"]
    assert lines[0]["event"].startswith("Redis at 127.0.0.1:1 did not answer within 1 s: ConnectionError")
    assert lines[0]["event"].endswith("; reads and writes go on without it")


async def test_init_says_that_mongo_is_missing_though_redis_is_not_required(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backtest_mongo.connection.readiness.INIT_SECONDS", 0.5)
    nobody = {"CC_MONGO_CONNECTION_STRING": "mongodb://127.0.0.1:1/x", "CC_REDIS_PORT": 1, "CC_REDIS_REQUIRED": False}
    await backtest_mongo.setup({**deployment.config, **nobody})
    with pytest.raises(InitError, match=r"^wait_for_init: MongoDB at 127\.0\.0\.1:1 did not answer(?!.*Redis)"):
        await backtest_mongo.wait_for_init()


@pytest.fixture
async def distant_redis(deployment: Deployment) -> AsyncIterator[tuple[Deployment, Proxy]]:
    """A Redis behind a proxy that can hold its answers back."""
    with Proxy(deployment.config["CC_REDIS_PORT"]) as proxy:
        await backtest_mongo.setup({**deployment.config, "CC_REDIS_PORT": proxy.port})
        yield deployment, proxy
        proxy.pass_on()
        await backtest_mongo.close()


@pytest.mark.wait_budget
async def test_handshake_that_takes_longer_than_a_command_may_still_succeeds(
    distant_redis: tuple[Deployment, Proxy], unique: str
) -> None:
    _, proxy = distant_redis
    state = StateAdapter(unique, "counter")
    await state.write_state_data({"n": 1}, WHEN)
    proxy.delay(0.015)  # 30 ms for a command, and three times that for the first one of a connection
    async with asyncio.timeout(SECONDS):
        while True:
            current_hub().id_cache.local.drop(state.spec.name, (unique, "counter"))
            assert await state.read_state_data() == {"n": 1}
            if uniform.hits(state.spec)[0]:
                break


@pytest.mark.wait_budget
async def test_redis_that_is_always_too_late_opens_the_breaker_with_one_warning(
    distant_redis: tuple[Deployment, Proxy], unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, proxy = distant_redis
    clock = [1000.0]
    monkeypatch.setattr("backtest_mongo.connection.breaker.monotonic", lambda: clock[0])
    await StateAdapter(unique, "counter").write_state_data({"n": 1}, WHEN)
    proxy.delay(0.2)
    with structlog.testing.capture_logs() as lines:
        for _ in range(4):  # the pause is over each time, and the one that tries is too late again
            for _ in range(10):
                assert await StateAdapter(unique, "absent").read_state_data() is None
            clock[0] += 5
            await asyncio.sleep(0.5)  # by now its answer has come, without anybody who waits for it
    assert [line["log_level"] for line in lines] == ["warning"]
