"""When the map of a Redis Cluster's slots is read, and when it is read again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from redis import exceptions
from redis.asyncio.cluster import ClusterNode

from backtest_mongo.connection import redis_cluster
from backtest_mongo.connection.redis_cluster import Cluster

pytestmark = pytest.mark.one_python


async def test_map_is_read_again_after_a_failure_and_once_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(redis_cluster, "time", SimpleNamespace(monotonic=lambda: now[0]))
    node = ClusterNode("127.0.0.1", 1)  # where nobody listens
    cluster: Any = Cluster(startup_nodes=[node])
    reads: list[float] = []

    async def initialize(manager: Any) -> None:
        reads.append(now[0])
        manager.slots_cache.update({slot: [node] for slot in range(16_384)})

    monkeypatch.setattr(type(cluster.nodes_manager), "initialize", initialize)
    for _ in range(3):
        await cluster.read_map()
        now[0] += 10
    assert reads == [100]
    with pytest.raises(exceptions.RedisError):
        await cluster.each([("GET", "x")])
    assert reads == [100]
    with pytest.raises(exceptions.RedisError):
        await cluster.each([("GET", "x")])
    assert reads == [100, 130]
    now[0] += 0.5
    await cluster.read_map()
    assert reads == [100, 130]
    now[0] += 0.5
    await cluster.read_map()
    assert reads == [100, 130, 131]
    await cluster.aclose()
