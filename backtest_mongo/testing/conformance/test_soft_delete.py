"""Capability ``soft_delete``: removed rows are hidden, remembered, and come back when they are written."""

from __future__ import annotations

from typing import Any

import pytest

from backtest_mongo import SlotSpec
from backtest_mongo.testing.conformance.instances import Instances
from backtest_mongo.testing.conformance.slots import each_slot, get_slot, make_payload

pytestmark: list[Any] = [pytest.mark.capability("soft_delete"), pytest.mark.asyncio(loop_scope="function")]


@each_slot("bucket")
async def test_removed_row_is_neither_read_nor_listed(store: Any, instances: Instances, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    await slot.write(make_payload(spec, 1), "a")
    await slot.write(make_payload(spec, 2), "b")
    await slot.remove("a")
    for instance in (store, await instances.open()):
        found = get_slot(instance, spec)
        assert [await found.read(key) for key in "ab"] == [None, make_payload(spec, 2)]
        assert await found.list_keys() == ["b"]


@each_slot("bucket")
async def test_removing_twice_or_what_is_absent_changes_nothing(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    await slot.remove("absent")
    assert await slot.read("absent") is None
    assert await slot.list_keys() == []
    await slot.write(make_payload(spec), "a")
    await slot.remove("a")
    await slot.remove("a")
    assert await slot.read("a") is None
    assert await slot.list_keys() == []


@each_slot("bucket")
async def test_removed_row_comes_back_when_it_is_written(store: Any, instances: Instances, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    await slot.write(make_payload(spec, 1), "a")
    for number in range(2, 4):
        await slot.remove("a")
        await slot.write(make_payload(spec, number), "a")
        assert await slot.read("a") == make_payload(spec, number)
    assert await slot.list_keys() == ["a"]
    assert await get_slot(await instances.open(), spec).list_keys() == ["a"]


@each_slot("bucket")
async def test_payload_that_says_it_is_removed_is_stored_as_removed(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    await slot.write({"removed": True}, "a")
    assert await slot.read("a") is None
    assert await slot.list_keys() == []
    await slot.write({"removed": False, "n": 1}, "a")
    assert await slot.read("a") == {"removed": False, "n": 1}


@each_slot("bucket", items=True)
async def test_removed_row_is_remembered(store: Any, instances: Instances, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    assert await slot.has("a") is False
    await slot.write(make_payload(spec), "a")
    assert await slot.has("a") is True
    await slot.remove("a")
    assert await slot.has("a") is True
    assert await get_slot(await instances.reopen(), spec).has("a") is True


@each_slot("bucket")
async def test_removal_is_of_one_key_in_one_context(store: Any, spec: SlotSpec) -> None:
    contexts = [get_slot(store, spec), *(get_slot(store, spec, **{name: "another"}) for name in spec.context)]
    for slot in contexts:
        await slot.write(make_payload(spec), "a")
    await contexts[0].remove("a")
    assert [await slot.read("a") for slot in contexts] == [None, *[make_payload(spec)] * len(spec.context)]
