"""A Redis Cluster of real nodes: where ids go, slots that move, nodes that die."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError

import backtest_mongo
from backtest_mongo import SLOTS, CandleAdapter, InitError, StateAdapter, get_config, set_config
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.connection.redis_clients import RedisClient, get_all, make_redis_client, set_all
from backtest_mongo.connection.redis_cluster import Cluster
from tests.conftest import Deployment, drop_database
from tests.support import redis_servers, uniform
from tests.support.redis_servers import ClusterServers, eventually

pytestmark = pytest.mark.heavy

PASSWORD = "s3cr3t"


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterServers]:
    with redis_servers.cluster(3, password=PASSWORD) as started:
        yield started


@pytest.fixture
def config(config: dict[str, Any], cluster: ClusterServers) -> dict[str, Any]:
    return {**config, "CC_REDIS_URL": cluster.url, "CC_REDIS_PASSWORD": PASSWORD}


@pytest.fixture
async def client(cluster: ClusterServers) -> AsyncIterator[RedisClient]:
    """A client as the id cache has it: it gives up soon and does not try again."""
    set_config(CC_REDIS_URL=cluster.url, CC_REDIS_PASSWORD=PASSWORD)
    made = make_redis_client(get_config(), socket_timeout=5, socket_connect_timeout=5, retry=Retry(NoBackoff(), 0))
    yield made
    await made.aclose()


def forget_ids() -> None:
    """Make this process ask Redis again."""
    current_hub().id_cache.local._ids.clear()


async def test_ids_of_every_slot_are_found_by_another_process(deployment: Deployment, unique: str) -> None:
    adapters = [uniform.adapter(spec, unique) for spec in SLOTS if spec.shape != "series"]
    keys = {one.spec.name: uniform.entry(one.spec, unique) for one in adapters}
    for adapter in adapters:
        await uniform.write(adapter, uniform.payload(adapter.spec), keys[adapter.spec.name])
    await deployment.forget()
    for adapter in adapters:
        key = keys[adapter.spec.name]
        (row,) = await deployment.rows(adapter.spec, **uniform.natural_key(adapter, key))
        oid, redis_key = str(row["_id"]), uniform.redis_key(adapter, key)

        async def is_found(oid: str = oid, redis_key: str = redis_key) -> bool:
            return await deployment.cached(redis_key) == oid

        await eventually(is_found)
        value = uniform.stored(adapter.spec, uniform.payload(adapter.spec))
        assert await uniform.read(adapter, key) == value


async def test_ids_of_a_thousand_candles_are_split_by_slot(
    deployment: Deployment, cluster: ClusterServers, unique: str
) -> None:
    for node in cluster.nodes:
        node.client().config_resetstat()
    candles = CandleAdapter(unique, "1m", "x")
    assert await candles.write_candles_data(uniform.candles(1_000)) == 1_000
    keys = [candles.spec.redis_key(("x", unique, "1m", index * 60_000)) for index in range(1_000)]
    redis = await backtest_mongo.get_redis()

    async def all_found() -> bool:
        return None not in await get_all(redis, keys)

    await eventually(all_found)
    ids = {str(row["_id"]) for row in await deployment.rows(candles.spec)}
    assert {value.decode() for value in await get_all(redis, keys) if value} == ids
    for node in cluster.nodes:
        stats = node.client().info("commandstats")
        assert stats["cmdstat_set"]["calls"] > 200
        assert "cmdstat_mset" not in stats


async def test_many_keys_are_read_and_written_while_their_slot_moves(
    client: RedisClient, cluster: ClusterServers, unique: str
) -> None:
    assert isinstance(client, Cluster)
    keys = [f"{{{unique}}}:{number}" for number in range(200)]
    slot = client.keyslot(keys[0])
    source = cluster.owner(slot)
    target = (source + 1) % 3
    await set_all(client, {key: key for key in keys[:100]})
    cluster.begin_move(slot, target)
    cluster.move_keys(slot, source, target, 50)

    async def check(present: int) -> None:
        values = await get_all(client, keys)
        assert values == [key.encode() for key in keys[:present]] + [None] * (200 - present)
        turns = asyncio.Semaphore(32)

        async def one(key: str) -> bytes | None:
            async with turns:
                return (await get_all(client, [key]))[0]

        assert await asyncio.gather(*map(one, keys)) == values

    await check(100)
    await set_all(client, {key: key for key in keys})
    await check(200)
    cluster.end_move(slot, source, target)
    await check(200)
    await set_all(client, {key: f"{key}!" for key in keys})
    assert await get_all(client, keys) == [f"{key}!".encode() for key in keys]
    assert cluster.nodes[target].client().get(keys[0]) == f"{keys[0]}!".encode()


async def test_slot_moves_to_a_node_that_had_none(client: RedisClient, unique: str) -> None:
    assert isinstance(client, Cluster)
    keys = [f"{{{unique}}}:{number}" for number in range(20)]
    slot = client.keyslot(keys[0])
    with redis_servers.cluster(2) as servers:
        set_config(CC_REDIS_URL=servers.url, CC_REDIS_PASSWORD="")
        own = make_redis_client(get_config(), socket_timeout=5, retry=Retry(NoBackoff(), 0))
        try:
            await set_all(own, {key: key for key in keys[:10]})
            source = servers.owner(slot)
            with servers.joined() as target:
                await asyncio.to_thread(servers.begin_move, slot, target)
                await set_all(own, {key: key for key in keys})
                assert await get_all(own, keys) == [key.encode() for key in keys]
                await asyncio.to_thread(servers.end_move, slot, source, target)
                assert await get_all(own, keys) == [key.encode() for key in keys]
        finally:
            await own.aclose()


async def test_nothing_to_read_and_nothing_to_set(client: RedisClient) -> None:
    assert await get_all(client, []) == []
    await set_all(client, {})


async def test_reads_and_writes_go_on_while_a_slot_moves(
    deployment: Deployment, cluster: ClusterServers, unique: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # One hash tag for all: their Redis keys share one slot.
    states = [StateAdapter(f"{{{unique}}}-{number}", "b") for number in range(16)]
    keys = [uniform.redis_key(state) for state in states]
    redis = await backtest_mongo.get_redis()
    assert isinstance(redis, Cluster)
    slot = redis.keyslot(keys[0])
    stop = False
    operations = 0

    async def use(state: StateAdapter) -> None:
        nonlocal operations
        number = 0
        while not stop:
            number += 1
            await state.write_state_data({"n": number}, uniform.WHEN)
            forget_ids()
            assert await state.read_state_data() == {"n": number}
            operations += 2
        await state.write_state_data({"n": "last"}, uniform.WHEN)

    async with asyncio.TaskGroup() as group:
        for state in states:
            group.create_task(use(state))
        try:
            for _ in range(6):
                target = (cluster.owner(slot) + 1) % 3
                await asyncio.to_thread(cluster.move, slot, target)
                enough = operations + 100

                async def has_been_used(enough: int = enough) -> bool:
                    return operations > enough

                await eventually(has_been_used)
        finally:
            stop = True
    ids = {row["signalId"]: str(row["_id"]) for row in await deployment.rows(StateAdapter.spec)}
    expected = [ids[f"{{{unique}}}-{number}"].encode() for number in range(16)]

    async def all_found() -> bool:
        forget_ids()
        assert await StateAdapter.read_many([(f"{{{unique}}}-{n}", "b") for n in range(16)]) == [{"n": "last"}] * 16
        return await get_all(redis, keys) == expected

    await eventually(all_found)
    owner = cluster.nodes[cluster.owner(slot)].client()
    assert [owner.get(key) for key in keys] == expected
    assert "circuit breaker open" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("driver", ["pymongo"])
async def test_node_that_dies_costs_no_answer_and_its_ids_come_back_with_it(
    deployment: Deployment, cluster: ClusterServers, unique: str
) -> None:
    states = [StateAdapter(f"{unique}-{number}", "b") for number in range(12)]
    redis = await backtest_mongo.get_redis()
    assert isinstance(redis, Cluster)
    victim = cluster.nodes[cluster.owner(redis.keyslot(uniform.redis_key(states[0])))]
    number = 0

    async def use_all() -> None:
        nonlocal number
        number += 1
        for state in states:
            await state.write_state_data({"n": number}, uniform.WHEN)
        forget_ids()
        for state in states:
            assert await state.read_state_data() == {"n": number}
        assert await StateAdapter.read_many([(f"{unique}-{n}", "b") for n in range(12)]) == [{"n": number}] * 12

    await use_all()
    victim.stop(kill=True)
    try:
        for _ in range(5):
            await use_all()
    finally:
        await asyncio.to_thread(victim.start)
    await asyncio.to_thread(redis_servers.until, cluster.agree)

    async def all_found() -> bool:
        await use_all()
        with contextlib.suppress(RedisError, RedisClusterException):
            return None not in await get_all(redis, [uniform.redis_key(state) for state in states])
        return False

    await eventually(all_found)


@pytest.mark.parametrize("driver", ["motor"])
async def test_replica_that_takes_over_gets_the_ids(config: dict[str, Any], unique: str) -> None:
    with redis_servers.cluster(3, replicas=1) as servers:
        async with backtest_mongo.setup({**config, "CC_REDIS_URL": servers.url, "CC_REDIS_PASSWORD": ""}):
            redis = await backtest_mongo.get_redis()
            assert isinstance(redis, Cluster)
            # Of the first node, which is the one with a replica.
            names = [name for n in range(100) if redis.keyslot(f"state_cache:{(name := f'{unique}-{n}')}:b") < 5_000]
            states = [StateAdapter(name, "b") for name in names]
            keys = [uniform.redis_key(state) for state in states]
            for state in states:
                await state.write_state_data({"n": 0}, uniform.WHEN)
            servers.nodes[0].stop(kill=True)
            number = 0

            async def all_found() -> bool:
                nonlocal number
                number += 1
                forget_ids()
                for state in states:
                    await state.write_state_data({"n": number}, uniform.WHEN)
                    assert await state.read_state_data() == {"n": number}
                return servers.replicas[0].client().dbsize() >= len(keys) and servers.has_promoted()

            await eventually(all_found)
            ids = {str(row["_id"]) for row in await Deployment(config, unique).rows(StateAdapter.spec)}

            async def all_readable() -> bool:
                # The other nodes hear of it a little later.
                with contextlib.suppress(RedisError, RedisClusterException):
                    return {value.decode() for value in await get_all(redis, keys) if value} == ids
                return False

            await eventually(all_readable)
            await drop_database(unique)


async def test_wrong_password_is_an_init_error_at_once(config: dict[str, Any], cluster: ClusterServers) -> None:
    async with backtest_mongo.setup({**config, "CC_REDIS_PASSWORD": "not-it"}):
        with pytest.raises(InitError, match=r"Redis at 127\.0\.0\.1:\d+,.* denies access: AuthenticationError"):
            await backtest_mongo.wait_for_init()


async def test_user_with_four_commands_on_the_caches_keys_is_enough(
    config: dict[str, Any], cluster: ClusterServers, unique: str
) -> None:
    rights = ("~*_cache:*", "+get", "+set", "+asking", "+cluster|slots")
    for node in cluster.nodes:
        node.client().execute_command("ACL", "SETUSER", "ids", "on", f">{PASSWORD}", *rights)
    async with backtest_mongo.setup({**config, "CC_REDIS_USER": "ids"}):
        await backtest_mongo.wait_for_init()
        states = [StateAdapter(f"{unique}-{number}", "b") for number in range(20)]
        for number, state in enumerate(states):
            await state.write_state_data({"n": number}, uniform.WHEN)
        await backtest_mongo.close()
        assert [await state.read_state_data() for state in states] == [{"n": number} for number in range(20)]
        # Not all of them: the first command has to find the cluster, and no read waits long for that.
        assert uniform.hits(StateAdapter.spec)[0] >= 10
        await drop_database(unique)
