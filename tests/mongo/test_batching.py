"""Concurrent calls are batched; each caller has its own answer, its own error and its own cancellation."""

from __future__ import annotations

import asyncio
from typing import Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument

from backtest_mongo import (
    InputError,
    MeasureAdapter,
    SlotSpec,
    StateAdapter,
    StoreError,
    StoreUnavailableError,
    setup,
)
from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.connection import batching
from backtest_mongo.connection.hub_registry import current_hub
from tests.conftest import Deployment, operations
from tests.support import uniform
from tests.support.uniform import WHEN, payload, read, write

pytestmark = pytest.mark.either_driver


def states(unique: str, count: int) -> list[StateAdapter]:
    return [StateAdapter(unique, f"b{number:04}") for number in range(count)]


@pytest.mark.shapes("document", "entry", "bucket")
async def test_each_caller_of_a_batch_gets_its_own_row(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    adapters = [uniform.adapter(spec, f"{unique}-{number}") for number in range(30)]
    await asyncio.gather(*(write(adapter, payload(spec, number)) for number, adapter in enumerate(adapters)))
    await deployment.forget()
    for _ in range(2):  # cold, and warm
        found = await asyncio.gather(*(read(adapter) for adapter in adapters))
        assert found == [payload(spec, number) for number in range(30)]
    absent = [read(uniform.adapter(spec, f"{unique}-absent-{number}")) for number in range(3)]
    assert await asyncio.gather(*absent, read(adapters[7])) == [uniform.nothing(spec)] * 3 + [payload(spec, 7)]


async def test_concurrent_reads_are_one_query_and_writes_one_batch(deployment: Deployment, unique: str) -> None:
    slots = states(unique, 200)
    await slots[0].write_state_data({"n": 0}, WHEN)
    before = await operations()
    await asyncio.gather(*(slot.write_state_data({"n": 1}, WHEN) for slot in slots[1:]))
    assert await operations() - before == {"update": 199}
    before = await operations()
    assert await asyncio.gather(*(slot.read_state_data() for slot in slots[1:])) == [{"n": 1}] * 199
    assert await operations() - before == {"query": 1}
    # Ids that this process does not know yet are asked for once, so that Redis has them before the writes return.
    await deployment.forget()
    await slots[0].write_state_data({"n": 2}, WHEN)  # the server asks itself about a session that it has not seen yet
    before = await operations()
    await asyncio.gather(*(slot.write_state_data({"n": 2}, WHEN) for slot in slots[1:]))
    assert await operations() - before == {"update": 199, "query": 1}


async def test_redis_has_every_id_when_batched_writes_have_returned(deployment: Deployment, unique: str) -> None:
    slots = states(unique, 50)
    await asyncio.gather(*(slot.write_state_data({"n": 1}, WHEN) for slot in slots))
    for row in await deployment.rows(StateAdapter.spec):
        assert await deployment.cached(f"state_cache:{unique}:{row['bucketName']}") == str(row["_id"])


async def test_lone_call_is_sent_alone(deployment: Deployment, unique: str) -> None:
    (state,) = states(unique, 1)
    await state.write_state_data({"n": 0}, WHEN)
    before = await operations()
    await state.write_state_data({"n": 1}, WHEN)
    assert await state.read_state_data() == {"n": 1}
    # A bulk write would count as an update, which a findAndModify does not.
    assert await operations() - before == {"query": 1}


async def test_same_row_read_by_many_is_a_copy_for_each(deployment: Deployment, unique: str) -> None:
    (state,) = states(unique, 1)
    await state.write_state_data({"levels": [1]}, WHEN)
    found = await asyncio.gather(*(state.read_state_data() for _ in range(5)))
    assert found == [{"levels": [1]}] * 5
    for row in found:
        assert row is not None
        row["levels"].append(2)
    assert [row["levels"] for row in found if row] == [[1, 2]] * 5


async def test_writes_of_one_key_are_carried_out_in_the_order_of_their_calls(
    deployment: Deployment, unique: str
) -> None:
    first, second, third = states(unique, 3)
    for _ in range(10):
        await asyncio.gather(
            *(first.write_state_data({"n": number}, WHEN) for number in range(7)),
            *(second.write_state_data({"n": number}, WHEN) for number in range(3)),
            third.write_state_data({"n": 0}, WHEN),
        )
        assert await asyncio.gather(*(slot.read_state_data() for slot in (first, second, third))) == [
            {"n": 6},
            {"n": 2},
            {"n": 0},
        ]


async def test_removal_follows_the_write_that_was_called_before_it(deployment: Deployment, unique: str) -> None:
    measure = MeasureAdapter(unique)
    for _ in range(10):
        await asyncio.gather(measure.write_measure_data({"n": 1}, "k"), _soon(measure.remove_measure_data("k")))
        assert await measure.read_measure_data("k") is None


async def _soon(call: Any) -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await call


async def test_bad_input_of_one_caller_does_not_affect_others(deployment: Deployment, unique: str) -> None:
    slots = states(unique, 10)
    values: list[Any] = [{"n": number} for number in range(10)]
    values[4] = {"n": {4}}
    outcomes = await asyncio.gather(
        *(slot.write_state_data(value, WHEN) for slot, value in zip(slots, values, strict=True)),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes].count(type(None)) == 9
    assert isinstance(outcomes[4], InputError)
    assert len(await deployment.rows(StateAdapter.spec)) == 9


async def test_row_that_the_server_refuses_fails_its_own_caller(deployment: Deployment, unique: str) -> None:
    slots = states(unique, 10)
    await slots[0].read_state_data()
    # An index that is not ours and lets only one row have this value.
    collection = await deployment.collection(StateAdapter.spec)
    partial = {"partialFilterExpression": {"payload.only": True}}
    await collection.create_index([("payload.only", 1)], unique=True, **partial)
    values = [{"n": number, "only": number in (3, 6)} for number in range(10)]
    outcomes = await asyncio.gather(
        *(slot.write_state_data(value, WHEN) for slot, value in zip(slots, values, strict=True)),
        return_exceptions=True,
    )
    failed = [number for number, outcome in enumerate(outcomes) if outcome is not None]
    assert len(failed) == 1
    assert failed[0] in (3, 6)
    assert "a unique index on payload.only, which this library did not create" in str(outcomes[failed[0]])
    assert getattr(outcomes[failed[0]], "key", None) == {"signalId": unique, "bucketName": f"b{failed[0]:04}"}


@pytest.mark.parametrize("is_known", [True, False])
async def test_row_that_can_t_be_decoded_fails_its_own_readers(
    deployment: Deployment, unique: str, is_known: bool
) -> None:
    slots = states(unique, 10)
    await asyncio.gather(*(slot.write_state_data({"n": n}, WHEN) for n, slot in enumerate(slots)))
    collection = await deployment.collection(StateAdapter.spec)
    for number in (3, 7):
        row = await collection.find_one({"bucketName": f"b{number:04}"})
        text = bson.encode({**row, "payload": "MARK"}).replace(b"MARK", b"\xff\xfe\xfd\xfc")  # no UTF-8
        await collection.delete_one({"_id": row["_id"]})
        await collection.insert_one(RawBSONDocument(text))
    if not is_known:
        await deployment.forget()
    outcomes = await asyncio.gather(*(slot.read_state_data() for slot in slots * 2), return_exceptions=True)
    for number, outcome in enumerate(outcomes):
        if number % 10 in (3, 7):
            assert isinstance(outcome, StoreError)
            assert outcome.key == {"signalId": unique, "bucketName": f"b{number % 10:04}"}
        else:
            assert outcome == {"n": number % 10}


@pytest.mark.parametrize("victim", [0, 1, 4])
@pytest.mark.parametrize("turns", [0, 1, 2, 3, 10])
async def test_cancelled_caller_does_not_affect_others(
    deployment: Deployment, unique: str, victim: int, turns: int
) -> None:
    slots = states(unique, 5)
    await asyncio.gather(*(slot.write_state_data({"n": 0}, WHEN) for slot in slots))
    writes = [asyncio.ensure_future(slot.write_state_data({"n": 1}, WHEN)) for slot in slots]
    for _ in range(turns):
        await asyncio.sleep(0)
    writes[victim].cancel()
    await asyncio.wait(writes)
    assert [task.cancelled() for task in writes].count(True) <= 1
    reads = [asyncio.ensure_future(slot.read_state_data()) for slot in slots]
    for _ in range(turns):
        await asyncio.sleep(0)
    reads[victim].cancel()
    await asyncio.wait(reads)
    for number, task in enumerate(reads):
        if number != victim:
            assert task.result() == {"n": 1}
    # And nothing is stuck for whoever comes next.
    await asyncio.gather(*(slot.write_state_data({"n": 2}, WHEN) for slot in slots))
    assert await asyncio.gather(*(slot.read_state_data() for slot in slots)) == [{"n": 2}] * 5


async def test_caller_gets_its_answer_if_the_task_of_its_batch_is_cancelled_before_it_begins(
    deployment: Deployment, unique: str
) -> None:
    first, slot = states(unique, 2)
    await first.write_state_data({"n": 1}, WHEN)
    await first.read_state_data()
    for call in (slot.write_state_data({"n": 1}, WHEN), slot.read_state_data()):
        before = asyncio.all_tasks()
        caller: asyncio.Task[Any] = asyncio.ensure_future(call)
        await asyncio.sleep(0)
        for task in asyncio.all_tasks() - before - {caller}:
            task.cancel()
        await caller
    assert caller.result() == {"n": 1}


async def test_calls_that_exceed_one_batch_are_sent_in_several(deployment: Deployment, unique: str) -> None:
    slots = states(unique, 2 * batching.MAX_BATCH_CALLS + 100)
    await slots[0].read_state_data()
    await asyncio.gather(*(slot.write_state_data({"n": 1}, WHEN) for slot in slots))
    before = await operations()
    assert await asyncio.gather(*(slot.read_state_data() for slot in slots)) == [{"n": 1}] * len(slots)
    assert await operations() - before == {"query": 3}


async def test_large_rows_are_sent_in_several_batches(
    deployment: Deployment, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots = states(unique, 12)
    await slots[0].read_state_data()
    monkeypatch.setattr(batching, "MAX_BATCH_BYTES", 4_000_000)
    started: list[int] = []
    real = batching.Queue._take

    def take(self: Any) -> list[Any]:
        calls = real(self)
        started.append(len(calls))
        return calls

    monkeypatch.setattr(batching.Queue, "_take", take)
    await asyncio.gather(*(slot.write_state_data({"text": "x" * 1_000_000}, WHEN) for slot in slots))
    assert started == [4, 4, 4]
    assert len(await deployment.rows(StateAdapter.spec)) == 12


@pytest.mark.usefixtures("closing")
async def test_batch_on_a_missing_mongodb_fails_each_caller_by_its_key(driver: str, unique: str) -> None:
    await setup(
        CC_MONGO_CONNECTION_STRING="mongodb://127.0.0.1:1/x",
        CC_MONGO_TIMEOUT_MS=300,
        CC_REDIS_PORT=2,
        CC_MONGO_DRIVER=driver,
    )
    slots = states(unique, 5)
    # As after a start with MongoDB.
    slots[0]._store()._slot.is_indexed = True  # type: ignore[attr-defined]
    current_hub().is_format_checked = True
    calls = [*(slot.read_state_data() for slot in slots), *(slot.write_state_data({"n": 1}, WHEN) for slot in slots)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    for number, outcome in enumerate(outcomes):
        assert isinstance(outcome, StoreUnavailableError)
        assert outcome.key == {"signalId": unique, "bucketName": f"b{number % 5:04}"}


@pytest.mark.shapes("document")
async def test_many_contexts_are_written_and_read_at_once(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    adapter: Any = ADAPTERS[spec.name]
    contexts = [uniform.context(spec, f"{unique}-{number}") for number in range(20)]
    by_position = [tuple(context.values()) for context in contexts]
    when = (WHEN,) if spec.when else ()
    values = [payload(spec, number) for number in range(20)]
    await adapter.write_many(list(zip(by_position, values, strict=True)), *when)
    assert await adapter.read_many(contexts) == values
    assert await adapter.read_many([by_position[3], contexts[3], uniform.context(spec, "absent")]) == [
        values[3],
        values[3],
        uniform.nothing(spec),
    ]
    if spec.when:
        assert await adapter.read_many(contexts[:2], when=WHEN - 1) == [uniform.nothing(spec)] * 2
    assert await adapter.read_many([]) == []
    await adapter.write_many([], *when)


async def test_many_contexts_are_one_call_for_each_thousand(
    deployment: Deployment, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued: list[int] = []
    real = batching.Queue.call_all

    async def call_all(self: Any, calls: Any) -> list[Any]:
        queued.append(len(calls))
        return await real(self, calls)

    monkeypatch.setattr(batching.Queue, "call_all", call_all)
    contexts = [(unique, f"b{number:04}") for number in range(1_500)]
    await StateAdapter.write_many([(context, {"n": number}) for number, context in enumerate(contexts)], WHEN)
    assert await StateAdapter.read_many(contexts) == [{"n": number} for number in range(1_500)]
    assert queued == [2, 2]


async def test_concurrent_calls_with_a_few_contexts_share_a_request(
    deployment: Deployment, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts = [[(unique, f"b{number}-{place}") for place in range(3)] for number in range(20)]
    await StateAdapter.write_many([(contexts[0][0], {"n": -1})], WHEN)  # the indexes are there
    before = await operations()
    await asyncio.gather(*(StateAdapter.write_many([(one, {"n": 1}) for one in some], WHEN) for some in contexts))
    assert (await operations() - before)["update"] == 60
    trips: list[int] = []
    real = batching.Queue._carry_out

    async def carry_out(self: Any, calls: Any) -> None:
        trips.append(len(calls))
        await real(self, calls)

    monkeypatch.setattr(batching.Queue, "_carry_out", carry_out)
    found = await asyncio.gather(*(StateAdapter.read_many(some) for some in contexts))
    await asyncio.gather(*(StateAdapter.write_many([(one, {"n": 2}) for one in some], WHEN) for some in contexts))
    assert found == [[{"n": 1}] * 3] * 20
    assert trips == [60, 60]


async def test_one_bad_row_of_many_stops_all_from_being_sent(deployment: Deployment, unique: str) -> None:
    good = ((unique, "a"), {"n": 1})
    for bad, message in (
        (((unique, "b"), {"n": {1}}), r"data\.n can't be stored as BSON"),
        (((unique, {"$ne": None}), {"n": 1}), "bucket_name must be a str, not dict"),
        (((unique,), {"n": 1}), "lacks bucket_name"),
        (("ab", {"n": 1}), "a context must be a sequence or a mapping, not str"),
    ):
        with pytest.raises((InputError, TypeError), match=message):
            await StateAdapter.write_many([good, bad], WHEN)
    assert await deployment.rows(StateAdapter.spec) == []


async def test_later_of_two_writes_of_one_context_wins(deployment: Deployment, unique: str) -> None:
    await StateAdapter.write_many([((unique, "a"), {"n": number}) for number in range(5)], WHEN)
    assert await StateAdapter.read_many([(unique, "a")]) == [{"n": 4}]
