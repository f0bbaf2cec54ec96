"""A master, its replica and three Sentinels, as real processes: who gets the ids, and after a failover."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from os import kill
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import InitError, StateAdapter
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.embedded.server_process import HOST
from tests.conftest import Deployment, drop_database
from tests.support import redis_servers, uniform
from tests.support.deadlines import INIT_SECONDS, SECONDS
from tests.support.redis_servers import SentinelServers, eventually

pytestmark = pytest.mark.heavy

PASSWORD = "s3cr3t-of-the-nodes"
SENTINEL_PASSWORD = "s3cr3t-of-the-sentinels"


def url(servers: SentinelServers, options: str = f"sentinel_password={SENTINEL_PASSWORD}") -> str:
    return f"redis+sentinel://:{PASSWORD}@{servers.places}/{servers.service}?{options}"


@pytest.fixture(scope="module")
def sentinels() -> Iterator[SentinelServers]:
    with redis_servers.sentinels(PASSWORD, SENTINEL_PASSWORD) as started:
        yield started


@pytest.fixture
def config(config: dict[str, Any], sentinels: SentinelServers) -> dict[str, Any]:
    return {**config, "CC_REDIS_URL": url(sentinels)}


async def test_ids_go_to_the_master(deployment: Deployment, sentinels: SentinelServers, unique: str) -> None:
    await backtest_mongo.wait_for_init()
    state = StateAdapter(unique, "b")
    await state.write_state_data({"n": 1}, uniform.WHEN)
    (row,) = await deployment.rows(StateAdapter.spec)

    async def is_found() -> bool:
        return await deployment.cached(uniform.redis_key(state)) == str(row["_id"])

    await eventually(is_found)
    assert sentinels.master().client().get(uniform.redis_key(state)) == str(row["_id"]).encode()

    async def is_used() -> bool:
        await deployment.forget()
        assert await state.read_state_data() == {"n": 1}
        return uniform.hits(StateAdapter.spec) == (1, 0)

    await eventually(is_used)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"options": "sentinel_password=wrong"}, "denies access: AuthenticationError"),
        ({"options": ""}, "denies access: AuthenticationError"),
        ({"service": "other"}, "no Sentinel that answers knows a master of 'other'"),
    ],
)
async def test_sentinels_that_refuse_or_do_not_know_the_service_are_an_init_error(
    changed: dict[str, str],
    reason: str,
    config: dict[str, Any],
    sentinels: SentinelServers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("backtest_mongo.connection.readiness.INIT_SECONDS", INIT_SECONDS)
    options = changed.get("options", f"sentinel_password={SENTINEL_PASSWORD}")
    wrong = url(sentinels, options).replace(f"/{sentinels.service}", f"/{changed.get('service', sentinels.service)}")
    async with backtest_mongo.setup({**config, "CC_REDIS_URL": wrong}):
        with pytest.raises(InitError, match=f"Redis at .*{reason}") as caught:
            await backtest_mongo.wait_for_init()
    assert PASSWORD not in str(caught.value)


async def test_two_sentinels_of_three_may_be_missing(
    config: dict[str, Any], sentinels: SentinelServers, unique: str
) -> None:
    ports = [str(redis_servers.free_port()), str(redis_servers.free_port()), str(sentinels.sentinels[0].port)]
    places = ",".join(f"{HOST}:{port}" for port in ports)
    alone = f"redis+sentinel://:{PASSWORD}@{places}/{sentinels.service}/1?sentinel_password={SENTINEL_PASSWORD}"
    async with backtest_mongo.setup({**config, "CC_REDIS_URL": alone}):
        await backtest_mongo.wait_for_init()
        state = StateAdapter(unique, "b")
        await state.write_state_data({"n": 1}, uniform.WHEN)
        client = sentinels.master().client(db=1)
        await eventually(lambda: asyncio.to_thread(client.exists, uniform.redis_key(state)))
        await drop_database(unique)


@pytest.mark.wait_budget
@pytest.mark.parametrize("fault", ["killed", "frozen"])
@pytest.mark.parametrize("driver", ["motor"])
async def test_failover_costs_no_answer_and_the_ids_go_to_the_new_master(
    fault: str, config: dict[str, Any], unique: str
) -> None:
    states = [StateAdapter(f"{unique}-{number}", "b") for number in range(8)]
    keys = [uniform.redis_key(state) for state in states]
    number = 0

    async def use_all() -> None:
        nonlocal number
        number += 1
        for state in states:
            await state.write_state_data({"n": number}, uniform.WHEN)
        current_hub().id_cache.local._ids.clear()
        for state in states:
            assert await state.read_state_data() == {"n": number}
        current_hub().id_cache.local._ids.clear()
        assert await StateAdapter.read_many([(f"{unique}-{n}", "b") for n in range(8)]) == [{"n": number}] * 8

    with redis_servers.sentinels(PASSWORD, SENTINEL_PASSWORD) as servers:
        async with backtest_mongo.setup({**config, "CC_REDIS_URL": url(servers)}):
            await use_all()
            old = servers.master()
            new = next(node for node in servers.nodes if node is not old)
            if fault == "killed":
                old.stop(kill=True)
            else:
                kill(old.pid, signal.SIGSTOP)
            ids = {row["signalId"]: str(row["_id"]) for row in await Deployment(config, unique).rows(StateAdapter.spec)}
            async with asyncio.timeout(SECONDS):
                while (await asyncio.to_thread(servers.master)) is not new:
                    await use_all()
                # Those that it had as the replica are not what is looked for.
                await asyncio.to_thread(new.client().delete, *keys)
                while await asyncio.to_thread(new.client().exists, *keys) < len(keys):
                    await use_all()
            assert new.client().mget(keys) == [ids[f"{unique}-{n}"].encode() for n in range(8)]
            await drop_database(unique)
