"""Capability ``processes``: several processes may write one key and one context at once."""

from __future__ import annotations

from typing import Any, Final

import pytest

from backtest_mongo import SlotSpec
from backtest_mongo.testing.conformance.instances import Instances, Process
from backtest_mongo.testing.conformance.slots import (
    MINUTE,
    ROWS,
    each_slot,
    get_slot,
    make_candles,
    make_payload,
    needs,
)

pytestmark = [pytest.mark.capability("processes"), pytest.mark.asyncio]

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


@each_slot("entry", "bucket", "collection")
async def test_processes_that_write_one_context_lose_no_row(store: Any, instances: Instances, spec: SlotSpec) -> None:
    workers = [instances.start("fill", spec.name, "shared", f"{number}", COUNT) for number in range(PROCESSES)]
    assert await run(workers) == ["done"] * PROCESSES
    slot = get_slot(store, spec)
    keys = [f"{number}-{index:04}" for number in range(PROCESSES) for index in range(COUNT)]
    expected = [slot.wrap(make_payload(spec, index)) for _ in range(PROCESSES) for index in range(COUNT)]
    assert [await slot.read(key) for key in keys] == expected
    assert await slot.read("shared") in [
        slot.wrap({"by": f"{number}", "again": f"{number}"}) for number in range(PROCESSES)
    ]
    if spec.shape != "entry":
        assert sorted(await slot.list_keys()) == sorted([*keys, "shared"])


@each_slot(*ROWS)
async def test_write_of_another_process_is_read_by_one_that_has_read_before(
    store: Any, instances: Instances, spec: SlotSpec
) -> None:
    slot = get_slot(store, spec)
    assert await slot.read("entry") == slot.nothing
    worker = instances.start("write", spec.name, "entry")
    assert await worker.hear() == "written"
    assert await slot.read("entry") == slot.wrap(make_payload(spec))
    await slot.write(make_payload(spec, 2), "entry")
    reader = instances.start("read", spec.name, "entry")
    assert await reader.hear() is False
    await slot.write(make_payload(spec), "entry")
    assert await instances.start("read", spec.name, "entry").hear() is True


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
