"""Capability ``lists``: lists are complete, however long, and in order."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from backtest_mongo import SlotSpec
from backtest_mongo.testing.conformance.instances import Instances
from backtest_mongo.testing.conformance.slots import ALIKE, each_slot, get_slot, make_payload

pytestmark: list[Any] = [pytest.mark.capability("lists"), pytest.mark.asyncio(loop_scope="function")]

#: More than a page of any of the usual sizes.
COUNT: Final = 1_100
NEWEST: Final = 200


@each_slot("bucket")
async def test_list_of_keys_is_complete_and_in_order(store: Any, instances: Instances, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    keys = [f"{index:05}" for index in range(COUNT)]
    for start in range(0, COUNT, 100):
        await asyncio.gather(*(slot.write(make_payload(spec), key) for key in keys[start : start + 100][::-1]))
    assert await slot.list_keys() == keys
    assert await get_slot(await instances.open(), spec).list_keys() == keys


@each_slot("collection", newest=None)
async def test_list_of_items_is_complete_and_in_order(store: Any, instances: Instances, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    rows = [{"id": f"{index:05}", "index": index} for index in range(COUNT)]
    await slot.write_list(rows[::-1])
    assert await slot.list_rows() == rows
    assert await get_slot(await instances.open(), spec).list_rows() == rows


@each_slot("collection", newest=NEWEST)
async def test_newest_rows_come_oldest_first_and_limit_changes_how_many(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    rows = [{"id": f"{(index * 7) % 250}", "index": index} for index in range(250)]
    await slot.write_list(rows[:130])
    await slot.write_list(rows[130:])
    await slot.write_list([{**rows[0], "again": True}])  # written first, so it stays the oldest
    assert await slot.list_rows() == rows[50:]
    assert await slot.list_rows(limit=3) == rows[-3:]
    assert [row["id"] for row in await slot.list_rows(limit=1_000)] == [row["id"] for row in rows]


@each_slot("collection", newest=NEWEST)
async def test_more_than_a_thousand_newest_rows_are_read_if_they_are_asked_for(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    rows = [{"id": f"{(index * 7) % COUNT}", "index": index} for index in range(COUNT)]
    await slot.write_list(rows)
    assert await slot.list_rows(limit=2 * COUNT) == rows


@each_slot("bucket", "collection")
async def test_order_is_that_of_code_points_or_of_writing(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    keys = [*ALIKE, "\U0001f4c8", "\ufffd", "Z", "a"]  # in UTF-16 the first two change places
    for number, key in enumerate(keys):
        await slot.write(make_payload(spec, number), key)
    assert await slot.list_keys() == (keys if spec.newest else sorted(keys))


@each_slot("bucket")
async def test_list_has_the_rows_of_its_context_alone(store: Any, spec: SlotSpec) -> None:
    await get_slot(store, spec).write(make_payload(spec), "a")
    for name in spec.context:
        await get_slot(store, spec, **{name: "another"}).write(make_payload(spec), "b")
    assert await get_slot(store, spec).list_keys() == ["a"]


@each_slot("bucket", items=True)
async def test_list_of_pairs_has_the_payloads_that_reads_return(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    for number, key in enumerate("cab"):
        await slot.write(make_payload(spec, number), key)
    assert await slot.list_rows() == [
        (key, make_payload(spec, number)) for key, number in (("a", 1), ("b", 2), ("c", 0))
    ]


@each_slot("bucket")
async def test_list_goes_on_while_rows_are_written_and_has_those_that_were_there(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    before = [f"{number:03}" for number in range(0, 300, 2)]
    for key in before:
        await slot.write(make_payload(spec), key)
    seen: list[str] = []
    async for row in getattr(slot.adapter, f"list_{spec.noun}_data")():
        seen.append(row[0] if spec.items else row)
        if len(seen) % 10 == 1:
            await slot.write(make_payload(spec), f"{len(seen):03}-more")
    assert [key for key in seen if key in before] == before
    assert seen == sorted(set(seen))
