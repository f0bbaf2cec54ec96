"""Capability ``history``: a read with ``when`` finds what was stored at that time."""

from __future__ import annotations

from typing import Any

import pytest

from backtest_mongo import SLOTS, SlotSpec
from backtest_mongo.testing.conformance.instances import Instances
from backtest_mongo.testing.conformance.slots import VERSIONED, WHEN, Slot, each_slot, get_slot, make_payload, needs

pytestmark: list[Any] = [pytest.mark.capability("history"), pytest.mark.asyncio(loop_scope="function")]


async def write_three(slot: Slot) -> None:
    for number in range(1, 4):
        await slot.write(make_payload(slot.spec, number), when=WHEN + number * 10)


async def list_revisions(slot: Slot, **arguments: Any) -> list[tuple[int, Any]]:
    key = ("entry-1",) if slot.spec.item else ()
    return [(row.when, row.value) async for row in slot.adapter.history(*key, **arguments)]


@each_slot(*VERSIONED, when=True)
async def test_read_finds_what_was_true_then(store: Any, instances: Instances, spec: SlotSpec) -> None:
    await write_three(get_slot(store, spec))
    for instance in (store, await instances.open()):
        slot = get_slot(instance, spec)
        assert await slot.read(when=WHEN + 9) == slot.nothing
        for time, number in ((10, 1), (19, 1), (20, 2), (29, 2), (30, 3), (1_000, 3)):
            assert await slot.read(when=WHEN + time) == make_payload(spec, number)
        assert await slot.read() == make_payload(spec, 3)


@each_slot(*VERSIONED, when=True)
async def test_last_write_of_a_time_is_what_was_true_then(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    for number in range(1, 4):
        await slot.write(make_payload(spec, number), when=WHEN)
    assert await slot.read(when=WHEN) == make_payload(spec, 3)
    assert await list_revisions(slot) == [(WHEN, make_payload(spec, 3))]


@each_slot(*VERSIONED, when=True)
async def test_write_at_an_earlier_time_removes_later_versions(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    await write_three(slot)
    await slot.write(make_payload(spec, 4), when=WHEN + 15)
    assert await list_revisions(slot) == [(WHEN + 10, make_payload(spec, 1)), (WHEN + 15, make_payload(spec, 4))]
    for time, number in ((10, 1), (14, 1), (15, 4), (30, 4)):
        assert await slot.read(when=WHEN + time) == make_payload(spec, number)


@each_slot(*VERSIONED, when=True)
async def test_versions_are_listed_by_time(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    await write_three(slot)
    expected = [(WHEN + number * 10, make_payload(spec, number)) for number in range(1, 4)]
    assert await list_revisions(slot) == expected
    assert await list_revisions(slot, newest_first=True) == expected[::-1]
    assert await list_revisions(slot, since=WHEN + 20, until=WHEN + 30) == expected[1:]
    assert await list_revisions(slot, since=WHEN + 11, until=WHEN + 19) == []


@each_slot("bucket", when=True)
async def test_list_is_what_was_true_then(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    for time, key in ((10, "a"), (20, "b"), (30, "a"), (40, "c")):
        await slot.write(make_payload(spec, time), key, when=WHEN + time)
    for time, keys in ((9, []), (10, ["a"]), (20, ["a", "b"]), (39, ["a", "b"]), (40, ["a", "b", "c"])):
        assert await slot.list_keys(when=WHEN + time) == keys
    if spec.items:
        expected = [("a", make_payload(spec, 10)), ("b", make_payload(spec, 20))]
        assert await slot.list_rows(when=WHEN + 29) == expected


@pytest.mark.capability("transactions")
@needs("memory")
async def test_removal_is_a_version(store: Any) -> None:
    slot = get_slot(store, next(spec for spec in SLOTS if spec.name == "memory"))
    await slot.write(make_payload(slot.spec), when=WHEN)
    async with store.transaction(when=WHEN + 10):
        await slot.remove()
    assert await slot.read(when=WHEN + 9) == make_payload(slot.spec)
    assert await slot.read(when=WHEN + 10) is None
    assert await slot.list_keys(when=WHEN + 9) == ["entry-1"]
    assert await slot.list_keys() == []
