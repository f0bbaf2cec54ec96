"""Only the indexes that a query of ours needs, next to those of the Node package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backtest_mongo import (
    IndexConflictError,
    LogAdapter,
    NotificationAdapter,
    SessionAdapter,
    SlotSpec,
    StateAdapter,
    StoreError,
)
from backtest_mongo.mongo.indexes import indexes
from tests.conftest import Deployment
from tests.support import uniform
from tests.support.failing_servers import FailingServer
from tests.support.uniform import WHEN, payload, read, write

pytestmark = [pytest.mark.either_driver, pytest.mark.two_pythons]

REFERENCE = json.loads((Path(__file__).parent.parent / "golden" / "reference-indexes.json").read_text())


async def first_use(spec: SlotSpec, unique: str) -> None:
    adapter = uniform.adapter(spec, unique)
    if spec.shape == "series":
        await adapter.write_candles_data(uniform.candles(1))
    else:
        await write(adapter, payload(spec))


async def test_first_use_creates_our_indexes_and_no_others(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    await first_use(spec, unique)
    found = await (await deployment.collection(spec)).index_information()
    del found["_id_"]
    made = {tuple(index["key"]): bool(index.get("unique")) for index in found.values()}
    assert made == indexes(spec)


def test_newest_rows_of_each_context_have_an_index() -> None:
    assert indexes(NotificationAdapter.spec) == {
        (("backtest", 1), ("notificationId", 1)): True,
        (("backtest", 1), ("createDate", 1), ("_id", 1)): False,
    }
    assert indexes(LogAdapter.spec) == {(("entryId", 1),): True, (("createDate", 1), ("_id", 1)): False}
    assert indexes(StateAdapter.spec) == {(("signalId", 1), ("bucketName", 1)): True}


async def test_indexes_coexist_with_those_of_the_node_package(
    deployment: Deployment, unique: str, spec: SlotSpec
) -> None:
    collection = await deployment.collection(spec)
    for index in REFERENCE[spec.collection]:
        keys = list(index["key"].items())
        await collection.create_index(keys, name=index["name"], **({"unique": True} if index["unique"] else {}))
    await first_use(spec, unique)
    found = await collection.index_information()
    assert {index["name"] for index in REFERENCE[spec.collection]} <= set(found)
    # The unique one is the same index for both.
    extra = set(found) - {"_id_"} - {index["name"] for index in REFERENCE[spec.collection]}
    assert len(extra) == (1 if spec.newest else 0)


async def test_indexes_of_the_node_package_can_be_created_next_to_ours(
    deployment: Deployment, unique: str, spec: SlotSpec
) -> None:
    await first_use(spec, unique)
    collection = await deployment.collection(spec)
    for index in REFERENCE[spec.collection]:
        keys = list(index["key"].items())
        await collection.create_index(keys, name=index["name"], **({"unique": True} if index["unique"] else {}))


async def test_equal_index_with_another_name_is_used(deployment: Deployment, unique: str) -> None:
    collection = await deployment.collection(StateAdapter.spec)
    await collection.create_index([("signalId", 1), ("bucketName", 1)], unique=True, name="of_somebody_else")
    await StateAdapter(unique, "b").write_state_data({"n": 1}, WHEN)
    assert set(await collection.index_information()) == {"_id_", "of_somebody_else"}


async def test_second_index_with_another_name_does_no_harm(deployment: Deployment, unique: str) -> None:
    collection = await deployment.collection(LogAdapter.spec)
    await collection.create_index([("createDate", 1), ("_id", 1)], name="of_somebody_else")
    await LogAdapter().write_log_data([{"id": unique}])
    assert set(await collection.index_information()) == {"_id_", "of_somebody_else", "entryId_1"}


async def test_indexes_are_created_again_once_a_read_misses_its_dropped_collection(
    deployment: Deployment, unique: str
) -> None:
    state = StateAdapter(unique, "b")
    await state.write_state_data({"n": 1}, WHEN)
    collection = await deployment.collection(StateAdapter.spec)
    await collection.drop()
    assert await state.read_state_data() is None
    await state.write_state_data({"n": 2}, WHEN)
    assert "signalId_1_bucketName_1" in await collection.index_information()


async def test_index_that_is_not_unique_raises_a_conflict(deployment: Deployment, unique: str) -> None:
    collection = await deployment.collection(StateAdapter.spec)
    await collection.create_index([("signalId", 1), ("bucketName", 1)])
    with pytest.raises(
        IndexConflictError, match=r"^state: an existing index conflicts with the unique index on signalId, bucketName"
    ) as caught:
        await StateAdapter(unique, "b").write_state_data({"n": 1}, WHEN)
    assert caught.value.hint == "list the collection's indexes, and drop or rebuild the one that differs"
    assert (caught.value.slot, caught.value.collection, caught.value.code) == ("state", "state-items", 86)
    await collection.drop_indexes()
    await StateAdapter(unique, "b").write_state_data({"n": 1}, WHEN)


async def test_rows_with_the_same_key_raise_a_conflict(deployment: Deployment, unique: str) -> None:
    collection = await deployment.collection(StateAdapter.spec)
    await collection.insert_many([{"signalId": unique, "bucketName": "b", "n": n} for n in range(2)])
    with pytest.raises(IndexConflictError, match=r"several rows have the same key \(signalId, bucketName\)") as caught:
        await StateAdapter(unique, "b").read_state_data()
    hint = "group the rows by signalId, bucketName and delete all but one of each group; "
    assert caught.value.hint == f"{hint}the next operation creates the index"
    assert (caught.value.slot, caught.value.collection, caught.value.code) == ("state", "state-items", 11000)


async def test_unique_index_of_an_older_release_raises_an_error_that_says_so(
    deployment: Deployment, unique: str
) -> None:
    collection = await deployment.collection(SessionAdapter.spec)
    await collection.create_index([("strategyName", 1), ("exchangeName", 1), ("frameName", 1)], unique=True)
    await SessionAdapter("s", "e", "f", "BTCUSDT", True).write_session_data({"n": 1}, WHEN)
    with pytest.raises(
        IndexConflictError, match=r"unique index .* did not create, rejects the row .*backtest-mongo migrate"
    ) as caught:
        await SessionAdapter("s", "e", "f", "ETHUSDT", True).write_session_data({"n": 2}, WHEN)
    assert caught.value.code == 11000
    assert caught.value.key == {
        "strategyName": "s",
        "exchangeName": "e",
        "frameName": "f",
        "symbol": "ETHUSDT",
        "backtest": True,
    }
    assert await read(SessionAdapter("s", "e", "f", "BTCUSDT", True)) == {"n": 1}


@pytest.mark.slots("soft_delete")
async def test_lists_use_the_unique_index_and_sort_nothing(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    await first_use(spec, unique)
    adapter = uniform.adapter(spec, unique)
    context = dict(zip(spec.key, adapter._context, strict=False))
    collection = await deployment.collection(spec)
    for query in (context, {**context, spec.key[-1]: {"$gt": "a"}, "removed": {"$ne": True}}):
        _assert_indexed(await collection.find(query).sort(spec.key[-1], 1).explain())


@pytest.mark.slots("newest")
async def test_newest_rows_are_read_from_an_index(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    await first_use(spec, unique)
    context = dict(zip(spec.key, uniform.adapter(spec, unique)._context, strict=False))
    collection = await deployment.collection(spec)
    _assert_indexed(await collection.find(context).sort([("createDate", -1), ("_id", -1)]).limit(200).explain())


async def test_point_reads_and_windows_use_an_index(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    await first_use(spec, unique)
    adapter = uniform.adapter(spec, unique)
    collection = await deployment.collection(spec)
    query: dict[str, Any] = dict(zip(spec.key, adapter._context, strict=False))
    if spec.shape == "series":
        query["timestamp"] = {"$gte": 0, "$lte": 60_000}
    elif spec.item:
        query[spec.item] = "x"
    _assert_indexed(await collection.find(query).sort(spec.key[-1], 1).explain())


async def test_batches_and_bulk_inserts_use_the_index(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    await first_use(spec, unique)
    adapter = uniform.adapter(spec, unique)
    collection = await deployment.collection(spec)
    key = dict(zip(spec.key, adapter._context, strict=False))
    if spec.shape == "series":
        for condition in ({"$gte": 0, "$lte": 60_000}, {"$in": [0, 60_000]}):
            plan = await collection.find({**key, "timestamp": condition}, {"_id": 0, "timestamp": 1}).explain()
            _assert_indexed(plan)
            assert '"FETCH"' not in json.dumps(plan["queryPlanner"]["winningPlan"])
        return
    keys = [{**key, **({spec.item: f"x{number}"} if spec.item else {})} for number in range(20)]
    _assert_indexed(await collection.find({"$or": keys}).explain())
    (row,) = await deployment.rows(spec)
    _assert_indexed(await collection.find({"_id": {"$in": [row["_id"]]}}).explain())


def _assert_indexed(plan: dict[str, Any]) -> None:
    text = json.dumps(plan["queryPlanner"]["winningPlan"])
    assert '"IXSCAN"' in text
    assert '"COLLSCAN"' not in text
    assert '"SORT"' not in text


async def test_user_without_the_right_to_create_indexes_needs_the_unique_one(
    on_failing: FailingServer, unique: str
) -> None:
    logs = LogAdapter()
    on_failing.fail("createIndexes", errorCode=13)
    with pytest.raises(IndexConflictError) as caught:
        await logs.write_log_data([{"id": unique}])
    text = "log: the unique index on entryId is missing, and this user may not create it"
    hint = "let a user with the right to create indexes create it"
    assert (str(caught.value), caught.value.hint, caught.value.code) == (f"{text} ({hint})", hint, 13)
    # The other one only makes the list of the newest faster.
    on_failing.client[unique]["log-items"].create_index([("entryId", 1)], unique=True)
    await logs.write_log_data([{"id": unique}])
    assert await logs.read_log_data() == [{"id": unique}]


async def test_other_failure_to_create_indexes_is_raised_and_they_are_created_by_the_next_operation(
    on_failing: FailingServer, unique: str
) -> None:
    on_failing.fail("createIndexes", mode={"times": 1}, errorCode=50_000)
    with pytest.raises(StoreError, match="preparing the indexes failed: MongoDB answered with error 50000"):
        await StateAdapter(unique, "b").read_state_data()
    assert await StateAdapter(unique, "b").read_state_data() is None
    assert "signalId_1_bucketName_1" in on_failing.client[unique]["state-items"].index_information()


async def test_server_s_refusal_is_a_store_error_with_its_code(on_failing: FailingServer, unique: str) -> None:
    state = StateAdapter(unique, "b")
    await state.read_state_data()
    on_failing.fail("find", errorCode=13)
    with pytest.raises(StoreError, match=r"reading failed: MongoDB answered with error 13 \(Unauthorized\)") as caught:
        await state.read_state_data()
    assert caught.value.code == 13
