"""A row that another program has written and that can't be decoded: it fails reads by its key, and nothing else."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any, Final

import bson
import pytest
from bson.raw_bson import RawBSONDocument

from backtest_mongo import (
    IntervalAdapter,
    MeasureAdapter,
    MemoryAdapter,
    NotificationAdapter,
    StateAdapter,
    StorageAdapter,
    StoreError,
    set_logger,
)
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.mongo import store
from tests.conftest import Deployment
from tests.support.changes import take_change, take_changes
from tests.support.uniform import WHEN

pytestmark = pytest.mark.either_driver

MARK: Final = "??????????"
NOT_UTF8: Final = b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7\xf6"
LIST_WARNING: Final = "a list lacks a row that can't be decoded"
WATCH_WARNING: Final = "a watch skipped a change of a row that can't be decoded"


async def spoil(deployment: Deployment, adapter: Any, query: dict[str, Any], field: str = "") -> None:
    """Put bytes that are no UTF-8 into a row's payload, or into another field of it."""
    collection = await deployment.collection(adapter.spec)
    row = await collection.find_one_and_delete(query)
    if field:
        row[field] = MARK
    else:
        row[adapter.spec.field]["note"] = MARK
    await collection.insert_one(encode_badly(row))


def encode_badly(document: dict[str, Any]) -> RawBSONDocument:
    raw = bson.encode(document)
    assert raw.count(MARK.encode()) == 1
    return RawBSONDocument(raw.replace(MARK.encode(), NOT_UTF8))


@pytest.fixture
def warnings_logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    set_logger(logging.getLogger("trading"))
    return caplog


def logged(caplog: pytest.LogCaptureFixture, warning: str = LIST_WARNING) -> list[str]:
    return [record.getMessage() for record in caplog.records if warning in record.getMessage()]


async def test_read_of_the_row_raises_an_error_that_names_its_slot_and_key(deployment: Deployment, unique: str) -> None:
    state = StateAdapter(unique, "b")
    await state.write_state_data({"n": 1}, WHEN)
    await spoil(deployment, state, {"signalId": unique})
    for _ in range(2):  # by its key, and by its id
        with pytest.raises(StoreError, match="reading failed: a stored document can't be decoded") as caught:
            await state.read_state_data()
        assert caught.value.slot == "state"
        assert caught.value.key == {"signalId": unique, "bucketName": "b"}
    await state.write_state_data({"n": 2}, WHEN)
    assert await state.read_state_data() == {"n": 2}


async def test_version_of_the_row_and_writes_that_depend_on_it_raise_the_error(
    deployment: Deployment, unique: str
) -> None:
    state = StateAdapter(unique, "b")
    await state.write_state_data({"n": 1}, WHEN)
    _, version = await state.read_state_data(with_version=True)
    await spoil(deployment, state, {"signalId": unique})
    calls: list[tuple[str, Any]] = [
        ("reading", state.read_state_data(with_version=True)),
        ("writing", state.write_state_data({"n": 2}, WHEN, if_absent=True)),
        ("writing", state.write_state_data({"n": 2}, WHEN, expect=version)),
    ]
    for doing, call in calls:
        with pytest.raises(StoreError, match=f"{doing} failed: a stored document can't be decoded") as caught:
            await call
        assert caught.value.key == {"signalId": unique, "bucketName": "b"}


@pytest.mark.parametrize("at_once", [1, 20])
async def test_cached_id_of_such_a_row_gives_another_key_its_own_row(
    deployment: Deployment, unique: str, at_once: int
) -> None:
    contexts = [(unique, f"b{number}") for number in range(at_once)]
    await StateAdapter.write_many([(context, {"n": 1}) for context in [*contexts, (unique, "spoilt")]], WHEN)
    await spoil(deployment, StateAdapter, {"bucketName": "spoilt"})
    row = await (await deployment.collection(StateAdapter.spec)).find_one({"bucketName": "spoilt"}, {"_id": 1})
    assert row is not None
    for read_all in (
        lambda: StateAdapter.read_many(contexts),
        lambda: asyncio.gather(*(StateAdapter(*context).read_state_data() for context in contexts)),
    ):
        current_hub().id_cache.local.put("state", contexts[-1], row["_id"], published=True)
        assert await read_all() == [{"n": 1}] * at_once


async def test_read_of_many_names_the_row_and_the_others_are_read(deployment: Deployment, unique: str) -> None:
    contexts = [(unique, f"b{number}") for number in range(20)]
    await StateAdapter.write_many([(context, {"n": 1}) for context in contexts], WHEN)
    await spoil(deployment, StateAdapter, {"bucketName": "b7"})
    with pytest.raises(StoreError, match="can't be decoded") as caught:
        await StateAdapter.read_many(contexts)
    assert caught.value.key == {"signalId": unique, "bucketName": "b7"}
    others = [context for context in contexts if context != (unique, "b7")]
    assert await StateAdapter.read_many(others) == [{"n": 1}] * 19


@pytest.mark.parametrize("place", ["first", "middle", "last"])
@pytest.mark.parametrize("page", [1000, 4, 1])
async def test_list_by_key_leaves_the_row_out_and_the_log_names_it(
    deployment: Deployment,
    warnings_logged: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    unique: str,
    place: str,
    page: int,
) -> None:
    monkeypatch.setattr(store, "PAGE", page)
    bad = {"first": "m0", "middle": "m3", "last": "m7"}[place]
    memory, measure = MemoryAdapter(unique, "notes"), MeasureAdapter(unique)
    for number in range(8):
        await memory.write_memory_data({"n": number}, f"m{number}", WHEN)
        await measure.write_measure_data({"n": number}, f"m{number}")
    await StorageAdapter(True).write_storage_data([{"id": f"m{number}", "n": number} for number in range(8)])
    await spoil(deployment, memory, {"memoryId": bad})
    await spoil(deployment, measure, {"entryKey": bad})
    await spoil(deployment, StorageAdapter, {"signalId": bad})
    expected = [number for number in range(8) if f"m{number}" != bad]
    for _ in range(2):
        assert [note["n"] async for _, note in memory.list_memory_data(WHEN)] == expected
        assert [key async for key in measure.list_measure_data()] == [f"m{number}" for number in expected]
        assert [row["n"] for row in await StorageAdapter(True).read_storage_data()] == expected
    assert sorted(logged(warnings_logged)) == sorted(
        f"{LIST_WARNING} slot={slot} collection={slot}-items key={key} error=InvalidBSON"
        for slot, key in (
            ("memory", {"signalId": unique, "bucketName": "notes", "memoryId": bad}),
            ("measure", {"bucket": unique, "entryKey": bad}),
            ("storage", {"backtest": True, "signalId": bad}),
        )
    )
    with pytest.raises(StoreError, match="can't be decoded") as caught:
        await memory.read_memory_data(bad)
    assert caught.value.key == {"signalId": unique, "bucketName": "notes", "memoryId": bad}


async def test_rows_beside_it_have_the_types_that_they_were_written_with(deployment: Deployment) -> None:
    written = [{"id": f"m{number}", "at": datetime(2024, 1, 2, 3, tzinfo=UTC)} for number in range(3)]
    await StorageAdapter(True).write_storage_data(written)
    assert await StorageAdapter(True).read_storage_data() == written
    await spoil(deployment, StorageAdapter, {"signalId": "m1"})
    assert await StorageAdapter(True).read_storage_data() == [written[0], written[2]]


async def test_list_of_the_newest_leaves_the_row_out_and_the_log_names_it(
    deployment: Deployment, warnings_logged: pytest.LogCaptureFixture
) -> None:
    notifications = NotificationAdapter(True)
    await notifications.write_notification_data([{"id": f"n{number}", "n": number} for number in range(6)])
    await spoil(deployment, notifications, {"notificationId": "n4"})
    assert [row["n"] for row in await notifications.read_notification_data()] == [0, 1, 2, 3, 5]
    (line,) = logged(warnings_logged)
    assert "slot=notification" in line
    assert "{'backtest': True, 'notificationId': 'n4'}" in line


@pytest.mark.usefixtures("warnings_logged")
async def test_list_that_cannot_continue_after_the_row_fails(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, unique: str
) -> None:
    interval = IntervalAdapter(unique)
    for number in range(6):
        await interval.write_interval_data({"n": number}, f"i{number}", WHEN)
    await spoil(deployment, interval, {"entryKey": "i5"}, "entryKey")
    # Nothing comes after it.
    assert [key async for key in interval.list_interval_data()] == [f"i{number}" for number in range(5)]
    monkeypatch.setattr(store, "PAGE", 7)  # one more than there are
    assert [key async for key in interval.list_interval_data()] == [f"i{number}" for number in range(5)]
    monkeypatch.setattr(store, "PAGE", 6)  # so that something may
    with pytest.raises(StoreError, match="listing failed: a stored document can't be decoded"):
        _ = [key async for key in interval.list_interval_data()]


@pytest.mark.parametrize("is_of_slot", [False, True])
@pytest.mark.parametrize("how", ["insert", "replace", "update"])
async def test_watch_skips_the_change_and_the_log_names_the_row(
    deployment: Deployment, warnings_logged: pytest.LogCaptureFixture, unique: str, how: str, is_of_slot: bool
) -> None:
    memory = MemoryAdapter(unique, "notes")
    collection = await deployment.collection(MemoryAdapter.spec)
    for name in ("good", "bad"):
        await memory.write_memory_data({"n": 0}, name, WHEN)
    row = await collection.find_one({"memoryId": "bad"})
    spoilt = encode_badly({**row, MemoryAdapter.spec.field: {"note": MARK}})
    async with MemoryAdapter.watch_all() if is_of_slot else memory.watch() as changes:
        for n in (1, 2, 3):
            if how == "insert":
                await collection.delete_one({"_id": row["_id"]})
                await collection.insert_one(spoilt)
            elif how == "replace":
                await collection.replace_one({"_id": row["_id"]}, spoilt)
            else:
                payload = encode_badly({MemoryAdapter.spec.field: {"note": MARK, "n": n}})
                await collection.update_one({"_id": row["_id"]}, {"$set": payload})
            await memory.write_memory_data({"n": n}, "good", WHEN)
        token = changes.token
        expected: list[Any] = [("written", "good", {"n": n}) for n in (1, 2, 3)]
        if how == "insert":
            # Only the first time is it the row that was read before, and so one whose key is known.
            deleted = [("deleted", "bad", None), *[("deleted", None, None)] * (2 * is_of_slot)]
            expected = sorted(expected + deleted, key=str)
        changed = [(change.kind, change.key, change.payload) for change in await take_changes(changes, len(expected))]
        assert (sorted(changed, key=str) if how == "insert" else changed) == expected
        await memory.write_memory_data({"n": 4}, "bad", WHEN)
        change = await take_change(changes)
        assert (change.context, change.key, change.payload) == (memory.context, "bad", {"n": 4})
        await collection.delete_one({"_id": row["_id"]})
        change = await take_change(changes)
        assert (change.kind, change.context, change.key) == ("deleted", memory.context, "bad")
    key = {"signalId": unique, "bucketName": "notes", "memoryId": "bad"}
    assert logged(warnings_logged, WATCH_WARNING) == [
        f"{WATCH_WARNING} slot=memory collection=memory-items key={key} error=InvalidBSON"
    ]
    async with memory.watch(after=token) as changes:
        assert (await take_change(changes)).kind in ("deleted", "written")


async def test_watch_begins_over_a_row_whose_key_cannot_be_decoded(deployment: Deployment, unique: str) -> None:
    interval = IntervalAdapter(unique)
    for name in ("bad", "good"):
        await interval.write_interval_data({"n": 1}, name, WHEN)
    await spoil(deployment, interval, {"entryKey": "bad"}, "entryKey")
    collection = await deployment.collection(IntervalAdapter.spec)
    async with interval.watch() as changes:
        await collection.delete_many({"entryKey": {"$ne": "good"}})
        await collection.delete_many({"entryKey": "good"})
        changed = await take_changes(changes, 2)
    assert [(change.kind, change.context, change.key) for change in changed] == [
        ("deleted", None, None),
        ("deleted", interval.context, "good"),
    ]


async def test_watch_remembers_the_rows_of_all_replies_beside_it(deployment: Deployment, unique: str) -> None:
    interval = IntervalAdapter(unique)
    keys = [f"i{number:03}" for number in range(150)]  # more than the first reply
    await asyncio.gather(*(interval.write_interval_data({"n": 1}, key, WHEN) for key in keys))
    await spoil(deployment, interval, {"entryKey": keys[-1]}, "entryKey")
    collection = await deployment.collection(IntervalAdapter.spec)
    async with interval.watch() as changes:
        for key in (keys[0], keys[-2]):
            await collection.delete_one({"entryKey": key})
        changed = await take_changes(changes, 2)
    assert [(change.kind, change.key) for change in changed] == [("deleted", keys[0]), ("deleted", keys[-2])]
