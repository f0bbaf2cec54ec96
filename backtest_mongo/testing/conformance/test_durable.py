"""Capability ``durable``: what was acknowledged is there after the process has ended, however it ends."""

from __future__ import annotations

from typing import Any

import pytest

from backtest_mongo import SlotSpec
from backtest_mongo.testing.conformance.instances import Instances
from backtest_mongo.testing.conformance.slots import ROWS, each_slot, get_slot, make_candles, make_payload, needs

pytestmark: list[Any] = [pytest.mark.capability("durable"), pytest.mark.asyncio(loop_scope="function")]


@each_slot(*ROWS)
async def test_row_is_there_when_the_store_is_opened_again(store: Any, instances: Instances, spec: SlotSpec) -> None:
    await get_slot(store, spec).write(make_payload(spec))
    again = get_slot(await instances.reopen(), spec)
    assert await again.read() == again.wrap(make_payload(spec))


@each_slot("bucket")
async def test_removal_is_there_when_the_store_is_opened_again(
    store: Any, instances: Instances, spec: SlotSpec
) -> None:
    slot = get_slot(store, spec)
    for key in "ab":
        await slot.write(make_payload(spec), key)
    await slot.remove("a")
    again = get_slot(await instances.reopen(), spec)
    assert [await again.read(key) for key in "ab"] == [None, make_payload(spec)]
    assert await again.list_keys() == ["b"]


@pytest.mark.parametrize("shape", ROWS)
async def test_rows_survive_sigkill_once_their_writes_have_returned(
    closed_store: Instances, row_specs: list[SlotSpec], shape: str
) -> None:
    specs = [spec for spec in row_specs if spec.shape == shape]
    if not specs:
        pytest.skip("the store has no such slot")
    worker = closed_store.start("write", [spec.name for spec in specs], "entry")
    assert [await worker.hear() for _ in specs] == ["written"] * len(specs)
    await worker.kill()
    store = await closed_store.open()
    for spec in specs:
        slot = get_slot(store, spec)
        assert await slot.read("entry") == slot.wrap(make_payload(spec))


@each_slot("bucket")
async def test_removal_survives_sigkill(closed_store: Instances, spec: SlotSpec) -> None:
    await get_slot(await closed_store.open(), spec).write(make_payload(spec), "entry")
    await closed_store.close()
    worker = closed_store.start("remove", spec.name, "entry")
    assert await worker.hear() == "removed"
    await worker.kill()
    slot = get_slot(await closed_store.open(), spec)
    assert await slot.read("entry") is None


@pytest.mark.parametrize("shape", ROWS)
async def test_row_is_whole_and_as_new_as_acknowledged_whenever_sigkill_comes(
    closed_store: Instances, row_specs: list[SlotSpec], shape: str
) -> None:
    spec = next((spec for spec in row_specs if spec.shape == shape and spec.payload != "list"), None)
    if spec is None:
        pytest.skip("the store has no such slot")
    worker = closed_store.start("count_up", spec.name, "entry")
    for number in range(1, 8):
        assert await worker.hear() == number
    await worker.kill()
    last = (await worker.hear_rest() or [7])[-1]
    found = await get_slot(await closed_store.open(), spec).read("entry")
    row = found[0] if spec.shape == "collection" else found
    assert row["number"] == row["again"] >= last
    assert len(row["filler"]) == row["number"] * 997 % 20_000


@pytest.mark.capability("candles")
@needs("candle")
async def test_candles_survive_sigkill(closed_store: Instances) -> None:
    worker = closed_store.start("write", ["candle"], "")
    assert await worker.hear() == 5
    await worker.kill()
    series = (await closed_store.open()).candle("symbol-x", "1m", "exchange_name-x")
    assert await series.read_candles_data(5, 0) == make_candles(5)
    assert await series.write_candles_data(make_candles(6, price=9.0)) == 1


async def test_another_process_reads_what_this_one_has_written(
    store: Any, instances: Instances, row_specs: list[SlotSpec]
) -> None:
    for spec in row_specs:
        await get_slot(store, spec).write(make_payload(spec), "entry")
    await instances.close()
    reader = instances.start("read", [spec.name for spec in row_specs], "entry")
    assert await reader.hear() == [True] * len(row_specs)
