"""Capability ``compare_and_set``: writes that depend on what is stored."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from backtest_mongo import SLOTS, ConflictError, SlotSpec
from backtest_mongo.testing.conformance.instances import Instances, within
from backtest_mongo.testing.conformance.slots import VERSIONED, WHEN, Slot, each_slot, get_slot, make_payload, needs

pytestmark: list[Any] = [pytest.mark.capability("compare_and_set"), pytest.mark.asyncio(loop_scope="function")]


async def check_refused(slot: Slot, value: Any, **condition: Any) -> None:
    """Check that a write is refused, that its error says what is there, and that this has not changed."""
    before = await slot.read_version()
    with pytest.raises(ConflictError) as caught:
        await slot.write(value, **condition)
    found = slot.nothing if caught.value.found is None else caught.value.found
    assert (found, caught.value.version) == tuple(before) == tuple(await slot.read_version())


@each_slot(*VERSIONED)
async def test_read_with_version_finds_what_a_read_finds(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    assert (await slot.read_version()).value == slot.nothing
    await slot.write(make_payload(spec))
    found = await slot.read_version()
    assert found.value == make_payload(spec)
    assert found == await slot.read_version()
    assert type(found.version) is str


@each_slot(*VERSIONED)
async def test_write_if_absent_stores_the_first_and_refuses_the_second(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    await slot.write(make_payload(spec, 1), if_absent=True)
    assert await slot.read() == make_payload(spec, 1)
    await check_refused(slot, make_payload(spec, 2), if_absent=True)


@each_slot(*VERSIONED)
async def test_write_with_the_version_that_was_read_replaces_the_row(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    versions = [(await slot.read_version()).version]
    for number in range(4):
        await slot.write(make_payload(spec, number), expect=versions[-1])
        value, version = await slot.read_version()
        assert value == make_payload(spec, number)
        assert version not in versions
        versions.append(version)
    for version in versions[:-1]:
        await check_refused(slot, make_payload(spec, 9), expect=version)


@each_slot(*VERSIONED)
async def test_version_may_be_used_by_another_instance(store: Any, instances: Instances, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    await slot.write(make_payload(spec, 1))
    text = json.dumps((await slot.read_version()).version)
    again = get_slot(await instances.reopen(), spec)
    await again.write(make_payload(spec, 2), expect=json.loads(text))
    await check_refused(again, make_payload(spec, 3), expect=json.loads(text))


@each_slot("bucket")
async def test_removed_row_is_absent_and_has_a_version(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    await slot.write(make_payload(spec, 1))
    before = (await slot.read_version()).version
    await slot.remove()
    await check_refused(slot, make_payload(spec, 2), expect=before)
    removed = (await slot.read_version()).version
    await slot.write(make_payload(spec, 2), if_absent=True)
    await check_refused(slot, make_payload(spec, 3), expect=removed)
    await slot.remove()
    await slot.write(make_payload(spec, 4), expect=(await slot.read_version()).version)
    assert await slot.read() == make_payload(spec, 4)


@each_slot("document", payload="object|null")
async def test_cleared_row_is_absent(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    await slot.write(make_payload(spec, 1))
    await slot.write(None)
    await slot.write(make_payload(spec, 2), if_absent=True)
    await check_refused(slot, make_payload(spec, 3), if_absent=True)


@each_slot(*VERSIONED, when=True)
async def test_version_tells_two_times_of_one_payload_apart(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    await slot.write(make_payload(spec), when=WHEN)
    version = (await slot.read_version()).version
    await slot.write(make_payload(spec), when=WHEN + 1)
    await check_refused(slot, make_payload(spec), expect=version)


@each_slot(*VERSIONED)
async def test_of_many_tasks_that_write_if_absent_one_succeeds(
    store: Any, instances: Instances, spec: SlotSpec
) -> None:
    slots = [get_slot(store, spec), get_slot(await instances.open(), spec)]
    outcomes = await asyncio.gather(
        *(slots[number % 2].write(make_payload(spec, number), if_absent=True) for number in range(20)),
        return_exceptions=True,
    )
    (winner,) = (number for number, outcome in enumerate(outcomes) if outcome is None)
    assert {type(outcome) for outcome in outcomes if outcome is not None} == {ConflictError}
    assert await slots[0].read() == await slots[1].read() == make_payload(spec, winner)


@needs("state")
async def test_tasks_that_count_with_versions_lose_no_count(store: Any, instances: Instances) -> None:
    adapters = [instance.state("s", "counter") for instance in (store, await instances.open())]

    async def count(adapter: Any) -> None:
        value, version = await adapter.read_state_data(with_version=True)
        while True:
            try:
                await adapter.write_state_data({"n": (value or {"n": 0})["n"] + 1}, WHEN, expect=version)
            except ConflictError as conflict:
                value, version = conflict.found, conflict.version
            else:
                return

    await within(asyncio.gather(*(count(adapter) for adapter in adapters * 10)))
    assert await adapters[0].read_state_data() == {"n": 20}


@pytest.mark.capability("processes")
@needs("state")
async def test_processes_that_count_with_versions_lose_no_count(store: Any, instances: Instances) -> None:
    workers = [instances.start("add", "state", "entry", 10) for _ in range(3)]
    for said in ("ready", "done"):
        assert [await worker.hear() for worker in workers] == [said] * 3
        for worker in workers:
            worker.say()
    slot = get_slot(store, next(spec for spec in SLOTS if spec.name == "state"))
    assert await slot.read() == {"n": 30}
