"""Commands on many keys, and what is known of a client's connections."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis import exceptions
from redis.asyncio import SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError

from backtest_mongo.connection.redis_clients import (
    count_redis_connections,
    delete_all,
    get_all,
    make_redis_client,
    ping_redis,
    set_all,
)
from backtest_mongo.connection.redis_cluster import Cluster
from backtest_mongo.core.config import Config, RedisURL
from backtest_mongo.embedded.server_process import HOST
from tests.support import redis_servers
from tests.support.secrets import SECRET

pytestmark = pytest.mark.one_python


@pytest.fixture
async def client(servers: dict[str, Any]) -> AsyncIterator[Any]:
    client = make_redis_client(Config(**servers))
    yield client
    await client.aclose()


@pytest.mark.parametrize("count", [0, 1, 2, 50])
async def test_values_of_many_keys_are_set_found_and_deleted(client: Any, unique: str, count: int) -> None:
    keys = [f"{unique}:{number}" for number in range(count)]
    await set_all(client, {key: f"v{number}" for number, key in enumerate(keys)})
    values = [f"v{number}".encode() for number in range(count)]
    assert await get_all(client, keys) == values
    assert await get_all(client, [*keys, f"{unique}:absent"]) == [*values, None]
    await delete_all(client, [*keys[:2], f"{unique}:absent"])
    assert await get_all(client, keys) == [None] * min(count, 2) + values[2:]


async def test_nothing_is_sent_for_no_keys() -> None:
    nobody = make_redis_client(Config(CC_REDIS_HOST="127.0.0.1", CC_REDIS_PORT=1))
    assert await get_all(nobody, []) == []
    await set_all(nobody, {})
    await delete_all(nobody, [])
    with pytest.raises(exceptions.ConnectionError):
        await get_all(nobody, ["a"])
    await nobody.aclose()


async def test_open_connections_are_counted(client: Any, servers: dict[str, Any]) -> None:
    other: Any = make_redis_client(Config(**servers))
    assert count_redis_connections([client, other]) == 0
    await ping_redis(client)
    assert count_redis_connections([client, other]) == 1
    await ping_redis(other)
    assert count_redis_connections([client, other]) == 2
    await other.aclose()
    assert count_redis_connections([client, other]) == 1
    elsewhere: Any = object()
    assert count_redis_connections([client, elsewhere]) is None


async def test_ping_that_is_refused_says_why_and_names_no_user() -> None:
    with redis_servers.node(password=SECRET) as node:
        observer = node.client()
        observer.execute_command("ACL", "SETUSER", "trader-7", "on", f">{SECRET}", "~*", "+get")
        login = {"CC_REDIS_HOST": HOST, "CC_REDIS_PORT": node.port, "CC_REDIS_PASSWORD": SECRET}

        def make(user: str) -> Any:
            return make_redis_client(Config.model_validate({**login, "CC_REDIS_USER": user}))

        allowed, denied, stranger = make(""), make("trader-7"), make("nobody")
        await ping_redis(allowed)
        with pytest.raises(NoPermissionError, match=r"^th(e|is) user has no permissions to run the 'ping'") as caught:
            await ping_redis(denied)
        assert "trader-7" not in str(caught.value)
        with pytest.raises(AuthenticationError):
            await ping_redis(stranger)
        for client in (allowed, denied, stranger):
            await client.aclose()


@pytest.mark.parametrize(("scheme", "is_tls"), [("redis+sentinel", False), ("rediss+sentinel", True)])
async def test_sentinels_are_dialled_with_what_concerns_the_connection_alone(scheme: str, is_tls: bool) -> None:
    url = f"{scheme}://u:{SECRET}@one,two:7001/ids?client_name=trader&health_check_interval=9&socket_timeout=3"
    client: Any = make_redis_client(Config(CC_REDIS_URL=RedisURL(url)), retry=Retry(NoBackoff(), 2))
    sentinels = client.connection_pool.sentinel_manager.sentinels
    assert len(sentinels) == 2
    for sentinel in sentinels:
        dialled = sentinel.connection_pool.connection_kwargs
        assert (dialled["socket_timeout"], dialled["retry"].get_retries()) == (3, 2)
        assert (dialled["client_name"], dialled["username"], dialled["password"]) == (None, None, None)
        assert dialled["health_check_interval"] == 0
        assert issubclass(sentinel.connection_pool.connection_class, SSLConnection) is is_tls
    await client.aclose()


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:1", "redis+sentinel://127.0.0.1:1/ids", "redis+cluster://127.0.0.1:1"]
)
async def test_ping_of_servers_that_are_down_says_so(url: str) -> None:
    client = make_redis_client(Config(CC_REDIS_URL=RedisURL(url)), retry=Retry(NoBackoff(), 0))
    with pytest.raises(exceptions.RedisError, match=r"127\.0\.0\.1|connect"):
        await ping_redis(client)
    await client.aclose()


async def test_error_of_a_cluster_that_nothing_caused_is_given_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async def read_map(cluster: Cluster) -> None:
        raise exceptions.RedisClusterException("not all slots are covered")

    monkeypatch.setattr(Cluster, "read_map", read_map)
    client = make_redis_client(Config(CC_REDIS_URL=RedisURL("redis+cluster://127.0.0.1:1")))
    with pytest.raises(exceptions.RedisError, match="not all slots are covered"):
        await ping_redis(client)
    await client.aclose()
