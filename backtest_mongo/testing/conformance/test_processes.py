"""Capability ``processes``: several processes may write one key and one context at once."""

from __future__ import annotations

from typing import Any, Final

import pytest

from backtest_mongo import SlotSpec
from backtest_mongo.testing.conformance.instances import Instances, Process
from backtest_mongo.testing.conformance.slots import MINUTE, get_slot, make_candles, make_payload, needs

pytestmark: list[Any] = [pytest.mark.capability("processes"), pytest.mark.asyncio(loop_scope="function")]

PROCESSES: Final = 3
COUNT: Final = 30


async def run(workers: list[Process]) -> list[Any]:
    """Let processes that are ready begin together, and return what each has come to."""
    assert [await worker.hear() for worker in workers] == ["ready"] * len(workers)
    for worker in workers:
        worker.say()
    outcomes = [await worker.hear() for worker in workers]
    for worker in workers:
        await worker.end()
    return outcomes


async def test_processes_that_write_one_context_lose_no_row(
    store: Any, instances: Instances, row_specs: list[SlotSpec]
) -> None:
    slots = [get_slot(store, spec) for spec in row_specs if spec.item]
    names = [slot.spec.name for slot in slots]
    workers = [instances.start("fill", names, "shared", f"{number}", COUNT) for number in range(PROCESSES)]
    assert await run(workers) == ["done"] * PROCESSES
    keys = [f"{number}-{index:04}" for number in range(PROCESSES) for index in range(COUNT)]
    for slot in slots:
        for key in keys:
            assert await slot.read(key) == slot.wrap(make_payload(slot.spec, int(key[2:])))
        assert await slot.read("shared") in [slot.wrap({"by": name, "again": name}) for name in ("0", "1", "2")]
        if slot.spec.shape != "entry":
            assert sorted(await slot.list_keys()) == [*keys, "shared"]


async def test_write_of_another_process_is_read_by_one_that_has_read_before(
    store: Any, instances: Instances, row_specs: list[SlotSpec]
) -> None:
    slots = [get_slot(store, spec) for spec in row_specs]
    names = [spec.name for spec in row_specs]
    assert [await slot.read("entry") for slot in slots] == [slot.nothing for slot in slots]
    writer = instances.start("write", names, "entry")
    for slot in slots:
        assert await writer.hear() == "written"
        assert await slot.read("entry") == slot.wrap(make_payload(slot.spec))
        await slot.write(make_payload(slot.spec, 2), "entry")
    assert await instances.start("read", names, "entry").hear() == [False] * len(slots)
    for slot in slots:
        await slot.write(make_payload(slot.spec), "entry")
    assert await instances.start("read", names, "entry").hear() == [True] * len(slots)


@pytest.mark.capability("candles")
@needs("candle")
async def test_first_process_that_writes_a_candle_wins(store: Any, instances: Instances) -> None:
    workers = [instances.start("insert", float(number + 1), COUNT) for number in range(PROCESSES)]
    counts = await run(workers)
    total = (COUNT - 1) * 3 + 5
    assert sum(counts) == total
    series = store.candle("symbol-x", "1m", "exchange_name-x")
    found = await series.read_candles_data(total, 0)
    for row in found:
        assert row == make_candles(1, row["timestamp"], price=row["open"])[0]
    assert [row["timestamp"] for row in found] == [number * MINUTE for number in range(total)]
