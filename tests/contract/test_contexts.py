"""Whole contexts, on every storage: listed in order, each once, and deleted with all of their rows."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import InputError, InputTypeError, SlotSpec, persist, transaction
from backtest_mongo.connection.hub_registry import current_hub
from tests.conftest import Deployment, FileDeployment
from tests.support import uniform
from tests.support.uniform import ENTRY, WHEN, adapter, candles, context, nothing, payload, read, write

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]

ROWS = pytest.mark.shapes("document", "entry", "collection", "bucket")

#: Names that a path, a query or a pattern would take for something else.
HOSTILE = (
    "a.b",
    "$where",
    "it's",
    'say "x"',
    "*",
    "a?[b]",
    "a/b",
    "..",
    "per%cent",
    "semi;colon",
    "under_score",
    "ünï",
    "x" * 400,
)


async def listed(spec: SlotSpec, **where: Any) -> list[dict[str, Any]]:
    return [one async for one in uniform.ADAPTERS[spec.name].list_contexts(**where)]


def in_order(spec: SlotSpec, contexts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return contexts in the order of the unique key."""
    names = dict(zip(spec.context_fields, spec.context, strict=True))
    return sorted(contexts, key=lambda one: [one[names[field]] for field in spec.key[: len(spec.context)]])


def vary(spec: SlotSpec, unique: str) -> list[dict[str, Any]]:
    """Return contexts that differ in one name or more, some of them the beginning of others."""
    names = [name for name in spec.context if name != "backtest"]
    found = [context(spec, unique)]
    for name in names:
        found += [{**found[0], name: f"{unique}{end}"} for end in ("", "-a", "-b", "-a-b")]
    if "backtest" in spec.context:
        found += [{**one, "backtest": False} for one in found]
    return [dict(one) for one in dict.fromkeys(tuple(one.items()) for one in found)]


@ROWS
async def test_contexts_are_listed_once_and_in_the_order_of_the_key(
    deployment: Deployment, unique: str, spec: SlotSpec
) -> None:
    assert await listed(spec) == []
    contexts = vary(spec, unique)
    for one in reversed(contexts):
        for key in ("b", "a") if spec.item else (ENTRY,):
            await write(uniform.ADAPTERS[spec.name](**one), payload(spec), key)
    assert await listed(spec) == in_order(spec, contexts)
    for name in spec.context:
        for value in dict.fromkeys(one[name] for one in contexts):
            wanted = [one for one in contexts if one[name] == value]
            assert await listed(spec, **{name: value}) == in_order(spec, wanted)
    assert await listed(spec, **contexts[-1]) == [contexts[-1]]
    if len(contexts) > 1:
        assert await listed(spec, **{spec.context[0]: contexts[0][spec.context[0]], **contexts[1]}) == [contexts[1]]


async def test_series_are_listed_as_contexts(deployment: Deployment, unique: str) -> None:
    cls: Any = uniform.ADAPTERS["candle"]
    for symbol, interval in (("ETH", "1h"), ("BTC", "1m"), ("BTC", "1h")):
        await cls(symbol, interval, unique).write_candles_data(candles(3, step=3_600_000))
    found = [one async for one in cls.list_contexts(exchange_name=unique)]
    assert [(one["symbol"], one["interval"]) for one in found] == [("BTC", "1h"), ("BTC", "1m"), ("ETH", "1h")]
    assert [one async for one in cls.list_contexts(interval="1h", symbol="ETH")] == [found[2]]
    with pytest.raises(InputError, match=r"interval '1x' \(str\) is unknown"):
        cls.list_contexts(interval="1x")
    assert (await cls(**found[0]).delete()).rows == 3
    assert [one async for one in cls.list_contexts()] == found[1:]


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_names_come_back_and_delete_nothing_else(deployment: Deployment, unique: str, name: str) -> None:
    for slot in ("partial", "memory", "recent"):
        cls: Any = uniform.ADAPTERS[slot]
        spec = cls.spec
        wanted = {part: "f" if part == "frame_name" else name for part in spec.context} | (
            {"backtest": True} if "backtest" in spec.context else {}
        )
        others = [{**wanted, spec.context[0]: other} for other in ("a", f"{name}2", "z*")]
        for one in (wanted, *others):
            await write(cls(**one), payload(spec))
        assert wanted in await listed(spec)
        assert await listed(spec, **wanted) == [wanted]
        assert await cls(**wanted).delete() == 1
        assert await listed(spec) == in_order(spec, others)
        for one in others:
            assert await read(cls(**one)) == payload(spec)


@pytest.mark.parametrize("rows", [1, 7, 64, 65, 130])
async def test_lists_go_on_behind_each_page(deployment: Deployment, unique: str, rows: int) -> None:
    """Contexts of many rows and of one, more of both than a page has."""
    memory: Any = uniform.ADAPTERS["memory"]
    async with transaction(when=WHEN) if not isinstance(deployment, FileDeployment) else contextlib.nullcontext():
        for number in range(3):
            for row in range(rows):
                await memory(f"{unique}-{number}", "large").write_memory_data({"n": row}, f"{row:04}", WHEN)
        for number in range(rows):
            await memory(f"{unique}-{number:04}", "small").write_memory_data({"n": 1}, "one", WHEN)
    found = await listed(memory.spec)
    assert len(found) == 3 + rows
    assert found == in_order(memory.spec, found)
    assert {one["bucket_name"] for one in await listed(memory.spec, signal_id=f"{unique}-0")} == {"large"}
    assert len(await listed(memory.spec, bucket_name="small")) == rows


async def test_context_with_nothing_but_removed_rows_is_listed(deployment: Deployment, unique: str) -> None:
    memory: Any = uniform.ADAPTERS["memory"](unique, "notes")
    await memory.write_memory_data({"n": 1}, "one", WHEN)
    await memory.remove_memory_data("one")
    assert await listed(memory.spec) == [{"signal_id": unique, "bucket_name": "notes"}]
    assert await memory.delete() == 1
    assert await listed(memory.spec) == []
    assert not await memory.has_memory_data("one")


async def test_list_goes_on_while_its_contexts_are_deleted(deployment: Deployment, unique: str) -> None:
    state: Any = uniform.ADAPTERS["state"]
    await state.write_many([((unique, f"{number:04}"), {"n": number}) for number in range(300)], WHEN)
    seen = 0
    async for one in state.list_contexts():
        assert await state(**one).delete() == 1
        seen += 1
    assert seen == 300
    assert await listed(state.spec) == []


@pytest.mark.parametrize(
    ("where", "kind", "problem"),
    [
        ({"strategy": "x"}, InputTypeError, "'strategy' is not part of the context .did you mean strategy_name"),
        ({"signal_id": "x"}, InputTypeError, "known are symbol, strategy_name"),
        ({"symbol": 1}, InputTypeError, "symbol must be a str, not int"),
        ({"symbol": None}, InputTypeError, "symbol must be a str, not NoneType"),
        ({"symbol": {"$gt": ""}}, InputTypeError, "symbol must be a str, not dict"),
        ({"symbol": "a\0b"}, InputError, "must not hold a NUL"),
        ({"backtest": 1}, InputTypeError, "backtest must be a bool"),
    ],
)
async def test_bad_filter_is_refused_by_the_call(
    deployment: Deployment, where: Any, kind: type[InputError], problem: str
) -> None:
    with pytest.raises(kind, match=problem):
        uniform.ADAPTERS["recent"].list_contexts(**where)
    with pytest.raises(InputTypeError, match="log has one context, without names"):
        uniform.ADAPTERS["log"].list_contexts(**where)


# Deleting


@ROWS
async def test_deleted_context_is_gone_and_can_be_written_again(
    deployment: Deployment, unique: str, spec: SlotSpec
) -> None:
    keys = ("a", "b", "c") if spec.item else (ENTRY,)
    one = adapter(spec, unique)
    changes = {"backtest": False} if "backtest" in spec.context else {}
    others = [adapter(spec, f"{unique}-2", **changes)] if spec.context else []
    for key in keys:
        for each in (one, *others):
            await write(each, payload(spec), key)
    assert await one.delete() == len(keys)
    for key in keys:
        assert await read(one, key) == nothing(spec)
        for each in others:
            assert await read(each, key) == uniform.stored(spec, payload(spec))
    assert await one.delete() == 0
    await write(one, payload(spec, 2), keys[0])
    assert await read(one, keys[0]) == uniform.stored(spec, payload(spec, 2))


async def test_more_rows_than_one_step_deletes(deployment: Deployment, unique: str) -> None:
    storage: Any = uniform.ADAPTERS["storage"](True)
    count = 2_100 if not isinstance(deployment, FileDeployment) else 30
    await storage.write_storage_data([{"id": f"{unique}-{number:05}"} for number in range(count)])
    assert await storage.delete() == count
    assert await storage.read_storage_data() == []


@pytest.mark.mongodb
@ROWS
async def test_ids_of_deleted_rows_are_dropped_from_redis(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    one = adapter(spec, unique)
    await write(one, payload(spec))
    if spec.shape == "collection":
        key = tuple(uniform.natural_key(one).values())
        rows = await deployment.rows(spec)
        await current_hub().id_cache.put(spec, key, rows[0]["_id"])
    assert await deployment.cached(uniform.redis_key(one)) is not None
    await one.delete()
    assert await deployment.cached(uniform.redis_key(one)) is None


@pytest.mark.mongodb
async def test_process_with_a_cached_id_of_a_deleted_row_finds_the_one_that_was_written_since(
    deployment: Deployment, unique: str
) -> None:
    one: Any = uniform.ADAPTERS["state"](unique, "s")
    await one.write_state_data({"n": 1}, WHEN)
    key = tuple(uniform.natural_key(one).values())
    local = current_hub().id_cache.local
    oid = local.get("state", key)
    assert oid is not None
    await one.delete()
    local.put("state", key, oid, published=True)  # as another process still has it
    assert await one.read_state_data() is None
    await one.write_state_data({"n": 2}, WHEN)
    local.put("state", key, oid, published=True)
    assert await one.read_state_data() == {"n": 2}


# What is stored of versions.


async def put_versions(deployment: Deployment, adapter: Any, count: int) -> None:
    """Store versions of a context's row."""
    database = (await backtest_mongo.get_mongo())[deployment.name]
    named = uniform.natural_key(adapter)
    rows = [{**named, "when": WHEN + number, "payload": {"n": number}} for number in range(count)]
    await database[adapter.spec.versions].insert_many(rows)


@pytest.mark.mongodb
async def test_versions_are_deleted_with_their_rows(deployment: Deployment, unique: str) -> None:
    state: Any = uniform.ADAPTERS["state"]
    one, other = state(unique, "one"), state(unique, "other")
    for each in (one, other):
        await each.write_state_data({"n": 1}, WHEN)
        await put_versions(deployment, each, 1_200 if each is one else 3)
    (measure,) = await state._base_store().measure({"bucketName": "one"}, by_context=True)
    assert (measure.rows, measure.versions) == (1, 1_200)
    assert await one.delete() == 1
    database = (await backtest_mongo.get_mongo())[deployment.name]
    assert [row["bucketName"] for row in await database[state.spec.versions].find().to_list(None)] == ["other"] * 3


# Transactions


async def test_contexts_that_are_yet_to_be_written_are_listed(deployment: Deployment, unique: str) -> None:
    state: Any = uniform.ADAPTERS["state"]
    await state(unique, "b").write_state_data({"n": 1}, WHEN)
    if isinstance(deployment, FileDeployment):
        async with transaction(when=WHEN):
            assert [one["bucket_name"] for one in await listed(state.spec)] == ["b"]
        return
    with contextlib.suppress(ZeroDivisionError):
        async with transaction(when=WHEN):
            for name in ("c", "b", "a"):
                await state(unique, name).write_state_data({"n": 2})
            async with transaction():
                await state(unique, "ab").write_state_data({"n": 2})
                await state(f"{unique}-2", "a").write_state_data({"n": 2})
                assert [one["bucket_name"] for one in await listed(state.spec)] == ["a", "ab", "b", "c", "a"]
            assert [one["bucket_name"] for one in await listed(state.spec, signal_id=unique)] == ["a", "ab", "b", "c"]
            assert await listed(state.spec, bucket_name="none") == []
            raise ZeroDivisionError
    assert [one["bucket_name"] for one in await listed(state.spec)] == ["b"]


async def test_deletion_within_a_transaction_is_refused(deployment: Deployment, unique: str) -> None:
    state: Any = uniform.ADAPTERS["state"](unique, "b")
    await state.write_state_data({"n": 1}, WHEN)
    async with transaction(when=WHEN):
        with pytest.raises(InputError, match=r"delete\(\) can't be part of a transaction"):
            await state.delete()
    assert await state.read_state_data() == {"n": 1}


# Foreign rows


@pytest.mark.mongodb
async def test_contexts_that_no_adapter_can_have_are_left_out(deployment: Deployment, unique: str) -> None:
    signal: Any = uniform.ADAPTERS["signal"]
    await signal("BTC", unique, "x").write_signal_data({"n": 1})
    collection = await deployment.collection(signal.spec)
    for foreign in (None, 5, "", "a\0b", ["ETH"], {"a": 1}, True):
        await collection.insert_one({"symbol": foreign, "strategyName": unique, "exchangeName": "x"})
        await collection.insert_one({"symbol": "BTC", "strategyName": foreign, "exchangeName": "y"})
    assert await listed(signal.spec) == [{"symbol": "BTC", "strategy_name": unique, "exchange_name": "x"}]
    assert await signal("BTC", unique, "x").delete() == 1
    assert await collection.count_documents({}) == 14


async def test_dummy_has_no_contexts(unique: str) -> None:
    persist.use_dummy()
    state = persist.state(unique, "s")
    await state.write_state_data({"n": 1}, WHEN)
    assert [one async for one in type(state).list_contexts(signal_id=unique)] == []
    assert await state.delete() == 0
    with pytest.raises(InputTypeError, match="is not part of the context"):
        type(state).list_contexts(signal="x")
