"""Capability ``rows``: one row per natural key, replaced whole, and seen by the next read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from backtest_mongo import SlotSpec
from backtest_mongo.testing.conformance.instances import Instances
from backtest_mongo.testing.conformance.slots import ROWS, VERSIONED, each_slot, fit_payload, get_slot, make_payload

pytestmark: list[Any] = [pytest.mark.capability("rows"), pytest.mark.asyncio(loop_scope="function")]


@each_slot(*ROWS)
async def test_nothing_stored_reads_as_the_slot_says(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    assert await slot.read() == slot.nothing


@each_slot(*ROWS)
async def test_written_row_is_read_back_equal(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    await slot.write(make_payload(spec))
    assert await slot.read() == slot.wrap(make_payload(spec))


@each_slot(*ROWS)
async def test_second_write_replaces_the_whole_payload(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    await slot.write(make_payload(spec))
    await slot.write(fit_payload(spec, {"other": 2}))
    assert await slot.read() == slot.wrap(fit_payload(spec, {"other": 2}))


@each_slot(*VERSIONED)
async def test_contexts_do_not_share_rows(store: Any, spec: SlotSpec) -> None:
    await get_slot(store, spec).write(make_payload(spec))
    for name in spec.context:
        changed: Any = False if name == "backtest" else f"another-{name}"
        other = get_slot(store, spec, **{name: changed})
        assert await other.read() == other.nothing
        await other.write(make_payload(spec, 2))
    assert await get_slot(store, spec).read() == make_payload(spec)


@each_slot("collection")
async def test_backtest_and_live_lists_do_not_share_rows(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    await slot.write(make_payload(spec))
    assert await slot.list_keys() == ["entry-1"]
    if "backtest" in spec.context:
        assert await get_slot(store, spec, backtest=False).list_rows() == []


@each_slot(*ROWS)
async def test_keys_of_one_context_are_rows_of_their_own(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    await slot.write(make_payload(spec, 1), "a")
    await slot.write(make_payload(spec, 2), "b")
    expected = (2, 2) if spec.shape == "document" else (1, 2)
    assert [await slot.read(key) for key in "ab"] == [slot.wrap(make_payload(spec, number)) for number in expected]


@each_slot("bucket", "collection")
async def test_row_that_is_written_twice_is_listed_once(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    for number in range(3):
        await slot.write(make_payload(spec, number))
    assert await slot.list_keys() == ["entry-1"]


@each_slot("document", payload="object|null")
async def test_none_clears_a_row(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    await slot.write(make_payload(spec))
    await slot.write(None)
    assert await slot.read() is None
    await slot.write(make_payload(spec, 2))
    assert await slot.read() == make_payload(spec, 2)


@each_slot("collection")
async def test_empty_list_writes_nothing(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    await slot.write_list([])
    assert await slot.list_rows() == []


@each_slot("collection")
async def test_duplicate_id_in_one_list_is_stored_once_with_its_last_payload(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    await slot.write_list([{"id": "a", "n": 1}, {"id": "b", "n": 2}, {"id": "a", "n": 3}])
    assert await slot.list_rows() == [{"id": "a", "n": 3}, {"id": "b", "n": 2}]


@each_slot(*ROWS)
async def test_write_is_read_by_another_adapter_and_another_instance(
    store: Any, instances: Instances, spec: SlotSpec
) -> None:
    other = await instances.open()
    for number in range(1, 4):
        writer, reader = (store, other) if number % 2 else (other, store)
        await get_slot(writer, spec).write(make_payload(spec, number))
        for instance in (writer, reader):
            slot = get_slot(instance, spec)
            assert await slot.read() == slot.wrap(make_payload(spec, number))


@each_slot(*ROWS)
async def test_an_absence_that_was_read_is_not_remembered(store: Any, instances: Instances, spec: SlotSpec) -> None:
    other = await instances.open()
    slot = get_slot(store, spec)
    assert await slot.read() == slot.nothing
    await get_slot(other, spec).write(make_payload(spec))
    assert await slot.read() == slot.wrap(make_payload(spec))


@each_slot()
async def test_adapter_may_be_waited_for_at_any_time(store: Any, spec: SlotSpec) -> None:
    adapter = get_slot(store, spec).adapter
    await asyncio.gather(*(adapter.wait_for_init(initial) for initial in (True, False)))
    await adapter.wait_for_init()


@each_slot(dispose=True)
async def test_dispose_deletes_nothing(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    await slot.write(make_payload(spec))
    slot.adapter.dispose()
    assert await get_slot(store, spec).read() == make_payload(spec)
