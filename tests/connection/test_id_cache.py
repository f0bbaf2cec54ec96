"""The id cache: what it keeps in this process, what in Redis, and with how many commands."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from bson import ObjectId

from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.connection import id_cache
from backtest_mongo.connection.command_guard import CommandGuard
from backtest_mongo.connection.id_cache import IdCache, LocalIds
from backtest_mongo.connection.redis_clients import make_redis_client
from backtest_mongo.core.config import Config

SPEC = ADAPTERS["state"].spec


# In this process


def test_ids_are_kept_by_slot_and_key() -> None:
    ids, (one, other, third) = LocalIds(), (ObjectId() for _ in range(3))
    ids.put("state", ("a",), one, published=True)
    ids.put("state", ("b",), other, published=False)
    ids.put("risk", ("a",), third, published=True)
    assert len(ids) == 3
    assert ids.get("state", ("a",)) == one
    assert ids.get("state", ("b",)) == other
    assert ids.get("risk", ("a",)) == third
    assert ids.get("risk", ("b",)) is None
    assert ids.entry("state", ("a",)) == (one, True)
    assert ids.entry("state", ("b",)) == (other, False)
    assert ids.entry("risk", ("b",)) is None


def test_id_is_published_if_redis_is_known_to_have_it() -> None:
    ids, one, other = LocalIds(), ObjectId(), ObjectId()
    assert not ids.is_published("state", ("a",), one)
    ids.put("state", ("a",), one, published=False)
    assert not ids.is_published("state", ("a",), one)
    ids.put("state", ("a",), one, published=True)
    assert ids.is_published("state", ("a",), one)
    assert not ids.is_published("state", ("a",), other)
    assert not ids.is_published("state", ("b",), one)
    assert not ids.is_published("risk", ("a",), one)
    assert len(ids) == 1


def test_id_that_was_dropped_is_gone() -> None:
    ids, one = LocalIds(), ObjectId()
    ids.put("state", ("a",), one, published=True)
    ids.drop("state", ("b",))
    ids.drop("risk", ("a",))
    assert ids.get("state", ("a",)) == one
    ids.drop("state", ("a",))
    assert ids.get("state", ("a",)) is None
    assert len(ids) == 0


def test_known_ids_of_many_keys_are_found_at_once() -> None:
    ids, (one, other) = LocalIds(), (ObjectId() for _ in range(2))
    ids.put("state", ("a",), one, published=True)
    ids.put("state", ("b",), other, published=False)
    ids.put("risk", ("c",), other, published=False)
    assert ids.get_many("state", [("b",), ("c",), ("a",)]) == {("b",): other, ("a",): one}
    assert ids.get_many("state", []) == {}


@pytest.mark.parametrize("use", ["get", "get_many", "entry", "put"])
def test_least_recently_used_id_is_dropped_when_there_are_too_many(use: str) -> None:
    ids, oids = LocalIds(3), [ObjectId() for _ in range(4)]
    for number in range(3):
        ids.put("state", (number,), oids[number], published=False)
    assert len(ids) == 3
    if use == "put":
        ids.put("state", (0,), oids[0], published=True)
    elif use == "get_many":
        assert ids.get_many("state", [(0,)]) == {(0,): oids[0]}
    else:
        assert getattr(ids, use)("state", (0,)) is not None
    ids.put("state", (3,), oids[3], published=False)
    assert len(ids) == 3
    assert [ids.get("state", (number,)) is not None for number in range(4)] == [True, False, True, True]


# In Redis


@pytest.fixture
async def cache(servers: dict[str, Any]) -> AsyncIterator[IdCache]:
    cache = IdCache(make_redis_client(Config(**servers)))
    yield cache
    await cache.settle()
    await cache.close()
    await cache._redis.aclose()


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The result of each command, ``None`` for one that failed."""
    results: list[Any] = []
    run = CommandGuard.run

    async def spy(guard: CommandGuard, work: Callable[[], Awaitable[Any]]) -> Any:
        results.append(await run(guard, work))
        return results[-1]

    monkeypatch.setattr(CommandGuard, "run", spy)
    return results


def keys(unique: str, count: int = 3) -> list[tuple[str, str]]:
    return [(unique, f"b{number}") for number in range(count)]


async def stored(cache: IdCache, key: tuple[str, str]) -> Any:
    return await cache._redis.get(SPEC.redis_key(key))


async def test_id_is_put_into_both_parts_and_redis_told_once(cache: IdCache, commands: list[Any], unique: str) -> None:
    (key,), one, other = keys(unique, 1), ObjectId(), ObjectId()
    for _ in range(2):
        await cache.put(SPEC, key, one)
        assert await stored(cache, key) == str(one).encode()
        assert cache.local.entry(SPEC.name, key) == (one, True)
    assert commands == [True]
    await cache.put(SPEC, key, other)
    assert await stored(cache, key) == str(other).encode()
    assert cache.local.get(SPEC.name, key) == other
    assert commands == [True, True]


async def test_ids_of_a_slot_without_redis_keys_stay_in_this_process(
    cache: IdCache, commands: list[Any], unique: str
) -> None:
    spec, key, oid = replace(SPEC, redis=()), (unique, "b"), ObjectId()
    await cache.put(spec, key, oid)
    assert cache.local.get(spec.name, key) == oid
    await cache.drop_many(spec, [key])
    assert cache.local.get(spec.name, key) is None
    assert await cache.get(spec, key) is None
    assert commands == []


async def test_ids_that_redis_has_are_found_by_one_command_and_kept(
    cache: IdCache, commands: list[Any], unique: str
) -> None:
    wanted, ids = keys(unique, 4), [ObjectId() for _ in range(4)]
    known = list(zip(wanted, ids, strict=True))[:2]
    await cache.publish([SPEC.redis_key(key).encode() for key in wanted[:2]], [str(oid).encode() for oid in ids[:2]])
    assert len(cache.local) == 0
    assert await cache.get_many(SPEC, wanted) == dict(known)
    assert len(commands) == 2
    assert [cache.local.entry(SPEC.name, key) for key in wanted] == [(ids[0], True), (ids[1], True), None, None]
    assert await cache.get(SPEC, wanted[0]) == ids[0]
    assert await cache.get(SPEC, wanted[2]) is None


@pytest.mark.parametrize(
    "value", [b"", b"x" * 24, b"0" * 23, b"0" * 25, b"\xff" * 24, b"0" * 12, "é".encode() * 12, b"g" + b"0" * 23]
)
async def test_value_that_is_no_id_is_not_there(cache: IdCache, unique: str, value: bytes) -> None:
    (key,) = keys(unique, 1)
    await cache._redis.set(SPEC.redis_key(key), value)
    assert await cache.get(SPEC, key) is None
    assert len(cache.local) == 0


async def test_many_ids_are_put_and_dropped_a_thousand_per_command(
    cache: IdCache, commands: list[Any], unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert id_cache.SET_ENTRIES == 1_000
    monkeypatch.setattr(id_cache, "SET_ENTRIES", 2)
    wanted, ids = keys(unique, 5), [ObjectId() for _ in range(5)]
    pairs = list(zip(wanted, ids, strict=True))
    await cache.put(SPEC, *pairs[1])
    commands.clear()
    await cache.put_many(SPEC, iter(pairs))
    assert commands == [True, True]
    assert [await stored(cache, key) for key in wanted] == [str(oid).encode() for oid in ids]
    assert [cache.local.entry(SPEC.name, key) for key in wanted] == [(oid, True) for oid in ids]
    await cache.put_many(SPEC, pairs)
    assert commands == [True, True]
    await cache.drop_many(SPEC, wanted[:3])
    assert commands == [True] * 4
    assert [await stored(cache, key) for key in wanted] == [None] * 3 + [str(oid).encode() for oid in ids[3:]]
    assert [cache.local.get(SPEC.name, key) for key in wanted] == [None] * 3 + ids[3:]
    await cache.drop_many(SPEC, [])
    await cache.put_many(SPEC, [])
    assert commands == [True] * 4


async def test_without_redis_ids_are_kept_in_this_process_and_not_taken_for_published(unique: str) -> None:
    cache = IdCache(make_redis_client(Config(CC_REDIS_HOST="127.0.0.1", CC_REDIS_PORT=1)))
    (one, other, third), oid = keys(unique), ObjectId()
    assert not cache.is_breaker_open
    await cache.put(SPEC, one, oid)
    assert cache.local.entry(SPEC.name, one) == (oid, False)
    assert await cache.get(SPEC, other) is None
    assert await cache.get_many(SPEC, [other, third]) == {}
    await cache.drop_many(SPEC, [one])
    assert cache.local.get(SPEC.name, one) is None
    assert not cache.is_breaker_open
    await cache.publish([SPEC.redis_key(third).encode()], [str(oid).encode()])
    assert len(cache.local) == 0
    assert cache.is_breaker_open
    await cache.settle()
    await cache.close()
    await cache._redis.aclose()


async def test_closed_cache_sends_nothing(cache: IdCache, unique: str) -> None:
    (key,) = keys(unique, 1)
    await cache.close()
    await cache.put(SPEC, key, ObjectId())
    assert await stored(cache, key) is None
