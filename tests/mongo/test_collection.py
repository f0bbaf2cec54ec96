"""A slot's collection: how many keys one query names, and what its errors say."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import bson
import pytest
from pymongo.errors import OperationFailure

from backtest_mongo import CandleAdapter, StateAdapter, StoreError, StoreUnavailableError
from backtest_mongo.connection.hub import Hub
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.core.specs import Key
from backtest_mongo.mongo import collection
from backtest_mongo.mongo.collection import PAGE, SlotCollection, aggregate, aggregate_raw, split_keys
from tests.conftest import Deployment
from tests.support.failing_servers import FailingServer
from tests.support.uniform import WHEN

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]

SPEC = StateAdapter.spec


# Keys of one query


@pytest.mark.parametrize("count", [0, 1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE + 5])
def test_query_names_a_thousand_keys_at_most(count: int) -> None:
    keys: list[Key] = [("a", number) for number in range(count)]
    parts = list(split_keys(keys))
    assert [key for part in parts for key in part] == keys
    assert [len(part) for part in parts] == [PAGE] * (count // PAGE) + [count % PAGE] * bool(count % PAGE)


def test_query_is_no_larger_than_half_a_document_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    assert collection._QUERY_BYTES == 8 * 1024 * 1024
    monkeypatch.setattr(collection, "_QUERY_BYTES", 400)
    # A character takes up to four bytes, and what is no text takes next to none.
    keys: list[Key] = [("x" * 30, "y" * 20, 7), ("x" * 50, "", True), ("x" * 51, "", True), ("x" * 200, "", 1), ("z",)]
    assert [[len(str(key[0])) for key in part] for part in split_keys(keys)] == [[30, 50], [51], [200], [1]]


async def test_keys_of_several_queries_are_all_found(
    deployment: Deployment, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts = [(unique, f"b{number}") for number in range(20)]
    await StateAdapter.write_many([(context, {"n": n}) for n, context in enumerate(contexts)], WHEN)
    await deployment.forget()
    monkeypatch.setattr(collection, "PAGE", 3)
    absent = (unique, "absent")
    rows = await SlotCollection(current_hub(), SPEC).find_by_key([*contexts, absent])
    assert {key: row["payload"] for key, row in rows.items()} == {key: {"n": n} for n, key in enumerate(contexts)}


# Requests and their errors


async def test_mean_size_is_that_of_the_documents_read_last(deployment: Deployment, unique: str) -> None:
    await StateAdapter.write_many([((unique, f"b{n}"), {"text": "x" * 10_000 * n}) for n in (1, 3)], WHEN)
    slot = SlotCollection(current_hub(), SPEC)
    assert slot.mean_size == 0
    await slot.find_by_key([(unique, "b1"), (unique, "b3")])
    assert 20_000 < slot.mean_size < 21_000
    await slot.find_by_key([(unique, "b1")], slot.key_projection)  # not of whole ones
    await slot.find_by_key([(unique, "absent")])
    assert 20_000 < slot.mean_size < 21_000
    await slot.find_by_key([(unique, "b1")])
    assert 10_000 < slot.mean_size < 11_000


async def test_refusal_names_the_request_the_row_and_the_collection(on_failing: FailingServer, unique: str) -> None:
    hub = current_hub()
    hub.is_format_checked = True  # as after the first request
    slot = SlotCollection(hub, SPEC, hub.database["elsewhere"])
    on_failing.fail("find", "update", errorCode=20)
    with pytest.raises(StoreError, match=r"^state: looking failed: MongoDB answered with error 20") as caught:
        await slot.read("looking", lambda: slot.find_all({}, None))
    assert (caught.value.collection, caught.value.key, caught.value.code) == ("elsewhere", None, 20)
    assert caught.value.__cause__ is not None
    key: Key = (unique, "b")
    with pytest.raises(StoreError, match=r"^state: writing failed: MongoDB answered with error 20") as caught:
        await slot.write("writing", lambda _: slot.documents.update_one({}, {"$set": {"n": 1}}), [key], key)
    assert (caught.value.collection, caught.value.key) == ("elsewhere", {"signalId": unique, "bucketName": "b"})


async def test_error_of_its_own_takes_the_place_of_the_usual_one(on_failing: FailingServer) -> None:
    def translate(error: Exception, doing: str) -> StoreError | None:
        return StoreError(f"{doing}: ours") if getattr(error, "code", None) == 20 else None

    current_hub().is_format_checked = True  # as after the first request
    slot = SlotCollection(current_hub(), SPEC, translate=translate)
    for code, text in ((20, "looking: ours"), (21, "state: looking failed: MongoDB answered with error 21")):
        on_failing.fail("find", errorCode=code)
        with pytest.raises(StoreError, match=f"^{text}") as caught:
            await slot.read("looking", lambda: slot.find_all({}, None))
        assert getattr(caught.value.__cause__, "code", None) == code


async def test_error_without_an_answer_names_the_row(deployment: Deployment, unique: str) -> None:
    slot = SlotCollection(current_hub(), SPEC)
    error = slot.make_unanswered_error("writing", (unique, "b"), "nobody answers", True)
    assert isinstance(error, StoreUnavailableError)
    assert error.key == {"signalId": unique, "bucketName": "b"}
    assert error.may_be_applied
    error = slot.make_unanswered_error("writing", None, "nobody answers", False)
    assert (error.key, error.may_be_applied, error.hint) == (None, False, "it was not sent")
    assert current_hub().config.CC_MONGO_CONNECTION_STRING.hosts in str(error)


async def test_server_that_is_not_the_primary_is_refused_by_its_address(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = SlotCollection(current_hub(), SPEC)
    await slot.check_role("watching")  # of one that is
    monkeypatch.setattr(Hub, "is_secondary", True)
    hosts = re.escape(current_hub().config.CC_MONGO_CONNECTION_STRING.hosts)
    with pytest.raises(StoreUnavailableError, match=f"^state: watching failed: MongoDB at {hosts} is unavailable"):
        await slot.check_role("watching")
    with pytest.raises(StoreUnavailableError, match=r"^state: reading failed: .* it is not the primary"):
        slot.refuse_secondary()


# Aggregations


async def test_aggregation_gives_all_documents_decoded_or_as_they_are_sent(deployment: Deployment, unique: str) -> None:
    contexts = [(unique, f"b{number}") for number in range(250)]  # more than the first reply
    await StateAdapter.write_many([(context, {"n": n}) for n, context in enumerate(contexts)], WHEN)
    documents = SlotCollection(current_hub(), SPEC).documents
    pipeline: list[dict[str, Any]] = [{"$project": {"n": "$payload.n", "_id": 0}}, {"$sort": {"n": 1}}]
    expected = [{"n": number} for number in range(250)]
    assert await aggregate(documents, pipeline) == expected
    replies = await aggregate_raw(documents, pipeline)
    assert [row for reply in replies for row in bson.decode_all(reply)] == expected
    assert await aggregate_raw(documents, [{"$match": {"n": 1}}]) == []


# Indexes


async def test_indexes_are_created_once_for_all_who_wait_for_them(deployment: Deployment) -> None:
    created = 0

    async def create() -> None:
        nonlocal created
        created += 1
        await asyncio.sleep(0)

    slot = SlotCollection(current_hub(), SPEC, create_indexes=create)
    await asyncio.gather(*(slot.prepare() for _ in range(5)))
    await slot.write("writing", _nothing)
    assert (created, slot.is_indexed) == (1, True)
    slot.forget_indexes()
    await slot.read("reading", _nothing_to_read)
    assert created == 1  # reads need none here
    await slot.write("writing", _nothing)
    assert created == 2


@pytest.mark.parametrize("needed", [True, False])
async def test_reads_wait_for_indexes_where_they_need_them(deployment: Deployment, needed: bool) -> None:
    created = []

    async def create() -> None:
        created.append(1)

    slot = SlotCollection(current_hub(), CandleAdapter.spec, create_indexes=create, reads_need_indexes=needed)
    await slot.read("reading", _nothing_to_read)
    await slot.read("reading", _nothing_to_read)
    assert created == [1] * needed
    assert slot.is_indexed is needed


async def test_indexes_that_could_not_be_created_are_tried_again(deployment: Deployment) -> None:
    errors: list[Exception] = [StoreError("first")]

    async def create() -> None:
        if errors:
            raise errors.pop()

    slot = SlotCollection(current_hub(), SPEC, create_indexes=create)
    with pytest.raises(StoreError, match=r"^first$"):
        await slot.prepare()
    assert not slot.is_indexed
    await slot.prepare()
    assert slot.is_indexed


async def test_error_while_indexes_are_created_says_so(deployment: Deployment) -> None:
    async def create() -> None:
        raise OperationFailure("no", 20)

    slot = SlotCollection(current_hub(), SPEC, create_indexes=create)
    with pytest.raises(StoreError, match=r"^state: preparing the indexes failed: MongoDB answered with error 20"):
        await slot.write("writing", _nothing)


async def _nothing(_: Any) -> None:
    return None


async def _nothing_to_read() -> None:
    return None
