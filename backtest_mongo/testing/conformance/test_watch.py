"""Capability ``watch``: changes as they happen, and again from a token on."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest

from backtest_mongo import SlotSpec
from backtest_mongo.testing.conformance.instances import Instances, within
from backtest_mongo.testing.conformance.slots import (
    ENTRY,
    MINUTE,
    ROWS,
    WHEN,
    each_slot,
    get_slot,
    make_candles,
    make_context,
    make_payload,
    needs,
)

pytestmark: list[Any] = [pytest.mark.capability("watch"), pytest.mark.asyncio(loop_scope="function")]


async def take(changes: Any, count: int) -> list[Any]:
    return [await within(anext(changes)) for _ in range(count)]


@each_slot(*ROWS)
async def test_write_is_reported_with_what_it_wrote(store: Any, instances: Instances, spec: SlotSpec) -> None:
    slot, other = get_slot(store, spec), get_slot(await instances.open(), spec)
    await slot.write(make_payload(spec, 0))
    async with slot.adapter.watch() as changes:
        await other.write(make_payload(spec, 1))
        (change,) = await take(changes, 1)
    expected = make_payload(spec, 1)
    assert change.payload == ({"id": ENTRY, **expected} if spec.shape == "collection" else expected)
    assert (change.kind, change.slot, change.context) == ("written", spec.name, make_context(spec, "x"))
    assert change.key == (ENTRY if spec.item else None)
    assert change.when == (WHEN if spec.when else None)


@each_slot("bucket")
async def test_changes_come_in_order_each_with_its_own_payload(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    async with slot.adapter.watch() as changes:
        for number in range(10):
            await slot.write(make_payload(spec, number))
        await slot.remove()
        await slot.write(make_payload(spec, 10))
        found = await take(changes, 12)
    assert [change.kind for change in found] == [*["written"] * 10, "removed", "written"]
    payloads = [make_payload(spec, number) for number in range(11)]
    assert [change.payload for change in found] == [*payloads[:10], None, payloads[10]]


@each_slot("document", "entry", "bucket")
async def test_watch_has_the_changes_of_its_context_alone(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    async with slot.adapter.watch() as changes:
        for name in spec.context:
            changed: Any = False if name == "backtest" else "another"
            await get_slot(store, spec, **{name: changed}).write(make_payload(spec, 1))
        await slot.write(make_payload(spec, 2))
        (change,) = await take(changes, 1)
    assert change.payload == make_payload(spec, 2)


@each_slot("bucket")
async def test_watch_goes_on_behind_a_token(store: Any, instances: Instances, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    async with slot.adapter.watch() as changes:
        for number in range(5):
            await slot.write(make_payload(spec, number))
        tokens = [change.token for change in await take(changes, 5)]
    again = get_slot(await instances.reopen(), spec)
    await again.write(make_payload(spec, 5))
    async with again.adapter.watch(after=tokens[2]) as changes:
        found = await take(changes, 3)
    assert [change.payload for change in found] == [make_payload(spec, number) for number in range(3, 6)]


@pytest.mark.capability("processes")
async def test_write_of_another_process_is_reported(
    store: Any, instances: Instances, row_specs: list[SlotSpec]
) -> None:
    async with AsyncExitStack() as stack:
        adapters = [get_slot(store, spec).adapter for spec in row_specs]
        watches = [await stack.enter_async_context(adapter.watch()) for adapter in adapters]
        instances.start("write", [spec.name for spec in row_specs], ENTRY)
        for spec, changes in zip(row_specs, watches, strict=True):
            (change,) = await take(changes, 1)
            expected = make_payload(spec)
            assert change.payload == ({"id": ENTRY, **expected} if spec.shape == "collection" else expected)


@pytest.mark.capability("transactions")
@needs("memory")
async def test_transaction_is_reported_after_its_end(store: Any) -> None:
    memory = store.memory("s", "notes")
    async with memory.watch() as changes:
        await memory.write_memory_data({"n": 0}, "a", WHEN)
        with pytest.raises(ZeroDivisionError):
            await abandon(store, memory)
        async with store.transaction(when=WHEN):
            await memory.write_memory_data({"n": 2}, "c", WHEN)
            await memory.write_memory_data({"n": 3}, "d", WHEN)
        found = await take(changes, 3)
    assert found[0].key == "a"
    assert sorted((change.key, change.payload["n"]) for change in found[1:]) == [("c", 2), ("d", 3)]


async def abandon(store: Any, memory: Any) -> None:
    """Write in a transaction that an exception leaves."""
    async with store.transaction(when=WHEN):
        await memory.write_memory_data({"n": 1}, "b", WHEN)
        raise ZeroDivisionError


@pytest.mark.capability("candles")
@needs("candle")
async def test_candle_is_reported(store: Any) -> None:
    series = store.candle("BTCUSDT", "1m", "x")
    async with series.watch() as changes:
        await series.write_candles_data(make_candles(1, MINUTE))
        (change,) = await take(changes, 1)
    assert (change.kind, change.key, change.payload) == ("written", MINUTE, make_candles(1, MINUTE)[0])
