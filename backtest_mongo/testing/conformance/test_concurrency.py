"""Capability ``concurrency``: tasks and instances of one process may write one key and one context at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from backtest_mongo import SlotSpec
from backtest_mongo.testing.conformance.instances import Instances
from backtest_mongo.testing.conformance.slots import (
    MINUTE,
    ROWS,
    each_slot,
    fit_payload,
    get_slot,
    make_candles,
    make_payload,
    needs,
)

pytestmark: list[Any] = [pytest.mark.capability("concurrency"), pytest.mark.asyncio(loop_scope="function")]

WRITERS = 20


@each_slot(*ROWS)
async def test_writers_of_a_fresh_key_leave_one_whole_row(store: Any, instances: Instances, spec: SlotSpec) -> None:
    slots = [get_slot(store, spec), get_slot(await instances.open(), spec)]
    await asyncio.gather(*(slots[number % 2].write(make_payload(spec, number)) for number in range(WRITERS)))
    found = await slots[0].read()
    assert found == await slots[1].read()
    assert found in [slots[0].wrap(make_payload(spec, number)) for number in range(WRITERS)]
    if spec.shape in ("bucket", "collection"):
        assert await slots[0].list_keys() == ["entry-1"]


@each_slot("entry", "bucket", "collection")
async def test_writers_of_one_context_lose_no_row(store: Any, instances: Instances, spec: SlotSpec) -> None:
    slots = [get_slot(store, spec), get_slot(await instances.open(), spec)]
    keys = [f"{number:03}" for number in range(5 * WRITERS)]
    await asyncio.gather(*(slots[int(key) % 2].write(make_payload(spec, int(key)), key) for key in keys))
    for slot in slots:
        assert [await slot.read(key) for key in keys] == [slot.wrap(make_payload(spec, int(key))) for key in keys]
        if spec.shape != "entry":
            assert sorted(await slot.list_keys()) == keys


@each_slot("document", "bucket")
async def test_writers_of_different_contexts_lose_no_row(store: Any, spec: SlotSpec) -> None:
    slots = [get_slot(store, spec, f"{number}") for number in range(WRITERS)]
    await asyncio.gather(*(slot.write(make_payload(spec, number)) for number, slot in enumerate(slots)))
    assert [await slot.read() for slot in slots] == [make_payload(spec, number) for number in range(WRITERS)]


@each_slot(*ROWS)
async def test_reader_never_sees_half_a_payload(store: Any, instances: Instances, spec: SlotSpec) -> None:
    writing, reading = get_slot(store, spec), get_slot(await instances.open(), spec)
    payloads = [fit_payload(spec, {"a": n, "filler": "x" * (n * 397 % 5_000), "b": n}) for n in range(WRITERS)]
    await writing.write(payloads[0])

    async def write() -> None:
        for payload in payloads[1:]:
            await writing.write(payload)

    task = asyncio.ensure_future(write())
    seen = [await reading.read()]
    while not task.done():
        seen.append(await reading.read())
        await asyncio.sleep(0)
    await task
    assert await reading.read() == writing.wrap(payloads[-1])
    places = [[writing.wrap(payload) for payload in payloads].index(found) for found in seen]
    assert places == sorted(places)


@each_slot("bucket")
async def test_writes_and_removals_of_one_key_leave_one_of_their_outcomes(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    await slot.write(make_payload(spec, 0))
    calls = [slot.write(make_payload(spec, number)) if number % 2 else slot.remove() for number in range(WRITERS)]
    await asyncio.gather(*calls)
    found = await slot.read()
    assert found in [None, *(make_payload(spec, number) for number in range(1, WRITERS, 2))]
    assert await slot.list_keys() == ([] if found is None else ["entry-1"])


@pytest.mark.capability("candles")
@needs("candle")
async def test_first_writer_of_each_candle_wins(store: Any, instances: Instances) -> None:
    series = [instance.candle("BTCUSDT", "1m", "x") for instance in (store, await instances.open())]
    counts = await asyncio.gather(
        *(
            series[number % 2].write_candles_data(make_candles(10, number // 2 * 5 * MINUTE, price=number + 1.0))
            for number in range(WRITERS)
        )
    )
    total = WRITERS // 2 * 5 + 5
    assert sum(counts) == total
    found = await series[0].read_candles_data(total, 0)
    assert found == await series[1].read_candles_data(total, 0)
    for row in found:
        assert row == make_candles(1, row["timestamp"], price=row["open"])[0]
    await asyncio.gather(*(one.write_candles_data(make_candles(total, price=99.0)) for one in series))
    assert await series[1].read_candles_data(total, 0) == found
