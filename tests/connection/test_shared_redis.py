"""One Redis before several databases, or before one that was set back: its ids may be of other rows, its answers never.

What a foreign id costs is counted here too: a round trip, and not an endless look after the indexes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pymongo
import pytest
from bson import ObjectId

import backtest_mongo
from backtest_mongo import CandleAdapter, SlotSpec, StateAdapter
from backtest_mongo.connection.hub_registry import current_hub
from tests.conftest import Deployment, drop_with, on_database, operations
from tests.mongo.test_races import Pool
from tests.support import uniform
from tests.support.uniform import WHEN, candles, entry, payload, read, write

pytestmark = [pytest.mark.either_driver, pytest.mark.one_python]

POINTS = ("document", "entry", "bucket")


@pytest.fixture(scope="module")
def pair() -> Iterator[Pool]:
    pool = Pool(2)
    yield pool
    pool.stop()


@pytest.fixture
def deployments(config: dict[str, Any], unique: str) -> Iterator[list[dict[str, Any]]]:
    """Two databases on one MongoDB, with one Redis before both."""
    uri = config["CC_MONGO_CONNECTION_STRING"]
    names = [f"{unique}-1", f"{unique}-2"]
    yield [{**config, "CC_MONGO_CONNECTION_STRING": on_database(uri, name)} for name in names]
    with pymongo.MongoClient[dict[str, Any]](uri) as client:
        for name in names:
            drop_with(client, name)


@pytest.mark.shapes("document", "entry", "collection", "bucket")
def test_two_deployments_with_the_same_keys_never_read_each_other_s_rows(
    pair: Pool, deployments: list[dict[str, Any]], unique: str, spec: SlotSpec
) -> None:
    reports = pair.run("share_redis_with_another_deployment", deployments, spec, unique, rounds=6)
    assert [problem for report in reports for problem in report["problems"]] == []
    for report in reports:
        commands, reads = report["commands"], report["seen"]["reads"]
        assert reads == 6 * 3 * 2 * 4
        # Each of the six rounds prepares its collection once after every third of them that begins anew, and a foreign
        # id leads to one query more, once. Lists are one query a read.
        assert commands["createIndexes"] <= 12 * (2 if spec.newest else 1)
        assert commands["find"] <= reads * 1.5


# What a foreign id costs


async def index_checks() -> int:
    status = await current_hub().mongo.admin.command("serverStatus")
    return int(status["metrics"]["commands"]["createIndexes"]["total"])


async def point_to_strangers(unique: str, count: int) -> list[StateAdapter]:
    """Return adapters whose ids in Redis lead to no row of this database."""
    raw = await backtest_mongo.get_redis()
    await raw.mset({f"state_cache:{unique}:b{number}": str(ObjectId()) for number in range(count)})
    return [StateAdapter(unique, f"b{number}") for number in range(count)]


async def test_foreign_id_costs_one_query_once_and_no_index_check(deployment: Deployment, unique: str) -> None:
    await asyncio.gather(*(StateAdapter(unique, f"b{number}").write_state_data({"n": 1}, WHEN) for number in range(50)))
    await deployment.forget()
    states = await point_to_strangers(unique, 50)
    await StateAdapter(unique, "other").read_state_data()  # prepares the indexes
    queries, checks = await operations(), await index_checks()
    for state in states:
        assert await state.read_state_data() == {"n": 1}
    # One by the id and one by the key.
    assert (await operations() - queries)["query"] == 100
    assert await index_checks() - checks <= 1
    queries = await operations()
    for state in states:
        assert await state.read_state_data() == {"n": 1}
    assert (await operations() - queries)["query"] == 50


async def test_foreign_ids_of_a_batch_cost_one_query(deployment: Deployment, unique: str) -> None:
    await asyncio.gather(*(StateAdapter(unique, f"b{number}").write_state_data({"n": 1}, WHEN) for number in range(50)))
    await deployment.forget()
    states = await point_to_strangers(unique, 50)
    await StateAdapter(unique, "other").read_state_data()
    queries, checks = await operations(), await index_checks()
    for _ in range(2):
        assert await asyncio.gather(*(state.read_state_data() for state in states)) == [{"n": 1}] * 50
    assert (await operations() - queries)["query"] == 3
    assert await index_checks() - checks <= 1


async def test_polling_a_key_that_only_the_other_deployment_has_costs_two_queries_each_time(
    deployment: Deployment, unique: str
) -> None:
    (state,) = await point_to_strangers(unique, 1)
    await StateAdapter(unique, "other").read_state_data()
    queries, checks = await operations(), await index_checks()
    for _ in range(50):
        assert await state.read_state_data() is None
    assert (await operations() - queries)["query"] <= 100
    assert await index_checks() - checks <= 2


async def test_foreign_id_is_replaced_in_redis_by_the_row_s_own(deployment: Deployment, unique: str) -> None:
    await StateAdapter(unique, "b0").write_state_data({"n": 1}, WHEN)
    await deployment.forget()
    (state,) = await point_to_strangers(unique, 1)
    assert await state.read_state_data() == {"n": 1}
    (row,) = await deployment.rows(StateAdapter.spec)
    assert await deployment.cached(f"state_cache:{unique}:b0") == str(row["_id"])


# A database that was set back


async def restore(deployment: Deployment, spec: SlotSpec, rows: list[dict[str, Any]]) -> None:
    """Put a collection back as it was, the way that mongorestore --drop does it: with its indexes."""
    collection = await deployment.collection(spec)
    found = await collection.index_information()
    await collection.drop()
    for name, index in found.items():
        if name != "_id_":
            await collection.create_index(index["key"], name=name, unique=index.get("unique", False))
    if rows:
        await collection.insert_many(rows)


@pytest.mark.shapes(*POINTS)
@pytest.mark.parametrize("cold", [False, True], ids=["same process", "fresh process"])
async def test_ids_of_rows_that_a_restore_removed_lead_to_the_restored_rows(
    deployment: Deployment, unique: str, spec: SlotSpec, cold: bool
) -> None:
    kept, later = (uniform.adapter(spec, f"{unique}-{name}") for name in ("kept", "later"))
    key = entry(spec, unique)
    await write(kept, payload(spec, 1), key)
    rows = await deployment.rows(spec)
    # The same key has another row now, and there is one more: both caches know their ids.
    await (await deployment.collection(spec)).delete_many({})
    await write(kept, payload(spec, 2), key)
    await write(later, payload(spec, 3), key)
    assert [await read(kept, key), await read(later, key)] == [payload(spec, 2), payload(spec, 3)]
    newer = await deployment.cached(uniform.redis_key(kept, key))
    assert newer not in {None, str(rows[0]["_id"])}
    await restore(deployment, spec, rows)
    if cold:
        await deployment.forget()
    for _ in range(2):
        assert await read(kept, key) == payload(spec, 1)
        assert await read(later, key) == uniform.nothing(spec)
    assert await deployment.cached(uniform.redis_key(kept, key)) == str(rows[0]["_id"])
    await asyncio.gather(write(kept, payload(spec, 4), key), write(later, payload(spec, 5), key))
    assert await read(kept, key) == payload(spec, 4)
    assert await read(later, key) == payload(spec, 5)
    assert len(await deployment.rows(spec)) == 2


@pytest.mark.shapes("collection", "bucket")
async def test_lists_after_a_restore_have_the_restored_rows(
    deployment: Deployment, unique: str, spec: SlotSpec
) -> None:
    adapter = uniform.adapter(spec, unique)
    for number in range(3):
        await write(adapter, payload(spec, number), f"{unique}-{number}")
    rows = await deployment.rows(spec)
    for number in range(1, 5):
        await write(adapter, payload(spec, 10 + number), f"{unique}-{number}")
    await restore(deployment, spec, rows)
    found = [await read(adapter, f"{unique}-{number}") for number in range(5)]
    assert found[:3] == [uniform.stored(spec, payload(spec, number)) for number in range(3)]
    assert found[3:] == [uniform.nothing(spec)] * 2
    if spec.shape == "bucket":
        listed = await uniform.listed(adapter)
        assert [row[0] if spec.items else row for row in listed] == [f"{unique}-{number}" for number in range(3)]


async def test_candles_of_a_restore_are_read_after_a_close(deployment: Deployment, unique: str) -> None:
    series = CandleAdapter("BTCUSDT", "1m", unique)
    await series.write_candles_data(candles(10, price=1.0))
    rows = await deployment.rows(CandleAdapter.spec)
    await (await deployment.collection(CandleAdapter.spec)).delete_many({})
    await series.write_candles_data(candles(20, price=2.0))
    assert await series.read_candles_data(20, 0) == candles(20, price=2.0)
    await restore(deployment, CandleAdapter.spec, rows)
    await backtest_mongo.close()  # as the documentation asks for
    assert await series.read_candles_data(10, 0) == candles(10, price=1.0)
    assert await series.read_candles_data(11, 0) is None
    assert await series.write_candles_data(candles(20, price=3.0)) == 10


async def test_reads_during_a_restore_return_the_row_of_before_or_the_restored_one(
    deployment: Deployment, unique: str
) -> None:
    states = [StateAdapter(unique, f"b{number}") for number in range(20)]

    async def put(number: int) -> None:
        await asyncio.gather(*(state.write_state_data({"n": number}, WHEN) for state in states))

    await put(1)
    rows = await deployment.rows(StateAdapter.spec)
    await (await deployment.collection(StateAdapter.spec)).delete_many({})
    await put(2)
    seen: list[Any] = []

    async def poll(state: StateAdapter) -> None:
        while not done.is_set():
            seen.append(await state.read_state_data())

    done = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for state in states:
            group.create_task(poll(state))
        await restore(deployment, StateAdapter.spec, rows)
        # From now on there is nothing but the rows of then.
        found = [await state.read_state_data() for state in states]
        done.set()
    assert found == [{"n": 1}] * 20
    assert {row["n"] if row else None for row in seen} <= {1, 2, None}
